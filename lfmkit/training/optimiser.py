"""Optimisers: Adam by the function under `torch.optim.Adam`, or any that a factory makes; the learning rate.

The class `torch.optim.Adam` loads torch's compiler when it is first used: a second, in every process that
trains.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam


class Adam:
    """The optimiser of a block: bit for bit what `torch.optim.Adam(fused=True)` does.

    Args:
        weights: The weights; their `grad` is read at each step.
        lr: Learning rate; set it whenever it should change.
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

    def tensors(self) -> dict[str, Tensor]:
        """Return the state, named by the number of the weight and what it is."""
        return {f"{i}.{name}": tensor for i, own in enumerate(self.state) for name, tensor in own.items()}

    def numbers(self) -> dict[str, Any]:
        """Return what else belongs to the state: nothing."""
        return {}

    def restore(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Take up the state that another one was left in."""
        for name, tensor in self.tensors().items():
            tensor.copy_(tensors[name])


class FromTorch:
    """An optimiser of torch, or one made like them, in the form that the training loop uses.

    Args:
        inner: The optimiser. Its groups keep the ratios that their learning rates begin with.
        lr: The learning rate it was made with.

    Raises:
        TypeError: It is not an optimiser.
    """

    def __init__(self, inner: Any, lr: float) -> None:
        needed = ("param_groups", "step", "state_dict", "load_state_dict")
        if not all(hasattr(inner, name) for name in needed):
            raise TypeError(
                f"optimizer= must make an optimiser like those of torch.optim, but made {inner!r}"
            )
        self.inner, self._lr = inner, lr
        self._shares = [group["lr"] / lr for group in self.param_groups]

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of weights; loading a state makes new ones."""
        groups: list[dict[str, Any]] = self.inner.param_groups
        return groups

    @property
    def lr(self) -> float:
        """The learning rate."""
        return self._lr

    @lr.setter
    def lr(self, value: float) -> None:
        self._lr = value
        for group, share in zip(self.param_groups, self._shares, strict=True):
            group["lr"] = value * share

    def step(self) -> None:
        """Move the weights against their gradients."""
        self.inner.step()

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors of the state, named by the number of the weight and what they are."""
        return {name: value for name, value in self._state() if isinstance(value, Tensor)}

    def numbers(self) -> dict[str, Any]:
        """Return the plain numbers of the state.

        Raises:
            ValueError: The state has something that is neither a tensor nor a number.
        """
        rest = {name: value for name, value in self._state() if not isinstance(value, Tensor)}
        for name, value in rest.items():
            if not (value is None or isinstance(value, (bool, int, float, str))):
                raise ValueError(
                    f"{type(self.inner).__name__} keeps {type(value).__name__} under {name!r}, which no "
                    "state file holds: train without out=, or use another optimizer="
                )
        return rest

    def restore(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Take up the state that another one was left in."""
        state: dict[int, dict[str, Any]] = {}
        for name, value in {**tensors, **numbers}.items():
            number, _, kind = name.partition(".")
            state.setdefault(int(number), {})[kind] = value
        self.inner.load_state_dict({**self.inner.state_dict(), "state": state})

    def _state(self) -> list[tuple[str, Any]]:
        state = self.inner.state_dict()["state"]
        return [(f"{i}.{name}", value) for i, own in state.items() for name, value in own.items()]


def made(factory: Callable[..., Any] | None, weights: Sequence[Tensor], lr: float) -> Adam | FromTorch:
    """Return the optimiser of a block: what the factory makes of its weights and lr=, or Adam."""
    if factory is None:
        return Adam(weights, lr, betas=(0.9, 0.99))
    return FromTorch(factory(list(weights), lr=lr), lr)


def described(factory: Callable[..., Any], weights: Sequence[Tensor], lr: float) -> dict[str, Any]:
    """Return what a factory makes, as plain data: the class, and the numbers of each group of weights."""
    inner = made(factory, weights, lr)
    assert isinstance(inner, FromTorch)
    groups = [{k: v for k, v in group.items() if k != "params"} for group in inner.param_groups]
    plain = json.loads(json.dumps(groups, default=repr))
    return {"class": f"{type(inner.inner).__module__}:{type(inner.inner).__qualname__}", "groups": plain}


def learning_rate_factor(step: int, steps: int, warmup: float) -> float:
    """Return the share of the peak learning rate: linear warm-up, then a cosine down to 0.

    >>> [round(learning_rate_factor(k, 100, 0.1), 2) for k in (0, 9, 10, 55, 99)]
    [0.1, 1.0, 1.0, 0.5, 0.0]
    """
    rise = warmup * steps
    if step < rise:
        return min(1.0, (step + 1) / rise)
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / (steps - rise)))
