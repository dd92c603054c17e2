"""The optimiser: what torch's own class does, bit for bit, without loading its compiler."""

import subprocess
import sys

import pytest
import torch

from lfmkit.training.optimiser import Adam

SHAPES = [(3, 4), (4,), (), (1, 2, 3)]


def weights(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator).requires_grad_() for shape in SHAPES]


def set_gradients(step, *sides):
    generator = torch.Generator().manual_seed(100 + step)
    for shape, *same in zip(SHAPES, *sides, strict=True):
        grad = torch.randn(shape, generator=generator)
        for weight in same:
            weight.grad = grad.clone()


def test_it_is_torchs_adam_bit_for_bit():
    ours, theirs = weights(), weights()
    mine = Adam(ours, 0.1, betas=(0.9, 0.99))
    other = torch.optim.Adam(theirs, 0.1, betas=(0.9, 0.99), fused=True)
    for step in range(20):
        mine.lr = other.param_groups[0]["lr"] = 0.1 / (1 + step)
        set_gradients(step, ours, theirs)
        mine.step()
        other.step()
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True)), step
    for own, weight in zip(mine.state, theirs, strict=True):
        assert all(torch.equal(own[name], value) for name, value in other.state[weight].items())


def test_it_goes_on_from_a_state():
    whole, parts = weights(), weights()
    first = Adam(whole, 0.1)
    for step in range(10):
        set_gradients(step, whole)
        first.step()
    before = Adam(parts, 0.1)
    for step in range(10):
        if step == 4:
            kept = {name: value.clone() for name, value in before.tensors().items()}
            before = Adam(parts, 0.1)
            before.restore(kept, {})
        set_gradients(step, parts)
        before.step()
    assert all(torch.equal(a, b) for a, b in zip(whole, parts, strict=True))


def test_a_weight_without_a_gradient_stays():
    moved, still = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    moved.grad = torch.ones(2)
    optimiser = Adam([moved, still], 0.5)
    optimiser.step()
    assert moved.tolist() == pytest.approx([0.5, 0.5])
    assert still.tolist() == [1.0, 1.0]
    assert [float(own["step"]) for own in optimiser.state] == [1, 0]


def test_a_gradient_that_is_not_finite_makes_no_step_in_half_precision():
    (weight,) = parts = [torch.ones(2, requires_grad=True)]
    optimiser, scaler = Adam(parts, 0.5), torch.amp.GradScaler("cpu", init_scale=4.0)
    scaler.scale((weight * torch.tensor([float("inf"), 1.0])).sum()).backward()
    scaler.step(optimiser)
    scaler.update()
    assert weight.tolist() == [1.0, 1.0]
    assert scaler.get_scale() == 2.0
    weight.grad = None
    scaler.scale(weight.sum()).backward()
    scaler.step(optimiser)
    assert weight.tolist() == pytest.approx([0.5, 0.5])


def test_training_loads_neither_torchs_compiler_nor_solvers():
    """They would take a second and half a second in every process: fit's workers, tests, kernels."""
    code = """
import sys, torch, lfmkit
from lfmkit import methods, nets
flow = methods.lfm(2, (0.1,), net=nets.MLP(width=8, depth=1))
x = torch.randn(50, 2)
training = lfmkit.Training(clip=1.0)
lfmkit.fit(flow, x, val=x[:9], steps=6, batch=8, pool="ou", training=training, progress=False)
print([name in sys.modules for name in ("torch._dynamo", "torchdiffeq")])
flow.log_prob(x)
print([name in sys.modules for name in ("torch._dynamo", "torchdiffeq")])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-2:] == ["[False, False]", "[False, True]"]
