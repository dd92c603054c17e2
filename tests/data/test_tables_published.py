"""The five tables of the MAF paper: the rules on small made-up files, the numbers on real ones."""

import io
import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from lfmkit import data
from lfmkit.__main__ import main
from lfmkit.data import download, gaussian_nll
from lfmkit.data.tabular import bsds
from lfmkit.utils import files, provenance

REAL = os.environ.get(download.VARIABLE)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty $LFMKIT_DATA, and a network that is not there."""
    (tmp_path / "mine").mkdir()
    monkeypatch.setenv(download.VARIABLE, str(tmp_path / "mine"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(download, "URL", "http://127.0.0.1:9/data.tar.gz")
    return tmp_path / "mine"


def real(name):
    """Skip unless $LFMKIT_DATA has a file."""
    path = download.given(name) if REAL else None
    if path is None:
        pytest.skip(f"$LFMKIT_DATA has no {name}")
    return path


def saved(folder, name, array):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    np.save(folder / name, array)


def by_hand(rows, fitted, ddof=0):
    return torch.from_numpy(((rows - fitted.mean(0)) / fitted.std(0, ddof=ddof)).astype(np.float32))


def parts_of(rows):
    """The splits in MAF's words."""
    n_test = int(0.1 * rows.shape[0])
    test, rest = rows[-n_test:], rows[0:-n_test]
    n_val = int(0.1 * rest.shape[0])
    return rest[0:-n_val], rest[-n_val:], test, rest


def same(table, train, val, test, tolerance=1e-6):
    for part, wanted in ((table.train, train), (table.val, val), (table.test, test)):
        assert part.dtype == torch.float32
        assert part.shape == wanted.shape
        assert torch.allclose(part, wanted, atol=tolerance)


# --- POWER


def test_power_from_the_archive_is_what_maf_does(folder):
    """The draws of RandomState(42) in MAF's order: shuffled rows, then voltage, power and sub-meters."""
    raw = np.random.default_rng(0).random((500, 8))
    saved(folder, "data/power/data.npy", raw)
    rng = np.random.RandomState(42)
    rows = raw.copy()
    rng.shuffle(rows)
    rows = np.delete(np.delete(rows, 3, axis=1), 1, axis=1)
    voltage, power, meters = 0.01 * rng.rand(500, 1), 0.001 * rng.rand(500, 1), rng.rand(500, 3)
    rows = rows + np.hstack((power, voltage, meters, np.zeros((500, 1))))
    train, val, test, fitted = parts_of(rows)
    table = data.table("power")
    same(table, *(by_hand(part, fitted) for part in (train, val, test)))
    assert np.allclose(table.mean, fitted.mean(0))
    assert table.provenance["departs from MAF"].startswith("nothing")
    assert np.array_equal(np.load(folder / "data/power/data.npy"), raw)


@pytest.fixture(scope="module")
def power():
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(download.VARIABLE, raising=False)
        return data.table("power")


def test_power_scores_as_in_the_literature(power):
    """MAF's table has -7.74 for a Gaussian with full covariance."""
    assert gaussian_nll(power)["test"] == pytest.approx(7.73, abs=0.03)
    assert [len(part) for part in (power.train, power.val, power.test)] == [1_659_900, 184_433, 204_925]


def test_power_is_in_known_units(power):
    units = power.test.double() * power.std + power.mean
    names = list(power.columns)
    volts, minutes = units[:, names.index("voltage_V")], units[:, names.index("minute")]
    assert 239 < float(volts.mean()) < 242
    assert 0 <= float(minutes.min()) < 5
    assert 1435 < float(minutes.max()) < 1440.001
    for name in ("sub_metering_1", "minute"):  # noise fills each step of the grid evenly
        column = units[:, names.index(name)]
        assert abs(float((column - column.floor()).mean()) - 0.5) < 0.01
    assert len(units.unique(dim=0)) == len(units)


def test_power_names_its_source(power):
    path = data.asset("power.parquet")
    assert power.provenance["sha256"] == files.sha256(path) == provenance.data_read()["power/power.parquet"]
    assert "10.24432/C58K54" in power.provenance["source"]
    assert "CC BY 4.0" in power.provenance["licence"]
    assert "22 of MAF's" in power.provenance["departs from MAF"]


# --- GAS


def gas_frame(n=2000):
    rng = np.random.default_rng(1)
    base = rng.normal(size=(n, 4))
    frame = pd.DataFrame({"Time": np.arange(n) / 100, "Meth": rng.random(n), "Eth": rng.random(n)})
    frame["S1"] = base[:, 0]
    frame["S2"] = base[:, 0] + 0.1 * base[:, 1]  # a chain: S1 ~ S2 ~ S3, yet S1 and S3 are less alike
    frame["S3"] = base[:, 0] + 0.25 * base[:, 1]
    frame["S4"] = base[:, 2]
    frame["S5"] = -base[:, 2]  # -1 is no reason to go
    frame["S6"] = 5 * base[:, 3] + 2
    return frame


def test_gas_is_what_maf_does(folder):
    frame = gas_frame()
    (folder / "gas").mkdir()
    frame.to_pickle(folder / "gas/ethylene_CO.pickle", protocol=2)
    left = frame.drop(columns=["Meth", "Eth", "Time"])
    while True:
        crowded = (left.corr() > 0.98).to_numpy().sum(axis=1)
        if not np.any(crowded > 1):
            break
        left = left.drop(columns=left.columns[np.where(crowded > 1)[0][0]])
    assert list(left) != list(frame.columns[3:])
    left = (left - left.mean()) / left.std()  # of all rows, divided by n - 1
    train, val, test, _ = parts_of(left.to_numpy())
    table = data.table("gas")
    assert table.columns == tuple(left.columns)
    same(table, *(torch.from_numpy(part.astype(np.float32)) for part in (train, val, test)))
    assert "test included" in table.provenance["standardised"]


def test_gas_of_another_form(folder):
    (folder / "gas").mkdir()
    gas_frame().drop(columns="Meth").to_pickle(folder / "gas/ethylene_CO.pickle")
    with pytest.raises(ValueError, match=r"ethylene_CO\.pickle has no column Meth: it is not MAF's file"):
        data.table("gas")


# --- HEPMASS and MINIBOONE: a column goes when its smallest value repeats more than five times


def quirky(rows):
    """Columns 1 and 3 repeat a value often; only in column 1 it is the smallest. Column 4 has just five."""
    rows[:60, 1] = rows[:, 1].min() - 1
    rows[:60, 3] = rows[:, 3].max() + 1
    rows[:5, 4] = rows[:, 4].min() - 1
    return rows


def maf_keeps(rows):
    """MAF's own way to choose the columns."""
    counts = [[count for _, count in sorted(Counter(column).items())][0] for column in rows.T]  # noqa: RUF015
    return [i for i, count in enumerate(counts) if count <= 5]


def hepmass_files(folder, spare=("spare",)):
    rng = np.random.default_rng(2)
    made = {}
    (folder / "hepmass").mkdir()
    for part, n, more in (("train", 600, ()), ("test", 300, spare)):
        rows = quirky(rng.normal(size=(n, 5)))
        label = rng.integers(0, 2, n)
        label[:60] = 1  # where the repeats are
        frame = pd.DataFrame(rows, columns=[f"f{i}" for i in range(5)])
        frame.insert(0, "# label", label.astype(float))
        for name in more:
            frame[name] = 1000.0
        frame.to_csv(folder / f"hepmass/1000_{part}.csv", index=False)
        made[part] = rows[label == 1]
    return made


def test_hepmass_is_what_maf_does(folder):
    made = hepmass_files(folder)
    fitted = made["train"]
    keep = maf_keeps(fitted)
    assert keep == [0, 2, 3, 4]
    n_val = int(0.1 * len(fitted))
    table = data.table("hepmass")
    assert table.columns == ("f0", "f2", "f3", "f4")
    parts = (fitted[:-n_val], fitted[-n_val:], made["test"])
    same(table, *(by_hand(part[:, keep], fitted[:, keep], ddof=1) for part in parts))


def test_hepmass_of_another_form(folder):
    hepmass_files(folder, spare=())
    with pytest.raises(ValueError, match="have different columns: they are not MAF's files"):
        data.table("hepmass")
    (folder / "hepmass/1000_train.csv").write_text("no,numbers\na,b\n")
    with pytest.raises(ValueError, match=r"1000_train\.csv is not MAF's file"):
        data.table("hepmass")


def test_miniboone_is_what_maf_does(folder):
    raw = quirky(np.random.default_rng(3).normal(size=(700, 5)))
    raw[100:110, 0] = -999
    raw[200, 0] = np.nextafter(-100, 0)  # stays
    saved(folder, "miniboone/data.npy", raw)
    rows = raw[~(raw[:, 0] < -100)]
    rows = rows[:, maf_keeps(rows)]
    assert rows.shape == (690, 4)
    train, val, test, fitted = parts_of(rows)
    table = data.table("miniboone")
    same(table, *(by_hand(part, fitted) for part in (train, val, test)))
    saved(folder, "miniboone/data.npy", rows)  # what is clean already stays as it is
    assert torch.equal(data.table("miniboone").train, table.train)


def test_miniboone_without_its_training_rows(folder):
    rng = np.random.default_rng(4)
    val, test = rng.normal(size=(100, 3)).astype("f"), rng.normal(size=(50, 3)).astype("f")
    np.savez(folder / "miniboone_maf_val_test.npz", val=val, test=test)
    table = data.table("miniboone")
    same(table, *map(torch.from_numpy, (val[:90], val[90:], test)))
    assert table.log_volume == 0
    assert table.provenance["departs from MAF"].startswith("MAF'S TRAINING ROWS ARE NOT HERE")
    np.savez(folder / "miniboone_maf_val_test.npz", val=val)
    with pytest.raises(ValueError, match="does not hold MAF's val and test rows"):
        data.table("miniboone")
    (folder / "miniboone_maf_val_test.npz").write_bytes(b"PK\x03\x04" + bytes(50))
    with pytest.raises(ValueError, match="does not hold MAF's val and test rows"):
        data.table("miniboone")


@pytest.mark.parametrize("name", ["power", "miniboone"])
def test_arrays_of_another_form(name, folder):
    for array in (np.zeros((10, 3, 2)), np.zeros((10, 8), int)):
        saved(folder, f"{name}/data.npy", array)
        with pytest.raises(ValueError, match=r"data\.npy is not MAF's file: it holds"):
            data.table(name)
    (folder / name / "data.npy").write_bytes(b"\x93NUMPY\x01\x00")
    with pytest.raises(ValueError, match=r"data\.npy is not a \.npy file"):
        data.table(name)


def test_miniboone_scores_as_in_the_literature():
    """MAF's table has -37.24, fitted to MAF's train; here the Gaussian is fitted to its 3,284 val rows."""
    real("miniboone_maf_val_test.npz")
    if download.given("miniboone/data.npy"):
        pytest.skip("$LFMKIT_DATA has the whole data set")
    table = data.table("miniboone")
    val = torch.cat([table.train, table.val]).double()
    fitted = torch.distributions.MultivariateNormal(val.mean(0), val.T.cov(correction=0))
    assert float(fitted.log_prob(table.test.double()).mean()) == pytest.approx(-37.7, abs=1.3)


# --- BSDS300


def bsds_file(path, train=24, test=3):
    """Images of two shapes, in each four grey values."""
    import pyarrow as pa
    from pyarrow import parquet

    rng, rows = np.random.default_rng(5), []
    for i in range(train + test):
        height, width = ((30, 20), (20, 30))[i % 2]
        grey = 8 * i + rng.integers(0, 4, (height, width))
        buffer = io.BytesIO()
        Image.fromarray(grey.astype(np.uint8)).save(buffer, "png")
        rows.append({"image": {"bytes": buffer.getvalue()}, "split": "train" if i < train else "test"})
    parquet.write_table(pa.Table.from_pylist(rows), path)


def test_rebuilt_patches(tmp_path, monkeypatch):
    path = tmp_path / "bsds300_images_jpeg.parquet"
    bsds_file(path)
    monkeypatch.setattr(bsds, "_CHUNK", 70)
    table = bsds.rebuilt(path, (200, 100, 150))
    assert [tuple(part.shape) for part in (table.train, table.val, table.test)] == [
        (200, 63),
        (100, 63),
        (150, 63),
    ]
    assert table.provenance["departs from MAF"].startswith("REBUILT PATCHES, NOT MAF'S OWN ROWS")
    for part in (table.train, table.val, table.test):
        whole = (
            torch.cat([part, -part.sum(1, keepdim=True)], 1) * 256
        )  # the last pixel is what the mean misses
        assert float(whole.mean(1).abs().max()) < 1e-3
        assert 3 < float((whole.amax(1) - whole.amin(1)).min()) < 4 + 1e-3
        assert float((whole.amax(1) - whole.amin(1)).max()) <= 4 + 1e-3
        assert len(part.unique(dim=0)) == len(part)
    assert torch.equal(bsds.rebuilt(path, (200, 100, 150)).test, table.test)


def test_patches_are_cut_where_they_should_be(monkeypatch):
    """Without noise each patch is found in one of the images, and every place is used."""

    class Silent:
        def __init__(self):
            self.rng = np.random.default_rng(0)
            self.integers = self.rng.integers

        def random(self, shape):
            return np.zeros(shape)

    images = [
        np.random.default_rng(i).integers(0, 256, shape).astype(np.uint8)
        for i, shape in enumerate([(9, 12), (12, 9)])
    ]
    patches = bsds._patches(images, 500, Silent())
    places = {}
    for image in images:
        windows = np.lib.stride_tricks.sliding_window_view(image, (8, 8)).reshape(-1, 64) / 256
        places |= {tuple(np.round(row[:63] - row.mean(), 5)): i for i, row in enumerate(windows, len(places))}
    found = {places[tuple(np.round(row.astype(float), 5))] for row in patches}
    assert len(found) == len(places) == 2 * 2 * 5


def test_bsds_from_the_archive(folder):
    h5py = pytest.importorskip("h5py")
    rng = np.random.default_rng(6)
    parts = {
        "train": rng.normal(size=(40, 63)),
        "validation": rng.normal(size=(9, 63)),
        "test": rng.random((8, 63)),
    }
    (folder / "BSDS300").mkdir()
    with h5py.File(folder / "BSDS300/BSDS300.hdf5", "w") as file:
        for name, rows in parts.items():
            file[name] = rows
    bsds_file(folder / "bsds300_images_jpeg.parquet")  # MAF's own rows go before patches of our own
    same(data.table("bsds300"), *(torch.from_numpy(rows.astype("f")) for rows in parts.values()))
    assert data.table("bsds300").provenance["departs from MAF"] == "nothing"
    with h5py.File(folder / "BSDS300/BSDS300.hdf5", "w") as file:
        file["train"] = parts["train"]
    with pytest.raises(ValueError, match=r"BSDS300\.hdf5 is not MAF's file"):
        data.table("bsds300")
    (folder / "BSDS300/BSDS300.hdf5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(99))
    with pytest.raises(ValueError, match=r"BSDS300\.hdf5 is not MAF's file, or is damaged"):
        data.table("bsds300")


def test_bsds_without_h5py(folder, monkeypatch):
    """It is said before 857 MB are downloaded."""
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r"pip install 'lfmkit\[tables\]'"):
        data.table("bsds300")


def test_damaged_images(folder, tmp_path):
    path = folder / "bsds300_images_jpeg.parquet"
    bsds_file(path, train=20)
    with pytest.raises(ValueError, match=r"does not hold the BSDS300 images, .* too few images"):
        data.table("bsds300")
    pd.DataFrame({"image": [{"bytes": b"no image"}], "split": ["train"]}).to_parquet(path)
    with pytest.raises(ValueError, match="does not hold the BSDS300 images"):
        data.table("bsds300")
    path.write_bytes(b"PAR1")
    with pytest.raises(ValueError, match="does not hold the BSDS300 images"):
        data.table("bsds300")


def test_rebuilt_patches_score_as_in_the_literature():
    """MAF's table has 96.67 for a Gaussian on its own patches."""
    table = bsds.rebuilt(real("bsds300_images_jpeg.parquet"), (200_000, 1_000, 100_000))
    assert gaussian_nll(table)["test"] == pytest.approx(-96.5, abs=0.5)


# --- where files are looked for, and the command


def test_a_wrong_folder_is_pointed_out(monkeypatch, tmp_path):
    monkeypatch.setenv(download.VARIABLE, str(tmp_path / "nowhere"))
    for name in ("gas", "power"):
        with pytest.raises(FileNotFoundError, match=r"LFMKIT_DATA names .*nowhere, which is not a folder"):
            data.table(name)


def test_the_command(tmp_path, capsys, folder):
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(500, 3)), columns=["a", "b", "c"])
    frame["k"] = np.arange(500) // 100
    frame.to_csv(tmp_path / "mine.csv", index=False)
    assert main(["data", str(tmp_path / "mine.csv")]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("Table mine: 4 columns, train 405, val 45, test 50 rows\ncolumns:")
    assert files.sha256(tmp_path / "mine.csv") in out
    nll = gaussian_nll(data.table(frame.drop(columns="k")))
    assert all(word in out for word in ("a, b, c, k", "Gaussian NLL:     train ", "log volume:"))
    assert len(nll) == 3
    assert err.startswith("lfmkit data: values repeat in 1 of 4 columns: 'k'")


@pytest.mark.parametrize(
    ("source", "message"),
    [("gass", "unknown table 'gass'"), ("none.csv", "there is no file none.csv"), ("gas", "cannot download")],
)
def test_mistakes_in_the_command(source, message, capsys, folder):
    assert main(["data", source]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert f"lfmkit data: {message}" in err
    assert err.splitlines()[-1].startswith("lfmkit data: ")


def test_help_needs_no_torch():
    code = (
        "import sys; from lfmkit.__main__ import main\n"
        "try: main(['data', '--help'])\n"
        "except SystemExit: print({'torch', 'pandas', 'pooch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("set()\n")


def test_a_table_too_wide_for_a_gaussian(tmp_path, capsys):
    np.save(tmp_path / "wide.npy", np.random.default_rng(0).normal(size=(30, 40)))
    assert main(["data", str(tmp_path / "wide.npy")]) == 0
    assert "no Gaussian is fitted to 40 columns with 25 rows" in capsys.readouterr().out
