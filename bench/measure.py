"""Measure commands: wall-clock time, processor time, and memory."""

import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from dvcproof import git
from dvcproof.runtime import machine
from dvcproof.runtime.program import InputError

ROOT = Path(__file__).parents[1]

#: Seconds between two measurements of a command's memory.
PAUSE = 0.02

#: Variables with which Git commits without settings of the user, for the small projects of studies and tests.
NOBODY = {f"GIT_{role}_{field}": "test@localhost" for role in ("AUTHOR", "COMMITTER") for field in ("NAME", "EMAIL")}
NOBODY |= {"GIT_CONFIG_GLOBAL": os.devnull, "DVC_NO_ANALYTICS": "1"}


def timed(work: Callable[[], object]) -> dict[str, float]:
    """Call `work`, and return its wall-clock seconds and the processor seconds of this process.

    `user` are the processor seconds outside of the system, which also gets new memory for the process.
    """
    wall, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    work()
    wall, after = time.perf_counter() - wall, resource.getrusage(resource.RUSAGE_SELF)
    user = after.ru_utime - before.ru_utime
    return {"wall": wall, "cpu": user + after.ru_stime - before.ru_stime, "user": user}


def environment() -> dict[str, str]:
    """Return variables for a program: this Python's programs first on the path, none of Git, make, DVC and pytest."""
    foreign = ("DVC_", "MAKE", "MFLAGS", "PYTEST")
    known = {name: value for name, value in git.environment().items() if not name.startswith(foreign)}
    return known | {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}


def execute(
    command: Sequence[str],
    folder: Path,
    variables: Mapping[str, str] | None = None,
    *,
    hint: str = "Run it by hand in a clean clone.",
) -> dict[str, Any]:
    """Run a command in a folder, with this Python's programs first on the path.

    Args:
        command: the words of the command.
        folder: where to run it.
        variables: added to the environment, which is free of the variables of Git, make and DVC.
        hint: the next step if it fails.

    Returns:
        `wall` and `cpu` in seconds (children included), its printed `output`, and its peak `memory` in MB (Linux).

    Raises:
        InputError: the command failed.
    """
    variables = environment() | {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": "."} | dict(variables or {})
    ended, peak = False, 0
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with subprocess.Popen(
        command, cwd=folder, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        while not ended:
            with suppress(subprocess.TimeoutExpired):
                output, errors = process.communicate(timeout=PAUSE)
                ended = True
            peak = max(peak, 0 if ended else peak_bytes(process.pid))
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode:
        received = f"exit status {process.returncode}: {errors[-2000:]}"
        raise InputError(" ".join(command), expected="exit status 0", received=received, hint=hint)
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return {"wall": wall, "cpu": cpu, "output": output, "memory": peak / 1e6}


def peak_bytes(process: int | None = None, field: str = "VmHWM") -> int:
    """Return the peak memory in bytes of a process (default: this one), mapped files included; 0 if it has ended.

    `getrusage` does not do: it also counts the memory of the program that the process ran before `exec`. Linux only.
    `field` is a field of proc_pid_status(5), such as VmRSS for the memory that is held now.
    """
    try:
        status = Path(f"/proc/{process or 'self'}/status").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(status.split(f"{field}:")[1].split()[0]) * 1024 if f"{field}:" in status else 0


def printed_json(command: Sequence[str], folder: Path) -> dict[str, Any]:
    """Run a command, and return the JSON object in its last line of output."""
    return dict(json.loads(execute(command, folder)["output"].splitlines()[-1]))


def this_machine() -> dict[str, Any]:
    """Return a description of this machine, to keep beside the figures measured on it."""
    flags = machine.cpu_flags()
    return {
        "kind": machine.kind(),
        "cpu": machine.cpu_name(),
        "cores": machine.cores(),
        "vector": next((name for name in ("avx512f", "avx2", "avx") if name in flags), "none"),
        "python": platform.python_version(),
    }
