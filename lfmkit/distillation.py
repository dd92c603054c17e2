"""Few steps: straighten a flow by its own pairs (reflow), or distil it block by block into students.

Both draw noise once, let the teacher decode it once, and regress on what it did. A student takes one Euler
step a block, or a few.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Sequence
from typing import Any, NoReturn

import torch
from torch import Generator, Tensor

from lfmkit import nets
from lfmkit.flows.block import Block
from lfmkit.flows.flow import Flow
from lfmkit.flows.guidance import with_flag
from lfmkit.flows.inputs import as_conditions
from lfmkit.flows.integrate import in_chunks
from lfmkit.methods import rectified_flow
from lfmkit.solvers import Solver
from lfmkit.training.fitting import FitLog, fit
from lfmkit.training.gradients import Gradients
from lfmkit.training.parallel import threads
from lfmkit.training.settings import Compute, Settings, Training, refuse
from lfmkit.training.targets import Batch
from lfmkit.training.trainer import Trainer
from lfmkit.utils.progress import Callback, Progress


def reflow(
    flow: Flow,
    n: int = 100_000,
    rounds: int = 1,
    *,
    seed: int = 0,
    cond: Tensor | None = None,
    solver: Solver | None = None,
    **settings: Any,
) -> Flow:
    """Straighten a flow: train a rectified flow on pairs (decode(z), z) of it, and again on pairs of that.

    Args:
        flow: The flow to begin with. Of one block: its weights are the start of the next round.
        n: Pairs of each round.
        rounds: How often; flow matching and k rounds give the "(k+1)-rectified flow".
        seed: Seed of the noise; each round draws its own.
        cond: Conditions of the n pairs, for a conditional flow.
        solver: Solver of the pairs; the flow's own when left out.
        **settings: As for `fit`.

    Returns:
        The last round's flow.

    Raises:
        ValueError: n or rounds is below 1, or the condition does not fit.

    Reference: Flow Straight and Fast, arXiv 2209.03003.
    """
    if rounds < 1:
        raise ValueError(f"reflow needs 1 or more rounds, got {rounds}")
    for k in range(rounds):
        z = flow.noise(n, seed + k)
        straight = rectified_flow(flow.dim, flow.net, seed, flow.cond)
        if len(flow.blocks) == 1:
            straight.load_state_dict(flow.state_dict())
        fit(straight, flow.decode(z, solver, cond), partners=z, cond=cond, seed=seed + k, **settings)
        flow = straight
    return flow


def distill(
    teacher: Flow,
    blocks: int | Sequence[int] | None = None,
    substeps: int = 1,
    n: int = 100_000,
    *,
    cond: Tensor | None = None,
    solver: Solver | None = None,
    steps: int = 5000,
    batch: int = 1024,
    lr: float = 2e-3,
    seed: int = 0,
    progress: bool | Callback = True,
    training: Training = Training(),
    compute: Compute = Compute(),
    **unknown: NoReturn,
) -> tuple[Flow, FitLog]:
    """Distil a flow into a chain of students that take `substeps` Euler steps each: NFE = blocks x substeps.

    A student stands for a group of neighbouring blocks of the teacher and starts from the weights of the
    group's noise-side block. It learns the teacher's mean velocity over each of its steps, from the teacher's
    own states, in the mean square. The chain decodes; `encode` is no longer its inverse.

    Args:
        teacher: Any flow; a rectified flow's distillation is the case of one block.
        blocks: Number of students (the groups are then as equal as can be, larger ones at the noise side),
            or the size of each group, data side first; as many as the teacher has blocks when left out.
        substeps: Euler steps of each student.
        n: Samples of noise, drawn once.
        cond: Conditions of the n samples, for a conditional teacher.
        solver: Solver of the teacher; its own when left out.
        steps: Optimiser steps of each student.
        batch: Samples a step.
        lr: Peak learning rate.
        seed: Seed of noise and batches.
        progress: As for `fit`.
        training: How students are trained beyond that.
        compute: How it is computed: threads and parts of a batch.
        **unknown: Refused, with a word on where the argument belongs.

    Returns:
        The students, whose solver is Euler with `substeps` steps, and the log of their training.

    Raises:
        ValueError: The groups do not add up to the teacher's blocks; substeps or n is below 1; the teacher
            was not built from a network recipe.

    Reference: Local Flow Matching, arXiv 2410.02548, which distils block by block.
    """
    if unknown:
        refuse("distill", unknown, inspect.signature(distill).parameters)
    sizes = _groups(len(teacher.blocks), blocks)
    if substeps < 1:
        raise ValueError(f"a student takes 1 or more Euler steps, got {substeps}: NFE 0 draws nothing")
    if teacher.net is None:
        raise ValueError("distilling needs a teacher built from a network recipe (net=…)")
    settings, how = Settings(steps, batch, lr, seed, training=training), compute.on("cpu")
    started = time.perf_counter()
    states = teacher_states(teacher, n, substeps, sizes, seed, cond, solver)
    known = as_conditions(cond, teacher.cond, n, 1.0, states[0])
    students, histories, first = [], [], 0
    with Progress([steps] * len(sizes), progress) as bar, threads(how.threads):
        for k, size in enumerate(sizes):
            student = _student(teacher, first, size)
            gradients = Gradients(student, training, how)
            targets = Recorded(states[k], known, training.drop)
            histories.append(Trainer(student, targets, settings, k, gradients=gradients).run(bar.update))
            students.append(student)
            first += size
    flow = Flow(students, teacher.dim, teacher.net, Solver("euler", steps=substeps))
    about = {"steps": steps, "batch": batch, "lr": lr, "n": n, "groups": sizes, "seed": seed}
    return flow, FitLog(tuple(histories), time.perf_counter() - started, about)


def teacher_states(
    teacher: Flow,
    n: int,
    substeps: int,
    sizes: Sequence[int],
    seed: int = 0,
    cond: Tensor | None = None,
    solver: Solver | None = None,
) -> list[Tensor]:
    """Return where n decoded samples are at the ends of each group's steps, data side first.

    Each is of shape (substeps + 1, n, d), from the group's noise side to its data side.
    """
    z = teacher.noise(n, seed)
    known = as_conditions(cond, teacher.cond, n, 1.0, z)
    parts = [
        teacher.trajectory(part, substeps + 1, solver, cond=c).x
        for part, c in zip(in_chunks(z, z), in_chunks(known, z), strict=True)
    ]
    passed = torch.cat(parts, 1)  # (1 + substeps x blocks, n, d), noise first: a block has `substeps` pieces
    states, last = [], len(passed) - 1
    for size in sizes:  # the data side is at the end
        states.append(passed[last - size * substeps : last + 1 : size])
        last -= size * substeps
    return states


class Recorded:
    """Mean velocities of a teacher between recorded states, as training targets.

    Args:
        states: Shape (steps + 1, n, d), from t = 1 to t = 0 at equal distances.
        cond: Conditions, shape (n, c), or None.
        drop: Share of the samples shown without theirs.
    """

    def __init__(self, states: Tensor, cond: Tensor | None = None, drop: float = 0.0) -> None:
        self.states, self.cond, self.drop = states, cond, drop

    def draw(self, n: int, generator: Generator) -> Batch:
        """Return n recorded steps: their starts, times and mean velocities."""
        steps, rows, device = len(self.states) - 1, self.states.shape[1], self.states.device
        k = torch.randint(steps, (n,), generator=generator, device=device)
        row = torch.randint(rows, (n,), generator=generator, device=device)
        start, end = self.states[k, row], self.states[k + 1, row]
        t = 1 - k.to(start) / steps
        if self.cond is None:
            return Batch(start, t, (start - end) * steps)
        kept = torch.rand(n, 1, generator=generator, device=device) >= self.drop
        return Batch(start, t, (start - end) * steps, with_flag(self.cond[row], kept))


def _student(teacher: Flow, first: int, size: int) -> Block:
    group = teacher.chain[first : first + size]
    start = group[-1]
    assert teacher.net is not None
    net = nets.build(teacher.net, teacher.dim, teacher.cond).to(start.moments)
    gamma = sum(block.gamma for block in group)
    student = Block(net, gamma, start.path, "pairs", start.precondition, teacher.cond)
    student.to(start.moments).load_state_dict(start.state_dict())
    return student


def _groups(count: int, blocks: int | Sequence[int] | None) -> tuple[int, ...]:
    if blocks is None:
        return (1,) * count
    if isinstance(blocks, int):
        if not 1 <= blocks <= count:
            raise ValueError(f"a teacher of {count} blocks has 1 to {count} students, got {blocks}")
        small, larger = divmod(count, blocks)
        return (small,) * (blocks - larger) + (small + 1,) * larger
    sizes = tuple(blocks)
    if any(size < 1 for size in sizes) or sum(sizes) != count:
        raise ValueError(f"the groups {sizes} do not add up to the teacher's {count} blocks")
    return sizes
