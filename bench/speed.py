"""Measure how fast the pipeline is against two baselines, interleaved in the same run, since machines are noisy.

python -m bench.speed --rounds 3 --out bench/results/speed

The study measures the last commit, in a clean clone with an empty cache. Each figure is the median of its rounds, with
minimum and maximum, in wall-clock and processor seconds. Ratios are ratios of medians.
"""

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import zipfile
from itertools import combinations
from pathlib import Path
from typing import Any

from tqdm import tqdm

from bench.chart import draw
from bench.large import repeat
from bench.measure import ROOT, execute, printed_json, this_machine
from bench.study import MNIST, at_least, parser_of, read_result, require_whole_mnist, valid_for
from dvcproof import git
from dvcproof.runtime import machine
from dvcproof.runtime.files import replacing, write_json
from dvcproof.runtime.program import on_terminal, run
from dvcproof.values import set_params

#: How often the training set is repeated to see how cost grows, and the epochs that make the same number of steps.
GROWTH = {1: 16, 4: 4, 16: 1}

#: The kinds of time that are kept: wall-clock, processor, and processor outside of the system.
KINDS = ("wall", "cpu", "user")

#: The target of each ratio in the table: its greatest good value (for `efficiency`, its least).
TARGETS = {
    "cold": 0.82,
    "fit": 0.45,
    "efficiency": 0.45,
    "nothing": 1.3,
    "parameter": 1.5,
    "arrays": 5.0,
    "growth_time": 1.2,
    "growth_user": 1.2,
    "growth_memory": 1.1,
    "peak_memory": 200.0,
    "copies": 2.0,
}

#: Other targets on a processor without AVX-512.
TARGETS_OF_AVX2 = {"cold": 0.92, "fit": 0.58}

Samples = dict[str, list[dict[str, float]]]


class Clock:
    """A folder with a `python` that writes down when each stage began and ended."""

    def __init__(self, folder: Path) -> None:
        self.log, program = folder / "log", folder / "python"
        folder.mkdir()
        self.log.touch()
        self.variables = {"PATH": os.pathsep.join([str(folder), str(Path(sys.executable).parent), os.environ["PATH"]])}
        program.write_text(
            f'#!/bin/sh\nstart=$(date +%s.%N)\n"{sys.executable}" "$@"\nstatus=$?\n'
            f'echo "$start $(date +%s.%N) $*" >> "{self.log}"\nexit $status\n'
        )
        program.chmod(0o755)

    def take(self, *expected: str) -> dict[str, float]:
        """Return the seconds of each stage since the last call. Raise RuntimeError if other stages have run."""
        logged = re.findall(r"^(\S+) (\S+) .*?\bstages\.(\w+)", self.log.read_text(), re.MULTILINE)
        found = {stage: float(end) - float(start) for start, end, stage in logged}
        self.log.write_text("")
        if tuple(found) != expected:
            raise RuntimeError(f"the stages {list(expected)} must run here, and {list(found)} have run")
        return found


def prepare_clone(folder: Path) -> Path:
    """Clone the last commit, without results and with the network of the baselines, so that every stage must run."""
    shutil.rmtree(folder, ignore_errors=True)
    git.git(folder.parent, "clone", "--quiet", str(ROOT), str(folder))
    (folder / "dvc.lock").unlink()
    shutil.rmtree(folder / "metrics")
    set_params(folder / "params.yaml", {"train.model": "dense"})
    return folder


def prepare_naive(folder: Path) -> Path:
    """Make a project of the naive pipeline, with the data and an empty cache."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "bench" / "naive", folder)
    shutil.copy(ROOT / MNIST, folder)
    for words in ("init --quiet --no-scm", "config core.analytics false", "config core.check_update false"):
        subprocess.run(["dvc", *words.split()], cwd=folder, check=True)  # as here; the cache keeps DVC's default
    return folder


def cold_round(folder: Path, samples: Samples) -> None:
    """Measure cold runs of the script, the naive pipeline and this pipeline, and the parts of this pipeline."""
    script = execute([sys.executable, "-m", "bench.script", MNIST], ROOT)
    figures = json.loads(script["output"])["seconds"]
    add(samples, "script", script)
    add(samples, "script fit", {"wall": figures["fit"], "cpu": figures["fit_cpu"]})
    clone = prepare_clone(folder / "clone")
    clock = Clock(folder / f"clock{len(samples['script'])}")
    add(samples, "cold", execute(["dvc", "repro"], clone, clock.variables))
    stages = clock.take("load", "preprocess", "train", "evaluate")
    for name, seconds in stages.items():
        add(samples, f"cold {name}", {"wall": seconds})
    add(samples, "cold dvc", {"wall": samples["cold"][-1]["wall"] - sum(stages.values())})
    fit = measure_part("fit", clone / "params.yaml", clone / "data", clone)
    add(samples, "fit", fit["seconds"])
    add(samples, "efficiency", {"wall": fit["arithmetic"] / fit["seconds"]["wall"] / fit["rate"]})
    add(samples, "naive", execute(["dvc", "repro"], prepare_naive(folder / "naive")))


def warm_round(clone: Path, clock: Clock, samples: Samples, seed: int) -> None:
    """Measure a run with nothing to do against `dvc status`, three times; then a run with another seed."""
    for _ in range(3):
        add(samples, "status", execute(["dvc", "status"], clone, clock.variables))
        add(samples, "nothing", execute(["dvc", "repro"], clone, clock.variables))
    clock.take()
    set_params(clone / "params.yaml", {"train.seed": seed})
    whole = execute(["dvc", "repro"], clone, clock.variables)
    add(samples, "parameter", {"wall": whole["wall"] - sum(clock.take("train", "evaluate").values())})


def measure_part(part: str, params: Path, folder: Path, code: Path = ROOT) -> dict[str, Any]:
    """Measure a part of the pipeline in a process of its own, with the code of the project at `code`."""
    return printed_json([sys.executable, "-m", "bench.parts", part, str(params), str(folder)], code)


def arrays_round(folder: Path, samples: Samples) -> None:
    """Measure load, preprocess and hashing against copying the same bytes."""
    out = folder / "arrays"
    shutil.rmtree(out, ignore_errors=True)
    parts = measure_part("arrays", ROOT / "params.yaml", out)
    for name in ("load", "preprocess", "hash", "copy"):
        add(samples, f"arrays {name}", parts[name])
    ours = {kind: sum(parts[name][kind] for name in ("load", "preprocess", "hash")) for kind in ("wall", "cpu")}
    add(samples, "arrays", ours)


def make_tiled(times: int, folder: Path) -> None:
    """Write MNIST with its training set repeated, and the parameters to train on it for the same number of steps."""
    folder.mkdir()
    repeat(ROOT / MNIST, times, folder / "tiled.npz", zipfile.ZIP_DEFLATED)
    values = {"load.source": str(folder / "tiled.npz"), "train.model": "dense", "dense.epochs": GROWTH[times]}
    set_params(Path(shutil.copy(ROOT / "params.yaml", folder)), values)


def growth_round(folder: Path, times: int, samples: Samples) -> None:
    """Measure load, preprocess and train on `times` times as many images: microseconds per image, and memory."""
    if not folder.exists():
        make_tiled(times, folder)
    for part, name, made in (("load", "load", "raw"), ("preprocess", "preprocess", "prepared"), ("fit", "train", "")):
        if made:
            shutil.rmtree(folder / made, ignore_errors=True)  # DVC also removes outputs before a stage
        os.sync()  # so that the part does not wait for earlier writes
        figures = measure_part(part, folder / "params.yaml", folder)
        images = figures.get("images", 60000 * times + 10000)
        add(samples, f"{name} x{times}", {kind: 1e6 * value / images for kind, value in figures["seconds"].items()})
        # The memory of training is given as a multiple of the size of the features, that of other parts in MB.
        memory = figures["memory"] / figures.get("features", 1e6)
        add(samples, f"{name} x{times} memory", {"wall": memory})


def add(samples: Samples, name: str, sample: dict[str, Any]) -> None:
    """Add the times of a sample to the samples of `name`."""
    samples.setdefault(name, []).append({kind: value for kind, value in sample.items() if kind in KINDS})


def medians(samples: Samples) -> dict[str, Any]:
    """Return, for each measured time, its median, minimum, maximum and number of rounds."""
    found: dict[str, Any] = {name: {} for name in samples}
    for name, rounds in samples.items():
        for kind in rounds[0]:
            values = [sample[kind] for sample in rounds]
            spread = {"min": min(values), "max": max(values), "n": len(values)}
            found[name][kind] = {"median": statistics.median(values)} | spread
    return found


def ratios(times: dict[str, Any]) -> dict[str, float]:
    """Return the ratios of medians, most of which have a target."""

    def median(name: str) -> float:
        return float(times[name]["wall"]["median"])

    def growth(part: str, name: str = "") -> float:
        return growth_of([median(f"{part} x{number}{name}") for number in GROWTH])

    def growth_of(values: list[float]) -> float:
        return max(larger / smaller for smaller, larger in combinations(values, 2))

    def spent(number: int, kind: str) -> float:
        return sum(float(times[f"{part} x{number}"][kind]["median"]) for part in (*stages, "train"))

    stages = ("load", "preprocess")
    return {
        "cold": median("cold") / median("script"),
        "cold against naive": median("cold") / median("naive"),
        "fit": median("fit") / median("script fit"),
        "efficiency": median("efficiency"),
        "nothing": median("nothing") / median("status"),
        "parameter": median("parameter"),
        "arrays": median("arrays") / median("arrays copy"),
        "growth_time": max(growth(part) for part in (*stages, "train")),
        "growth_user": growth_of([spent(number, "user") for number in GROWTH]),
        "growth_system": growth_of([spent(number, "cpu") - spent(number, "user") for number in GROWTH]),
        "growth_memory": max(growth(part, " memory") for part in stages),
        "peak_memory": max(median(f"{part} x{times} memory") for part in stages for times in GROWTH),
        "copies": median(f"train x{max(GROWTH)} memory"),
    }


def measure(rounds: int, folder: Path) -> Samples:
    """Measure all rounds, interleaved, in an empty folder."""
    samples: Samples = {}
    for number in tqdm(range(rounds), desc="bench", disable=not on_terminal()):
        cold_round(folder, samples)
        warm_round(folder / "clone", Clock(folder / f"warm{number}"), samples, seed=1000 + number)
        arrays_round(folder, samples)
    for _ in range(rounds):
        for times in GROWTH:
            growth_round(folder / f"x{times}", times, samples)
    return samples


def keep(result: dict[str, Any], folder: Path) -> None:
    """Write a result and its chart, named after the kind of machine, beside valid results of other kinds.

    Results with other parameters or data are removed, since only a machine of the same kind could renew them.
    """
    for other in folder.glob("*.json"):
        made = read_result(other)
        if any(made[name] != result[name] for name in ("params", "data")):
            other.unlink()
            other.with_suffix(".png").unlink(missing_ok=True)
    out = folder / f"{result['machine']['kind']}.json"
    with replacing(out, out.with_suffix(".png")) as (file, chart):
        write_json(file, result)
        draw(result, chart)


def main() -> None:
    parser = parser_of("bench.speed", __doc__)
    parser.add_argument("--rounds", type=at_least(1), required=True, help="how often each time is measured")
    args = parser.parse_args()
    require_whole_mnist(ROOT / "params.yaml")
    conditions = valid_for("dense")
    with tempfile.TemporaryDirectory() as folder:
        times = medians(measure(args.rounds, Path(folder)))
    targets = TARGETS if "avx512f" in machine.cpu_flags() else TARGETS | TARGETS_OF_AVX2
    found = {"targets": targets, "ratios": ratios(times), "times": times}
    result = {"machine": this_machine()} | conditions | found
    keep(result, args.out)
    for name, ratio in result["ratios"].items():
        sys.stdout.write(f"{name:20} {ratio:8.2f}   target {result['targets'].get(name, 'none')}\n")


if __name__ == "__main__":
    run(main)
