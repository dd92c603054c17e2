"""Rollouts: the same in any number of processes, and with simulators that fail in various ways."""

import sys
import types

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from walks import BAD, Drifter, Walk, Walker

from lfmkit import Solver, data, methods, metrics, nets
from lfmkit.robots import policies, rollouts
from lfmkit.robots.episodes import Episode
from lfmkit.simulators import Detour, MetaWorld, start

N = 8


def facts(episode):
    """Return everything in which two equal episodes agree, exactly."""
    return episode.seed, episode.outcome, episode.why, episode.seen.tolist(), episode.done.tolist()


def everything(found):
    return [facts(episode) for episode in found.episodes]


@pytest.fixture(scope="module")
def usual():
    return rollouts.rollouts(Drifter(), Walk(), N, batch=3)


# --- results


def test_episodes_and_their_numbers(usual):
    assert [episode.seed for episode in usual.episodes] == [start(k) for k in range(N)]
    assert {episode.outcome for episode in usual.episodes} == {"success"}
    for episode in usual.episodes:
        assert isinstance(episode, Episode)
        assert episode.seen.dtype == episode.done.dtype == np.float32
        assert (episode.seen.shape, episode.done.shape) == ((4, 2), (3, 1))
        assert episode.seen[:, 0] == pytest.approx([0, *episode.done[:, 0].cumsum()])
    success = usual.success
    assert (success.value, success.n, success.died, success.seed, success.parameters) == (1, N, None, 0, None)
    assert success.nfe == pytest.approx(2 * 2 / 3)  # two chunks of two evaluations for three actions
    assert success.pace > 0
    assert success.interval == rollouts.wilson(N, N)


@pytest.mark.parametrize("batch", [1, 2, N, 3 * N])
def test_an_expert_acts_alike_in_any_batch(usual, batch):
    assert everything(rollouts.rollouts(Drifter(), Walk(), N, batch=batch)) == everything(usual)


def test_other_seeds_are_other_episodes(usual):
    again = rollouts.rollouts(Drifter(), Walk(), N, batch=3, seed=1)
    assert not {episode.seed for episode in again.episodes} & {episode.seed for episode in usual.episodes}
    assert again.success.seed == 1


def test_an_actor_sees_the_latest_observations():
    """Oldest first; before the first one stands the first one."""
    seen = []

    class Watching(Drifter):
        def act(self, observations, noise):
            seen.append(observations[0, :, 0].round().tolist())
            return super().act(observations, noise)

    rollouts.rollouts(Watching(observe=3, steps=1), Walk(), 1)
    assert seen == [[0, 0, 0], [0, 0, 1], [0, 1, 2]]


@pytest.mark.parametrize(("steps", "outcome"), [(3, "success"), (2, "failure"), (4, "success")])
def test_the_last_step_counts(steps, outcome):
    (episode,) = rollouts.rollouts(Drifter(steps=5), Walk(steps=steps), 1).episodes
    assert (episode.outcome, len(episode.done)) == (outcome, min(steps, 3))


@pytest.mark.parametrize("make", [Detour(), MetaWorld("reach-v3", 60)], ids=["detour", "reach"])
def test_experts(make):
    found = rollouts.rollouts(rollouts.Expert(make.expert(0)), make, 4, batch=2)
    assert [episode.outcome for episode in found.episodes] == ["success"] * 4
    assert found.success.nfe == 0
    assert all(len(episode.seen) == len(episode.done) + 1 < make.steps for episode in found.episodes)


def test_a_rate_is_a_row_of_a_table(usual):
    half = rollouts.rollouts(Drifter(), Walk("raises"), N, batch=3).success
    shown = metrics.table({"usual": usual.success, "half": half})
    head, first, second = shown.cells()
    assert dict(zip(head, first, strict=True))["95 %"] == "0.6756 1"
    row = dict(zip(head, second, strict=True))
    assert (row["measure"], row["value"], row["n"], row["died"]) == ("success rate", "0.875", "8", "1")
    assert (row["split"], row["NFE"], row["seed"]) == ("held-out episodes", f"{half.nfe:.4g}", "0")
    assert float(row["ms an action"]) > 0
    assert "success rate" in usual._repr_html_()
    assert float(half) == 0.875


@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_against_scipy(counts):
    expected = stats.binomtest(*counts).proportion_ci(method="wilson")
    assert rollouts.wilson(*counts) == pytest.approx((expected.low, expected.high), abs=1e-6)


# --- several processes


def policy():
    rng = np.random.default_rng(0)
    framing, _, _ = policies.framed(data.demos([(rng.normal(size=(30, 4)), rng.uniform(-1, 1, (30, 2)))]))
    flow = methods.lfm(framing.dim, (0.3,), net=nets.FiLM(width=8, depth=1), cond=framing.cond)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    return policies.Policy(flow, framing, 4, Solver("euler", steps=2))


def test_processes_change_nothing():
    """Exactly, for a network too: batches are the same."""
    actor, make = policy(), Detour(steps=20)
    expected = rollouts.rollouts(actor, make, 7, batch=2)
    assert expected.success.parameters == actor.flow.parameters_count
    assert expected.success.nfe == pytest.approx(1)  # four evaluations for four actions
    assert expected.episodes[0].done.std() > 0.01
    for workers in (2, 2, 1):
        again = rollouts.rollouts(actor, make, 7, batch=2, workers=workers)
        assert everything(again) == everything(expected)
        assert again.success.nfe == expected.success.nfe


FATES = {
    "reset": ("OSError: no such arm", 0, 0),
    "raises": ("RuntimeError: it fell over", 2, 2),
    "nan": ("RuntimeError: an observation is not a row of finite numbers: [nan  0.]", 2, 2),
    "shape": ("RuntimeError: an observation is not a row of finite numbers: [[0. 0.]\n [0. 0.]]", 2, 2),
    "exits": ("its process crashed or was killed", 0, 0),
}


@pytest.mark.parametrize(
    ("fate", "workers"),
    [("reset", 1), ("raises", 1), ("nan", 1), ("shape", 1), ("raises", 2), ("exits", 2)],
)
def test_a_simulator_that_dies_costs_the_others_nothing(usual, fate, workers):
    found = rollouts.rollouts(Drifter(), Walk(fate), N, batch=3, workers=workers)
    why, seen, done = FATES[fate]
    for k, (episode, expected) in enumerate(zip(found.episodes, usual.episodes, strict=True)):
        if k == 5:
            assert (episode.seed, episode.outcome, episode.why) == (BAD, "died", why)
            assert (len(episode.seen), len(episode.done)) == (seen, done)
        else:
            assert facts(episode) == facts(expected)
    assert (found.success.value, found.success.died) == (7 / 8, 1)


def test_all_died():
    class Broken(Walker):
        def reset(self, seed):
            raise OSError("no such arm")

    message = "all 3 simulators died, the first of: OSError: no such arm"
    with pytest.raises(RuntimeError, match=message):
        rollouts.rollouts(Drifter(), lambda: Broken(Walk()), 3)


def test_a_simulator_that_cannot_be_made():
    def make():
        raise ImportError("no physics here")

    with pytest.raises(ImportError, match="no physics here"):
        rollouts.rollouts(Drifter(), make, 3)


def test_a_class_that_processes_cannot_find_is_no_simulator_that_died(monkeypatch):
    module = types.ModuleType("passing")
    module.Lost = type("Lost", (Drifter,), {"__module__": "passing"})
    monkeypatch.setitem(sys.modules, "passing", module)
    with pytest.raises(
        RuntimeError, match=r"cannot load the actor .*\(ModuleNotFoundError: No module named 'passing'\)"
    ):
        rollouts.rollouts(module.Lost(), Walk(), 3, workers=2)


def test_simulators_are_used_again_but_not_after_dying():
    make = Walk("raises")
    rollouts.rollouts(Drifter(), make, N, batch=2)
    dead = [one for one in make.made if BAD in one.seeds]
    assert len(make.made) == 3  # two at a time, and one instead of the dead
    assert len(dead) == 1
    assert dead[0].seeds[-1] == BAD
    rollouts.rollouts(Drifter(), make, 4, batch=2)
    assert len(make.made) == 3
    other = Walk("raises", goal=2.0)
    rollouts.rollouts(Drifter(), other, 4, batch=2)
    assert len(other.made) == 2


# --- bad input


@pytest.mark.parametrize("name", ["n", "batch", "workers"])
@pytest.mark.parametrize("value", [0, -3])
def test_numbers_below_one(name, value):
    with pytest.raises(ValueError, match=f"{name} must be 1 or more, got {value}"):
        rollouts.rollouts(Drifter(), Walk(), **{"n": 3, name: value})


def test_a_negative_seed():
    with pytest.raises(ValueError, match="seed must be 0 or more, got -1"):
        rollouts.rollouts(Drifter(), Walk(), 3, seed=-1)


def test_actions_of_a_wrong_size():
    message = (
        r"all 3 simulators died, the first of: ValueError: an action has one number, got the shape \(2,\)"
    )
    with pytest.raises(RuntimeError, match=message):
        rollouts.rollouts(Drifter(size=2), Walk(), 3)


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (
            torch.ones(3, 1),
            r"must return actions of the shape \(3, steps, a\), one step or more, got \(3, 1\)",
        ),
        (torch.ones(2, 1, 1), r"must return actions .*got \(2, 1, 1\)"),
        (torch.ones(3, 0, 1), r"must return actions .*got \(3, 0, 1\)"),
        (torch.full((3, 1, 1), torch.nan), "the actor's actions have NaN or infinite values"),
    ],
)
def test_actions_that_are_none(actions, message):
    class Fixed(Drifter):
        def act(self, seen, noise):
            return actions

    with pytest.raises(ValueError, match=message):
        rollouts.rollouts(Fixed(), Walk(), 3)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_policy_for_other_observations(workers):
    with pytest.raises(ValueError, match=r"observations need the shape \(n, 1, 4\), got \(3, 1, 2\)"):
        rollouts.rollouts(policy(), Walk(), 3, workers=workers)
