"""Training blocks at the same time: worker processes with one thread each.

For networks of this size one thread a block is faster than two threads on one block, and one thread
everywhere makes the result independent of the number of workers.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import torch
from loky import get_reusable_executor
from torch import Tensor

from lfmkit.training.trainer import History, Trainer
from lfmkit.utils.progress import Progress

Result = tuple[dict[str, Tensor], History]


@contextlib.contextmanager
def threads(count: int = 1) -> Iterator[None]:
    """Run torch on so many threads inside the with-block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def train_in_workers(
    makers: Sequence[Callable[[], Trainer]], workers: int, save_every: float, bar: Progress
) -> list[Result]:
    """Make and run trainers in worker processes; return each block's weights and history.

    Workers end with this process: by its own hand when it stops, and within a second when it is killed.

    Raises:
        RuntimeError: A worker was killed, or a block's loss blew up.
    """
    with tempfile.TemporaryDirectory() as folder:
        ticks = Path(folder) / "ticks"
        shown = np.memmap(ticks, dtype=np.float64, mode="w+", shape=(len(makers), 2))
        environment = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        executor = get_reusable_executor(max_workers=workers, timeout=60, env=environment)
        try:
            futures = [
                executor.submit(_train, make, k, len(makers), save_every, ticks, os.getpid())
                for k, make in enumerate(makers)
            ]
            while not all(future.done() for future in futures):
                wait(futures, timeout=0.2)
                for k, (done, loss) in enumerate(shown.tolist()):
                    bar.update(k, int(done), loss)
                for future in futures:
                    if future.done():
                        future.result()  # raises at once what went wrong in a worker
            return [future.result() for future in futures]
        except BrokenProcessPool as error:
            raise RuntimeError(
                "a training process was killed, by hand or for lack of memory: call fit again with the same "
                "arguments to go on from its last checkpoint (out=…), or use fewer workers"
            ) from error
        except BaseException:
            executor.shutdown(wait=True, kill_workers=True)
            raise


def _train(
    make: Callable[[], Trainer], k: int, count: int, save_every: float, ticks: Path, parent: int
) -> Result:
    """Make and run one trainer in a worker process."""
    shown = np.memmap(ticks, dtype=np.float64, mode="r+", shape=(count, 2))
    looked = 0.0

    def report(done: int, loss: float) -> None:
        shown[k] = done, loss

    def wanted() -> None:
        nonlocal looked
        if time.monotonic() - looked > 0.5:
            looked = time.monotonic()
            if os.getppid() != parent:  # nobody waits for this work any more
                os._exit(1)

    with threads(1):
        trainer = make()
        history = trainer.run(report, save_every, wanted)
    return trainer.block.state_dict(), history
