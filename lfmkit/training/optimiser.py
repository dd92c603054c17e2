"""Adam and its learning rate: the function under `torch.optim.Adam`, without that class.

The class loads torch's compiler when it is first used: a second, in every process that trains.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.optim.adam import adam


class Adam:
    """The optimiser of a block: bit for bit what `torch.optim.Adam(fused=True)` does.

    Args:
        weights: What is trained; their `grad` is read at each step.
        lr: Learning rate; set it anew whenever it should change.
        betas: Decay of the averages of the gradient and of its square.
        eps: Added to the root of the latter.

    Attributes:
        param_groups: The weights, where `torch.amp.GradScaler` looks for them.
        state: For each weight "step", "exp_avg" and "exp_avg_sq".

    Reference: Adam: A Method for Stochastic Optimization, arXiv 1412.6980.

    >>> weight = torch.ones(3, requires_grad=True)
    >>> weight.grad = torch.tensor([1.0, 0.0, -5.0])
    >>> Adam([weight], lr=0.1).step()
    >>> [round(x, 4) for x in weight.tolist()]
    [0.9, 1.0, 1.1]
    """

    def __init__(
        self,
        weights: Sequence[Tensor],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        self.lr, self.betas, self.eps = lr, betas, eps
        self.param_groups = [{"params": list(weights)}]
        self.state: list[dict[str, Tensor]] = [
            {
                "step": torch.zeros((), device=weight.device),
                "exp_avg": torch.zeros_like(weight),
                "exp_avg_sq": torch.zeros_like(weight),
            }
            for weight in weights
        ]

    @torch.no_grad()
    def step(self) -> None:
        """Move the weights against their gradients; one without a gradient stays where it is."""
        weights = self.param_groups[0]["params"]
        moved = [(w, w.grad, own) for w, own in zip(weights, self.state, strict=True) if w.grad is not None]
        adam(
            [weight for weight, _, _ in moved],
            [grad for _, grad, _ in moved],
            [own["exp_avg"] for _, _, own in moved],
            [own["exp_avg_sq"] for _, _, own in moved],
            [],
            [own["step"] for _, _, own in moved],
            fused=True,
            amsgrad=False,
            beta1=self.betas[0],
            beta2=self.betas[1],
            lr=self.lr,
            weight_decay=0.0,
            eps=self.eps,
            maximize=False,
        )

    def restore(self, state: Sequence[Mapping[str, Tensor]]) -> None:
        """Take up the `state` that another one was left in."""
        for ours, theirs in zip(self.state, state, strict=True):
            for name, tensor in ours.items():
                tensor.copy_(theirs[name])


def learning_rate_factor(step: int, steps: int, warmup: float) -> float:
    """Return the share of the peak learning rate: linear warm-up, then a cosine down to 0.

    >>> [round(learning_rate_factor(k, 100, 0.1), 2) for k in (0, 9, 10, 55, 99)]
    [0.1, 1.0, 1.0, 0.5, 0.0]
    """
    rise = warmup * steps
    if step < rise:
        return min(1.0, (step + 1) / rise)
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / (steps - rise)))
