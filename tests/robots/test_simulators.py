"""Simulators: a seed determines its episode, whatever was played before; experts can do their tasks."""

import itertools
import subprocess
import sys
from importlib.metadata import version

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfmkit import simulators
from lfmkit.simulators import Detour, MetaWorld, metaworld, start

TASKS = [MetaWorld("reach-v3"), MetaWorld("door-open-v3"), Detour()]


def name(task):
    return getattr(task, "task", "detour")


def play(simulator, rule, seed):
    """Return all observations of an episode, and whether it ended well."""
    seen, done = [simulator.reset(seed)], False
    while not done and len(seen) <= simulator.steps:
        observation, done = simulator.step(rule(seen[-1]))
        seen.append(observation)
    return np.array(seen), done


@pytest.fixture(scope="module", params=TASKS, ids=name)
def task(request):
    return request.param


@pytest.fixture(scope="module")
def simulator(task):
    return task()


def test_an_episode_is_what_its_seed_says(task, simulator):
    """Exactly: in a fresh simulator, and in one that has played, broken off and failed others before."""
    seed = start(3, seed=1)
    expected, _ = play(task(), task.expert(seed), seed)
    play(simulator, task.expert(2), 2)
    rng = np.random.default_rng(0)
    simulator.reset(7)
    for _ in range(60):  # wherever random actions lead
        simulator.step(rng.uniform(-1, 1, 2 if isinstance(task, Detour) else 4))
    again, _ = play(simulator, task.expert(seed), seed)
    assert np.array_equal(again, expected)
    assert np.array_equal(play(simulator, task.expert(seed), seed)[0], expected)


def test_seeds_differ(task, simulator):
    first = [tuple(simulator.reset(start(k))) for k in range(6)]
    first += [tuple(simulator.reset(start(k, demonstration=True))) for k in range(6)]
    assert len(set(first)) == 12


def test_experts_succeed(task, simulator):
    assert all(play(simulator, task.expert(seed), seed)[1] for seed in map(start, range(4)))


def test_observations_stay_what_they_were(task, simulator):
    """Neither the simulator nor the expert, who acts in place, changes them later."""
    seen = [simulator.reset(0)]
    kept = [seen[0].copy()]
    for _ in range(5):
        seen.append(simulator.step(task.expert(0)(seen[-1]))[0])
        kept.append(seen[-1].copy())
    assert np.array_equal(seen, kept)


def test_the_numbers_of_unstable_states_are_those_of_mujoco():
    """MuJoCo counts its warnings by kind."""
    from mujoco import mjtWarning

    bad = [mjtWarning.mjWARN_BADQPOS, mjtWarning.mjWARN_BADQVEL, mjtWarning.mjWARN_BADQACC]
    assert list(range(8))[metaworld.UNSTABLE] == [int(kind) for kind in bad]


@given(
    episodes=st.lists(
        st.tuples(st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1), st.booleans()), unique=True
    )
)
def test_no_two_episodes_have_the_same_seed(episodes):
    seeds = [start(k, seed, demonstration=shown) for k, seed, shown in episodes]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**64 for seed in seeds)  # what torch's generators take


def test_unknown_tasks_and_bad_numbers_of_steps():
    with pytest.raises(ValueError, match=r"unknown task 'reach-v9': choose one of .*door-open-v3.*reach-v3"):
        MetaWorld("reach-v9")
    for steps in (0, -1, 501):
        with pytest.raises(ValueError, match=f"steps must lie between 1 and 500, got {steps}"):
            MetaWorld("reach-v3", steps)
    for radius in (0.0, 0.8, float("nan")):
        with pytest.raises(ValueError, match=r"radius must lie between 0 and 0\.8"):
            Detour(radius)
    with pytest.raises(ValueError, match="steps must be 1 or more, got 0"):
        Detour(steps=0)


def test_actions_of_a_wrong_size(task, simulator):
    simulator.reset(0)
    for action in (np.zeros(3), np.zeros((1, 4)), np.float64(0)):
        with pytest.raises(ValueError, match=r"an action .*has (two|four) numbers, got the shape"):
            simulator.step(action)


def test_meta_world_takes_500_steps():
    simulator = MetaWorld("reach-v3")()
    simulator.reset(0)
    assert [simulator.step(np.zeros(4))[1] for _ in range(500)] == [False] * 500


def test_an_unstable_state_is_an_error_and_the_next_episode_is_unharmed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # MuJoCo writes a log into it
    simulator = MetaWorld("reach-v3")()
    first = simulator.reset(0)
    simulator.env.data.qvel[3] = np.nan
    with pytest.raises(RuntimeError, match="MuJoCo found the state unstable"):
        simulator.step(np.zeros(4))
    assert np.array_equal(simulator.reset(0), first)
    simulator.step(np.zeros(4))


def test_the_sources_of_tasks_differ():
    tasks = [MetaWorld("reach-v3"), MetaWorld("push-v3"), MetaWorld("reach-v3", 100), Detour(), Detour(0.4)]
    assert len({task.source for task in tasks}) == 5
    assert MetaWorld("reach-v3").source == f"reach-v3 of Meta-World {version('metaworld')}, 500 steps"


def test_a_robot_that_touches_the_disc_is_stuck():
    simulator = Detour()()
    place = simulator.reset(0)[:2]
    for _ in range(30):
        place, done = simulator.step([1.0, 0.0])
    assert not done
    stuck = place[:2]
    assert np.linalg.norm(stuck) <= 0.5
    for action in itertools.product((-1.0, 1.0), repeat=2):
        assert np.array_equal(simulator.step(action)[0][:2], stuck)


def test_moves_have_a_longest_one():
    simulator = Detour()()
    before = simulator.reset(0)[:2]
    after = simulator.step([-30.0, 40.0])[0][:2]
    assert after - before == pytest.approx([-0.03, 0.04])
    assert simulator.step([0.0, 0.5])[0][:2] - after == pytest.approx([0, 0.025])


def test_the_expert_passes_on_both_sides_and_the_mean_of_both_hits_the_disc():
    task = Detour()
    sides = {}
    for seed in range(12):  # the heights at which the middle is passed
        seen, done = play(task(), task.expert(seed), seed)
        assert done
        height = seen[np.abs(seen[:, 0]).argmin(), 1]
        assert abs(height) > 0.5
        sides[height > 0] = task.expert(seed)
    assert set(sides) == {True, False}

    def mean(observation):
        return (sides[True](observation) + sides[False](observation)) / 2

    for seed in range(12):
        seen, done = play(task(), mean, seed)
        assert not done
        assert np.linalg.norm(seen[-1, :2]) <= 0.5


def test_both_experts_do_the_same_until_they_turn():
    task = Detour()
    experts = [task.expert(seed) for seed in range(12)]
    early, late = np.array([-0.9, 0.05, 1, 0]), np.array([-0.7, 0.05, 1, 0])
    assert len({tuple(rule(early)) for rule in experts}) == 1
    assert len({tuple(rule(late)) for rule in experts}) == 2


def test_film_needs_a_renderer(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "disabled")
    assert simulators.film(TASKS[0], 0, [np.zeros(4)] * 3) is None


def test_film_has_the_first_picture_and_every_second(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "egl")

    class Drawn(metaworld.MetaWorldSimulator):
        def __init__(self, recipe, render_mode):
            super().__init__(recipe)
            self.env.render = lambda: np.full((4, 6, 3), self.env.curr_path_length, np.uint8)

    monkeypatch.setattr(metaworld, "MetaWorldSimulator", Drawn)
    frames = simulators.film(TASKS[0], 0, [np.zeros(4)] * 5, every=2)
    assert frames.shape == (3, 4, 6, 3)
    assert frames[:, 0, 0, 0].tolist() == [0, 2, 4]


def test_film_of_a_renderer_that_fails(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "egl")

    class Blind(metaworld.MetaWorldSimulator):
        def __init__(self, recipe, render_mode):
            super().__init__(recipe)
            self.env.render = lambda: 1 / 0

    monkeypatch.setattr(metaworld, "MetaWorldSimulator", Blind)
    with pytest.warns(UserWarning, match="no pictures: MUJOCO_GL=egl failed: division by zero"):
        assert simulators.film(TASKS[0], 0, []) is None


def test_without_meta_world_all_else_works():
    code = """if True:
        import sys, doctest, tempfile, os
        sys.modules["metaworld"] = None
        os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp()
        import numpy as np, lfmkit
        from lfmkit import data, rollouts, simulators, policies
        from lfmkit.data import demonstrations
        for module in (demonstrations, policies, rollouts, simulators):
            found = doctest.testmod(module)
            assert found.attempted and not found.failed, module
        assert len(data.demos([(np.zeros((3, 2)), np.zeros((3, 1)))])) == 1
        assert len(data.demos(simulators.Detour(), 2)) == 2  # made by its expert
        detour = simulators.Detour()
        assert rollouts.rollouts(rollouts.Expert(detour.expert(0)), detour, 4).success.value == 1
        for make in (lambda: data.demos("reach-v3"), lambda: simulators.MetaWorld("reach-v3")):
            try:
                make()
            except ImportError as error:
                print(error)
        """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert len(lines) == 2, done.stderr
    for line in lines:
        assert line.startswith("simulated robots need Meta-World (")
        assert line.endswith("): pip install 'lfmkit[robots]'")
