"""Pickles of pandas are read without running them; here they are written by pandas and by hand."""

import copyreg
import functools
import gc
import io
import os
import pickle
import struct
import subprocess
import sys
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


def text(value):
    return b"X" + struct.pack("<i", len(value)) + value.encode()


def called(module, name, *arguments):
    """A call as protocol 4 spells it, which reaches attributes of attributes too."""
    return b"\x80\x04" + text(module) + text(name) + b"\x93(" + b"".join(arguments) + b"tR."


def behind_a_frame(content):
    """Instructions that pickletools takes for plain bytes; Python's own reader loses count and runs them."""
    frame = b"\x8c\x04ab"  # text of four letters, of which two come after the frame
    return (
        b"\x80\x04\x95"
        + struct.pack("<Q", len(frame))
        + frame
        + b"cdC"
        + bytes([len(content)])
        + content
        + b"."
    )


SHELL = "touch harm"
STUB = b"cpandas\nDataFrame\n"
RUN = text(SHELL) + b"\x85R."
EXTENSION = 240
HOSTILE = {
    "os.system": pickle.dumps(Hostile(os.system, SHELL), 2),
    "builtins.eval": pickle.dumps(Hostile(eval, "open('harm', 'w')"), 4),
    "builtins.getattr": pickle.dumps(Hostile(getattr, np.ndarray, "tofile"), 2),
    "builtins.__import__": called("builtins", "__import__", text("os")),
    "functools.partial": pickle.dumps(Hostile(functools.partial(os.system, SHELL)), 4),
    "operator.attrgetter": called("operator", "attrgetter", text("system")),
    "importlib": called("importlib", "import_module", text("os")),
    "copyreg": called("copyreg", "_reconstructor", STUB, STUB, b"N"),
    "copyreg of Python 2": called("copy_reg", "add_extension", text("os"), text("system"), b"K\x01"),
    "numpy that runs text": called(
        "numpy.testing._private.utils", "runstring", text("open('harm', 'w')"), b"}"
    ),
    "pandas that runs text": called("pandas", "eval", text("open('harm', 'w')")),
    "read_pickle": b"\x80\x02cpandas\nread_pickle\n" + RUN,
    "in a column": pickle.dumps(pd.DataFrame({"a": [Hostile(os.system, SHELL)]}), 2),
    "in the state": pickle.dumps(Hostile(np._core.multiarray._reconstruct, Hostile(os.system, SHELL)), 4),
    "in the arguments of a stub": b"\x80\x02" + STUB + b"cos\nsystem\n" + RUN,
    "method": called("pandas", "DataFrame.to_csv", text("harm")),
    "globals of a function": called("pandas", "DataFrame.__init__.__globals__"),
    "class of a class": called("numpy", "ndarray.__class__"),
    "module in a package": called("pandas.os", "system", text(SHELL)),
    "old class": b"\x80\x02(" + text(SHELL) + b"ios\nsystem\n.",
    "older class": b"\x80\x02(cos\nsystem\n" + text(SHELL) + b"o.",
    "keywords": b"\x80\x04" + STUB + b")}" + text("columns") + b"Ns\x92.",
    "persistent": b"\x80\x02" + text("a") + b"Q.",
    "persistent text": b"Pa\n.",
    "extension": b"\x80\x02\x82" + bytes([EXTENSION]) + RUN,
    "extension of two bytes": b"\x80\x02\x83" + struct.pack("<H", EXTENSION) + RUN,
    "extension of four bytes": b"\x80\x02\x84" + struct.pack("<i", EXTENSION) + RUN,
    "extension behind a frame": behind_a_frame(b"\x82" + bytes([EXTENSION]) + RUN),
    "extension in a frame in a frame": b"\x80\x04\x95" + struct.pack("<Q", 9) + behind_a_frame(b"N.")[2:],
    "buffer from outside": b"\x80\x05\x97.",
    "call of text": b"\x80\x02" + text("os.system") + b")R.",
    "call of what a stub gave": b"\x80\x02" + STUB + b")R" + RUN,
    "object of what a stub gave": b"\x80\x02" + STUB + b")R)\x81.",
    "name of a list": b"\x80\x04" + text("pandas") + b"]\x93.",
    "state of a stub": b"\x80\x02" + STUB + b"}" + text("__del__") + STUB + b"sb.",
    "attributes of a stub": b"\x80\x02" + STUB + b"N}" + text("__del__") + STUB + b"s\x86b.",
    "attributes of its note": b"\x80\x02" + STUB + b")RN}" + text("__class__") + STUB + b"s\x86b.",
    "attributes of a dict": b"\x80\x02}N}" + text("get") + STUB + b"s\x86b.",
    "items of a note": b"\x80\x02" + STUB + b")R" + text("a") + b"Ns.",
    "appended to a note": b"\x80\x02" + STUB + b")RNa.",
    "set of stubs": b"\x80\x04\x8f(" + STUB + b"\x90.",
}


@pytest.fixture
def registered():
    """Another package's extension code, which Python's reader would look up and never ask about."""
    copyreg.add_extension("os", "system", EXTENSION)
    copyreg._extension_cache[EXTENSION] = os.system
    yield
    copyreg.remove_extension("os", "system", EXTENSION)


@pytest.mark.parametrize("kind", HOSTILE)
def test_nothing_in_a_file_is_run(kind, tmp_path, monkeypatch, registered):
    monkeypatch.chdir(tmp_path)
    before = {name: dict(vars(stub)) for name, stub in pickled._STUBS.items()}
    path = tmp_path / "bad.pickle"
    path.write_bytes(HOSTILE[kind])
    with pytest.raises(ValueError, match=r"bad.pickle is not a pickled table of numbers"):
        pickled.read(path)
    gc.collect()
    assert [each.name for each in tmp_path.iterdir()] == ["bad.pickle"]
    assert {name: dict(vars(stub)) for name, stub in pickled._STUBS.items()} == before


@pytest.mark.parametrize("kind", ["extension", "extension behind a frame"])
def test_extensions_get_round_a_careless_reader(kind, tmp_path, monkeypatch, registered):
    """One that asks about names only: the attacks above are real."""

    class Careless(pickle.Unpickler):
        def find_class(self, module, name):
            raise pickle.UnpicklingError

    monkeypatch.chdir(tmp_path)
    assert Careless(io.BytesIO(HOSTILE[kind])).load() == 0
    assert (tmp_path / "harm").exists()


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


def nested(n):
    """Bytes in n calls."""
    return b"c_codecs\nencode\n" * n + b"C\x01a" + b"\x85R" * n


def overlapping_names(write):
    """Text of Arrow where each second entry is the whole megabyte."""
    offsets = np.array([0, 1_000_000] * 20_000).tobytes()
    stored = [write.call("pyarrow.lib py_buffer", write.text(raw)) for raw in (offsets, b"a" * 10**6)]
    alias = write.call("pyarrow.lib type_for_alias", write.text(b"large_string"))
    rest = [*map(write.number, (39_999, 0, 0)), write.list([b"N", *stored])]
    chunk = write.call("pyarrow.lib _restore_array", write.tuple(alias, *rest))
    array = write.call("pandas ArrowStringArray") + write.dict(_pa_array=chunk) + b"b"
    return write.call("pandas _new_Index", b"cpandas\nIndex\n", write.dict(data=array))


def columns_of_no_rows(write):
    """Twenty thousand columns, twenty thousand times."""
    block = write.call(
        "pandas _unpickle_block",
        write.array(np.zeros((20_000, 0))),
        write.call("builtins slice", b"N", b"N", b"N"),
    )
    columns = write.dict(start=write.number(0), stop=write.number(20_000), step=write.number(1))
    index = write.call("pandas _new_Index", b"cpandas\nRangeIndex\n", columns)
    blocks = write.list([block + b"q\x07" + b"h\x07" * 20_000])
    manager = write.call("pandas BlockManager", blocks, write.list([index]))
    return b"\x80\x02cpandas\nDataFrame\n)\x81" + write.dict(_mgr=manager) + b"b."


def bombs(frame):
    """Files of at most a megabyte that claim, or would come to, gigabytes or a deep recursion."""
    write, names, values = Python2(), list(frame.columns), frame.to_numpy().T
    whole = write.frame([(values, names)], names)
    shape, content = write.tuple(write.number(4), write.number(N)), write.text(values.tobytes())
    array, index = write.array(values), write.index(names)
    ranged = pickle.dumps(pd.DataFrame(np.zeros((2, 2))), 2)
    stop = ranged.index(b"K\x02", ranged.index(b"stop"))

    def repeated(content, one):
        return content.replace(b"](" + one + b"e", b"](" + one + b"q\x07" + b"h\x07" * 10**5 + b"e")

    made = {
        "shape": whole.replace(shape, write.tuple(write.number(2**30), write.number(2**30))),
        "negative shape": whole.replace(shape, write.tuple(write.number(4), write.number(-1))),
        "length of text": whole.replace(content[:5], b"T" + struct.pack("<i", 2**31 - 1)),
        "length of a number": b"\x80\x02\x8b\xff\xff\xff\x7fa.",
        "memo": b"\x80\x02)r\xff\xff\xff\x7f.",
        "memo behind a frame": behind_a_frame(b")r\xff\xff\xff\x7f."),
        "tuples as a key": b"\x80\x02})" + b"\x85" * 10**6 + b"Ns.",
        "lists in lists": b"\x80\x02" + b"]" * 10**5 + b"a" * (10**5 - 1) + b".",
        "notes in notes": b"\x80\x02" + nested(10_000) + b".",
        "bytes in notes": whole.replace(content, nested(20_000)),
        "bytes by their number": whole.replace(content, b"cbuiltins\nbytes\nJ\xff\xff\xff\x7f\x85R"),
        "the same block again": write.frame([(values, names)] * 20, names),
        "the same array again": repeated(repeated(whole, array), index),
        "columns of no rows": columns_of_no_rows(write),
        "two billion columns": ranged[:stop] + b"J\xff\xff\xff\x7f" + ranged[stop + 2 :],
        "names that overlap": whole.replace(index, overlapping_names(write), 1),
    }
    for code in b"\x8d\x8e\x96\x95":  # text, bytes, an array of bytes, a frame
        for size in (2**34, 2**62):
            made[f"length {size} by {code}"] = b"\x80\x05%c" % code + struct.pack("<Q", size) + b"abc."
    assert whole not in made.values()
    return made


def test_claims_of_size_are_checked_first(frame, tmp_path):
    """Claims cost neither memory nor time: they are compared with what is there."""
    for name, content in bombs(frame).items():
        (tmp_path / name).write_bytes(content)
    code = """if True:
        import resource, sys, time, pathlib
        from lfmkit.data.tabular import pickled
        for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
            now = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (now + 500_000_000, -1))
            started = time.process_time()
            try:
                pickled.read(path)
            except ValueError as error:
                assert not isinstance(error.__cause__, MemoryError), path
                assert time.process_time() < started + 10, path
                print(path.name, "refused:", str(error)[:300], flush=True)
        """
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, timeout=300)
    refused = [line.split(" refused:")[0] for line in done.stdout.splitlines()]
    assert refused == sorted(bombs(frame)), done.stderr


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
