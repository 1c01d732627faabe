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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from tqdm import tqdm

from bench.measure import ROOT, execute, this_machine
from bench.processors import STAGES, outputs
from bench.study import MNIST, PACKAGES, PARAMS, at_least, parser_of, require_whole_mnist, save, valid_for
from digits.data.npy import read_header
from dvcproof.runtime.files import file_hash
from dvcproof.runtime.program import InputError, on_terminal, run
from dvcproof.values import set_params
from exactkeras import memory

#: For a control group's file with the limit of memory: its file with the limit of swap (or of memory and swap
#: together), and that limit as a multiple of the limit of memory.
SWAP = {"memory.max": ("memory.swap.max", 0), "memory.limit_in_bytes": ("memory.memsw.limit_in_bytes", 1)}

#: Words before the command of a stage, which choose how it runs.
Prefix = Sequence[str]


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
def limited_to(limit: int) -> Iterator[tuple[str, Prefix]]:
    """Give a way to start a program so that it has at most `limit` bytes of memory: its name, and the words for it."""
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
            yield "a control group", ("sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', str(own))
        finally:
            own.rmdir()
        return
    yield "`ulimit -d`", ("sh", "-c", 'ulimit -d "$0" && exec "$@"', str(limit // 1024))


def run_limited(prefix: Prefix, command: list[str], folder: Path) -> dict[str, float]:
    """Run a stage, and return seconds of wall-clock and processor time and its peak memory in MB."""
    found = execute([*prefix, *command], folder, {"PYTHONPATH": str(ROOT)}, hint="Give it more with --memory.")
    return {name: found[name] for name in ("wall", "cpu", "memory")}


def study(source: Path, params: Path, ways: Mapping[str, Prefix], folder: Path) -> dict[str, Any]:
    """Run all stages in each way on one source.

    Args:
        source: the data set.
        params: parameters; the source is put into a copy of them.
        ways: the ways to start a stage, by name.
        folder: an empty folder to work in.

    Returns:
        `stages`, with time and memory of each stage in each way, and `sha256` of each output.

    Raises:
        InputError: a stage failed, or its bytes differ between two ways.
    """
    graph = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    took: dict[str, dict[str, Any]] = {stage: {} for stage in STAGES}
    expected: dict[str, str] = {}
    for way, prefix in ways.items():
        room = folder / way
        (room / "data").mkdir(parents=True)
        shutil.copy(PACKAGES, room)
        set_params(Path(shutil.copy(params, room / "params.yaml")), {"load.source": str(source)})
        for stage in tqdm(STAGES, desc=f"large, {way}", disable=not on_terminal()):
            command = [sys.executable, *shlex.split(graph[stage]["cmd"])[1:]]  # replaces the word `python`
            took[stage][way] = run_limited(prefix, command, room)
        for path in filter(Path.exists, outputs(graph, room)):
            name, sha256 = path.relative_to(room).as_posix(), file_hash(path)
            if expected.setdefault(name, sha256) != sha256:
                hint = "This should never happen: report it."
                raise InputError(name, f"its bytes differ between the ways {', '.join(ways)}", hint=hint)
        shutil.rmtree(room)
    return {"stages": took, "sha256": expected}


def main() -> None:
    parser = parser_of("bench.large", __doc__)
    parser.add_argument("--times", type=at_least(1), required=True, help="how often the training set is repeated")
    parser.add_argument("--memory", type=at_least(1), required=True, help="MiB that a stage may use")
    args = parser.parse_args()
    require_whole_mnist(PARAMS)
    conditions, limit = valid_for("dense"), args.memory * 2**20
    with tempfile.TemporaryDirectory() as name, limited_to(limit) as (held_by, held):
        folder = Path(name)
        images = repeat(ROOT / MNIST, args.times, folder / "large.npz")
        params = Path(shutil.copy(PARAMS, folder))
        set_params(params, {"train.model": "dense", "dense.epochs": 1})
        result = study(folder / "large.npz", params, {"free": (), "held": held}, folder)
    size = {"times": args.times, "images": images, "limit": limit, "held_by": held_by}
    save(args.out, {"machine": this_machine() | {"memory": memory.limit()}} | conditions | size | result)
    for stage, ways in result["stages"].items():
        words = [f"{name}: {one['wall']:.0f} s, {one['memory']:.0f} MB" for name, one in ways.items()]
        sys.stdout.write(f"{stage:11} {'   '.join(words)}\n")


if __name__ == "__main__":
    run(main)
