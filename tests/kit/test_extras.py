"""Without extras: training and sampling work, and whatever is missing says which extra brings it."""

import json
import subprocess
import sys

import pytest

EXTRAS = (
    "pandas pyarrow pooch h5py jupyterlab ipywidgets anywidget traitlets papermill nbformat nbclient "
    "nbconvert psutil yaml sklearn diffusers datasets accelerate torch_fidelity metaworld mujoco gymnasium "
    "dask distributed"
)
BARE = f"import sys\nfor name in {EXTRAS!r}.split():\n    sys.modules[name] = None\nimport lfmkit\n"


def without_extras(code):
    """Run code where none of the extras' packages can be imported; return the last line of what it says."""
    done = subprocess.run([sys.executable, "-c", BARE + code], capture_output=True, text=True)
    return (done.stdout + done.stderr).strip().splitlines()[-1]


def test_the_core_trains_scores_samples_and_draws(tmp_path):
    code = f"""
from lfmkit import data, methods, metrics, plots, schedules
rose = data.picture("rose")
flow = methods.lfm(2, schedules.log_snr(2), net=lfmkit.nets.MLP(16, 2, 4))
quick = {{"steps": 5, "batch": 32, "progress": False}}
lfmkit.fit(flow, rose.sample(500), pool="ou", targets="averaged", workers=2, **quick)
flow.save({str(tmp_path)!r})
again = lfmkit.load({str(tmp_path)!r})
metrics.nll(again, rose.sample(20, seed=1))
plots.density({{"flow": again.sample(50)}})
lfmkit.fit(methods.ot_cfm(2), rose.sample(500), **quick)
lfmkit.report(done=1)
"""
    assert without_extras(code) == "done 1"


DOORS = [
    ("lfmkit.widgets", "traitlets", "notebooks"),
    ("lfmkit.data.table('power')", "pyarrow", "tables"),
    ("lfmkit.data.table('mine.csv')", "pandas", "tables"),
    ("lfmkit.data.images('digits')", "sklearn", "images"),
    ("lfmkit.methods.fm(64, net=lfmkit.nets.UNet((1, 8, 8), (16,)))", "diffusers", "images"),
    ("lfmkit.cluster.connect('tcp://127.0.0.1:1')", "distributed", "cluster"),
    ("lfmkit.Compute(client=1)", "distributed", "cluster"),
    ("main(['run', 'x.ipynb'])", "yaml", "runs"),
    ("main(['results', '.'])", "pandas", "runs"),
    ("main(['data', 'power'])", "pyarrow", "tables"),
    ("lfmkit.simulators.MetaWorld('reach-v3')()", "metaworld", "robots"),
    ("lfmkit.data.demos('reach-v3')", "metaworld", "robots"),
]


@pytest.fixture(scope="module")
def said():
    """Return what each door says, all tried in one process."""
    code = f"""
import contextlib, io, json
from lfmkit.__main__ import main
said = {{}}
for door in {[door for door, _, _ in DOORS]!r}:
    stream = io.StringIO()
    with contextlib.redirect_stderr(stream):
        try:
            exec(door)
        except ImportError as error:
            print(error, file=stream)
    said[door] = stream.getvalue().strip()
print(json.dumps(said))
"""
    return json.loads(without_extras(code))


@pytest.mark.parametrize(("door", "package", "extra"), DOORS)
def test_what_is_missing_says_its_extra(door, package, extra, said):
    assert package in said[door]
    assert f"pip install 'lfmkit[{extra}]'" in said[door]
