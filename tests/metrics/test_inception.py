"""The Inception features: their weights checked, read without running code; a stand-in for torch-fidelity."""

import builtins
import hashlib
import io
import pickle
import sys
import types

import pooch
import pytest
import torch

from lfmkit import metrics
from lfmkit.data import download
from lfmkit.metrics import inception

IMAGES = torch.randint(0, 256, (5, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


class Extractor(torch.nn.Module):
    """Takes the arguments of torch-fidelity, and like it reads any pickle."""

    def __init__(self, name, features_list, feature_extractor_weights_path=None):
        super().__init__()
        assert features_list == ["2048"]
        self.weights = torch.nn.Linear(48, 2048)
        self.weights.load_state_dict(torch.load(feature_extractor_weights_path, weights_only=False))

    def forward(self, x):
        assert x.dtype == torch.uint8
        return (self.weights(x.flatten(1).float()),)


@pytest.fixture
def fidelity(monkeypatch):
    module = types.ModuleType("torch_fidelity")
    module.FeatureExtractorInceptionV3 = Extractor
    monkeypatch.setitem(sys.modules, "torch_fidelity", module)
    monkeypatch.delenv(download.VARIABLE, raising=False)


@pytest.fixture
def weights():
    return torch.nn.Linear(48, 2048).state_dict()


@pytest.fixture
def file(tmp_path, monkeypatch, weights):
    path = tmp_path / "given" / inception.NAMES[1]
    path.parent.mkdir()
    torch.save(weights, path)
    expect(monkeypatch, path)
    return path


def expect(monkeypatch, path):
    monkeypatch.setattr(inception, "SHA256", hashlib.sha256(path.read_bytes()).hexdigest())


def test_features_in_batches(fidelity, file, weights):
    expected = IMAGES.flatten(1).float() @ weights["weight"].T + weights["bias"]
    features = metrics.Inception(file, batch=2)(IMAGES)
    assert torch.allclose(features, expected, rtol=1e-4, atol=1e-2)
    assert not features.requires_grad


def test_weights_under_the_folder_of_data(fidelity, file, monkeypatch):
    monkeypatch.setenv(download.VARIABLE, str(file.parent))
    assert metrics.Inception()(IMAGES).shape == (5, 2048)


def test_weights_from_the_network(fidelity, file, monkeypatch, capsys):
    asked = []

    def retrieve(url, known_hash, fname, path, downloader):
        asked.append((url, known_hash, fname))
        return str(file)

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    metrics.Inception()
    assert asked == [(inception.URL, f"sha256:{inception.SHA256}", inception.NAMES[0])]
    assert capsys.readouterr().err.startswith(f"downloading {inception.URL} (96 MB)")


def test_a_download_that_fails_says_what_to_do(fidelity, monkeypatch):
    def retrieve(*_, **__):
        raise OSError("no route\nto anywhere")

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    with pytest.raises(OSError, match=r"(?s)\Acannot download .*: no route\. .* set LFMKIT_DATA[^\n]*\Z"):
        metrics.Inception()


def test_other_weights_are_refused(fidelity, file):
    file.write_bytes(file.read_bytes() + b" ")
    with pytest.raises(ValueError, match=f"has the SHA-256 .*, not {inception.SHA256}"):
        metrics.Inception(file)
    with pytest.raises(FileNotFoundError, match=f"there is no .*nowhere.* download {inception.URL}"):
        metrics.Inception(file.parent / "nowhere")


class Boom:
    def __reduce__(self):
        return (exec, ("import builtins; builtins.boom = True",))


def test_code_among_the_weights_does_not_run(fidelity, file, monkeypatch):
    torch.save({"weight": Boom()}, file)
    expect(monkeypatch, file)
    with pytest.raises(pickle.UnpicklingError):
        metrics.Inception(file)
    assert not hasattr(builtins, "boom")
    torch.load(io.BytesIO(file.read_bytes()), weights_only=False)  # there was something to run
    assert builtins.boom
    del builtins.boom


@pytest.mark.parametrize("error", [ImportError("no torchvision"), RuntimeError("operator x\ndoes not exist")])
def test_without_torch_fidelity(monkeypatch, error):
    class Finder:
        def find_spec(self, name, *_):
            if name == "torch_fidelity":
                raise error

    monkeypatch.delitem(sys.modules, "torch_fidelity", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    with pytest.raises(ImportError, match=r"\A[^\n]*lfmkit\[images\]' \((no torchvision|operator x)\)\Z"):
        metrics.Inception()


def test_wrong_images(fidelity, file):
    features = metrics.Inception(file)
    with pytest.raises(ValueError, match=r"3 channels, got 1: images.expand"):
        features(IMAGES[:, :1])
    with pytest.raises(TypeError, match="bytes"):
        features(IMAGES.float())


def test_the_real_network_with_random_weights(file, monkeypatch):
    """Its published weights are 96 MB; random weights show how files are read and images are processed."""
    try:
        import torch_fidelity.feature_extractor_inceptionv3 as real
    except (ImportError, RuntimeError, OSError) as error:
        pytest.skip(f"torch-fidelity cannot be imported here: {error}")
    with monkeypatch.context() as patch, torch.random.fork_rng():
        torch.manual_seed(0)
        patch.setattr(real, "load_state_dict_from_url", lambda *_, **__: None)
        patch.setattr(real.FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        network = real.FeatureExtractorInceptionV3("random", ["2048"])
    torch.save(network.state_dict(), file)
    expect(monkeypatch, file)
    assert torch.allclose(metrics.Inception(file, batch=1)(IMAGES[:2]), network(IMAGES[:2])[0], atol=1e-5)
