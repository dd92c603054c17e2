"""The project's own promises: the two lists of dependencies agree, a wheel is whole, imports go one way."""

import ast
import re
import statistics
import subprocess
import sys
import zipfile
from graphlib import TopologicalSorter
from importlib import metadata
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
RENAMED = {"pytorch": "torch", "matplotlib-base": "matplotlib"}  # conda's names
RULE = (  # a file imports from its own group and from those before it
    "version utils simulators plots pixels exercises divergence schedules",
    "paths solvers couplings oracles nets cluster",
    "flows data",
    "methods training metrics",
    "distillation budgets robots widgets runs",
    "__main__",
)


def bounds(requirements):
    return dict(re.fullmatch(r"([a-zA-Z0-9_-]+)(.*)", r.strip()).groups() for r in requirements)


def declared(extra=""):
    """Return the bounds of what an extra brings, or the core; of an extra of extras all that they bring."""
    lines = [r.replace('"', "'") for r in metadata.requires("lfmkit")]
    wanted = [
        r.split(";")[0] for r in lines if (f"extra == '{extra}'" in r if extra else "extra ==" not in r)
    ]
    inner = [name for r in wanted if r.startswith("lfmkit[") for name in r.strip()[7:-1].split(",")]
    found = bounds(r for r in wanted if not r.startswith("lfmkit["))
    for name in inner:
        found |= declared(name)
    return found


def test_environment_yml_agrees_with_pyproject():
    entries = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    (by_pip,) = [entry["pip"] for entry in entries if isinstance(entry, dict)]
    entries = [e for e in entries + by_pip if isinstance(e, str) and e not in ("pip", "--editable .")]
    conda = {RENAMED.get(name, name): bound for name, bound in bounds(entries).items()}
    assert conda.pop("python") == metadata.metadata("lfmkit")["Requires-Python"]
    assert conda == declared() | declared("test")


def test_constraints_pin_what_is_needed_and_fit_the_bounds():
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    pins = dict(line.lower().replace("_", "-").split("==") for line in lines)
    for name, bound in (declared() | declared("test")).items():
        low = [int(part) for part in bound.removeprefix(">=").split(".")]
        pinned = [int(part) for part in re.findall(r"\d+", pins[name.lower()])][: len(low)]
        assert pinned >= low, name


def test_the_core_is_small():
    core = "torch torchdiffeq numpy matplotlib pillow safetensors filelock loky tqdm pot"
    assert set(declared()) == set(core.split())
    tools = "pytest pytest-xdist hypothesis nbval playwright axe-playwright-python ruff mypy hatchling"
    assert set(declared("test")) - set(declared("all")) == set(tools.split())


def test_every_import_is_declared():
    """No module imports a package that only happens to be there."""
    known = (
        {name.replace("-", "_") for extra in ("", "all") for name in declared(extra)}
        | {"PIL", "ot", "yaml", "sklearn"}
        | set(sys.stdlib_module_names)
        | {"lfmkit"}
    )
    for source in (ROOT / "lfmkit").rglob("*.py"):
        for node in ast.walk(ast.parse(source.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module]
            assert {name.split(".")[0] for name in names} <= known, source


def arrows():
    """Return which modules each file imports when it is itself imported; names count as their modules."""
    found = {}
    for source in (ROOT / "lfmkit").rglob("*.py"):
        parts = source.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = set()
        for node in ast.parse(source.read_text()).body:  # an import inside a function is made when it runs
            if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "lfmkit":
                found[name] |= {f"{node.module}.{alias.name}" for alias in node.names}
    for name, targets in found.items():
        found[name] = {t if t in found else t.rpartition(".")[0] for t in targets} - {name}
    return found


def rooms(graph):
    """Return the same between what lies directly in lfmkit/."""
    room = {name: ".".join(name.split(".")[:2]) for name in graph}
    inside = {room[name]: set() for name in graph}
    for name, targets in graph.items():
        inside[room[name]] |= {room[target] for target in targets} - {room[name]}
    return inside


def chain(graph):
    """Return the longest chain of imports; there is none if they run in a circle (graphlib.CycleError)."""
    longest = {}
    for name in TopologicalSorter(graph).static_order():
        longest[name] = [*max((longest[target] for target in graph[name]), key=len, default=[]), name]
    return max(longest.values(), key=len)


def test_imports_go_one_way():
    group = {f"lfmkit.{name}": k for k, names in enumerate(RULE) for name in names.split()}
    graph = {name: targets - {"lfmkit"} for name, targets in arrows().items() if name != "lfmkit"}
    between = rooms(graph)
    assert set(between) == set(group)
    upwards = {(name, t) for name, targets in between.items() for t in targets if group[t] > group[name]}
    assert not upwards
    grounds = {*RULE[0].split(), "cluster"}
    assert between["lfmkit.runs"] <= {f"lfmkit.{name}" for name in grounds}
    chain(graph)  # no circle between files
    assert len(chain(between)) <= 9, chain(between)


def test_files_hold_one_idea_each():
    """Neither two ideas in one file, nor one idea in splinters."""
    sizes = {source: len(source.read_text().splitlines()) for source in (ROOT / "lfmkit").rglob("*.py")}
    assert max(sizes.values()) <= 300, max(sizes, key=sizes.get)
    assert 90 <= statistics.median(sizes.values()) <= 200
    small = [str(source) for source, size in sizes.items() if size < 40]
    assert len(small) <= 8, small
    beside = [source for source in (ROOT / "lfmkit").iterdir() if source.suffix == ".py"]
    assert len(beside) <= 16


def test_a_wheel_brings_its_pictures_tables_and_checkpoints(tmp_path):
    """Built, unpacked elsewhere and used from there."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    assert not [p for p in (tmp_path / "site").iterdir() if not p.name.startswith("lfmkit")]
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r}); import lfmkit;"
        f"assert lfmkit.__file__.startswith({str(tmp_path)!r}), lfmkit.__file__;"
        "print(lfmkit.data.picture('tree').sample(3).shape);"
        "print(lfmkit.load(lfmkit.data.asset('checkpoints/rose')).schedule);"
        "print(lfmkit.data.asset('power.parquet').stat().st_size)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.startswith("torch.Size([3, 2])"), done.stderr
    assert int(done.stdout.split()[-1]) == (ROOT / "data" / "power.parquet").stat().st_size, done.stderr
