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
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from lfmkit.runs import machine, records
from lfmkit.runs.artifacts import DISK_FULL
from lfmkit.runs.parameters import short
from lfmkit.runs.plans import Limits, Plan
from lfmkit.runs.records import RunRecord
from lfmkit.runs.supervise import perform
from lfmkit.utils import files

if TYPE_CHECKING:
    from distributed import Client

Tell = Callable[[str], None]
Make = Callable[..., RunRecord]
MEMORY_SHARE = 0.9  # of the machine's memory, for all runs together
LOOK = 0.5  # seconds between two looks at what has ended
STOPPING = 60  # seconds that stopping may take
SHOWN = 3  # numbers in the line of a run


def run_locally(
    plans: Sequence[Plan], limits: Limits, workers: int, again: bool = False, tell: Tell = print
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
    make = partial(perform, limits=share, stopped=stop.is_set)
    with ThreadPoolExecutor(workers) as pool:
        return Tally(plans, tell).run(pool, workers, make, stop.set, again)


def run_on_cluster(
    plans: Sequence[Plan], limits: Limits, client: Client, again: bool = False, tell: Tell = print
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
    make = partial(_perform_there, limits=limits, stop_file=stop_file)
    try:
        with client.get_executor(pure=False) as pool:
            return Tally(plans, tell).run(pool, places, make, stop_file.touch, again)
    finally:
        stop_file.unlink(missing_ok=True)


def _perform_there(plan: Plan, limits: Limits, stop_file: Path, again: bool = False) -> RunRecord:
    """Make a run on a Dask worker; the file says when to stop, since Dask does not end what has begun."""
    from distributed import get_worker

    state = get_worker().state
    memory = get_worker().memory_manager.memory_limit or MEMORY_SHARE * psutil.virtual_memory().total
    limits = replace(limits, memory=limits.memory or int(memory / state.nthreads))
    return perform(plan, limits, stop_file.exists, again)


@dataclass
class Tally:
    """The state of a sweep, on whatever machines its runs are made.

    Attributes:
        plans: All its runs.
        tell: Is called with each line that says how it goes.
        records: Records of the runs that have one now, completed before or ended here.
        lost: Runs without a record and why: their folder could not be written, or their worker died.
        stopped: Whether the sweep was stopped before its end.
        begin: Time at which it began, in seconds of the monotonic clock.
        ended: How many runs have ended since.
    """

    plans: Sequence[Plan]
    tell: Tell
    records: list[RunRecord] = field(default_factory=list)
    lost: list[tuple[Plan, str]] = field(default_factory=list)
    stopped: bool = False
    begin: float = field(default_factory=time.monotonic)
    ended: int = 0

    @property
    def completed(self) -> int:
        """How many runs are completed."""
        return sum(record.completed for record in self.records)

    @cached_property
    def varied(self) -> list[str]:
        """Names of the parameters that differ between the runs."""
        first, *others = [plan.parameters for plan in self.plans]
        return [name for name, value in first.items() if any(each[name] != value for each in others)]

    def run(self, pool: Executor, places: int, make: Make, stop: Callable[[], object], again: bool) -> Tally:
        """Have the runs made that are not completed; KeyboardInterrupt and SIGTERM stop them."""
        todo = []
        for plan in self.plans:
            before = None if again else records.completed(plan.folder)
            if before:
                self.records.append(before)
            else:
                todo.append(plan)
        self.tell(f"{len(self.plans)} runs: {len(self.records)} completed before, {len(todo)} to make")
        library = machine.library_digest()
        other = sum(record.library != library for record in self.records)
        if other:
            self.tell(f"note: {other} of them were made with other code of lfmkit; --again repeats them")
        futures = {pool.submit(make, plan, again=again): plan for plan in todo}
        elsewhere: list[Plan] = []  # another sweep is at these; the first free place looks again
        try:
            with _interruptible():
                while futures or elsewhere:
                    done = wait(futures, LOOK, FIRST_COMPLETED).done
                    for future in done:
                        plan = futures.pop(future)
                        if not self._take(plan, future):
                            elsewhere.append(plan)
                    if len(futures) < places and elsewhere and not done:
                        time.sleep(LOOK)
                        futures[pool.submit(make, plan := elsewhere.pop(0), again=False)] = plan
        except (KeyboardInterrupt, _DiskFullError) as why:
            self.stopped = True
            stop()
            self.tell(f"{DISK_FULL}: stopping" if isinstance(why, _DiskFullError) else "stopping ...")
            for future in futures:
                future.cancel()
            for future in wait(futures, STOPPING).done:
                with suppress(_DiskFullError):
                    self._take(futures[future], future)
        return self

    def _take(self, plan: Plan, future: Future[RunRecord]) -> bool:
        """Note how a run ended; return False if it was not made because another sweep is at it."""
        try:
            record = future.result()
        except files.InUseError:
            return False
        except CancelledError:
            return True
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            self.lost.append((plan, reason))
            self._line(plan, "lost", 0.0, reason)
            if DISK_FULL in reason:
                raise _DiskFullError from None
            return True
        self.records.append(record)
        shown = list(record.metrics.items())[:SHOWN]
        numbers = ", ".join(f"{name} {'-' if value is None else f'{value:.4g}'}" for name, value in shown)
        what = numbers if record.completed else f"{record.reason}{record.place}"
        self._line(plan, record.outcome, record.seconds, what)
        return True

    def _line(self, plan: Plan, outcome: str, seconds: float, what: str) -> None:
        self.ended += 1
        total, count = len(self.plans), len(self.records) + len(self.lost)
        left = (time.monotonic() - self.begin) / self.ended * (total - count)
        settings = " ".join(f"{name}={short(plan.parameters[name])}" for name in self.varied) or plan
        place = f"[{count:>{len(str(total))}}/{total}]"
        tail = f"; {duration(left)} left" if count < total else ""
        self.tell(f"{place} {outcome:9} {seconds:6.1f} s  {settings}: {what}{tail}")


class _DiskFullError(Exception):
    pass


@contextmanager
def _interruptible() -> Iterator[None]:
    """Treat SIGTERM as Ctrl-C inside the with-block."""
    if threading.current_thread() is not threading.main_thread():  # which alone may handle signals
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def duration(seconds: float) -> str:
    """Return seconds in words.

    >>> duration(42.4), duration(130), duration(7300)
    ('42 s', '2 min 10 s', '2 h 1 min')
    """
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
