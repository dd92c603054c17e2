"""The command line: ``lfmkit run``, ``lfmkit sweep``, ``lfmkit results``, ``lfmkit data``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from lfmkit.runs import results_command
from lfmkit.utils import needed
from lfmkit.version import __version__


def main(words: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code: 0 done, 1 a run failed, 2 a mistake in the call, 130 stopped."""
    parser = _parser()
    arguments = parser.parse_args(words)
    try:
        with needed("tables" if arguments.name == "data" else "runs"):
            return int(arguments.command(arguments))
    except KeyboardInterrupt:
        return 130
    except (ValueError, ImportError, RuntimeError, OSError) as error:
        print(f"lfmkit {arguments.name}: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lfmkit", description="Batch runs of notebooks, and their data.")
    parser.add_argument("--version", action="version", version=f"lfmkit {__version__}")
    commands = parser.add_subparsers(dest="name", required=True)

    run = commands.add_parser("run", help="execute a notebook and record it", description=_run.__doc__)
    run.add_argument("notebook")
    run.add_argument(
        "-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="set a parameter"
    )
    run.add_argument("-f", metavar="FILE.yaml", help="parameters from a file; -p goes before it")
    run.add_argument("--timeout", type=float, help="seconds after which it is ended (3600)")
    run.add_argument("--memory", help="memory above which it is ended, like '4 GB' (90%% of the machine's)")
    run.add_argument("--dry-run", action="store_true", help="only say what it would take, where it can")
    run.set_defaults(command=_run)

    sweep = commands.add_parser("sweep", help="make all runs of a sweep file", description=_sweep.__doc__)
    sweep.add_argument("file", metavar="FILE.yaml")
    sweep.add_argument("--dry-run", action="store_true", help="list the runs and the expected time")
    sweep.add_argument("--workers", type=int, help="runs at the same time (one for each core)")
    sweep.add_argument("--scheduler", metavar="tcp://HOST:PORT", help="make them on this Dask cluster")
    sweep.set_defaults(command=_sweep)

    results = commands.add_parser("results", help="show all recorded runs")
    results_command.add_arguments(results)
    results.set_defaults(command=results_command.main)

    data = commands.add_parser("data", help="fetch a data set and describe it", description=_data.__doc__)
    data.add_argument(
        "source",
        metavar="NAME",
        help="power, gas, hepmass, miniboone, bsds300; digits, cifar10, imagenet32, flowers102, lsun_church; "
        "or a file or folder",
    )
    data.add_argument("--size", type=int, metavar="PIXELS", help="side of the images")
    data.set_defaults(command=_data)

    for each in (run, sweep):
        each.add_argument("--runs", default="runs", metavar="DIR", help="where the runs are kept (runs)")
        each.add_argument("--again", action="store_true", help="also make what is completed")
    return parser


def _run(asked: argparse.Namespace) -> int:
    """Execute a notebook with parameters in a folder of its own and record what came out."""
    from lfmkit.runs import parameters, plans, sweep

    given = parameters.read_yaml(asked.f) if asked.f else {}
    given |= {name: parameters.parse_value(value) for name, value in asked.p}
    plan = plans.plan_run(asked.notebook, given, asked.runs)
    if asked.dry_run:
        print(plans.rehearse(plan))
        return 0
    limits = {
        name: getattr(asked, name) for name in ("timeout", "memory") if getattr(asked, name) is not None
    }
    tally = sweep.run_locally([plan], plans.read_limits(limits), 1, asked.again, lambda line: None)
    if tally.lost:
        raise RuntimeError(tally.lost[0][1])
    if not tally.records:
        return 130
    (record,) = tally.records
    print(f"{record.outcome} in {sweep.duration(record.seconds)}: {os.path.relpath(plan.folder)}")
    for name, value in record.metrics.items():
        print(f"  {name} {'not finite' if value is None else f'{value:.6g}'}")
    if not record.completed:
        print(f"  {record.reason}{record.place}")
    return 130 if tally.stopped else 0 if record.completed else 1


def _sweep(asked: argparse.Namespace) -> int:
    """Make all runs of a sweep file that are not completed yet; called again it goes on."""
    from lfmkit.runs import sweep, sweepfile

    wanted = sweepfile.read_sweep(asked.file, asked.runs)
    workers = asked.workers or min(os.cpu_count() or 1, len(wanted.plans))
    if asked.dry_run:
        times = sweepfile.estimate(wanted.plans)
        for plan, seconds in zip(wanted.plans, times, strict=True):
            print(f"{plan.id}  {'   ?' if seconds is None else f'{seconds:6.1f} s'}  {plan}")
        known = [seconds for seconds in times if seconds is not None]
        total = f"about {sweep.duration(sum(known) / workers)} with {workers} worker(s)"
        without = len(times) - len(known)
        unknown = f"; for {without} of them no earlier run tells the time" if without else ""
        print(f"{len(times)} runs, {total if known else 'time not known'}{unknown}")
        return 0
    if asked.scheduler:
        from lfmkit.cluster import connect

        with connect(asked.scheduler) as client:
            tally = sweep.run_on_cluster(wanted.plans, wanted.limits, client, asked.again)
    else:
        tally = sweep.run_locally(wanted.plans, wanted.limits, workers, asked.again)
    failed = len(tally.records) - tally.completed + len(tally.lost)
    print(f"{tally.completed} of {len(wanted.plans)} completed, {failed} not: lfmkit results {asked.runs}")
    if tally.stopped:
        print("stopped; the same command goes on where this one ended")
        return 130
    return 1 if failed else 0


def _data(asked: argparse.Namespace) -> int:
    """Fetch a data set if it is not here yet, and show what it holds and where it comes from."""
    from lfmkit.data import command  # imports torch

    return command.show(asked.source, asked.size)


if __name__ == "__main__":
    sys.exit(main())
