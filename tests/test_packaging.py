"""The project's own promises: the two lists of dependencies agree, a wheel is whole, imports go one way."""

import ast
import re
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
RENAMED = {"pytorch": "torch", "matplotlib-base": "matplotlib"}  # conda's names
LEVELS = [  # each module imports from lines above its own only
    [
        "schedules",
        "traces",
        "files",
        "progress",
        "exercises",
        "memory",
        "rows",
        "pixels",
        "simulators",
        "adam",
    ],
    ["paths", "solvers", "cluster", "tensorfiles", "playing"],
    ["couplings", "oracles", "nets", "plots", "remote", "pools"],
    ["blocks"],
    ["conditions", "data"],
    ["flows"],
    ["targets"],
    ["processes"],
    ["execution", "gradients", "heldout", "pushing"],
    ["arguments", "checkpoints", "training", "metrics", "methods"],
    ["runfolder", "workers", "budgets", "policies"],
    ["jobs", "rollouts"],
    ["fitting"],
    ["distillation", "widgets", "runs"],
    ["__main__"],
]


def bounds(requirements):
    return dict(re.fullmatch(r"([a-zA-Z0-9_-]+)(.*)", r.strip()).groups() for r in requirements)


def declared(extra=""):
    lines = [r.replace('"', "'") for r in metadata.requires("lfmkit")]
    wanted = [
        r.split(";")[0] for r in lines if (f"extra == '{extra}'" in r if extra else "extra ==" not in r)
    ]
    return bounds(wanted)


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


def test_every_import_is_declared():
    """No module imports a package that only happens to be there."""
    known = (
        {
            name.replace("-", "_")
            for extra in ("", "cluster", "tables", "images", "robots")
            for name in declared(extra)
        }
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


def test_imports_go_one_way():
    level = {name: i for i, names in enumerate(LEVELS) for name in names}
    modules = {
        p.stem for p in (ROOT / "lfmkit").iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()
    }
    assert modules - {"__init__"} == set(level)
    for source in (ROOT / "lfmkit").rglob("*.py"):
        name = source.relative_to(ROOT / "lfmkit").parts[0].removesuffix(".py")
        if name == "__init__":
            continue
        tree = ast.parse(source.read_text())
        for (
            node
        ) in tree.body:  # at the top level: what is imported inside a function is a deliberate exception
            if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "lfmkit":
                inner = node.module.split(".")[1:]
                for other in inner[:1] or [alias.name for alias in node.names]:
                    if other not in (name, "__version__"):
                        assert level[other] < level[name], f"{name} imports {other}"


def test_files_are_short():
    for source in (ROOT / "lfmkit").rglob("*.py"):
        assert len(source.read_text().splitlines()) <= 300, f"{source} holds two ideas"


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
