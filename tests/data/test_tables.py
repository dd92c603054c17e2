import math
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import lfmkit
from lfmkit import data
from lfmkit.data.tabular.dequantise import add_noise, grid_step
from lfmkit.utils import files, provenance

N = 1000


@pytest.fixture
def frame():
    rng = np.random.default_rng(3)
    return pd.DataFrame({"a": rng.normal(5, 2, N), "b": rng.exponential(3, N), "c": rng.normal(size=N)})


def everything(table):
    return torch.cat([table.train, table.val, table.test]).double() * table.std + table.mean


def sorted_rows(rows):
    rows = np.asarray(rows)
    return rows[np.lexsort(rows.T)]


def test_splits_keep_every_row_and_follow_the_seed(frame):
    table = data.table(frame, seed=1)
    assert [len(part) for part in (table.train, table.val, table.test)] == [810, 90, 100]
    assert table.columns == ("a", "b", "c")
    assert table.train.dtype == torch.float32
    assert np.allclose(sorted_rows(everything(table)), sorted_rows(frame), atol=1e-5)
    assert torch.equal(table.test, data.table(frame, seed=1).test)
    assert not torch.equal(table.test, data.table(frame, seed=2).test)


def test_only_training_rows_decide_the_scale(frame):
    """Whatever stands in the rows of val and test, train stays the same, bit for bit."""
    table = data.table(frame)
    assert torch.allclose(table.train.mean(0), torch.zeros(3), atol=1e-5)
    assert torch.allclose(table.train.std(0, correction=0), torch.ones(3), atol=1e-5)
    train = everything(table)[: len(table.train)].numpy()
    outside = ~np.isclose(frame.to_numpy()[:, None], train[None], atol=1e-5).all(2).any(1)
    assert outside.sum() == 190
    other = frame.copy()
    other[outside] *= 100
    assert torch.equal(data.table(other).train, table.train)
    assert not torch.equal(data.table(other).test, table.test)


def test_log_volume_turns_a_likelihood_into_the_original_units(frame):
    scaled, raw = data.table(frame), data.table(frame, standardise=False)
    assert raw.log_volume == 0
    a, b = (data.gaussian_nll(table)["test"] for table in (scaled, raw))
    assert a + scaled.log_volume == pytest.approx(b, abs=1e-4)
    assert scaled.log_volume == pytest.approx(math.log(float(scaled.std.prod())))


def test_gaussian_nll_is_the_textbook_formula():
    rng = np.random.default_rng(0)
    mix = np.array([[2.0, 0.3], [0.0, 0.5]])
    table = data.table(rng.normal(size=(100_000, 2)) @ mix, standardise=False)
    entropy = math.log(2 * math.pi * math.e) + math.log(abs(np.linalg.det(mix)))
    nll = data.gaussian_nll(table)
    assert nll["train"] == pytest.approx(entropy, abs=0.02)
    assert nll["test"] == pytest.approx(entropy, abs=0.03)
    few = data.table(rng.normal(size=(30, 40)))
    with pytest.raises(ValueError, match="40 columns with 25 rows: it takes more rows than columns"):
        data.gaussian_nll(few)


@pytest.mark.parametrize("form", ["csv", "parquet", "npy", "path", "array", "tensor", "bfloat16"])
def test_the_same_numbers_from_every_source(form, frame, tmp_path):
    frame = frame.round(3).astype(np.float32)
    path = tmp_path / f"mine.{form}"
    if form == "csv":
        frame.to_csv(path, index=False)
    elif form == "parquet":
        frame.set_index(np.arange(N) * 7).to_parquet(path)  # the index is not a column
    elif form in ("npy", "path"):
        path = tmp_path / "mine.npy"
        np.save(path, frame.to_numpy())
    array = frame.to_numpy()
    if form == "bfloat16":
        array = torch.from_numpy(array.copy()).bfloat16().float().numpy()
    sources = {
        "array": array,
        "path": path,
        "tensor": torch.from_numpy(array.copy()).requires_grad_(),
        "bfloat16": torch.from_numpy(array.copy()).bfloat16(),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # bfloat16 repeats its values
        table = data.table(sources.get(form, str(path)))
        reference = data.table(pd.DataFrame(array, columns=table.columns))
    assert torch.allclose(table.train, reference.train, atol=1e-6)
    named = ("a", "b", "c") if form in ("csv", "parquet") else ("x0", "x1", "x2")
    assert table.columns == named
    if form in ("csv", "parquet", "npy"):
        assert table.name == "mine"
        assert table.provenance["sha256"] == provenance.data_read()[path.name] == files.sha256(path)


def test_columns_are_chosen_and_ordered(frame):
    frame["when"] = pd.Timestamp("2020-01-01")
    frame["who"] = "me"
    table = data.table(frame, columns=["c", "a"])
    assert table.columns == ("c", "a")
    assert torch.equal(table.train[:, 1], data.table(frame[["a"]]).train[:, 0])
    with pytest.raises(ValueError, match=r"not numbers: 'when' \(datetime.*'who' \(.*columns=\[\.\.\.\]"):
        data.table(frame)
    with pytest.raises(ValueError, match="no column 'wen': did you mean 'when'"):
        data.table(frame, columns=["a", "wen"])
    with pytest.raises(ValueError, match=r"columns takes a list of names: columns=\['a'\]"):
        data.table(frame, columns="a")
    with pytest.raises(ValueError, match="names a column twice"):
        data.table(frame, columns=["a", "a"])
    with pytest.raises(ValueError, match="no columns"):
        data.table(frame, columns=[])


def change(**columns):
    return lambda frame: frame.assign(**columns)


BAD = {
    "object": (change(a=lambda f: f.a.astype(object)), r"not numbers: 'a' \(object\)"),
    "category": (change(a=lambda f: f.a.astype("category")), r"not numbers: 'a' \(category\)"),
    "complex": (change(a=lambda f: f.a + 1j), r"not numbers: 'a' \(complex128\)"),
    "nan": (
        change(a=lambda f: f.a.where(f.index != 17), b=lambda f: f.b.where(f.index != 300)),
        r"2 row\(s\) have missing or infinite numbers, the first is row 17 .* in 'a', 'b'",
    ),
    "infinite": (change(c=lambda f: f.c.where(f.index < 9, -np.inf)), r"991 row\(s\) .* is row 9 .* in 'c'"),
    "missing": (
        change(a=pd.array([None, *range(N - 1)], dtype="Int64")),
        r"1 row\(s\) .* is row 0 .* in 'a'",
    ),
    "constant": (change(b=3.5), "'b': all training rows have the same number"),
    "twins": (change(d=lambda f: f.b), "columns 'b' and 'd' are equal"),
    "scaled": (change(d=lambda f: 1.8 * f.b + 32), "columns 'b', 'd' are combinations of each other"),
    "sum": (change(d=lambda f: f.a + f.b - f.c), "columns 'a', 'b', 'c', 'd' are combinations of each other"),
    "one row": (lambda frame: frame[:1], r"has 1 row\(s\): 20 are needed"),
    "no rows": (lambda frame: frame[:0], r"has 0 row\(s\)"),
    "namesakes": (lambda frame: frame.set_axis(["a", "b", "a"], axis=1), "same name: a. Rename"),
    "no columns": (lambda frame: frame[[]], "no columns"),
    "vector": (lambda frame: frame["a"].to_numpy(), r"shape \(rows, columns\), got \(1000,\)"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_table_without_a_density_says_why(what, frame):
    make, message = BAD[what]
    with pytest.raises(ValueError, match=message):
        data.table(make(frame))


def test_other_things_are_no_tables():
    with pytest.raises(TypeError, match="not list"):
        data.table([[1.0, 2.0]])
    with pytest.raises(ValueError, match="unknown table 'powr': choose one of power, gas"):
        data.table("powr")
    with pytest.raises(ValueError, match="power is prepared as published, without columns"):
        data.table("power", columns=["voltage_V"])
    with pytest.raises(ValueError, match="do not fit into float32"):
        data.table(np.random.default_rng(0).normal(size=(100, 1)) * 1e200, standardise=False)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.csv", b"", "empty or damaged"),
        ("bytes.csv", bytes(range(128, 256)) * 10, "empty or damaged"),
        ("ragged.csv", b"a,b\n1,2\n1,2,3\n", "empty or damaged"),
        ("header.csv", b"1.5,2\n1,2\n", "the first line of .* holds numbers"),
        ("text.csv", b"a,b\n1,x\n", "not numbers: 'b'"),
        ("only.csv", b"a,b\n", "numbers|0 row"),
        ("empty.parquet", b"", "empty or damaged"),
        ("half.parquet", b"PAR1" + bytes(100), "empty or damaged"),
        ("empty.npy", b"", "not a .npy file"),
        ("text.npy", b"hello, world", "not a .npy file"),
        ("table.xlsx", b"", "a table is a .csv, .parquet or .npy file"),
    ],
)
def test_damaged_files(name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        data.table(tmp_path / name)


def test_files_that_are_not_there(tmp_path):
    for name in ("none.csv", "none.parquet", "none.npy"):
        with pytest.raises(FileNotFoundError, match=f"there is no file .*{name}"):
            data.table(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        data.table(tmp_path)


def test_objects_in_a_file_of_numpy_are_not_made(tmp_path):
    np.save(tmp_path / "objects.npy", np.array([[1, "a"]], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"not a \.npy file of numbers"):
        data.table(tmp_path / "objects.npy")


@given(st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
def test_a_cut_or_changed_file_is_read_right_or_refused(frame, tmp_path, data):
    """Never another exception, and never numbers that are not finite."""
    form = data.draw(st.sampled_from(["csv", "parquet", "npy"]))
    path = tmp_path / f"mine.{form}"
    small = frame[:50]
    if form == "npy":
        np.save(path, small.to_numpy())
    else:
        small.to_csv(path, index=False) if form == "csv" else small.to_parquet(path)
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans(), "cut"):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            table = lfmkit.data.table(path)
        except ValueError:
            return
    assert torch.isfinite(table.train).all()


@given(
    hnp.arrays(
        st.sampled_from([np.float64, np.float32, np.int64, np.bool_, np.uint8]),
        st.tuples(st.integers(0, 60), st.integers(0, 4)),
    ),
    st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_any_array_gives_finite_rows_or_an_error(array, dequantise):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            table = data.table(array, dequantise=dequantise)
        except ValueError:
            return
    for part in (table.train, table.val, table.test):
        assert torch.isfinite(part).all()
        assert len(part) > 0
    assert bool((table.std > 0).all())


def test_repeated_values_are_pointed_out(frame):
    frame["k"] = np.random.default_rng(0).integers(0, 9, N)
    with pytest.warns(UserWarning, match="values repeat in 1 of 4 columns: 'k'.*dequantise=True") as caught:
        table = data.table(frame)
    assert caught[0].filename == __file__
    assert table.provenance["noise"] == "none"
    frame["k"] = frame["a"].where(frame["a"] > 5, 5.0)  # half of them pile up in one place
    with pytest.warns(UserWarning, match=r"'k'.*own: no grid was found"):
        data.table(frame, dequantise=True)


def test_dequantised_integers_keep_their_floor(frame):
    frame["k"] = np.random.default_rng(0).integers(0, 9, N)
    plain = everything(data.table(frame[["a", "b", "c"]]))
    table = data.table(frame, dequantise=True)
    noisy = everything(table)
    assert table.provenance["noise"] == "U(0, 1) on k"
    assert torch.allclose(noisy[:, :3], plain, atol=1e-5)  # continuous columns and the split are as without
    noise = noisy[:, 3] - noisy[:, 3].floor()
    assert sorted(noisy[:, 3].floor().int().tolist()) == sorted(frame["k"])
    assert abs(float(noise.mean()) - 0.5) < 0.04
    assert torch.equal(data.table(frame, dequantise=["k"]).test, table.test)
    assert not torch.equal(data.table(frame, dequantise=True, seed=1).test, table.test)


def test_dequantising_columns_by_name(frame):
    frame["tenths"] = frame["a"].round(1)
    table = data.table(frame, dequantise=["tenths"])
    assert table.provenance["noise"] == "U(0, 0.1) on tenths"
    with pytest.raises(ValueError, match="column 'b' is not on a grid"):
        data.table(frame, dequantise=["tenths", "b"])
    with pytest.raises(ValueError, match="no column 'tenth': did you mean 'tenths'"):
        data.table(frame, dequantise=["tenth"])


@given(
    st.sampled_from([0.001, 0.1, 0.25, 1.0, 3.0, 1e6]),
    st.floats(-100, 100),
    st.lists(st.integers(0, 1000), min_size=3, unique=True),
)
@settings(max_examples=200, deadline=None)
def test_the_step_of_a_grid_is_found(step, start, places):
    places = np.array(places)
    common = np.gcd.reduce(np.diff(np.sort(places)))
    assert grid_step(start + step * places, 2.3e-16) == pytest.approx(step * common, rel=1e-6)


def test_a_continuous_column_has_no_step():
    values = np.random.default_rng(0).normal(size=5000)
    assert grid_step(values, 2.3e-16) is None
    assert grid_step(values.astype(np.float32).astype(float), 1.2e-7) is None
    tenths = np.round(np.random.default_rng(0).exponential(90, 9000), 1).astype(np.float32)
    assert grid_step(tenths.astype(float), 1.2e-7) == pytest.approx(0.1, rel=1e-6)
    assert grid_step(np.ones(5), 2.3e-16) is None
    assert grid_step(np.float32(0.1) * np.arange(50, dtype=np.float32), 1.2e-7) == pytest.approx(0.1)
    rows = values[:, None].copy()
    assert add_noise(rows, ["a"], True, [2.3e-16], np.random.default_rng(0)) == {}
    assert np.array_equal(rows[:, 0], values)


def test_rows_that_are_in_train_and_test(frame):
    doubled = pd.concat([frame, frame[:200]])
    with pytest.warns(UserWarning, match="of the test rows also occur in train"):
        table = data.table(doubled)
    share = float(table.provenance["shared"].split("%")[0]) / 100
    train = {tuple(row) for row in table.train.tolist()}
    assert share == pytest.approx(np.mean([tuple(row) in train for row in table.test.tolist()]), abs=1e-4)
    assert share > 0.1
    assert data.table(frame).provenance["shared"].startswith("0.00%")


def test_ten_thousand_columns():
    wide = np.random.default_rng(0).normal(size=(60, 10_000))
    table = data.table(wide)
    assert table.train.shape == (49, 10_000)
    assert "and 9,988 more" in table._repr_html_()
    wide[:, 77] = wide[:, 9_000]
    with pytest.raises(ValueError, match="columns 'x77' and 'x9000' are equal"):
        data.table(wide)


def test_numbers_of_any_size_are_standardised():
    x = np.random.default_rng(0).normal(size=(500, 3)) * [1e200, 1e-200, 1.0] + [0, 0, 1e9]
    table = data.table(x)
    assert torch.allclose(table.train.std(0, correction=0), torch.ones(3), atol=1e-4)


def test_a_page_shows_where_it_comes_from(frame):
    page = data.table(frame.rename(columns={"a": "<b>"}))._repr_html_()
    assert "&lt;b&gt;" in page
    assert "<b>source</b>: a DataFrame in memory" in page
    assert "train 810, val 90, test 100 rows" in page


def test_a_table_cannot_be_changed(frame):
    table = data.table(frame)
    with pytest.raises(AttributeError):
        table.name = "other"


def test_whitening_is_a_change_of_coordinates():
    mix = np.array([[1.0, 0.9, 0.0], [0.0, 0.01, 0.3], [0.0, 0.0, 1e-3]])
    rows = data.table(np.random.default_rng(0).normal(size=(5000, 3)) @ mix + 7, standardise=False)
    white, into = data.whitened(rows)
    assert torch.allclose(white.train.T.cov(correction=0), torch.eye(3), atol=1e-4)
    assert torch.allclose(into.invert(white.test), rows.test, atol=1e-5)
    before, after = data.gaussian_nll(rows), data.gaussian_nll(white)
    for split in ("train", "val", "test"):
        assert before[split] == pytest.approx(after[split] + into.log_volume, abs=1e-3)
        assert getattr(white, split).dtype == torch.float32
    assert abs(float(white.test.mean())) > 1e-6  # decided by train alone
