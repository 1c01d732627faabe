"""Find damaged objects and records in DVC's cache, move them away, and restore what can be restored.

DVC trusts an object that is read-only, and a file in the working tree whose size and date have not changed. Damage by a
disk or a program changes neither, so that DVC does not notice. The name of an object or record is the hash of its
content; here the two are compared.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from dvc.config import Config
from dvc.utils import dict_sha256
from dvc_data.hashfile.hash import file_md5

from dvcproof.git import AbsentError, git
from dvcproof.lockfile import Entry, Lock, load_yaml, lock_files, parse_lock, read_records
from dvcproof.runtime.files import file_hash, replacing
from dvcproof.runtime.program import InputError
from dvcproof.runtime.watch import identity

#: The mode of an object, and the mode of a record in a cache that a group shares.
PROTECTED, SHARED = 0o444, 0o664


class Memory:
    """Results about files, stored in a JSON file. A result is valid as long as the identity of its file is the same.

    A missing or damaged JSON file counts as empty; with `forget`, any.
    """

    def __init__(self, path: Path, *, forget: bool = False) -> None:
        self._path, self._old, self._new = path, dict[str, Any](), dict[str, Any]()
        with suppress(FileNotFoundError, ValueError, TypeError):
            self._old = {} if forget else dict(json.loads(path.read_bytes()))

    def of(self, path: Path, find: Callable[[Path], Any]) -> Any:
        """Return the result of `find(path)`; call it only if the file has changed since the stored result."""
        asked = [identity(path.stat()), find.__name__]
        known = self._new.get(str(path)) or self._old.get(str(path))
        if not isinstance(known, list) or known[:2] != asked or len(known) != 3:  # or written by another version
            known = [*asked, find(path)]
        self._new[str(path)] = known
        return known[2]

    def save(self) -> None:
        """Write the results to the JSON file, only those that were asked for since it was read."""
        if self._new != self._old:
            with replacing(self._path) as (file,):
                file.write_text(json.dumps(self._new), encoding="utf-8")


def names(entry: Entry) -> tuple[str, str]:
    """Return the folder and the name of a record in the run cache: the hashes of its inputs and of the whole entry."""
    inputs = entry | {"outs": [out["path"] for out in entry.get("outs", ())]}
    return dict_sha256(inputs, exclude=["size", "nfiles"]), dict_sha256(entry, exclude=["size", "nfiles"])


def read_entry(text: str, folder: str, name: str) -> Entry | None:
    """Parse a record of the run cache. Return None if it is damaged or does not match its folder and name.

    The name of the folder is a hash of the command, the inputs and the paths of the outputs. So a record that matches
    cannot name paths other than those of the stage that looks for it.
    """
    try:
        entry: Entry = load_yaml(text)
        return entry if names(entry) == (folder, name) else None
    except Exception:  # a record may have any form
        return None


def digests(entry: Entry) -> list[str]:
    """Return the hashes of the outputs in a record. Those of DVC 2 are left out, since it hashed other line ends."""
    return [out["md5"] for out in entry.get("outs", ()) if out.get("hash") == "md5" and "md5" in out]


def recorded(path: Path) -> list[Any] | None:
    """Return the command and the hashes of the outputs in a record of the run cache; None if it is damaged."""
    entry = read_entry(path.read_bytes().decode(errors="replace"), path.parent.name, path.name)
    return None if entry is None else [str(entry.get("cmd")), digests(entry)]


def command_of(path: Path) -> str:
    """Return the command in a record of the run cache; '' if it cannot be read."""
    with suppress(Exception):  # a record may have any form
        return str(load_yaml(path.read_text(encoding="utf-8"))["cmd"])
    return ""


def _is_readable(path: Path) -> bool:
    """Return whether this is a file that this user may read. An unreadable file does not count as damaged."""
    return path.is_file() and os.access(path, os.R_OK)


class Cache:
    """The cache of a DVC project, which other projects may share. The stage graph is not loaded.

    Args:
        root: a folder in the project.
        forget: whether to read every file again, even if it has not changed since the last check.
        fix: whether methods repair what they find; if not, they only return it.

    Raise InputError if the folder is in no DVC project.
    """

    def __init__(self, root: Path, *, forget: bool = False, fix: bool = True) -> None:
        tops = [folder for folder in (root, *root.parents) if (folder / ".dvc").is_dir()]
        if not tops:
            hint = "Run it in the folder of a DVC project, or name that folder with -C."
            raise InputError(str(root), "this is no DVC project: there is no folder .dvc here or above", hint=hint)
        self.root, self.fix = (root := tops[0]), fix
        self.tmp = root / ".dvc" / "tmp"
        config = Config(str(root / ".dvc"))
        self.hardlink = bool(config["core"].get("hardlink_lock"))
        self.folder = Path(config["cache"].get("dir", root / ".dvc" / "cache"))
        #: Whether the cache lies outside the project, so that other projects may use it too.
        self.is_outside = not self.folder.resolve().is_relative_to(root.resolve())
        #: Whether DVC shares the cache with the users of a group.
        self.group = config["cache"].get("shared") == "group"
        self.memory = Memory(self.tmp / "doctor.json", forget=forget)
        #: The folder to which damaged files are moved; they are never deleted.
        self.away = self.folder / "damaged"

    def lock(self) -> Lock:
        """Return all dvc.lock files in one, with paths relative to the root. Raise InputError if one is damaged."""
        records, problems = read_records(self.root)
        for name, problem in problems.items():
            raise InputError(name, f"it is damaged ({problem})", hint="Restore it from Git.")
        if any("dvc.yaml:" in address for address in records):
            from dvcproof.project import Project  # imported only if needed, since it loads all of DVC

            with Project.open(self.root) as project:
                folders = {stage.address: os.path.relpath(stage.wdir, self.root) for stage in project.stages}
            records = {address: entry for address, entry in records.items() if address in folders}
            for address, entry in records.items():
                for item in (*entry.get("deps", ()), *entry.get("outs", ())):
                    item["path"] = os.path.normpath(f"{folders[address]}/{item['path']}")
        return parse_lock({"stages": records})

    def make_folder(self, place: Path) -> None:
        """Create the parent directories of a new file in the cache, with the modes that DVC would set."""
        missing = [folder for folder in (place.parent, *place.parent.parents) if not folder.exists()]
        for folder in reversed(missing):
            folder.mkdir(exist_ok=True)
            if self.group:
                folder.chmod(0o2775)

    def write_record(self, folder: str, name: str, text: str) -> None:
        """Write the record of a run, with the mode that DVC would set."""
        place = self.record(folder, name)
        self.make_folder(place)
        self.rewrite(place, text.encode())
        if self.group:
            place.chmod(SHARED)

    def rewrite(self, path: Path, content: bytes) -> None:
        """Write a file so that it appears only when complete."""
        if self.fix:
            with replacing(path) as (file,):
                file.write_bytes(content)

    def move_away(self, path: Path) -> None:
        """Move a damaged file into the folder `away`. An earlier file of the same name is not overwritten."""
        target = self.away / f"{path.parent.name}{path.name}"
        while target.exists():
            target = target.with_name(f"{target.name}~")
        if self.fix:
            self.make_folder(target)
            path.replace(target)

    def places(self, digest: str) -> Iterator[Path]:
        """Yield the possible paths of an object: the path in DVC 3 first, then the path in earlier versions."""
        yield self.folder / "files" / "md5" / digest[:2] / digest[2:]
        yield self.folder / digest[:2] / digest[2:]

    def is_good(self, path: Path, digest: str) -> bool:
        """Return whether a file is readable and has this hash. The object of a folder is the list of its files."""
        return _is_readable(path) and self.memory.of(path, md5) == digest.removesuffix(".dir")

    def object(self, digest: str) -> Path | None:
        """Return the path of the undamaged object with this hash; None if there is none."""
        return next((place for place in self.places(digest) if self.is_good(place, digest)), None)

    def _damaged(self, found: Iterable[str]) -> dict[str, Path]:
        """Return the objects that are damaged, each with its path. Objects of DVC 2 are left out."""
        places = {digest: next(self.places(digest)) for digest in found}
        return {one: path for one, path in places.items() if _is_readable(path) and not self.is_good(path, one)}

    def parts(self, digest: str) -> list[str]:
        """Return the hashes of the files in a folder; empty for a file, or if the object of the folder is not good."""
        place = self.object(digest) if digest.endswith(".dir") else None
        return [part["md5"] for part in json.loads(place.read_bytes())] if place else []

    def record(self, folder: str, name: str) -> Path:
        """Return the path of the record of a run."""
        return self.folder / "runs" / folder[:2] / folder / name

    def records(self) -> list[Path]:
        """Return the paths of all records of runs that this user may read, including damaged ones."""
        return [path for path in self.folder.glob("runs/*/*/*") if path.suffix != ".tmp" and _is_readable(path)]

    def drop_records(self, lock: Lock) -> list[str]:
        """Move damaged records of runs away, and remove empty folders of records, at which DVC would fail.

        In a cache outside the project, records of other commands stay: another version of DVC may have named them.
        Return the names of the records or of the folders, whichever are more.
        """
        bad = [path for path in self.records() if self.memory.of(path, recorded) is None]
        if self.is_outside:
            commands = ["", *(str(stage.cmd) for stage in lock.stages.values())]
            bad = [path for path in bad if command_of(path) in commands]
        for path in bad:
            self.move_away(path)
        empty = [folder for folder in self.folder.glob("runs/*/*") if folder.is_dir() and not any(folder.iterdir())]
        for folder in empty if self.fix else ():
            folder.rmdir()
        return [path.name for path in max(bad, empty, key=len)]

    def drop_record(self, entry: Entry) -> None:
        """Delete the record of one run, and its folder if that is empty then."""
        path = self.record(*names(entry))
        path.unlink(missing_ok=True)
        with suppress(OSError):
            path.parent.rmdir()

    def drop_objects(self, lock: Lock) -> list[str]:
        """Move damaged objects away, but only those that stages of this project can make again. Return their hashes.

        Other objects stay: they may be the only copy of data, or belong to another project or version of DVC. Of runs
        with the same commands, those that `dvc repro` could restore, the objects count too.
        """
        made = [out.md5 for out in lock.outputs() if out.md5 and out.is_current]
        commands = {str(stage.cmd) for stage in lock.stages.values()}
        for command, outputs in (self.memory.of(path, recorded) or ("", []) for path in self.records()):
            made += outputs if command in commands else []
        given = {*lock.inputs().values()}  # a stage may copy data that no stage can make again
        every = {*made, *(part for digest in made for part in self.parts(digest))}
        bad = self._damaged(sorted(every - given))
        for path in bad.values():
            self.move_away(path)
        return [*bad]

    def damaged_inputs(self, lock: Lock) -> list[str]:
        """Return the inputs that no stage makes and whose objects are damaged. These objects are not moved."""
        inputs = {path: digest for path, digest in lock.inputs().items() if digest}
        return [path for path, digest in inputs.items() if self._damaged([digest, *self.parts(digest)])]

    def suspects(self, lock: Lock) -> list[str]:
        """Return the files whose content differs from dvc.lock, and renew their dates, so that DVC reads them again.

        Copy unchanged outputs that the cache lacks from the working tree. Leave out inputs that were edited after
        dvc.lock was written: their dates are new already.
        """
        made = {out.path for out in lock.outputs()}
        written = min((path.stat().st_mtime_ns for path in lock_files(self.root)), default=0)
        found = []
        for file in lock.files().values():
            path = self.root / file.path
            if not file.md5 or not _is_readable(path):
                continue
            if self.is_good(path, file.md5):
                if file.path in made and file.is_current and not self.object(file.md5):
                    self._fill(path, next(self.places(file.md5)))
            elif not file.is_current and file_md5(str(path), name="md5-dos2unix") == file.md5:
                continue
            elif file.path in made or path.stat().st_mtime_ns < written:
                found.append(file.path)
                if self.fix:
                    os.utime(path)
        return found

    def _fill(self, source: Path, place: Path) -> None:
        """Copy a file into the cache, unless this user may not read what is there."""
        if self.fix and (not place.exists() or os.access(place, os.R_OK)):
            self.make_folder(place)
            with replacing(place) as (file,):
                shutil.copyfile(source, file)
                file.chmod(PROTECTED)

    def staged(self, paths: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """Yield the path and content in Git's index of those files that Git tracks."""
        wanted, tracked = [*paths], list[str]()
        with suppress(AbsentError):
            tracked = git(self.root, "ls-files", "-z", "--", *wanted).decode().split("\0") if wanted else []
        for path in (path for path in tracked if path in wanted):
            yield path, git(self.root, "cat-file", "blob", f":./{path}")

    def restore(self, lock: Lock) -> list[str]:
        """Restore missing outputs that Git tracks: the recorded content, from cache or Git. Return their paths.

        DVC removes outputs before a run; if it fails, they are missing.
        """
        missing = {out.path: out.md5 for out in lock.outputs() if out.md5 and not os.path.lexists(self.root / out.path)}
        found = []
        for path, staged in self.staged(missing):
            stored = self.object(missing[path])
            content = stored.read_bytes() if stored else staged
            if hashlib.md5(content, usedforsecurity=False).hexdigest() == missing[path]:
                found.append(path)
                self.rewrite(self.root / path, content)
        return found


def md5(path: Path) -> str:
    """Return the MD5 of a file, which is its name in DVC's cache."""
    return file_hash(path, "md5")
