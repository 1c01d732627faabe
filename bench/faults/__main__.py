"""Inject faults of every kind, each into a copy of a small project, and count the outcomes: `make study NAME=faults`.

A fault has one of four outcomes. right: the right bytes. line: an error message, and the right bytes in a later run
without the fault. stuck: `make repro` no longer runs the project. wrong: anything else. As a control, some faults are
repeated without the doctor and the watch of inputs: there they must end stuck or wrong.
"""

import math
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from tqdm import tqdm

from bench.faults import inputs, toy
from bench.faults.judge import BAD, Outcome
from bench.faults.project import Scene, build
from bench.faults.trials import Trial, known, plan
from bench.measure import this_machine
from bench.study import parser_of, save
from dvcproof.runtime.program import on_terminal, run

#: For each kind of fault, the number of injected faults and the number of each outcome.
Found = dict[str, dict[str, int]]

#: The options for the number of faults of each kind.
KINDS = ("kills", "moments", "interrupts", "full", "places", "changes", "damages", "pairs", "real")


def measure(trials: Sequence[tuple[Trial, Scene]], processes: int, deadline: float) -> Found:
    """Run trials, each in its own copy of a project, and count the outcomes by kind.

    Args:
        trials: each trial, and the project that it damages.
        processes: number of trials at a time.
        deadline: the monotonic time after which remaining trials are dropped; infinite for the control.
    """
    found = {trial.kind: Counter(dict.fromkeys(("injected", *Outcome), 0)) for trial, _ in trials}
    with ThreadPoolExecutor(processes) as pool:
        mixed = random.Random(0).sample(trials, len(trials))  # noqa: S311 (each kind gets its part of the time)
        running = {pool.submit(trial.inject, scene, *trial.arguments): trial for trial, scene in mixed}
        for future in tqdm(as_completed(running), total=len(running), disable=not on_terminal(), unit="fault"):
            trial, (outcome, problem) = running[future], future.result()
            found[trial.kind].update(("injected", outcome))
            if deadline < math.inf and outcome in BAD:
                sys.stderr.write(f"{trial.kind} {trial.arguments}: {outcome}: {problem}\n")
            if time.monotonic() > deadline:
                pool.shutdown(cancel_futures=True)
                break
    return {kind: dict(outcomes) for kind, outcomes in found.items() if outcomes["injected"]}


def inject(folder: Path, counts: Mapping[str, int], processes: int, minutes: float) -> dict[str, Found]:
    """Inject faults into projects in a folder. Return the outcomes of the faults and of the controls."""
    started, seconds = time.monotonic(), 0.0
    scene = real_scene = build(folder / "toy", "stages.repro", toy.write, toy.second)
    if counts["real"]:
        real_scene = build(folder / "real", "digits repro", toy.write_real)
        dates = [path.stat().st_mtime for path in (real_scene.good / ".dvc" / "tmp" / "inputs").glob("*.json")]
        seconds = max(dates) - min(dates) + 5  # duration of a run, from the dates of its first and last record
    trials = [(trial, real_scene if trial.real else scene) for trial in plan(scene, counts, seconds)]
    found = measure(trials, processes, started + 60 * minutes * 0.7)
    unwatched = build(folder / "control", "dvc repro", lambda path: toy.write(path, watched=False), toy.second)
    control = [(trial, unwatched) for trial in known(unwatched)]
    return {"faults": found, "control": measure(control, processes, math.inf)}


def main() -> None:
    parser = parser_of("bench.faults", __doc__)
    for name in (*KINDS, "inputs", "processes"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--minutes", type=float, required=True, help="time limit; faults get 70 percent of it")
    args = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job and its children ignore SIGINT
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        counts = {name: getattr(args, name) for name in KINDS}
        found: dict[str, Any] = dict(inject(Path(folder), counts, args.processes, args.minutes))
    if args.inputs:
        found["faults"] |= {f"generated input: {kind}": row for kind, row in inputs.inject(args.inputs).items()}
    found |= {"seconds": round(time.monotonic() - started), "machine": this_machine()}
    save(args.out, found)
    faults = found["faults"].values()
    injected, bad = sum(one["injected"] for one in faults), sum(one["stuck"] + one["wrong"] for one in faults)
    sys.stdout.write(f"faults: {injected} injected, {bad} stuck or wrong\n")


if __name__ == "__main__":
    run(main)
