import pytest
import torch
from asked import asked

import lfmkit
from lfmkit import methods


def call(flow, **how):
    return lfmkit.fit(flow, torch.randn(40, 2), steps=2, batch=8, pool="ou", progress=False, **asked(**how))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"device": "cuda"}, r"device='cuda' cannot be used .*choose device='cpu'"),
        ({"device": ["cpu", "cuda:9"], "workers": 2}, "device='cuda:9' cannot be used"),
        ({"device": "gpu"}, "device='gpu' cannot be used"),
        ({"device": []}, "names no device"),
        ({"device": ["cpu", "cpu"]}, "several devices are for workers"),
        ({"threads": 0}, "threads must be a whole number >= 1, got 0"),
        ({"threads": 2, "workers": 2}, "workers have one thread each"),
        ({"micro": 0}, "micro must be a whole number >= 1, got 0"),
        ({"micro": 2.0}, "micro must be a whole number >= 1, got 2.0"),
    ],
)
@pytest.mark.skipif(torch.cuda.device_count() > 0, reason="there is a CUDA device")
def test_what_this_machine_cannot_do(how, message, tiny_flow, tmp_path):
    with pytest.raises(ValueError, match=message):
        call(tiny_flow, out=tmp_path / "run", **how)
    assert not (tmp_path / "run").exists()


def test_what_is_no_accelerator(tiny_flow):
    with pytest.raises(TypeError, match=r"must be an accelerate\.Accelerator, got str"):
        call(tiny_flow, accelerator="cuda")


def test_threads_are_set_and_given_back(tiny_flow):
    before, seen = torch.get_num_threads(), set()

    def look(*_):
        seen.add(torch.get_num_threads())

    lfmkit.fit(
        tiny_flow,
        torch.randn(40, 2),
        steps=2,
        batch=8,
        compute=lfmkit.Compute(threads=before + 1),
        progress=look,
    )
    assert seen == {before + 1}
    assert torch.get_num_threads() == before


def test_blocks_take_turns_on_the_devices(tiny_net):
    """Two names of the same processor: what comes out is what one gives."""
    flows = [methods.lfm(2, (0.1, 0.4), net=tiny_net) for _ in range(2)]
    x = torch.randn(40, 2)
    for flow, how in zip(flows, ({}, {"device": ["cpu", "cpu:0"], "workers": 2}), strict=True):
        lfmkit.fit(flow, x, steps=20, batch=8, pool="ou", progress=False, **how)
    ours, theirs = (flow.state_dict() for flow in flows)
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
