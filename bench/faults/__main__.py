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
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from tqdm import tqdm

from bench.faults import inputs, toy
from bench.faults.judge import BAD, Outcome
from bench.faults.project import Scene, build
from bench.faults.trials import REAL, Trial, known, plan
from bench.measure import this_machine
from bench.study import parser_of, save
from dvcproof.runtime.program import on_terminal, run

#: The options for the number of faults of each kind.
KINDS = ("kills", "moments", "interrupts", "full", "places", "changes", "damages", "pairs", "real")


def measure(trials: Sequence[tuple[Trial, Scene]], processes: int, deadline: float) -> dict[str, dict[str, int]]:
    """Run trials, each in its own copy of a project.

    Args:
        trials: each trial, and the project that it damages.
        processes: number of trials at a time.
        deadline: the monotonic time after which remaining trials are dropped; infinite for the control.

    Returns:
        For each kind of fault, the number of injected faults and the number of each outcome.
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


def main() -> None:
    parser = parser_of("bench.faults", __doc__)
    for name in (*KINDS, "inputs", "processes"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--minutes", type=float, required=True, help="time limit; faults get 70 percent of it")
    args = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job and its children ignore SIGINT
    started, seconds = time.monotonic(), 0.0
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        folder = Path(name)
        scene = real = build(folder / "toy", "stages.repro", toy.write, toy.second)
        if args.real:
            real = build(folder / "real", "digits repro", toy.write_real)
            dates = [path.stat().st_mtime for path in (real.good / ".dvc" / "tmp" / "inputs").glob("*.json")]
            seconds = max(dates) - min(dates) + 5  # duration of a run, from the dates of its first and last record
        trials = plan(scene, vars(args), seconds)
        placed = [(trial, real if trial.kind == REAL else scene) for trial in trials]
        faults = measure(placed, args.processes, started + 60 * args.minutes * 0.7)
        unwatched = build(folder / "control", "dvc repro", lambda path: toy.write(path, watched=False), toy.second)
        control = measure([(trial, unwatched) for trial in known(unwatched)], args.processes, math.inf)
    if args.inputs:
        faults |= {f"generated input: {kind}": row for kind, row in inputs.inject(args.inputs).items()}
    found: dict[str, Any] = {"faults": faults, "control": control}
    save(args.out, found | {"seconds": round(time.monotonic() - started), "machine": this_machine()})
    injected = sum(one["injected"] for one in faults.values())
    bad = sum(one["stuck"] + one["wrong"] for one in faults.values())
    sys.stdout.write(f"faults: {injected} injected, {bad} stuck or wrong\n")


if __name__ == "__main__":
    run(main)
