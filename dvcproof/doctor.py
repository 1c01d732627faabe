"""Find and repair what a kill, a full disk or a damaged file left behind, so that `dvc repro` gives the right bytes.

Before `dvc repro`, the doctor repairs files that DVC left empty or cut short, damaged objects and records in the cache,
and damaged or missing outputs, and removes temporary files. After `dvc repro`, it checks that DVC recorded the inputs
that the stages have really read.
"""

import re
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from dvc.exceptions import DvcException

from dvcproof.cache import Cache
from dvcproof.findings import FoundError
from dvcproof.git import AbsentError, git
from dvcproof.lockfile import File, lock_files, refuse_conflicts
from dvcproof.runtime.files import clear_rooms, replacing
from dvcproof.runtime.program import InputError
from dvcproof.runtime.watch import RECORDS
from dvcproof.rwlock import alone, dvc_at_work, mend_lock
from dvcproof.witness import contradictions, drop, others_results

#: The names of temporary files of DVC.
UNFINISHED = re.compile(r".*\.[\w-]{22}\.tmp")

#: Age in seconds after which a temporary file in a shared cache is removed. Writing a file never takes so long.
LONG = 3600

#: The beginning of a message about damage that only a person can repair.
LEFT = "left as it is: "


def examine(root: Path, *, after: bool = False, forget: bool = False, fix: bool = True) -> list[str]:
    """Repair the project in the folder `root`, or check the records of the last `dvc repro`.

    Return a line for each repair.

    Args:
        after: whether to check the records of the last `dvc repro` instead of repairing.
        forget: whether to read every file again, even if it has not changed since the last check.
        fix: whether to repair; if not, only return the lines.

    Raise BusyError if DVC is at work in the project; FoundError if DVC recorded other inputs than a stage has read;
    InputError if this is no DVC project.
    """
    refuse_conflicts(root)
    try:
        cache = Cache(root, forget=forget)
        with alone(cache) as mended:
            if after:
                check(cache)
                return mended
            return [*mended, *mend(cache, fix=fix)]
    except DvcException as error:
        hint = "Correct it: `dvc status` says more."
        raise InputError("DVC", expected="a project that it can read", received=str(error), hint=hint) from None


def mend(cache: Cache, *, fix: bool) -> Iterator[str]:
    """Yield a line about each damage. Repair the damage if `fix` is set."""
    damaged = False
    for path in lock_files(cache.root):
        name = str(path.relative_to(cache.root))
        if said := mend_lock(path, name, cache.tmp / f"{name.replace('/', '-')}.damaged", fix=fix):
            damaged = True
            yield said
    if damaged and not fix:  # other damage can be found only when each dvc.lock is whole
        return
    yield from _mend_cache(cache, fix=fix)
    if bad := cache.damaged_inputs(cache.lock()):
        yield f"{LEFT}damaged in {cache.folder}, and made by no stage: {_few(bad)}. Move it away, and run `dvc fetch`"
    cache.memory.save()
    for record in (cache.root / RECORDS).glob("*.json") if fix else ():  # a stage taken from the cache writes none
        record.unlink()


def _mend_cache(cache: Cache, *, fix: bool) -> Iterator[str]:
    for stage, name in dict(others_results(cache)).items():
        if fix:
            drop(cache, stage)
        yield f"{name} is not what stage '{stage}' wrote: its record is removed, so that the stage runs again"
    lock = cache.lock()
    outputs = lock.outputs()
    if cleared := _left_over(cache, outputs, fix=fix):
        yield f"left-overs of killed processes removed: {cleared}"
    if dropped := cache.drop_records(lock, fix=fix):
        yield f"{dropped} damaged or missing records of runs moved to {cache.away}: DVC runs stages again if needed"
    if bad := cache.drop_objects(lock, fix=fix):
        yield f"{len(bad)} damaged objects moved to {cache.away}: DVC makes them again if it has to ({_few(bad)})"
    if restored := cache.restore(outputs, fix=fix):
        yield f"missing, and put back: {_few(restored)}"
    if listed := restore_lists(cache.root, outputs, fix=fix):
        yield f"lists of what Git ignores, cut short by DVC, put back: {_few(listed)}"
    if fix:
        cache.fill(outputs)
    if found := cache.suspects(lock, fix=fix):
        yield f"not what dvc.lock names, so that DVC restores or makes them again if it has to: {_few(found)}"


def _left_over(cache: Cache, outputs: Iterable[File], *, fix: bool) -> int:
    """Remove the temporary files and folders of killed processes. Return their number."""
    places = {cache.root, *((cache.root / out.path).parent for out in outputs)}
    stored = {folder for form in ("files/md5", "files/md5/*", "runs/*/*") for folder in cache.folder.glob(form)}
    age = LONG if cache.is_outside else 0  # other processes may be writing now
    copies = [*(cache.tmp / "exps" / "standalone").glob("tmp*")]  # folders of a killed `dvc exp run --temp`
    if copies and dvc_at_work(cache.root):
        copies = []
    for copy in copies if fix else ():
        shutil.rmtree(copy, ignore_errors=True)
    return len([*_clear(places, fix=fix), *_clear(stored, age=age, fix=fix), *copies])


def _clear(folders: Iterable[Path], *, age: float = 0, fix: bool) -> Iterator[Path]:
    """Remove temporary files; those of DVC only if they are at least `age` seconds old. Yield their paths."""
    for folder in folders:
        yield from clear_rooms(folder) if fix else ()
        for path in folder.glob("*.tmp"):
            if UNFINISHED.fullmatch(path.name) and time.time() - path.stat().st_mtime >= age:
                if fix:
                    path.unlink()
                yield path


def _few(names: list[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def check(cache: Cache) -> None:
    """Remove the records of stages that read other inputs than DVC recorded. Raise FoundError if there was one."""
    found = dict(contradictions(cache))
    for stage in found:
        drop(cache, stage)
    for stage, name in found.items():
        raise FoundError(
            f"stage '{stage}', {name}",
            expected="no change until DVC had recorded it",
            received="a change, so the record was removed",
            hint="Run `dvc repro` again.",
        )


def restore_lists(root: Path, outputs: Iterable[File], *, fix: bool) -> list[str]:
    """Restore .gitignore files that lack only lines for outputs, from Git's index. Return their names.

    DVC removes the outputs of a stage from .gitignore before a run, and adds them again afterwards unless it is killed.
    A file with any other change, such as an added line, is not touched.
    """
    names: dict[str, set[str]] = {}
    for out in outputs:
        path = Path(out.path)
        names.setdefault(str(path.parent / ".gitignore"), set()).add(f"/{path.name}")
    try:
        tracked = git(root, "ls-files", "-z", "--", *names).decode().split("\0")
    except AbsentError:
        return []
    found = []
    for name in (name for name in tracked if name in names):
        path, staged = root / name, git(root, "cat-file", "blob", f":./{name}")
        now = path.read_bytes() if path.is_file() else b""
        before, left = (set(content.decode(errors="replace").splitlines()) for content in (staged, now))
        if before - left and before - left <= names[name] and left <= before:
            found.append(name)
            if fix:
                with replacing(path) as (file,):
                    file.write_bytes(staged)
    return found
