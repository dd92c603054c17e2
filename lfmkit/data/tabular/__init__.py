"""`lfmkit.data.table`: five published tables, and your own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lfmkit.data.tabular import bsds, maf
from lfmkit.data.tabular.own import own_table
from lfmkit.data.tabular.reading import Source
from lfmkit.data.tabular.record import Table
from lfmkit.utils import needed

PUBLISHED = {
    "power": maf.power,
    "gas": maf.gas,
    "hepmass": maf.hepmass,
    "miniboone": maf.miniboone,
    "bsds300": bsds.bsds300,
}


def table(
    source: Source,
    *,
    columns: Sequence[str] | None = None,
    dequantise: bool | Sequence[str] = False,
    standardise: bool = True,
    seed: int = 0,
) -> Table:
    """Return rows for training, validation and testing as float32, with their provenance.

    "power" comes with the kit. "gas", "hepmass", "miniboone" and "bsds300" are looked for under $LFMKIT_DATA
    and in the cache, then downloaded (857 MB, once). All five are prepared exactly as in the paper on MAF and
    take no options; the seed changes nothing. Your own table is shuffled: the last 10 % are the test, the
    last 10 % of the rest val; only training rows decide how it is standardised.

    Args:
        source: One of these names, the path of a .csv, .parquet or .npy file, a DataFrame, an array or a
            tensor of the shape (rows, columns), whose columns are then called x0, x1, ...
        columns: The columns to use; None takes all, which must then all be numbers.
        dequantise: True adds uniform noise of the size of one step to all columns whose values lie on a grid
            (1 for integers) and repeat; a list of names does it for these columns.
        standardise: Subtract the mean and divide by the standard deviation.
        seed: Seed for the shuffle and the noise.

    Raises:
        FileNotFoundError: There is no such file.
        OSError: A download failed.
        ImportError: pandas, pyarrow, pooch or h5py is needed and not installed.
        TypeError: The source is none of these things.
        ValueError: The file is damaged, or there is no density to learn; the message says why.

    >>> import numpy as np
    >>> mine = table(np.random.default_rng(0).normal(size=(1000, 3)))
    >>> mine
    <Table ndarray: 3 columns, train 810, val 90, test 100 rows>
    """
    if isinstance(source, str) and source in PUBLISHED:
        if columns is not None or dequantise is not False or not standardise:
            raise ValueError(f"{source} is prepared as published, without columns, dequantise or standardise")
        with needed("tables"):
            return PUBLISHED[source]()
    if isinstance(source, str) and not Path(source).suffix and not Path(source).exists():
        known = ", ".join(PUBLISHED)
        raise ValueError(f"unknown table {source!r}: choose one of {known}, or name a file")
    with needed("tables"):
        return own_table(source, columns, dequantise, standardise, seed)
