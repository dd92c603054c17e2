"""A flow: a chain of blocks, each one velocity network on its own stretch from data to noise.

encode = data to noise, decode = noise to data.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lfmkit import nets, schedules
from lfmkit.divergence import Trace
from lfmkit.flows import checkpoints
from lfmkit.flows.block import Block
from lfmkit.flows.guidance import Field
from lfmkit.flows.inputs import as_conditions, as_samples
from lfmkit.flows.integrate import Trajectory, in_chunks, solve_block
from lfmkit.solvers import Sampler, Solution, Solver
from lfmkit.utils import references
from lfmkit.utils.progress import progress_over


class Flow(nn.Module):
    """A chain of blocks between data (left of block 0) and N(0, I) (right of the last block).

    Args:
        blocks: Blocks, data side first.
        dim: Dimension of the data.
        net: Recipe the blocks' networks were built by; needed to save the flow.
        solver: Default solver of every block, or a sampler of your own.

    Attributes:
        objective: What it was trained for, where that is not the plain regression on velocities.
        last_nfe: Velocity evaluations of the last solve, per block, data side first. For many points solved
            in chunks it is the mean over chunks, so that it says what one point costs.
        last_trace_error: Standard error of the mean of the last `log_prob` that is due to its probes alone;
            0 for the exact divergence, NaN for a single probe.
    """

    def __init__(
        self,
        blocks: Iterable[Block],
        dim: int,
        net: nets.Recipe | None = None,
        solver: Sampler | None = None,
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        if not len(self.blocks):
            raise ValueError("a flow needs at least one block")
        self.dim, self.net = dim, net
        self.solver: Sampler = solver or Solver()
        self.objective: Any = None
        self.last_nfe: tuple[float, ...] = ()
        self.last_trace_error = 0.0

    @property
    def chain(self) -> Sequence[Block]:
        """The blocks, data side first."""
        return [block for block in self.blocks if isinstance(block, Block)]

    @property
    def schedule(self) -> schedules.Schedule:
        """The local step sizes (without the free block)."""
        return tuple(block.gamma for block in self.chain if math.isfinite(block.gamma))

    @property
    def parameters_count(self) -> int:
        """The number of trainable numbers in all blocks."""
        return sum(p.numel() for p in self.parameters())

    @property
    def cond(self) -> int:
        """The number of columns of the condition this flow takes; 0 where it takes none."""
        return self.chain[0].cond

    def encode(
        self, x: Tensor, solver: Sampler | None = None, cond: Tensor | None = None, guidance: float = 1.0
    ) -> Tensor:
        """Map data x (n, d) to noise (n, d).

        Args:
            x: Data.
            solver: Solver of every block; the flow's own when left out.
            cond: Conditions of a conditional flow: (n, c) numbers, (c,) for all, or (n,) whole class numbers.
                None: without condition.
            guidance: w in v(x) + w (v(x | cond) - v(x)); 1 is the conditional flow itself, other values
                evaluate the network twice (Classifier-Free Diffusion Guidance, arXiv 2207.12598).

        Raises:
            ValueError: x is not a finite (n, dim) matrix; the condition does not fit, or guidance comes
                without one.
        """
        return self._through(x, +1, solver, cond, guidance)[0]

    def decode(
        self, z: Tensor, solver: Sampler | None = None, cond: Tensor | None = None, guidance: float = 1.0
    ) -> Tensor:
        """Map noise z (n, d) to data (n, d): the inverse of `encode` up to the solver's error."""
        return self._through(z, -1, solver, cond, guidance)[0]

    def sample(
        self,
        n: int,
        seed: int = 0,
        solver: Sampler | None = None,
        cond: Tensor | None = None,
        guidance: float = 1.0,
    ) -> Tensor:
        """Return n samples (n, d): decoded N(0, I) noise of the given seed."""
        return self.decode(self.noise(n, seed), solver, cond, guidance)

    def noise(self, n: int, seed: int = 0) -> Tensor:
        """Return the N(0, I) noise (n, d) that `sample` decodes."""
        if n < 1:
            raise ValueError(f"the number of samples must be >= 1, got {n}")
        z = torch.randn(n, self.dim, generator=torch.Generator().manual_seed(seed))
        return z.to(self._like())

    def log_prob(
        self,
        x: Tensor,
        solver: Sampler | None = None,
        cond: Tensor | None = None,
        guidance: float = 1.0,
        probes: int = 0,
        seed: int = 0,
    ) -> Tensor:
        """Return log N(encode(x)) + the sum over blocks of the integrated divergence, (n,), nats.

        Args:
            x: Data, shape (n, d). It is scored in chunks: memory does not grow with n.
            solver: As for `encode`.
            cond: As for `encode`.
            guidance: As for `encode`.
            probes: 0 for the exact divergence. Otherwise the number of random vectors that estimate it
                without bias, at a cost that does not grow with d (Hutchinson; FFJORD, arXiv 1810.01367);
                with two or more `last_trace_error` says how well.
            seed: Seed of the probes; they stay the same along each block's path.

        Raises:
            ValueError: As for `encode`; the number of probes is negative.
        """
        trace = Trace(probes, seed)
        z, integral = self._through(x, +1, solver, cond, guidance, trace)
        divergence, self.last_trace_error = trace.summary(integral)
        return divergence - 0.5 * z.square().sum(1) - 0.5 * self.dim * math.log(2 * math.pi)

    def trajectory(
        self,
        start: Tensor,
        points: int = 50,
        solver: Sampler | None = None,
        encode: bool = False,
        cond: Tensor | None = None,
        guidance: float = 1.0,
    ) -> Trajectory:
        """Record the trajectories of start (n, d), noise to data, or with encode=True data to noise.

        Args:
            start: Noise (or data, with encode=True), shape (n, d).
            points: Records a block, both ends included; neighbouring blocks share theirs.
            solver: Solver of every block.
            encode: Run from data to noise.
            cond: As for `encode`.
            guidance: As for `encode`.
        """
        if points < 2:
            raise ValueError(f"a trajectory needs 2 or more points a block, got {points}")
        x = self._checked(start)
        cond = as_conditions(cond, self.cond, len(x), guidance, x)
        order = range(len(self.blocks)) if encode else range(len(self.blocks) - 1, -1, -1)
        times = torch.linspace(0, 1, points, dtype=x.dtype, device=x.device)
        times = times if encode else times.flip(0)
        t, states, index, nfe = [times[:1]], [x[None]], [torch.tensor([order[0]])], {}
        for k in order:
            solution = self._solve(k, states[-1][-1], times, solver, cond, guidance)
            t.append(times[1:])
            states.append(solution.x[1:])
            index.append(torch.full((points - 1,), k))
            nfe[k] = solution.nfe
        self.last_nfe = tuple(nfe[k] for k in sorted(nfe))
        return Trajectory(
            torch.cat(t), torch.cat(states), torch.cat(index), tuple(nfe[k] for k in sorted(nfe))
        )

    def push(
        self, x: Tensor, block: int, solver: Sampler | None = None, cond: Tensor | None = None
    ) -> Tensor:
        """Map x (n, d) through one block only, from its data side to its noise side."""
        x, times = self._checked(x), torch.tensor([0.0, 1.0])
        cond = as_conditions(cond, self.cond, len(x), 1.0, x)
        parts = zip(in_chunks(x, x), in_chunks(cond, x), strict=True)
        return torch.cat([self._solve(block, part, times, solver, c).x[-1] for part, c in parts])

    def save(self, folder: str | Path, **more: Any) -> None:
        """Write flow.json and the weights (safetensors) to a folder, made if need be.

        Args:
            folder: The folder.
            **more: Plain data that flow.json holds besides.

        Raises:
            ValueError: The flow was not built from a network recipe, or a function or class of yours in it
                has no name that leads back to it.
            OSError: The folder cannot be written or the disk is full.
        """
        checkpoints.write(Path(folder), {**self.describe(), **more}, self.state_dict())

    def describe(self) -> dict[str, Any]:
        """Return what flow.json says of the flow: all but its weights, as plain data.

        Raises:
            ValueError: As for `save`.
        """
        if self.net is None:
            raise ValueError("only a flow built from a network recipe (net=…) can be saved")
        about = {
            "dim": self.dim,
            "cond": self.cond,
            "blocks": [checkpoints.describe(block) for block in self.chain],
            "net": nets.to_json(self.net),
            "solver": asdict(self.solver)
            if isinstance(self.solver, Solver)
            else references.to_json(self.solver, {}, "solver"),
        }
        if self.objective is not None:
            about["objective"] = references.to_json(self.objective, {}, "objective")
        return about

    def _through(
        self,
        x: Tensor,
        direction: int,
        solver: Sampler | None,
        cond: Tensor | None,
        guidance: float,
        trace: Trace | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Solve all blocks in turn, chunk by chunk; return the end states and the integrated divergence."""
        x = self._checked(x)
        cond = as_conditions(cond, self.cond, len(x), guidance, x)
        times = torch.tensor([0.0, 1.0] if direction > 0 else [1.0, 0.0])
        order = list(range(len(self.blocks)))[::direction]
        ends, integrals, nfe = [], [], torch.zeros(len(order))
        draw, probes = (None, 0) if trace is None else (trace.draws(), trace.probes)
        chunks, conditions = in_chunks(x, x, probes > 0), in_chunks(cond, x, probes > 0)
        for part, part_cond in zip(progress_over(chunks), conditions, strict=True):
            integral = part.new_zeros((len(part), probes) if probes else len(part))
            for k in order:
                vectors = None if draw is None else draw(part)
                solution = self._solve(
                    k, part, times, solver, part_cond, guidance, trace is not None, vectors
                )
                part = solution.x[-1]
                if solution.divergence is not None:
                    integral = integral + solution.divergence
                nfe[k] += solution.nfe / len(chunks)
            ends.append(part)
            integrals.append(integral)
        self.last_nfe = tuple(round(float(n), 1) for n in nfe)
        return torch.cat(ends), torch.cat(integrals)

    def _solve(
        self,
        block: int,
        x: Tensor,
        times: Tensor,
        solver: Sampler | None,
        cond: Tensor | None = None,
        guidance: float = 1.0,
        divergence: bool = False,
        probes: Tensor | None = None,
    ) -> Solution:
        field = Field(self.chain[block], cond, guidance)
        try:
            return solve_block(field, x, times, solver or self.solver, divergence, probes)
        except RuntimeError as error:
            raise RuntimeError(f"block {block + 1} of {len(self.blocks)}: {error}") from error

    def _like(self) -> Tensor:
        """Return a tensor of the parameters' device and dtype (float32 on the CPU without parameters)."""
        return next(self.parameters(), torch.empty(0)).detach()

    def _checked(self, x: Tensor) -> Tensor:
        return as_samples(x, self.dim).to(self._like() if next(self.parameters(), None) is not None else x)
