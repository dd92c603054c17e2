from dataclasses import replace

import pytest
import torch
from drawn import pairs
from torch import Generator

import lfmkit
from lfmkit import methods, nets
from lfmkit.training.gradients import Gradients
from lfmkit.training.settings import Execution, Training

NET = nets.MLP(width=32, depth=2, fourier=8, scale=1.0)


def block():
    block = methods.fm(3, net=NET).chain[0]
    torch.nn.init.normal_(block.net.out.weight, std=0.1, generator=Generator().manual_seed(1))
    return block


def batch(n=50):
    x = torch.randn(200, 3, generator=Generator().manual_seed(0))
    return pairs(x, 0, 1, "linear", "gaussian").draw(n, Generator().manual_seed(3))


def found(precision="float32", **how):
    """Return the loss and the gradient, as one vector."""
    gradients = Gradients(block(), Training(precision=precision), Execution(**how))
    loss = gradients(batch())
    return float(loss), torch.cat([weight.grad.flatten() for weight in gradients.weights]), gradients


def test_it_is_the_gradient_of_the_mean_loss():
    other, loss = block(), 0.0
    loss = other.loss(*batch()[:4])
    loss.backward()
    wanted = torch.cat([weight.grad.flatten() for weight in other.parameters()])
    value, gradient, _ = found()
    assert value == pytest.approx(float(loss.detach()), rel=1e-6)
    assert torch.allclose(gradient, wanted)
    assert wanted.norm() > 0.1


@pytest.mark.parametrize("micro", [1, 7, 50, 1000])
def test_parts_add_up(micro):
    value, gradient, _ = found(micro=micro)
    whole, wanted, _ = found()
    assert value == pytest.approx(whole, rel=1e-5)
    assert torch.allclose(gradient, wanted, atol=1e-6)


class Small:
    """A loss that takes as many samples as there is memory."""

    def __init__(self, loss, room):
        self.loss, self.room = loss, room

    def __call__(self, x, *rest):
        if len(x) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.\nMore.")
        return self.loss(x, *rest)


def test_parts_become_smaller_when_memory_runs_out():
    gradients = Gradients(block())
    gradients._loss = Small(gradients._loss, 13)
    loss = gradients(batch())
    assert gradients.micro == 12
    whole, wanted, _ = found()
    assert float(loss) == pytest.approx(whole, rel=1e-5)
    gradient = torch.cat([weight.grad.flatten() for weight in gradients.weights])
    assert torch.allclose(gradient, wanted, atol=1e-6)


def test_not_even_one_sample_fits():
    gradients = Gradients(block())
    gradients._loss = Small(gradients._loss, 0)
    with pytest.raises(
        RuntimeError, match=r"not suffice .* single sample \(CUDA out of memory.*smaller network"
    ):
        gradients(batch())


def test_other_errors_are_not_taken_for_it():
    gradients, calls = Gradients(block()), []

    def broken(*_):
        calls.append(1)
        raise RuntimeError("a shape does not fit")

    gradients._loss = broken
    with pytest.raises(RuntimeError, match="a shape does not fit"):
        gradients(batch())
    assert len(calls) == 1


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_is_near(precision):
    value, gradient, gradients = found(precision=precision)
    whole, wanted, _ = found()
    scale = gradients.scaler.get_scale()
    assert (scale > 1) == (precision == "fp16")  # bf16 has the range of single precision
    assert value == pytest.approx(whole, rel=0.02)
    assert value != whole
    assert (gradient / scale - wanted).norm() < 0.05 * wanted.norm()
    assert gradient.dtype == torch.float32


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_flows_learn_in_half_precision_and_go_on_bit_for_bit(precision, tmp_path):
    x = torch.randn(2000, 2, generator=Generator().manual_seed(0)) * 0.2 + 1
    half = lfmkit.Training(clip=1.0, precision=precision)
    call = {"steps": 400, "batch": 64, "training": half, "progress": False}
    whole = methods.fm(2, net=NET)
    lfmkit.fit(whole, x, out=tmp_path / "whole", **call)
    single = methods.fm(2, net=NET)
    lfmkit.fit(single, x, **{**call, "training": lfmkit.Training(clip=1.0)})
    drawn, wanted = whole.sample(2000), single.sample(2000)
    assert (drawn.mean(0) - 1).abs().max() < 0.05
    assert 0 < (drawn - wanted).abs().mean() < 0.01  # the same noise

    def stop(told):
        if told.step == 188:  # amid a chunk of batches
            raise KeyboardInterrupt

    flow = methods.fm(2, net=NET)
    with pytest.raises(KeyboardInterrupt):
        lfmkit.fit(
            flow,
            x,
            out=tmp_path / "halves",
            **{**call, "training": replace(half, save_every=0.0), "progress": stop},
        )
    lfmkit.fit(flow, x, out=tmp_path / "halves", **call)
    ours, theirs = flow.state_dict(), whole.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_unknown_precision():
    with pytest.raises(ValueError, match="unknown precision 'half': choose one of float32, bf16, fp16"):
        lfmkit.fit(methods.fm(2, net=NET), torch.randn(9, 2), training=lfmkit.Training(precision="half"))


def test_a_compiled_loss_is_the_same(monkeypatch):
    compiled = []
    compile_ = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f: compiled.append(f) or compile_(f, backend="eager"))
    value, gradient, _ = found(compiled=True)
    whole, wanted, _ = found()
    assert len(compiled) == 1
    assert value == pytest.approx(whole, rel=1e-6)
    assert torch.allclose(gradient, wanted)
