"""`fit`: train all blocks of a flow, one after another or at the same time, and lose nothing when killed."""

from __future__ import annotations

import contextlib
import copy
import inspect
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from torch import Tensor

from lfmkit.cluster import check_folder
from lfmkit.flows.flow import Flow
from lfmkit.solvers import Solver
from lfmkit.training import optimiser
from lfmkit.training.chain import Chain
from lfmkit.training.objectives import Velocity
from lfmkit.training.pool import Pool, gathered
from lfmkit.training.run_folder import RunFolder
from lfmkit.training.settings import Compute, Settings, Training, check_together, refuse
from lfmkit.training.trainer import History
from lfmkit.utils import files, references
from lfmkit.utils.progress import Callback, Progress


@dataclass(frozen=True)
class FitLog:
    """What `fit` did.

    Attributes:
        blocks: History of each block, data side first.
        seconds: Wall-clock seconds of this call (0 work is done for what was found finished).
        settings: The training settings, as plain data.
    """

    blocks: tuple[History, ...]
    seconds: float
    settings: dict[str, object]

    @property
    def core_seconds(self) -> float:
        """Processor time of training, summed over the blocks; what other programs do does not count."""
        return sum(block.core_seconds for block in self.blocks)


def fit(
    flow: Flow,
    x: Tensor,
    *,
    cond: Tensor | None = None,
    partners: Tensor | None = None,
    val: Tensor | None = None,
    steps: int | Sequence[int] = 5000,
    batch: int = 1024,
    lr: float = 6e-3,
    pool: str = "pushed",
    targets: str = "pairs",
    seed: int = 0,
    workers: int = 1,
    device: str | Sequence[str] = "cpu",
    out: str | Path | None = None,
    progress: bool | Callback = True,
    training: Training = Training(),
    compute: Compute = Compute(),
    **unknown: NoReturn,
) -> FitLog:
    """Train every block of a flow on data x (n, dim); the flow holds the averaged weights afterwards.

    Args:
        flow: The flow; it is changed only when all blocks are done.
        x: Data, a float tensor of shape (n, dim), n >= 2, in the scale the flow works in; or images, bytes
            of shape (n, C, H, W), which are dequantised whenever they are drawn. With one worker,
            pool="ou" and targets="pairs" it is never copied, so that it may be a file larger than memory:
            ``torch.from_file(…, shared=True)``.
        cond: Condition of each row, for a flow built with cond=: (n, c) numbers or (n,) class numbers.
        partners: Noise-side end of each row, shape (n, dim), for the coupling "pairs" (`rectified_flow`).
        val: Held-out rows, shape (m, dim), or images, for early stopping: each block keeps the averaged
            weights whose loss on them was lowest (25 looks a run). They are never trained on.
        steps: Optimiser steps of each block; one number, or one for each block, data side first.
        batch: Samples a step.
        lr: Peak learning rate.
        pool: What block k is trained on. "pushed": data encoded by the trained blocks before it (Algorithm 1
            of arXiv 2410.02548); "ou": data diffused in closed form, so that all blocks can train at once.
        targets: "pairs": regress on the velocity between x_l and x_r, as in the paper. Two others, for the
            "ou" pool, have the same minimiser and less noise. "conditional": its mean given the data row.
            "averaged": its mean over nearby data points, for data of few dimensions.
        seed: Seed of batches, times and noise.
        workers: Processes that train blocks at the same time ("ou" pool); results do not depend on it.
        device: Where to train, for example "cpu" or "cuda"; the flow ends there. Several, ["cuda:0", …],
            for workers: block k is trained on number k modulo their count. With those, or with a cluster,
            the flow ends on the CPU. With an accelerator it is the accelerator's.
        out: Folder for checkpoints. The same call with the same folder continues a run that was killed, and
            ends where an uninterrupted run ends (on the CPU bit for bit); a finished run is only read.
        progress: Show a progress bar; or a function of a `training.Step`, called about a hundred times for
            each block. If it returns something true, that block trains no longer and keeps the weights it
            has. An exception that it raises stops the training and leaves the flow as it was.
        training: How blocks are trained beyond that: clipping, averages, objective, optimiser and so on.
        compute: How it is computed: threads, compiling, a cluster, several GPUs.
        **unknown: Refused, with a word on where the argument belongs.

    Returns:
        The losses and seconds of each block.

    Raises:
        TypeError: x is not a floating-point tensor, or an argument belongs to training= or compute=.
        ValueError: x has NaN or infinite rows, the wrong shape or fewer than 2 rows; cond or partners do not
            fit the rows, are missing, or are not what this flow takes; a setting is out of range; `out` holds
            a run with other settings, data or starting weights.
        ConnectionError: The cluster has no workers.
        RuntimeError: The loss blew up, memory does not suffice for one sample, a worker was killed (in a
            cluster: several times), a worker of the cluster does not see `out` or has another lfmkit, or
            another run uses `out`.
        OSError: `out` cannot be written or the disk is full.
    """
    if unknown:
        refuse("fit", unknown, inspect.signature(fit).parameters)
    count = len(flow.blocks)
    each = [steps] * count if isinstance(steps, int) else list(steps)
    if len(each) != count:
        raise ValueError(f"steps needs one number, or one for each of the {count} blocks, got {len(each)}")
    settings = [Settings(k, batch, lr, seed, targets, training) for k in each]
    how, client = compute.on(device), compute.client
    check_together(flow, pool, settings[0], workers, how, client, out)
    given = gathered(flow, x, cond, partners, val, targets == "averaged", training.flip)
    if out is not None:
        flow.describe()  # says now what could not be saved in the end
    started = time.perf_counter()
    here = how.devices[0] if client is None and workers == 1 else "cpu"
    work = copy.deepcopy(flow).to(here)
    _unmark(work)  # what an earlier objective has left: pushing solves ODEs
    given = given.to(next(work.parameters()))
    about = _about(flow, each, pool, settings[0], given, out is not None)
    with contextlib.ExitStack() as stack:
        run, team = None, how.team
        if out is not None:
            folder = Path(out).absolute()  # workers have other current folders
            if team.leads:
                stack.enter_context(files.locked(folder))
            if client is not None:
                check_folder(client, folder)
            run = team.lead(lambda: RunFolder(folder, about, flow, given.tensors()))
        if run is not None and run.finished:
            histories = run.read_finished(work)
        else:
            bar = stack.enter_context(Progress(each, progress if team.leads else False))
            chain = Chain(work, given, settings, how, run, bar)
            pushed = pool == "pushed" and client is None  # a single block is the same in both
            histories = chain.pushed() if pushed else chain.ou(workers, client)
            _mark(work, training)
            if run is not None and team.leads:
                run.finish(work, histories)
            team.wait()
    flow.to(here).load_state_dict(work.state_dict())
    _unmark(flow)
    _mark(flow, training)
    return FitLog(tuple(histories), time.perf_counter() - started, about)


def _about(
    flow: Flow, each: list[int], pool: str, settings: Settings, given: Pool, kept: bool
) -> dict[str, Any]:
    """Return the settings as plain data; those that came later only where they are chosen."""
    training = settings.training
    about: dict[str, Any] = {"steps": each, "batch": settings.batch, "lr": settings.lr}
    about |= {name: getattr(training, name) for name in ("warmup", "clip", "ema")}
    about |= {"seed": settings.seed, "pool": pool, "targets": settings.targets}
    about["warm_start"] = training.warm_start
    if given.cond is not None:
        about["drop"] = training.drop
    if given.val is not None:
        about["patience"] = training.patience
    for name, usual in (("near_data", 1.0), ("flip", False), ("precision", "float32")):
        if getattr(training, name) != usual:
            about[name] = getattr(training, name)
    if training.objective != Velocity():
        own = training.objective
        about["objective"] = references.to_json(own, {}, "objective") if kept else repr(own)
    if training.optimizer is not None:
        weights = [p for p in flow.chain[0].parameters() if p.requires_grad]
        about["optimizer"] = optimiser.described(training.optimizer, weights, settings.lr)
    return about


def _unmark(flow: Flow) -> None:
    """Take back what `_mark` said; a flow whose sampler came with its objective solves ODEs again."""
    if flow.objective is not None and flow.solver == flow.objective.sampler:
        flow.solver = Solver()
    flow.objective = None


def _mark(flow: Flow, training: Training) -> None:
    """Say in a trained flow what it was trained for, and how it is sampled for that reason."""
    if training.objective != Velocity():
        flow.objective = training.objective
        flow.solver = training.objective.sampler or flow.solver
