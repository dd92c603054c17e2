"""Training blocks at the same time: worker processes with one thread each.

For networks of this size one thread a block is faster than two threads on one block, and one thread
everywhere makes the result independent of the number of workers.
"""

from __future__ import annotations

import contextlib
import os
import struct
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import torch
from loky import get_reusable_executor
from torch import Tensor

from lfmkit.training.trainer import History, Trainer
from lfmkit.utils.progress import Progress, Step

Result = tuple[dict[str, Tensor], History]

POLL_SECONDS = 0.2
PARENT_SECONDS = 0.5  # between looks whether somebody still waits for the work
RECORD = struct.Struct("6d")  # a Step


@contextlib.contextmanager
def threads(count: int = 1) -> Iterator[None]:
    """Run torch on `count` threads inside the with-block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class News:
    """Reports of a worker on a block: a file that grows, and another one that asks the worker to end.

    Args:
        path: The file; the other one is beside it.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._end, self._read = path, path.with_suffix(".end"), 0

    def write(self, step: Step) -> bool:
        """Report a step; return whether the training shall end."""
        with open(self.path, "ab") as file:
            file.write(RECORD.pack(*step))
        return self._end.exists()

    def read(self) -> list[Step]:
        """Return what was reported since the last call."""
        if not self.path.exists():
            return []
        with open(self.path, "rb") as file:
            file.seek(self._read)
            content = file.read()
        whole = len(content) // RECORD.size * RECORD.size
        self._read += whole
        records = RECORD.iter_unpack(content[:whole])
        return [Step(*(int(number) for number in record[:3]), *record[3:]) for record in records]

    def end(self) -> None:
        """Ask the worker to end."""
        self._end.touch()


def train_in_workers(makers: Sequence[Callable[[], Trainer]], workers: int, bar: Progress) -> list[Result]:
    """Make and run trainers in worker processes; return each block's weights and history.

    Workers end with this process: by its own hand when it stops, and within a second when it is killed.

    Raises:
        RuntimeError: A worker was killed, or a block's loss blew up.
    """
    with tempfile.TemporaryDirectory() as folder:
        news = [News(Path(folder) / str(k)) for k in range(len(makers))]
        environment = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        executor = get_reusable_executor(max_workers=workers, timeout=60, env=environment)
        try:
            pairs = zip(makers, news, strict=True)
            futures = [executor.submit(_train, make, said, os.getpid()) for make, said in pairs]
            going = True
            while going:
                wait(futures, timeout=POLL_SECONDS)
                going = not all(future.done() for future in futures)  # before the last news is read
                for said in news:
                    for step in said.read():
                        if bar.update(step):
                            said.end()
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


def _train(make: Callable[[], Trainer], news: News, parent: int) -> Result:
    """Make and run one trainer in a worker process."""
    looked = 0.0

    def wanted() -> None:
        nonlocal looked
        if time.monotonic() - looked > PARENT_SECONDS:
            looked = time.monotonic()
            if os.getppid() != parent:
                os._exit(1)

    with threads(1):
        trainer = make()
        history = trainer.run(news.write, wanted)
    return trainer.block.state_dict(), history
