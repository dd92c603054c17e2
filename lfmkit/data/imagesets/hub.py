"""The published image sets: what they are, where their files may lie, and how they come from the hub."""

from __future__ import annotations

import contextlib
import errno
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from lfmkit.data import download
from lfmkit.data.imagesets.parquet import Part, from_parts, in_parquet
from lfmkit.data.imagesets.stored import SPLITS, Stored
from lfmkit.utils.progress import watched


@dataclass(frozen=True)
class Known:
    """A published set."""

    source: str  # name, authors and reference
    licence: str
    hub: str  # name on the Hugging Face hub
    size: str  # of the download from there
    files: tuple[str, ...] = ()  # under $LFMKIT_DATA, recompressed copies: one file or one for each split
    counts: Mapping[str, int] = field(default_factory=dict)  # images in each split, if that is known
    splits: Mapping[str, str] = field(default_factory=lambda: SPLITS)  # there: here; others are left out
    labels: bool = True  # whether its labels mean something
    departs: str = "nothing"  # departures of the hub's copy from the set in the literature


KNOWN = {
    "cifar10": Known(
        source="CIFAR-10, Krizhevsky 2009, Learning multiple layers of features from tiny images",
        licence="not stated by its author",
        hub="uoft-cs/cifar10",
        size="144 MB",
        files=("cifar10_jpeg_train.parquet", "cifar10_jpeg_test.parquet"),
        counts={"train": 50_000, "test": 10_000},
    ),
    "imagenet32": Known(
        source="ImageNet, Deng et al. 2009, reduced to 32 x 32",
        licence="non-commercial research and education, on terms that image-net.org asks to accept",
        hub="benjamin-paine/imagenet-1k-32x32",
        size="some GB",
        counts={"train": 1_281_167, "test": 50_000},
        splits={"train": "train", "validation": "test", "val": "test"},
        departs="reduced by the publisher of the copy: not the files of Chrabaszcz et al., arXiv 1707.08819; "
        "test is ImageNet's validation set, its own test set has no labels",
    ),
    "flowers102": Known(
        source="Oxford Flowers-102, Nilsback and Zisserman 2008",
        licence="not stated by its authors; the photographs are from the web",
        hub="dpdl-benchmark/oxford_flowers102",
        size="3.4 GB",
        files=("flowers102_64_jpeg.parquet",),
        counts={"train": 1_020, "val": 1_020, "test": 6_149},
    ),
    "lsun_church": Known(
        source="LSUN church outdoor, Yu et al. 2015, arXiv 1506.03365; the images of its training set",
        licence="not stated by its authors",
        hub="tglcourse/lsun_church_train",
        size="2.5 GB",
        labels=False,
        departs="a test set, where there is one, is that of the publisher of the copy",
    ),
}


def known(name: str) -> Stored:
    """Return a published set: its files under $LFMKIT_DATA, or else from the Hugging Face hub.

    Raises:
        ImportError: The set must come from the hub, and the package datasets is not installed.
        OSError: The hub does not give the set, or the disk is full, or LFMKIT_DATA does not name a folder.
        ValueError: The set is damaged or not whole.
    """
    about = KNOWN[name]
    found = _files(name, about)
    stored = in_parquet(name, *found) if found else _downloaded(name, about)
    counts = dict(Counter([] if stored.splits is None else stored.splits.tolist()))
    if about.counts and counts != about.counts:
        raise ValueError(
            f"{stored.provenance['file']} is not the whole {name}: it has {_counted(counts) or 'no splits'}, "
            f"where {_counted(about.counts)} should be. Are files missing, or is it another set?"
        )
    facts = {"source": about.source, "licence": about.licence}
    provenance = {**facts, **stored.provenance, **facts}
    provenance.setdefault("departs", about.departs)
    if not about.labels:
        stored, provenance["labels"] = replace(stored, labels=None, classes=()), "none"
    return replace(stored, name=name, provenance=provenance)


def home(name: str) -> str:
    """Say where a published set would come from; nothing is read or fetched."""
    about = KNOWN[name]
    if found := _files(name, about):
        return f"{', '.join(path.name for path in found[0])} under {download.VARIABLE}"
    return f"the Hugging Face hub, {about.hub}: {about.size} to be fetched, once"


def _files(name: str, about: Known) -> tuple[list[Path], Path, Mapping[str, str]] | None:
    """Return parquet files in a folder of the set's name, or recompressed copies; folder and splits."""
    for folder in download.places(name):
        if paths := sorted(folder.rglob("*.parquet")):
            return paths, folder, about.splits
    copies = [path for path in map(download.given, about.files) if path]
    whole = bool(copies) and len(copies) == len(about.files)
    return (copies, copies[0].parent, SPLITS) if whole else None


def _downloaded(name: str, about: Known) -> Stored:
    """Return the set from the hub, of which the package datasets keeps a copy; it runs no code from there."""
    own = (
        f"put its parquet files into a folder {name}, and set {download.VARIABLE} to the folder that holds it"
    )
    try:
        import datasets
    except ImportError as error:
        message = f"{name} comes from the Hugging Face hub: pip install 'lfmkit[images]' gets it from there"
        raise ImportError(f"{message}. Or {own}") from error
    from pyarrow import dataset

    try:
        with contextlib.ExitStack() as afterwards:
            if not watched() and not datasets.are_progress_bars_disabled():
                datasets.disable_progress_bars()
                afterwards.callback(datasets.enable_progress_bars)
            found = datasets.load_dataset(about.hub)
    except Exception as error:  # of three libraries that have no class in common
        raise OSError(
            f"cannot get {name} from the Hugging Face hub ({about.hub}, {about.size}): "
            f"{_reason(error, about.hub)}. Or {own}. The images 'digits' need neither"
        ) from error
    parts = [
        Part(f"{about.hub}, {split}", split, dataset.dataset(each.data.table))
        for split, each in found.items()
    ]
    checksum = " ".join(each._fingerprint for each in found.values())
    provenance = {"source": "", "file": f"{about.hub} on the Hugging Face hub", "fingerprint": checksum}
    return from_parts(name, parts, checksum, provenance, about.splits)


def _reason(error: BaseException, hub: str) -> str:
    """Return in a few words why a set cannot be had, and what to do."""
    cause: BaseException | None = error
    while cause:
        if getattr(cause, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            return "the disk is full. Make room and try again"
        cause = cause.__cause__ or cause.__context__
    text = " ".join(str(error).split())
    if "gated" in text:
        page = f"https://huggingface.co/datasets/{hub}"
        return f"its terms have to be accepted. Do so at {page}, log in with hf auth login, and try again"
    if "OfflineMode" in text:
        return "HF_HUB_OFFLINE forbids it. Unset it and try again"
    if isinstance(error, ConnectionError):
        return "there is no connection. Try again with one"
    return f"{text}. Try again"


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{split} {count:,}" for split, count in counts.items())
