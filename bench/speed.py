"""How fast the pipeline is: measured against two baselines in the same run, interleaved, since machines are noisy.

python -m bench.speed --rounds 3 --out bench/results/speed

It measures the last commit, in a clean clone with an empty cache. Each figure is the median of its rounds, with the
least and the greatest, on the wall and of the processor. Ratios are of medians.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from bench.kinds import compare, keep, targets
from bench.study import MNIST, data_hashes, require_whole_mnist
from digits.data.arrays import read_header
from digits.study import study_params
from dvcproof import git
from dvcproof.runtime import machine
from dvcproof.runtime.program import InputError, on_terminal, run
from dvcproof.values import set_params

ROOT = Path(__file__).parents[1]

#: How often the training set is repeated to see how cost grows, and the epochs, so that each makes the same steps.
GROWTH = {1: 16, 4: 4, 16: 1}

Samples = dict[str, list[dict[str, float]]]


def execute(command: Sequence[str], folder: Path, bin_folder: Path | None = None) -> dict[str, Any]:
    """Run a command; seconds on the wall and of the processor with all its children, and what it printed.

    Raises:
        InputError: it failed.
    """
    path = os.pathsep.join([str(bin_folder or ""), str(Path(sys.executable).parent), os.environ["PATH"]])
    variables = {"PATH": path.lstrip(os.pathsep), "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": "."}
    before, start = children_seconds(), time.perf_counter()
    result = subprocess.run(
        command, cwd=folder, env=git.environment() | variables, capture_output=True, text=True, check=False
    )
    wall, cpu = time.perf_counter() - start, children_seconds() - before
    if result.returncode:
        raise InputError(
            " ".join(command), expected="exit status 0", received=result.stderr[-2000:], hint="Run `make test` first."
        )
    return {"wall": wall, "cpu": cpu, "output": result.stdout}


def children_seconds() -> float:
    """Seconds of the processor of all programs that this one has started and that have ended, with their own."""
    times = os.times()
    return times.children_user + times.children_system


def measured(command: Sequence[str], folder: Path) -> dict[str, Any]:
    """What a command prints as its last line, in JSON."""
    return dict(json.loads(execute(command, folder)["output"].splitlines()[-1]))


class Clock:
    """A folder with a `python` that writes down when each stage began and ended."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder, folder / "log"
        folder.mkdir()
        self.log.touch()
        program = folder / "python"
        program.write_text(
            f'#!/bin/sh\nstart=$(date +%s.%N)\n"{sys.executable}" "$@"\nstatus=$?\n'
            f'echo "$start $(date +%s.%N) $*" >> "{self.log}"\nexit $status\n'
        )
        program.chmod(0o755)

    def take(self) -> dict[str, float]:
        """Seconds of each stage since the last call."""
        lines = [line.split() for line in self.log.read_text().splitlines()]
        self.log.write_text("")
        return {_stage(words): float(end) - float(start) for start, end, *words in lines}


def _stage(words: Sequence[str]) -> str:
    """The stage that a command runs."""
    return next(word.removeprefix("stages.") for word in words if word.startswith("stages."))


def prepare_clone(folder: Path) -> Path:
    """A clone of the last commit that has results of no stage: everything must run, to the network of the baselines."""
    shutil.rmtree(folder, ignore_errors=True)
    git.git(folder.parent, "clone", "--quiet", str(ROOT), str(folder))
    (folder / "dvc.lock").unlink()
    shutil.rmtree(folder / "metrics")
    set_params(folder / "params.yaml", {"train.model": "dense"})
    return folder


def prepare_naive(folder: Path) -> Path:
    """The naive pipeline, with the data and an empty cache."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "bench" / "naive", folder)
    shutil.copy(ROOT / MNIST, folder)
    subprocess.run(["dvc", "init", "--quiet", "--no-scm"], cwd=folder, check=True)
    for name in ("analytics", "check_update"):  # as here; the cache is left as DVC has it
        subprocess.run(["dvc", "config", f"core.{name}", "false"], cwd=folder, check=True)
    return folder


def cold_round(folder: Path, samples: Samples) -> None:
    """The script, the naive pipeline and ours, each from nothing; and of ours the parts."""
    script = execute([sys.executable, "-m", "bench.script", MNIST], ROOT)
    figures = json.loads(script["output"])["seconds"]
    add(samples, "script", script)
    add(samples, "script fit", {"wall": figures["fit"], "cpu": figures["fit_cpu"]})
    clone = prepare_clone(folder / "clone")
    clock = Clock(folder / f"clock{len(samples['script'])}")
    add(samples, "cold", execute(["dvc", "repro"], clone, clock.folder))
    stages = clock.take()
    if list(stages) != ["load", "preprocess", "train", "evaluate"]:
        raise RuntimeError(f"a cold run must execute four stages, and executed {list(stages)}")
    for name, seconds in stages.items():
        add(samples, f"cold {name}", {"wall": seconds})
    add(samples, "cold dvc", {"wall": samples["cold"][-1]["wall"] - sum(stages.values())})
    fit = measured([sys.executable, "-m", "bench.parts", "fit", "--params", "params.yaml", "--data", "data"], clone)
    add(samples, "import", fit["import"])
    add(samples, "fit", fit["fit"])
    add(samples, "efficiency", {"wall": fit["arithmetic"] / fit["fit"]["wall"] / fit["rate"]})
    add(samples, "rate", {"wall": fit["rate"]})
    add(samples, "naive", execute(["dvc", "repro"], prepare_naive(folder / "naive")))


def warm_round(clone: Path, clock: Clock, samples: Samples, seed: int) -> None:
    """Nothing to do, three times against `dvc status`; then one parameter of `train` changed."""
    for _ in range(3):
        add(samples, "status", execute(["dvc", "status"], clone, clock.folder))
        add(samples, "nothing", execute(["dvc", "repro"], clone, clock.folder))
    if clock.take():
        raise RuntimeError("with nothing to do, a stage was executed")
    set_params(clone / "params.yaml", {"train.seed": seed})
    whole = execute(["dvc", "repro"], clone, clock.folder)
    stages = clock.take()
    if list(stages) != ["train", "evaluate"]:
        raise RuntimeError(f"another seed must execute train and evaluate, and executed {list(stages)}")
    add(samples, "parameter", {"wall": whole["wall"] - sum(stages.values())})


def arrays_round(folder: Path, samples: Samples) -> None:
    """Load, preprocess and hash against copying the same bytes."""
    out = folder / "arrays"
    shutil.rmtree(out, ignore_errors=True)
    parts = measured(
        [sys.executable, "-m", "bench.parts", "arrays", "--params", "params.yaml", "--out", str(out)], ROOT
    )
    for name in ("load", "preprocess", "hash", "copy"):
        add(samples, f"arrays {name}", parts[name])
    ours = {kind: sum(parts[name][kind] for name in ("load", "preprocess", "hash")) for kind in ("wall", "cpu")}
    add(samples, "arrays", ours)


def repeat(source: Path, times: int, out: Path, compression: int = zipfile.ZIP_STORED) -> int:
    """Write an .npz with the training set repeated, a piece at a time; gives its training images."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(out, "w", compression) as new:
        for name in old.namelist():
            again = times if "train" in name else 1
            with old.open(name) as file, new.open(name, "w", force_zip64=True) as copy:
                shape, _, dtype = read_header(file)
                values = file.read()
                head = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False}
                np.lib.format.write_array_header_1_0(copy, head | {"shape": (shape[0] * again, *shape[1:])})
                for _ in range(again):
                    copy.write(values)
            if "x_train" in name:
                images = shape[0] * again
    return images


def make_tiled(times: int, folder: Path) -> None:
    """MNIST with its training set repeated, and the parameters to train on it for as many steps as ever."""
    folder.mkdir()
    repeat(ROOT / MNIST, times, folder / "tiled.npz", zipfile.ZIP_DEFLATED)
    params = Path(shutil.copy(ROOT / "params.yaml", folder))
    set_params(
        params, {"load.source": str(folder / "tiled.npz"), "train.model": "dense", "dense.epochs": GROWTH[times]}
    )


def growth_round(folder: Path, times: int, samples: Samples) -> None:
    """Load, preprocess and train on `times` as many images: seconds an image, and memory."""
    if not folder.exists():
        make_tiled(times, folder)
    common = ["--params", str(folder / "params.yaml")]
    raw, prepared = folder / "raw", folder / "prepared"
    parts = {
        "load": (raw, ["--out", str(raw)]),
        "preprocess": (prepared, ["--raw", str(raw), "--out", str(prepared)]),
        "fit": (None, ["--data", str(folder)]),
    }
    for part, (out, options) in parts.items():
        if out is not None:
            shutil.rmtree(out, ignore_errors=True)  # as DVC does
        os.sync()  # what was written before is not this part's to wait for
        figures = measured([sys.executable, "-m", "bench.parts", part, *common, *options], ROOT)
        images = figures.get("images", 60000 * times + 10000)
        seconds = figures["fit" if part == "fit" else "seconds"]
        name = f"{'train' if part == 'fit' else part} x{times}"
        add(samples, name, {kind: 1e6 * value / images for kind, value in seconds.items()})  # microseconds
        memory = figures["memory"] / figures["features"] if part == "fit" else figures["peak"] / 1e6
        add(samples, f"{name} memory", {"wall": memory})


def add(samples: Samples, name: str, sample: dict[str, Any]) -> None:
    """Keep the numbers of a sample."""
    samples.setdefault(name, []).append({kind: value for kind, value in sample.items() if kind in ("wall", "cpu")})


def medians(samples: Samples) -> dict[str, Any]:
    """Median, least, greatest and number of the rounds, for each thing that was measured."""
    return {
        name: {
            kind: {
                "median": statistics.median(values := [sample[kind] for sample in rounds]),
                "min": min(values),
                "max": max(values),
                "n": len(values),
            }
            for kind in rounds[0]
        }
        for name, rounds in samples.items()
    }


def ratios(times: dict[str, Any]) -> dict[str, float]:
    """The figures that have a target."""

    def median(name: str) -> float:
        return float(times[name]["wall"]["median"])

    def growth(part: str, name: str = "", kind: str = "wall") -> float:
        values = [float(times[f"{part} x{number}{name}"][kind]["median"]) for number in GROWTH]
        return max(larger / smaller for smaller, larger in combinations(values, 2))

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
        "growth_cpu": max(growth(part, kind="cpu") for part in (*stages, "train")),
        "growth_memory": max(growth(part, " memory") for part in stages),
        "peak_memory": max(median(f"{part} x{times} memory") for part in stages for times in GROWTH),
        "copies": median(f"train x{max(GROWTH)} memory"),
    }


def measure(rounds: int, folder: Path) -> Samples:
    """All rounds, interleaved, in an empty folder."""
    samples: Samples = {}
    steps = tqdm(total=rounds * (3 + len(GROWTH)), desc="bench", disable=not on_terminal())
    for number in range(rounds):
        cold_round(folder, samples)
        steps.update()
        warm_round(folder / "clone", Clock(folder / f"warm{number}"), samples, seed=1000 + number)
        steps.update()
        arrays_round(folder, samples)
        steps.update()
    for _ in range(rounds):
        for times in GROWTH:
            growth_round(folder / f"x{times}", times, samples)
            steps.update()
    return samples


def this_machine() -> dict[str, Any]:
    """What the figures were measured on."""
    flags = machine.cpu_flags()
    widest = next((name for name in ("avx512f", "avx2", "avx") if name in flags), "none")
    return {
        "kind": machine.kind(),
        "cpu": machine.cpu_name(),
        "cores": machine.cores(),
        "vector": widest,
        "python": platform.python_version(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.speed", description=__doc__)
    parser.add_argument("--rounds", type=int, required=True, help="how often each is measured")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results, one for each kind of machine")
    args = parser.parse_args()
    if args.rounds < 1:
        raise InputError("--rounds", expected="at least 1", received=str(args.rounds), hint="5 take twenty minutes.")
    require_whole_mnist(ROOT / "params.yaml")
    valid_for = {"params": study_params(ROOT / "params.yaml", "dense"), "data": data_hashes()}  # first: it can fail
    with tempfile.TemporaryDirectory() as folder:
        times = medians(measure(args.rounds, Path(folder)))
    kind = machine.kind()
    found = {"targets": targets(kind), "ratios": ratios(times), "times": times}
    result = {"machine": this_machine()} | valid_for | found
    last = args.out / f"{kind}.json"
    before = json.loads(last.read_text(encoding="utf-8")) if last.exists() else None
    keep(result, args.out)
    sys.stdout.write(compare(result, before))


if __name__ == "__main__":
    run(main)
