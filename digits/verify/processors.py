"""Proof across processors: the four stages on a sample of the real digits, natively and emulated, to one hash.

The emulator, qemu-user, gives a program another processor's feature bits, cache sizes and approximate instructions. It
does not know any processor with an L1 data cache of 48 KiB, which Intel has since Ice Lake and AMD since Zen 5; for
these, a copy of it is made whose cache tables hold that size.
"""

import argparse
import os
import shlex
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from digits.common.cli import InputError, run
from digits.common.files import file_hash, write_json
from digits.common.params import set_params, study_params
from digits.sources.npz import NPZ_NAMES

#: A data cache in the emulator's tables: kind, level, size, line, ways, partitions, sets (QEMU, target/i386/cpu.c).
_CACHE = struct.Struct("<IBxxxIHBBI")
_L1_32K = _CACHE.pack(0, 1, 32 * 2**10, 64, 8, 1, 64)
_L1_48K = _CACHE.pack(0, 1, 48 * 2**10, 64, 12, 1, 64)

#: For each network, images, epochs, batches and seed of the sample. Few, since emulation is slow.
SAMPLES = {
    "dense": {"train": 300, "test": 100, "epochs": 2, "batch_size": 128, "seed": 7},
    "convnet": {"train": 96, "test": 50, "epochs": 2, "batch_size": 32, "seed": 7},
}

#: What the sample is loaded from, whatever data set the project has.
SAMPLE_DATA = {"load.source": "data/mnist.npz", "preprocess.validation_size": 0, "class_names": None}

#: Stages of the graph, in order.
STAGES = ("load", "preprocess", "train", "evaluate")


class Processor(NamedTuple):
    """One way to run the stages."""

    name: str
    threads: int  # that TensorFlow may run operations on
    l1_kib: int | None = None  # an emulated L1 data cache of another size than the model has
    model: str | None = None  # of the emulator; None runs natively


NATIVE = tuple(Processor("native", threads) for threads in (1, 2, 4))
EMULATED = (
    Processor("Intel Haswell", 2, model="Haswell"),
    Processor("Intel Skylake-Client", 2, model="Skylake-Client"),
    Processor("AMD EPYC", 2, model="EPYC"),
    Processor("Intel Icelake-Server", 2, l1_kib=48, model="Icelake-Server"),
)


def emulator() -> str | None:
    """Path of qemu-user for x86-64, or None where it is not installed."""
    return shutil.which("qemu-x86_64")


def _no_emulator() -> InputError:
    return InputError("qemu-x86_64", expected="QEMU's user emulator", received="none", hint="Install qemu-user.")


def with_l1_of_48_kib(program: Path, copy: Path) -> None:
    """Copy the emulator, with every L1 data cache of 32 KiB in its tables made one of 48 KiB.

    Raises:
        InputError: the tables are not found.
    """
    content = program.read_bytes()
    if _L1_32K not in content:
        raise InputError(
            str(program), expected="the cache tables of QEMU", received="none of that form", hint="Use QEMU 7 or later."
        )
    copy.write_bytes(content.replace(_L1_32K, _L1_48K))
    copy.chmod(0o755)


def make_sample(root: Path, folder: Path, model: str = "dense") -> None:
    """Make a folder in which the stages of the project at `root` train a network on its first images.

    Args:
        root: the project.
        folder: to be made.
        model: one of SAMPLES.
    """
    (folder / "data").mkdir(parents=True)
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(root / name, folder / name)
    with np.load(root / "data" / "mnist.npz", allow_pickle=False) as arrays:
        arrays_of_sample = {name: arrays[name][: SAMPLES[model][name.partition("_")[2]]] for name in NPZ_NAMES}
    np.savez(folder / "data" / "mnist.npz", **arrays_of_sample)
    sample = {f"{model}.{name}": SAMPLES[model][name] for name in ("epochs", "batch_size")}
    train = {"train.model": model, "train.seed": SAMPLES[model]["seed"]}
    set_params(folder / "params.yaml", SAMPLE_DATA | train | sample)


def run_stages(
    processor: Processor,
    folder: Path,
    *,
    root: Path,
    stages: Sequence[str] = STAGES,
    before: str = "",
    environment: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Run the stages' own commands from dvc.yaml in a folder that `make_sample` filled.

    Args:
        processor: what to run them on.
        folder: where to run them.
        root: the project, whose code runs.
        stages: which of them.
        before: Python code to run first in each stage, for negative controls.
        environment: variables to add.

    Returns:
        SHA-256 of each output and metric that exists, by path.
    """
    graph = yaml.safe_load((folder / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    variables = os.environ | {"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"} | dict(environment or {})
    for stage in stages:
        python, *arguments = shlex.split(graph[stage]["cmd"])
        if (python, arguments[0]) != ("python", "-m"):
            raise InputError(f"cmd of {stage}", expected="python -m ...", received=python, hint="Correct dvc.yaml.")
        code = (
            f"import runpy, sys\nsys.argv = {arguments[1:]!r}\n"
            f"from digits.model import machine\nmachine.cores = lambda: {processor.threads}\n{before}\n"
            f"runpy.run_module({arguments[1]!r}, run_name='__main__', alter_sys=True)"
        )
        command = [*_prefix(processor, folder), sys.executable, "-c", code]
        result = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)
        if result.returncode:
            raise RuntimeError(f"{stage} on {processor}: {result.stdout}\n{result.stderr}")
    return {str(path.relative_to(folder)): file_hash(path) for path in outputs(graph, folder) if path.exists()}


def _prefix(processor: Processor, folder: Path) -> Sequence[str]:
    if processor.model is None:
        return ()
    program = emulator()
    if program is None:  # running natively in its place would prove nothing
        raise _no_emulator()
    if processor.l1_kib == 48:
        copy = folder / "qemu-48k"
        if not copy.exists():
            with_l1_of_48_kib(Path(program), copy)
        program = str(copy)
    return (program, "-cpu", processor.model)


def outputs(graph: dict[str, Any], folder: Path) -> list[Path]:
    """Every output, metric and plot that dvc.yaml names."""
    named = [
        entry for stage in graph.values() for kind in ("outs", "metrics", "plots") for entry in stage.get(kind, [])
    ]
    return [folder / (entry if isinstance(entry, str) else next(iter(entry))) for entry in named]


def prove(processors: Sequence[Processor], *, root: Path, model: str) -> list[dict[str, Any]]:
    """Run the stages with a network on each processor, two at a time, and tell what came out.

    Returns:
        A row per processor: its name, threads, L1 cache, seconds, and the SHA-256 of each output.
    """
    with tempfile.TemporaryDirectory() as temporary:
        sample = Path(temporary) / "sample"
        make_sample(root, sample, model)

        def row(index: int, processor: Processor) -> dict[str, Any]:
            start = time.monotonic()
            folder = Path(shutil.copytree(sample, Path(temporary) / str(index)))
            hashes = run_stages(processor, folder, root=root)
            seconds = round(time.monotonic() - start)
            sys.stdout.write(
                f"{model} on {processor.name}, {processor.threads} threads: {hashes['data/model.keras'][:16]}\n"
            )
            return processor._asdict() | {"seconds": seconds, "sha256": hashes}

        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(row, range(len(processors)), processors))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m digits.verify.processors", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the table to write, .json")
    args = parser.parse_args()
    if emulator() is None:
        raise _no_emulator()
    proof = {}
    for model, sample in SAMPLES.items():
        rows = prove((*NATIVE, *EMULATED), root=Path.cwd(), model=model)
        if any(row["sha256"] != rows[0]["sha256"] for row in rows):
            raise InputError(model, expected="one hash", received="several", hint="See docs/reproducibility.md.")
        proof[model] = sample | {"params": study_params(Path("params.yaml"), model), "runs": rows}
    write_json(args.out, proof)


if __name__ == "__main__":
    run(main)
