"""Commands of DVC and of the project, each in a forked process with a group of its own: that spares their imports.

To be used in a process that has a single thread.
"""

import os
import select
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bench.faults.hook import sitecustomize as hook

#: Seconds after which a command is stuck.
PATIENCE = 120

Main = Callable[[], int]
Strike = tuple[float, Callable[[int], None]]


class Ended(NamedTuple):
    """A command that has ended. Processes that it started may live on, and hold its output open."""

    status: int | None  # negative: the signal that ended it; None: it was stuck
    reader: int

    def output(self) -> str:
        """All that was written, once nobody is left to write. To be asked once."""
        with os.fdopen(self.reader, "rb", buffering=0) as file:
            content = b""
            while select.select([file], [], [], PATIENCE)[0] and (more := file.read(65536)):
                content += more
        return content.decode(errors="replace")


def environment(folder: Path) -> dict[str, str]:
    """For a project in `folder`: nobody's configuration, and DVC's own places beside the project."""
    keep = {name: value for name, value in os.environ.items() if not name.startswith(("DVC_", "GIT_", "PYTEST"))}
    keep["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{keep['PATH']}"
    author = {
        f"GIT_{role}_{field}": "faults@localhost" for role in ("AUTHOR", "COMMITTER") for field in ("NAME", "EMAIL")
    }
    places = {"DVC_SITE_CACHE_DIR": f"{folder}.site", "DVC_GLOBAL_CONFIG_DIR": f"{folder}.site"}
    own = {"GIT_CONFIG_GLOBAL": os.devnull, "DVC_NO_ANALYTICS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    return {name: value for name, value in keep.items() if name != "PYTHONPATH"} | author | places | own


def start(main: Main, folder: Path, plan: hook.Plan | None = None) -> tuple[int, int]:
    """Run something in `folder`; its process number, and where to read its output.

    Args:
        main: gives the exit status.
        folder: where it runs.
        plan: what happens at which change of a file.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _child(main, folder, writer, plan)
    os.close(writer)
    return pid, reader


def end(pid: int, reader: int, strike: Strike | None = None) -> Ended:
    """Wait for the end of what was started.

    Args:
        pid: its process.
        reader: of its output.
        strike: after how many seconds something is done to the process, if it still lives, and what.
    """
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


def forked(main: Main, folder: Path, *, plan: hook.Plan | None = None, strike: Strike | None = None) -> Ended:
    """Run something in `folder`, and wait for its end."""
    return end(*start(main, folder, plan), strike)


def _child(main: Main, folder: Path, writer: int, plan: hook.Plan | None) -> None:
    status = 70
    try:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number in (1, 2):
            os.dup2(writer, number)
        os.close(writer)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.chdir(folder)
        own = environment(folder)
        os.environ.clear()
        os.environ.update(own)
        if plan:
            os.environ["PYTHONPATH"] = str(Path(hook.__file__).parent)  # of the processes that it starts
            hook.install(plan._replace(dvc=os.getpid()))
        status = main()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
        if isinstance(end.code, str):
            os.write(2, f"{end.code}\n".encode())
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(status)


def dvc(*words: str) -> Main:
    """A command of DVC."""

    def main() -> int:
        from dvc.cli import main as run

        sys.argv = ["dvc", *words]
        return int(run(list(words)))

    return main


def doctor(*words: str) -> Main:
    """The doctor."""

    def main() -> int:
        from dvcproof import doctor
        from dvcproof.runtime import program

        sys.argv = ["doctor", *words]
        program.run(doctor.main)

    return main


def verify() -> Main:
    """The check of a project: that it is fresh, and the same when run again in a clean clone."""

    def main() -> int:
        from dvcproof import verify as verification
        from dvcproof.runtime import program

        sys.argv = ["verify"]
        program.run(verification.main)

    return main


def warm() -> None:
    """Import what the commands need."""
    import dvc.cli
    import dvc.commands.repro
    import dvc.repo.reproduce  # noqa: F401

    import dvcproof.doctor
    import dvcproof.witness  # noqa: F401
