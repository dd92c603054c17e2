"""Pools on disk: pushed in chunks, by one or several, killed and gone on with."""

import json
import os
import random
import signal
import time

import pytest
import torch
from killable import PUSHED, push, push_slowly, start
from torch import Generator

import lfmkit
from lfmkit import Flow, methods
from lfmkit.pixels import as_images
from lfmkit.training.pushing import forget, pushed
from lfmkit.training.team import Team


@pytest.fixture(autouse=True)
def chunks(monkeypatch):
    """Solve 16 points at a time."""
    monkeypatch.setattr("lfmkit.flows.integrate.POINTS_PER_SOLVE", 16)


@pytest.fixture
def flow(tiny_net):
    """A flow of two blocks that moves points somewhere."""
    flow = methods.lfm(6, (0.3,), net=tiny_net)
    for block in flow.chain:
        torch.nn.init.normal_(block.net.out.weight, std=0.3, generator=Generator().manual_seed(1))
    return flow


def images(n=100):
    return torch.randint(256, (n, 1, 2, 3), generator=Generator().manual_seed(0), dtype=torch.uint8)


@pytest.fixture
def solved(monkeypatch):
    """Record how many points each push took."""
    sizes, push = [], Flow.push
    monkeypatch.setattr(
        Flow, "push", lambda self, x, *rest, **more: sizes.append(len(x)) or push(self, x, *rest, **more)
    )
    return sizes


@pytest.mark.parametrize("on_disk", [False, True])
def test_rows_are_encoded_by_one_block(flow, on_disk, tmp_path):
    x = torch.randn(100, 6)
    pool = pushed(flow, x, 0, file=tmp_path / "pool.bin" if on_disk else None)
    assert torch.equal(pool, flow.push(x, 0))
    assert not torch.allclose(pool, x, atol=0.1)


@pytest.mark.parametrize("on_disk", [False, True])
def test_images_become_half_floats(flow, on_disk, tmp_path):
    pool = pushed(flow, images(), 0, file=tmp_path / "pool.bin" if on_disk else None)
    assert (pool.dtype, pool.shape) == (torch.float16, (100, 1, 2, 3))
    # Back through the block: the pixels they came from, up to rounding near the bins' borders.
    back = flow._solve(0, pool.flatten(1).float(), torch.tensor([1.0, 0.0]), None).x[-1]
    assert ((as_images(back, (1, 2, 3)) == images()).float().mean()) > 0.9
    again = pushed(flow, pool, 1)
    assert torch.allclose(again.flatten(1).float(), flow.push(pool.flatten(1).float(), 1), atol=2e-3)


def test_conditions_go_with_their_rows(tiny_net):
    flow = methods.lfm(6, (0.3,), net=tiny_net, cond=2)
    for block in flow.chain:
        torch.nn.init.normal_(block.net.out.weight, std=0.3, generator=Generator().manual_seed(1))
    x, cond = torch.randn(50, 6), torch.nn.functional.one_hot(torch.arange(50) % 2).float()
    pool = pushed(flow, x, 0, cond)
    assert torch.equal(pool, flow.push(x, 0, cond=cond))
    assert not torch.allclose(pool, flow.push(x, 0, cond=cond.flip(1)), atol=1e-3)


def test_chunks_that_are_there_are_not_pushed_again(flow, tmp_path, monkeypatch, solved):
    file, push = tmp_path / "pool.bin", Flow.push

    def until(self, x, *rest, **more):
        if len(solved) == 3:
            raise KeyboardInterrupt
        return push(self, x, *rest, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Flow, "push", until)
        with pytest.raises(KeyboardInterrupt):
            pushed(flow, images(), 0, file=file)
    assert solved == [16, 16, 16]
    pool = pushed(flow, images(), 0, file=file)
    assert solved[3:] == [16, 16, 16, 4]
    assert torch.equal(pool, pushed(flow, images(), 0))
    done = len(solved)
    assert torch.equal(pushed(flow, images(), 0, file=file), pool)
    assert len(solved) == done
    forget(file)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("damage", ["gone", "cut off"])
def test_marks_without_their_pool_count_for_nothing(flow, damage, tmp_path):
    file = tmp_path / "pool.bin"
    pool = pushed(flow, images(), 0, file=file).clone()
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:99])
    assert torch.equal(pushed(flow, images(), 0, file=file), pool)


def test_several_share_the_chunks(flow, tmp_path, solved):
    for rank in (0, 1):
        team = Team()
        team.rank, team.size = rank, 2
        pool = pushed(flow, images(), 0, file=tmp_path / "pool.bin", team=team)
        assert sum(solved) == (52, 100)[rank]
    assert torch.equal(pool, pushed(flow, images(), 0))


def test_no_room_for_the_pool(flow, tiny_disk):
    many = images(20_000)
    with pytest.raises(
        OSError, match=r"pool.bin: the disk is full. It needs 0.2 MB: make room, or choose another out="
    ):
        pushed(flow, many, 0, file=tiny_disk / "pool.bin")
    assert not list(tiny_disk.iterdir())


def test_killed_while_pushing(tmp_path, monkeypatch):
    """kill -9 at three random chunks; the last call ends where an undisturbed one ends."""
    monkeypatch.setattr("lfmkit.flows.integrate.POINTS_PER_SOLVE", PUSHED)
    whole, killed, moments = tmp_path / "whole", tmp_path / "killed", random.Random(0)
    push(whole)
    marks, seen = killed / "pool-2.done", 0
    for k in range(3):
        run, until = (
            start(push_slowly, tmp_path / "log", out=killed),
            sorted(moments.sample(range(1, 49), 3))[k],
        )
        while run.is_alive() and not (marks.exists() and sum(marks.read_bytes()) > max(until, seen)):
            time.sleep(0.002)
        seen = sum(marks.read_bytes())
        assert run.is_alive(), "the run ended before it could be killed"
        os.killpg(run.pid, signal.SIGKILL)
        run.join()
        assert 0 < seen < 50
    push(killed)
    ends = [json.loads((folder / "run.json").read_text())["end"] for folder in (whole, killed)]
    assert ends[0] == ends[1]
    assert not list(killed.glob("pool-*"))


def test_solving_in_halves_when_memory_runs_out(flow, monkeypatch):
    solver = lfmkit.Solver("rk4", steps=3)
    x = torch.randn(16, 6)
    whole, nfe = flow.log_prob(x, solver, probes=2), flow.last_nfe
    forward, sizes = type(flow.chain[0]).forward, []

    def small(self, x, t, *rest):
        sizes.append(len(x))
        if len(x) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, x, t, *rest)

    monkeypatch.setattr(type(flow.chain[0]), "forward", small)
    assert torch.allclose(flow.log_prob(x, solver, probes=2), whole, atol=1e-5)
    assert flow.last_nfe == nfe
    assert set(sizes) == {16, 8, 4}

    def none(self, x, t, *rest):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(type(flow.chain[0]), "forward", none)
    with pytest.raises(RuntimeError, match="block 1 of 2: CUDA out of memory"):
        flow.encode(x)
