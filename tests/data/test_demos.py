"""Demonstrations: windows, experts' episodes and their cache, Robomimic's files, arrays that do not fit."""

import sys
from dataclasses import dataclass

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lfmkit import data
from lfmkit.data.demonstrations import experts
from lfmkit.simulators import Detour, MetaWorld, start
from lfmkit.utils import files, provenance


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """No cache but the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def kept(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def same(a, b):
    pairs = [*zip(a.observations, b.observations, strict=True), *zip(a.actions, b.actions, strict=True)]
    return all(torch.equal(x, y) for x, y in pairs)


@dataclass(frozen=True)
class Counting:
    """A task that is done in three steps; its simulator counts them, and `log` tells what is done to it."""

    steps: int = 4
    wish: float = 0.5
    fails: tuple = ()
    breaks: tuple = ()
    log = []  # noqa: RUF012

    @property
    def source(self):
        return str(self)

    def __call__(self):
        return CountingSimulator(self)

    def expert(self, seed):
        return lambda observation: self.wish + 0.1 * observation[:1]


class CountingSimulator:
    def __init__(self, task):
        self.task, self.steps = task, task.steps
        task.log.append("made")

    def reset(self, seed):
        self.seed = seed
        self.observation = np.array([0.0, seed])
        self.task.log.append(("reset", seed))
        return self.observation  # and it is changed in place by every step

    def step(self, action):
        self.task.log.append(("step", float(action[0])))
        self.observation[0] += 1
        if self.seed in self.task.breaks and self.observation[0] == 2:
            raise RuntimeError("it fell apart")
        return self.observation, self.observation[0] == 3 and self.seed not in self.task.fails


@pytest.fixture
def log():
    Counting.log.clear()
    return Counting.log


def seeds(*numbers, seed=0):
    return tuple(start(k, seed, demonstration=True) for k in numbers)


# --- windows


@given(
    lengths=st.lists(st.integers(1, 7), min_size=1, max_size=4),
    observe=st.integers(1, 9),
    predict=st.integers(1, 9),
)
def test_windows_against_a_loop(lengths, observe, predict):
    rng = np.random.default_rng(0)
    episodes = [(rng.normal(size=(n, 3)), rng.normal(size=(n, 2))) for n in lengths]
    demos = data.demos(episodes)
    past, future = demos.windows(observe, predict)
    k = 0
    for seen, done in zip(demos.observations, demos.actions, strict=True):
        for t in range(len(done)):
            for i in range(observe):
                assert torch.equal(past[k, i], seen[max(0, t - observe + 1 + i)])
            for i in range(predict):
                assert torch.equal(future[k, i], done[min(len(done) - 1, t + i)])
            k += 1
    assert past.shape == (k, observe, 3)
    assert future.shape == (k, predict, 2)


def test_windows_of_nothing():
    demos = data.demos([(np.zeros((3, 2)), np.zeros((3, 1)))])
    for numbers in ((0, 1), (1, 0), (-1, 2)):
        with pytest.raises(ValueError, match="observe and predict must be 1 or more, got"):
            demos.windows(*numbers)


# --- experts


def test_on_record_is_what_the_expert_saw_and_wanted(log):
    """Although noisy actions were taken, and although the simulator changes its observations in place."""
    demos = data.demos(Counting(), 3, noise=0.2)
    wanted = [0.5 + 0.1 * t for t in range(3)]
    for seen, done, seed in zip(demos.observations, demos.actions, seeds(0, 1, 2), strict=True):
        assert seen.tolist() == [[0, seed], [1, seed], [2, seed]]
        assert done.flatten().tolist() == pytest.approx(wanted)
    taken = np.array([entry[1] for entry in log if entry[0] == "step"]).reshape(3, 3) - wanted
    assert 0.05 < np.abs(taken).mean() < 0.4
    assert len(np.unique(taken)) == 9


def test_without_noise_the_wanted_actions_are_taken(log):
    data.demos(Counting(), 1, noise=0)
    assert [entry[1] for entry in log if entry[0] == "step"] == pytest.approx([0.5, 0.6, 0.7])


def test_of_a_real_expert_recorded_actions_follow_from_recorded_observations():
    """Also where the expert works on its observation in place, as this one does."""
    task = MetaWorld("door-open-v3")
    demos = data.demos("door-open-v3", 2)
    assert demos.name == "door-open-v3"
    for seen, done in zip(demos.observations, demos.actions, strict=True):
        again = np.array([task.expert()(row) for row in seen.double().numpy()])
        assert torch.allclose(torch.tensor(again).float(), done, atol=1e-4)  # observations are float32
        assert torch.allclose(seen[1:, 18:36], seen[:-1, :18], atol=1e-6)  # each holds the one before
        assert float(done.abs().max()) <= 1
    first = [task().reset(seed) for seed in seeds(0, 1)]
    assert torch.equal(demos.observations[0][0], torch.tensor(first[0]).float())
    assert torch.equal(demos.observations[1][0], torch.tensor(first[1]).float())


def test_kept_and_tried_are_counted(log):
    demos = data.demos(Counting(fails=seeds(0, 2, 3)), 3)
    assert demos.provenance["kept"] == "3 successes of 6 episodes tried"
    assert [int(seen[0, 1]) for seen in demos.observations] == list(seeds(1, 4, 5))
    assert repr(demos) == "<Demos counting: 3 episodes, 9 steps, 2 numbers observed, 1 done>"
    assert set(demos.provenance) == {"source", "kept", "seed", "noise", "actions cut off"}


def test_a_simulation_that_breaks_down_is_a_failure(log):
    demos = data.demos(Counting(breaks=seeds(1)), 2)
    assert demos.provenance["kept"] == "2 successes of 3 episodes tried"
    assert [int(seen[0, 1]) for seen in demos.observations] == list(seeds(0, 2))
    assert log.count("made") == 2  # the broken simulator is not used again


def test_an_expert_that_fails_always(log, cache):
    with pytest.raises(ValueError, match=r"counting: the expert succeeded in 0 of 6 episodes; 2 were wanted"):
        data.demos(Counting(fails=seeds(*range(9))), 2)
    with pytest.raises(ValueError, match=r"in 0 of 3 episodes; in one, it fell apart; 1 were wanted"):
        data.demos(Counting(breaks=seeds(*range(9))), 1)
    assert kept(cache) == []


def test_actions_are_cut_off_and_counted(log):
    demos = data.demos(Counting(wish=0.85), 2)
    assert demos.provenance["actions cut off"] == "2 of 6 at -1 or 1"
    assert demos.actions[0].flatten().tolist() == pytest.approx([0.85, 0.95, 1])
    assert all(-1 <= entry[1] <= 1 for entry in log if entry[0] == "step")


@pytest.mark.parametrize(
    "bad", [{"n": 0}, {"seed": -1}, {"noise": -0.1}, {"noise": float("nan")}, {"noise": float("inf")}]
)
def test_bad_numbers(bad):
    with pytest.raises(ValueError, match="need n >= 1, noise >= 0 and seed >= 0, got"):
        data.demos(Detour(), **bad)


# --- the cache


def test_the_second_call_reads_the_file(log, cache):
    first = data.demos(Counting(fails=seeds(0)), 2)
    assert len(kept(cache)) == 1
    played = len(log)
    again = data.demos(Counting(fails=seeds(0)), 2)
    assert len(log) == played
    assert same(first, again)
    assert (again.name, again.provenance) == (first.name, first.provenance)


def test_other_demonstrations_are_other_files(log, cache):
    made = [
        data.demos(Counting(), 2),
        data.demos(Counting(), 3),
        data.demos(Counting(), 2, seed=1),
        data.demos(Counting(), 2, noise=0.3),
        data.demos(Counting(steps=5), 2),
    ]
    assert len(kept(cache)) == len(made)
    assert not same(made[0], made[2])


@pytest.mark.parametrize("damage", ["cut", "empty", "other", "lengths", "nan", "folder"])
def test_a_damaged_file_is_made_again(damage, log, cache):
    first = data.demos(Counting(), 2)
    (path,) = kept(cache)
    whole = path.read_bytes()
    tensors, about = experts.read_tensors(path)
    if damage == "cut":
        path.write_bytes(whole[:-5])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "other":
        experts.write_tensors(path, {"weights": torch.zeros(3)}, {})
    elif damage == "lengths":
        experts.write_tensors(path, {**tensors, "lengths": tensors["lengths"] + 1}, about)
    elif damage == "nan":
        experts.write_tensors(path, {**tensors, "actions": tensors["actions"] * torch.nan}, about)
    played = len(log)
    if damage == "folder":
        path.unlink()
        path.mkdir()
        with pytest.warns(UserWarning, match="cannot keep the demonstrations"):
            assert same(data.demos(Counting(), 2), first)
        return
    assert same(data.demos(Counting(), 2), first)
    assert len(log) > played
    assert path.read_bytes() == whole


def test_a_cache_that_cannot_be_made(log, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.warns(
        UserWarning, match="cannot keep the demonstrations, so next time .* made again"
    ) as told:
        assert len(data.demos(Counting(), 2)) == 2
    assert told[0].filename == __file__


def test_a_full_disk(log, tiny_disk, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tiny_disk))
    with pytest.warns(UserWarning, match="cannot keep the demonstrations.*the disk is full"):
        demos = data.demos(Detour(), 60)
    assert sum(map(len, demos.actions)) * 24 > 64 * 1024
    assert kept(tiny_disk) == []


# --- arrays of one's own


def episode(n=5, o=3, a=2):
    return np.arange(n * o, dtype=float).reshape(n, o), np.arange(n * a).reshape(n, a)


def test_arrays_of_any_kind_as_they_are():
    """Large actions are not cut off: nobody says that they lie in [-1, 1]."""
    seen, done = episode()
    tensors = torch.tensor(seen), torch.tensor(done)
    demos = data.demos([(seen, done), tensors, (seen.tolist(), done.tolist()), [seen, done]])
    assert len(demos) == 4
    for k in range(4):
        assert demos.observations[k].dtype == demos.actions[k].dtype == torch.float32
        assert demos.observations[k].tolist() == seen.tolist()
        assert demos.actions[k].tolist() == done.tolist()
    assert demos.provenance["actions cut off"].startswith("0 of 20")


def test_an_observation_after_the_last_action_is_left_out():
    seen, done = episode(6)
    demos = data.demos([(seen, done[:5])])
    assert demos.observations[0].tolist() == seen[:5].tolist()


def bad(seen=None, done=None, k=0):
    """A list of three episodes of which one is bad."""
    episodes = [episode() for _ in range(3)]
    good = episodes[k]
    episodes[k] = (good[0] if seen is None else seen, good[1] if done is None else done)
    return episodes


def with_entry(value, column=0):
    changed = episode()[column].astype(float)
    changed[3, 1] = value
    return changed


@pytest.mark.parametrize(
    ("episodes", "message"),
    [
        ([], "own: there are no demonstrations"),
        (bad(with_entry(np.nan)), r"own, episode 0: observations: NaN or infinite in 1 steps, first in 3"),
        (bad(done=with_entry(np.inf, 1), k=2), r"own, episode 2: actions: NaN or infinite in 1 steps"),
        (bad(np.zeros((0, 3)), np.zeros((0, 2)), 1), r"episode 1: observations: need a shape .*got \(0, 3\)"),
        (bad(np.zeros((5, 0))), r"episode 0: observations: need a shape \(steps, numbers\), got \(5, 0\)"),
        (bad(done=np.zeros(5)), r"episode 0: actions: need a shape \(steps, numbers\), got \(5,\)"),
        (bad([[1, 2, 3]] * 4 + [[1, 2]]), "episode 0: observations: not a table of numbers"),
        (bad([["a", "b", "c"]] * 5), "episode 0: observations: not a table of numbers"),
        (bad([[None, 1, 2]] * 5), "episode 0: observations: "),
        (bad(done={"a": 1}), "episode 0: actions: not a table of numbers"),
        (bad(torch.zeros(5, 3, requires_grad=True)), "episode 0: observations: not a table of numbers"),
        (bad(np.zeros((7, 3)), k=1), "episode 1: 7 observations and 5 actions"),
        (bad(np.zeros((4, 3)), k=1), "episode 1: 4 observations and 5 actions"),
        (bad(np.zeros((5, 4)), k=1), "episode 1: 4 numbers observed and 2 done, in episode 0 3 and 2"),
        (bad(done=np.zeros((5, 1)), k=2), "episode 2: 3 numbers observed and 1 done, in episode 0 3 and 2"),
        ([episode(), episode()[0]], "every episode must be a pair"),
        ([(*episode(), 3)], "every episode must be a pair"),
    ],
)
def test_arrays_that_do_not_fit(episodes, message):
    with pytest.raises(ValueError, match=message):
        data.demos(episodes)


def test_numbers_too_large_for_float32():
    with pytest.raises(ValueError, match="NaN or infinite"):
        data.demos([(np.full((2, 2), 1e300), np.zeros((2, 1)))])


# --- Robomimic's files


@pytest.fixture
def robomimic(tmp_path):
    """Twelve demonstrations that say which they are; their names lie in the alphabet's order in the file."""
    path = tmp_path / "low_dim.hdf5"
    with h5py.File(path, "w") as file:
        file["data/about"] = "no demonstration"
        file["mask/train"] = [b"demo_0"]
        for k in range(12):
            n = 4 + k
            demo = file.create_group(f"data/demo_{k}")
            demo["actions"] = np.full((n, 2), 0.5) * [[1, 3 if k == 11 else 1]]
            demo["rewards"], demo["dones"], demo["states"] = np.zeros(n), np.zeros(n), np.zeros((n, 9))
            demo["obs/position"] = np.full((n, 3), k, dtype=np.float64)
            demo["obs/gripper"] = np.full(n, 100 + k, dtype=np.float32)
            demo["obs/agentview_image"] = np.zeros((n, 8, 8, 3), np.uint8)
            demo["next_obs/position"] = np.zeros((n, 3))
    return path


@pytest.mark.parametrize("kind", [str, lambda path: path])
def test_robomimic(robomimic, kind):
    demos = data.demos(kind(robomimic))
    assert repr(demos) == "<Demos low_dim: 12 episodes, 114 steps, 4 numbers observed, 2 done>"
    for k, (seen, done) in enumerate(zip(demos.observations, demos.actions, strict=True)):
        assert seen.tolist() == [[100 + k, k, k, k]] * (4 + k)
        assert done.tolist() == [[0.5, 1.0 if k == 11 else 0.5]] * (4 + k)
    assert demos.provenance["actions cut off"] == "15 of 114 at -1 or 1"
    assert demos.provenance["kept"] == "all 12"
    assert provenance.data_read()["low_dim.hdf5"] == files.sha256(robomimic)


def test_columns_of_robomimic(robomimic):
    seen = data.demos(robomimic, columns=["position", "gripper"]).observations[1]
    assert seen.tolist() == [[1, 1, 1, 101]] * 5
    assert data.demos(robomimic, columns=["gripper"]).observations[2].tolist() == [[102]] * 6
    for columns in (["position", "colour"], ["agentview_image"], [], "position"):
        message = "low_dim.hdf5, demo_0: .* wanted; with one number .* there are gripper, position$"
        with pytest.raises(ValueError, match=message):
            data.demos(robomimic, columns=columns)


def change(path, work):
    with h5py.File(path, "r+") as file:
        work(file)


def replaced(name, value):
    def work(file):
        del file[name]
        file[name] = value

    return work


@pytest.mark.parametrize(
    ("work", "message"),
    [
        (lambda file: file.move("data", "date"), "low_dim.hdf5 is damaged, or not in Robomimic's layout"),
        (replaced("data", np.zeros(3)), "low_dim.hdf5 is damaged, or not in Robomimic's layout"),
        (lambda file: file.pop("data/demo_3/obs"), "not in Robomimic's layout"),
        (lambda file: file.pop("data/demo_3/actions"), "not in Robomimic's layout"),
        (lambda file: file.pop("data/demo_3/obs/gripper"), "episode 3: 3 numbers observed .* episode 0 4"),
        (replaced("data/demo_3/obs/gripper", np.zeros(6)), "demo_3: .* different numbers of steps"),
        (replaced("data/demo_3/actions", np.zeros((4, 2))), "episode 3: 7 observations and 4 actions"),
        (
            replaced("data/demo_3/actions", np.full((7, 2), np.nan)),
            "episode 3: actions: NaN or infinite in 7",
        ),
        (lambda file: [file.pop(f"data/demo_{k}") for k in range(12)], "there are no demonstrations"),
    ],
)
def test_other_layouts(robomimic, work, message):
    change(robomimic, work)
    with pytest.raises(ValueError, match=message):
        data.demos(robomimic)


def test_files_that_cannot_be_read(robomimic, tmp_path, monkeypatch):
    content = robomimic.read_bytes()
    robomimic.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"low_dim\.hdf5 is damaged"):
        data.demos(robomimic)
    robomimic.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"low_dim\.hdf5 is damaged"):
        data.demos(robomimic)
    with pytest.raises(FileNotFoundError, match=r"there is no .*nothing\.h5"):
        data.demos(tmp_path / "nothing.h5")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r"h5py is not installed: pip install 'lfmkit\[robots\]'"):
        data.demos(robomimic)


def test_names_that_nobody_knows():
    with pytest.raises(ValueError, match="unknown task 'reach-v4': choose one of "):
        data.demos("reach-v4")
