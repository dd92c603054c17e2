"""`fit`: train all blocks of a flow, one after another or at the same time, and lose nothing when killed."""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Generator, Tensor

from lfmkit import files, schedules, tensorfiles
from lfmkit.arguments import Given, check_choices, check_given, check_held_out
from lfmkit.blocks import Block
from lfmkit.cluster import check_folder
from lfmkit.flows import Flow, as_samples
from lfmkit.heldout import HeldOut
from lfmkit.progress import Listener, Progress
from lfmkit.remote import train_on_cluster
from lfmkit.runfolder import RunFolder
from lfmkit.targets import Averaged, Pairs, kd_order
from lfmkit.training import History, Settings, Trainer, measure_moments
from lfmkit.workers import one_thread, train_in_workers

if TYPE_CHECKING:
    from distributed import Client


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
    patience: float = 0.25,
    steps: int | Sequence[int] = 5000,
    batch: int = 1024,
    lr: float = 6e-3,
    warmup: float = 0.02,
    clip: float | None = None,
    ema: float = 0.1,
    pool: str = "pushed",
    targets: str = "pairs",
    near_data: float = 1.0,
    warm_start: bool = True,
    drop: float = 0.1,
    workers: int = 1,
    client: Client | None = None,
    seed: int = 0,
    device: str = "cpu",
    progress: bool | Listener = True,
    out: str | Path | None = None,
    save_every: float = 10.0,
) -> FitLog:
    """Train every block of a flow on data x (n, dim); the flow holds the averaged weights afterwards.

    Args:
        flow: The flow; it is changed only when all blocks are done.
        x: Data, a float tensor of shape (n, dim), n >= 2, in the scale the flow works in. With one
            worker, pool="ou" and targets="pairs" it is never copied, so that it may be a file larger than
            memory: ``torch.from_file(…, shared=True)``.
        cond: Condition of each row, for a flow built with cond=: (n, c) numbers or (n,) class numbers.
        partners: Noise-side end of each row, shape (n, dim), for the coupling "pairs" (`rectified_flow`).
        val: Held-out rows, shape (m, dim), for early stopping: each block keeps the averaged weights whose
            loss on them was lowest (25 looks a run). They are never trained on.
        patience: Share of a block's steps without a new lowest loss on `val` after which it stops.
        steps: Optimiser steps of each block; one number, or one for each block, data side first.
        batch: Samples a step.
        lr: Peak learning rate of Adam.
        warmup: Share of the steps in which lr rises, before it falls to 0 along a cosine.
        clip: Largest gradient norm; None for no clipping.
        ema: How far the average of the weights reaches back, as a share of the steps done; 0 for none.
        pool: What block k is trained on. "pushed": data encoded by the trained blocks before it (Algorithm 1
            of arXiv 2410.02548); "ou": data diffused in closed form, so that all blocks can train at once.
        targets: "pairs": regress on the velocity between x_l and x_r, as in the paper. "averaged": regress on
            means of it over nearby data points, with less noise (see `targets.Averaged`; "ou" pool only).
        near_data: p in t = u^p with u uniform: above 1 more times are drawn near each block's data end t = 0,
            which pays where data have edges and atoms (InterFlow draws t from Beta distributions too, arXiv
            2209.15571; its data end is t = 1).
        warm_start: With the "pushed" pool, start each block from the weights of the one before.
        drop: Share of the samples shown without their condition, so that `guidance` has both to compare.
        workers: Processes that train blocks at the same time ("ou" pool); results do not depend on it.
        client: Client of a Dask cluster that trains the blocks instead ("ou" pool), with the same results;
            see `lfmkit.cluster.connect`. `out` must then lie where all of its workers see it.
        seed: Seed of batches, times and noise.
        device: Where to train, for example "cpu" or "cuda"; the flow ends there. With a client it is the
            workers' device, and the flow ends on the CPU.
        progress: Show a progress bar; or a function (block, step, loss) -> None, called about every 1% of a
            block's steps. An exception that it raises stops the training and leaves the flow as it was.
        out: Folder for checkpoints. The same call with the same folder continues a run that was killed, and
            ends where an uninterrupted run ends (on the CPU bit for bit); a finished run is only read.
        save_every: Seconds between checkpoints.

    Returns:
        The losses and seconds of each block.

    Raises:
        ImportError: client= was given, and Dask is not installed.
        TypeError: x is no floating-point tensor, or client is no Dask client.
        ValueError: x has NaN or infinite rows, the wrong shape or fewer than 2 rows; cond or partners do not
            fit the rows, are missing, or are not what this flow takes; a setting is out of range; `out` holds
            a run with other settings, data or starting weights.
        ConnectionError: The cluster has no workers.
        RuntimeError: The loss blew up, a worker was killed (in a cluster: several times), a worker of the
            cluster does not see `out` or has another lfmkit, or another run uses `out`.
        OSError: `out` cannot be written or the disk is full.
    """
    count = len(flow.blocks)
    each = [steps] * count if isinstance(steps, int) else list(steps)
    if len(each) != count:
        raise ValueError(f"steps needs one number, or one for each of the {count} blocks, got {len(each)}")
    settings = [Settings(k, batch, lr, warmup, clip, ema, seed) for k in each]
    check_choices(flow, pool, targets, workers, device, client)
    x = as_samples(x, flow.dim, "the data").detach()
    if len(x) < 2:
        raise ValueError("the data needs 2 or more rows, got 1")
    given = check_given(flow, x, cond, partners, targets, drop, near_data)
    val = check_held_out(flow, val, given, patience)
    if out is not None and flow.net is None:
        raise ValueError("out= needs a flow built from a network recipe (net=…)")
    started = time.perf_counter()
    here = device if client is None else "cpu"
    work = copy.deepcopy(flow).to(here)
    x = x.to(next(work.parameters()))
    given = given.to(x)
    val = None if val is None else val.to(x)
    about = {**asdict(settings[0]), "steps": each, "pool": pool, "targets": targets, "warm_start": warm_start}
    if given.cond is not None:
        about["drop"] = drop
    if val is not None:
        about["patience"] = patience
    if near_data != 1:
        about["near_data"] = near_data
    with contextlib.ExitStack() as stack:
        run = None
        if out is not None:
            folder = (
                Path(out) if client is None else Path(out).absolute()
            )  # workers have other current folders
            stack.enter_context(files.locked(folder))
            if client is not None:
                check_folder(client, folder)
            run = RunFolder(folder, about, flow, [x, *given.tensors(), *([] if val is None else [val])])
        if run is not None and run.finished:
            histories = run.read_finished(work)
        else:
            bar = stack.enter_context(Progress(each, progress))
            jobs = Jobs(work, x, val, patience, given, settings, targets, device, run, save_every, bar)
            pushed = pool == "pushed" and client is None  # a single block is the same in both
            histories = jobs.pushed(warm_start) if pushed else jobs.ou(workers, client)
            if run is not None:
                run.finish(work, histories)
    flow.to(here).load_state_dict(work.state_dict())
    return FitLog(tuple(histories), time.perf_counter() - started, about)


@dataclass
class Jobs:
    """Train the blocks of a flow on data x: in this process, in workers, or on a cluster."""

    flow: Flow
    x: Tensor
    val: Tensor | None
    patience: float
    given: Given
    settings: Sequence[Settings]
    targets: str
    device: str
    run: RunFolder | None
    save_every: float
    bar: Progress

    def pushed(self, warm_start: bool) -> list[History]:
        """Train block after block; encode the pool through each, once."""
        histories, x, val, blocks = [], self.x, self.val, self.flow.chain
        for k, block in enumerate(blocks):
            if k > 0:
                x = self._push(x, k)
                val = None if val is None else self.flow.push(val, k - 1)
                if warm_start:
                    block.load_state_dict(blocks[k - 1].state_dict())
            histories.append(self._run(self._maker(k, x, val, 0.0), k))
        return histories

    def ou(self, workers: int, client: Client | None = None) -> list[History]:
        """Train all blocks on OU marginals of the data, `workers` at a time or as a cluster can."""
        blocks = self.flow.chain
        lefts = [0.0, *schedules.times(block.gamma for block in blocks[:-1])]
        x = self.x[kd_order(self.x)] if self.targets == "averaged" else self.x
        makers = [self._maker(k, x, self.val, T) for k, T in enumerate(lefts)]
        if client is not None:
            results = train_on_cluster(client, makers, self.save_every, self.bar)
        elif workers > 1:
            results = train_in_workers(makers, workers, self.save_every, self.bar)
        else:
            return [self._run(make, k) for k, make in enumerate(makers)]
        for block, (state, _) in zip(blocks, results, strict=True):
            block.load_state_dict(state)
        return [history for _, history in results]

    def _maker(self, k: int, x: Tensor, val: Tensor | None, T: float) -> Callable[[], Trainer]:
        state_file = self.run.state_file(k) if self.run is not None else None
        return partial(
            make_trainer,
            self.flow.chain[k],
            x,
            self.given,
            T,
            self.targets,
            self.settings[k],
            k,
            state_file,
            self.device,
            val,
            self.patience,
        )

    def _run(self, make: Callable[[], Trainer], k: int) -> History:
        with one_thread():
            return make().run(partial(self.bar.update, k), self.save_every)

    def _push(self, x: Tensor, k: int) -> Tensor:
        """Return the data-side pool of block k: the pool of block k - 1, encoded by that block."""
        file = self.run.pool_file(k) if self.run is not None else None
        if file is not None and file.exists():
            return tensorfiles.read_tensors(file)[0]["pool"].to(x)
        x = self.flow.push(x, k - 1, cond=self.given.cond)
        if file is not None:
            tensorfiles.write_tensors(file, {"pool": x}, {"block": k})
        return x


def make_trainer(
    block: Block,
    x: Tensor,
    given: Given,
    T: float,
    targets: str,
    settings: Settings,
    index: int,
    state_file: Path | None,
    device: str = "cpu",
    val: Tensor | None = None,
    patience: float = 0.25,
) -> Trainer:
    """Return the trainer of one block whose pool is x diffused for time T; measure the block's moments."""
    block, x = block.to(device), x.to(device)
    cond, partners, drop, near_data = given.to(x)
    ends = T, block.gamma, block.path, block.coupling
    pairs = Pairs(x, *ends, partners, cond, drop, near_data)
    measure_moments(block, pairs, settings.seed)
    held_out = None
    if val is not None:
        apart = Pairs(val.to(device), *ends, near_data=near_data)
        held_out = HeldOut(
            apart, patience, Generator(x.device).manual_seed(settings.seed * 1_000_003 + index)
        )
    source = pairs if targets == "pairs" else Averaged(x, T, block.gamma, block.path, settings.seed)
    return Trainer(block, source, settings, index, state_file, held_out)
