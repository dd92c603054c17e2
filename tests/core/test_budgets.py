import pytest
import torch

from lfmkit import budgets, methods, nets
from lfmkit.budgets import needs


def block(width=64, depth=2, dim=3, cond=0):
    return methods.fm(dim, net=nets.MLP(width=width, depth=depth, fourier=0), cond=cond).chain[0]


def test_operations_of_dense_layers_are_counted():
    """2 a weight for the output, 4 for the gradients; the input needs none."""
    dim, width = 3, 64
    weights = [(dim + 1) * width, width * width, width * dim]
    forward, back = 2 * sum(weights), 4 * sum(weights) - 2 * weights[0]
    assert needs(block(), dim).flops == pytest.approx(forward + back, rel=0.01)


@pytest.mark.parametrize("cond", [0, 5])
def test_weights(cond):
    found = needs(block(cond=cond), 3)
    assert found.parameters == sum(p.numel() for p in block(cond=cond).parameters())
    assert found.weights == 20 * found.parameters
    assert found.memory(10) == pytest.approx(found.weights + 10 * found.kept)


def test_memory_grows_with_what_layers_keep():
    """A hidden layer more keeps what went into it, what came out of it and its activation."""
    one, two = (needs(block(width=512, depth=depth), 3).kept for depth in (2, 3))
    assert 2 * 512 * 4 <= two - one <= 4 * 512 * 4


def test_nothing_is_changed_or_allocated():
    big = methods.fm(3, net=nets.MLP(width=64, depth=2)).chain[0]
    before = [p.clone() for p in big.parameters()]
    needs(big, 3)
    assert all(torch.equal(a, b) for a, b in zip(before, big.parameters(), strict=True))
    assert all(p.grad is None for p in big.parameters())


def test_a_budget(monkeypatch):
    monkeypatch.setattr(budgets, "seconds_a_sample", lambda *_: 0.001)
    flow = methods.lfm(3, (0.1, 0.3), net=nets.MLP(width=64, depth=2, fourier=0))
    found = {record.measure: float(record) for record in budgets.budget(flow, 1000, 60)}
    one = needs(flow.chain[0], 3)
    assert found["parameters of all blocks"] == flow.parameters_count == 3 * one.parameters
    assert found["steps of all blocks"] == 3000
    assert found["samples seen by all blocks"] == 180_000
    assert found["hours at the speed of 8 samples here"] == pytest.approx(0.05)
    assert found["memory of a batch of 60 in single precision, GB"] == pytest.approx(60 * one.kept / 1e9)
    each = {r.measure: float(r) for r in budgets.budget(flow, [10, 20, 30], 60)}
    assert each["steps of all blocks"] == 60


def test_steps_are_timed():
    flow = block(width=512, depth=4)
    few, many = (budgets.seconds_a_sample(flow, 3, n) for n in (1, 256))
    assert 0 < many < few  # a step has costs of its own
