"""A Dask cluster: connecting to it, and making sure that what is sent there can run.

Dask is imported when it is first needed, torch never: this serves whole notebooks as well as blocks.
"""

from __future__ import annotations

import asyncio
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from lfmkit.utils import files, needed
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
        ConnectionError: Nothing answers there, the answer is not a scheduler's, or it has no workers.
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
    """Return what a Dask process says it is; Dask's own client waits without end for a silent port."""
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
        RuntimeError: The scheduler or a worker has another version of lfmkit, or none, or of what Dask itself
            needs to be the same everywhere.
    """
    address = client.scheduler_info()["address"]
    try:
        client.wait_for_workers(1, timeout=TIMEOUT)
    except (TimeoutError, asyncio.TimeoutError):
        raise ConnectionError(
            f"the scheduler at {address} has no workers, and none came within {TIMEOUT:g} s: start some, for "
            f"example by `dask worker {address} --nthreads 1`"
        ) from None
    try:
        seen: Any = client.get_versions(check=True, packages=["lfmkit"])
    except ValueError as error:
        raise RuntimeError(f"install the same versions everywhere: {error}") from error
    there = {f"scheduler {address}": seen["scheduler"]}
    there |= {f"worker {name}": about for name, about in seen["workers"].items()}
    versions = {name: about["packages"].get("lfmkit") or "none" for name, about in sorted(there.items())}
    others = [f"{name}: {version}" for name, version in versions.items() if version != __version__]
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

    def read() -> str:  # a function inside a function travels as a whole: it needs no lfmkit there
        try:
            with open(name) as file:
                return file.read()
        except OSError:
            return ""

    name = str(path)
    files.write(path, token.encode())
    try:
        answers = client.run(read, on_error="return")
    finally:
        path.unlink()
    # a worker that is leaving answers by an exception: it is left out
    seen = {worker: answer for worker, answer in answers.items() if not isinstance(answer, OSError)}
    blind = sorted(worker for worker, content in seen.items() if content != token)
    if blind or not seen:
        raise RuntimeError(
            f"{len(blind)} of {len(seen)} workers do not see what is written to {path.parent} here "
            f"({', '.join(blind)}): it must lie on a file system that all machines share, under the same path"
        )


@needed("cluster")
def _distributed() -> Any:
    import distributed

    return distributed
