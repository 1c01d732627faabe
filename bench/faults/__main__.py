"""Faults of every kind, each in a copy of a small project, counted by what came of them: `make study NAME=faults`.

A fault ends in the right bytes (right), in an error message and then, once it is over, in the right bytes (line), in a
project that `make repro` does not run (stuck), or in something else (wrong). Some are repeated without the doctor and
the watch, as a control: there, these end stuck or wrong, or the check would see nothing.
"""

import argparse
import math
import random
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tqdm import tqdm

from bench.faults import real, toy
from bench.faults.processes import warm
from bench.faults.project import Outcome, Scene, Verdict, build
from bench.faults.trials import Counts, Trial, carry_out, known, plan
from bench.speed import this_machine
from dvcproof.runtime.files import replacing, write_json
from dvcproof.runtime.program import on_terminal, run

Found = dict[str, dict[str, int]]


def measure(trials: Sequence[tuple[Trial, Scene]], *, with_doctor: bool, processes: int, deadline: float) -> Found:
    """Carry out trials, some at a time, and count the outcomes by kind.

    Args:
        trials: each with its project.
        with_doctor: False for the control.
        processes: how many at a time.
        deadline: the moment, by the monotonic clock, after which no more are begun; the others are not counted.
    """
    found: dict[str, Counter[str]] = defaultdict(lambda: Counter(dict.fromkeys(("injected", *Outcome), 0)))
    with ProcessPoolExecutor(processes, get_context("spawn"), warm) as pool:
        mixed = random.Random(0).sample(trials, len(trials))  # noqa: S311 (so that each kind gets its part of the time)
        running = {pool.submit(carry_out, *one, with_doctor=with_doctor): one[0].kind for one in mixed}
        for future in tqdm(as_completed(running), total=len(running), disable=not on_terminal(), unit="fault"):
            verdict: Verdict = future.result()
            found[running[future]].update(("injected", verdict.outcome))
            if with_doctor and verdict.outcome in (Outcome.STUCK, Outcome.WRONG):
                sys.stderr.write(f"{running[future]}: {verdict.outcome}: {verdict.problem}\n")
            if time.monotonic() > deadline:
                pool.shutdown(cancel_futures=True)
                break
    order = dict.fromkeys(trial.kind for trial, _ in trials)
    return {kind: dict(found[kind]) for kind in order if kind in found}


def inject(folder: Path, counts: Counts, *, processes: int, minutes: float) -> dict[str, Found]:
    """Inject the faults into projects in a folder; the outcomes, and those of the controls."""
    started = time.monotonic()
    scene = build(folder / "toy", toy.write, toy.second)
    seconds, real_scene = 0.0, scene
    if counts.real:
        real_scene = build(folder / "real", real.write)
        seconds = _seconds(real_scene)
    trials = plan(scene, counts, seconds)
    found = measure(
        [(trial, real_scene if trial.real else scene) for trial in trials],
        with_doctor=True,
        processes=processes,
        deadline=started + 60 * minutes * 0.7,
    )
    unwatched = build(folder / "control", toy.write_unwatched, toy.second)
    control = [(trial, unwatched) for trial in known(unwatched)]
    return {"faults": found, "control": measure(control, with_doctor=False, processes=processes, deadline=math.inf)}


def _seconds(scene: Scene) -> float:
    """What a run takes, by the dates of its first and last result."""
    dates = [path.stat().st_mtime for path in (scene.good / ".dvc" / "tmp" / "inputs").glob("*.json")]
    return max(dates) - min(dates) + 5


def _generated(count: int) -> Found:
    """Inputs that are generated, for each reader of the pipeline."""
    from bench.faults.inputs import inject as generated

    found = {}
    for kind, outcomes in generated(count).items():
        bad = {name: number for name, number in outcomes.items() if name not in ("read", "refused")}
        found[f"generated input: {kind}"] = {
            "injected": sum(outcomes.values()),
            "right": outcomes["read"],
            "line": outcomes["refused"],
            "stuck": bad.get("slow", 0),
            "wrong": sum(bad.values()) - bad.get("slow", 0),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.faults", description=__doc__)
    for name in Counts._fields:
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--inputs", type=int, required=True, help="generated inputs")
    parser.add_argument("--requests", type=int, required=True, help="to the demo")
    parser.add_argument("--model", type=Path, help="of the demo")
    parser.add_argument("--dataset", type=Path, help="of the demo: dataset.json, with the training images beside it")
    parser.add_argument("--processes", type=int, required=True, help="that inject faults")
    parser.add_argument("--minutes", type=float, required=True, help="after which no more faults are injected")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    counts = Counts(*(getattr(args, name) for name in Counts._fields))
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        found: dict[str, Any] = dict(inject(Path(folder), counts, processes=args.processes, minutes=args.minutes))
    if args.inputs:
        found["faults"] |= _generated(args.inputs)
    if args.requests:
        from bench.faults import demo

        found["demo"] = demo.measure(args.model, args.dataset, requests=args.requests, parallel=32, slow=100)
    found |= {"seconds": round(time.monotonic() - started), "machine": this_machine()}
    with replacing(args.out) as (file,):
        write_json(file, found)
    bad = sum(one["stuck"] + one["wrong"] for one in found["faults"].values())
    sys.stdout.write(
        f"faults: {sum(one['injected'] for one in found['faults'].values())} injected, {bad} stuck or wrong\n"
    )


if __name__ == "__main__":
    run(main)
