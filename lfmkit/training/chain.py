"""The blocks of a flow as jobs: trained one after another, at the same time in workers, or on a cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Generator, Tensor

from lfmkit import schedules
from lfmkit.flows.block import Block
from lfmkit.flows.flow import Flow
from lfmkit.training.early_stopping import HeldOut
from lfmkit.training.execution import Execution
from lfmkit.training.gradients import Gradients
from lfmkit.training.on_dask import train_on_cluster
from lfmkit.training.parallel import threads, train_in_workers
from lfmkit.training.pushing import pushed
from lfmkit.training.run_folder import RunFolder
from lfmkit.training.settings import Given
from lfmkit.training.targets import Averaged, Pairs, kd_order
from lfmkit.training.trainer import CHUNK, History, Settings, Trainer, measure_moments
from lfmkit.utils.progress import Progress

if TYPE_CHECKING:
    from distributed import Client

TOGETHER = 2**24  # numbers of a chunk of batches at most


@dataclass
class Jobs:
    """Train the blocks of a flow on data x: in this process, in workers, or on a cluster."""

    flow: Flow
    x: Tensor
    val: Tensor | None
    patience: float
    given: Given
    settings: Sequence[Settings]
    targets: str
    execution: Execution
    run: RunFolder | None
    save_every: float
    bar: Progress

    def pushed(self, warm_start: bool) -> list[History]:
        """Train block after block; encode the pool through each, once."""
        histories, x, val, blocks = [], self.x, self.val, self.flow.chain
        for k, block in enumerate(blocks):
            if k > 0:
                file = self.run.pool_file(k) if self.run is not None else None
                seed, team = self.settings[0].seed, self.execution.team
                with threads(self.execution.threads):
                    x = pushed(self.flow, x, k - 1, self.given.cond, seed, file, team)
                    val = None if val is None else self.flow.push(val, k - 1)
                if warm_start:
                    block.load_state_dict(blocks[k - 1].state_dict())
            histories.append(self._run(self._maker(k, x, val, 0.0), k))
        return histories

    def ou(self, workers: int, client: Client | None = None) -> list[History]:
        """Train all blocks on OU marginals of the data, `workers` at a time or as a cluster can."""
        blocks = self.flow.chain
        lefts = [0.0, *schedules.times(block.gamma for block in blocks[:-1])]
        x = self.x[kd_order(self.x)] if self.targets == "averaged" else self.x
        makers = [self._maker(k, x, self.val, T) for k, T in enumerate(lefts)]
        if client is not None:
            results = train_on_cluster(client, makers, self.save_every, self.bar)
        elif workers > 1:
            results = train_in_workers(makers, workers, self.save_every, self.bar)
        else:
            return [self._run(make, k) for k, make in enumerate(makers)]
        for block, (state, _) in zip(blocks, results, strict=True):
            block.load_state_dict(state)
        return [history for _, history in results]

    def _maker(self, k: int, x: Tensor, val: Tensor | None, T: float) -> Callable[[], Trainer]:
        state_file = self.run.state_file(k) if self.run is not None else None
        return partial(
            make_trainer,
            self.flow.chain[k],
            x,
            self.given,
            T,
            self.targets,
            self.settings[k],
            k,
            state_file,
            val,
            self.patience,
            self.execution,
        )

    def _run(self, make: Callable[[], Trainer], k: int) -> History:
        with threads(self.execution.threads):
            return make().run(partial(self.bar.update, k), self.save_every)


def make_trainer(
    block: Block,
    x: Tensor,
    given: Given,
    T: float,
    targets: str,
    settings: Settings,
    index: int,
    state_file: Path | None,
    val: Tensor | None = None,
    patience: float = 0.25,
    execution: Execution | None = None,
) -> Trainer:
    """Return the trainer of one block whose pool is x diffused for time T; measure the block's moments."""
    how = execution or Execution()
    device = how.devices[index % len(how.devices)]
    block, dim = block.to(device), x[0].numel()
    ends = T, block.gamma, block.path, block.coupling
    cond, partners, drop, near_data, flip = given.to(block.moments)
    pairs = Pairs(x, *ends, partners, cond, drop, near_data, flip)
    measure_moments(block, pairs, settings.seed)
    held_out = None
    if val is not None:
        apart = Pairs(val.to(device), *ends, near_data=near_data)
        draws = Generator(device).manual_seed(settings.seed * 1_000_003 + index)
        held_out = HeldOut(apart, dim, patience, draws)
    source = pairs if targets == "pairs" else Averaged(x, T, block.gamma, block.path, settings.seed)
    gradients = Gradients(block, settings.precision, how.micro, how.compiled, how.team)
    together = max(1, min(CHUNK, TOGETHER // (settings.batch * dim)))
    return Trainer(block, source, settings, index, state_file, held_out, gradients, together)
