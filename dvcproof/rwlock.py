"""Hold DVC's locks of a project, and repair DVC's lists of processes, which a killed DVC leaves empty or cut short."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import psutil
from dvc.lock import LockBase, LockError, make_lock
from dvc.rwlock import SCHEMA, Invalid

from dvcproof.cache import Cache
from dvcproof.findings import BusyError

#: Seconds by which the start time of a process may be later than the date of the file that names it.
SLACK = 2.0


@contextmanager
def alone(cache: Cache) -> Iterator[list[str]]:
    """Hold DVC's locks of a project during the block. Yield a line for each damage in DVC's lists of processes.

    Raise BusyError if DVC runs a stage there, or another command holds a lock for longer than DVC waits.
    """

    def locked(path: Path) -> LockBase:
        return make_lock(str(path), str(path.parent), hardlink_lock=cache.hardlink)

    cache.tmp.mkdir(exist_ok=True)
    try:
        with locked(cache.tmp / "lock"):
            mended: list[str] = []
            for folder in (folder for folder in (cache.tmp, cache.tmp / "exps") if folder.is_dir()):
                with locked(folder / "rwlock.lock"):
                    mended += _mend(folder / "rwlock", cache)
            yield mended
    except LockError:
        sentence = "another command of DVC is at work"
        raise BusyError(str(cache.tmp / "lock"), sentence, hint="Run this again when DVC has ended.") from None


def _mend(path: Path, cache: Cache) -> Iterator[str]:
    """Repair DVC's list of reading and writing processes. The caller holds its lock. Yield a line for each repair.

    Raise BusyError if a process in the list is running, or the list is damaged and DVC is running.
    """
    try:
        held: dict[str, dict[str, Any]] = SCHEMA(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return
    except (ValueError, Invalid):
        if found := dvc_at_work(cache.root):
            hint = f"Wait until process {found} is done, and run it again."
            raise BusyError(str(path), "DVC's list of running processes is damaged", hint=hint) from None
        if cache.fix:
            path.unlink()
        yield f"{path} was damaged: removed"
        return
    written = path.stat().st_mtime
    commands = {holder["pid"]: holder["cmd"] for holder in chain(held["write"].values(), *held["read"].values())}
    present = {pid for pid in commands if psutil.pid_exists(pid)}  # DVC itself removes the others
    strangers = {pid for pid in present if not _is_same(pid, commands[pid], written)}
    if at_work := ", ".join(f"{commands[pid]} (process {pid})" for pid in present - strangers):
        sentence = f"nothing was checked, because DVC is running here: {at_work}"
        raise BusyError("the project", sentence, hint="Wait for it, and run this again.")
    if strangers:
        if cache.fix:
            path.unlink()
        yield f"{path} named processes that are not DVC: {', '.join(map(str, strangers))}"


def _is_same(pid: int, command: str, written: float) -> bool:
    """Return whether the process with this id is the one in the list. `written` is the list's date in s since 1970."""
    try:
        process = psutil.Process(pid)
        words = process.cmdline()
        return (_is_dvc(words) or " ".join(words).endswith(command)) and process.create_time() <= written + SLACK
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def _is_dvc(words: list[str]) -> bool:
    return any(Path(word).name == "dvc" for word in words)


def dvc_at_work(root: Path) -> int | None:
    """Return the id of a DVC process whose working directory is in this project; None if there is none."""
    for process in psutil.process_iter(["cwd", "cmdline"]):
        folder, words = process.info["cwd"], process.info["cmdline"]
        if folder and Path(folder).is_relative_to(root) and _is_dvc(words or []):
            return int(process.pid)
    return None
