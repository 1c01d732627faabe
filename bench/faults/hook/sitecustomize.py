"""Faults at a chosen place: each change of a file of a project is counted, and at one of them something happens.

Python imports this module when it starts, if its folder is on PYTHONPATH; it does nothing unless FAULT holds a plan.
DVC and the stages are Python, so all their files pass here. It must run without the project's packages.
"""

import errno
import fcntl
import io
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

#: Audit events of the interpreter that change a folder, and which of their arguments is the path.
CHANGES = {"os.rename": 1, "os.link": 1, "os.symlink": 1, "os.remove": 0, "os.mkdir": 0}

#: What a full disk lets pass: it frees, or takes nothing.
FREE = ("os.remove", "open")


class Plan(NamedTuple):
    """What happens, and where.

    Args:
        action: "list", "kill group", "kill dvc", "kill self", "interrupt", "full", "full once", "read-only", "change".
        root: the project. Other files are not counted.
        counter: a file that counts for all processes together, by its size, and names what was changed.
        at: the number of the change at which it happens, from 1.
        dvc: the process of DVC.
        stage: for "change": count in this stage alone.
        path: what is changed, or the folder that is read-only.
        content: of the changed file; None: it vanishes.
    """

    action: str
    root: str
    counter: str
    at: int = 0
    dvc: int = 0
    stage: str = ""
    path: str = ""
    content: str | None = None


class Fault:
    """A plan at work in this process."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.busy = plan, False

    def audit(self, event: str, args: tuple[Any, ...]) -> None:
        """The interpreter's hook."""
        if event in CHANGES and not self.busy:
            self.meet(event, args[CHANGES[event]])
        elif event == "open" and not self.busy and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR):
            self.meet(event, args[0])

    def meet(self, event: str, path: Any) -> None:
        """A change of a file is about to happen, or has happened halfway."""
        plan = self.plan
        try:
            name = os.path.abspath(os.fsdecode(path))  # noqa: PTH100 (a path of any kind)
        except TypeError:
            return  # a descriptor
        if not name.startswith(f"{plan.root}/") or (plan.stage and os.environ.get("DVC_STAGE") != plan.stage):
            return
        if plan.action == "read-only":
            if f"{name}/".startswith(f"{plan.path}/"):
                raise OSError(errno.EROFS, os.strerror(errno.EROFS), name)
            return
        self.busy = True
        try:
            number = self._count(f"{event} {name[len(plan.root) + 1 :]}\n")
            if number == plan.at or (plan.action == "full" and 0 < plan.at <= number and event not in FREE):
                self._happen(name)
        finally:
            self.busy = False

    def _count(self, line: str) -> int:
        with open(self.plan.counter, "a+", encoding="utf-8") as file:  # noqa: PTH123 (the hook is for all of them)
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write(line)
            file.flush()
            file.seek(0)
            return file.read().count("\n")

    def _happen(self, name: str) -> None:
        plan = self.plan
        match plan.action:
            case "kill group":
                os.killpg(0, signal.SIGKILL)
            case "kill dvc":
                os.kill(plan.dvc, signal.SIGKILL)
            case "kill self":
                os.kill(os.getpid(), signal.SIGKILL)
            case "interrupt":
                os.killpg(0, signal.SIGINT)
                time.sleep(0.01)
            case "full" | "full once":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)
            case "change" if plan.content is None:
                Path(plan.path).unlink()
            case "change":
                Path(plan.path).write_text(str(plan.content), encoding="utf-8")


def install(plan: Plan) -> None:
    """Let it happen in this process and, through the environment, in those that it starts."""
    os.environ["FAULT"] = json.dumps(plan._asdict())
    fault, plain = Fault(plan), io.open

    class Counted(io.FileIO):
        """A file of which each write is counted, when half of it is done."""

        def write(self, content: Any) -> int:
            view = memoryview(content).cast("B")
            half = super().write(view[: len(view) // 2]) or 0
            fault.meet("write", self.name)
            return half + (super().write(view[half:]) or 0)

    def opened(  # noqa: PLR0917 (as the built-in)
        file: Any,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        closefd: bool = True,
        opener: Any = None,
    ) -> Any:
        """The built-in `open`, with counted files."""
        if fault.busy or isinstance(file, int) or buffering == 0 or not set(mode) & set("wxa"):
            return plain(file, mode, buffering, encoding, errors, newline, closefd, opener)
        raw = Counted(file, mode.replace("b", "").replace("t", ""), closefd, opener)
        fault.meet("made", file)
        buffered = (io.BufferedRandom if "+" in mode else io.BufferedWriter)(raw)
        if "b" in mode:
            return buffered
        text = io.TextIOWrapper(buffered, encoding, errors, newline, line_buffering=buffering == 1)
        text.mode = mode  # type: ignore[misc]
        return text

    import builtins

    builtins.open = io.open = opened
    sys.addaudithook(fault.audit)


if "FAULT" in os.environ:
    install(Plan(**json.loads(os.environ["FAULT"])))
