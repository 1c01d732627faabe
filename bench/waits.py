"""Measure what people wait for, each beside a plain command in the same run, interleaved.

python -m bench.waits --rounds 5 --out bench/results/waits.json

It measures the last commit in clean clones. What downloads packages is measured once, with an empty cache.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from bench.speed import ROOT, this_machine
from bench.study import MNIST, data_hashes
from digits.study import study_params
from dvcproof import git
from dvcproof.runtime.files import replacing, write_json
from dvcproof.runtime.program import InputError, on_terminal, run

Seconds = dict[str, list[float]]


def seconds(command: str, folder: Path, **variables: str) -> float:
    """Run a command of the shell, and return its seconds on the wall.

    Raises:
        InputError: it failed.
    """
    outside = {name: value for name, value in git.environment().items() if not name.startswith("MAKE")}
    os.sync()  # what was written before is not this command's to wait for
    begin = time.perf_counter()
    result = subprocess.run(
        ["sh", "-c", command], cwd=folder, env=outside | variables, capture_output=True, text=True, check=False
    )
    if result.returncode:
        hint = "Run it by hand in a clean clone."
        raise InputError(command, expected="exit status 0", received=result.stderr[-2000:], hint=hint)
    return time.perf_counter() - begin


def clone(folder: Path) -> Path:
    """Clone the last commit."""
    git.git(folder.parent, "clone", "--quiet", str(ROOT), str(folder))
    return folder


def measure_set_up(folder: Path) -> dict[str, float]:
    """Measure what downloads: the first `make repro`, `pip install` of the same lock, and `make test`."""
    caches = {"PIP_CACHE_DIR": str(folder / "pip"), "UV_CACHE_DIR": str(folder / "uv")}
    ours, plain = clone(folder / "ours"), folder / "plain"
    install = f"{plain}/bin/pip install --quiet --require-hashes -r requirements.lock"
    found = {"pip": seconds(f"{sys.executable} -m venv {plain} && {install}", ROOT, **caches)}
    shutil.rmtree(plain)
    found["set-up"] = seconds("make setup", ours, **caches)
    found["first repro"] = found["set-up"] + seconds("make repro", ours, **caches)
    found["script"] = seconds(f"{sys.executable} -m bench.script {MNIST}", ROOT)
    found["set-up again"] = seconds("make clean setup", ours, **caches)
    found["test set-up"] = seconds("make setup WITH=dev", ours, **caches)
    found["test"] = seconds("make test", ours, **caches)
    return found


def measure_rounds(project: Path, rounds: int) -> Seconds:
    """Measure what people do all day, in a project where the pipeline has run."""
    picture = project / "five.png"
    with np.load(ROOT / MNIST, allow_pickle=False) as mnist:
        Image.fromarray(mnist["x_test"][8]).save(picture)
    path = {"PATH": f"{project / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    commands: Mapping[str, Callable[[], float]] = {
        "nothing": lambda: seconds("make repro", project),
        "dvc repro": lambda: seconds("dvc repro", project, **path),
        "predict": lambda: seconds(f"python -m digits predict {picture.name}", project, **path),
        "import tensorflow": lambda: seconds("python -c 'import tensorflow'", project, **path),
    }
    found: Seconds = {name: [] for name in commands}
    for _ in tqdm(range(rounds), desc="waits", disable=not on_terminal()):
        for name, command in commands.items():
            found[name].append(command())
    return found


def ratios(times: Mapping[str, float]) -> dict[str, float]:
    """Return each wait as a ratio to its plain command."""
    plain_start = times["pip"] + times["script"]
    return {
        "set-up": times["set-up"] / times["pip"],
        "first repro": times["first repro"] / plain_start,
        "nothing": times["nothing"] / times["dvc repro"],
        "predict": times["predict"] / times["import tensorflow"],
    }


def measure(rounds: int, folder: Path) -> dict[str, Any]:
    """Measure everything, in an empty folder."""
    once = measure_set_up(folder)
    every = measure_rounds(folder / "ours", rounds)
    times = once | {name: median(values) for name, values in every.items()}
    return {"ratios": ratios(times), "seconds": times, "rounds": every}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.waits", description=__doc__)
    parser.add_argument("--rounds", type=int, required=True, help="how often the short commands are measured")
    parser.add_argument("--out", type=Path, required=True, help="the JSON to write")
    args = parser.parse_args()
    valid_for = {"params": study_params(ROOT / "params.yaml", "dense"), "data": data_hashes()}  # first: it can fail
    with tempfile.TemporaryDirectory() as folder:
        found = measure(args.rounds, Path(folder))
    with replacing(args.out) as (file,):
        write_json(file, {"machine": this_machine()} | valid_for | found)
    for name, ratio in found["ratios"].items():
        sys.stdout.write(f"{name:12} {ratio:.2f}\n")


if __name__ == "__main__":
    run(main)
