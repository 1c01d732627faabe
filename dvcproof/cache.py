"""DVC's cache, beside dvc.lock: objects and records of runs that are not what their names say are moved away.

DVC takes an object for good as long as nobody may write to it, and a file in the work tree as long as its size and its
time are the same. A disk or a program that damages one changes neither.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from dvc.config import Config
from dvc.utils import dict_sha256
from dvc_data.hashfile.hash import file_md5
from ruamel.yaml import YAML

from dvcproof.git import AbsentError, git
from dvcproof.lockfile import Entry, File, Lock, lock_files, read_lock, refuse_aliases
from dvcproof.runtime.files import file_hash, replacing
from dvcproof.runtime.program import InputError
from dvcproof.runtime.watch import identity

#: The mode of an object, and that of a record in a cache that a group shares.
PROTECTED, SHARED = 0o444, 0o664


class Memory:
    """What was found out about files, in one JSON file: it holds as long as a file's identity is the same.

    Args:
        path: the JSON file. It may be missing or damaged.
        forget: whether to begin with nothing.
    """

    def __init__(self, path: Path, *, forget: bool = False) -> None:
        self._path, self._new = path, dict[str, Any]()
        try:
            self._old: dict[str, Any] = {} if forget else dict(json.loads(path.read_bytes()))
        except (FileNotFoundError, ValueError, TypeError):
            self._old = {}

    def of(self, path: Path, find: Callable[[Path], Any]) -> Any:
        """Return what `find` says of a file: it is asked only if the file is another than the last time."""
        asked = [identity(path.stat()), find.__name__]
        known = self._new.get(str(path)) or self._old.get(str(path))
        if not isinstance(known, list) or known[:2] != asked or len(known) != 3:  # another version wrote it
            known = [*asked, find(path)]
        self._new[str(path)] = known
        return known[2]

    def save(self) -> None:
        """Keep it for the next time, without the files that nobody asked for."""
        if self._new != self._old:
            with replacing(self._path) as (file,):
                file.write_text(json.dumps(self._new), encoding="utf-8")


def names(entry: Entry) -> tuple[str, str]:
    """Return folder and name of the run cache's record of a run: hashes of what went in, and of all that it says."""
    inputs = entry | {"outs": [out["path"] for out in entry.get("outs", ())]}
    return dict_sha256(inputs, exclude=["size", "nfiles"]), dict_sha256(entry, exclude=["size", "nfiles"])


def read_entry(text: str, folder: str, name: str) -> Entry | None:
    """Read a record of the run cache. None: it is damaged, or not the record of this folder and name.

    The name of the folder holds the command, the inputs and the paths of the outputs: a record that passes leads to
    no other path than those of the stage that looks for it.
    """
    try:
        refuse_aliases(text)
        entry: Entry = YAML(typ="safe").load(text)
        return entry if names(entry) == (folder, name) else None
    except Exception:  # the reader raises many kinds
        return None


def digests(entry: Entry) -> list[str]:
    """Return the hashes of the outputs in a record, but for those of DVC 2: it hashed texts with other line ends."""
    return [out["md5"] for out in entry.get("outs", ()) if out.get("hash") == "md5" and "md5" in out]


def recorded(path: Path) -> list[Any] | None:
    """Return the command and the hashes of the outputs in a record of the run cache. None: it is damaged."""
    try:
        entry = read_entry(path.read_text(encoding="utf-8"), path.parent.name, path.name)
    except ValueError:
        return None
    return None if entry is None else [str(entry.get("cmd")), digests(entry)]


def command_of(path: Path) -> str:
    """Return the command in a record of the run cache; '' if it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
        refuse_aliases(text)
        return str(YAML(typ="safe").load(text)["cmd"])
    except Exception:  # the reader raises many kinds
        return ""


def _is_readable(path: Path) -> bool:
    """Return whether a file can be read: one that cannot is not damaged."""
    return os.access(path, os.R_OK)


class Cache:
    """The cache of the project that a folder belongs to; other projects may share it. The graph is not loaded for it.

    Args:
        forget: whether to look at every file, those too that have not changed since the last time.

    Raise InputError if this is no project of DVC.
    """

    def __init__(self, root: Path, *, forget: bool = False) -> None:
        tops = [folder for folder in (root, *root.parents) if (folder / ".dvc").is_dir()]
        if not tops:
            hint = "Run it in the folder of a project, or name that with -C."
            raise InputError(str(root), "this is no DVC project: it has no folder .dvc", hint=hint)
        self.root = root = tops[0]
        self.tmp = root / ".dvc" / "tmp"
        config = Config(str(root / ".dvc"))
        self.hardlink = bool(config["core"].get("hardlink_lock"))
        self.folder = Path(config["cache"].get("dir", root / ".dvc" / "cache"))
        #: Whether it lies outside the project, so that others may use it too.
        self.is_outside = not self.folder.resolve().is_relative_to(root.resolve())
        #: Whether others of the group write there too.
        self.group = config["cache"].get("shared") == "group"
        self.memory = Memory(self.tmp / "doctor.json", forget=forget)
        #: What is damaged is moved here, never deleted.
        self.away = self.folder / "damaged"

    def lock(self) -> Lock:
        """Return what all dvc.lock record, with every path as it is from the root."""
        top = self.root / "dvc.lock"
        locks = {path: read_lock(path) for path in lock_files(self.root)}
        if set(locks) <= {top}:
            return locks.get(top, Lock())
        from dvcproof.project import Project  # here, with all of DVC: it knows the folders of stages

        found = {}
        with Project.open(self.root) as project:
            for stage in project.stages:
                record = locks.get(self.root / Path(stage.file).with_name("dvc.lock"), Lock()).stages.get(stage.name)
                if record:
                    found[stage.address] = record.below(os.path.relpath(stage.wdir, self.root))
        return Lock(stages=found)

    def make_folder(self, place: Path) -> None:
        """Make the folder of a new file in the cache, with the mode that DVC would give it."""
        missing = [folder for folder in (place.parent, *place.parent.parents) if not folder.exists()]
        for folder in reversed(missing):
            folder.mkdir(exist_ok=True)
            if self.group:
                folder.chmod(0o2775)

    def write_record(self, folder: str, name: str, text: str) -> None:
        """Write the record of a run, with the mode that DVC would give it."""
        place = self.record(folder, name)
        self.make_folder(place)
        with replacing(place) as (file,):
            file.write_text(text, encoding="utf-8")
            if self.group:
                file.chmod(SHARED)

    def move_away(self, path: Path, name: str) -> None:
        """Move a damaged file out of DVC's sight; an earlier one of its name stays."""
        self.make_folder(self.away / name)
        target = self.away / name
        while target.exists():
            target = target.with_name(f"{target.name}~")
        path.replace(target)

    def places(self, digest: str) -> Iterator[Path]:
        """Return where an object may lie: where DVC puts it, and where earlier versions did."""
        yield self.folder / "files" / "md5" / digest[:2] / digest[2:]
        yield self.folder / digest[:2] / digest[2:]

    def is_good(self, path: Path, digest: str) -> bool:
        """Return whether a file has the content of an object. A folder's object is the list of what is in it."""
        return path.is_file() and _is_readable(path) and self.memory.of(path, md5) == digest.removesuffix(".dir")

    def object(self, digest: str) -> Path | None:
        """Return a good object, if there is one."""
        return next((place for place in self.places(digest) if self.is_good(place, digest)), None)

    def parts(self, digest: str) -> list[str]:
        """Return the hashes of the files in a folder, of which there is a good object; of a file, none."""
        place = self.object(digest) if digest.endswith(".dir") else None
        return [part["md5"] for part in json.loads(place.read_bytes())] if place else []

    def record(self, folder: str, name: str) -> Path:
        """Return where the record of a run lies."""
        return self.folder / "runs" / folder[:2] / folder / name

    def records(self) -> list[Path]:
        """Return the records of runs, good or not."""
        return [path for path in self.folder.glob("runs/*/*/*") if path.suffix != ".tmp" and path.is_file()]

    def drop_records(self, lock: Lock, *, fix: bool) -> int:
        """Move away the records of runs that are not what their names say. Return their number.

        In a cache outside the project, those of other commands stay: another version of DVC may have named them.
        DVC stops at a folder for records that holds none, so that these are removed.
        """
        bad = [path for path in self.records() if _is_readable(path) and self.memory.of(path, recorded) is None]
        if self.is_outside:
            commands = ["", *(str(stage.cmd) for stage in lock.stages.values())]
            bad = [path for path in bad if command_of(path) in commands]
        for path in bad if fix else ():
            self.move_away(path, path.name)
        empty = [folder for folder in self.folder.glob("runs/*/*") if folder.is_dir() and not any(folder.iterdir())]
        for folder in empty if fix else ():
            folder.rmdir()
        return max(len(bad), len(empty))

    def drop_record(self, entry: Entry) -> None:
        """Remove the record of one run."""
        path = self.record(*names(entry))
        path.unlink(missing_ok=True)
        if path.parent.is_dir() and not any(path.parent.iterdir()):
            path.parent.rmdir()

    def drop_objects(self, lock: Lock, *, fix: bool) -> list[str]:
        """Move away the damaged objects that stages of this project have made, and make again; return their hashes.

        Other data may be the only copy, and other projects and versions of DVC have rules of their own.
        """
        bad = []
        given = {*lock.inputs().values()}  # a stage may have made an equal copy of data that nobody can make again
        for digest in (digest for digest in self._made(lock) if digest not in given):
            place = next(self.places(digest))
            if place.is_file() and _is_readable(place) and not self.is_good(place, digest):
                if fix:
                    self.move_away(place, digest)
                bad.append(digest)
        return bad

    def damaged_inputs(self, lock: Lock) -> list[str]:
        """Return the inputs that no stage makes, and whose objects are damaged. These stay: there may be no others."""
        bad = []
        for path, digest in lock.inputs().items():
            places = [next(self.places(one)) for one in (digest, *self.parts(digest))] if digest else []
            there = [place for place in places if place.is_file() and _is_readable(place)]
            if not all(self.is_good(place, place.parent.name + place.name) for place in there):
                bad.append(path)
        return bad

    def _made(self, lock: Lock) -> list[str]:
        """Return the hashes of this project's outputs: those in dvc.lock, and of the same commands in the run cache."""
        named = [out.md5 for out in lock.outputs() if out.md5 and out.is_current]
        commands = {str(stage.cmd) for stage in lock.stages.values()}
        for path in (path for path in self.records() if _is_readable(path)):
            command, outputs = self.memory.of(path, recorded) or ("", [])
            named += outputs if command in commands else []
        return list(dict.fromkeys([*named, *(part for digest in named for part in self.parts(digest))]))

    def fill(self, outputs: Iterable[File]) -> None:
        """Put outputs that the cache lacks back into it, from the work tree."""
        for out in outputs:
            path = self.root / out.path
            if out.md5 and out.is_current and self.is_good(path, out.md5) and not self.object(out.md5):
                place = next(self.places(out.md5))
                if place.exists() and not _is_readable(place):
                    continue
                self.make_folder(place)
                with replacing(place) as (file,):
                    shutil.copyfile(path, file)
                    file.chmod(PROTECTED)

    def suspects(self, lock: Lock, *, fix: bool) -> list[str]:
        """Return the files that are not what dvc.lock names. `fix` renews their dates, so that DVC looks at them.

        An input that was edited after dvc.lock was written has a new date already, and is left alone.
        """
        if not lock.stages:
            return []
        written = min(path.stat().st_mtime_ns for path in lock_files(self.root))
        outputs = {out.path for out in lock.outputs()}
        found = []
        for file in lock.files().values():
            path = self.root / file.path
            if not file.md5 or not path.is_file() or not _is_readable(path) or self.is_good(path, file.md5):
                continue
            if not file.is_current and file_md5(str(path), name="md5-dos2unix") == file.md5:
                continue
            if file.path in outputs or path.stat().st_mtime_ns < written:
                if fix:
                    os.utime(path)
                found.append(file.path)
        return found

    def restore(self, outputs: Iterable[File], *, fix: bool) -> list[str]:
        """Put back missing outputs that Git holds: DVC removes them before a stage, which may then fail."""
        missing = {out.path: out for out in outputs if out.md5 and not os.path.lexists(self.root / out.path)}
        try:
            tracked = git(self.root, "ls-files", "-z", "--", *missing).decode().split("\0") if missing else []
        except AbsentError:
            return []
        return [path for path in tracked if path in missing and (not fix or self._put_back(missing[path]))]

    def _put_back(self, out: File) -> bool:
        """Write what dvc.lock names, from the cache or from Git. Return whether one of them has it."""
        source = self.object(str(out.md5))
        content = source.read_bytes() if source else git(self.root, "cat-file", "blob", f":./{out.path}")
        if not source and hashlib.md5(content, usedforsecurity=False).hexdigest() != out.md5:
            return False
        with replacing(self.root / out.path) as (file,):
            file.write_bytes(content)
        return True


def md5(path: Path) -> str:
    """Return the hash by which DVC names a file."""
    return file_hash(path, "md5")
