"""The files that DVC writes in place, and leaves empty or cut short if it is killed: dvc.lock and .dvc/tmp/rwlock."""

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

#: Seconds by which the start of a process and the date of a file may disagree.
SLACK = 2.0


class Holder(BaseModel):
    """A process of DVC that reads or writes a file."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    pid: int
    cmd: str


class Holders(BaseModel):
    """DVC's list of them, by the path of the file."""

    model_config = ConfigDict(extra="forbid", strict=True)

    write: dict[str, Holder] = {}
    read: dict[str, list[Holder]] = {}

    def all(self) -> set[Holder]:
        """Return every process in it."""
        return {*self.write.values(), *(holder for holders in self.read.values() for holder in holders)}

    def without(self, gone: set[Holder]) -> "Holders":
        """Return the list without the processes in `gone`."""
        read = {path: [holder for holder in holders if holder not in gone] for path, holders in self.read.items()}
        write = {path: holder for path, holder in self.write.items() if holder not in gone}
        return Holders(write=write, read={path: holders for path, holders in read.items() if holders})


@contextmanager
def alone(cache: Cache) -> Iterator[list[str]]:
    """Keep DVC out of a project, as its own commands keep each other out. Give what was mended of its lists.

    Raise BusyError if DVC runs a stage there, or another command holds the lock for longer than DVC waits.
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
        raise BusyError(str(cache.tmp / "lock"), sentence, hint="Run it again when that is done.") from None


def mend_lock(path: Path, name: str, kept: Path, *, fix: bool) -> str | None:
    """Put the last commit's dvc.lock in place of one that is empty or cut short. Return what was done, if anything.

    What a run had recorded since is not lost: `dvc repro` takes it from its cache.

    Args:
        path: dvc.lock.
        name: how it is called in what is said.
        kept: where to keep the damaged one.
        fix: whether to replace the file; if not, only say so.
    """
    content = path.read_bytes()
    if is_whole(content):
        return None
    try:
        committed: bytes | None = git(path.parent, "cat-file", "blob", f"HEAD:./{path.name}")
    except AbsentError:
        committed = None
    if committed == content and is_whole(content + b"\n"):
        return None  # an editor may end it without a line end
    if fix:
        kept.write_bytes(content)
    if committed is None or not is_whole(committed):
        if fix:
            path.unlink()
        return f"{name} was damaged, and the last commit has none that is not: removed. A copy is {kept}"
    if fix:
        with replacing(path) as (file,):
            file.write_bytes(committed)
    return f"{name} was damaged: that of the last commit is back. A copy of the damaged one is {kept}"


def is_whole(content: bytes) -> bool:
    """Return whether this is a dvc.lock to its last line."""
    try:
        return content.endswith(b"\n") and (b"stages: {}" in content or bool(parse_lock_document(content)))
    except ValueError:
        return False


def _mend_rwlock(path: Path, root: Path) -> Iterator[str]:
    """Mend DVC's list of who reads and writes what, whose lock is held. Return what was done, if anything.

    Raise BusyError if a process that is in the list, or may be in a damaged one, is at work.
    """
    try:
        holders = Holders.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return
    except ValueError:
        if found := dvc_at_work(root):
            hint = f"Wait until process {found} is done, and run it again."
            raise BusyError(str(path), "DVC's list of who is at work is damaged", hint=hint) from None
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
        sentence = f"nothing was looked at, for this is at work here: {at_work}"
        raise BusyError("the project", sentence, hint="Wait for it, and run this again.")


def _is_same(holder: Holder, written: float) -> bool:
    """Return whether the process that has this number now is the one that a list of this date means."""
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
    """Return the number of a process of DVC in this project."""
    for process in psutil.process_iter(["cwd", "cmdline"]):
        folder, words = process.info["cwd"], process.info["cmdline"]
        if folder and Path(folder).is_relative_to(root) and _is_dvc(words or []):
            return int(process.pid)
    return None
