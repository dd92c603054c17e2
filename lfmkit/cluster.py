"""A Dask cluster: connecting to it, and making sure that what is sent there can run.

Dask is imported when it is first needed, torch never: this serves whole notebooks as well as blocks.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from lfmkit.utils import files
from lfmkit.version import __version__

if TYPE_CHECKING:
    from distributed import Client

TIMEOUT = 10.0  # seconds to wait for an answer


def connect(address: str) -> Client:
    """Connect to the scheduler of a Dask cluster; use the client in a with-statement, or close it.

    Args:
        address: The scheduler's, such as "tcp://host:8786"; "tls://…" uses Dask's configured certificates.

    Raises:
        ImportError: Dask is not installed.
        ValueError: The address is malformed.
        ConnectionError: Nothing answers there, what answers is no scheduler, or it has no workers.
        RuntimeError: The scheduler or a worker has another version of lfmkit.
    """
    from_dask = _distributed()
    try:
        parts = urlsplit(address)
        whole = parts.scheme in ("tcp", "tls") and parts.hostname and parts.port and not parts.path
    except ValueError:  # a port that is none
        whole = False
    if not whole:
        raise ValueError(f"an address of a scheduler looks like tcp://host:8786, not like {address!r}")
    with ThreadPoolExecutor(1) as thread:  # a notebook has an event loop running in this one
        kind = thread.submit(asyncio.run, _kind(address)).result()
    if kind != "Scheduler":
        raise ConnectionError(f"a Dask {kind.lower()} answers at {address}: give the scheduler's address")
    client = from_dask.Client(address, timeout=TIMEOUT)
    try:
        check_workers(client)
    except BaseException:
        client.close()
        raise
    return client


async def _kind(address: str) -> str:
    """Return what a Dask process says it is; Dask's own client waits for ever for a port that is silent."""
    from distributed import Security, rpc

    async def ask() -> str:
        async with rpc(address, connection_args=Security().get_connection_args("client")) as there:
            return str((await there.identity())["type"])

    try:
        return await asyncio.wait_for(ask(), TIMEOUT)
    except Exception as error:
        reason = str(error).rstrip(".") or f"nothing came within {TIMEOUT:g} s"
        raise ConnectionError(
            f"no Dask scheduler answers at {address}: {reason}. Is it running, and in reach of this machine?"
        ) from error


def check_client(client: object) -> None:
    """Make sure that this is a client that can be used here.

    Raises:
        ImportError: Dask is not installed.
        TypeError: It is something else, or an asynchronous client.
        ConnectionError: It is closed.
    """
    if not isinstance(client, _distributed().Client):
        raise TypeError(
            "client must be a distributed.Client, as lfmkit.cluster.connect('tcp://host:8786') returns one, "
            f"got {type(client).__name__}"
        )
    if client.asynchronous:
        raise TypeError("client must not be asynchronous: make it without asynchronous=True")
    if client.status != "running":
        raise ConnectionError("the client is closed, or has lost its scheduler: connect again")


def check_workers(client: Client) -> None:
    """Make sure that a cluster has workers, and this version of lfmkit everywhere.

    Raises:
        ConnectionError: There are no workers, and none comes within ten seconds.
        RuntimeError: The scheduler or a worker has another version of lfmkit, or none.
    """

    def version() -> str:  # a function inside a function travels as a whole: it runs without lfmkit, too
        try:
            from lfmkit import __version__ as there
        except ImportError:
            return "none"
        return str(there)

    address = client.scheduler_info()["address"]
    try:
        client.wait_for_workers(1, timeout=TIMEOUT)
    except (TimeoutError, asyncio.TimeoutError):
        raise ConnectionError(
            f"the scheduler at {address} has no workers, and none came within {TIMEOUT:g} s: start some, for "
            f"example by `dask worker {address} --nthreads 1`"
        ) from None
    found = {f"scheduler {address}": client.run_on_scheduler(version)}
    found |= {f"worker {name}": told for name, told in _answers(client, version).items()}
    others = [f"{name}: {told}" for name, told in sorted(found.items()) if told != __version__]
    if others:
        raise RuntimeError(
            f"lfmkit is {__version__} here, and another one there: install the same version "
            f"everywhere ({'; '.join(others)})"
        )


def check_folder(client: Client, folder: str | Path) -> None:
    """Make sure that every worker sees a folder of this machine under the same absolute path.

    Args:
        client: A client of the cluster.
        folder: The folder; it is made if need be.

    Raises:
        OSError: The folder cannot be written here.
        RuntimeError: A worker does not see what is written there, or there is none.
    """
    token = uuid.uuid4().hex
    path = Path(folder).absolute() / f".{token}.tmp"

    def read() -> str:  # travels as a whole, as above
        try:
            with open(name) as file:
                return file.read()
        except OSError:
            return ""

    name = str(path)
    files.write(path, token.encode())
    try:
        seen = _answers(client, read)
    finally:
        path.unlink()
    blind = sorted(worker for worker, content in seen.items() if content != token)
    if blind or not seen:
        raise RuntimeError(
            f"{len(blind)} of {len(seen)} workers do not see what is written to {path.parent} here "
            f"({', '.join(blind)}): it must lie on a file system that all machines share, under the same path"
        )


def _answers(client: Client, question: Callable[[], str]) -> dict[str, Any]:
    """Return what each worker answers, or the exception it raises; a worker that is leaving is left out."""
    answers = client.run(question, on_error="return")
    return {worker: answer for worker, answer in answers.items() if not isinstance(answer, OSError)}


def _distributed() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise ImportError("a cluster needs Dask: pip install 'lfmkit[cluster]'") from error
    return distributed
