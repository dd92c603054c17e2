"""Shared fixtures: a three-component mixture with all its closed forms, and small untrained flows."""

import os
import signal
import subprocess

import nbformat
import pytest
import torch
from daskprocesses import end, start_scheduler, start_workers

from lfmkit import cluster, methods, nets, oracles


@pytest.fixture(autouse=True, scope="session")
def interruptible():
    """Undo what pytest-xdist does to its processes: they, and all they start, would not hear Ctrl-C."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def lean(tmp_path_factory):
    """Spare all processes that tests start the grammar which jsonschema has compiled at import, for seconds.

    It is for a format (IRI) that no notebook holds, and jsonschema goes without when it is not there.
    """
    folder = tmp_path_factory.mktemp("lean")
    (folder / "rfc3987_syntax.py").write_text("raise ImportError('left out')\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
        yield


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)  # small tensors: one thread is faster, and runs side by side stay quiet


@pytest.fixture
def mixture():
    skew = [[0.3, 0.1], [0.1, 0.2]]
    return oracles.GaussianMixture(
        [[-1.0, -0.5], [1.2, 0.3], [0.1, 1.4]],
        torch.tensor([skew, [[0.1, 0.0], [0.0, 0.4]], [[0.25, -0.05], [-0.05, 0.15]]]),
        [0.5, 0.3, 0.2],
    )


@pytest.fixture
def tiny_net():
    return nets.MLP(width=16, depth=2, fourier=4, scale=1.0)


@pytest.fixture
def tiny_flow(tiny_net):
    return methods.lfm(dim=2, schedule=(0.1, 0.4), net=tiny_net)


@pytest.fixture
def make_notebook(tmp_path):
    """Write a notebook: imports, a cell of parameters, further cells; return its path."""

    def make(name, parameters, cells):
        tagged = nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})
        notebook = nbformat.v4.new_notebook(cells=[tagged, *map(nbformat.v4.new_code_cell, cells)])
        notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
        path = tmp_path / f"{name}.ipynb"
        nbformat.write(notebook, path)
        return path

    return make


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of 64 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small tmpfs needs the right to mount")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture(scope="session")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dask")
    scheduler, address = start_scheduler(folder)
    workers = start_workers(address, folder, "--nthreads", "1", "--nworkers", "2")
    yield address
    end(workers)
    end(scheduler)


@pytest.fixture(scope="session")
def client(address):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster, "TIMEOUT", 60)
        client = cluster.connect(address)
    with client:
        client.wait_for_workers(2, timeout=60)
        yield client
