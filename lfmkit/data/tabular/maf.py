"""POWER, GAS, HEPMASS and MINIBOONE, prepared as in the paper on MAF, so that likelihoods can be compared.

Papamakarios, Pavlakou, Murray 2017, arXiv 1705.07057. Most papers on flows report NLLs of these very rows, so
the quirks are kept: what is dropped, what is standardised with which rows, and the order of random draws.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lfmkit.data import download
from lfmkit.data.tabular import pickled, reading
from lfmkit.data.tabular.record import Table, assemble, moments, tenths
from lfmkit.utils.provenance import note_data

_LAST = "last 10 % test, last 10 % of the rest val"
_NOT_USED = ("Meth", "Eth", "Time")  # columns of GAS
_CORRELATED = 0.98  # GAS: above this one of two columns goes
_REPEATS = 5  # HEPMASS, MINIBOONE: a column whose smallest value occurs more often goes


def power() -> Table:
    """Return POWER: electric power consumption of a household, minute by minute, 6 columns."""
    path = download.given("power/data.npy")
    if path:
        raw = list(_matrix(path, 8).T)
        departs = "nothing: these are MAF's own rows"
    else:
        from pyarrow import parquet

        path = download.asset("power.parquet")
        raw = [column.to_numpy() for column in parquet.read_table(path).columns]
        minute = raw[7] + np.random.default_rng(42).random(len(raw[7]))  # in MAF's file it is already added
        raw = [raw[0] / 1000, raw[1], raw[2] / 100, raw[3], *raw[4:7], minute]
        departs = (
            "22 of MAF's 2,049,280 rows are not in it, so the same shuffle puts other rows into the test; "
            "the noise on the minute is another draw"
        )
    n = len(raw[0])
    rng = np.random.RandomState(42)  # MAF's draws
    order = np.arange(n)
    rng.shuffle(order)  # draws what shuffling the rows would, in a hundredth of the time
    rows = np.empty((n, 6))
    for i, column in enumerate((0, 2, 4, 5, 6, 7)):
        rows[:, i] = raw[column][order]
    rows[:, 1] += 0.01 * rng.rand(n)
    rows[:, 0] += 0.001 * rng.rand(n)
    rows[:, 2:5] += rng.rand(n, 3)
    about = {
        "source": "UCI 235, Individual household electric power consumption, Hebrail and Berard, "
        "doi 10.24432/C58K54",
        "split": f"shuffled as in MAF (RandomState(42)); {_LAST}",
        "noise": "U(0, .001) on the power, U(0, .01) on the voltage, U(0, 1) on sub-meters and minute",
        "departs from MAF": departs,
    }
    columns = ("active_power_kW", "voltage_V", "sub_metering_1", "sub_metering_2", "sub_metering_3", "minute")
    begins = tenths(n)
    return published("power", [path], about, columns, np.split(rows, begins), moments(rows[: begins[1]]))


def gas() -> Table:
    """Return GAS: sixteen chemical sensors in a mixture of ethylene and CO, 8 columns."""
    (path,) = download.member("gas/ethylene_CO.pickle")
    names, rows = pickled.read(path)
    missing = [name for name in _NOT_USED if name not in names]
    if missing:
        raise ValueError(f"{path} has no column {', '.join(missing)}: it is not MAF's file")
    keep = [i for i, name in enumerate(names) if name not in _NOT_USED]
    alike = np.corrcoef(rows[:, keep], rowvar=False) > _CORRELATED
    left = list(range(len(keep)))
    while (crowded := np.flatnonzero(alike[np.ix_(left, left)].sum(1) > 1)).size:
        del left[crowded[0]]
    keep = [keep[i] for i in left]
    rows = rows[:, keep]
    about = {
        "source": "UCI 322, Gas sensor array under dynamic gas mixtures, Fonollosa et al. 2015; "
        f"doi {download.DOI}",
        "standardised": "with mean and standard deviation (ddof 1) of all rows, the test included, as in MAF",
    }
    parts = np.split(rows, tenths(len(rows)))
    return published("gas", [path], about, [names[i] for i in keep], parts, moments(rows, ddof=1))


def hepmass() -> Table:
    """Return HEPMASS: signal of particle collisions at mass 1000, 21 columns."""
    paths = download.member("hepmass/1000_train.csv", "hepmass/1000_test.csv")
    (names, train), (other, test) = (_signal(path) for path in paths)
    if names != other[:-1]:
        raise ValueError(f"{paths[0]} and {paths[1]} have different columns: they are not MAF's files")
    keep = np.flatnonzero(~_repetitive(train))
    train, test = train[:, keep], test[:, :-1][:, keep]  # MAF: "because the data set is messed up"
    about = {
        "source": f"UCI 347, HEPMASS, Baldi et al. 2016; doi {download.DOI}",
        "split": "the two files are train and test; last 10 % of train val",
        "standardised": "with mean and standard deviation (ddof 1) of train and val together, as in MAF",
    }
    scale = moments(train, ddof=1)
    parts = [*np.split(train, [len(train) - int(0.1 * len(train))]), test]
    return published("hepmass", paths, about, [names[i] for i in keep], parts, scale)


def miniboone() -> Table:
    """Return MINIBOONE: signal of a neutrino experiment, 43 columns."""
    given = download.given("miniboone/data.npy")
    parts = None if given else download.given("miniboone_maf_val_test.npz")
    if parts:
        return _miniboone_parts(parts)
    (path,) = [given] if given else download.member("miniboone/data.npy")
    rows = _matrix(path)
    rows = rows[~(rows[:, 0] < -100)]  # this and the next step change nothing in MAF's own file
    keep = np.flatnonzero(~_repetitive(rows))
    rows = rows[:, keep]
    about = {"source": f"UCI 199, MiniBooNE particle identification, Roe 2010; doi {download.DOI}"}
    columns, begins = [f"x{i}" for i in keep], tenths(len(rows))
    return published("miniboone", [path], about, columns, np.split(rows, begins), moments(rows[: begins[1]]))


def _miniboone_parts(path: Path) -> Table:
    """Return MAF's own val and test rows, where the training rows are missing."""
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as parts:
            val, test = (np.asarray(parts[key], dtype=np.float64) for key in ("val", "test"))
        rows = np.concatenate([val, test])
    except (ValueError, OSError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} does not hold MAF's val and test rows, or is damaged: {error}") from error
    about = {
        "source": "UCI 199, MiniBooNE particle identification, Roe 2010; MAF's own val and test rows",
        "split": "train is the first 90 % of MAF's val part, val its last 10 %; test is MAF's test",
        "standardised": "by MAF already, with means and deviations that the file does not say",
        "departs from MAF": "MAF'S TRAINING ROWS ARE NOT HERE: train has a tenth of them. Scores on test are "
        "scores on MAF's test, but no model trained here compares with published ones",
    }
    splits = np.split(rows, [len(val) - int(0.1 * len(val)), len(val)])
    return published("miniboone", [path], about, [f"x{i}" for i in range(rows.shape[1])], splits)


def published(
    name: str,
    paths: Sequence[Path],
    about: dict[str, str],
    columns: Sequence[str],
    parts: Sequence[np.ndarray],
    scale: tuple[np.ndarray, np.ndarray] | None = None,
) -> Table:
    """Return a table of the paper, and note its files as read; `about` replaces lines of its provenance."""
    sums = [note_data(f"{name}/{path.name}", path) for path in paths]
    provenance = {
        "source": "",
        "licence": "CC BY 4.0 (UCI Machine Learning Repository)",
        "file": ", ".join(path.name for path in paths),
        "sha256": ", ".join(sums),
        "rows": f"{sum(map(len, parts)):,}",
        "split": f"in the order of the file; {_LAST}",
        "noise": "none",
        "standardised": "with mean and standard deviation of train and val together, as in MAF",
        "departs from MAF": "nothing",
    }
    return assemble(name, columns, parts, provenance | about, scale)


def _signal(path: Path) -> tuple[list[str], np.ndarray]:
    """Return the names and the rows with label 1 of a HEPMASS file, without the label."""
    import pandas as pd

    try:
        frame = pd.read_csv(path, index_col=False)
        rows = frame.to_numpy(dtype=np.float64)
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} is not MAF's file, or is damaged: {error}") from error
    return list(frame.columns[1:]), rows[rows[:, 0] == 1, 1:]


def _repetitive(rows: np.ndarray) -> np.ndarray:
    """Return for each column whether its smallest value occurs too often.

    MAF meant the most frequent value, and looked at the smallest: it sorts pairs of value and count.
    """
    repetitive: np.ndarray = (rows == rows.min(0)).sum(0) > _REPEATS
    return repetitive


def _matrix(path: Path, columns: int | None = None) -> np.ndarray:
    array = reading.load_npy(path)
    if array.ndim != 2 or array.dtype.kind != "f" or columns not in (None, array.shape[1]):
        raise ValueError(f"{path} is not MAF's file: it holds {array.dtype} of the shape {array.shape}")
    return np.array(array, dtype=np.float64)
