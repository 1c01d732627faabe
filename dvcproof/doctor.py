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

from dvcproof.cache import Cache, rewrite
from dvcproof.findings import Finding, FoundError, Report
from dvcproof.git import AbsentError, git
from dvcproof.lockfile import File, lock_files, parse_lock_document, refuse_conflicts
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
    report = Report("doctor", "checked" if after else "mended" if fix else "nothing was changed; --fix mends")
    for line in examine(folder, after=after, fix=fix, forget=all):
        open_ = line.startswith(LEFT) or not (fix or after)
        text = line if fix or after or line.startswith(LEFT) else f"with --fix: {line}"
        report.findings.append(Finding("DP501", "error" if open_ else "note", text))
    return report


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
        with alone(cache, fix=fix or after) as mended:
            if after:
                check(cache)
                return mended
            return [*mended, *mend(cache, fix=fix)]
    except DvcException as error:
        hint = "Correct it: `dvc status` says more."
        raise InputError("DVC", expected="a project that it can read", received=str(error), hint=hint) from None


def mend(cache: Cache, *, fix: bool) -> Iterator[str]:
    """Yield a line about each damage. Repair the damage if `fix` is set."""
    damaged = [said for path in lock_files(cache.root) if (said := _mend_lock(path, cache, fix=fix))]
    yield from damaged
    if damaged and not fix:  # other damage can be found only when each dvc.lock is whole
        return
    for stage, name in dict(others_results(cache)).items():
        if fix:
            drop(cache, stage)
        yield f"{name} is not what stage '{stage}' wrote: its record is removed, so that the stage runs again"
    lock = cache.lock()
    outputs = lock.outputs()
    again = "DVC makes them again if it has to"
    steps: list[tuple[int | list[str], str]] = [  # in this order
        (n := _left_over(cache, outputs, fix=fix), f"left-overs of killed processes removed: {n}"),
        (
            n := cache.drop_records(lock, fix=fix),
            f"{n} damaged or missing records of runs moved to {cache.away}: {again}",
        ),
        (
            bad := cache.drop_objects(lock, fix=fix),
            f"{len(bad)} damaged objects moved to {cache.away}: {again} ({_few(bad)})",
        ),
        (bad := cache.restore(outputs, fix=fix), f"missing, and put back: {_few(bad)}"),
        (
            bad := _restore_lists(cache, outputs, fix=fix),
            f"lists of what Git ignores, cut short by DVC, put back: {_few(bad)}",
        ),
        (bad := cache.suspects(lock, outputs, fix=fix), f"not what dvc.lock names, so that {again}: {_few(bad)}"),
        (
            bad := cache.damaged_inputs(lock),
            f"{LEFT}damaged in {cache.folder}, and made by no stage: {_few(bad)}. Move it away, and run `dvc fetch`",
        ),
    ]
    yield from (line for found, line in steps if found)
    cache.memory.save()
    for record in (cache.root / RECORDS).glob("*.json") if fix else ():  # a stage taken from the cache writes none
        record.unlink()


def _mend_lock(path: Path, cache: Cache, *, fix: bool) -> str:
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
    if fix:
        kept.write_bytes(content)
        rewrite(path, committed) if good else path.unlink()
    if good:
        return f"{name} was damaged: that of the last commit is back. A copy of the damaged one is {kept}"
    return f"{name} was damaged, and the last commit has no good one: removed. A copy is {kept}"


def is_whole(content: bytes) -> bool:
    """Return whether the content is a complete dvc.lock."""
    try:
        return content.endswith(b"\n") and (b"stages: {}" in content or bool(parse_lock_document(content)))
    except ValueError:
        return False


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
        sentence = f"stage '{stage}', {name}"
        received, hint = "a change, so the record was removed", "Run `dvc repro` again."
        raise FoundError(sentence, expected="no change until DVC had recorded it", received=received, hint=hint)


def _restore_lists(cache: Cache, outputs: Iterable[File], *, fix: bool) -> list[str]:
    """Restore .gitignore files that lack only lines for outputs, from Git's index. Return their names.

    DVC removes the outputs of a stage from .gitignore before a run, and adds them again afterwards unless it is killed.
    A file with any other change, such as an added line, is not touched.
    """
    names: dict[str, set[str]] = {}
    for path in (Path(out.path) for out in outputs):
        names.setdefault(str(path.parent / ".gitignore"), set()).add(f"/{path.name}")
    found = []
    for name, staged in cache.staged(names):
        path = cache.root / name
        now = path.read_bytes() if path.is_file() else b""
        before, left = (set(content.decode(errors="replace").splitlines()) for content in (staged, now))
        if before > left and before - left <= names[name]:
            found.append(name)
            if fix:
                rewrite(path, staged)
    return found
