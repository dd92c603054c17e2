"""Pushing a pool: what one block encodes is what the next is trained on (Algorithm 1, arXiv 2410.02548).

A pool may be larger than memory and take hours, so it is pushed in chunks into a file that is mapped into
memory; a run that is killed goes on with the first chunk that is not there yet, and several processes share
the chunks. Encoded images are kept as half floats: their rounding is small beside the solver's tolerance.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Generator, Tensor

from lfmkit.flows.flow import Flow
from lfmkit.flows.integrate import chunk_size
from lfmkit.training.pool import take
from lfmkit.training.team import Team
from lfmkit.utils import files
from lfmkit.utils.progress import progress_over


def pushed(
    flow: Flow,
    pool: Tensor,
    k: int,
    cond: Tensor | None = None,
    seed: int = 0,
    file: Path | None = None,
    team: Team | None = None,
) -> Tensor:
    """Return the data-side pool of block k + 1: that of block k, encoded by it.

    Args:
        flow: The flow; its block k is trained.
        pool: Rows (n, d), or images as `pools.take` knows them.
        k: Index of the block.
        cond: Conditions of the rows, shape (n, c).
        seed: Seed of the dequantisation of bytes, together with the number of the chunk.
        file: Where the new pool is kept; a file beside it says which chunks are done. None: in memory.
        team: The processes that share the work; they must all see the file.

    Returns:
        Rows (n, d) as they were, or images (n, C, H, W) of half floats.

    Raises:
        OSError: The disk has no room for the file; nothing is left of it.
        RuntimeError: A solve failed.
    """
    team = team or Team()
    images = pool.ndim == 4
    dtype = torch.float16 if images else pool.dtype
    size = chunk_size(flow.dim)
    count = -(-len(pool) // size)
    if file is None:
        new, done = torch.empty(pool.shape, dtype=dtype, device=pool.device), torch.zeros(count)
    else:
        marks, wanted = file.with_suffix(".done"), pool.numel() * dtype.itemsize
        if team.leads:
            if not (file.exists() and file.stat().st_size == wanted):
                marks.unlink(missing_ok=True)
                files.reserve(file, wanted)
            files.reserve(marks, count)
        team.wait()
        new = torch.from_file(str(file), shared=True, size=pool.numel(), dtype=dtype).view(pool.shape)
        done = torch.from_file(str(marks), shared=True, size=count, dtype=torch.uint8)
    device = next(flow.parameters()).device
    for chunk in progress_over(range(team.rank, count, team.size)):
        if done[chunk]:
            continue
        rows = torch.arange(chunk * size, min((chunk + 1) * size, len(pool)))
        x = take(pool, rows, Generator(device).manual_seed((seed * 1009 + k) * 1_000_003 + chunk))
        y = flow.push(x, k, cond=None if cond is None else cond[rows.to(cond.device)])
        new[rows[0] : rows[-1] + 1] = y.to(new).view(-1, *new.shape[1:])
        done[chunk] = 1  # after the chunk itself: what is marked is there
    team.wait()
    return new


def forget(file: Path) -> None:
    """Remove a pool that `pushed` has kept."""
    for path in (file, file.with_suffix(".done")):
        path.unlink(missing_ok=True)
