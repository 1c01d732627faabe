"""Repair dvc.lock and .dvc/tmp/rwlock. DVC writes both in place, so a killed DVC leaves them empty or truncated."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from dvc.lock import LockBase, LockError, make_lock
from pydantic import BaseModel, ConfigDict

from dvcproof.cache import Cache
from dvcproof.findings import BusyError
from dvcproof.git import AbsentError, git
from dvcproof.lockfile import parse_lock_document
from dvcproof.runtime.files import replacing

#: Seconds by which the start time of a process may be later than the date of the file that names it.
SLACK = 2.0


class Holder(BaseModel):
    """A DVC process that reads or writes a file."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    pid: int
    cmd: str


class Holders(BaseModel):
    """DVC's list of the processes that write or read files, by path of the file."""

    model_config = ConfigDict(extra="forbid", strict=True)

    write: dict[str, Holder] = {}
    read: dict[str, list[Holder]] = {}

    def all(self) -> set[Holder]:
        """Return every process in the list."""
        return {*self.write.values(), *(holder for holders in self.read.values() for holder in holders)}

    def without(self, gone: set[Holder]) -> "Holders":
        """Return the list without the processes in `gone`."""
        read = {path: [holder for holder in holders if holder not in gone] for path, holders in self.read.items()}
        write = {path: holder for path, holder in self.write.items() if holder not in gone}
        return Holders(write=write, read={path: holders for path, holders in read.items() if holders})


@contextmanager
def alone(cache: Cache) -> Iterator[list[str]]:
    """Hold DVC's locks of a project during the block. Yield a line for each repair of DVC's lists of processes.

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
                    mended += _mend_rwlock(folder / "rwlock", cache.root)
            yield mended
    except LockError:
        sentence = "another command of DVC is at work"
        raise BusyError(str(cache.tmp / "lock"), sentence, hint="Run this again when DVC has ended.") from None


def mend_lock(path: Path, name: str, kept: Path, *, fix: bool) -> str | None:
    """Replace an empty or truncated dvc.lock by the last commit's. Return a line on the repair, None if none is needed.

    Runs since that commit are not lost: `dvc repro` restores them from the run cache.

    Args:
        path: the dvc.lock.
        name: the name of the file in the returned line.
        kept: the path for a copy of the damaged file.
        fix: whether to replace the file. If not, only return the line.
    """
    content = path.read_bytes()
    if is_whole(content):
        return None
    try:
        committed: bytes | None = git(path.parent, "cat-file", "blob", f"HEAD:./{path.name}")
    except AbsentError:
        committed = None
    if committed == content and is_whole(content + b"\n"):
        return None  # only the last line end is missing, which an editor may have removed
    if fix:
        kept.write_bytes(content)
    if committed is None or not is_whole(committed):
        if fix:
            path.unlink()
        return f"{name} was damaged, and the last commit has no good one: removed. A copy is {kept}"
    if fix:
        with replacing(path) as (file,):
            file.write_bytes(committed)
    return f"{name} was damaged: that of the last commit is back. A copy of the damaged one is {kept}"


def is_whole(content: bytes) -> bool:
    """Return whether the content is a complete dvc.lock."""
    try:
        return content.endswith(b"\n") and (b"stages: {}" in content or bool(parse_lock_document(content)))
    except ValueError:
        return False


def _mend_rwlock(path: Path, root: Path) -> Iterator[str]:
    """Repair DVC's list of reading and writing processes. The caller holds its lock. Yield a line for each repair.

    Raise BusyError if a process in the list is running, or the list is damaged and DVC is running.
    """
    try:
        holders = Holders.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return
    except ValueError:
        if found := dvc_at_work(root):
            hint = f"Wait until process {found} is done, and run it again."
            raise BusyError(str(path), "DVC's list of running processes is damaged", hint=hint) from None
        path.unlink()
        yield f"{path} was damaged: removed"
        return
    written = path.stat().st_mtime
    present = {holder for holder in holders.all() if psutil.pid_exists(holder.pid)}  # DVC itself removes the others
    strangers = {holder for holder in present if not _is_same(holder, written)}
    if strangers:
        with replacing(path) as (file,):
            file.write_text(holders.without(strangers).model_dump_json(), encoding="utf-8")
        yield f"{path} named processes that are not DVC: {', '.join(str(holder.pid) for holder in strangers)}"
    if at_work := ", ".join(f"{holder.cmd} (process {holder.pid})" for holder in present - strangers):
        sentence = f"nothing was checked, because DVC is running here: {at_work}"
        raise BusyError("the project", sentence, hint="Wait for it, and run this again.")


def _is_same(holder: Holder, written: float) -> bool:
    """Return whether the process with this id is the one in the list. `written` is the list's date in s since 1970."""
    try:
        process = psutil.Process(holder.pid)
        words = process.cmdline()
        is_dvc = _is_dvc(words) or " ".join(words).endswith(holder.cmd)
        return is_dvc and process.create_time() <= written + SLACK
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
