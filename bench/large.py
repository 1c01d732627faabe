"""A data set that is larger than the memory: all stages with little memory, and with all there is, to the same bytes.

python -m bench.large --times 64 --memory 2048 --out bench/results/large.json

The training set of MNIST is repeated. Memory is held down by a control group, which also counts the pages of files
that the system keeps; where none can be made, by `ulimit -d`, which does not count them.
"""

import argparse
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from bench.parts import peak_bytes
from bench.speed import ROOT, this_machine
from bench.study import PACKAGES, PARAMS, data_hashes
from digits.common.cli import InputError, on_terminal, run
from digits.common.files import file_hash, replacing, write_json
from digits.common.params import set_params, study_params
from digits.data.arrays import read_header
from digits.model import memory

STAGES = ("load", "preprocess", "train", "evaluate")

#: What the stages write, below the folder in which they run, that must be equal.
OUTPUTS = ("data/raw/*.npy", "data/prepared/*.npy", "data/model.keras", "data/history.csv", "metrics/scores.json")

#: Bytes of disk for each value of an image: the source, its copy by `load`, and four times as much by `preprocess`.
DISK = 6

#: By the file of a group's limit of memory: that of its swap, or of both together, and how many times the limit it is.
SWAP = {"memory.max": ("memory.swap.max", 0), "memory.limit_in_bytes": ("memory.memsw.limit_in_bytes", 1)}

MEBIBYTE = 2**20


class Way(NamedTuple):
    """How a stage is started."""

    name: str
    prefix: tuple[str, ...] = ()  # of its command


def repeat(source: Path, times: int, out: Path) -> int:
    """Write an .npz with the training set repeated, a piece at a time; gives its training images."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(out, "w") as new:
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


@contextmanager
def held_to(limit: int) -> Iterator[Way]:
    """A way to start a program with at most so many bytes of memory."""
    groups = memory.own_groups()
    for group, name in groups:
        own = group / f"digits-{os.getpid()}"
        try:
            own.mkdir()
            (own / name).write_text(str(limit), encoding="ascii")
            with suppress(OSError):  # a system may have no swap to hold down
                file, most = SWAP[name]
                (own / file).write_text(str(limit * most), encoding="ascii")
        except OSError:
            if own.exists():
                own.rmdir()
            continue
        try:
            join = ("sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', str(own))
            yield Way("a control group", join)
        finally:
            own.rmdir()
        return
    yield Way("`ulimit -d`", ("sh", "-c", 'ulimit -d "$0" && exec "$@"', str(limit // 1024)))


def commands() -> dict[str, list[str]]:
    """The command of each stage, as in dvc.yaml."""
    prepared = ["--dataset", "data/raw/dataset.json", "--data", "data/prepared"]
    model = ["--model", "data/model.keras", "--history", "data/history.csv"]
    options = {
        "load": ["--out", "data/raw"],
        "preprocess": ["--raw", "data/raw", "--out", "data/prepared"],
        "train": [*prepared, *model, "--platform", "data/platform.json"],
        "evaluate": [*prepared, *model, "--out", "metrics"],
    }
    start = [sys.executable, "-m", "digits.common.locked", str(ROOT / PACKAGES)]
    return {name: [*start, f"stages.{name}", "--params", "params.yaml", *options[name]] for name in STAGES}


def execute(way: Way, command: Sequence[str], folder: Path) -> dict[str, float]:
    """Run a stage: its seconds on the wall and of the processor, and the most memory that it held, in MB (Linux).

    Raises:
        InputError: it failed.
    """
    before, start, peak = os.times(), time.perf_counter(), 0
    with tempfile.TemporaryFile("w+") as output:
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        words = [*way.prefix, *command]
        process = subprocess.Popen(words, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT)
        while process.poll() is None:
            peak = max(peak, peak_bytes(process.pid))  # `getrusage` would count what the process was before it began
            time.sleep(0.02)
        if process.returncode:
            output.seek(0)
            received = f"exit status {process.returncode}: {output.read()[-2000:]}"
            hint = "Give it more with --memory."
            raise InputError(" ".join(command), expected="exit status 0", received=received, hint=hint)
    wall, after = time.perf_counter() - start, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return {"wall": wall, "cpu": cpu, "memory": peak / 1e6}


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of each output."""
    found = (path for pattern in OUTPUTS for path in sorted(folder.glob(pattern)))
    return {path.relative_to(folder).as_posix(): file_hash(path) for path in found}


def study(source: Path, params: Path, ways: dict[str, Way], folder: Path) -> dict[str, Any]:
    """Run all stages in each way on one source.

    Args:
        source: the data set.
        params: parameters; the source is put into a copy of them.
        ways: by their names.
        folder: an empty folder to work in.

    Raises:
        InputError: a stage failed, or wrote other bytes in another way.
    """
    found: dict[str, dict[str, Any]] = {}
    made: dict[str, dict[str, str]] = {}
    with tqdm(total=len(ways) * len(STAGES), desc="large", disable=not on_terminal()) as steps:
        for name, way in ways.items():
            room = folder / name
            (room / "data").mkdir(parents=True)
            set_params(Path(shutil.copy(params, room / "params.yaml")), {"load.source": str(source)})
            for stage, command in commands().items():
                found.setdefault(stage, {})[name] = execute(way, command, room)
                steps.update()
            made[name] = hashes(room)
            shutil.rmtree(room)
    first = next(iter(made))
    for name, files in made.items():
        if files != made[first]:
            other = next(file for file in made[first] if files.get(file) != made[first][file])
            hint = "This must not be: report it."
            raise InputError(f"{other} made {name}", expected=f"the bytes of {first}", received="others", hint=hint)
    return {"stages": found, "sha256": made[first]}


def require_disk(folder: Path, needed: int) -> None:
    """Refuse to begin what would not fit on the disk.

    Raises:
        InputError: there is too little room.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise InputError(
            str(folder),
            expected=f"{needed // MEBIBYTE} MiB free",
            received=f"{free // MEBIBYTE}",
            hint="Set TMPDIR to a folder on a larger disk.",
        )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.large", description=__doc__)
    parser.add_argument("--times", type=int, required=True, help="how often the training set is repeated")
    parser.add_argument("--memory", type=int, required=True, help="MiB that a stage may use")
    parser.add_argument("--out", type=Path, required=True, help="the JSON to write")
    args = parser.parse_args()
    if args.times < 1 or args.memory < 1:
        raise InputError("--times and --memory", expected="at least 1", received="less", hint="Take 64 and 2048.")
    valid_for = {"params": study_params(PARAMS, "dense"), "data": data_hashes()}  # first: it can fail
    limit = args.memory * MEBIBYTE
    with tempfile.TemporaryDirectory() as name, held_to(limit) as held:
        folder = Path(name)
        require_disk(folder, DISK * args.times * 60_000 * math.prod((28, 28)))
        images = repeat(ROOT / "data" / "mnist.npz", args.times, folder / "large.npz")
        params = Path(shutil.copy(PARAMS, folder))
        set_params(params, {"train.model": "dense", "dense.epochs": 1})
        result = study(folder / "large.npz", params, {"free": Way("free"), "held": held}, folder)
    size = {"times": args.times, "images": images, "limit": limit, "held_by": held.name}
    with replacing(args.out) as (file,):
        write_json(file, {"machine": this_machine() | {"memory": memory.limit()}} | valid_for | size | result)
    for stage, ways in result["stages"].items():
        words = [f"{name}: {one['wall']:.0f} s, {one['memory']:.0f} MB" for name, one in ways.items()]
        sys.stdout.write(f"{stage:11} {'   '.join(words)}\n")


if __name__ == "__main__":
    run(main)
