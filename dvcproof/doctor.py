"""Find and repair what a kill, a full disk or a damaged file left behind, so that `dvc repro` gives the right bytes.

Before `dvc repro`, the doctor repairs files that DVC left empty or cut short, damaged objects and records in the cache,
and damaged or missing outputs, and removes temporary files. After `dvc repro`, it checks that DVC recorded the inputs
that the stages have really read.
"""

import re
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from dvc.exceptions import DvcException

from dvcproof.cache import Cache
from dvcproof.findings import Finding, FoundError, Report
from dvcproof.git import AbsentError, git
from dvcproof.lockfile import Lock, lock_files, parse_lock_document, refuse_conflicts
from dvcproof.runtime.files import clear_rooms
from dvcproof.runtime.program import InputError
from dvcproof.runtime.watch import RECORDS
from dvcproof.rwlock import alone, dvc_at_work
from dvcproof.witness import contradictions, drop, others_results

#: The names of temporary files of DVC.
UNFINISHED = re.compile(r".*\.[\w-]{22}\.tmp")

#: Age in seconds after which a temporary file in a shared cache is removed. Writing a file never takes so long.
LONG = 3600

#: The beginning of a message about damage that only a person can repair.
LEFT = "left as it is: "


def doctor(folder: Path, *, fix: bool, all: bool, after: bool) -> Report:  # noqa: A002 # the name of the option
    """Run the verb `doctor`. Without `fix`, each line says what a repair would do."""
    report = Report("doctor", "checked" if after else "mended" if fix else "nothing was changed; --fix repairs")
    for line in examine(folder, after=after, fix=fix, forget=all):
        open_ = line.startswith(LEFT) or not (fix or after)
        text = line if fix or after or line.startswith(LEFT) else f"with --fix: {line}"
        report.findings.append(Finding("DP501", "error" if open_ else "note", text))
    return report


def examine(root: Path, *, after: bool = False, forget: bool = False, fix: bool = True) -> list[str]:
    """Repair the project in the folder `root`. Return a line for each repair.

    Args:
        after: whether to check the records of the last `dvc repro` instead of repairing.
        forget: whether to read every file again, even if it has not changed since the last check.
        fix: whether to repair; if not, only return the lines.

    Raise BusyError if DVC is at work in the project; FoundError if DVC recorded other inputs than a stage has read;
    InputError if this is no DVC project.
    """
    refuse_conflicts(root)
    try:
        cache = Cache(root, forget=forget, fix=fix or after)
        with alone(cache) as mended:
            if after:
                check(cache)
                return mended
            return [*mended, *mend(cache)]
    except DvcException as error:
        hint = "Correct it: `dvc status` says more."
        raise InputError("DVC", f"it cannot read the project: {error}", hint=hint) from None


def mend(cache: Cache) -> Iterator[str]:
    """Yield a line about each damage. Repair the damage if `cache.fix` is set."""
    damaged = [said for path in lock_files(cache.root) if (said := _mend_lock(path, cache))]
    yield from damaged
    if damaged and not cache.fix:  # other damage can be found only when each dvc.lock is whole
        return
    for stage, name in dict(others_results(cache)).items():
        if cache.fix:
            drop(cache, stage)
        yield f"{name} is not what stage '{stage}' wrote: its record is removed, so that the stage runs again"
    for found, sentence in _steps(cache, cache.lock()):
        if found:
            names = ", ".join(found[:4]) + (f" and {len(found) - 4} more" if len(found) > 4 else "")
            yield sentence.format(count=len(found), names=names, cache=cache, again="DVC makes them again if needed")
    cache.memory.save()
    for record in (cache.root / RECORDS).glob("*.json") if cache.fix else ():  # a stage taken from the cache has none
        record.unlink()


def _steps(cache: Cache, lock: Lock) -> Iterator[tuple[list[str], str]]:
    """Take the steps of a repair, in this order. Yield the names of what each has found, and a sentence about them."""
    yield _left_over(cache, lock), "leftovers of killed processes removed: {count}"
    yield cache.drop_records(lock), "{count} damaged or missing records of runs moved to {cache.away}: {again}"
    yield cache.drop_objects(lock), "{count} damaged objects moved to {cache.away}: {again} ({names})"
    yield cache.restore(lock), "missing outputs, put back: {names}"
    yield _restore_lists(cache, lock), ".gitignore files that DVC cut short, put back: {names}"
    yield cache.suspects(lock), "different from dvc.lock, so that {again}: {names}"
    advice = "Move it away, and run `dvc fetch`"
    yield cache.damaged_inputs(lock), f"{LEFT}damaged in {{cache.folder}}, and made by no stage: {{names}}. {advice}"


def _mend_lock(path: Path, cache: Cache) -> str:
    """Replace an empty or truncated dvc.lock by the last commit's. Return a line on the repair, '' if none is needed.

    Runs since that commit are not lost: `dvc repro` restores them from the run cache.
    """
    content, name, committed = path.read_bytes(), str(path.relative_to(cache.root)), b""
    if is_whole(content):
        return ""
    with suppress(AbsentError):
        committed = git(path.parent, "cat-file", "blob", f"HEAD:./{path.name}")
    if committed == content and is_whole(content + b"\n"):
        return ""  # only the last line end is missing, which an editor may have removed
    kept, good = cache.tmp / f"{name.replace('/', '-')}.damaged", is_whole(committed)
    if cache.fix:
        kept.write_bytes(content)
        path.unlink()
    if not good:
        return f"{name} was damaged, and the last commit has no good one: removed. A copy is {kept}"
    cache.rewrite(path, committed)
    return f"{name} was damaged, and is replaced by that of the last commit. A copy of the damaged one is {kept}"


def is_whole(content: bytes) -> bool:
    """Return whether the content is a complete dvc.lock."""
    try:
        return content.endswith(b"\n") and (b"stages: {}" in content or bool(parse_lock_document(content)))
    except ValueError:
        return False


def _left_over(cache: Cache, lock: Lock) -> list[str]:
    """Remove the temporary files and folders of killed processes. Return their names."""
    places = {cache.root, *((cache.root / out.path).parent for out in lock.outputs())}
    stored = {folder for form in ("files/md5", "files/md5/*", "runs/*/*") for folder in cache.folder.glob(form)}
    rooms = [room for folder in (*places, *stored) for room in (clear_rooms(folder) if cache.fix else ())]
    age = LONG if cache.is_outside else 0  # other processes may be writing now
    files = [path for folder, least in ((places, 0), (stored, age)) for path in _unfinished(folder, least)]
    copies = [*(cache.tmp / "exps" / "standalone").glob("tmp*")]  # folders of a killed `dvc exp run --temp`
    if copies and dvc_at_work(cache.root):
        copies = []
    for copy in copies if cache.fix else ():
        shutil.rmtree(copy, ignore_errors=True)
    for file in files if cache.fix else ():
        file.unlink()
    return [path.name for path in (*rooms, *files, *copies)]


def _unfinished(folders: Iterable[Path], age: float) -> list[Path]:
    """Return the temporary files of DVC that are at least `age` seconds old."""
    found = (path for folder in folders for path in folder.glob("*.tmp") if UNFINISHED.fullmatch(path.name))
    return [path for path in found if time.time() - path.stat().st_mtime >= age]


def check(cache: Cache) -> None:
    """Remove the records of stages that read other inputs than DVC recorded. Raise FoundError if there was one."""
    found = dict(contradictions(cache))
    for stage in found:
        drop(cache, stage)
    for stage, name in found.items():
        expected, received = "no change until DVC had recorded it", "a change, so the record was removed"
        hint = "Run `dvc repro` again."
        raise FoundError(f"stage '{stage}', {name}", expected=expected, received=received, hint=hint)


def _restore_lists(cache: Cache, lock: Lock) -> list[str]:
    """Restore .gitignore files that lack only lines for outputs, from Git's index. Return their names.

    DVC removes the outputs of a stage from .gitignore before a run, and adds them again afterwards unless it is killed.
    A file with any other change, such as an added line, is not touched.
    """
    names: dict[str, set[str]] = {}
    for path in (Path(out.path) for out in lock.outputs()):
        names.setdefault(str(path.parent / ".gitignore"), set()).add(f"/{path.name}")
    found = []
    for name, staged in cache.staged(names):
        path = cache.root / name
        now = path.read_bytes() if path.is_file() else b""
        before, left = (set(content.decode(errors="replace").splitlines()) for content in (staged, now))
        if before > left and before - left <= names[name]:
            found.append(name)
            cache.rewrite(path, staged)
    return found
