"""The table of recorded runs: what was written is read, filtered, averaged, shown, and never stopped."""

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lfmkit import __main__, plots
from lfmkit.runs import index, records, tables
from lfmkit.runs.records import RunRecord
from lfmkit.runs.results import COMPLETED, OTHERS, read_results, write
from lfmkit.runs.selection import text
from lfmkit.utils import files

INTERRUPTED = "interrupted: no record, the same command makes the run again"
START = "2026-01-02T03:04:05+00:00"
HOSTILE = "</script><script>alert(1)</script> | *a* `b`\n\x1b[31m\ud800"
text_values = st.text(st.characters(exclude_characters="\r\0"), max_size=12)
plain = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text_values
)
values = plain | st.lists(plain, max_size=3)
names = st.from_regex(r"[a-z_]{1,8}", fullmatch=True)
metric_names = st.from_regex(r"[\w +.\-]{1,8}", fullmatch=True)
numbers = st.none() | st.floats(allow_nan=False, allow_infinity=False)


def record(number=0, outcome="completed", parameters=None, metrics=None, **more):
    about = {"id": f"{number:012x}", "notebook": "experiment", "seconds": 1.5, "peak_memory": 250_000_000}
    times = {"started": f"2026-01-02T03:04:{number % 60:02}+00:00", "ended": START}
    parts = {"parameters": parameters or {}, "metrics": metrics or {}}
    return RunRecord(**{**about, **times, "outcome": outcome, **parts, **more})


def store(root, *runs):
    for run in runs:
        folder = root / run.notebook / run.id
        run.write(folder)
        files.write_json(folder / "params.json", run.parameters)
    return root


@pytest.fixture
def sweep(tmp_path):
    """Two methods, three seeds, two widths; one run failed, one has a number that is not finite."""
    runs = []
    for number in range(12):
        method, seed, width = ("lfm", "fm")[number % 2], number // 4, (64, 128)[number // 2 % 2]
        own = {"method": method, "schedule": [0.1, 0.4] if method == "lfm" else "none", "seed": seed}
        metrics = {"excess": 0.1 * number + 0.01 * seed, "nfe": float(100 + number)}
        runs.append(record(number, parameters={**own, "width": width, "steps": 1000}, metrics=metrics))
    runs[3] = replace(runs[3], outcome="failed", reason="ValueError: no", metrics={"excess": 99.0})
    runs[3] = replace(runs[3], cell={"number": 5, "source": "flow = fit()"})
    runs[6] = replace(runs[6], metrics={"excess": None, "nfe": 106.0})
    return store(tmp_path / "runs", *runs)


def run(*words):
    return __main__.main(["results", *map(str, words)])


# reading


def test_a_run_is_read_as_it_was_written(sweep):
    results = read_results(sweep)
    assert len(results) == 12
    assert results.runs["experiment/000000000005"] == records.read(sweep / "experiment" / "000000000005")
    assert not results.without


def test_the_columns_are_in_order(sweep):
    parameters = ["method", "schedule", "seed", "width", "steps"]
    last = ["seconds", "peak_memory", "started", "reason"]
    frame = read_results(sweep).frame()
    assert list(frame) == ["id", "notebook", "outcome", *parameters, "excess", "nfe", *last]
    assert set(frame["peak_memory"]) == {250.0}
    assert str(frame["seed"].dtype) == "Int64"
    assert list(frame["schedule"][:2]) == ["(0.1, 0.4)", "none"]


def test_a_name_that_two_columns_want_is_told_apart(tmp_path):
    own = {"nfe": 8, "seconds": 60, "width": 64}
    store(tmp_path, record(parameters=own, metrics={"nfe": 224.0, "seconds": 3.5, "excess": 0.1}))
    results = read_results(tmp_path)
    (row,) = results.frame().to_dict("records")
    assert (row["parameter:nfe"], row["metric:nfe"]) == (8, 224.0)
    assert (row["parameter:seconds"], row["metric:seconds"], row["seconds"]) == (60, 3.5, 1.5)
    assert (row["width"], row["excess"]) == (64, 0.1)
    assert len(read_results(tmp_path, "metric:nfe=224")) == 1
    with pytest.raises(ValueError, match="did you mean parameter:nfe or metric:nfe"):
        read_results(tmp_path, "nfe=8")


DEEP = f'"a": {"[" * 300}{"]" * 300}'
DAMAGE = {
    "cut": lambda about: json.dumps(about)[:40],
    "no json": lambda about: "\x00\x01",
    "deep": lambda about: "[" * 100_000,
    "list": lambda about: "[]",
    "newer": lambda about: json.dumps(about | {"format": 99}),
    "outcome": lambda about: json.dumps(about | {"outcome": "fine"}),
    "missing": lambda about: json.dumps({"format": 1, "id": "x"}),
    "parameters": lambda about: json.dumps(about | {"parameters": [1]}),
    "deep parameter": lambda about: json.dumps(about | {"parameters": {"a": 0}}).replace('"a": 0', DEEP),
    "metrics": lambda about: json.dumps(about | {"metrics": {"excess": "low"}}),
    "huge": lambda about: json.dumps(about | {"metrics": {"excess": 10**400}}),
    "seconds": lambda about: json.dumps(about | {"seconds": None}),
    "started": lambda about: json.dumps(about | {"started": 5}),
    "figures": lambda about: json.dumps(about | {"figures": [{"file": 1, "alt": ""}]}),
    "cell": lambda about: json.dumps(about | {"cell": 4}),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_record_is_named_and_stops_nothing(sweep, damage, capsys):
    path = sweep / "experiment" / "000000000001" / "record.json"
    path.write_text(DAMAGE[damage](json.loads(path.read_text())))
    results = read_results(sweep)
    assert len(results) == 11
    assert list(results.without) == ["experiment/000000000001"]
    assert results.without["experiment/000000000001"].startswith("unreadable: record.json")
    assert run(sweep, "--html") == 0
    said = capsys.readouterr().out
    assert "11 runs recorded" in said
    assert "1 unreadable" in said
    assert "unreadable: record.json" in said
    assert "experiment/000000000001" in (sweep / "index.html").read_text()


def test_a_record_that_is_a_folder(sweep):
    path = sweep / "experiment" / "000000000001" / "record.json"
    path.unlink()
    path.mkdir()
    assert list(read_results(sweep).without) == ["experiment/000000000001"]


def test_numbers_that_are_not_finite_are_missing(tmp_path):
    store(tmp_path, record())
    path = tmp_path / "experiment" / f"{0:012x}" / "record.json"
    about = json.loads(path.read_text()) | {"metrics": {"a": math.nan, "b": math.inf, "c": 3}}
    path.write_text(json.dumps(about | {"parameters": {"p": math.nan}}))
    (row,) = read_results(tmp_path).frame()[["a", "b", "c"]].to_numpy()
    assert np.isnan(row[:2]).all()
    assert row[2] == 3
    assert "NaN" not in index.write(read_results(tmp_path)).read_text()


def test_what_is_at_work_and_what_was_interrupted(sweep, capsys):
    for name in ("a" * 12, "b" * 12):
        files.write_json(sweep / "experiment" / name / "params.json", {})
    (sweep / "notes").mkdir()
    files.write_json(sweep / "checkpoints" / "rose" / "flow.json", {})  # a folder of `fit` is no run
    (sweep / "checkpoints" / "rose" / ".lock").touch()
    code = (
        "import sys; from pathlib import Path; from lfmkit.utils import files\n"
        "with files.locked(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    holding = [sys.executable, "-c", code, str(sweep / "experiment" / ("a" * 12))]
    with subprocess.Popen(holding, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        results = read_results(sweep)
        assert run(sweep, "--html") == 0
        process.stdin.close()
    a, b = ("experiment/" + letter * 12 for letter in "ab")
    assert results.without == {a: "running: no record yet", b: INTERRUPTED}
    assert len(results) == 12
    said = capsys.readouterr().out
    assert "1 running, 1 interrupted" in said
    assert f"running: no record yet [{a}]\n{INTERRUPTED} [{b}]" in said
    assert read_results(sweep).without == dict.fromkeys((a, b), INTERRUPTED)


def test_a_run_that_ends_between_two_looks_is_read(sweep, monkeypatch):
    path = sweep / "experiment" / "000000000001" / "record.json"
    content = path.read_bytes()
    path.unlink()

    def ends_now(folder):
        path.write_bytes(content)
        return False

    monkeypatch.setattr(records, "running", ends_now)
    assert len(read_results(sweep)) == 12


# filters


@pytest.mark.parametrize(
    ("where", "wanted"),
    [
        ("seed=0", {0, 1, 2, 3}),
        ("seed = 0", {0, 1, 2, 3}),
        ("seed!=0", {4, 5, 6, 7, 8, 9, 10, 11}),
        (["method=lfm", "seed>=1", "width<100"], {4, 8}),
        ("excess<0.25", {0, 1, 2}),
        ("excess=none", {6}),
        ("excess!=none", set(range(12)) - {6}),
        ("nfe>110", {11}),
        ("nfe<=101", {0, 1}),
        ("schedule=none", set()),
        ("schedule=(0.1, 0.4)", {0, 2, 4, 6, 8, 10}),
        ("schedule=[.1,.4]", {0, 2, 4, 6, 8, 10}),
        ("outcome=failed", {3}),
        ("reason=ValueError: no", {3}),
        ("started>=2026-01-02T03:04:10", {10, 11}),
        ({"method": "fm", "seed": 2}, {9, 11}),
        ({"schedule": (0.1, 0.4), "width": 64}, {0, 4, 8}),
        ({"excess": None}, {6}),
        ((condition for condition in ("seed=2", "width=128")), {10, 11}),
        ((), set(range(12))),
    ],
)
def test_where(sweep, where, wanted):
    found = read_results(sweep, where)
    assert {int(run.id, 16) for run in found.runs.values()} == wanted


def test_true_and_one_are_not_the_same(tmp_path):
    store(tmp_path, record(0, parameters={"ema": True}), record(1, parameters={"ema": 1}))
    assert [run.parameters for run in read_results(tmp_path, "ema=true").runs.values()] == [{"ema": True}]
    assert [run.parameters for run in read_results(tmp_path, "ema=1").runs.values()] == [{"ema": 1}]


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("exces<0.1", "there is no column 'exces': did you mean excess"),
        ("zzzzz=1", r"there is no column 'zzzzz': there are id, notebook, outcome, method"),
        ("excess", "'excess' is not a condition: write NAME=VALUE"),
        ("=3", "is not a condition"),
        ("excess<low", "excess<low: 'low' is not a number"),
    ],
)
def test_a_condition_that_makes_no_sense(sweep, where, message, capsys):
    with pytest.raises(ValueError, match=message):
        read_results(sweep, where)
    assert run(sweep, "--where", where) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("lfmkit results: ")
    assert len(said.err.splitlines()) == 1


def test_sorting_puts_what_is_missing_last(sweep):
    found = list(read_results(sweep).sort("excess").frame()["excess"])
    assert found[:-1] == sorted(found[:-1])
    assert math.isnan(found[-1])
    runs = [record(number, parameters={"a": value}) for number, value in enumerate(["b", "a", 5, [1]])]
    mixed = store(sweep.parent / "mixed", *runs)
    assert list(read_results(mixed).sort("a").frame()["a"]) == ["5", "(1,)", "a", "b"]


# means


def test_means_are_those_of_numpy(sweep):
    means = read_results(sweep).means(["method"], ["excess"]).set_index("method")
    runs = [records.read(folder) for folder in records.folders(sweep)]
    for method in ("fm", "lfm"):
        own = [each for each in runs if each.parameters["method"] == method]
        excess = [run.metrics["excess"] for run in own if run.completed and run.metrics["excess"] is not None]
        row = means.loc[method]
        assert row["excess mean"] == pytest.approx(np.mean(excess))
        assert row["excess stderr"] == pytest.approx(np.std(excess, ddof=1) / np.sqrt(len(excess)))
        assert row["excess n"] == len(excess) == 5
    assert list(means[COMPLETED]) == [5, 6]
    assert list(means[OTHERS]) == [1, 0]


@given(
    st.lists(
        st.tuples(st.integers(0, 2), numbers.map(lambda x: x and max(-1e9, min(1e9, x)))),
        min_size=1,
        max_size=12,
    )
)
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_means(tmp_path_factory, runs):
    made = [record(i, parameters={"g": g}, metrics={"m": m}) for i, (g, m) in enumerate(runs)]
    means = read_results(store(tmp_path_factory.mktemp("runs"), *made)).means(["g"], ["m"])
    for row in means.to_dict("records"):
        values = [m for g, m in runs if g == row["g"] and m is not None]
        assert row["m n"] == len(values)
        if not values:
            assert math.isnan(row["m mean"])
            continue
        assert row["m mean"] == pytest.approx(np.mean(values), abs=1e-6)
        if len(values) == 1:
            assert math.isnan(row["m stderr"])
        else:
            assert row["m stderr"] == pytest.approx(np.std(values, ddof=1) / math.sqrt(len(values)), abs=1e-3)


def test_groups_by_lists_by_nothing_and_without_any_completed_run(tmp_path):
    runs = [record(0, parameters={"schedule": [0.1], "out": None}, metrics={"excess": 1.0}),
            record(1, parameters={"schedule": [0.1]}, metrics={"excess": 3.0}),
            record(2, "timeout", parameters={"schedule": "log_snr"})]  # fmt: skip
    results = read_results(store(tmp_path, *runs))
    means = results.means(["schedule", "out", "schedule"])
    assert list(means) == ["schedule", "out", COMPLETED, OTHERS, "excess mean", "excess stderr", "excess n"]
    assert list(means["schedule"]) == ["(0.1,)", "log_snr"]
    assert list(means[COMPLETED]) == [2, 0]
    assert list(means[OTHERS]) == [0, 1]
    assert means["excess mean"][0] == 2.0
    assert math.isnan(means["excess mean"][1])
    assert tables.of_means(means)["excess"] == ["2 +- 1", ""]


@pytest.mark.parametrize(
    ("by", "metrics", "message"),
    [
        (["metod"], [], "did you mean method"),
        (["method"], ["exces"], "did you mean excess"),
        (["method"], ["schedule"], "schedule has no mean"),
        ([], [], "name one or more columns"),
    ],
)
def test_means_of_nothing(sweep, by, metrics, message):
    with pytest.raises(ValueError, match=message):
        read_results(sweep).means(by, metrics)


def test_series_for_a_picture(sweep):
    results = read_results(sweep)
    series = results.series("excess", "width", "method")
    assert set(series) == {"lfm", "fm"}
    assert [x for x, _ in series["lfm"]] == [64, 128, 64, 64, 128]  # one number was not finite
    assert len(series["fm"]) == 5  # one failed
    assert set(results.series("nfe", "schedule", "seed")) == {"0", "1", "2"}
    assert {x for x, _ in results.series("nfe", "schedule", "seed")["0"]} == {"(0.1, 0.4)", "none"}
    assert plots.sweep(series, "width", "excess", "title").axes
    with pytest.raises(ValueError, match="did you mean excess"):
        results.series("exces", "width", "method")


# tables and files


@given(
    st.lists(
        st.tuples(st.sampled_from(records.OUTCOMES), st.dictionaries(names, values, max_size=4),
                  st.dictionaries(metric_names, numbers, max_size=3)),
        min_size=1, max_size=5,
    )
)  # fmt: skip
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_csv_and_parquet_hold_what_was_recorded(tmp_path_factory, runs):
    root = tmp_path_factory.mktemp("runs")
    made = [record(i, outcome, p, m, reason="why") for i, (outcome, p, m) in enumerate(runs)]
    results = read_results(store(root, *made))
    frame = results.frame()
    for name, column in results.parameters.items():
        for given_value, (_, own, _) in zip(frame[column], runs, strict=True):
            value = own.get(name)
            if value is None:
                assert pd.isna(given_value)
            else:
                assert given_value == value or given_value == text(value)
    write(frame, root / "all.parquet", "parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(root / "all.parquet"), frame)
    write(frame, root / "all.csv", "csv")
    kinds = frame.dtypes.to_dict()
    read = pd.read_csv(root / "all.csv", dtype=kinds, keep_default_na=False, na_values=[""])
    pd.testing.assert_frame_equal(read, frame.replace("", pd.NA), check_exact=True)
    assert tables.terminal(tables.of_runs(results)).count("\n") == len(runs)


def test_the_table_says_once_what_is_the_same(sweep, capsys):
    assert run(sweep) == 0
    head, same, _, names, *rows = capsys.readouterr().out.splitlines()
    assert head == f"12 runs recorded in {sweep}: 11 completed, 1 failed"
    assert same == "the same in all: notebook experiment, steps 1000"
    own = ["method", "schedule", "seed", "width", "excess", "nfe"]
    assert names.split() == ["id", "outcome", *own, "seconds", "peak_memory", "started"]
    assert rows[1].split()[:3] == ["000000000001", "completed", "fm"]
    assert "0.31" not in rows[6]
    assert rows[-1] == "failed in cell 5 `flow = fit()`: ValueError: no [experiment/000000000003]"


def test_the_table_of_means_says_over_what(sweep, capsys):
    assert run(sweep, "--by", "method", "--metric", "excess", "--sort", "excess") == 0
    lines = capsys.readouterr().out.splitlines()
    assert "means +- standard errors over schedule (2 values), seed (3 values), width (2 values)" in lines
    names, first, second = lines[4:7]
    assert names.split() == ["method", "completed", "runs", "not", "completed", "excess"]
    assert first.split()[:3] == ["lfm", "6", "0"]
    assert first.endswith("(n 5)")  # the number of one completed run was not finite
    assert second.split()[:3] == ["fm", "5", "1"]
    assert " +- " in second


def test_a_narrow_terminal_leaves_columns_out_and_says_which(sweep):
    columns = tables.of_runs(read_results(sweep))
    shown = tables.terminal(columns, 60, keep=["nfe"])
    assert max(map(len, shown.splitlines())) <= 60
    assert shown.splitlines()[0].split()[-1] == "nfe"
    kept = set(shown.splitlines()[0].split())
    told = shown[shown.index("left out") :].replace("\n", " ")
    assert all(name in told for name in columns if name not in kept)
    assert set(tables.terminal(columns).splitlines()[0].split()) == set(columns)


def test_files_and_markdown(sweep, tmp_path, capsys):
    paths = {form: tmp_path / "new" / f"all.{form}" for form in ("csv", "parquet", "markdown")}
    options = [word for form, path in paths.items() for word in (f"--{form}", path)]
    assert run(sweep, *options, "--where", "method=lfm") == 0
    assert all(f"wrote {path}" in capsys.readouterr().out for path in [paths["csv"]])
    frame = read_results(sweep, "method=lfm").frame()
    assert list(pd.read_csv(paths["csv"])["excess"].dropna()) == list(frame["excess"].dropna())
    pd.testing.assert_frame_equal(pd.read_parquet(paths["parquet"]), frame)
    rows = [line for line in paths["markdown"].read_text().splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 6
    assert rows[1].count("---") == rows[0].count("|") - 1
    assert run(sweep, "--by", "method", "--csv", paths["csv"]) == 0
    assert list(pd.read_csv(paths["csv"])["excess n"]) == [5, 5]


def test_hostile_text_shows_as_text(tmp_path, capsys):
    own = {"target": HOSTILE, "list": [HOSTILE], HOSTILE: 1, "n": 10**30}
    bad = record(0, "failed", own, reason=HOSTILE, cell={"number": HOSTILE, "source": HOSTILE})
    figures = [{"file": "figures/a\"'<b>.png", "alt": HOSTILE}, {"file": "../../secret", "alt": ""}]
    store(tmp_path, replace(bad, figures=figures), record(1, parameters={"target": "rose"}))
    files.write(tmp_path / bad.notebook / bad.id / figures[0]["file"], b"")
    files.write(tmp_path / "secret", b"")
    assert run(tmp_path, "--html", "--csv", tmp_path / "a.csv", "--parquet", tmp_path / "a.parquet",
               "--markdown", tmp_path / "a.md") == 0  # fmt: skip
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert said.count("\n") == 12  # and not one more
    page = (tmp_path / "index.html").read_text()
    assert page.count("</script>") == 2  # the page's own
    assert "<script>alert" not in page
    assert "secret" not in page
    assert "figures/a%22%27%3Cb%3E.png" in page
    for line in (tmp_path / "a.md").read_text().splitlines():
        assert "<script" not in line.replace("\\<", "")
    assert HOSTILE.replace("\ud800", "\\ud800") in list(pd.read_csv(tmp_path / "a.csv")["target"])


# the command


def test_no_folder_and_nothing_in_it(tmp_path, capsys, sweep):
    assert run(tmp_path / "nowhere") == 2
    assert "there is no folder" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert run(tmp_path / "empty", "--where", "seed=0", "--by", "method", "--metric", "excess") == 0
    assert "0 runs recorded in" in capsys.readouterr().out
    assert run(tmp_path / "empty", "--csv", tmp_path / "none.csv", "--html") == 0
    assert "`lfmkit run NOTEBOOK` makes one" in capsys.readouterr().out
    assert list(pd.read_csv(tmp_path / "none.csv"))[:3] == ["id", "notebook", "outcome"]
    assert (
        run(sweep, "--where", "seed=77", "--metric", "excess", "--by", "method", "--csv", tmp_path / "b.csv")
        == 0
    )
    assert capsys.readouterr().out.startswith(f"0 runs recorded in {sweep}, where seed=77\n")
    assert run(sweep, "--where", "outcome=failed", "--metric", "nfe") == 0


@pytest.mark.parametrize(
    "words",
    [["--metric", "exces"], ["--by", "metod"], ["--sort", "exces"], ["--by", "method", "--sort", "exces"]],
)
def test_an_unknown_name_has_the_nearest_right_one(sweep, words, capsys):
    assert run(sweep, *words) == 2
    assert "did you mean" in capsys.readouterr().err


def test_a_file_that_cannot_be_written(sweep, capsys):
    assert run(sweep, "--csv", sweep / "experiment") == 2
    assert "cannot write" in capsys.readouterr().err


def test_it_starts_without_what_it_does_not_need(sweep):
    code = (
        "import sys; from lfmkit import __main__; assert 'pandas' not in sys.modules\n"
        "__main__.main(sys.argv[1:]); print({'torch', 'matplotlib', 'nbformat'} & set(sys.modules))"
    )
    words = ["results", str(sweep), "--where", "seed=0", "--sort", "excess", "--html"]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("set()\n"), done.stdout


def test_a_reader_that_has_seen_enough(sweep):
    command = [sys.executable, "-m", "lfmkit", "results", str(sweep)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as it:
        it.stdout.close()
        assert it.stderr.read() == b""
        assert it.wait(60) == 0


def test_the_page_is_written_where_the_runs_are(sweep):
    results = read_results(sweep, "method=lfm")
    assert index.write(results) == Path(sweep) / "index.html"
    page = (sweep / "index.html").read_text()
    assert "6 runs, where method=lfm: 6 completed" in page
    assert "http" not in page.replace("http-equiv", "")
