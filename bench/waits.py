"""Measure the commands that people wait for, each against a plain command, interleaved in the same run.

python -m bench.waits --rounds 5 --out bench/results/waits.json

The study measures the last commit in clean clones. Commands that download are measured once, with an empty cache.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image
from tqdm import tqdm

from bench.measure import ROOT, execute, this_machine
from bench.study import MNIST, at_least, parser_of, save, valid_for
from dvcproof import git
from dvcproof.runtime.program import on_terminal, run


def seconds(command: str, folder: Path, **variables: str) -> float:
    """Run a shell command, and return its wall-clock seconds."""
    os.sync()  # so that the command does not wait for earlier writes to reach the disk
    return float(execute(["sh", "-c", command], folder, variables)["wall"])


def measure_set_up(folder: Path) -> dict[str, float]:
    """Measure the commands that download: the first `make repro`, `pip install` of the same lock, and `make test`."""
    caches = {"PIP_CACHE_DIR": str(folder / "pip"), "UV_CACHE_DIR": str(folder / "uv")}
    ours, plain = folder / "ours", folder / "plain"
    git.git(folder, "clone", "--quiet", str(ROOT), str(ours))
    install = f"{plain}/bin/pip install --quiet --require-hashes -r requirements.lock"
    found = {"pip": seconds(f"{sys.executable} -m venv {plain} && {install}", ROOT, **caches)}
    shutil.rmtree(plain)
    found["set-up"] = seconds("make setup", ours, **caches)
    found["first repro"] = found["set-up"] + seconds("make repro", ours, **caches)
    found["script"] = seconds(f"{sys.executable} -m bench.script {MNIST}", ROOT)
    seconds("make setup WITH=dev", ours, **caches)
    found["test"] = seconds("make test", ours, **caches)
    return found


def measure_rounds(project: Path, rounds: int) -> dict[str, list[float]]:
    """Measure everyday commands, in a project where the pipeline has run."""
    picture = project / "five.png"
    with np.load(ROOT / MNIST, allow_pickle=False) as mnist:
        Image.fromarray(mnist["x_test"][8]).save(picture)
    path = {"PATH": f"{project / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    commands = {
        "nothing": ("make repro", {}),
        "dvc repro": ("dvc repro", path),
        "predict": (f"python -m digits predict {picture.name}", path),
        "import tensorflow": ("python -c 'import tensorflow'", path),
    }
    found: dict[str, list[float]] = {name: [] for name in commands}
    for _ in tqdm(range(rounds), desc="waits", disable=not on_terminal()):
        for name, (command, variables) in commands.items():
            found[name].append(seconds(command, project, **variables))
    return found


def ratios(times: Mapping[str, float]) -> dict[str, float]:
    """Return the seconds of each wait divided by those of the plain command."""
    return {
        "set-up": times["set-up"] / times["pip"],
        "first repro": times["first repro"] / (times["pip"] + times["script"]),
        "nothing": times["nothing"] / times["dvc repro"],
        "predict": times["predict"] / times["import tensorflow"],
    }


def main() -> None:
    parser = parser_of("bench.waits", __doc__)
    parser.add_argument("--rounds", type=at_least(1), required=True, help="how often the short commands are measured")
    args = parser.parse_args()
    conditions = valid_for("dense")
    with tempfile.TemporaryDirectory() as folder:
        once, every = measure_set_up(Path(folder)), measure_rounds(Path(folder, "ours"), args.rounds)
    times = once | {name: median(values) for name, values in every.items()}
    found = {"ratios": ratios(times), "seconds": times, "rounds": every}
    save(args.out, {"machine": this_machine()} | conditions | found)
    for name, ratio in ratios(times).items():
        sys.stdout.write(f"{name:12} {ratio:.2f}\n")


if __name__ == "__main__":
    run(main)
