"""The Inception network of 2015-12-05, whose features define the FID of the literature."""

from __future__ import annotations

import importlib
import io
import sys
from pathlib import Path

import torch
from torch import Tensor

from lfmkit.data import download
from lfmkit.pixels import as_bytes
from lfmkit.utils import files
from lfmkit.utils.progress import progress_over, watched

NAMES = ("weights-inception-2015-12-05-6726825d.pth", "pt_inception-2015-12-05-6726825d.pth")  # twins
URL = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{NAMES[0]}"
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
SIZE = "96 MB"


class Inception:
    """The 2,048 features of the Inception network of 2015-12-05, as torch-fidelity computes them.

    Images of bytes (n, 3, H, W) are enlarged to 299 x 299 bilinearly without antialiasing, as in TensorFlow 1
    and in published FIDs. One core takes six images per second: use a GPU for 10,000.

    Args:
        weights: File of the weights. By default `weights-inception-2015-12-05-6726825d.pth` under
            $LFMKIT_DATA, in the cache, or from torch-fidelity's releases on GitHub (96 MB).
        device: Device that computes the features.
        batch: Number of images per pass.

    Raises:
        ImportError: torch-fidelity or torchvision is missing, or torchvision does not fit this torch.
        FileNotFoundError: There is no such file of weights.
        ValueError: The file of weights has other content.
        OSError: The weights cannot be downloaded.

    References:
        GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium, arXiv 1706.08500;
        On Aliased Resizing and Surprising Subtleties in GAN Evaluation, arXiv 2104.11222.
    """

    label = "Inception 2015-12-05, antialias off"

    def __init__(
        self, weights: str | Path | None = None, device: str | torch.device = "cpu", batch: int = 64
    ) -> None:
        try:
            extractor = importlib.import_module("torch_fidelity").FeatureExtractorInceptionV3
        except (ImportError, RuntimeError, OSError) as error:  # torchvision fails in all these ways
            raise ImportError(
                "Inception needs torch-fidelity, and a torchvision built for this torch: "
                f"pip install 'lfmkit[images]' ({str(error).splitlines()[0]})"
            ) from error
        self.device, self.batch = torch.device(device), batch
        self._network = extractor("inception", ["2048"], _weights(weights)).to(self.device)

    def __call__(self, images: Tensor) -> Tensor:
        """Return the features of images (n, 3, H, W) of bytes, shape (n, 2048).

        Raises:
            TypeError: The images are not of bytes.
            ValueError: They do not have three channels.
        """
        if as_bytes(images).shape[1] != 3:
            raise ValueError(
                f"Inception takes images of 3 channels, got {images.shape[1]}: images.expand(-1, 3, -1, -1) "
                "makes grey ones fit"
            )
        with torch.no_grad():
            parts = [
                self._network(part.to(self.device))[0] for part in progress_over(images.split(self.batch))
            ]
        return torch.cat(parts)


def _weights(path: str | Path | None) -> io.BytesIO:
    """Return the weights as a freshly written file, which torch-fidelity can unpickle without danger."""
    found = _found(path)
    digest = files.sha256(found)
    if digest != SHA256:
        raise ValueError(f"{found} has the SHA-256 {digest}, not {SHA256}: download {URL} ({SIZE}) again")
    own = io.BytesIO()
    torch.save(torch.load(found, map_location="cpu", weights_only=True), own)
    own.seek(0)
    return own


def _found(path: str | Path | None) -> Path:
    if path is not None:
        if not Path(path).expanduser().is_file():
            raise FileNotFoundError(f"there is no {path}: download {URL} ({SIZE})")
        return Path(path).expanduser()
    given = next((found for found in map(download.given, NAMES) if found), None)
    return given or _downloaded()


def _downloaded() -> Path:
    import pooch

    pooch.get_logger().setLevel("WARNING")
    folder = Path(pooch.os_cache("lfmkit")) / "inception"
    if not (folder / NAMES[0]).exists():
        print(f"downloading {URL} ({SIZE}) to {folder}", file=sys.stderr)
    downloader = pooch.HTTPDownloader(progressbar=watched())
    try:
        found = pooch.retrieve(URL, f"sha256:{SHA256}", fname=NAMES[0], path=folder, downloader=downloader)
    except (OSError, ValueError) as error:
        remedy = f"Try again, or download it yourself and set {download.VARIABLE} to its folder"
        raise OSError(f"cannot download {URL} ({SIZE}): {str(error).splitlines()[0]}. {remedy}") from error
    return Path(found)
