"""Make many runs: on this machine or on a Dask cluster, a line for each, and nothing lost when stopped."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from lfmkit.runs import machine, records
from lfmkit.runs.plans import Limits, Plan
from lfmkit.runs.records import RunRecord
from lfmkit.runs.supervise import perform
from lfmkit.runs.values import short
from lfmkit.utils import files

if TYPE_CHECKING:
    from distributed import Client

MEMORY_SHARE = 0.9  # of the machine's memory, for all runs together
LOOK = 0.5  # seconds between two looks at what has ended
SHOWN = 3  # numbers in the line of a run


@dataclass
class Tally:
    """What became of the runs of a sweep.

    Attributes:
        records: Of every run that has one now, completed before or ended here.
        lost: Runs without a record and why: their folder could not be written, or their worker died.
        stopped: Whether the sweep was stopped before its end.
    """

    records: list[RunRecord] = field(default_factory=list)
    lost: list[tuple[Plan, str]] = field(default_factory=list)
    stopped: bool = False

    @property
    def completed(self) -> int:
        """How many runs are completed."""
        return sum(record.completed for record in self.records)


def run_locally(
    plans: Sequence[Plan],
    limits: Limits,
    workers: int,
    again: bool = False,
    tell: Callable[[str], None] = print,
) -> Tally:
    """Make runs in processes on this machine, `workers` at a time; cores and memory are divided among them.

    Raises:
        ValueError: The number of workers is not positive.
    """
    if workers < 1:
        raise ValueError(f"the number of workers must be 1 or more, got {workers}")
    threads = limits.threads or max(1, (os.cpu_count() or 1) // workers)
    memory = limits.memory or int(MEMORY_SHARE * psutil.virtual_memory().total / workers)
    share = replace(limits, threads=threads, memory=memory)
    stop = threading.Event()
    tell(f"{workers} worker(s) on this machine, {threads} thread(s) and {memory / 1e9:.1f} GB a run")
    with ThreadPoolExecutor(workers) as pool:
        return _Sweep(plans, workers, again, tell).run(
            pool, partial(perform, limits=share, stopped=stop.is_set), stop.set
        )


def run_on_cluster(
    plans: Sequence[Plan],
    limits: Limits,
    client: Client,
    again: bool = False,
    tell: Callable[[str], None] = print,
) -> Tally:
    """Make runs on a Dask cluster, one for each thread of its workers; see docs/cluster.md.

    Raises:
        RuntimeError: A worker does not see the folder that the runs are to be written to.
    """
    from lfmkit.cluster import check_folder

    root = plans[0].root
    root.mkdir(parents=True, exist_ok=True)
    check_folder(client, root)
    stop_file = root / f".stop-{os.getpid()}-{time.time_ns()}"
    places = sum(client.nthreads().values())
    tell(f"{len(client.nthreads())} Dask worker(s) with {places} thread(s) in all, a run for each")
    try:
        with client.get_executor(pure=False) as pool:
            there = partial(_perform_there, limits=limits, stop_file=stop_file)
            return _Sweep(plans, places, again, tell).run(pool, there, stop_file.touch)
    finally:
        stop_file.unlink(missing_ok=True)


def _perform_there(plan: Plan, limits: Limits, stop_file: Path, again: bool = False) -> RunRecord:
    """Make a run on a Dask worker; the file says when to stop, since Dask does not end what has begun."""
    from distributed import get_worker

    state = get_worker().state
    memory = get_worker().memory_manager.memory_limit or MEMORY_SHARE * psutil.virtual_memory().total
    limits = replace(limits, memory=limits.memory or int(memory / state.nthreads))
    return perform(plan, limits, stop_file.exists, again)


class _Sweep:
    """The loop of a sweep, whoever makes the runs."""

    def __init__(self, plans: Sequence[Plan], places: int, again: bool, tell: Callable[[str], None]) -> None:
        self.plans, self.places, self.again, self.tell = plans, places, again, tell
        self.tally, self.ended, self.begin = Tally(), 0, time.monotonic()
        first = plans[0].parameters if plans else {}
        self.varied = [
            name for name, value in first.items() if any(plan.parameters[name] != value for plan in plans)
        ]

    def run(self, pool: Executor, make: Callable[..., RunRecord], stop: Callable[[], object]) -> Tally:
        """Have the runs made that are not completed; KeyboardInterrupt and SIGTERM stop them."""
        todo = [plan for plan in self.plans if not self._completed_before(plan)]
        self._say_what_is_there(len(todo))
        futures = {pool.submit(make, plan, again=self.again): plan for plan in todo}
        elsewhere: list[Plan] = []  # another sweep is at these; the first free place looks again
        try:
            with _interruptible():
                while futures or elsewhere:
                    done = wait(futures, LOOK, FIRST_COMPLETED).done
                    for future in done:
                        plan = futures.pop(future)
                        if not self._take(plan, future):
                            elsewhere.append(plan)
                    if len(futures) < self.places and elsewhere and not done:
                        time.sleep(LOOK)
                        futures[pool.submit(make, plan := elsewhere.pop(0), again=False)] = plan
        except (KeyboardInterrupt, _DiskFullError) as why:
            self.tally.stopped = True
            stop()
            self.tell("the disk is full: stopping" if isinstance(why, _DiskFullError) else "stopping ...")
            for future in futures:
                future.cancel()
            wait(futures, 60)
            for future, plan in futures.items():
                if future.done() and not future.cancelled():
                    with suppress(_DiskFullError):
                        self._take(plan, future)
        return self.tally

    def _completed_before(self, plan: Plan) -> bool:
        if self.again:
            return False
        with suppress(FileNotFoundError, ValueError):
            record = records.read(plan.folder)
            if record.completed:
                self.tally.records.append(record)
                return True
        return False

    def _say_what_is_there(self, todo: int) -> None:
        there = self.tally.records
        self.tell(f"{len(self.plans)} runs: {len(there)} completed before, {todo} to make")
        here = machine.library_digest()
        other = sum(record.library != here for record in there)
        if other:
            self.tell(f"note: {other} of them were made with other code of lfmkit; --again makes them anew")

    def _take(self, plan: Plan, future: Future[RunRecord]) -> bool:
        """Note how a run ended; return False if it was not made because another sweep is at it."""
        try:
            record = future.result()
        except files.InUseError:
            return False
        except CancelledError:
            return True
        except Exception as error:
            self.tally.lost.append((plan, f"{type(error).__name__}: {error}"))
            self._line(plan, "lost", 0.0, f"{type(error).__name__}: {error}")
            if "the disk is full" in str(error):
                raise _DiskFullError from None
            return True
        self.tally.records.append(record)
        shown = list(record.metrics.items())[:SHOWN]
        numbers = ", ".join(f"{name} {'-' if value is None else f'{value:.4g}'}" for name, value in shown)
        self._line(plan, record.outcome, record.seconds, numbers if record.completed else where(record))
        return True

    def _line(self, plan: Plan, outcome: str, seconds: float, what: str) -> None:
        self.ended += 1
        count = len(self.tally.records) + len(self.tally.lost)
        left = len(self.plans) - count
        eta = (time.monotonic() - self.begin) / self.ended * left
        settings = " ".join(f"{name}={short(plan.parameters[name])}" for name in self.varied) or str(plan)
        total = len(str(len(self.plans)))
        tail = f"; {duration(eta)} left" if left else ""
        self.tell(
            f"[{count:>{total}}/{len(self.plans)}] {outcome:9} {seconds:6.1f} s  {settings}: {what}{tail}"
        )


class _DiskFullError(Exception):
    pass


@contextmanager
def _interruptible() -> Iterator[None]:
    """Treat SIGTERM as Ctrl-C inside the with-block."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def where(record: RunRecord) -> str:
    """Return why a run did not complete, and in which cell."""
    cell = f" (cell {record.cell['number']}: {record.cell['source']})" if record.cell else ""
    return f"{record.reason}{cell}"


def duration(seconds: float) -> str:
    """Return seconds in words.

    >>> duration(42.4), duration(130), duration(7300)
    ('42 s', '2 min 10 s', '2 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
