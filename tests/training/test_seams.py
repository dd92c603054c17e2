"""What users bring: paths, couplings, networks, blocks, objectives, optimisers, callbacks, samplers."""

import json
import math
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from torch import nn

import lfmkit
from lfmkit import Block, Compute, Flow, Solver, Training, couplings, methods, nets, paths
from lfmkit.solvers import Solution
from lfmkit.training import Objective, objectives, times
from lfmkit.utils.references import reference

NET = nets.MLP(width=16, depth=2, fourier=4, scale=1.0)
QUICK = {"steps": 30, "batch": 32, "progress": False}
ROOT = Path(__file__).parents[2]


def state(flow):
    return torch.cat([p.detach().flatten() for p in flow.parameters()])


def sine(t, gamma):
    s, c = torch.sin(math.pi / 2 * t), math.pi / 2 * torch.cos(math.pi / 2 * t)
    return paths.noiseless(1 - s, s, -c, c)


def loud_bridge(t, gamma):
    """The bridge, under another name."""
    return paths.bridge(t, gamma)


def ou_by_hand(x_l, gamma, generator):
    return math.exp(-gamma) * x_l + math.sqrt(-math.expm1(-2 * gamma)) * torch.randn(
        x_l.shape, generator=generator
    )


ou_by_hand.mixes = False


class Plain(nn.Module):
    """A network that takes nothing but x and t."""

    def __init__(self, dim):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(dim + 1, 16), nn.SiLU(), nn.Linear(16, dim))

    def forward(self, x, t):
        return self.inner(torch.cat([x, t.expand(len(x))[:, None]], 1))


class Absolute(Block):
    """A block with a loss of its own."""

    def loss(self, x, t, velocity, cond=None):
        return self.error(x, t, velocity, cond).abs().mean()


@dataclass(frozen=True)
class Noisy(Objective):
    """A loss that draws, over a second time that is drawn, too."""

    scale: float = 0.1
    sampler: object = field(default_factory=lambda: Jump())

    def second(self, t, generator):
        return t * torch.rand(len(t), generator=generator)

    def loss(self, block, batch, generator):
        assert (batch.r <= batch.t).all()
        noise = torch.randn(batch.x.shape, generator=generator)
        return (block(batch.x + self.scale * noise, batch.t) - batch.velocity).square().mean()


@dataclass(frozen=True)
class Jump:
    """One Euler step."""

    steps: int = 1

    def __call__(self, velocity, x, times):
        return Solution((x + (times[-1] - times[0]) * velocity(x, times[0]))[None], None, 1)


@pytest.fixture
def x(mixture):
    return mixture.sample(500, seed=1)


def own_flow(local=None):
    path, coupling, net = local or (sine, ou_by_hand, Plain)
    return methods.lfm(2, (0.1, 0.3), path, net, coupling)


@pytest.mark.parametrize("targets", ["pairs", "averaged"])
def test_a_path_of_a_notebook_trains_in_workers(targets, x):
    """Functions that no other process can import travel as a whole."""
    where = {"math": math, "torch": torch, "paths": paths, "__name__": "__main__"}
    exec(
        "def own(t, gamma):\n    return paths.noiseless(1 - t**2, t**2, -2 * t, 2 * t)\n\n"
        "def linear_again(t, gamma):\n    one = torch.ones_like(t)\n"
        "    return paths.noiseless(1 - t, t, -one, one)",
        where,
    )
    found = {}
    for name, path in (("own", where["own"]), ("again", where["linear_again"]), ("linear", "linear")):
        for workers in (1, 2):
            flow = methods.lfm(2, (0.1, 0.3), path, NET)
            lfmkit.fit(flow, x, pool="ou", targets=targets, workers=workers, **QUICK)
            found[name, workers] = state(flow)
        assert torch.equal(found[name, 1], found[name, 2])
    assert torch.equal(found["again", 1], found["linear", 1])
    assert not torch.equal(found["own", 1], found["linear", 1])


def test_couplings_and_networks_of_a_notebook_train_in_workers(x):
    found = []
    for workers in (1, 2):
        flow = own_flow()
        lfmkit.fit(flow, x, pool="ou", workers=workers, **QUICK)
        found.append(state(flow))
    assert torch.equal(*found)


def test_they_train_on_a_cluster(client, x):
    here, there = own_flow(), own_flow()
    lfmkit.fit(here, x, pool="ou", **QUICK)
    lfmkit.fit(there, x, pool="ou", compute=Compute(client=client), **QUICK)
    assert torch.equal(state(here), state(there))


def test_the_noise_of_a_path_is_its_sigma_and_not_its_name(x):
    flows = [methods.fm(2, path=path, net=NET) for path in ("bridge", loud_bridge)]
    for flow in flows:
        lfmkit.fit(flow, x, **QUICK)
    assert torch.equal(state(flows[0]), state(flows[1]))
    assert torch.equal(flows[0].chain[0].moments, flows[1].chain[0].moments)


def test_what_a_coupling_mixes_is_its_own_to_say(x):
    labels = torch.zeros(500, dtype=torch.long)

    def silent(x_l, gamma, generator):
        return ou_by_hand(x_l, gamma, generator)

    with pytest.raises(ValueError, match=r"would pair samples .* mixes = False"):
        methods.lfm(2, (0.1,), net=NET, coupling=silent, cond=2)
    lfmkit.fit(methods.lfm(2, (0.1,), net=NET, coupling=ou_by_hand, cond=2), x, cond=labels, **QUICK)
    mixes = {name: couplings.mixes(coupling) for name, coupling in couplings.COUPLINGS.items()}
    assert [name for name, mixed in mixes.items() if not mixed] == ["ou", "gaussian", "pairs"]


def test_a_flow_of_ones_own_parts_is_saved_and_loaded(x, tmp_path):
    flow = own_flow()
    lfmkit.fit(flow, x, out=tmp_path, **QUICK)
    stored = json.loads((tmp_path / "flow.json").read_text())
    assert stored["blocks"][0]["path"] == reference(sine)
    for trust in ([sine, ou_by_hand, Plain], {reference(f): f for f in (sine, ou_by_hand, Plain)}):
        again = lfmkit.load(tmp_path, trust=trust)
        assert again.chain[0].path is sine
        assert again.chain[0].coupling is ou_by_hand
        assert torch.equal(again.sample(5), flow.sample(5))
    for left_out, what in ((sine, "path"), (ou_by_hand, "coupling"), (Plain, "network recipe")):
        trust = [f for f in (sine, ou_by_hand, Plain) if f is not left_out]
        with pytest.raises(ValueError, match=f"the {what} '.*:{left_out.__name__}' is not one of lfmkit's"):
            lfmkit.load(tmp_path, trust=trust)
    again = own_flow()
    lfmkit.fit(again, x, out=tmp_path, **QUICK)  # a finished run is read without trusting anybody
    assert torch.equal(state(again), state(flow))


def test_a_module_is_imported_only_if_it_is_trusted(tmp_path, monkeypatch):
    (tmp_path / "theirs.py").write_text(
        "from lfmkit.paths import linear as borrowed\n\n"
        "def straight(t, gamma):\n    return borrowed(t, gamma)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    methods.fm(2, net=NET).save(tmp_path / "flow")
    file = tmp_path / "flow" / "flow.json"
    text = file.read_text()
    file.write_text(text.replace('"path": "linear"', '"path": "theirs:straight"'))
    with pytest.raises(ValueError, match="the path 'theirs:straight' is not one of lfmkit's"):
        lfmkit.load(tmp_path / "flow")
    assert "theirs" not in sys.modules
    for trust in (["theirs"], "theirs"):
        assert lfmkit.load(tmp_path / "flow", trust=trust).chain[0].path.__name__ == "straight"
    for hostile in ("theirs:borrowed", "theirs:nothing", "os:system", "theirs:straight.__globals__"):
        file.write_text(text.replace('"path": "linear"', f'"path": "{hostile}"'))
        with pytest.raises(ValueError, match=r"is not one of lfmkit's|is not there any more"):
            lfmkit.load(tmp_path / "flow", trust=["theirs"])


@pytest.mark.parametrize("part", ["path", "coupling", "net"])
def test_what_no_name_leads_back_to_is_refused_before_training(part, x, tmp_path):
    parts = {"path": sine, "coupling": ou_by_hand, "net": NET}
    original = parts[part]
    parts[part] = lambda *rest: original(*rest)
    flow = methods.lfm(2, (0.1,), **parts)
    calls = []
    with pytest.raises(ValueError, match="cannot be stored, because no name leads back"):
        lfmkit.fit(flow, x, out=tmp_path / "run", **{**QUICK, "progress": calls.append})
    assert not calls
    assert not (tmp_path / "run").exists()
    lfmkit.fit(flow, x, **QUICK)


@pytest.mark.parametrize("net", [Plain, lambda dim: Plain(dim), Plain(2)])
def test_any_module_with_the_documented_signature_is_a_network(net, x):
    flow = methods.lfm(2, (0.1,), net=net)
    before = state(flow)
    lfmkit.fit(flow, x, **QUICK)
    assert not torch.equal(state(flow), before)
    assert flow.log_prob(x[:5]).isfinite().all()


def test_networks_that_do_not_fit():
    with pytest.raises(TypeError, match=r"must build a torch\.nn\.Module, but .* built int"):
        methods.fm(2, net=lambda dim: dim)
    with pytest.raises(ValueError, match="Plain takes no condition"):
        methods.fm(2, net=lambda dim, cond=0: Plain(dim), cond=3)
    with pytest.raises(TypeError, match="MLPVelocity takes no second time"):
        methods.fm(2, net=NET).chain[0](torch.zeros(3, 2), torch.zeros(3), r=torch.zeros(3))


def test_a_block_of_ones_own_keeps_its_class(x, tmp_path):
    def new():
        torch.manual_seed(0)
        return Flow([Absolute(NET(2), math.inf, "linear", "gaussian", True)], 2, NET)

    flow, plain = new(), new()
    plain.blocks[0].__class__ = Block
    lfmkit.fit(flow, x, out=tmp_path, **QUICK)
    lfmkit.fit(plain, x, **QUICK)
    assert not torch.equal(state(flow), state(plain))
    with pytest.raises(ValueError, match=r"the block '.*:Absolute' is not one of lfmkit's"):
        lfmkit.load(tmp_path)
    assert isinstance(lfmkit.load(tmp_path, trust=[Absolute]).chain[0], Absolute)


class Longer(Block):
    def __init__(self, more):
        super().__init__(NET(2), math.inf, "linear", "gaussian")


def test_a_block_that_could_not_be_built_again_is_not_saved(tmp_path):
    with pytest.raises(ValueError, match="give its __init__ Block's arguments, net, gamma, path"):
        Flow([Longer(1)], 2, NET).save(tmp_path)


@pytest.mark.parametrize("pool", ["pushed", "ou"])
def test_an_objective_that_draws_goes_on_bit_for_bit(pool, x, tmp_path):
    """Its own draws, too: they depend on seed, block and step alone."""
    training = Training(objective=Noisy(0.3), save_every=0.0)
    call = {"steps": 40, "batch": 32, "pool": pool, "training": training}

    def stop(told):
        if told.block == 1 and told.step == 21:  # amid a chunk of batches
            raise KeyboardInterrupt

    whole, parts = own_flow(), own_flow()
    torch.manual_seed(1)
    lfmkit.fit(whole, x, progress=False, **call)
    with pytest.raises(KeyboardInterrupt):
        lfmkit.fit(parts, x, progress=stop, out=tmp_path, **call)
    torch.manual_seed(2)
    lfmkit.fit(parts, x, progress=False, out=tmp_path, **call)
    assert torch.equal(state(whole), state(parts))
    if pool == "ou":
        several = own_flow()
        lfmkit.fit(several, x, progress=False, workers=2, **call)
        assert torch.equal(state(whole), state(several))
    with pytest.raises(ValueError, match="holds a run with objective="):
        lfmkit.fit(own_flow(), x, progress=False, out=tmp_path, **{**call, "training": Training()})


def test_an_objective_brings_its_sampler_and_is_stored(x, tmp_path):
    flow = methods.fm(2, net=NET)
    lfmkit.fit(flow, x, out=tmp_path, training=Training(objective=Noisy(0.2)), **QUICK)
    assert flow.solver == Jump()
    flow.sample(4)
    assert flow.last_nfe == (1.0,)
    with pytest.raises(ValueError, match="gives no likelihood: pass solver=Solver"):
        flow.log_prob(x)
    assert flow.log_prob(x, Solver()).isfinite().all()
    for trust in ([], [Noisy], [Jump]):
        with pytest.raises(ValueError, match=r"'.*:(Noisy|Jump)' is not one of lfmkit's"):
            lfmkit.load(tmp_path, trust=trust)
    again = lfmkit.load(tmp_path, trust=[Noisy, Jump])
    assert (again.objective, again.solver) == (Noisy(0.2), Jump())
    assert torch.equal(again.sample(4), flow.sample(4))
    lfmkit.fit(again, x, **QUICK)  # trained for velocities now, and sampled as such
    assert (again.objective, again.solver) == (None, Solver())


def quick(t):
    return 1 + t


def test_times_and_weights_of_the_velocity_objective(x, tmp_path):
    objective = objectives.Velocity(times.LogitNormal(0.5, 0.7), weight=quick)
    flow = methods.fm(2, net=NET)
    lfmkit.fit(flow, x, out=tmp_path, training=Training(objective=objective), **QUICK)
    assert lfmkit.load(tmp_path, trust=[quick, times.LogitNormal]).objective == objective
    with pytest.raises(ValueError, match="both choose times"):
        Training(objective=objective, near_data=2.0)
    with pytest.raises(ValueError, match="spread their times evenly"):
        lfmkit.fit(
            methods.fm(2, net=NET), x, pool="ou", targets="averaged", training=Training(objective=objective)
        )
    u = torch.rand(200_000, generator=torch.Generator().manual_seed(0))
    logits = torch.special.logit(times.LogitNormal(0.5, 0.7)(u).double())
    assert float(logits.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(logits.std()) == pytest.approx(0.7, abs=0.01)


def test_near_data_is_a_power_of_the_objective(x):
    flows = [methods.fm(2, net=NET) for _ in range(2)]
    trainings = Training(near_data=2.0), Training(objective=objectives.Velocity(times.Power(2.0)))
    for flow, training in zip(flows, trainings, strict=True):
        lfmkit.fit(flow, x, training=training, **QUICK)
    assert torch.equal(state(flows[0]), state(flows[1]))


def by_matrices(weights, lr):
    """Muon for matrices, as its authors advise, if this torch has it."""
    return torch.optim.Muon([w for w in weights if w.ndim == 2], lr=lr)


OPTIMISERS = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
if hasattr(torch.optim, "Muon"):
    OPTIMISERS["muon"] = by_matrices


@pytest.mark.parametrize("name", OPTIMISERS)
def test_an_optimiser_of_ones_own_goes_on_bit_for_bit(name, x, tmp_path):
    training = Training(optimizer=OPTIMISERS[name], save_every=0.0)
    call = {"steps": 40, "batch": 32, "lr": 1e-3, "training": training}

    def stop(told):
        if told.step == 21:
            raise KeyboardInterrupt

    whole, parts = methods.fm(2, net=NET), methods.fm(2, net=NET)
    before = state(whole)
    lfmkit.fit(whole, x, progress=False, **call)
    assert not torch.equal(state(whole), before)
    with pytest.raises(KeyboardInterrupt):
        lfmkit.fit(parts, x, progress=stop, out=tmp_path, **call)
    lfmkit.fit(parts, x, progress=False, out=tmp_path, **call)
    assert torch.equal(state(whole), state(parts))
    with pytest.raises(ValueError, match="holds a run with optimizer="):
        lfmkit.fit(
            methods.fm(2, net=NET), x, progress=False, out=tmp_path, **{**call, "training": Training()}
        )


def test_what_is_not_an_optimiser(x):
    with pytest.raises(TypeError, match="must make an optimiser of weights and lr"):
        Training(optimizer="adam")
    with pytest.raises(TypeError, match=r"like those of torch\.optim, but made"):
        lfmkit.fit(methods.fm(2, net=NET), x, training=Training(optimizer=lambda weights, lr: lr), **QUICK)
    with pytest.raises(TypeError, match=r"must extend lfmkit\.training\.Objective"):
        Training(objective=lambda block, batch: 0)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_callback_ends_a_block(workers, x, tmp_path):
    """It keeps the weights that it has; the others go on, and the run is complete."""
    told = []

    def look(step):
        told.append(step)
        return step.block == 0 and step.step >= 300

    flow = methods.lfm(2, (0.2,), net=NET)
    call = {"steps": (20_000, 200), "batch": 8, "pool": "ou", "progress": look, "out": tmp_path}
    call["training"] = Training(patience=1.0)
    first, second = lfmkit.fit(flow, x, workers=workers, val=x[:20], **call).blocks
    assert first.stopped
    assert 300 <= first.steps < 20_000
    assert (second.stopped, second.steps) == (False, 200)
    assert {step.block for step in told} == {0, 1}
    assert 0 < max(step.lr for step in told) <= 6e-3
    assert any(math.isfinite(step.val) for step in told)
    assert torch.equal(state(lfmkit.load(tmp_path)), state(flow))


def test_a_callback_ends_a_block_on_a_cluster(client, x):
    flow = methods.fm(2, net=NET)
    call = {"steps": 100_000, "batch": 8, "compute": Compute(client=client)}
    (block,) = lfmkit.fit(flow, x, progress=lambda step: step.step >= 1000, **call).blocks
    assert block.stopped
    assert 1000 <= block.steps < 100_000


def test_misplaced_arguments_are_told_where_they_belong(x):
    flow = methods.fm(2, net=NET)
    with pytest.raises(TypeError, match=r"'clip' belongs to training=lfmkit\.Training\(clip=…\)"):
        lfmkit.fit(flow, x, clip=1.0)
    with pytest.raises(TypeError, match=r"'micro' belongs to compute=lfmkit\.Compute\(micro=…\)"):
        lfmkit.distillation.distill(flow, micro=3)
    with pytest.raises(TypeError, match="there is no 'step': did you mean 'steps'"):
        lfmkit.fit(flow, x, step=3)
    with pytest.raises(TypeError, match="there is no 'zebra'"):
        lfmkit.fit(flow, x, zebra=3)


def test_meanflow_needs_no_change_of_the_library(tmp_path):
    """The example of the docs, short: trained in a worker process, saved, loaded, drawn in one evaluation."""
    script = ROOT / "docs" / "meanflow.py"
    assert len(script.read_text().splitlines()) <= 60
    short = tmp_path / "short.py"
    short.write_text(script.read_text().replace("steps=2000", "steps=40"))
    done = subprocess.run([sys.executable, short], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = done.stdout.splitlines()[-1]
    assert found.startswith("(1.0,) sliced Wasserstein: ")  # 0.34 after all steps; FM in one Euler step 2.2
