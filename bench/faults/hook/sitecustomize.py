"""Count the changes of files in a project, and inject a fault at a given change.

Python imports this module at its start if the module's folder is on PYTHONPATH. The module does nothing unless the
variable FAULT holds a plan. DVC and the stages are Python programs, so all their changes of files are counted. The
module must run without the project's packages.
"""

import builtins
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

#: Audit events of the interpreter that change a folder, and the position of the path in their arguments.
CHANGES = {"os.rename": 1, "os.link": 1, "os.symlink": 1, "os.remove": 0, "os.mkdir": 0}

#: Events that a full disk still allows, since they need no space.
FREE = ("os.remove", "open")


class Plan(NamedTuple):
    """A fault, and the change at which it happens.

    Args:
        action: "list", "kill group", "kill dvc", "kill self", "interrupt", "full", "full once", "read-only", "change".
        root: the project. Files outside of it are not counted.
        counter: a file with a line for each change, by any process.
        at: the number of the change at which the fault happens, from 1.
        dvc: the process number of DVC; 0 in the plan with which DVC itself starts.
        stage: for "change": count only changes that this stage makes.
        path: the file to change, or the folder that is read-only.
        content: new content of the file; None: the file vanishes.
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
        """Handle an audit event of the interpreter."""
        if event in CHANGES:
            self.meet(event, args[CHANGES[event]])
        elif event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR):
            self.meet(event, args[0])

    def meet(self, event: str, path: Any) -> None:
        """Handle a change of a file that is about to happen, or a write that is half done."""
        plan = self.plan
        if self.busy or isinstance(path, int):
            return
        name = os.path.abspath(os.fsdecode(path))  # noqa: PTH100 (a path of any kind)
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
    """Activate a plan in this process and, through the environment, in its child processes."""
    plan = plan._replace(dvc=plan.dvc or os.getpid())
    os.environ["FAULT"] = json.dumps(plan._asdict())
    fault, plain = Fault(plan), io.open

    class Counted(io.FileIO):
        """A file that counts each write when half of the write is done."""

        def write(self, content: Any) -> int:
            view = memoryview(content).cast("B")
            half = super().write(view[: len(view) // 2]) or 0
            fault.meet("write", self.name)
            return half + (super().write(view[half:]) or 0)

    def opened(file: Any, mode: str = "r", buffering: int = -1, *text: Any, **options: Any) -> Any:
        """Open a file as the built-in `open` does, and count its writes."""
        if fault.busy or isinstance(file, int) or buffering == 0 or not set(mode) & set("wxa"):
            return plain(file, mode, buffering, *text, **options)
        opener = options.pop("opener", None)
        raw = Counted(file, mode.replace("b", "").replace("t", ""), options.pop("closefd", True), opener)
        fault.meet("made", file)
        buffered = (io.BufferedRandom if "+" in mode else io.BufferedWriter)(raw)
        if "b" in mode:
            return buffered
        encoding, errors, newline = (*text, None, None, None)[:3]
        names = {"encoding": encoding, "errors": errors, "newline": newline} | options
        wrapper = io.TextIOWrapper(buffered, **names, line_buffering=buffering == 1)
        wrapper.mode = mode  # type: ignore[misc]
        return wrapper

    builtins.open = io.open = opened
    sys.addaudithook(fault.audit)


if "FAULT" in os.environ:
    install(Plan(**json.loads(os.environ["FAULT"])))
