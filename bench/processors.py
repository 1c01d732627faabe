"""Proof across processors: the four stages give the same hashes on a sample of MNIST, natively and emulated.

The emulator, qemu-user, gives a program another processor's instructions, feature bits and cache sizes. It knows no
x86-64 processor with an L1 data cache of 48 KiB, which Intel has since Ice Lake and AMD since Zen 5. To emulate these,
a copy of the emulator is patched: its cache tables hold that size. For arm64 it runs an arm64 Python with the packages
of the lock file, which `make .venv/arm64/python` unpacks. A machine that is itself arm64 runs the stages only natively,
since it has no x86-64 Python.
"""

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

from bench.study import MNIST, PARAMS, parser_of, save
from digits.apps.results import study_params
from digits.sources.arrays import NPZ_NAMES
from dvcproof.runtime import machine
from dvcproof.runtime.files import file_hash
from dvcproof.runtime.program import InputError, run
from dvcproof.values import set_params

#: The layout of a data cache in the emulator's tables: kind, level, size, line, ways, partitions, sets (QEMU,
#: target/i386/cpu.c).
_CACHE = struct.Struct("<IBxxxIHBBI")
_L1_32K = _CACHE.pack(0, 1, 32 * 2**10, 64, 8, 1, 64)
_L1_48K = _CACHE.pack(0, 1, 48 * 2**10, 64, 12, 1, 64)

#: The sample of each network: images, epochs, batch size and seed. It is small, since emulation is slow.
SAMPLES = {
    "dense": {"train": 300, "test": 100, "epochs": 2, "batch_size": 128, "seed": 7},
    "convnet": {"train": 96, "test": 50, "epochs": 2, "batch_size": 32, "seed": 7},
}

#: The data set of the sample, whichever data set the project uses.
SAMPLE_DATA = {
    "load.source": MNIST,
    "load.test_size": 0,
    "load.transpose": "auto",
    "preprocess.validation_size": 0,
    "class_names": None,
}

#: Stages of the graph, in order.
STAGES = ("load", "preprocess", "train", "evaluate")


class Processor(NamedTuple):
    """One way to run the stages."""

    name: str
    threads: int  # threads on which TensorFlow may run operations
    l1_kib: int | None = None  # size of an emulated L1 data cache; None for that of the model
    model: str | None = None  # the emulator's name of the processor; None runs natively
    architecture: str = "x86-64"  # or 'arm64'
    isa: str | None = None  # the widest instruction set that oneDNN may use; None for no limit


HERE = "x86-64" if machine.is_x86_64() else "arm64"
NATIVE = tuple(Processor("native", threads, architecture=HERE) for threads in (1, 2, 4))
CAPPED = Processor("native, AVX2 alone", 2, isa="AVX2")
EMULATED = (
    Processor("Intel Haswell", 2, model="Haswell"),
    Processor("Intel Skylake-Client", 2, model="Skylake-Client"),
    Processor("AMD EPYC", 2, model="EPYC"),
    Processor("Intel Icelake-Server", 2, l1_kib=48, model="Icelake-Server"),
    Processor("arm64", 2, model="max", architecture="arm64"),
)


def natively() -> tuple[Processor, ...]:
    """Return the ways in which this machine runs the stages natively: also limited to AVX2, if it has more."""
    return (*NATIVE, CAPPED) if "avx512f" in machine.cpu_flags() else NATIVE


def emulated() -> tuple[Processor, ...]:
    """Return the processors that this machine emulates."""
    return EMULATED if HERE == "x86-64" else ()


def emulator(architecture: str = "x86-64") -> str | None:
    """Return the path of qemu-user's program for an architecture, or None where it is not installed."""
    return shutil.which({"x86-64": "qemu-x86_64", "arm64": "qemu-aarch64"}[architecture])


def arm64_python(root: Path) -> Path:
    """Return where `make .venv/arm64/python` puts the arm64 Python of a project."""
    return root / ".venv" / "arm64" / "python"


def missing(root: Path) -> str:
    """Return the next step before the stages can run on all emulated processors; an empty text if they can."""
    architectures = {processor.architecture for processor in emulated()}
    if not all(emulator(architecture) for architecture in architectures):
        return "Install qemu-user."
    python, lock = arm64_python(root), root / "requirements.lock"
    has_lock = python.exists() and (python.parent / lock.name).read_bytes() == lock.read_bytes()
    return "Run `make .venv/arm64/python`." if "arm64" in architectures and not has_lock else ""


def with_l1_of_48_kib(program: Path, copy: Path) -> None:
    """Copy the emulator, and change the size of each 32 KiB L1 data cache in its tables to 48 KiB.

    Raises:
        InputError: the program has no such tables.
    """
    content = program.read_bytes()
    if _L1_32K not in content:
        hint = "Use QEMU 7 or later."
        raise InputError(str(program), expected="the cache tables of QEMU", received="none of that form", hint=hint)
    copy.write_bytes(content.replace(_L1_32K, _L1_48K))
    copy.chmod(0o755)


def make_sample(root: Path, folder: Path, model: str = "dense", size: Mapping[str, int] | None = None) -> None:
    """Make a folder in which the stages of the project at `root` can train a network on a sample of MNIST.

    Args:
        root: the project.
        folder: the folder to make.
        model: the network, a key of SAMPLES.
        size: values that replace those of the sample in SAMPLES.
    """
    sample = SAMPLES[model] | dict(size or {})
    (folder / "data").mkdir(parents=True)
    for name in ("dvc.yaml", "params.yaml", "requirements.lock"):
        shutil.copy(root / name, folder / name)
    with np.load(root / "data" / "mnist.npz", allow_pickle=False) as arrays:
        arrays_of_sample = {name: arrays[name][: sample[name.partition("_")[2]]] for name in NPZ_NAMES}
    np.savez(folder / "data" / "mnist.npz", **arrays_of_sample)
    section = {f"{model}.{name}": sample[name] for name in ("epochs", "batch_size")}
    train = {"train.model": model, "train.seed": sample["seed"]}
    set_params(folder / "params.yaml", SAMPLE_DATA | train | section)


def hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each output that exists in a folder in which stages have run, by path."""
    return {str(path.relative_to(folder)): file_hash(path) for path in outputs(_graph(folder), folder) if path.exists()}


def run_code(
    processor: Processor, folder: Path, code: str, *, root: Path, environment: Mapping[str, str] | None = None
) -> None:
    """Run Python code, such as the result of `calls`, in one process.

    An emulated processor needs up to a minute to import TensorFlow.

    Args:
        processor: the processor to run it on.
        folder: the working folder.
        code: the code.
        root: the project, whose code runs.
        environment: environment variables to add.

    Raises:
        InputError: the processor is emulated, and QEMU is not installed.
    """
    variables = os.environ | {"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"} | dict(environment or {})
    capped = {} if processor.isa is None else {"ONEDNN_MAX_CPU_ISA": processor.isa}
    program = _PROGRAM.format(threads=processor.threads, environment=capped) + code
    command = [*_python(processor, folder, root), "-c", program]
    result = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(f"{folder.name} on {processor}: {result.stdout}\n{result.stderr}")


#: Code that a process runs before its stages. It sets variables itself: those set outside would be removed.
_PROGRAM = """
import os, runpy, sys
from dvcproof.runtime import machine
from exactkeras import determinism
machine.cores = lambda: {threads}
determinism.ENVIRONMENT |= {environment}
def call(*arguments):
    sys.argv = list(arguments)
    try:
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code:
            raise
"""


def calls(folder: Path, stages: Sequence[str] = STAGES) -> str:
    """Return Python code that runs the commands of stages (`python -m ...`) in a folder that `make_sample` filled."""
    commands = [shlex.split(_graph(folder)[stage]["cmd"])[2:] for stage in stages]
    return "\n".join([f"os.chdir({str(folder)!r})", *(f"call(*{command!r})" for command in commands), ""])


def _graph(folder: Path) -> dict[str, Any]:
    return dict(yaml.safe_load((folder / "dvc.yaml").read_text(encoding="utf-8"))["stages"])


def _python(processor: Processor, folder: Path, root: Path) -> Sequence[str]:
    """Return the command that runs Python on a processor."""
    if processor.model is None:
        return (sys.executable,)
    program = emulator(processor.architecture)
    if program is None:
        hint = "Install qemu-user."
        raise InputError(processor.name, expected="QEMU's user emulator", received="none", hint=hint)
    if processor.architecture == "arm64":
        return (str(arm64_python(root)),)
    if processor.l1_kib == 48:
        copy = folder / "qemu-48k"
        if not copy.exists():
            with_l1_of_48_kib(Path(program), copy)
        program = str(copy)
    return (program, "-cpu", processor.model, sys.executable)


def outputs(graph: dict[str, Any], folder: Path) -> list[Path]:
    """Return every output, metric and plot that dvc.yaml names."""
    named = [out for stage in graph.values() for kind in ("outs", "metrics", "plots") for out in stage.get(kind, [])]
    return [folder / (out if isinstance(out, str) else next(iter(out))) for out in named]


def prove(processors: Sequence[Processor], *, root: Path) -> dict[str, list[dict[str, Any]]]:
    """Run the stages with each network on each processor, two at a time, up to the first failure.

    Returns:
        For each network, a row for each processor: its fields, the seconds it took, and the SHA-256 of each output.
    """

    def row(case: tuple[str, Processor]) -> dict[str, Any]:
        start, (model, processor) = time.monotonic(), case
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary, "sample")
            make_sample(root, folder, model)
            for stage in STAGES:
                run_code(processor, folder, calls(folder, [stage]), root=root)
            found = hashes(folder)
        seconds = round(time.monotonic() - start)
        print(f"{model}, {processor.name}, {found['data/model.keras'][:16]}, {seconds} s", flush=True)
        return processor._asdict() | {"seconds": seconds, "sha256": found}

    with ThreadPoolExecutor(2) as pool:
        rows = [*pool.map(row, [(model, processor) for model in SAMPLES for processor in processors])]
    return {model: rows[number * len(processors) :][: len(processors)] for number, model in enumerate(SAMPLES)}


def proof_params(params: Path, model: str) -> dict[str, Any]:
    """Return the parameters that a proof of a network is valid for: all but those of the data, which is a sample."""
    found = study_params(params, model)
    return {name: found[name] for name in found if name not in ("load", "preprocess")}


def main() -> None:
    args = parser_of("bench.processors", __doc__).parse_args()
    root = Path.cwd()
    if hint := missing(root):
        raise InputError("emulated processors", "QEMU or the arm64 Python is missing", hint=hint)
    if not emulated():
        sys.stdout.write(f"This machine is {HERE}: no x86-64 processor is emulated on it.\n")
    proof = {}
    for model, rows in prove((*natively(), *emulated()), root=root).items():
        if any(row["sha256"] != rows[0]["sha256"] for row in rows):
            raise InputError(model, expected="one hash", received="several", hint="See docs/reproducibility.md.")
        proof[model] = SAMPLES[model] | {"params": proof_params(PARAMS, model), "runs": rows}
    save(args.out, proof)


if __name__ == "__main__":
    run(main)
