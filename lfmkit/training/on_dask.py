"""Training blocks on the workers of a Dask cluster, with the results that this process would get.

Dask moves the work and runs it again where a worker died. The rest is done here: one block
at a time in each worker, news of how far it is, and an end to blocks that nobody waits for any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
import uuid
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any

from lfmkit.cluster import TIMEOUT, check_workers
from lfmkit.utils.progress import Progress, Step

if TYPE_CHECKING:  # a scheduler reads this file, too: it needs no torch
    from distributed import Client, Future, Worker

    from lfmkit.training.parallel import Result
    from lfmkit.training.trainer import Trainer

NEWS_SECONDS = 0.2  # between reports of a block

_ended: set[tuple[str, int]] = set()  # in a worker: runs and blocks that shall end
_training = threading.Lock()  # in a worker: torch's number of threads is a setting of the whole process


def train_on_cluster(client: Client, makers: Sequence[Callable[[], Trainer]], bar: Progress) -> list[Result]:
    """Make and run trainers on the workers of a cluster; return each block's weights and history.

    Args:
        client: A client of the cluster.
        makers: Makes the trainer of each block, on the worker.
        bar: Shows how far each block is.

    Raises:
        ConnectionError: There are no workers.
        RuntimeError: Workers have another lfmkit or were killed again and again, the cluster went away, or a
            block's loss blew up.
    """
    from distributed import KilledWorker

    check_workers(client)
    run = _Run(client, makers)
    try:
        while len(run.results) < len(makers):
            run.send()
            time.sleep(0.1)
            run.collect()
            for step in run.news():
                if bar.update(step):
                    run.end(step.block)
        return [run.results[k] for k in range(len(makers))]
    except KilledWorker as error:
        raise RuntimeError(
            f"{error.allowed_failures + 1} workers were killed one after another while they trained a block, "
            "by hand or for lack of memory: call fit again with the same arguments to go on from its last "
            "checkpoint (out=…), or give each worker more memory"
        ) from error
    except CancelledError as error:
        raise RuntimeError(
            "the cluster went away, or dropped this work: call fit again with the same arguments and a "
            "running cluster to go on from its last checkpoint (out=…)"
        ) from error
    finally:
        run.stop()


class _Run:
    """The blocks of one call of `fit` on a cluster.

    All makers travel in one piece, so that data they share is sent once, and once more to each worker. The
    scheduler keeps it to the end: whichever worker dies, its block can be run again by another.
    """

    def __init__(self, client: Client, makers: Sequence[Callable[[], Trainer]]) -> None:
        import dask
        import numpy as np
        from distributed.protocol.serialize import serialize_bytes

        self.client = client
        self.results: dict[int, Result] = {}
        self._news = news = deque[Step]()
        number = uuid.uuid4().hex
        self._name = f"lfmkit-block-{number}"
        self._left = list(range(len(makers)))  # not sent yet
        self._sent: dict[int, tuple[str, Future[Result]]] = {}
        self._alone = time.monotonic() + TIMEOUT  # when to tell that there are no workers
        piece = np.frombuffer(serialize_bytes(list(makers)), np.uint8)  # an array is not copied on its way
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": 2**60}):
            self._bundle = client.submit(bytes, piece, key=f"lfmkit-data-{number}")

        def note(event: tuple[float, list[tuple[Any, ...]]]) -> None:  # a client never forgets it: no self
            news.extend(Step(*told) for told in event[1])

        client.subscribe_topic(self._name, note)

    def send(self) -> None:
        """Send a block to each worker that has nothing to do."""
        with contextlib.suppress(OSError):  # the scheduler is gone: its futures say so
            tasks = self.client.processing()
            if tasks:
                self._alone = time.monotonic() + TIMEOUT
            elif time.monotonic() > self._alone:
                self._alone = float("inf")
                warnings.warn("the cluster has no workers left: waiting for one to come", stacklevel=5)
            taken = [worker for worker, _ in self._sent.values()]
            idle = [worker for worker, keys in tasks.items() if not keys and worker not in taken]
            for worker in idle[: len(self._left)]:
                k = self._left.pop(0)
                future = self.client.submit(
                    _train,
                    self._bundle,
                    k,
                    self._name,
                    key=f"{self._name}-{k}",
                    workers=[worker],
                    allow_other_workers=True,  # should this one die
                )
                self._sent[k] = worker, future

    def collect(self) -> None:
        """Take in what is done; raise at once what went wrong in a block."""
        if self.client.status != "running":
            raise CancelledError
        for k in [k for k, (_, future) in self._sent.items() if future.done()]:
            self.results[k] = self._sent.pop(k)[1].result()

    def news(self) -> list[Step]:
        """Return what was reported since the last call."""
        return [self._news.popleft() for _ in range(len(self._news))]

    def end(self, k: int) -> None:
        """Ask the worker that trains a block to end."""
        self.client.run(_end, self._name, k, on_error="ignore")

    def stop(self) -> None:
        """Stop what is left; return when no worker trains for this run any more."""
        name = self._name

        async def gone(dask_worker: Worker) -> None:  # travels as a whole
            for _ in range(100):
                tasks = [task for key, task in dask_worker.state.tasks.items() if str(key).startswith(name)]
                if all(task.state in ("memory", "error") for task in tasks):
                    return
                await asyncio.sleep(0.1)

        with contextlib.suppress(Exception):  # the cluster may have gone itself
            self.client.unsubscribe_topic(name)
            self._bundle.release()
            if self._sent:
                self.client.cancel([future for _, future in self._sent.values()], force=True)
                self.client.run(gone, on_error="return")


def _end(name: str, k: int) -> None:
    """Let the training of a block end, if it is this worker's."""
    _ended.add((name, k))


def _train(bundle: bytes, k: int, name: str) -> Result:
    """Make and run the trainer of one block on a worker, until it is done or nobody wants it any more."""
    from distributed import Reschedule, get_worker
    from distributed.protocol.serialize import deserialize_bytes

    from lfmkit.training.parallel import threads

    worker = get_worker()
    task = worker.state.tasks[worker.get_current_task()]
    sent, waiting = 0.0, list[tuple[Any, ...]]()

    def wanted() -> None:
        if task.state != "executing":  # cancelled, or the caller is gone: Dask itself stops no running task
            raise RuntimeError("nobody waits for this block any more")
        if worker.status.name not in ("running", "paused"):  # it is about to leave: let another go on
            raise Reschedule

    def report(step: Step) -> bool:
        nonlocal sent
        waiting.append(tuple(step))
        if time.monotonic() - sent > NEWS_SECONDS:
            sent = time.monotonic()
            worker.log_event(name, list(waiting))
            waiting.clear()
        return (name, k) in _ended

    with _alone(wanted), threads(1):
        trainer = deserialize_bytes(bundle)[k]()
        history = trainer.run(report, wanted)
        worker.log_event(name, waiting)
        return {name: value.cpu() for name, value in trainer.block.state_dict().items()}, history


@contextlib.contextmanager
def _alone(wanted: Callable[[], None]) -> Iterator[None]:
    """Let one block at a time train in a worker that has several threads."""
    while not _training.acquire(timeout=0.5):
        wanted()
    try:
        yield
    finally:
        _training.release()
