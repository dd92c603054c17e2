"""How a notebook's cells are executed: papermill's way, without its stall, saying which cell runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from queue import Empty
from typing import Any

from nbclient.util import run_sync
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, papermill_engines

SLICE = 0.25  # seconds


class SlicedClient(PapermillNotebookClient):  # type: ignore[misc]
    """Wait for the kernel's replies in short slices.

    nbclient sends the messages of Output widgets on the socket whose replies another task waits for; the
    sending can swallow the event that the reply has come, and the notebook then waits for ever (nbclient
    issue 312). Looking again every quarter of a second cannot miss it.
    """

    async def async_start_new_kernel_client(self) -> Any:
        """Start the kernel's client, with a shell channel that looks again and again."""
        client = await super().async_start_new_kernel_client()
        channel = client.shell_channel
        whole = channel.get_msg

        async def get_msg(timeout: float | None = None) -> Any:
            end = None if timeout is None else time.monotonic() + timeout
            while True:
                left = SLICE if end is None else min(SLICE, end - time.monotonic())
                try:
                    return await whole(timeout=max(left, 0))
                except Empty:
                    if end is not None and time.monotonic() >= end:
                        raise

        channel.get_msg = get_msg
        return client

    start_new_kernel_client = run_sync(async_start_new_kernel_client)


def register(name: str, at_cell: Callable[[int, str], None]) -> None:
    """Give papermill an engine of this name; `at_cell` is told number and source of each cell it starts."""

    class Told(NBClientEngine):  # type: ignore[misc]
        @classmethod
        def execute_managed_notebook(cls, manager: Any, kernel_name: str, **settings: Any) -> Any:
            started = manager.cell_start
            code = [index for index, cell in enumerate(manager.nb.cells) if cell.cell_type == "code"]

            def cell_start(cell: Any, cell_index: int | None = None, **more: Any) -> None:
                if cell_index in code:
                    at_cell(code.index(cell_index) + 1, cell.source)
                started(cell, cell_index, **more)

            manager.cell_start = cell_start
            client = SlicedClient(
                manager,
                kernel_name=kernel_name,
                startup_timeout=settings.get("start_timeout", 60),
                timeout=None,
            )
            return client.execute()

    papermill_engines.register(name, Told)
