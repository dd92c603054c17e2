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
from lfmkit.training.early_stopping import LOOKS, HeldOut
from lfmkit.training.gradients import PRECISIONS, Gradients
from lfmkit.training.optimiser import Adam, learning_rate_factor
from lfmkit.training.targets import Batch, Pairs, Targets
from lfmkit.utils.tensors import read_tensors, write_tensors

HISTORY = 100  # records of the loss kept over a run
CHUNK = 16  # batches drawn at a time
MEASURED = 2**25  # numbers whose moments are measured at most
EMA_EVERY = 5  # steps between updates of the average
RARE = 20  # times as long as writing the state takes, is what passes at least until it is written again

Report = Callable[[int, float], None]  # called now and then with (steps done, mean loss since the last call)


@dataclass(frozen=True)
class Settings:
    """How a block is trained.

    Args:
        steps: Optimiser steps.
        batch: Samples a step.
        lr: Peak learning rate of Adam.
        warmup: Share of the steps in which lr rises, before it falls to 0 along a cosine.
        clip: Largest gradient norm; None for no clipping.
        ema: How far the average of the weights reaches back, as a share of the steps done; 0 for none.
        seed: Seed of all random draws.
        precision: "float32", or "bf16" or "fp16" to evaluate the network in.

    Raises:
        ValueError: A number is out of its range.
    """

    steps: int = 5000
    batch: int = 1024
    lr: float = 6e-3
    warmup: float = 0.02
    clip: float | None = None
    ema: float = 0.1
    seed: int = 0
    precision: str = "float32"

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ValueError(f"unknown precision {self.precision!r}: choose one of {', '.join(PRECISIONS)}")
        for name in ("steps", "batch"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a whole number >= 1, got {value!r}")
        if not (self.lr > 0 and math.isfinite(self.lr)):
            raise ValueError(f"lr must be positive and finite, got {self.lr}")
        for name in ("warmup", "ema"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in [0, 1), got {getattr(self, name)}")
        if self.clip is not None and not self.clip > 0:
            raise ValueError(f"clip must be positive or None, got {self.clip}")


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
    """

    steps: int = 0
    seconds: float = 0.0
    core_seconds: float = 0.0
    loss: list[tuple[int, float]] = field(default_factory=list)
    val: list[tuple[int, float]] = field(default_factory=list)
    best: int = 0

    @classmethod
    def from_json(cls, past: dict[str, Any]) -> History:
        """Return what `dataclasses.asdict` has made plain data of."""
        curves = {name: [(k, v) for k, v in past.get(name, [])] for name in ("loss", "val")}
        spent = past.get("core_seconds", past["seconds"])
        return cls(past["steps"], past["seconds"], spent, **curves, best=past.get("best", past["steps"]))


class Trainer:
    """The state of one block's training: `run` brings it to the end, from wherever it is.

    Args:
        block: The block; its weights are the start and, after `run`, the result.
        targets: What it is regressed on.
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
        together: int = CHUNK,
    ) -> None:
        self.held_out, self.together = held_out, together
        self.gradients = gradients or Gradients(block, settings.precision)
        self.block, self.targets, self.settings, self.state_file = block, targets, settings, state_file
        self.history = History()
        self.weights = self.gradients.weights
        self.average = [p.detach().clone() for p in self.weights]
        device = self.weights[0].device
        self.generator = torch.Generator(device).manual_seed(settings.seed * 1_000_003 + index)
        self.optimiser = Adam(self.weights, settings.lr, betas=(0.9, 0.99))
        self._loss_sum, self._loss_count = torch.zeros((), device=device), 0
        self._chunk: Batch | None = None
        self._chunk_start = self.generator.get_state()

    def run(
        self,
        report: Report | None = None,
        save_every: float = 10.0,
        wanted: Callable[[], None] | None = None,
    ) -> History:
        """Train to the last step and leave the averaged weights in the block, or the best held-out ones.

        Args:
            report: Called about every 20 steps.
            save_every: Seconds between writes of the state file, or more where writing it takes long: they
                cost a twentieth of the time at most. 0 writes it after every step.
            wanted: Called before every step; raises when nobody waits for the result any more.

        Raises:
            RuntimeError: The loss is no longer finite, or that on held-out rows never was.
        """
        if self.state_file is not None and self.state_file.exists():
            self._restore(self.state_file)
        settings, history, team = self.settings, self.history, self.gradients.team
        every = max(1, settings.steps // HISTORY)
        resumed, started, saved = history.seconds, time.perf_counter(), time.perf_counter()
        pause = save_every
        spent, busy = history.core_seconds, self._busy()
        looks = every * max(1, HISTORY // LOOKS)
        while history.steps < settings.steps and not self._given_up():
            if wanted is not None:
                wanted()
            self._step(history.steps)
            history.steps += 1
            now = time.perf_counter()
            history.seconds = resumed + now - started
            history.core_seconds = spent + self._busy() - busy
            if history.steps % every == 0 or history.steps == settings.steps:
                self._record()
                if report is not None and team.leads:
                    report(history.steps, history.loss[-1][1])
            if self.held_out is not None and (history.steps % looks == 0 or history.steps == settings.steps):
                average = self.average if self._averages else self.weights
                seen = self.held_out.look(self.block, self.weights, average, history.steps, team)
                history.val.append((history.steps, seen))
            if self.state_file is not None and team.leads and now - saved > pause:
                self._save(self.state_file)
                saved = time.perf_counter()
                pause = save_every and max(save_every, RARE * (saved - now))
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
            elif self._averages:
                torch._foreach_copy_(self.weights, self.average)
        return history

    @property
    def _averages(self) -> bool:
        return self.settings.ema > 0 and self.settings.steps >= EMA_EVERY

    def _busy(self) -> float:
        """Return the seconds this thread has computed, and those that help it with a step on the CPU."""
        if self.weights[0].device.type != "cpu":
            return time.perf_counter()
        return time.thread_time() if torch.get_num_threads() == 1 else time.process_time()

    def _given_up(self) -> bool:
        return self.held_out is not None and self.held_out.gave_up(self.history.steps, self.settings.steps)

    def _step(self, k: int) -> None:
        settings = self.settings
        self.optimiser.lr = settings.lr * learning_rate_factor(k, settings.steps, settings.warmup)
        loss, scaler = self.gradients(self._batch(k)), self.gradients.scaler
        if settings.clip is not None:
            scaler.unscale_(self.optimiser)  # type: ignore[arg-type]  # it asks for param_groups only
            nn.utils.clip_grad_norm_(self.weights, settings.clip, foreach=True)
        scaler.step(self.optimiser)  # type: ignore[arg-type]
        scaler.update()
        if settings.ema > 0 and (k + 1) % EMA_EVERY == 0:
            weight = min(1.0, EMA_EVERY / (1 + settings.ema * (k + 1)))
            torch._foreach_lerp_(self.average, [w.detach() for w in self.weights], weight)
        self._loss_sum += loss
        self._loss_count += 1

    def _batch(self, k: int) -> Batch:
        """Return the batch of step k; a chunk is drawn again from its start after a restart."""
        size, place = self.settings.batch, k % self.together
        if place == 0:
            self._chunk_start = self.generator.get_state()
        if place == 0 or self._chunk is None:
            self._chunk = self.targets.draw(self.together * size, self.generator)
        return self._chunk.part(place * size, size)

    def _record(self) -> None:
        mean = float(self._loss_sum) / max(1, self._loss_count)
        if not math.isfinite(mean):
            raise RuntimeError(
                f"the loss is no longer finite at step {self.history.steps}: lower lr "
                f"(now {self.settings.lr}), or set clip"
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
            tensors |= {f"optimiser.{i}.{k}": v for k, v in self.optimiser.state[i].items()}
        about = {"history": asdict(self.history), "loss_count": self._loss_count}
        about["scaler"] = self.gradients.scaler.state_dict()
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
        self.optimiser.restore(
            [
                {k: tensors[f"optimiser.{i}.{k}"] for k in state}
                for i, state in enumerate(self.optimiser.state)
            ]
        )


def measure_moments(block: Block, pairs: Pairs, seed: int = 0, n: int = 8192) -> None:
    """Put the second moments of the ends of n training pairs into a block, for its preconditioning."""
    generator = torch.Generator(block.moments.device).manual_seed(seed)
    x_l, x_r = pairs.ends(min(n, max(256, MEASURED // pairs.data[0].numel())), generator)
    block.moments.copy_(torch.stack([(a * b).mean() for a, b in ((x_l, x_l), (x_l, x_r), (x_r, x_r))]))
