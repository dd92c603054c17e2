"""Parameters of notebooks, sweep files, limits: what is refused before anything starts, and in what words."""

import math
import shutil
import subprocess
from pathlib import Path

import nbformat
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lfmkit.runs import parameters, plans, sweepfile

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
PARAMETERS = """
target = "rose"
samples = 1_000  # with a comment
lr = 3e-3
schedule = (0.1, 0.4)
steps = (100, 50)
kind: str | tuple = "log_snr"
fast = False
note = None
seed = 0
out = None
"""


@pytest.fixture
def source(make_notebook):
    return parameters.read_notebook(make_notebook("walk", PARAMETERS, ["print(1)"]))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_notebook_of_the_kit_is_a_run(path):
    source = parameters.read_notebook(path)
    given = {name: value for name, value in source.defaults.items() if name != "out"}
    assert len(given) == len(source.defaults) - 1 >= 4
    plan = plans.plan_run(path, given)
    assert plan.id == plans.plan_run(path, {}).id
    assert plan.folder == Path.cwd() / "runs" / path.stem / plan.id


@pytest.mark.parametrize(
    ("name", "value", "taken"),
    [
        ("target", "tree", "tree"),
        ("samples", 2e3, 2000),
        ("lr", 1, 1.0),
        ("lr", "1e-3", 1e-3),  # how YAML reads 1e-3
        ("schedule", (0.2, 1), [0.2, 1.0]),
        ("schedule", [], []),
        ("steps", 500, 500),
        ("kind", "constant", "constant"),
        ("kind", (0.1, 0.2), [0.1, 0.2]),
        ("fast", True, True),
        ("note", None, None),
        ("note", "x", "x"),
    ],
)
def test_values_that_fit(source, name, value, taken):
    checked = source.check({name: value})[name]
    assert checked == taken
    assert type(checked) is type(taken)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("sample", 3, "no parameter 'sample': did you mean 'samples'"),
        ("zzz", 3, "it has target, samples"),
        ("out", "elsewhere", "`out` is set by the run"),
        ("target", 3, "target must be str"),
        ("samples", "many", "samples must be int"),
        ("samples", 2.5, "samples must be int"),
        ("samples", True, "samples must be int"),
        ("lr", "fast", "lr must be float"),
        ("lr", math.nan, "lr must be finite"),
        ("lr", [1.0], "lr must be float"),
        ("schedule", "log_snr", "schedule must be float or tuple"),
        ("schedule", [0.1, "b"], "schedule must be float"),
        ("schedule", [0.1, math.inf], "schedule must be finite"),
        ("steps", 1.5, "steps must be int or tuple"),
        ("kind", 3, "kind must be str or tuple"),
        ("fast", 1, "fast must be bool"),
        ("note", "None", "write null"),
        ("target", {"a": 1}, "target must be str"),
    ],
)
def test_values_that_do_not_fit(source, name, value, message):
    with pytest.raises(ValueError, match=message):
        source.check({name: value})


def refusal(call, *arguments):
    """Return the message of the ValueError that a call ends with, or None."""
    try:
        call(*arguments)
    except ValueError as error:
        return str(error)
    return None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    value=st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=5), st.lists),
    name=st.text(),
)
def test_any_value_is_taken_or_refused_in_words(source, name, value):
    for key in (name, *source.defaults):
        message = refusal(source.check, {key: value})
        assert message is None or len(message) > 20


WORDS = {"3": 3, "1e-3": 1e-3, "(1, 2)": (1, 2), "True": True, "null": None, "a b": "a b", "f(1)": "f(1)"}


@pytest.mark.parametrize(("word", "value"), WORDS.items())
def test_words_of_the_command_line(word, value):
    assert parameters.parse_value(word) == value


def test_what_is_no_notebook(tmp_path, make_notebook):
    (tmp_path / "broken.ipynb").write_text("{bro")
    (tmp_path / "list.ipynb").write_text("[]")
    with pytest.raises(FileNotFoundError, match="there is no notebook"):
        parameters.read_notebook(tmp_path / "none.ipynb")
    for name in ("broken.ipynb", "list.ipynb"):
        with pytest.raises(ValueError, match="is not a readable notebook"):
            parameters.read_notebook(tmp_path / name)
    bare = make_notebook("bare", "seed = 0", [])
    notebook = nbformat.read(bare, 4)
    notebook.cells[0].metadata.tags = []
    nbformat.write(notebook, bare)
    with pytest.raises(ValueError, match="one cell tagged `parameters`, it has 0"):
        parameters.read_notebook(bare)
    for text in ("x = len([])", "x = y", "import os", "x: int"):
        with pytest.raises(ValueError, match="must be literals, one a line"):
            parameters.read_notebook(make_notebook("computed", text, []))


@pytest.mark.parametrize("name", ["..ipynb", ".hidden.ipynb", "a b.ipynb", "x.txt", "é;rm.ipynb"])
def test_names_that_no_folder_may_have(tmp_path, make_notebook, name):
    shutil.copy(make_notebook("fine", "seed = 0", []), tmp_path / name)
    with pytest.raises(ValueError, match="cannot name a run"):
        parameters.read_notebook(tmp_path / name)


@given(st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=20))
def test_no_notebook_name_leads_out_of_the_folder(name):
    try:
        message = refusal(parameters.read_notebook, f"/nowhere/{name}.ipynb")
    except FileNotFoundError:
        inside = Path("/runs") / name / "0123456789ab"
        assert inside.resolve().parent.parent == Path("/runs")
    else:
        assert "cannot name a run" in message


def test_an_id_depends_on_code_and_parameters_alone(make_notebook):
    first = plans.plan_run(make_notebook("walk", PARAMETERS, ["print(1)"]), {"seed": 1})
    assert plans.plan_run(make_notebook("walk", PARAMETERS, ["print(1)"]), {"seed": 1}).id == first.id
    same = plans.plan_run(make_notebook("walk", PARAMETERS, ["print(1)"]), {"seed": 1, "target": "rose"})
    assert same.id == first.id
    assert plans.plan_run(make_notebook("walk", PARAMETERS, ["print(1)"]), {"seed": 2}).id != first.id
    assert plans.plan_run(make_notebook("walk", PARAMETERS, ["print(2)"]), {"seed": 1}).id != first.id


def test_the_commit_of_a_notebook(tmp_path, make_notebook):
    path = make_notebook("walk", PARAMETERS, ["print(1)"])
    assert parameters.read_notebook(path).commit is None

    def git(*words):
        named = ["-c", "user.name=me", "-c", "user.email=me@example.org"]
        done = subprocess.run(
            ["git", "-C", tmp_path, *named, *words], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    git("init")
    assert parameters.read_notebook(path).commit is None  # nothing is committed yet
    git("add", path.name)
    git("commit", "-m", "first")
    git("tag", "-a", "v1", "-m", "a tag does not replace the hash")
    head = git("rev-parse", "HEAD")
    (tmp_path / "untracked").touch()
    assert parameters.read_notebook(path).commit == head
    make_notebook("walk", PARAMETERS, ["print(2)"])
    assert parameters.read_notebook(path).commit == f"{head}+changes"


def sweep_of(tmp_path, text):
    (tmp_path / "sweep.yaml").write_text(f"notebook: walk.ipynb\n{text}")
    return sweepfile.read_sweep(tmp_path / "sweep.yaml", tmp_path / "runs")


def test_a_sweep_is_the_product_of_rows_grid_and_seeds(tmp_path, source):
    sweep = sweep_of(
        tmp_path,
        """
parameters: {target: tree}
runs: [{lr: 0.1}, {lr: 0.2, fast: true}]
grid:
  samples: {from: 100, to: 400, count: 3, scale: log}
  kind: [constant, [0.1, 0.2]]
seeds: 2
limits: {timeout: 60, memory: 1 GiB, retries: 2}
""",
    )
    assert len(sweep.plans) == 2 * 3 * 2 * 2 == len({plan.id for plan in sweep.plans})
    assert {plan.parameters["samples"] for plan in sweep.plans} == {100, 200, 400}
    assert {plan.parameters["target"] for plan in sweep.plans} == {"tree"}
    assert sum(plan.parameters["fast"] for plan in sweep.plans) == 12
    assert [plan.parameters["seed"] for plan in sweep.plans[:3]] == [0, 1, 0]
    assert sweep.limits == plans.Limits(60.0, 2**30, 2)


def test_a_run_named_twice_is_made_once(tmp_path, source):
    assert len(sweep_of(tmp_path, "runs: [{}, {seed: 0}, {target: rose}]").plans) == 1


@pytest.mark.parametrize(
    ("axis", "values"),
    [
        ("{from: 0.1, to: 0.5, step: 0.1}", [0.1, 0.2, 0.3, 0.4, 0.5]),
        ("{from: 0, to: 1, count: 3}", [0.0, 0.5, 1.0]),
        ("{from: 0.001, to: 0.1, count: 3, scale: log}", [0.001, 0.01, 0.1]),
    ],
)
def test_ranges(tmp_path, source, axis, values):
    found = [plan.parameters["lr"] for plan in sweep_of(tmp_path, f"grid: {{lr: {axis}}}").plans]
    assert found == pytest.approx(values, rel=1e-9) or values[0] == 0.0
    if values[0] == 0.0:  # whole ends stand for whole numbers
        assert found == [0.0, 1.0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("grids: {}", "unknown key 'grids'"),
        ("grid: {lr: 3}", "must be a list of values or a range"),
        ("grid: {lr: []}", "must be a list of values or a range"),
        ("grid: {lr: {from: 1, to: 0, step: 1}}", "range of lr"),
        ("grid: {lr: {from: 1, to: 2}}", "range of lr"),
        ("grid: {lr: {from: 0, to: 2, count: 3, scale: log}}", "range of lr"),
        ("grid: {lr: {from: 0, to: 1, step: 1.0e-12}}", "range of lr"),
        ("grid: {lr: {from: 1, to: 2, count: 1000000000000}}", "range of lr"),
        ("grid: {lr: {from: a, to: 2, count: 3}}", "range of lr"),
        ("grid: {lr: {from: 1, to: 2, count: 3, by: 2}}", "range of lr"),
        ("grid: {lrr: [1]}", "did you mean 'lr'"),
        ("parameters: [1]", "must be a mapping"),
        ("runs: {a: 1}", "`runs` a list of mappings"),
        ("runs: []", "asks for 0 runs"),
        ("seeds: 0", "a number from 1 to 100,000"),
        ("seeds: [a]", "seed must be int"),
        ("seeds: 1000000000", "a number from 1 to 100,000"),
        ("limits: {time: 3}", "limits are timeout, memory"),
        ("limits: {timeout: 0}", "above 0"),
        ("limits: {memory: lots}", "not an amount of memory"),
        ("limits: {retries: -1}", "0 or more"),
        ("a: [", "cannot be read as YAML"),
        ("parameters: !!python/object/apply:os.mkdir [/tmp/hostile]", "cannot be read as YAML of plain data"),
    ],
)  # fmt: skip
def test_sweep_files_that_are_refused(tmp_path, source, text, message):
    with pytest.raises(ValueError, match=message):
        sweep_of(tmp_path, text)


def test_a_sweep_file_without_notebook(tmp_path):
    (tmp_path / "sweep.yaml").write_text("about: nothing")
    with pytest.raises(ValueError, match="must name its notebook"):
        sweepfile.read_sweep(tmp_path / "sweep.yaml")
    with pytest.raises(FileNotFoundError):
        sweepfile.read_sweep(tmp_path / "none.yaml")
