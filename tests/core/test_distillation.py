"""Reflow and distillation, against teachers whose maps are known."""

import math
from itertools import pairwise

import pytest
import torch

import lfmkit
from lfmkit import Block, Flow, Solver, distillation, methods, nets, oracles

NET = nets.MLP(width=48, depth=2, fourier=8, scale=1.0)
FOUR = torch.zeros(4, 2)


@pytest.fixture(scope="module")
def mixture():
    return oracles.GaussianMixture([[-1.2, -0.5], [1.2, 0.3], [0.1, 1.4]], [0.05, 0.1, 0.08])


@pytest.fixture(scope="module")
def teacher(mixture):
    flow = methods.lfm(2, (0.05, 0.2, 0.4), net=NET)
    lfmkit.fit(flow, mixture.sample(20_000), steps=400, batch=512, pool="ou", progress=False)
    return flow


@pytest.mark.parametrize(
    ("blocks", "substeps", "sizes"),
    [
        (None, 1, (1, 1, 1, 1)),
        (1, 1, (4,)),
        (2, 1, (2, 2)),
        (3, 1, (1, 1, 2)),
        (4, 2, (1, 1, 1, 1)),
        ((3, 1), 2, (3, 1)),
    ],
)
def test_states_lie_on_the_teachers_way(blocks, substeps, sizes, teacher):
    """The groups' ends meet, from the noise to the samples, and the steps between are the teacher's own."""
    assert distillation._groups(4, blocks) == sizes
    states = distillation.teacher_states(teacher, 20, substeps, sizes, seed=3)
    z = teacher.noise(20, 3)
    assert [s.shape for s in states] == [(substeps + 1, 20, 2)] * len(sizes)
    assert torch.equal(states[-1][0], z)
    assert torch.allclose(states[0][-1], teacher.decode(z), atol=1e-3)
    for left, right in pairwise(states):
        assert torch.equal(left[0], right[-1])
    if sizes[0] == 2:  # the middle of a group of two blocks with two steps is the border of the blocks
        middle = distillation.teacher_states(teacher, 20, 2, sizes, seed=3)[0][1]
        assert torch.allclose(middle, teacher.push(states[0][-1], 0), atol=1e-3)


@pytest.mark.parametrize(("blocks", "substeps"), [(4, 1), (2, 1), (1, 1), (4, 2)])
def test_students_do_in_few_steps_what_the_teacher_does_in_many(blocks, substeps, teacher):
    student, log = distillation.distill(
        teacher, blocks, substeps, n=4000, steps=400, batch=512, progress=False
    )
    z = teacher.noise(500, seed=99)
    wanted = teacher.decode(z)
    few = teacher.decode(z, Solver("euler", steps=1))
    got = student.decode(z)
    assert sum(student.last_nfe) == blocks * substeps
    assert len(log.blocks) == len(student.blocks) == blocks
    error = (got - wanted).norm(dim=1).mean()
    assert error < 0.25 * (few - wanted).norm(dim=1).mean()
    assert error < 0.3


def test_a_student_starts_from_the_teachers_block(teacher):
    student, _ = distillation.distill(
        teacher, (1, 3), n=100, steps=1, lr=1e-12, training=lfmkit.Training(ema=0.0), progress=False
    )
    z, once = teacher.noise(50), Solver("euler", steps=1)
    free = teacher.chain[-1]
    with torch.no_grad():
        assert torch.allclose(student.chain[-1](z, torch.tensor(1.0)), free(z, torch.tensor(1.0)), atol=1e-5)
    assert student.schedule == (0.05,)
    assert student.sample(5, solver=once).shape == (5, 2)


def test_recorded_steps_lead_from_state_to_state(teacher):
    states = distillation.teacher_states(teacher, 30, 3, (4,))[0]
    x, t, velocity, *_ = distillation.Recorded(states).draw(200, torch.Generator().manual_seed(0))
    k = ((1 - t) * 3).round().long()
    for start, step, v in zip(x, k, velocity, strict=True):
        row = int((states[step] - start).norm(dim=1).argmin())
        assert torch.allclose(states[step, row] - v / 3, states[step + 1, row], atol=1e-5)


def test_reflow_straightens(mixture):
    """Each round's paths are straighter, and one Euler step gets nearer to its own end."""
    flow = methods.fm(2, net=NET)
    settings = {"steps": 500, "batch": 512, "progress": False}
    lfmkit.fit(flow, mixture.sample(20_000), **settings)
    straight = distillation.reflow(flow, 10_000, **settings)
    z = flow.noise(500, seed=5)
    shortcuts = [
        float((f.decode(z, Solver("euler", steps=1)) - f.decode(z)).norm(dim=1).mean())
        for f in (flow, straight)
    ]
    assert shortcuts[1] < 0.3 * shortcuts[0]


def test_given_pairs_are_learned_as_given():
    """Pairs z = R x of a rotation: the rectified flow's map is that rotation, not the one map."""
    x = torch.randn(20_000, 2, generator=torch.Generator().manual_seed(0))
    turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    flow = methods.rectified_flow(2, net=nets.MLP(width=48, depth=2, fourier=0))
    lfmkit.fit(flow, x, partners=x @ turn.T, steps=600, batch=512, progress=False)
    some = x[:200]
    assert (flow.encode(some) - some @ turn.T).norm(dim=1).mean() < 0.1


def test_conditions_go_along(mixture):
    labels = torch.arange(3000) % 2
    x = 0.2 * torch.randn(3000, 2, generator=torch.Generator().manual_seed(0)) + 3.0 * labels[:, None] - 1.5
    flow = methods.lfm(2, (0.3,), net=NET, cond=2)
    lfmkit.fit(flow, x, cond=labels, steps=300, batch=512, progress=False)
    student, _ = distillation.distill(
        flow, 1, n=2000, cond=labels[:2000], steps=300, batch=512, progress=False
    )
    straight = distillation.reflow(flow, 2000, cond=labels[:2000], steps=300, batch=512, progress=False)
    for few in (student, straight):
        for k in (0, 1):
            assert (few.sample(200, cond=torch.tensor(k)).mean(0) - (3.0 * k - 1.5)).abs().max() < 0.3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: distillation.distill(t, 5, n=10, steps=1), "1 to 4 students, got 5"),
        (lambda t: distillation.distill(t, 0, n=10, steps=1), "1 to 4 students, got 0"),
        (lambda t: distillation.distill(t, (2, 1), n=10, steps=1), "do not add up to the teacher's 4 blocks"),
        (lambda t: distillation.distill(t, 4, 0, n=10, steps=1), "NFE 0 draws nothing"),
        (lambda t: distillation.distill(t, n=0, steps=1), "number of samples must be >= 1"),
        (lambda t: distillation.distill(t, n=10, steps=0), "steps must be"),
        (lambda t: distillation.distill(t, n=10, cond=torch.zeros(10, 2), steps=1), "takes no condition"),
        (lambda t: distillation.reflow(t, 10, rounds=0), "1 or more rounds"),
        (lambda t: lfmkit.fit(methods.rectified_flow(2), FOUR, steps=1), "go together"),
        (lambda t: lfmkit.fit(t, FOUR, partners=FOUR, steps=1), "go together"),
        (lambda t: lfmkit.fit(methods.rectified_flow(2), FOUR, partners=FOUR[:3]), "pairs of unequal length"),
        (lambda t: lfmkit.fit(methods.rectified_flow(2), FOUR, partners=torch.zeros(4, 3)), "partners needs"),
        (lambda t: Solver("heun"), "unknown solver 'heun'"),
    ],
)  # fmt: skip
def test_bad_calls(call, message, teacher):
    with pytest.raises(ValueError, match=message):
        call(teacher)


def test_a_teacher_of_bare_functions_cannot_be_distilled():
    teacher = Flow([Block(lambda x, t: -x, math.inf, "linear", "gaussian")], 2)
    with pytest.raises(ValueError, match="network recipe"):
        distillation.distill(teacher, n=10)
