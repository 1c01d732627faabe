"""dvc.lock: what it records of each stage, and whether files, parameters or another lock agree with it."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError
from ruamel.yaml import YAML

from dvcproof.runtime.bounds import read_text, require_small_yaml
from dvcproof.runtime.document import read_mapping
from dvcproof.runtime.files import file_hash
from dvcproof.runtime.program import InputError
from dvcproof.values import flatten, shown

REDO = "Run `dvc repro`."

#: Where nothing of the user's is looked for.
SKIPPED = (".git", ".dvc", ".venv", "venv", "node_modules", "__pycache__")


def md5(path: Path) -> str:
    """Return the hash by which DVC names a file."""
    return file_hash(path, "md5")


class File(BaseModel):
    """A dependency or an output, with all that DVC records of it."""

    model_config = ConfigDict(extra="allow")

    path: str
    md5: str | None = None  # None: a download, which has other marks
    size: int | None = None


class Stage(BaseModel):
    """A stage."""

    cmd: str | list[str]
    deps: list[File] = []
    params: dict[str, dict[str, Any]] = {}  # by file
    outs: list[File] = []

    def below(self, folder: str) -> "Stage":
        """Return the same with its paths as they are from the folder that `folder` is named from."""

        def moved(files: list[File]) -> list[File]:
            return [
                file.model_copy(update={"path": os.path.normpath(os.path.join(folder, file.path))})  # noqa: PTH118
                for file in files
            ]

        return self.model_copy(update={"deps": moved(self.deps), "outs": moved(self.outs)})


class Lock(BaseModel):
    """A dvc.lock."""

    stages: dict[str, Stage] = {}

    def params(self) -> dict[str, Any]:
        """Every parameter that a stage ran with, by its whole name: 'train.seed'."""
        values: dict[str, Any] = {}
        for stage in self.stages.values():
            for sections in stage.params.values():
                values |= sections
        return flatten(values) if values else {}

    def files(self) -> dict[str, File]:
        """Every input and output, by its path."""
        return {file.path: file for stage in self.stages.values() for file in (*stage.deps, *stage.outs)}

    def inputs(self) -> dict[str, str | None]:
        """The hashes of the files that no stage wrote: code, data and the list of packages."""
        written = {file.path for stage in self.stages.values() for file in stage.outs}
        return {path: file.md5 for path, file in self.files().items() if path not in written}

    def named(self, *names: str) -> dict[str, str | None]:
        """Return the hashes of the files with these names, in whatever folder."""
        return {path: file.md5 for path, file in self.files().items() if Path(path).name in names}

    def only(self, names: list[str]) -> "Lock":
        """The same with some of the stages."""
        return Lock(stages={name: self.stages[name] for name in names})

    def upstream(self, path: str) -> list[str]:
        """Names of the stages that lead to a file, the first ones first. Empty: no stage writes it."""
        writer = {file.path: name for name, stage in self.stages.items() for file in stage.outs}
        found: dict[str, None] = {}  # in the order in which they were completed
        opened: set[str] = set()

        def follow(path: str) -> None:
            name = writer.get(path)
            if name is not None and name not in opened:  # once: a damaged lock may lead in a circle
                opened.add(name)
                for file in self.stages[name].deps:
                    follow(file.path)
                found[name] = None

        follow(path)
        return list(found)


def lock_files(root: Path) -> list[Path]:
    """Return every dvc.lock of a project: its root's, and those of other folders that DVC does not ignore."""
    found = []
    for folder, folders, files in os.walk(root):
        parts = (name for name in folders if name not in SKIPPED)
        folders[:] = [name for name in parts if not Path(folder, name, ".dvc").is_dir()]  # a project of its own
        found += [Path(folder, "dvc.lock")] if "dvc.lock" in files else []
    if {path.parent for path in found} <= {root}:
        return found
    from dvc.fs import LocalFileSystem  # here: who only reads one dvc.lock needs no DVC
    from dvc.ignore import DvcIgnoreFilter

    ignored = DvcIgnoreFilter(LocalFileSystem(url=str(root)), str(root))
    return sorted(path for path in found if not ignored.is_ignored_file(str(path)))


def parse_lock(text: str) -> Lock:
    """Read the text of a dvc.lock.

    Raises:
        ValueError: it is none.
    """
    try:
        refuse_aliases(text)
        return Lock.model_validate(YAML(typ="safe").load(text))  # DVC's own reader
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, first['loc'])) or 'the whole'}: {first['msg']}") from None
    except Exception as error:  # the reader raises many kinds
        raise ValueError(f"{type(error).__name__}: {error}") from None


def parse_lock_document(content: bytes) -> dict[str, dict[str, Any]]:
    """Read a dvc.lock of any version of DVC, as large as it may be: its stages with all that they hold.

    Raises:
        ValueError: it cannot be read; the text says why.
    """
    text = content.decode("utf-8")
    if not text.strip():
        raise ValueError("it is empty")
    if any(line.startswith("<<<<<<< ") for line in text.splitlines()):
        raise ValueError("a merge left conflict markers in it")
    refuse_aliases(text)
    try:
        document = YAML(typ="safe").load(text) or {}
    except Exception as error:  # the reader raises many kinds
        raise ValueError(f"it is not YAML: {' '.join(str(error).split())}") from None
    stages = document.get("stages", {} if "schema" in document else document) if isinstance(document, dict) else None
    if not isinstance(stages, dict):
        raise ValueError("it is no dvc.lock: it has no stages")
    for name, stage in stages.items():
        if not isinstance(stage, dict) or not all(_is_list_of_files(stage.get(kind, [])) for kind in ("deps", "outs")):
            raise ValueError(f"it is no dvc.lock: stage '{name}' has another form")
    return {str(name): stage for name, stage in stages.items()}


def refuse_aliases(text: str) -> None:
    """Refuse a YAML document that is small, and endless with its aliases written out. DVC never writes one.

    Raises:
        ValueError: it is one.
    """
    if re.search(r"^\s*(?:- |[^#\n]*: )*[&*]\w", text, re.MULTILINE):
        require_small_yaml(text)


def _is_list_of_files(files: Any) -> bool:
    return isinstance(files, list) and all(isinstance(file, dict) and "path" in file for file in files)


def read_lock(path: Path) -> Lock:
    """Read a dvc.lock.

    Raises:
        InputError: it is missing or damaged.
    """
    try:
        return parse_lock(read_text(path))
    except FileNotFoundError:
        received, hint = "no such file", REDO
    except ValueError as error:
        received, hint = f"a damaged file ({error})", "Restore it from Git."
    raise InputError(str(path), expected="a dvc.lock", received=received, hint=hint)


def refuse_conflicts(root: Path) -> None:
    """Raise InputError if a merge left both sides in a file in `root` that DVC reads: its own errors do not say so."""
    for name in ("dvc.yaml", "dvc.lock", ".dvc/config"):
        path = root / name
        if path.is_file() and any(line.startswith(b"<<<<<<< ") for line in path.read_bytes().splitlines()):
            received = "a file with conflict markers"
            hint = "Keep one side, and run `dvc repro`."
            raise InputError(name, expected="a finished merge", received=received, hint=hint)


def require_same_params(lock: Lock, params: Path) -> None:
    """Refuse a params.yaml that is not the one that the run was made with.

    Raises:
        InputError: a value is another, or missing, or a section has one that the run did not have.
    """
    recorded = lock.params()
    document = flatten(read_mapping(params))
    # A section that no stage of this run depends on, as that of another network, is not compared.
    sections = {name.partition(".")[0] for name in recorded}
    now = {name: value for name, value in document.items() if name.partition(".")[0] in sections}
    for name in {**recorded, **now}:
        if name not in now or name not in recorded or now[name] != recorded[name]:
            raise InputError(
                f"parameter '{name}' in {params}",
                expected=f"{shown(recorded[name])}, as in dvc.lock" if name in recorded else "none, as in dvc.lock",
                received=shown(now[name]) if name in now else "nothing",
                hint=REDO,
            )


def require_recorded(path: Path, lock: Lock, name: str | None = None) -> None:
    """Refuse a file that is not the one that dvc.lock names.

    Args:
        path: the file.
        lock: the contents of dvc.lock.
        name: its path in dvc.lock, if not `path`.

    Raises:
        InputError: the MD5 differs, or dvc.lock does not list the file.
        FileNotFoundError: there is no such file.
    """
    file = lock.files().get(name or path.as_posix())
    if file is None:
        raise InputError(str(path), expected="a file that dvc.lock names", received="one that it does not", hint=REDO)
    found = md5(path)
    if found != file.md5:
        expected = f"the file that dvc.lock names, MD5 {file.md5}"
        raise InputError(str(path), expected=expected, received=f"MD5 {found}", hint=REDO)


class Fact(NamedTuple):
    """What a record is about."""

    stage: str
    kind: Literal["command", "dependency", "parameter", "output"]
    name: str  # a path, 'train.seed in params.yaml', or nothing for the command

    def __str__(self) -> str:
        return f"stage '{self.stage}', {self.kind} {self.name}".rstrip()


class Change(NamedTuple):
    """A fact of which two records disagree. None: that record does not have it."""

    fact: Fact
    recorded: str | None
    found: str | None


def facts(lock: Lock) -> dict[Fact, str]:
    """Take a lock apart: every fact with what is recorded of it, as text. 1, 1.0 and true are different texts."""
    found = {}
    for name, stage in lock.stages.items():
        found[Fact(name, "command", "")] = str(stage.cmd)
        for file in stage.deps:
            found[Fact(name, "dependency", file.path)] = _content(file)
        for file in stage.outs:
            found[Fact(name, "output", file.path)] = _content(file)
        for path, values in stage.params.items():
            for parameter, value in _named(values):
                found[Fact(name, "parameter", f"{parameter} in {path}")] = value
    return found


def changes(recorded: Lock, found: Lock) -> list[Change]:
    """The facts of which two locks disagree, in the order of `recorded`, of stages that are in both."""
    both = [name for name in recorded.stages if name in found.stages]
    old, new = facts(recorded.only(both)), facts(found.only(both))
    return [Change(fact, old.get(fact), new.get(fact)) for fact in {**old, **new} if old.get(fact) != new.get(fact)]


def causes(found: list[Change]) -> list[Change]:
    """Changes without the dependencies that differ only because the output that they are does."""
    outputs = {change.fact.name for change in found if change.fact.kind == "output"}
    return [change for change in found if change.fact.kind != "dependency" or change.fact.name not in outputs]


def _content(file: File) -> str:
    """The record of a file or folder: 'md5 0cc1…, size 128'."""
    record = file.model_dump(exclude_unset=True)
    return ", ".join(f"{key} {value}" for key, value in record.items() if key not in ("path", "hash"))


def _named(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in flatten(values).items():
        yield name, json.dumps(value, default=str)
