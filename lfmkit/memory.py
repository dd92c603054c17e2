"""Whether an error means that there is too little memory."""

from __future__ import annotations

import torch


def ran_out(error: BaseException) -> bool:
    """Return whether an error of torch means that an accelerator or this machine has no more memory.

    >>> ran_out(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    False
    """
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
