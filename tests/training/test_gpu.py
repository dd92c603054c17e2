"""What only a CUDA device can show; skipped where there is none."""

import pytest
import torch
from asked import asked
from drawn import pairs
from torch import Generator

import lfmkit
from lfmkit import Flow, Solver, budgets, data, methods, metrics, nets, pixels
from lfmkit.solvers import joined
from lfmkit.training.gradients import Gradients
from lfmkit.training.pushing import pushed
from lfmkit.training.settings import Execution

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")

MLP = nets.MLP(width=64, depth=3, fourier=16, scale=1.0)
SHAPE = (3, 16, 16)
UNET = nets.UNet(SHAPE, widths=(32, 64), layers=1, attention=(8,))
DIM = 3 * 16 * 16


def points(n=4000):
    return data.picture("two_gaussians").sample(n, seed=0)


def images(n=500):
    """Return squares of one colour on another: something a UNet learns in a few steps."""
    generator = Generator().manual_seed(0)
    colours = torch.randint(256, (n, 2, 3, 1, 1), generator=generator, dtype=torch.uint8)
    x = colours[:, 0].expand(-1, -1, 16, 16).clone()
    x[:, :, 4:12, 4:12] = colours[:, 1]
    return x


def busy(flow):
    """Give every network an output that is not zero, and return the flow."""
    generator = Generator().manual_seed(1)
    with torch.no_grad():
        for weight in flow.parameters():
            if not weight.any():
                weight.copy_(0.1 * torch.randn(weight.shape, generator=generator))
    return flow


@pytest.mark.parametrize(("pool", "targets"), [("pushed", "pairs"), ("ou", "pairs"), ("ou", "averaged")])
def test_flows_learn_the_same_there(pool, targets):
    """Other random numbers, so not the same weights; the same densities but for that."""
    x, found = points(), []
    for device in ("cpu", "cuda"):
        flow = methods.lfm(2, (0.2, 0.4), net=MLP)
        how = {"pool": pool, "targets": targets, "device": device, "progress": False}
        log = lfmkit.fit(flow, x, steps=400, batch=512, training=lfmkit.Training(clip=1.0), **how)
        assert next(flow.parameters()).device.type == device
        assert all(block.seconds > 0 for block in log.blocks)
        found.append(float(metrics.nll(flow, points(500))))
    assert found[1] == pytest.approx(found[0], abs=0.05)


def test_solving_is_the_same_there():
    flow = busy(methods.lfm(2, (0.2, 0.4), net=MLP))
    flow.solver = Solver(rtol=1e-5, atol=1e-5)
    x = points(300)
    z, density = flow.encode(x), flow.log_prob(x)
    there = flow.to("cuda")
    assert (there.encode(x).cpu() - z).abs().max() < 1e-3
    assert (there.log_prob(x).cpu() - density).abs().max() < 1e-3
    assert (there.log_prob(x.cuda(), probes=2).cpu() - there.log_prob(x, probes=2).cpu()).abs().max() < 1e-4
    assert (there.decode(there.encode(x)).cpu() - x).abs().max() < 1e-3
    assert there.trajectory(there.noise(5)).x.device.type == "cuda"


def test_a_run_goes_on_after_a_stop(tmp_path):
    def stop(told):
        if told.block == 1 and told.step > 100:
            raise KeyboardInterrupt

    x, flows = points(), [methods.lfm(2, (0.3,), net=MLP) for _ in range(2)]
    how = {"steps": 200, "batch": 256, "device": "cuda", "training": lfmkit.Training(save_every=0.0)}
    with pytest.raises(KeyboardInterrupt):
        lfmkit.fit(flows[0], x, out=tmp_path / "stopped", progress=stop, **how)
    lfmkit.fit(flows[0], x, out=tmp_path / "stopped", progress=False, **how)
    lfmkit.fit(flows[1], x, out=tmp_path / "whole", progress=False, **how)
    for ours, theirs in zip(*(flow.parameters() for flow in flows), strict=True):
        assert (ours - theirs).abs().max() < 1e-4


def test_what_was_saved_there_opens_here(tmp_path):
    flow = busy(methods.lfm(DIM, (0.2,), net=UNET)).to("cuda")
    flow.save(tmp_path)
    other = lfmkit.load(tmp_path)
    assert isinstance(other, Flow)
    assert next(other.parameters()).device.type == "cpu"
    assert all(torch.equal(a.cpu(), b) for a, b in zip(flow.parameters(), other.parameters(), strict=True))


@pytest.mark.filterwarnings("ignore::UserWarning")  # dynamo tells how it sees diffusers' code
@pytest.mark.parametrize(("precision", "compiled"), [("bf16", False), ("fp16", False), ("bf16", True)])
def test_images_in_half_precision_and_compiled(precision, compiled):
    losses = []
    for how in ({"clip": 1.0}, {"clip": 1.0, "precision": precision, "compiled": compiled}):
        flow = methods.lfm(DIM, (0.2,), net=UNET)
        log = lfmkit.fit(
            flow, images(), steps=100, batch=32, lr=1e-3, pool="ou", device="cuda", progress=False,
            **asked(**how),
        )  # fmt: skip
        losses.append([sum(loss for _, loss in block.loss[-20:]) / 20 for block in log.blocks])
    assert losses[1] == pytest.approx(losses[0], rel=0.1)
    assert flow.sample(8, solver=Solver("euler", steps=4)).isfinite().all()


def test_pushing_images_into_a_file(tmp_path):
    flow = busy(methods.lfm(DIM, (0.2,), net=UNET))
    pixels_ = images(20)
    there = flow.to("cuda")
    rows = pushed(there, pixels_, 0, file=tmp_path / "pool.bin")
    assert (rows.dtype, rows.device.type) == (torch.float16, "cpu")
    x = there.push(pixels.as_rows(pixels_, Generator().manual_seed(0)), 0).cpu()
    assert (rows.flatten(1).float() - x).abs().mean() < 0.02  # dequantised otherwise
    lfmkit.fit(
        there, pixels_, steps=4, batch=8, pool="pushed", device="cuda", progress=False, out=tmp_path / "run"
    )


def test_two_workers_share_the_device():
    x, flows = points(), [methods.lfm(2, (0.3,), net=MLP) for _ in range(2)]
    for flow, how in zip(flows, ({"device": "cuda"}, {"device": ["cuda:0"] * 2, "workers": 2}), strict=True):
        lfmkit.fit(flow, x, steps=100, batch=256, pool="ou", progress=False, **how)
    for ours, theirs in zip(*(flow.cpu().parameters() for flow in flows), strict=True):
        assert (ours - theirs).abs().max() < 1e-4


@pytest.fixture
def little_memory():
    """Leave this process two hundred megabytes more than it has."""
    torch.cuda.empty_cache()
    whole = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 200e6) / whole)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


def test_batches_are_cut_when_memory_runs_out(little_memory):
    block = busy(methods.fm(DIM, net=UNET)).chain[0].to("cuda")
    batch = pairs(images().cuda(), 0, 1, "linear", "gaussian").draw(2048, Generator("cuda").manual_seed(3))
    gradients = Gradients(block)
    loss = gradients(batch)
    assert 1 <= gradients.micro < 2048
    ours = torch.cat([weight.grad.flatten() for weight in gradients.weights])
    small = Gradients(block, how=Execution(micro=16))
    assert float(loss) == pytest.approx(float(small(batch)), rel=1e-3)
    theirs = torch.cat([weight.grad.flatten() for weight in small.weights])
    assert (ours - theirs).norm() < 0.01 * theirs.norm()


def test_solving_is_cut_when_memory_runs_out(little_memory, monkeypatch):
    flow, solver, cuts = busy(methods.fm(DIM, net=UNET)).to("cuda"), Solver("euler", steps=2), []
    wanted = flow.sample(4096, solver=solver)
    monkeypatch.setattr("lfmkit.flows.integrate.NUMBERS_PER_SOLVE", 2**23)
    monkeypatch.setattr("lfmkit.flows.integrate.joined", lambda halves: cuts.append(1) or joined(halves))
    ours = flow.sample(4096, solver=solver)
    assert cuts
    assert (ours - wanted).abs().mean() < 2e-3  # convolutions round as TF32 does, by the shape of the batch


def test_bits_per_dimension():
    flow = busy(methods.fm(DIM, net=UNET)).to("cuda")
    found = metrics.bits_per_dim(flow, images(10), solver=Solver("rk4", steps=8))
    again = metrics.bits_per_dim(flow.cpu(), images(10), solver=Solver("rk4", steps=8))
    assert float(found) == pytest.approx(float(again), abs=0.01)


def test_a_budget_times_whole_batches():
    found = budgets.budget(methods.fm(DIM, net=UNET), 1000, 64, "cuda", "bf16")
    names = [record.measure for record in found]
    assert "hours at the speed of 64 samples here" in names
    peak = next(float(record) for record in found if record.measure.startswith("memory of these steps"))
    assert 0.01 < peak < 10


def test_with_an_accelerator(tmp_path):
    from accelerate import Accelerator

    flow = methods.lfm(2, (0.3,), net=MLP)
    how = {"steps": 20, "batch": 64, "progress": False, "out": tmp_path / "run"}
    lfmkit.fit(flow, points(), compute=lfmkit.Compute(accelerator=Accelerator()), **how)
    assert next(flow.parameters()).device.type == "cuda"
