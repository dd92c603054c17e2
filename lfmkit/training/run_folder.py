"""The folder of a training run: what was asked for, the state of each block, and in the end the flow."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from lfmkit.flows import checkpoints
from lfmkit.flows.flow import Flow
from lfmkit.training.pushing import forget
from lfmkit.training.trainer import History
from lfmkit.utils import files

FORMAT = 1


class RunFolder:
    """A folder that belongs to one call of `fit`; the same call finds its work there again.

    ``run.json`` holds the settings and hashes of data and weights; ``block-k.safetensors`` the state of each
    block's training and ``pool-k.bin`` what it trains on, both until the run is finished;
    ``flow.json`` and the weights beside it the finished flow.

    Args:
        folder: The folder, already locked for this process.
        settings: The settings of the call, as plain data.
        flow: The flow before training.
        data: The data, and what comes with its rows.

    Raises:
        ValueError: The folder holds a run that was called otherwise.
    """

    def __init__(self, folder: Path, settings: dict[str, Any], flow: Flow, data: Sequence[Tensor]) -> None:
        self.folder, self.blocks = folder, len(flow.blocks)
        self._file = folder / "run.json"
        here = digest(flow)
        asked = {"format": FORMAT, **settings, "data": _sha256(data), "start": here}
        if not self._file.exists():
            files.write_json(self._file, asked)
            self._about: dict[str, Any] = asked
            return
        self._about = files.read_json(self._file)
        if here == self._about.get("end"):  # the very flow that came out of this run
            asked["start"] = self._about["start"]
        names = {"data": "other data", "start": "other starting weights or another architecture"}
        for key in sorted({*asked, *self._about} - {"end", "blocks"}):
            value = asked.get(key)
            if self._about.get(key) != value:
                what = names.get(key, f"{key}={self._about.get(key)!r} instead of {value!r}")
                raise ValueError(
                    f"{folder} holds a run with {what}: call fit as before to go on with it, choose another "
                    "folder, or delete this one"
                )

    @property
    def finished(self) -> bool:
        """Whether the run has come to its end."""
        return "end" in self._about

    def state_file(self, block: int) -> Path:
        """Return the file of a block's training state."""
        return self.folder / f"block-{block + 1}.safetensors"

    def pool_file(self, block: int) -> Path:
        """Return the file of a block's pushed pool."""
        return self.folder / f"pool-{block + 1}.bin"

    def finish(self, flow: Flow, histories: Sequence[History]) -> None:
        """Write the trained flow, mark the run as finished, and only then remove what led there."""
        flow.save(self.folder)
        self._about |= {"end": digest(flow), "blocks": [asdict(history) for history in histories]}
        files.write_json(self._file, self._about)
        for k in range(self.blocks):
            self.state_file(k).unlink(missing_ok=True)
            forget(self.pool_file(k))

    def read_finished(self, flow: Flow) -> list[History]:
        """Put the trained weights into the flow and return the histories."""
        about = checkpoints.read(self.folder)
        checkpoints.restore(flow, self.folder / about["weights"], about["sha256"])
        return [History.from_json(past) for past in self._about["blocks"]]


def digest(flow: Flow) -> str:
    """Return the SHA-256 of a flow's shape (steps, paths, couplings) and weights."""
    described = [checkpoints.describe(block) for block in flow.chain]
    gammas = [block.gamma for block in flow.chain]
    shape = repr([(gamma, b["path"], b["coupling"]) for gamma, b in zip(gammas, described, strict=True)])
    return _sha256(flow.state_dict().values(), shape)


def _sha256(tensors: Any, text: str = "") -> str:
    digest = hashlib.sha256(text.encode())
    for tensor in tensors:
        digest.update(str((tensor.dtype, tuple(tensor.shape))).encode())
        digest.update(tensor.detach().cpu().contiguous().numpy())  # without a copy: data may be large
    return digest.hexdigest()
