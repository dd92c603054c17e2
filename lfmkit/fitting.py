"""`fit`: train all blocks of a flow, one after another or at the same time, and lose nothing when killed."""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from lfmkit import files, schedules
from lfmkit.flows import Block, Flow, as_samples
from lfmkit.progress import Progress
from lfmkit.runfolder import RunFolder
from lfmkit.training import History, Pool, Settings, Trainer
from lfmkit.workers import one_thread, train_in_workers


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
        """Seconds of training summed over the blocks (each runs on one thread on the CPU)."""
        return sum(block.seconds for block in self.blocks)


def fit(
    flow: Flow,
    x: Tensor,
    *,
    steps: int = 5000,
    batch: int = 256,
    lr: float = 3e-3,
    warmup: int = 100,
    clip: float | None = 1.0,
    ema: float = 0.999,
    pool: str = "pushed",
    warm_start: bool = True,
    workers: int = 1,
    seed: int = 0,
    device: str = "cpu",
    progress: bool = True,
    out: str | Path | None = None,
    save_every: float = 10.0,
) -> FitLog:
    """Train every block of a flow on data x (n, dim); the flow holds the averaged weights afterwards.

    Args:
        flow: The flow; it is changed only when all blocks are done.
        x: Data, a float tensor of shape (n, dim), n >= 2, in the scale the flow works in.
        steps: Optimiser steps a block.
        batch: Samples a step.
        lr: Peak learning rate (linear warm-up, cosine decay to 0).
        warmup: Steps of warm-up.
        clip: Largest gradient norm; None for no clipping.
        ema: Decay of the weights' moving average; 0 for none.
        pool: What block k is trained on. "pushed": data encoded by the trained blocks before it (Algorithm 1
            of arXiv 2410.02548); "ou": data diffused in closed form, so that all blocks can train at once.
        warm_start: With the "pushed" pool, start each block from the weights of the one before.
        workers: Processes that train blocks at the same time ("ou" pool); results do not depend on it.
        seed: Seed of batches, times and noise.
        device: Where to train, for example "cpu" or "cuda"; the flow ends there.
        progress: Show a progress bar.
        out: Folder for checkpoints. The same call with the same folder continues a run that was killed, and
            ends where an uninterrupted run ends (on the CPU bit for bit); a finished run is only read.
        save_every: Seconds between checkpoints.

    Returns:
        The losses and seconds of each block.

    Raises:
        TypeError: x is no floating-point tensor.
        ValueError: x has NaN or infinite rows, the wrong shape or fewer than 2 rows; a setting is out of
            range; `out` holds a run with other settings, data or starting weights.
        RuntimeError: The loss blew up, a worker was killed, or another run uses `out`.
        OSError: `out` cannot be written or the disk is full.
    """
    settings = Settings(steps=steps, batch=batch, lr=lr, warmup=warmup, clip=clip, ema=ema, seed=seed)
    if pool not in ("pushed", "ou"):
        raise ValueError(f"unknown pool {pool!r}: choose 'pushed' or 'ou'")
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise ValueError(f"workers must be a whole number >= 1, got {workers!r}")
    if workers > 1 and pool == "pushed" and len(flow.blocks) > 1:
        raise ValueError(
            "with the 'pushed' pool each block waits for the one before: use workers=1 or pool='ou'"
        )
    if workers > 1 and torch.device(device).type != "cpu":
        raise ValueError("workers train on the CPU: use workers=1 on an accelerator")
    x = as_samples(x, flow.dim, "the data").detach()
    if len(x) < 2:
        raise ValueError("the data needs 2 or more rows, got 1")
    if not list(flow.parameters()):
        raise ValueError("the flow has no trainable parameters")
    if out is not None and flow.net is None:
        raise ValueError("out= needs a flow built from a network recipe (net=…)")
    started = time.perf_counter()
    work = copy.deepcopy(flow).to(device)
    x = x.to(next(work.parameters()))
    about = {**asdict(settings), "pool": pool, "warm_start": warm_start and pool == "pushed"}
    with contextlib.ExitStack() as stack:
        run = None
        if out is not None:
            stack.enter_context(files.locked(Path(out)))
            run = RunFolder(Path(out), about, flow, x)
        if run is not None and run.finished:
            histories = run.read_finished(work)
        else:
            bar = stack.enter_context(Progress(len(flow.blocks), steps, progress))
            jobs = Jobs(work.chain, settings, run, save_every, bar)
            histories = jobs.pushed(work, x, warm_start) if pool == "pushed" else jobs.ou(x, workers)
            if run is not None:
                run.finish(work, histories)
    flow.to(device).load_state_dict(work.state_dict())
    return FitLog(tuple(histories), time.perf_counter() - started, about)


@dataclass
class Jobs:
    """Train the blocks of a flow, in this process or in workers."""

    blocks: Sequence[Block]
    settings: Settings
    run: RunFolder | None
    save_every: float
    bar: Progress

    def pushed(self, flow: Flow, x: Tensor, warm_start: bool) -> list[History]:
        """Train block after block; encode the pool through each, once."""
        histories = []
        for k, block in enumerate(self.blocks):
            if k > 0:
                x = self._push(flow, x, k)
                if warm_start:
                    block.load_state_dict(self.blocks[k - 1].state_dict())
            with one_thread():
                histories.append(self._trainer(k, Pool(x)).run(partial(self.bar.update, k), self.save_every))
        return histories

    def ou(self, x: Tensor, workers: int) -> list[History]:
        """Train all blocks on OU marginals of the data, `workers` at a time."""
        lefts = [0.0, *schedules.times(block.gamma for block in self.blocks[:-1])]
        pools = [Pool(x, T) for T in lefts]
        if workers == 1:
            with one_thread():
                return [
                    self._trainer(k, pool).run(partial(self.bar.update, k), self.save_every)
                    for k, pool in enumerate(pools)
                ]
        trainers = [self._trainer(k, pool) for k, pool in enumerate(pools)]
        results = train_in_workers(trainers, workers, self.save_every, self.bar)
        for block, (state, _) in zip(self.blocks, results, strict=True):
            block.load_state_dict(state)
        return [history for _, history in results]

    def _trainer(self, k: int, pool: Pool) -> Trainer:
        state_file = self.run.state_file(k) if self.run is not None else None
        return Trainer(self.blocks[k], pool, self.settings, k, state_file)

    def _push(self, flow: Flow, x: Tensor, k: int) -> Tensor:
        """Return the data-side pool of block k: the pool of block k - 1, encoded by that block."""
        file = self.run.pool_file(k) if self.run is not None else None
        if file is not None and file.exists():
            return files.read_tensors(file)[0]["pool"].to(x)
        x = flow.push(x, k - 1)
        if file is not None:
            files.write_tensors(file, {"pool": x}, {"block": k})
        return x
