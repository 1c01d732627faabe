"""A data set that is larger than the memory: all stages with little memory, and with all there is, to the same bytes.

python -m bench.large --times 64 --memory 2048 --out bench/results/large.json

The training set of MNIST is repeated. Memory is held down by a control group, which also counts the pages of files
that the system keeps; where none can be made, by `ulimit -d`, which does not count them.
"""

import argparse
import math
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from tqdm import tqdm

from bench.parts import peak_bytes
from bench.processors import STAGES, outputs
from bench.speed import ROOT, children_seconds, repeat, this_machine
from bench.study import MNIST, PACKAGES, PARAMS, data_hashes, require_whole_mnist
from digits.study import study_params
from dvcproof.runtime.files import file_hash, replacing, write_json
from dvcproof.runtime.program import InputError, on_terminal, run
from dvcproof.values import set_params
from exactkeras import memory

#: Bytes of disk for each value of an image: the source, its copy by `load`, and four times as much by `preprocess`.
DISK = 6

#: By the file of a group's limit of memory: that of its swap, or of both together, and how many times the limit it is.
SWAP = {"memory.max": ("memory.swap.max", 0), "memory.limit_in_bytes": ("memory.memsw.limit_in_bytes", 1)}

MEBIBYTE = 2**20


class Way(NamedTuple):
    """How a stage is started."""

    name: str
    prefix: tuple[str, ...] = ()  # of its command


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


def execute(way: Way, command: Sequence[str], folder: Path) -> dict[str, float]:
    """Run a stage: its seconds on the wall and of the processor, and the most memory that it held, in MB (Linux).

    Raises:
        InputError: it failed.
    """
    before, start, peak = children_seconds(), time.perf_counter(), 0
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
    return {"wall": time.perf_counter() - start, "cpu": children_seconds() - before, "memory": peak / 1e6}


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
    graph = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    found: dict[str, dict[str, Any]] = {}
    made: dict[str, dict[str, str]] = {}
    with tqdm(total=len(ways) * len(STAGES), desc="large", disable=not on_terminal()) as steps:
        for name, way in ways.items():
            room = folder / name
            (room / "data").mkdir(parents=True)
            shutil.copy(PACKAGES, room)
            set_params(Path(shutil.copy(params, room / "params.yaml")), {"load.source": str(source)})
            for stage in STAGES:
                command = [sys.executable, *shlex.split(graph[stage]["cmd"])[1:]]  # in the place of `python`
                found.setdefault(stage, {})[name] = execute(way, command, room)
                steps.update()
            written = (path for path in outputs(graph, room) if path.exists())
            made[name] = {path.relative_to(room).as_posix(): file_hash(path) for path in written}
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
    require_whole_mnist(PARAMS)
    valid_for = {"params": study_params(PARAMS, "dense"), "data": data_hashes()}  # first: it can fail
    limit = args.memory * MEBIBYTE
    with tempfile.TemporaryDirectory() as name, held_to(limit) as held:
        folder = Path(name)
        require_disk(folder, DISK * args.times * 60_000 * math.prod((28, 28)))
        images = repeat(ROOT / MNIST, args.times, folder / "large.npz")
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
