"""Find and mend what a kill, a full disk or a damaged file left behind, so that `dvc repro` gives the right bytes.

Before `dvc repro`: files that DVC left empty or cut short, damaged objects and records of its cache, damaged or missing
outputs, left-overs. With --after: whether DVC recorded what the stages have read.
"""

import argparse
import os
import re
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dvc.config import Config
from dvc.exceptions import DvcException
from dvc.lock import LockBase, LockError, make_lock

from dvcproof.cache import Cache, Memory
from dvcproof.findings import BusyError
from dvcproof.ignored import restore_lists
from dvcproof.lockfile import File, Lock, lock_files, read_lock, refuse_conflicts
from dvcproof.messages import printable
from dvcproof.runtime.files import clear_rooms
from dvcproof.runtime.program import InputError
from dvcproof.runtime.watch import RECORDS
from dvcproof.rwlock import dvc_at_work, mend_lock, mend_rwlock
from dvcproof.witness import contradictions, drop, others_results

#: How DVC ends the names of files that it has not finished.
UNFINISHED = re.compile(r".*\.[\w-]{22}\.tmp")

#: Seconds after which a file in a cache that others share is taken for a left-over: nothing takes so long to write.
LONG = 3600

AGAIN = "Run it again."

#: How a line begins about what only a person can mend.
LEFT = "left as it is: "

#: How a line begins where another process is at work.
BUSY = "nothing was looked at, for this is at work here: "


class Project:
    """The project in the folder `root`, and where DVC keeps its things."""

    def __init__(self, root: Path, *, forget: bool = False) -> None:
        """
        Args:
            root: the folder.
            forget: whether to look at every file, those too that have not changed since the last time.

        Raises:
            InputError: this is no project of DVC.
        """
        tops = [folder for folder in (root, *root.parents) if (folder / ".dvc").is_dir()]
        if not tops:
            hint = "Run it in the folder of a project, or name that with -C."
            raise InputError(str(root), "this is no DVC project: it has no folder .dvc", hint=hint)
        self.root = root = tops[0]
        self.tmp = root / ".dvc" / "tmp"
        config = Config(str(root / ".dvc"))
        self.hardlink = bool(config["core"].get("hardlink_lock"))
        folder = Path(config["cache"].get("dir", root / ".dvc" / "cache"))
        self.memory = Memory(self.tmp / "doctor.json", forget=forget)
        self.cache = Cache(root, folder, self.memory, group=config["cache"].get("shared") == "group")

    @contextmanager
    def alone(self) -> Iterator[str]:
        """Keep DVC out, as its own commands keep each other out. Gives the process of DVC that runs a stage, if any.

        Raises:
            BusyError: another command holds the lock for longer than DVC waits.
        """
        self.tmp.mkdir(exist_ok=True)
        try:
            with self._locked(self.tmp / "lock"):
                lists = [folder / "rwlock" for folder in (self.tmp, self.tmp / "exps") if folder.is_dir()]
                yield ", ".join(filter(None, map(self._mend_rwlock, lists)))
        except LockError:
            name = str(self.tmp / "lock")
            raise BusyError(name, expected="no other command of DVC", received="one at work", hint=AGAIN) from None

    def _locked(self, path: Path) -> LockBase:
        return make_lock(str(path), str(path.parent), hardlink_lock=self.hardlink)

    def _mend_rwlock(self, path: Path) -> str | None:
        with self._locked(path.with_name("rwlock.lock")):
            mended, at_work = mend_rwlock(path, self.root)
        _say(mended)
        return at_work

    def lock(self) -> Lock:
        """What all dvc.lock record, with every path as it is from the root."""
        top = self.root / "dvc.lock"
        locks = {path: read_lock(path) for path in lock_files(self.root)}
        if set(locks) <= {top}:
            return locks.get(top, Lock())
        from dvcproof.project import Project as Described  # here, with all of DVC: it knows the folders of stages

        found = {}
        with Described.open(self.root) as project:
            for stage in project.stages:
                record = locks.get(self.root / Path(stage.file).with_name("dvc.lock"), Lock()).stages.get(stage.name)
                if record:
                    found[stage.address] = record.below(os.path.relpath(stage.wdir, self.root))
        return Lock(stages=found)


def mend(project: Project, *, fix: bool = True) -> Iterator[str]:
    """Find all that can be mended, and mend it if `fix` is set. Gives a line for each."""
    damaged = False
    for path in lock_files(project.root):
        name = os.path.relpath(path, project.root)
        if said := mend_lock(path, project.tmp / f"{name.replace('/', '-')}.damaged", name, fix=fix):
            damaged = True
            yield said
    if damaged and not fix:  # what else there is shows only once each dvc.lock is whole
        return
    yield from _mend_cache(project, fix=fix)
    if bad := project.cache.damaged_inputs(project.lock()):
        where = project.cache.folder
        yield f"{LEFT}damaged in {where}, and made by no stage: {_few(bad)}. Move it away, and run `dvc fetch`"
    project.memory.save()
    for record in (project.root / RECORDS).glob("*.json") if fix else ():  # a stage from the cache leaves none
        record.unlink()


def _mend_cache(project: Project, *, fix: bool) -> Iterator[str]:
    cache = project.cache
    for stage, name in dict(others_results(project.root, project.lock(), cache)).items():
        if fix:
            drop(project.root, cache, stage)
        yield f"{name} is not what stage '{stage}' wrote: its record is taken back, and it runs again"
    lock = project.lock()
    outputs = [out for stage in lock.stages.values() for out in stage.outs]
    if cleared := _left_over(project, outputs, fix=fix):
        yield f"left-overs of killed processes removed: {cleared}"
    if dropped := cache.drop_records(fix=fix):
        yield f"{dropped} damaged or missing records of runs moved to {cache.away}: DVC runs again what it needs"
    if bad := cache.drop_objects(lock, fix=fix):
        yield f"{len(bad)} damaged objects moved to {cache.away}: DVC makes again what it needs of them ({_few(bad)})"
    if restored := cache.restore(outputs, fix=fix):
        yield f"missing, and put back: {_few(restored)}"
    if listed := restore_lists(project.root, outputs, fix=fix):
        yield f"lists of what Git ignores, cut short by DVC, put back: {_few(listed)}"
    if fix:
        cache.fill(outputs)
    if found := cache.suspects(lock, fix=fix):
        yield f"not what dvc.lock names, so that DVC takes or makes it again if it has to: {_few(found)}"


def _left_over(project: Project, outputs: Iterable[File], *, fix: bool) -> int:
    """Remove the files that killed processes left, and return how many there were."""
    cache = project.cache
    places = {project.root, *((project.root / out.path).parent for out in outputs)}
    stored = {folder for form in ("files/md5", "files/md5/*", "runs/*/*") for folder in cache.folder.glob(form)}
    shared = not cache.folder.is_relative_to(project.root)  # then others may be writing now
    age = LONG if shared else 0
    found = [*_clear(places, fix=fix), *_clear(stored, age=age, fix=fix), *_clear_experiments(project, fix=fix)]
    return len(found)


def _clear(folders: Iterable[Path], *, age: float = 0, fix: bool) -> Iterator[Path]:
    """Remove unfinished files, those of DVC if they are so many seconds old."""
    for folder in folders:
        yield from clear_rooms(folder) if fix else ()
        for path in folder.glob("*.tmp"):
            if UNFINISHED.fullmatch(path.name) and time.time() - path.stat().st_mtime >= age:
                if fix:
                    path.unlink()
                yield path


def _clear_experiments(project: Project, *, fix: bool) -> Iterator[Path]:
    """Copies of the project in which `dvc exp run --temp` was killed."""
    copies = [*(project.tmp / "exps" / "standalone").glob("tmp*")]
    if copies and not dvc_at_work(project.root):
        for copy in copies:
            if fix:
                shutil.rmtree(copy, ignore_errors=True)
            yield copy


def _few(names: list[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def check(project: Project) -> None:
    """Take back what DVC recorded of a stage that has read something else.

    Raises:
        InputError: there was such a stage. The others are taken back too.
    """
    found = dict(contradictions(project.root, project.lock(), project.cache))
    for stage in found:
        drop(project.root, project.cache, stage)
    for stage, name in found.items():
        raise InputError(
            f"stage '{stage}', {name}",
            expected="no change until DVC had recorded it",
            received="one, so the record was taken back",
            hint=AGAIN,
        )


def examine(root: Path, *, after: bool = False, forget: bool = False, fix: bool = True) -> list[str]:
    """Mend the project in the folder `root`, or check what the last `dvc repro` recorded, unless DVC is at work there.

    Returns:
        What was mended, or is to be.

    Args:
        root: the folder.
        after: whether to check, not to mend.
        forget: whether to read files too that have not changed since the last time.
        fix: whether to mend; else it is only said.

    Raises:
        InputError: this is no project of DVC, or DVC recorded something else than a stage has read.
    """
    refuse_conflicts(root)
    try:
        project = Project(root, forget=forget)
        with project.alone() as at_work:
            if at_work:
                return [f"{BUSY}{at_work}"]
            if after:
                check(project)
                return []
            return list(mend(project, fix=fix))
    except DvcException as error:
        hint = "Correct it: `dvc status` says more."
        raise InputError("DVC", expected="a project that it can read", received=str(error), hint=hint) from None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--after", action="store_true", help="check what the last `dvc repro` recorded")
    parser.add_argument("--all", action="store_true", help="read files too that have not changed since the last time")
    args = parser.parse_args()
    for line in examine(Path.cwd(), after=args.after, forget=args.all):
        _say(line)


def _say(line: str | None) -> None:
    if line:
        sys.stdout.write(f"doctor: {printable(line)}\n")
