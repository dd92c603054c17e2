"""Training one block: a plain loop that can be stopped at any moment and goes on bit for bit.

The loop knows nothing of the other blocks. Its whole state (weights, averages, optimiser, random generator,
history) is written in one file now and then; a run that finds the file continues from it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lfmkit.flows.block import Block
from lfmkit.training import optimiser
from lfmkit.training.early_stopping import LOOKS_PER_RUN, HeldOut
from lfmkit.training.gradients import Gradients
from lfmkit.training.objectives import drawn
from lfmkit.training.optimiser import learning_rate_factor
from lfmkit.training.settings import Settings
from lfmkit.training.targets import Batch, Pairs, Targets
from lfmkit.utils.progress import Step
from lfmkit.utils.tensors import read_tensors, write_tensors

RECORDS_PER_RUN = 100  # of the loss
BATCHES_PER_DRAW = 16
NUMBERS_MEASURED = 2**25  # whose moments are measured, at most
STEPS_PER_AVERAGE = 5  # between updates of the average of the weights
SAVE_PAUSE = 20  # least pause between writes of the state, in times that the last one took
SEEDS_PER_BLOCK = 1_000_003

Report = Callable[[Step], object]  # called now and then; true when this block shall train no longer


@dataclass
class History:
    """What happened while a block was trained.

    Attributes:
        steps: Steps done.
        seconds: Wall-clock seconds spent, over all runs that contributed.
        core_seconds: Processor time of the training threads; on an accelerator the same as `seconds`.
        loss: (step, mean loss since the previous record), about 100 over the run.
        val: (step, loss of the averaged weights on held-out rows), about 25 a run.
        best: Step of the weights that were kept; the last one without held-out rows.
        stopped: Whether a callback ended the training.
    """

    steps: int = 0
    seconds: float = 0.0
    core_seconds: float = 0.0
    loss: list[tuple[int, float]] = field(default_factory=list)
    val: list[tuple[int, float]] = field(default_factory=list)
    best: int = 0
    stopped: bool = False

    @classmethod
    def from_json(cls, past: dict[str, Any]) -> History:
        """Return what `dataclasses.asdict` has made plain data of."""
        curves = {name: [(k, v) for k, v in past.get(name, [])] for name in ("loss", "val")}
        spent = past.get("core_seconds", past["seconds"])
        best, stopped = past.get("best", past["steps"]), past.get("stopped", False)
        return cls(past["steps"], past["seconds"], spent, **curves, best=best, stopped=stopped)


class Trainer:
    """The state of one block's training: `run` brings it to the end, from wherever it is.

    Args:
        block: The block; its weights are the start and, after `run`, the result.
        targets: Source of its batches.
        settings: How to train.
        index: Number of the block in its flow, part of the seed.
        state_file: Where the state is kept between runs; None to keep it nowhere.
        held_out: Rows that decide which weights are kept, and when to stop; None for the last ones.
        gradients: How a batch's gradient is computed; as a whole, by this process, when left out.
        together: Batches drawn at a time: one call, less overhead. Part of what the seed means.
    """

    def __init__(
        self,
        block: Block,
        targets: Targets,
        settings: Settings,
        index: int = 0,
        state_file: Path | None = None,
        held_out: HeldOut | None = None,
        gradients: Gradients | None = None,
        together: int = BATCHES_PER_DRAW,
    ) -> None:
        self.held_out, self.together = held_out, together
        self.gradients = gradients or Gradients(block, settings.training)
        self.block, self.targets, self.settings, self.state_file = block, targets, settings, state_file
        self.history = History()
        self.weights = self.gradients.weights
        self.average = [p.detach().clone() for p in self.weights]
        device = self.weights[0].device
        self.index, self._seed = index, settings.seed * SEEDS_PER_BLOCK + index
        self.generator = torch.Generator(device).manual_seed(self._seed)
        self.optimiser = optimiser.made(settings.training.optimizer, self.weights, settings.lr)
        self._loss_sum, self._loss_count = torch.zeros((), device=device), 0
        self._chunk: Batch | None = None
        self._chunk_start = self.generator.get_state()

    def run(self, report: Report | None = None, wanted: Callable[[], None] | None = None) -> History:
        """Train to the last step and leave the averaged weights in the block, or the best held-out ones.

        The state file is written every `save_every` seconds, or less often where writing it takes long: that
        costs a twentieth of the time at most. With 0 it is written after every step.

        Args:
            report: Called about a hundred times; what is true ends the training of this block.
            wanted: Called before every step; raises when nobody waits for the result any more.

        Raises:
            RuntimeError: The loss is no longer finite, or that on held-out rows never was.
        """
        if self.state_file is not None and self.state_file.exists():
            self._restore(self.state_file)
        settings, history, team = self.settings, self.history, self.gradients.team
        every = max(1, settings.steps // RECORDS_PER_RUN)
        resumed, started, saved = history.seconds, time.perf_counter(), time.perf_counter()
        pause = save_every = settings.training.save_every
        spent, busy = history.core_seconds, self._busy()
        looks = every * max(1, RECORDS_PER_RUN // LOOKS_PER_RUN)
        while history.steps < settings.steps and not (history.stopped or self._given_up()):
            if wanted is not None:
                wanted()
            self._step(history.steps)
            history.steps += 1
            now = time.perf_counter()
            history.seconds = resumed + now - started
            history.core_seconds = spent + self._busy() - busy
            if history.steps % every == 0 or history.steps == settings.steps:
                self._record()
                if report is not None:
                    history.stopped = team.agree(team.leads and bool(report(self._told())))
            last = history.steps == settings.steps or history.stopped
            if self.held_out is not None and (last or history.steps % looks == 0):
                average = self.average if self._averages else self.weights
                seen = self.held_out.look(self.block, self.weights, average, history.steps, team)
                history.val.append((history.steps, seen))
            if self.state_file is not None and team.leads and now - saved > pause:
                self._save(self.state_file)
                saved = time.perf_counter()
                pause = save_every and max(save_every, SAVE_PAUSE * (saved - now))
        if self.state_file is not None and team.leads:
            self._save(self.state_file)
        history.best = history.steps
        with torch.no_grad():
            if self.held_out is not None:
                if not self.held_out.weights:
                    raise RuntimeError(
                        "the loss on the held-out rows was never finite: look for very large numbers in val="
                    )
                torch._foreach_copy_(self.weights, self.held_out.weights)
                history.best = self.held_out.step
            elif self._averages and history.steps >= STEPS_PER_AVERAGE:
                torch._foreach_copy_(self.weights, self.average)
        return history

    @property
    def _averages(self) -> bool:
        return self.settings.training.ema > 0 and self.settings.steps >= STEPS_PER_AVERAGE

    def _busy(self) -> float:
        """Return the seconds this thread has computed, and those that help it with a step on the CPU."""
        if self.weights[0].device.type != "cpu":
            return time.perf_counter()
        return time.thread_time() if torch.get_num_threads() == 1 else time.process_time()

    def _given_up(self) -> bool:
        return self.held_out is not None and self.held_out.gave_up(self.history.steps, self.settings.steps)

    def _told(self) -> Step:
        history, settings = self.history, self.settings
        val = history.val[-1][1] if history.val else math.nan
        return Step(self.index, history.steps, settings.steps, history.loss[-1][1], self.optimiser.lr, val)

    def _step(self, k: int) -> None:
        settings, training = self.settings, self.settings.training
        self.optimiser.lr = settings.lr * learning_rate_factor(k, settings.steps, training.warmup)
        batch, scaler = self._batch(k), self.gradients.scaler
        own = (self._seed * SEEDS_PER_BLOCK + k) * self.gradients.team.size + self.gradients.team.rank
        self.gradients.generator.manual_seed(own % 2**63)
        loss = self.gradients(batch)
        if training.clip is not None:
            scaler.unscale_(self.optimiser)  # type: ignore[arg-type]  # it asks for param_groups only
            nn.utils.clip_grad_norm_(self.weights, training.clip, foreach=True)
        scaler.step(self.optimiser)  # type: ignore[arg-type]
        scaler.update()
        if training.ema > 0 and (k + 1) % STEPS_PER_AVERAGE == 0:
            weight = min(1.0, STEPS_PER_AVERAGE / (1 + training.ema * (k + 1)))
            torch._foreach_lerp_(self.average, [w.detach() for w in self.weights], weight)
        self._loss_sum += loss
        self._loss_count += 1

    def _batch(self, k: int) -> Batch:
        """Return the batch of step k; a chunk is drawn again from its start after a restart."""
        size, place = self.settings.batch, k % self.together
        if place == 0:
            self._chunk_start = self.generator.get_state()
        if place == 0 or self._chunk is None:
            objective = self.settings.training.objective
            self._chunk = drawn(objective, self.targets, self.together * size, self.generator)
        return self._chunk.part(place * size, size)

    def _record(self) -> None:
        mean = float(self._loss_sum) / max(1, self._loss_count)
        if not math.isfinite(mean):
            raise RuntimeError(
                f"the loss is no longer finite at step {self.history.steps}: lower lr "
                f"(now {self.settings.lr}), or set training=Training(clip=…)"
            )
        self.history.loss.append((self.history.steps, mean))
        self._loss_sum.zero_()
        self._loss_count = 0

    def _save(self, path: Path) -> None:
        between = (
            self.history.steps % self.together == 0
        )  # the next step draws a new chunk, not this one again
        start = self.generator.get_state() if between else self._chunk_start
        tensors = {"generator": start, "loss_sum": self._loss_sum}
        for i, (weight, average) in enumerate(zip(self.weights, self.average, strict=True)):
            tensors |= {f"weight.{i}": weight, f"average.{i}": average}
        tensors |= {f"optimiser.{name}": tensor for name, tensor in self.optimiser.tensors().items()}
        about: dict[str, Any] = {"history": asdict(self.history), "loss_count": self._loss_count}
        about["scaler"] = self.gradients.scaler.state_dict()
        about["optimiser"] = self.optimiser.numbers()
        if self.held_out is not None:
            best, about["held_out"] = self.held_out.state()
            tensors |= best
        write_tensors(path, tensors, about)

    def _restore(self, path: Path) -> None:
        tensors, about = read_tensors(path)
        self._chunk_start = tensors["generator"]
        self.generator.set_state(self._chunk_start)
        self._loss_sum.copy_(tensors["loss_sum"])
        self._loss_count = about["loss_count"]
        self.history = History.from_json(about["history"])
        if about.get("scaler"):
            self.gradients.scaler.load_state_dict(about["scaler"])
        if self.held_out is not None:
            self.held_out.restore(tensors, about["held_out"], self.weights)
        with torch.no_grad():
            for i, (weight, average) in enumerate(zip(self.weights, self.average, strict=True)):
                weight.copy_(tensors[f"weight.{i}"])
                average.copy_(tensors[f"average.{i}"])
        state = {name.partition(".")[2]: t for name, t in tensors.items() if name.startswith("optimiser.")}
        self.optimiser.restore(state, about.get("optimiser", {}))


def measure_moments(block: Block, pairs: Pairs, seed: int = 0, n: int = 8192) -> None:
    """Put the second moments of the ends of n training pairs into a block, for its preconditioning."""
    generator = torch.Generator(block.moments.device).manual_seed(seed)
    x_l, x_r = pairs.ends(min(n, max(256, NUMBERS_MEASURED // pairs.pool.x[0].numel())), generator)
    block.moments.copy_(torch.stack([(a * b).mean() for a, b in ((x_l, x_l), (x_l, x_r), (x_r, x_r))]))
