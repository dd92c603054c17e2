"""Robot policies at equal parameters and equal compute: success of LFM and of one global flow, several seeds.

``make bench-robots`` (two cores: about an hour for all tasks and three seeds), or for less
``python benchmarks/robots.py --tasks push-v3 --seeds 1``. Every training has one core. LFM's two
blocks have together the parameters of the global flow's network and take as many steps each: as many
products of a parameter with a sample; the core-seconds it really took are printed. Success is counted on
episodes that no demonstration began with, the same for all. What is finished is appended to
--out/results.jsonl and not repeated; a training that is interrupted goes on.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

import torch
from loky import ProcessPoolExecutor, as_completed

import lfmkit
from lfmkit import Flow, Solver, data, distillation, methods, nets, simulators
from lfmkit.robots import policies, rollouts

TASKS = (
    "reach-v3", "drawer-open-v3", "button-press-v3", "push-v3", "pick-place-v3", "door-open-v3",
    "peg-insert-side-v3",
)  # fmt: skip
METHODS = ("FM", "LFM", "FM distilled to 1", "LFM distilled to 1", "LFM distilled to 2", "rectified flow")
SCHEDULE = (0.3,)
OBSERVE, PREDICT, EXECUTE = 1, 8, 4
WIDE, NARROW = nets.FiLM(width=192, depth=3), nets.FiLM(width=134, depth=3)
SETTINGS = {"batch": 256, "lr": 1e-3, "training": lfmkit.Training(drop=0.0), "progress": False}


def task_of(name: str) -> simulators.Task:
    """Return a task by its name: one of Meta-World's, or the detour."""
    return simulators.Detour() if name == "detour" else simulators.MetaWorld(name)


def train(name: str, framing, rows, conditions, steps: int, seed: int, out: Path) -> tuple[Flow, float]:
    """Return a trained flow, and the core-seconds of its training: of a teacher's, where it has one."""
    settings = {**SETTINGS, "steps": steps, "cond": conditions, "seed": seed}
    if name.startswith(("FM", "rectified flow")):
        flow = methods.fm(framing.dim, net=WIDE, seed=seed, cond=framing.cond)
    else:
        flow = methods.lfm(framing.dim, SCHEDULE, net=NARROW, seed=seed, cond=framing.cond)
    teacher = "lfm" if name.startswith("LFM") else "fm"
    seconds = lfmkit.fit(flow, rows, out=out.with_name(f"{out.name}-{teacher}"), **settings).core_seconds
    if name in ("FM", "LFM"):
        return flow, seconds
    again = torch.randint(len(rows), (50_000,), generator=torch.Generator().manual_seed(seed))
    settings["cond"] = conditions[again]
    if name == "rectified flow":
        flow = distillation.reflow(flow, len(again), **settings)
    else:
        flow, _ = distillation.distill(flow, int(name[-1]), n=len(again), **settings)
    return flow, seconds


def run(task: str, name: str, seed: int, demos: int, steps: int, nfes: list[int], n: int, folder: Path):
    """Train one policy and let it act, with an adaptive solver and with fixed numbers of evaluations."""
    torch.set_num_threads(1)
    shown = data.demos(task if task != "detour" else task_of(task), demos)
    framing, rows, conditions = policies.framed(shown, OBSERVE, PREDICT)
    flow, seconds = train(
        name, framing, rows, conditions, steps, seed, folder / f"{task}-{demos}-{steps}-{seed}"
    )
    found = []
    for nfe in [int(name[-1])] if "distilled" in name else [0, *nfes]:  # students take the steps they learned
        each = nfe // len(flow.blocks)
        if nfe and each * len(flow.blocks) != nfe:
            continue
        solver = Solver("euler", steps=each) if nfe else Solver("dopri5", 1e-4, 1e-4)
        policy = policies.Policy(flow, framing, EXECUTE, solver)
        rate = rollouts.rollouts(policy, task_of(task), n).success
        found.append(
            {
                "task": task, "method": name, "seed": seed, "demos": demos, "steps": steps, "nfe": nfe,
                "parameters": flow.parameters_count, "core_seconds": seconds, "rows": len(rows),
                "n": n, "success": rate.value, "died": rate.died or 0, "pace": rate.pace,
                "nfe_chunk": rate.nfe * EXECUTE, "provenance": shown.provenance["kept"],
            }
        )  # fmt: skip
    return found


def expert(task: str, n: int):
    """Let the expert act in the same episodes."""
    rate = rollouts.rollouts(rollouts.Expert(task_of(task).expert(0)), task_of(task), n).success
    return [{"task": task, "method": "expert", "seed": 0, "demos": 0, "steps": 0, "nfe": 0, "n": n,
             "success": rate.value, "died": rate.died or 0, "pace": rate.pace}]  # fmt: skip


def as_markdown(rows: list[dict]) -> str:
    """Return success rates, with Wilson's interval over all seeds' episodes together."""
    head = ("task", "method", "demos", "NFE", "success", "95 %", "seeds", "parameters", "core-s", "ms/action")
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    keys = sorted({(r["task"], r["demos"], r["method"], r["nfe"]) for r in rows})
    for key in keys:
        mine = [r for r in rows if (r["task"], r["demos"], r["method"], r["nfe"]) == key]
        n, good = sum(r["n"] for r in mine), sum(round(r["success"] * r["n"]) for r in mine)
        low, high = rollouts.wilson(good, n)
        mean = {k: statistics.fmean(r.get(k, 0) for r in mine) for k in ("core_seconds", "pace", "nfe_chunk")
                if k in mine[0]}  # fmt: skip
        cells = [
            key[0], key[2], str(key[1]), str(key[3] or f"{mean.get('nfe_chunk', 0):.0f}"),
            " ".join(f"{r['success']:.2f}" for r in sorted(mine, key=lambda r: r["seed"])),
            f"{low:.2f} .. {high:.2f}", str(len(mine)), f"{mine[0].get('parameters', 0):,}",
            f"{mean.get('core_seconds', 0):.0f}", f"{mean['pace']:.2f}",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS))
    parser.add_argument("--rows", nargs="+", default=["FM", "LFM"], choices=list(METHODS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--demos", type=int, default=200)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--nfe", type=int, nargs="*", default=[4])
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/bench/robots"))
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    results = asked.out / "results.jsonl"
    done = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    known = {(r["task"], r["method"], r["seed"], r["demos"], r["steps"]) for r in done}
    with ProcessPoolExecutor(asked.workers) as pool:
        jobs = [
            pool.submit(expert, task, asked.episodes)
            for task in asked.tasks if (task, "expert", 0, 0, 0) not in known
        ]  # fmt: skip
        jobs += [
            pool.submit(run, task, name, seed, asked.demos, asked.steps, asked.nfe, asked.episodes, asked.out)
            for seed in range(asked.seeds) for task in asked.tasks for name in asked.rows
            if (task, name, seed, asked.demos, asked.steps) not in known
        ]  # fmt: skip
        for finished in as_completed(jobs):
            for row in finished.result():
                done.append(row)
                with results.open("a") as out:
                    out.write(json.dumps(row) + "\n")
                what = (
                    f"{row['task']:20} {row['method']:15} seed {row['seed']} NFE {row['nfe'] or 'adaptive'}"
                )
                print(f"{what}: {row['success']:.2f}, {row.get('core_seconds', 0):.0f} core-s", flush=True)
    print(
        as_markdown([row for row in done if row["task"] in asked.tasks and row["demos"] in (0, asked.demos)])
    )
