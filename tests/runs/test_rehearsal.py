"""`lfmkit run … --dry-run`."""

import json

import pytest

from lfmkit.__main__ import main

PARAMETERS = 'steps = 10\nout = "somewhere"'
CELLS = [
    "import os\nassert os.path.isdir(out)",
    'print(f"{steps} steps")\n3 * steps',
    'raise SystemError("the whole of it")',
]


@pytest.fixture
def planned(make_notebook):
    path = make_notebook("walk", PARAMETERS, CELLS)
    notebook = json.loads(path.read_text())
    notebook["cells"][2]["metadata"]["tags"] = ["plan"]
    path.write_text(json.dumps(notebook))
    return path


def test_it_ends_with_the_plan(planned, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    before = planned.read_text()
    assert main(["run", str(planned), "-p", "steps", "20", "--dry-run"]) == 0
    assert capsys.readouterr().out == "20 steps\n60\n"
    assert planned.read_text() == before
    assert not (tmp_path / "runs").exists()


def test_what_goes_wrong_is_said(planned, make_notebook, capsys):
    assert main(["run", str(planned), "-p", "steps", "'many'", "--dry-run"]) == 2
    assert "steps" in capsys.readouterr().err
    planned.write_text(planned.read_text().replace("import os", "1 / 0"))
    assert main(["run", str(planned), "--dry-run"]) == 2
    assert "ZeroDivisionError: division by zero" in capsys.readouterr().err
    plain = make_notebook("plain", PARAMETERS, CELLS)
    assert main(["run", str(plain), "--dry-run"]) == 2
    assert "the notebook plain has no cell tagged `plan`" in capsys.readouterr().err
