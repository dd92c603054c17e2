"""Helpers for the exercises in the notebooks: they print the error of an answer, and never raise."""

from __future__ import annotations

import torch
from torch import Tensor


def check_close(yours: object, expected: Tensor, tolerance: float = 1e-5) -> bool:
    """Compare an answer with the expected tensor; print the shape and the largest error.

    Args:
        yours: The answer.
        expected: The tensor that it should be.
        tolerance: Largest difference of two numbers that counts as equal.

    Returns:
        Whether the answer is correct.

    >>> check_close(torch.zeros(3), torch.full((3,), 0.5))
    not yet: shape (3,) is right, the largest error is 0.5
    False
    >>> check_close(torch.zeros(2), torch.zeros(3))
    not yet: the shape is (2,), it should be (3,)
    False
    >>> check_close(torch.ones(3), torch.ones(3))
    correct: shape (3,), largest error 0
    True
    """
    if not isinstance(yours, Tensor):
        print(f"not yet: a tensor of shape {tuple(expected.shape)} is wanted, got {type(yours).__name__}")
        return False
    if yours.shape != expected.shape:
        print(f"not yet: the shape is {tuple(yours.shape)}, it should be {tuple(expected.shape)}")
        return False
    error = float((yours.detach().double() - expected.double()).abs().nan_to_num(torch.inf).max())
    right = error <= tolerance
    shape = tuple(expected.shape)
    if right:
        print(f"correct: shape {shape}, largest error {error:.1g}")
    else:
        print(f"not yet: shape {shape} is right, the largest error is {error:.2g}")
    return right
