"""The blocks of a flow, trained one after another, at the same time in workers, or on a cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Generator

from lfmkit import schedules
from lfmkit.flows.block import Block
from lfmkit.flows.flow import Flow
from lfmkit.training.early_stopping import HeldOut
from lfmkit.training.gradients import Gradients
from lfmkit.training.on_dask import train_on_cluster
from lfmkit.training.parallel import threads, train_in_workers
from lfmkit.training.pool import Pool
from lfmkit.training.pushing import pushed
from lfmkit.training.run_folder import RunFolder
from lfmkit.training.settings import Execution, Settings
from lfmkit.training.targets import Averaged, Conditional, Pairs, Targets, kd_order
from lfmkit.training.trainer import (
    BATCHES_PER_DRAW,
    SEEDS_PER_BLOCK,
    History,
    Trainer,
    measure_moments,
)
from lfmkit.utils.progress import Progress

if TYPE_CHECKING:
    from distributed import Client

NUMBERS_PER_DRAW = 2**24  # of all batches that are drawn at a time, at most


@dataclass
class Chain:
    """Train the blocks of a flow on a pool.

    Args:
        flow: The flow.
        pool: Data of block 1.
        settings: How each block is trained.
        how: Where and in which parts.
        run: The folder of the run; None to keep nothing.
        bar: Shows how far it is.
    """

    flow: Flow
    pool: Pool
    settings: Sequence[Settings]
    how: Execution
    run: RunFolder | None
    bar: Progress

    def pushed(self) -> list[History]:
        """Train block after block; encode the pool through each, once."""
        histories, pool, blocks = [], self.pool, self.flow.chain
        for k, block in enumerate(blocks):
            if k > 0:
                file = self.run.pool_file(k) if self.run is not None else None
                seed, team = self.settings[0].seed, self.how.team
                with threads(self.how.threads):
                    x = pushed(self.flow, pool.x, k - 1, pool.cond, seed, file, team)
                    val = None if pool.val is None else self.flow.push(pool.val, k - 1)
                pool = pool.at(x, val)
                if self.settings[k].training.warm_start:
                    block.load_state_dict(blocks[k - 1].state_dict())
            histories.append(self._train(self._maker(k, pool, 0.0)))
        return histories

    def ou(self, workers: int, client: Client | None = None) -> list[History]:
        """Train all blocks on OU marginals of the data, `workers` at a time or as a cluster can."""
        blocks, pool = self.flow.chain, self.pool
        lefts = [0.0, *schedules.times(block.gamma for block in blocks[:-1])]
        if self.settings[0].targets == "averaged":
            pool = pool.at(pool.x[kd_order(pool.x)], pool.val)
        makers = [self._maker(k, pool, T) for k, T in enumerate(lefts)]
        if client is not None:
            results = train_on_cluster(client, makers, self.bar)
        elif workers > 1:
            results = train_in_workers(makers, workers, self.bar)
        else:
            return [self._train(make) for make in makers]
        for block, (state, _) in zip(blocks, results, strict=True):
            block.load_state_dict(state)
        return [history for _, history in results]

    def _maker(self, k: int, pool: Pool, T: float) -> Callable[[], Trainer]:
        state_file = self.run.state_file(k) if self.run is not None else None
        block, settings = self.flow.chain[k], self.settings[k]
        return partial(make_trainer, block, pool, T, settings, k, self.how, state_file)

    def _train(self, make: Callable[[], Trainer]) -> History:
        with threads(self.how.threads):
            return make().run(self.bar.update)


def make_trainer(
    block: Block,
    pool: Pool,
    T: float,
    settings: Settings,
    index: int = 0,
    how: Execution | None = None,
    state_file: Path | None = None,
) -> Trainer:
    """Return the trainer of one block whose pool is diffused for time T; measure the block's moments.

    Args:
        block: The block; it is moved to the device where it is trained.
        pool: Its data.
        T: OU time from the rows of the pool to the block's data side.
        settings: How it is trained.
        index: Number of the block in its flow.
        how: Where and in which parts.
        state_file: Where the state is kept between runs.
    """
    how, training = how or Execution(), settings.training
    device = how.devices[index % len(how.devices)]
    block, dim = block.to(device), pool.x[0].numel()
    cond, partners, val = (
        None if part is None else part.to(block.moments) for part in (pool.cond, pool.partners, pool.val)
    )
    pool = Pool(pool.x, cond, partners)
    pairs = Pairs(pool, T, block, training.times, training.drop, training.flip)
    measure_moments(block, pairs, settings.seed)
    held_out = None
    if val is not None:
        draws = Generator(device).manual_seed(settings.seed * SEEDS_PER_BLOCK + index)
        kind = Conditional if settings.targets == "conditional" else Pairs
        apart = kind(Pool(val), T, block, training.times)
        held_out = HeldOut(apart, dim, training.objective, training.patience, draws)
    source: Targets = pairs
    if settings.targets == "conditional":
        source = Conditional(pool, T, block, training.times, training.drop, training.flip)
    elif settings.targets == "averaged":
        source = Averaged(pool.x, T, block, settings.seed)
    together = max(1, min(BATCHES_PER_DRAW, NUMBERS_PER_DRAW // (settings.batch * dim)))
    gradients = Gradients(block, training, how)
    return Trainer(block, source, settings, index, state_file, held_out, gradients, together)
