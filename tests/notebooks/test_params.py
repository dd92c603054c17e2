"""Every parameter file and every ready sweep fits the notebook it is for."""

from pathlib import Path

import pytest

from lfmkit.runs.parameters import read_yaml
from lfmkit.runs.plans import plan_run
from lfmkit.runs.sweepfile import read_sweep

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
FOR = {
    "tabular": "06_tabular.ipynb",
    "cifar10": "07_cifar10.ipynb",
    "flowers": "08_flowers.ipynb",
    "robots": "09_robots.ipynb",
}  # the first word of a parameter file's name


@pytest.mark.parametrize("file", sorted((NOTEBOOKS / "params").glob("*.yaml")), ids=lambda file: file.stem)
def test_parameters_fit(file, tmp_path):
    given = read_yaml(file)
    notebook = NOTEBOOKS / FOR[file.stem.split("_")[0]]
    plan = plan_run(notebook, given, tmp_path)
    assert len(given) > 3
    assert {name: plan.parameters[name] for name in given} == given


@pytest.mark.parametrize("file", sorted((NOTEBOOKS / "sweeps").glob("*.yaml")), ids=lambda file: file.stem)
def test_sweeps_fit(file, tmp_path):
    assert len(read_sweep(file, tmp_path).plans) > 1


@pytest.mark.parametrize("name", FOR)
def test_the_smoke_parameters_are_small(name):
    plan = plan_run(NOTEBOOKS / FOR[name], read_yaml(NOTEBOOKS / "params" / f"{name}_smoke.yaml"))
    assert plan.parameters["steps"] < 0.1 * plan.source.defaults["steps"]
