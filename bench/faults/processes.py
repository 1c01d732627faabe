"""Run commands of DVC and of the project, each in a fork of this process, which has imported what they need.

This process must have a single thread. Each command has a process group of its own.
"""

import importlib
import os
import runpy
import select
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bench.faults.hook import sitecustomize as hook

#: Seconds after which a command counts as stuck.
PATIENCE = 120

#: Seconds after which something is done to a process, if it still runs, and what.
Strike = tuple[float, Callable[[int], None]]


class Ended(NamedTuple):
    """A command that has ended. Processes that it started may still run, and keep its output open."""

    status: int | None  # negative: the signal that ended it; None: it was stuck
    reader: int

    def output(self) -> str:
        """Read the whole output, once no process can write to it any more. Call this once."""
        with os.fdopen(self.reader, "rb", buffering=0) as file:
            content = b""
            while select.select([file], [], [], PATIENCE)[0] and (more := file.read(65536)):
                content += more
        return content.decode(errors="replace")


def environment(**extra: str) -> dict[str, str]:
    """Return variables for a program: with this interpreter first, and without anyone's settings of Git and DVC."""
    foreign = ("DVC_", "GIT_", "PYTEST", "MAKE", "MFLAGS")  # the last two: of a `make` that runs this
    keep = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    keep["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{keep['PATH']}"
    roles, fields = ("AUTHOR", "COMMITTER"), ("NAME", "EMAIL")
    author = {f"GIT_{role}_{field}": "test@localhost" for role in roles for field in fields}
    return keep | author | {"GIT_CONFIG_GLOBAL": os.devnull, "DVC_NO_ANALYTICS": "1"} | extra


def own_environment(folder: Path) -> dict[str, str]:
    """Return the variables for a project whose DVC keeps its own files beside the project."""
    places = dict.fromkeys(("DVC_SITE_CACHE_DIR", "DVC_GLOBAL_CONFIG_DIR"), f"{folder}.site")
    return environment(**places, PYTHONPATH="", PYTHONDONTWRITEBYTECODE="1")


def start(command: str, folder: Path, plan: hook.Plan | None = None) -> tuple[int, int]:
    """Start what `python -m` would run, in `folder`. Returns its process number, and a pipe with its output.

    Args:
        command: a module and its arguments.
        folder: its working folder.
        plan: what happens at which change of a file.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _child(command, folder, writer, plan)
    os.close(writer)
    return pid, reader


def end(pid: int, reader: int, strike: Strike | None = None) -> Ended:
    """Wait for the end of a command that was started."""
    waiter = os.pidfd_open(pid)
    try:
        if strike and not select.select([waiter], [], [], strike[0])[0]:
            strike[1](pid)
        if not select.select([waiter], [], [], PATIENCE)[0]:
            os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return Ended(None, reader)
        return Ended(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), reader)
    finally:
        os.close(waiter)


def forked(command: str, folder: Path, *, plan: hook.Plan | None = None, strike: Strike | None = None) -> Ended:
    """Run a command in `folder`, and wait for its end."""
    return end(*start(command, folder, plan), strike)


def _child(command: str, folder: Path, writer: int, plan: hook.Plan | None) -> None:
    status = 70
    try:
        os.setsid()
        for target, source in enumerate((os.open(os.devnull, os.O_RDONLY), writer, writer)):
            os.dup2(source, target)
        os.close(writer)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.chdir(folder)
        own = own_environment(folder)
        os.environ.clear()
        os.environ.update(own)
        if plan:
            os.environ["PYTHONPATH"] = str(Path(hook.__file__).parent)  # for the processes that it starts
            hook.install(plan._replace(dvc=os.getpid()))
        sys.argv = command.split()
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            os.write(2, f"{end.code}\n".encode())
    except BaseException as error:  # printed without the frame of this function, which `python -m` would not have
        trace = error.__traceback__.tb_next if error.__traceback__ else None
        os.write(2, "".join(traceback.format_exception(type(error), error, trace)).encode())
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(status)


def warm() -> None:
    """Import what the commands need."""
    for name in (
        "dvc.cli",
        "dvc.commands.repro",
        "dvc.repo.reproduce",
        "dvcproof.doctor",
        "dvcproof.witness",
    ):
        importlib.import_module(name)
