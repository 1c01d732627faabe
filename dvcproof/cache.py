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

from dvc.utils import dict_sha256
from dvc_data.hashfile.hash import file_md5
from ruamel.yaml import YAML

from dvcproof.git import AbsentError, git
from dvcproof.lockfile import File, Lock, lock_files, refuse_aliases
from dvcproof.lockfile import md5 as md5  # noqa: PLC0414 # a name of this module too
from dvcproof.runtime.files import replacing
from dvcproof.runtime.watch import identity

#: The mode of an object, and that of a record in a cache that a group shares.
PROTECTED, SHARED = 0o444, 0o664


class Memory:
    """What was found out about files, in one JSON file: it holds as long as a file's identity is the same."""

    def __init__(self, path: Path, *, forget: bool = False) -> None:
        """
        Args:
            path: the JSON file. It may be missing or damaged.
            forget: whether to begin with nothing.
        """
        self._path, self._new = path, dict[str, Any]()
        try:
            self._old: dict[str, Any] = {} if forget else dict(json.loads(path.read_bytes()))
        except (FileNotFoundError, ValueError, TypeError):
            self._old = {}

    def of(self, path: Path, find: Callable[[Path], Any]) -> Any:
        """What `find` says of a file: asked only if the file is another than the last time.

        Raises:
            FileNotFoundError: there is no such file.
        """
        now = identity(path.stat())
        known = self._new.get(str(path)) or self._old.get(str(path))
        if not isinstance(known, list) or known[:1] != [now]:
            known = [now, find(path)]
        self._new[str(path)] = known
        return known[1]

    def save(self) -> None:
        """Keep it for the next time, without the files that nobody asked for."""
        if self._new != self._old:
            with replacing(self._path) as (file,):
                file.write_text(json.dumps(self._new), encoding="utf-8")


def names(entry: dict[str, Any]) -> tuple[str, str]:
    """Folder and name of the run cache's record of a run: hashes of what went in, and of all that it says."""
    inputs = entry | {"outs": [out["path"] for out in entry.get("outs", ())]}
    return dict_sha256(inputs, exclude=["size", "nfiles"]), dict_sha256(entry, exclude=["size", "nfiles"])


def read_entry(text: str, folder: str, name: str) -> dict[str, Any] | None:
    """What a record of the run cache says. None: it is damaged, or not the record of this folder and name.

    The name of the folder holds the command, the inputs and the paths of the outputs: a record that passes leads to
    no other path than those of the stage that looks for it.
    """
    try:
        refuse_aliases(text)
        entry: dict[str, Any] = YAML(typ="safe").load(text)
        return entry if names(entry) == (folder, name) else None
    except Exception:  # the reader raises many kinds
        return None


def digests(entry: dict[str, Any]) -> list[str]:
    """Return the hashes of the outputs in a record, but for those of DVC 2: it hashed texts with other line ends."""
    return [out["md5"] for out in entry.get("outs", ()) if out.get("hash") == "md5" and "md5" in out]


def recorded(path: Path) -> list[str] | None:
    """Return the hashes of the outputs in a record of the run cache. None: it is damaged, or no record at all."""
    entry = _entry(path)
    return None if entry is None else digests(entry)


def recorded_command(path: Path) -> str | None:
    """Return the command in a record of the run cache."""
    entry = _entry(path)
    return None if entry is None else str(entry.get("cmd"))


def _entry(path: Path) -> dict[str, Any] | None:
    try:
        return read_entry(path.read_text(encoding="utf-8"), path.parent.name, path.name)
    except ValueError:
        return None


def _is_current(file: File) -> bool:
    """Whether the hash of a file is that of all its bytes. DVC 2 did not say so: it hashed texts with other line ends.

    Its objects have another place too.
    """
    return (file.model_extra or {}).get("hash") == "md5"


class Cache:
    """The cache of the project in the folder `root`.

    Args:
        root: the project.
        folder: the cache's, which other projects may share.
        memory: what is known of files.
        group: whether others of the group write there too (`cache.shared`).
    """

    def __init__(self, root: Path, folder: Path, memory: Memory, *, group: bool = False) -> None:
        self.root, self.folder, self.memory, self.group = root, folder, memory, group
        #: What is damaged is moved here, never deleted.
        self.away = folder / "damaged"

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
        """Where an object may lie: where DVC puts it, and where earlier versions did."""
        yield self.folder / "files" / "md5" / digest[:2] / digest[2:]
        yield self.folder / digest[:2] / digest[2:]

    def is_good(self, path: Path, digest: str) -> bool:
        """Whether a file has the content of an object. A folder's object is the list of what is in it."""
        return path.is_file() and self._readable(path) and self.memory.of(path, md5) == digest.removesuffix(".dir")

    def is_recorded(self, file: File) -> bool:
        """Whether a file in the work tree is the one that dvc.lock names. DVC 2 hashed texts with other line ends."""
        path, digest = self.root / file.path, file.md5 or ""
        return self.is_good(path, digest) or (
            not _is_current(file) and file_md5(str(path), name="md5-dos2unix") == digest
        )

    def object(self, digest: str) -> Path | None:
        """A good object, if there is one."""
        return next((place for place in self.places(digest) if self.is_good(place, digest)), None)

    def parts(self, digest: str) -> list[str]:
        """The hashes of the files in a folder, of which there is a good object; of a file, none."""
        place = self.object(digest) if digest.endswith(".dir") else None
        return [part["md5"] for part in json.loads(place.read_bytes())] if place else []

    def record(self, folder: str, name: str) -> Path:
        """Where the record of a run lies."""
        return self.folder / "runs" / folder[:2] / folder / name

    def drop_records(self, *, fix: bool = True) -> int:
        """Move away the records of runs that are not what their names say. Gives their number.

        DVC stops at a folder for records that holds none, so that these are removed.
        """
        bad = [path for path in self.records() if self._readable(path) and self.memory.of(path, recorded) is None]
        for path in bad if fix else ():
            self.move_away(path, path.name)
        empty = [folder for folder in self.folder.glob("runs/*/*") if folder.is_dir() and not any(folder.iterdir())]
        for folder in empty if fix else ():
            folder.rmdir()
        return max(len(bad), len(empty))

    def drop_record(self, entry: dict[str, Any]) -> None:
        """Remove the record of one run."""
        path = self.record(*names(entry))
        path.unlink(missing_ok=True)
        if path.parent.is_dir() and not any(path.parent.iterdir()):
            path.parent.rmdir()

    def drop_objects(self, lock: Lock, *, fix: bool = True) -> list[str]:
        """Move away the damaged objects that stages of this project have made, and make again; gives their hashes.

        Other data may be the only copy, and other projects and versions of DVC have rules of their own.
        """
        bad = []
        given = {*lock.inputs().values()}  # a stage may have made an equal copy of data that nobody can make again
        for digest in (digest for digest in self._made(lock) if digest not in given):
            place = next(self.places(digest))
            if place.is_file() and self._readable(place) and not self.is_good(place, digest):
                if fix:
                    self.move_away(place, digest)
                bad.append(digest)
        return bad

    def damaged_inputs(self, lock: Lock) -> list[str]:
        """Return the inputs that no stage makes, and whose objects are damaged. These stay: there may be no others."""
        bad = []
        for path, digest in lock.inputs().items():
            places = [next(self.places(one)) for one in (digest, *self.parts(digest))] if digest else []
            if any(
                place.is_file() and self._readable(place) and not self.is_good(place, place.parent.name + place.name)
                for place in places
            ):
                bad.append(path)
        return bad

    def _readable(self, path: Path) -> bool:
        """Return whether a file can be read: one that cannot is not damaged."""
        return os.access(path, os.R_OK)

    def records(self) -> list[Path]:
        """The records of runs, good or not."""
        return [path for path in self.folder.glob("runs/*/*/*") if path.suffix != ".tmp" and path.is_file()]

    def _made(self, lock: Lock) -> list[str]:
        """Return the hashes of this project's outputs: those in dvc.lock, and of the same commands in the run cache."""
        outs = [out for stage in lock.stages.values() for out in stage.outs]
        named = [out.md5 for out in outs if out.md5 and _is_current(out)]
        commands = {str(stage.cmd) for stage in lock.stages.values()}
        for path in (path for path in self.records() if self._readable(path)):
            digests = self.memory.of(path, recorded) or []
            named += digests if digests and recorded_command(path) in commands else []
        return list(dict.fromkeys([*named, *(part for digest in named for part in self.parts(digest))]))

    def fill(self, outputs: Iterable[File]) -> None:
        """Put outputs that the cache lacks back into it, from the work tree."""
        for out in outputs:
            path = self.root / out.path
            if out.md5 and _is_current(out) and self.is_good(path, out.md5) and not self.object(out.md5):
                place = next(self.places(out.md5))
                if place.exists() and not self._readable(place):
                    continue
                self.make_folder(place)
                with replacing(place) as (file,):
                    shutil.copyfile(path, file)
                    file.chmod(PROTECTED)

    def suspects(self, lock: Lock, *, fix: bool = True) -> list[str]:
        """Files that are not what dvc.lock names: their dates are renewed, so that DVC looks at them.

        An input that was edited after dvc.lock was written has a new date already, and is left alone.
        """
        if not lock.stages:
            return []
        written = min(path.stat().st_mtime_ns for path in lock_files(self.root))
        outputs = {out.path for stage in lock.stages.values() for out in stage.outs}
        found = []
        for file in lock.files().values():
            path = self.root / file.path
            if not file.md5 or not path.is_file() or not self._readable(path) or self.is_recorded(file):
                continue
            if file.path in outputs or path.stat().st_mtime_ns < written:
                if fix:
                    os.utime(path)
                found.append(file.path)
        return found

    def restore(self, outputs: Iterable[File], *, fix: bool = True) -> list[str]:
        """Put back missing outputs that Git holds: DVC removes them before a stage, which may then fail."""
        missing = {out.path: out for out in outputs if out.md5 and not os.path.lexists(self.root / out.path)}
        try:
            tracked = git(self.root, "ls-files", "-z", "--", *missing).decode().split("\0") if missing else []
        except AbsentError:
            return []
        return [path for path in tracked if path in missing and (not fix or self._put_back(missing[path]))]

    def _put_back(self, out: File) -> bool:
        content = self._content(out)
        if content is not None:
            with replacing(self.root / out.path) as (file,):
                file.write_bytes(content)
        return content is not None

    def _content(self, out: File) -> bytes | None:
        """What dvc.lock names, from the cache or from Git."""
        if out.md5 and (source := self.object(out.md5)):
            return source.read_bytes()
        staged = git(self.root, "cat-file", "blob", f":./{out.path}")
        return staged if hashlib.md5(staged, usedforsecurity=False).hexdigest() == out.md5 else None
