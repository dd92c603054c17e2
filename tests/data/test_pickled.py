"""Pickles of pandas are read without running them; here they are written by pandas and by hand."""

import os
import pickle
import struct
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lfmkit.data.tabular import pickled

N = 30


@pytest.fixture
def frame():
    rng = np.random.default_rng(0)
    columns = {"Time": np.arange(N) / 10, "Meth": rng.normal(size=N), "k": np.arange(N), "R1": rng.random(N)}
    return pd.DataFrame(columns)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_what_pandas_writes_now(protocol, frame, tmp_path):
    frame["small"] = frame["R1"].astype(np.float32)
    for i, each in enumerate([frame, frame[["k", "R1", "Time"]], frame[::2], pd.DataFrame(frame.to_numpy())]):
        path = tmp_path / f"{i}.pkl"
        each.to_pickle(path, protocol=protocol)
        names, rows = pickled.read(path)
        assert names == [str(name) for name in each.columns]
        assert rows.dtype == np.float64
        assert np.array_equal(rows, each.to_numpy(dtype=np.float64))


@pytest.mark.parametrize("protocol", [2, 5])
def test_names_that_are_objects(protocol, frame, tmp_path):
    frame.columns = pd.Index(list(frame.columns), dtype=object)
    frame.to_pickle(tmp_path / "a.pkl", protocol=protocol)
    assert pickled.read(tmp_path / "a.pkl")[0] == ["Time", "Meth", "k", "R1"]


class Python2:
    """Writes by hand what cPickle and pandas 0.18 wrote under Python 2, protocol 2."""

    def __init__(self, extra=True, order="<", fortran=False):
        self.extra, self.order, self.fortran = extra, order, fortran

    def text(self, value):
        return b"T" + struct.pack("<i", len(value)) + value

    def number(self, value):
        return b"J" + struct.pack("<i", value)

    def tuple(self, *items):
        return b"(" + b"".join(items) + b"t"

    def list(self, items):
        return b"](" + b"".join(items) + b"e"

    def dict(self, **items):
        return b"}(" + b"".join(self.text(k.encode()) + v for k, v in items.items()) + b"u"

    def call(self, where, *arguments):
        return b"c" + where.replace(" ", "\n").encode() + b"\n" + self.tuple(*arguments) + b"R"

    def dtype(self, code, order):
        made = self.call("numpy dtype", self.text(code.encode()), self.number(0), self.number(1))
        rest = [b"N", b"N", b"N", self.number(-1), self.number(-1), self.number(0)]
        return made + self.tuple(self.number(3), self.text(order.encode()), *rest) + b"b"

    def array(self, values):
        ndarray = b"cnumpy\nndarray\n"
        made = self.call(
            "numpy.core.multiarray _reconstruct", ndarray, self.tuple(self.number(0)), self.text(b"b")
        )
        shape = self.tuple(*map(self.number, values.shape))
        if values.dtype == object:
            kind, raw = self.dtype("O8", "|"), self.list(self.text(v.encode()) for v in values)
        else:
            kind = self.dtype(values.dtype.str[1:], self.order)
            raw = self.text(
                values.astype(values.dtype.newbyteorder(self.order)).tobytes("F" if self.fortran else "C")
            )
        fortran = b"\x88" if self.fortran else b"\x89"
        return made + self.tuple(self.number(1), shape, kind, fortran, raw) + b"b"

    def index(self, names):
        entries = self.dict(data=self.array(np.array(names, dtype=object)), name=b"N")
        return self.call("pandas.indexes.base _new_Index", b"cpandas.indexes.base\nIndex\n", entries)

    def frame(self, blocks, names):
        """Blocks: pairs of an array (columns, rows) and the names of its columns."""
        rows = self.dict(start=self.number(0), stop=self.number(N), step=self.number(1), name=b"N")
        ranged = self.call("pandas.indexes.base _new_Index", b"cpandas.indexes.range\nRangeIndex\n", rows)
        axes = self.list([self.index(names), ranged])
        values = self.list(self.array(array) for array, _ in blocks)
        items = self.list(self.index(some) for _, some in blocks)
        where = self.call("__builtin__ slice", self.number(0), self.number(len(names)), self.number(1))
        again = self.dict(axes=axes, blocks=self.list([self.dict(values=b"N", mgr_locs=where)]))
        extra = [b"}" + self.text(b"0.14.1") + again + b"s"] if self.extra else []
        manager = (
            b"cpandas.core.internals\nBlockManager\n)\x81" + self.tuple(axes, values, items, *extra) + b"b"
        )
        state = self.dict(_data=manager, _typ=self.text(b"dataframe"), _metadata=b"]")
        return b"\x80\x02cpandas.core.frame\nDataFrame\n)\x81" + state + b"b."


@pytest.mark.parametrize("extra", [True, False])
@pytest.mark.parametrize(("order", "fortran"), [("<", False), (">", True)])
def test_what_pandas_wrote_under_python_2(extra, order, fortran, frame, tmp_path):
    floats, whole = ["Time", "Meth", "R1"], ["k"]
    blocks = [(frame[floats].to_numpy().T, floats), (frame[whole].to_numpy().T, whole)]
    path = tmp_path / "old.pickle"
    path.write_bytes(Python2(extra, order, fortran).frame(blocks, list(frame.columns)))
    names, rows = pickled.read(path)
    assert names == list(frame.columns)
    assert np.array_equal(rows, frame.to_numpy())


def test_the_hand_made_file_is_sound(frame):
    """Python's own reader takes its arrays for what they are meant to be."""
    values = frame[["Time"]].to_numpy()
    content = b"\x80\x02" + Python2().array(values) + b"."
    assert np.array_equal(pickle.loads(content, encoding="latin1"), values)


class Hostile:
    def __init__(self, function, *arguments):
        self.what = (function, arguments)

    def __reduce__(self):
        return self.what


def hostile(tmp_path):
    """Files that do harm when unpickled, each of which would make the file `harm`."""
    harm = tmp_path / "harm"
    shell = f"touch {harm}"
    return harm, {
        "os.system": pickle.dumps(Hostile(os.system, shell), 2),
        "builtins.eval": pickle.dumps(Hostile(eval, f"open({str(harm)!r}, 'w')"), 4),
        "builtins.getattr": pickle.dumps(Hostile(getattr, np.ndarray, "tofile"), 2),
        "in a column": pickle.dumps(pd.DataFrame({"a": [Hostile(os.system, shell)]}), 2),
        "in the state": pickle.dumps(Hostile(np._core.multiarray._reconstruct, Hostile(os.system, shell)), 4),
        "chain": b"\x80\x04\x8c\x06pandas\x8c\x11DataFrame.to_csv\x93)R.",
        "chain through numpy": b"\x80\x04\x8c\x05numpy\x8c\x10ndarray.__class__\x93)R.",
        "read_pickle": b"\x80\x02cpandas\nread_pickle\n" + b"X\x01\x00\x00\x00a\x85R.",
        "old class": f"(S'{shell}'\nios\nsystem\n.".encode(),
        "persistent": b"\x80\x02X\x01\x00\x00\x00aQ.",
        "extension": b"\x80\x02\x82\x01.",
        "call of a string": b"\x80\x02X\x09\x00\x00\x00os.system)R.",
        "name of a list": b"\x80\x04\x8c\x06pandas]\x93.",
    }


@pytest.mark.parametrize("kind", hostile(__import__("pathlib").Path("/nowhere"))[1])
def test_nothing_in_a_file_is_run(kind, tmp_path):
    harm, made = hostile(tmp_path)
    path = tmp_path / "bad.pickle"
    path.write_bytes(made[kind])
    with pytest.raises(ValueError, match=r"bad.pickle is not a pickled table of numbers"):
        pickled.read(path)
    assert not harm.exists()


def test_the_refusal_names_what_was_asked_for(tmp_path):
    path = tmp_path / "bad.pickle"
    path.write_bytes(pickle.dumps(Hostile(os.system, "true"), 2))
    with pytest.raises(
        ValueError, match=r"it asks for \w+\.system, which no table of numbers needs; nothing was run"
    ):
        pickled.read(path)


@pytest.mark.parametrize(
    "column", [["a", "b"], [object(), 1], pd.to_datetime(["2020", "2021"]), pd.Categorical([1, 2])]
)
@pytest.mark.parametrize("protocol", [2, 5])
def test_tables_with_more_than_numbers(column, protocol, tmp_path):
    pd.DataFrame({"x": [1.0, 2.0], "y": column}).to_pickle(tmp_path / "a.pkl", protocol=protocol)
    with pytest.raises(ValueError, match="not a pickled table of numbers"):
        pickled.read(tmp_path / "a.pkl")


def test_claims_of_size_are_checked_first(frame, tmp_path):
    """What a file claims costs no memory: it is compared with what is there."""
    write, names = Python2(), list(frame.columns)
    path = tmp_path / "big.pickle"
    whole = write.frame([(frame.to_numpy().T, names)], names)
    huge = write.tuple(write.number(4), write.number(N))
    length = write.text(frame.to_numpy().T.tobytes())[:5]
    bad = [
        (whole.replace(huge, write.tuple(write.number(2**30), write.number(2**30))), "cannot reshape"),
        (whole.replace(huge, write.tuple(write.number(4), write.number(-1))), "impossible shape"),
        (whole.replace(length, b"T" + struct.pack("<i", 2**31 - 1)), "expected 2147483647 bytes"),
        (b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"abc.", "expected 4611686018427387904 bytes"),
        (b"\x80\x02)r\xff\xff\xff\x7f.", "DataFrame"),
        (write.frame([(frame.to_numpy().T, names)] * 20, names), "repeated"),
    ]
    for content, message in bad:
        assert content != whole
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            pickled.read(path)


def test_a_million_columns_from_nothing(tmp_path):
    frame = pd.DataFrame(np.zeros((2, 2)))
    content = pickle.dumps(frame, 2).replace(b"X\x04\x00\x00\x00stop", b"X\x04\x00\x00\x00stop", 1)
    at = content.index(b"stop")
    at = content.index(b"K\x02", at)
    path = tmp_path / "wide.pickle"
    path.write_bytes(content[:at] + b"J\xff\xff\xff\x7f" + content[at + 2 :])
    with pytest.raises(ValueError, match="2,147,483,647 columns"):
        pickled.read(path)


@given(st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300, deadline=None)
def test_cut_or_changed_files(frame, tmp_path, data):
    """Never another exception than ValueError; what is read has the right form."""
    old = Python2().frame([(frame.to_numpy().T, list(frame.columns))], list(frame.columns))
    content = bytearray(data.draw(st.sampled_from([old, pickle.dumps(frame, 2), pickle.dumps(frame, 5)])))
    if data.draw(st.booleans(), "cut"):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    for _ in range(data.draw(st.integers(0, 3))):
        if content:
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "some.pickle"
    path.write_bytes(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of odd escapes in text
            names, rows = pickled.read(path)
    except ValueError:
        return
    assert rows.shape[1] == len(names)


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no"):
        pickled.read(tmp_path / "none.pickle")
    (tmp_path / "empty.pickle").write_bytes(b"")
    with pytest.raises(ValueError, match=r"empty\.pickle is not"):
        pickled.read(tmp_path / "empty.pickle")
