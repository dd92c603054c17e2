"""Policies: framings there and back, bad input, saving, and learning to act."""

import json
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import lfmkit
from lfmkit import Solver, data, methods, nets, simulators
from lfmkit.robots import policies, rollouts

NET = nets.FiLM(width=64, depth=2)
EULER = Solver("euler", steps=4)


def random_demos(lengths=(9, 5), o=3, a=2, scale=1.0, shift=0.0):
    rng = np.random.default_rng(0)
    return data.demos(
        [(shift + scale * rng.normal(size=(n, o)), shift + scale * rng.normal(size=(n, a))) for n in lengths]
    )


def stirred(flow):
    """Give all weights, of which the last layer's start at zero, random values."""
    generator = torch.Generator().manual_seed(0)
    for p in flow.parameters():
        p.data.copy_(torch.randn(p.shape, generator=generator) / max(p.shape[-1], 4) ** 0.5)
    return flow


@pytest.fixture
def policy():
    framing, _, _ = policies.framed(random_demos(), observe=2, predict=3)
    flow = stirred(methods.lfm(framing.dim, (0.3,), net=nets.FiLM(width=16, depth=1), cond=framing.cond))
    return policies.Policy(flow, framing, 2, EULER)


def noise(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def observed(n=5, seed=0):
    return torch.randn(n, 2, 3, generator=torch.Generator().manual_seed(seed))


# --- framing


@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=3),
    observe=st.integers(1, 3),
    predict=st.integers(1, 4),
    scale=st.sampled_from([1e-2, 1.0, 1e3]),
)
def test_actions_of_rows_are_those_demonstrated(lengths, observe, predict, scale):
    demos = random_demos(lengths, scale=scale, shift=3 * scale)
    framing, rows, conditions = policies.framed(demos, observe, predict)
    past, future = demos.windows(observe, predict)
    assert rows.shape == (sum(lengths), framing.dim) == (sum(lengths), 2 * predict)
    assert conditions.shape == (sum(lengths), framing.cond) == (sum(lengths), 3 * observe)
    assert torch.allclose(framing.actions(rows), future, atol=1e-5 * scale)
    assert torch.equal(framing.conditions(past), conditions)


def test_rows_and_conditions_have_unit_scale():
    demos = random_demos((4000,), scale=20, shift=-50)
    _, rows, conditions = policies.framed(demos)
    for numbers in (rows, conditions):
        assert torch.allclose(numbers.mean(0), torch.zeros(numbers.shape[1]), atol=0.02)
        assert torch.allclose(numbers.std(0), torch.ones(numbers.shape[1]), atol=0.02)


def test_columns_that_do_not_vary():
    """They become zeros, and zero or anything else becomes the demonstrated value."""
    seen, done = np.random.default_rng(0).normal(size=(20, 3)), np.random.default_rng(1).normal(size=(20, 2))
    seen[:, 1], done[:, 0] = 7, 0.25
    framing, rows, conditions = policies.framed(data.demos([(seen, done)]), predict=2)
    assert torch.equal(conditions[:, 1], torch.zeros(20))
    assert torch.equal(rows[:, [0, 2]], torch.zeros(20, 2))
    wild = framing.actions(50 * torch.randn(30, 4))
    assert torch.equal(wild[..., 0], torch.full((30, 2), 0.25))
    assert float(framing.conditions(torch.tensor([[[0.0, 7.5, 0.0]]]))[0, 1]) == pytest.approx(0.5)


def test_a_single_step_is_enough():
    framing, rows, conditions = policies.framed(data.demos([([[1.0, 2.0]], [[0.5]])]), 2, 3)
    assert rows.tolist() == [[0, 0, 0]]
    assert conditions.tolist() == [[0, 0, 0, 0]]
    assert framing.actions(rows).tolist() == [[[0.5], [0.5], [0.5]]]


def test_what_is_far_is_brought_near():
    demos = random_demos((200,))
    framing, _, _ = policies.framed(demos)
    mean, std = framing.seen
    far = (mean + torch.tensor([1e6, -1e6, 4.0]) * std)[None, None]
    assert framing.conditions(far)[0].tolist() == pytest.approx([5, -5, 4], abs=1e-4)


def test_actions_stay_inside_what_was_demonstrated():
    demos = random_demos((50,))
    framing, _, _ = policies.framed(demos, predict=4)
    done = demos.actions[0]
    wild = framing.actions(torch.randn(200, framing.dim) * 30).flatten(0, 1)
    assert torch.allclose(wild.amin(0), done.amin(0))
    assert torch.allclose(wild.amax(0), done.amax(0))


def test_observations_that_do_not_fit(policy):
    for shape in [(5, 3), (5, 1, 3), (5, 2, 4), (5, 3, 2)]:
        with pytest.raises(ValueError, match=r"observations need the shape \(n, 2, 3\), got"):
            policy.act(torch.zeros(shape), noise(*range(5)))
    for value in (float("nan"), float("inf")):
        seen = observed()
        seen[3, 0, 1] = value
        with pytest.raises(ValueError, match="the observations have NaN or infinite values"):
            policy.act(seen, noise(*range(5)))


def test_bad_windows():
    with pytest.raises(ValueError, match="observe and predict must be 1 or more"):
        policies.framed(random_demos(), 0, 4)


# --- acting


def test_actions_have_their_shape_and_count_evaluations(policy):
    assert policy.act(observed(), noise(*range(5))).shape == (5, 2, 2)
    assert (policy.observe, policy.nfe) == (2, 8)


def test_the_same_noise_gives_the_same_actions(policy):
    first = policy.act(observed(), noise(*range(5)))
    assert torch.equal(policy.act(observed(), noise(*range(5))), first)
    generators = noise(*range(5))
    assert torch.equal(policy.act(observed(), generators), first)
    assert not torch.allclose(policy.act(observed(), generators), first, atol=1e-3)  # they went on
    assert not torch.allclose(policy.act(observed(), noise(*range(5, 10))), first, atol=1e-3)
    assert not torch.allclose(policy.act(observed(seed=1), noise(*range(5))), first, atol=1e-3)


def test_a_robot_acts_as_it_would_alone(policy):
    together = policy.act(observed(), noise(*range(5)))
    for k in range(5):
        alone = policy.act(observed()[k : k + 1], noise(k))
        assert torch.allclose(alone[0], together[k], atol=1e-5)


def test_flows_that_do_not_fit(policy):
    framing = policy.framing
    for dim, cond in [(framing.dim + 1, framing.cond), (framing.dim, framing.cond - 1), (framing.dim, 0)]:
        flow = methods.fm(dim, net=nets.FiLM(width=4, depth=1), cond=cond)
        with pytest.raises(ValueError, match=f"dim {dim} and cond {cond}, the framing needs 6 and 6"):
            policies.Policy(flow, framing)


def test_execute_out_of_range(policy):
    for execute in (0, -1, 4):
        with pytest.raises(ValueError, match=f"execute must lie between 1 and 3, got {execute}"):
            policies.Policy(policy.flow, policy.framing, execute)


# --- saving


@pytest.mark.parametrize("solver", [None, EULER, Solver("midpoint", steps=3), Solver("dopri5", 1e-3, 1e-4)])
def test_save_and_load(policy, solver, tmp_path):
    policy = policies.Policy(policy.flow, policy.framing, 2, solver)
    policy.save(tmp_path / "new" / "folder")
    again = policies.load_policy(tmp_path / "new" / "folder")
    assert (again.execute, again.solver) == (2, solver)
    first, second = (one.act(observed(), noise(*range(5))) for one in (policy, again))
    assert torch.equal(first, second)
    assert again.nfe == policy.nfe
    assert torch.equal(lfmkit.load(tmp_path / "new" / "folder").noise(1), policy.flow.noise(1))


def test_a_flow_is_no_policy(policy, tmp_path):
    policy.flow.save(tmp_path)
    with pytest.raises(ValueError, match="does not describe a policy: read a flow by"):
        policies.load_policy(tmp_path)


def test_saving_where_nothing_can_be_written(policy, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="cannot write"):
        policy.save(tmp_path / "file")


def about(**changes):
    """Return a change of the policy in flow.json; None removes an entry."""

    def work(folder):
        path = folder / "flow.json"
        said = json.loads(path.read_text())
        said["policy"] = {k: v for k, v in (said["policy"] | changes).items() if v is not None}
        path.write_text(json.dumps(said))

    return work


def cut(name):
    def work(folder):
        (path,) = folder.glob(name)
        path.write_bytes(path.read_bytes()[:-9])

    return work


def newer_flow(folder):
    path = folder / "flow.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (lambda folder: (folder / "flow.json").unlink(), FileNotFoundError, "there is no .*flow.json"),
        (lambda folder: shutil.rmtree(folder), FileNotFoundError, "there is no .*flow.json"),
        (cut("flow.json"), ValueError, "flow.json is damaged"),
        (cut("weights-*.safetensors"), ValueError, "weights-.* is cut off or damaged"),
        (about(format=2), ValueError, "of a newer lfmkit .policies of format 2; .*: update lfmkit"),
        (about(format=None), ValueError, "flow.json does not describe a policy"),
        (about(observe=None), ValueError, "flow.json is damaged: .*observe"),
        (about(limits=None), ValueError, "flow.json is damaged: .*limits"),
        (about(seen=[[1.0], [1.0, 2.0]]), ValueError, "flow.json is damaged"),
        (about(solver={"speed": 1}), ValueError, "is damaged: .*speed"),
        (
            about(seen=[[0.0] * 4, [1.0] * 4]),
            ValueError,
            "the flow has dim 6 and cond 6, the framing needs 6 and 8",
        ),
        (newer_flow, ValueError, "of a newer lfmkit"),
    ],
)
def test_files_that_are_missing_damaged_or_newer(policy, tmp_path, damage, error, message):
    folder = tmp_path / "policy"
    policy.save(folder)
    damage(folder)
    with pytest.raises(error, match=message):
        policies.load_policy(folder)


# --- learning


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        return data.demos(simulators.Detour(), 60)


@pytest.mark.parametrize(("schedule", "each"), [((), 4), ((0.3,), 2)], ids=["fm", "lfm"])
def test_a_trained_policy_acts_well_in_four_evaluations(shown, schedule, each):
    """It passes the disc on both sides, although the mean of the demonstrations leads into it."""
    framing, rows, cond = policies.framed(shown)
    flow = methods.lfm(framing.dim, schedule, net=NET, cond=framing.cond)
    settings = {
        "steps": 600,
        "batch": 256,
        "lr": 3e-3,
        "training": lfmkit.Training(drop=0.0),
        "pool": "ou",
        "progress": False,
    }
    lfmkit.fit(flow, rows, cond=cond, **settings)
    policy = policies.Policy(flow, framing, 4, Solver("euler", steps=each))
    found = rollouts.rollouts(policy, simulators.Detour(), 50, batch=50)
    assert found.success.value >= 0.8
    assert found.success.nfe == pytest.approx(1, rel=0.1)  # an action
    heights = [one.seen[np.abs(one.seen[:, 0]).argmin(), 1] for one in found.episodes]
    assert 10 <= sum(height > 0 for height in heights) <= 40
