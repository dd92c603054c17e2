"""Train small flows of every kind and print hashes of them: the same before and after a change of the code.

Numbers repeat bit for bit on one machine only, so no hash is stored: run this at both commits and compare,

    OMP_NUM_THREADS=1 python benchmarks/golden.py > after.txt

(with PYTHONPATH set to the other commit's tree for the other run).
"""

import contextlib
import hashlib
import inspect
import tempfile
from pathlib import Path

import numpy as np
import torch

import lfmkit
from lfmkit import data, distillation, methods, nets, policies, schedules

NET = nets.MLP(width=32, depth=2, fourier=16)
STEPS = {"steps": 60, "batch": 128, "progress": False}
OLD = "clip" in inspect.signature(lfmkit.fit).parameters  # before Training and Compute


def more(**fields):
    """Return settings beyond those that `fit` takes itself, as this commit takes them."""
    if OLD:
        return fields
    from lfmkit.training import Training

    return {"training": Training(**fields)}


def digest(*tensors):
    found = hashlib.sha256()
    for tensor in tensors:
        found.update(tensor.detach().contiguous().numpy().tobytes())
    return found.hexdigest()[:16]


def of(flow, **given):
    """Return hashes of a flow's weights, some samples, and their log-likelihood."""
    x = flow.sample(50, seed=1, **given)
    return " ".join([digest(*flow.state_dict().values()), digest(x), digest(flow.log_prob(x, **given))])


def rose():
    x = data.picture("rose").sample(4_000, seed=0)
    for workers in (1, 2):
        for pool, targets in (("pushed", "pairs"), ("ou", "pairs"), ("ou", "averaged")):
            if pool == "pushed" and workers == 2:
                continue
            flow = methods.lfm(2, schedules.log_snr(2), net=NET)
            lfmkit.fit(flow, x, pool=pool, targets=targets, workers=workers, **STEPS)
            yield f"rose {pool} {targets} workers={workers}", of(flow)


def every_method():
    x = data.picture("tree").sample(1_000, seed=0)
    for name in ("fm", "interflow", "vp", "ot_cfm", "sb_cfm"):
        flow = getattr(methods, name)(2, net=NET)
        lfmkit.fit(flow, x, **STEPS)
        yield name, of(flow)


def power():
    table = data.table("power")
    flow = methods.lfm(table.dim, (0.05, 0.2), "great_circle", net=nets.MLP(32, 2, fourier=12, columns=True))
    settings = more(clip=1.0, near_data=2.0)
    lfmkit.fit(flow, table.train[:5_000], val=table.val[:2_000], pool="ou", lr=2e-3, **STEPS, **settings)
    yield "power, held-out rows", of(flow)


def digits():
    images = data.images("digits")
    flow = methods.lfm(64, (0.1,), net=NET, cond=10)
    labels = images.train_labels
    lfmkit.fit(flow, images.train, cond=labels, **STEPS, **more(flip=True, drop=0.2))
    yield "digits with classes, pushed", of(flow, cond=torch.arange(50) % 10, guidance=1.5)


def distilled():
    rings = data.picture("checkerboard").sample(2_000, seed=0)
    teacher = methods.lfm(2, (0.1,), net=NET)
    lfmkit.fit(teacher, rings, **STEPS)
    student, _ = distillation.distill(teacher, blocks=1, n=500, **STEPS)
    yield "distilled", digest(*student.state_dict().values()) + " " + digest(student.sample(50))
    teacher = methods.fm(2, net=NET)
    lfmkit.fit(teacher, rings, **STEPS)
    yield "reflowed", of(distillation.reflow(teacher, n=300, **STEPS))


def policy():
    episodes = [(np.sin(np.arange(20)[:, None] + k), np.cos(np.arange(20)[:, None] + k)) for k in range(5)]
    framing, rows, conditions = policies.framed(data.demos(episodes), observe=2, predict=4)
    flow = methods.fm(framing.dim, net=nets.FiLM(16, 2), cond=framing.cond)
    lfmkit.fit(flow, rows, cond=conditions, **STEPS, **more(drop=0.0))
    noise = [torch.Generator().manual_seed(k) for k in range(3)]
    yield "policy", digest(policies.Policy(flow, framing).act(torch.zeros(3, 2, 1), noise))


def shipped():
    for name in ("rose", "tree", "power"):
        yield f"shipped {name}", of(lfmkit.load(data.asset(f"checkpoints/{name}")))


def resumed():
    x = data.picture("rose").sample(1_000, seed=0)

    def stop(*told):
        raise KeyboardInterrupt

    with tempfile.TemporaryDirectory() as folder:
        flow = methods.lfm(2, (0.1,), net=NET)
        asked = {**STEPS, "out": Path(folder) / "run"}
        with contextlib.suppress(KeyboardInterrupt):
            lfmkit.fit(flow, x, **{**asked, "progress": stop}, **more(save_every=0.0))
        lfmkit.fit(flow, x, **asked, **more(save_every=0.0))
        yield "resumed", of(flow)
        yield "loaded", of(lfmkit.load(Path(folder) / "run"))


def main():
    torch.set_num_threads(1)
    for part in (rose, every_method, power, digits, distilled, policy, shipped, resumed):
        for name, line in part():
            print(f"{name:32} {line}", flush=True)


if __name__ == "__main__":
    main()
