"""`fit`: train all blocks of a flow, one after another or at the same time, and lose nothing when killed."""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from lfmkit.cluster import check_folder
from lfmkit.flows.flow import Flow
from lfmkit.training.chain import Jobs
from lfmkit.training.execution import chosen
from lfmkit.training.pool import as_pool
from lfmkit.training.run_folder import RunFolder
from lfmkit.training.settings import check_choices, check_given, check_held_out
from lfmkit.training.trainer import History, Settings
from lfmkit.utils import files
from lfmkit.utils.progress import Listener, Progress

if TYPE_CHECKING:
    from accelerate import Accelerator
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
    flip: bool = False,
    precision: str = "float32",
    workers: int = 1,
    client: Client | None = None,
    accelerator: Accelerator | None = None,
    seed: int = 0,
    device: str | Sequence[str] = "cpu",
    threads: int = 1,
    micro: int | None = None,
    compiled: bool = False,
    progress: bool | Listener = True,
    out: str | Path | None = None,
    save_every: float = 10.0,
) -> FitLog:
    """Train every block of a flow on data x (n, dim); the flow holds the averaged weights afterwards.

    Args:
        flow: The flow; it is changed only when all blocks are done.
        x: Data, a float tensor of shape (n, dim), n >= 2, in the scale the flow works in; or images, bytes
            of shape (n, C, H, W), which are dequantised anew whenever they are drawn. With one worker,
            pool="ou" and targets="pairs" it is never copied, so that it may be a file larger than memory:
            ``torch.from_file(…, shared=True)``.
        cond: Condition of each row, for a flow built with cond=: (n, c) numbers or (n,) class numbers.
        partners: Noise-side end of each row, shape (n, dim), for the coupling "pairs" (`rectified_flow`).
        val: Held-out rows, shape (m, dim), or images, for early stopping: each block keeps the averaged
            weights whose loss on them was lowest (25 looks a run). They are never trained on.
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
        flip: Mirror images from left to right, half of the time.
        precision: "float32"; "bf16" or "fp16" to evaluate networks in that while they are trained.
        workers: Processes that train blocks at the same time ("ou" pool); results do not depend on it.
        client: Client of a Dask cluster that trains the blocks instead ("ou" pool), with the same results;
            see `lfmkit.cluster.connect`. `out` must then lie where all of its workers see it.
        accelerator: Of Hugging Face accelerate, in each of the processes that train together (``accelerate
            launch``, `notebook_launcher`), one for each GPU: they share every batch, with the results of
            one process but for rounding, and need a folder `out` that all of them see.
        seed: Seed of batches, times and noise.
        device: Where to train, for example "cpu" or "cuda"; the flow ends there. Several, ["cuda:0", …],
            for workers: block k is trained on number k modulo their count. With those, or with a client,
            the flow ends on the CPU. With an accelerator it is the accelerator's.
        threads: Threads of torch; more than one pays for networks on images.
        micro: Samples whose gradients are computed together; a batch is taken in such parts. They are
            halved when memory runs out; None starts with the whole batch.
        compiled: Compile the networks (torch.compile): worth its minutes on a GPU.
        progress: Show a progress bar; or a function (block, step, loss) -> None, called about every 1% of a
            block's steps. An exception that it raises stops the training and leaves the flow as it was.
        out: Folder for checkpoints. The same call with the same folder continues a run that was killed, and
            ends where an uninterrupted run ends (on the CPU bit for bit); a finished run is only read.
        save_every: Seconds between checkpoints, or more where writing one takes long; 0 for one a step.

    Returns:
        The losses and seconds of each block.

    Raises:
        ImportError: client= was given, and Dask is not installed.
        TypeError: x is no floating-point tensor, or client is no Dask client.
        ValueError: x has NaN or infinite rows, the wrong shape or fewer than 2 rows; cond or partners do not
            fit the rows, are missing, or are not what this flow takes; a setting is out of range; `out` holds
            a run with other settings, data or starting weights.
        ConnectionError: The cluster has no workers.
        RuntimeError: The loss blew up, memory does not suffice for one sample, a worker was killed (in a
            cluster: several times), a worker of the cluster does not see `out` or has another lfmkit, or
            another run uses `out`.
        OSError: `out` cannot be written or the disk is full.
    """
    count = len(flow.blocks)
    each = [steps] * count if isinstance(steps, int) else list(steps)
    if len(each) != count:
        raise ValueError(f"steps needs one number, or one for each of the {count} blocks, got {len(each)}")
    settings = [Settings(k, batch, lr, warmup, clip, ema, seed, precision) for k in each]
    how = chosen(device, threads, micro, compiled, accelerator, client is not None)
    check_choices(flow, pool, targets, batch, workers, how, client, out)
    x = as_pool(x, flow.dim)
    if len(x) < 2:
        raise ValueError("the data needs 2 or more rows, got 1")
    given = check_given(flow, x, cond, partners, targets, drop, near_data, flip)
    val = check_held_out(flow, val, given, patience)
    if out is not None and flow.net is None:
        raise ValueError("out= needs a flow built from a network recipe (net=…)")
    started = time.perf_counter()
    here = how.devices[0] if client is None and workers == 1 else "cpu"
    work = copy.deepcopy(flow).to(here)
    like = next(work.parameters())
    x = x.to(here if x.ndim == 4 else like)
    given = given.to(like)
    val = None if val is None else val.to(like)
    about = {**asdict(settings[0]), "steps": each, "pool": pool, "targets": targets, "warm_start": warm_start}
    if given.cond is not None:
        about["drop"] = drop
    if val is not None:
        about["patience"] = patience
    if near_data != 1:
        about["near_data"] = near_data
    if flip:
        about["flip"] = flip
    if precision == "float32":
        del about["precision"]  # as in runs from before there was a choice
    with contextlib.ExitStack() as stack:
        run, team = None, how.team
        if out is not None:
            folder = Path(out).absolute()  # workers have other current folders
            if team.leads:
                stack.enter_context(files.locked(folder))
            if client is not None:
                check_folder(client, folder)
            data = [x, *given.tensors(), *([] if val is None else [val])]
            run = team.lead(lambda: RunFolder(folder, about, flow, data))
        if run is not None and run.finished:
            histories = run.read_finished(work)
        else:
            bar = stack.enter_context(Progress(each, progress if team.leads else False))
            jobs = Jobs(work, x, val, patience, given, settings, targets, how, run, save_every, bar)
            pushed = pool == "pushed" and client is None  # a single block is the same in both
            histories = jobs.pushed(warm_start) if pushed else jobs.ou(workers, client)
            if run is not None and team.leads:
                run.finish(work, histories)
            team.wait()
    flow.to(here).load_state_dict(work.state_dict())
    return FitLog(tuple(histories), time.perf_counter() - started, about)
