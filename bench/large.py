"""Check that all stages write the same bytes from a data set larger than the memory, with limited and with all memory.

python -m bench.large --times 64 --memory 2048 --out bench/results/large.json

The training set of MNIST is repeated. Memory is limited by a control group, which also counts the pages of files that
the system keeps. Where no control group can be made, `ulimit -d` limits memory, and does not count those pages.
"""

import os
import shlex
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from tqdm import tqdm

from bench.measure import ROOT, execute, this_machine
from bench.processors import STAGES, outputs
from bench.study import MNIST, PACKAGES, PARAMS, parser_of, require_at_least, require_whole_mnist, save, valid_for
from digits.data.npy import read_header
from dvcproof.runtime.files import file_hash
from dvcproof.runtime.program import InputError, on_terminal, run
from dvcproof.values import set_params
from exactkeras import memory

#: Bytes of disk for each value of an image: the source, its copy by `load`, and four times as much by `preprocess`.
DISK = 6

#: For a control group's file with the limit of memory: its file with the limit of swap (or of memory and swap
#: together), and that limit as a multiple of the limit of memory.
SWAP = {"memory.max": ("memory.swap.max", 0), "memory.limit_in_bytes": ("memory.memsw.limit_in_bytes", 1)}

MEBIBYTE = 2**20


class Way(NamedTuple):
    """A way to start a stage."""

    name: str
    prefix: tuple[str, ...] = ()  # words before the command of the stage


def repeat(source: Path, times: int, out: Path, compression: int = zipfile.ZIP_STORED) -> int:
    """Write an .npz with the training set repeated, a piece at a time, and return its number of training images."""
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


@contextmanager
def limited_to(limit: int) -> Iterator[Way]:
    """Give a way to start a program so that it has at most `limit` bytes of memory."""
    for group, name in memory.own_groups():
        own = group / f"digits-{os.getpid()}"
        try:
            own.mkdir()
            (own / name).write_text(str(limit), encoding="ascii")
            with suppress(OSError):  # a system may have no swap to limit
                file, most = SWAP[name]
                (own / file).write_text(str(limit * most), encoding="ascii")
        except OSError:
            if own.exists():
                own.rmdir()
            continue
        try:
            yield Way("a control group", ("sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', str(own)))
        finally:
            own.rmdir()
        return
    yield Way("`ulimit -d`", ("sh", "-c", 'ulimit -d "$0" && exec "$@"', str(limit // 1024)))


def run_limited(way: Way, command: list[str], folder: Path) -> dict[str, float]:
    """Run a stage, and return seconds of wall-clock and processor time and its peak memory in MB."""
    variables, hint = {"PYTHONPATH": str(ROOT)}, "Give it more with --memory."
    found = execute([*way.prefix, *command], folder, variables, watched=True, hint=hint)
    return {name: found[name] for name in ("wall", "cpu", "memory")}


def run_stages(source: Path, params: Path, way: Way, room: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Run all stages on a source in an empty folder. Return time and memory of each, and the SHA-256 of each output."""
    graph = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    (room / "data").mkdir(parents=True)
    shutil.copy(PACKAGES, room)
    set_params(Path(shutil.copy(params, room / "params.yaml")), {"load.source": str(source)})
    took = {}
    for stage in tqdm(STAGES, desc=f"large, {way.name}", disable=not on_terminal()):
        command = [sys.executable, *shlex.split(graph[stage]["cmd"])[1:]]  # replaces the word `python`
        took[stage] = run_limited(way, command, room)
    written = [path for path in outputs(graph, room) if path.exists()]
    hashes = {path.relative_to(room).as_posix(): file_hash(path) for path in written}
    shutil.rmtree(room)
    return took, hashes


def study(source: Path, params: Path, ways: Mapping[str, Way], folder: Path) -> dict[str, Any]:
    """Run all stages in each way on one source.

    Args:
        source: the data set.
        params: parameters; the source is put into a copy of them.
        ways: the ways to start a stage, by name.
        folder: an empty folder to work in.

    Raises:
        InputError: a stage failed, or its bytes differ between two ways.
    """
    made = {name: run_stages(source, params, way, folder / name) for name, way in ways.items()}
    first, (_, expected) = next(iter(made.items()))
    for name, (_, files) in made.items():
        if files != expected:
            other = next(file for file in expected if files.get(file) != expected[file])
            hint = "This must not be: report it."
            raise InputError(other, f"its bytes differ between the ways '{first}' and '{name}'", hint=hint)
    return {
        "stages": {stage: {name: took[stage] for name, (took, _) in made.items()} for stage in STAGES},
        "sha256": expected,
    }


def require_disk(folder: Path, needed: int) -> None:
    """Raise InputError if the disk has less than `needed` bytes left."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        expected, hint = f"{needed // MEBIBYTE} MiB free", "Set TMPDIR to a folder on a larger disk."
        raise InputError(str(folder), expected=expected, received=f"{free // MEBIBYTE}", hint=hint)


def main() -> None:
    parser = parser_of("bench.large", __doc__)
    parser.add_argument("--times", type=int, required=True, help="how often the training set is repeated")
    parser.add_argument("--memory", type=int, required=True, help="MiB that a stage may use")
    args = parser.parse_args()
    require_at_least(1, "--times", args.times, "Take 64.")
    require_at_least(1, "--memory", args.memory, "Take 2048.")
    require_whole_mnist(PARAMS)
    conditions, limit = valid_for("dense"), args.memory * MEBIBYTE
    with tempfile.TemporaryDirectory() as name, limited_to(limit) as held:
        folder = Path(name)
        require_disk(folder, DISK * args.times * 60_000 * 28 * 28)
        images = repeat(ROOT / MNIST, args.times, folder / "large.npz")
        params = Path(shutil.copy(PARAMS, folder))
        set_params(params, {"train.model": "dense", "dense.epochs": 1})
        result = study(folder / "large.npz", params, {"free": Way("free"), "held": held}, folder)
    size = {"times": args.times, "images": images, "limit": limit, "held_by": held.name}
    save(args.out, {"machine": this_machine() | {"memory": memory.limit()}} | conditions | size | result)
    for stage, ways in result["stages"].items():
        words = [f"{name}: {one['wall']:.0f} s, {one['memory']:.0f} MB" for name, one in ways.items()]
        sys.stdout.write(f"{stage:11} {'   '.join(words)}\n")


if __name__ == "__main__":
    run(main)
