"""Read dvc.lock, and check whether files and parameters are those that it records."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from ruamel.yaml import YAML

from dvcproof.runtime.bounds import YAML_DEPTH, read_text, require_small_yaml
from dvcproof.runtime.document import read_mapping
from dvcproof.runtime.files import file_hash
from dvcproof.runtime.program import InputError
from dvcproof.values import flatten, shown

REDO = "Run `dvc repro`."

#: Text that DVC never writes: an alias, or many levels in one line.
UNUSUAL = re.compile(r"^(?:[^#\n]*: )?[ \t]*(?:- )*[&*]\w|^[\s?:-]{60}", re.MULTILINE)

#: Folders that are not searched for the user's files.
SKIPPED = (".git", ".dvc", ".venv", "venv", "node_modules", "__pycache__")

#: The record of a stage in dvc.lock or in the run cache, with the keys cmd, deps, params, outs.
Entry = dict[str, Any]


class File(BaseModel):
    """A dependency or an output, with every field that DVC records."""

    model_config = ConfigDict(extra="allow", coerce_numbers_to_str=True)

    path: str
    md5: str | None = None  # None for a download, which has an etag or a checksum instead
    hash: str | None = None

    @property
    def is_current(self) -> bool:
        """Whether the hash covers the exact bytes. DVC 2, which has no field `hash`, converted line ends in texts."""
        return self.hash == "md5"


class Stage(BaseModel):
    """The record of a stage in dvc.lock."""

    cmd: str | list[str]
    deps: list[File] = []
    params: dict[str, dict[Any, Any]] = {}  # file -> name -> value
    outs: list[File] = []


class Lock(BaseModel):
    """A dvc.lock."""

    stages: dict[str, Stage] = {}

    def params(self) -> dict[str, Any]:
        """Return every recorded parameter by its full name, as 'train.seed'."""
        values: dict[str, Any] = {}
        for sections in (sections for stage in self.stages.values() for sections in stage.params.values()):
            values |= sections
        return flatten(values) if values else {}

    def files(self) -> dict[str, File]:
        """Return every dependency and output by path."""
        return {file.path: file for stage in self.stages.values() for file in (*stage.deps, *stage.outs)}

    def outputs(self) -> list[File]:
        """Return the outputs of all stages."""
        return [out for stage in self.stages.values() for out in stage.outs]

    def inputs(self) -> dict[str, str | None]:
        """Return the hashes of the dependencies that no stage wrote, as code and raw data, by path."""
        written = {out.path for out in self.outputs()}
        return {path: file.md5 for path, file in self.files().items() if path not in written}

    def named(self, *names: str) -> dict[str, str | None]:
        """Return the hashes of the files with these names in any folder, by path."""
        return {path: file.md5 for path, file in self.files().items() if Path(path).name in names}

    def only(self, names: list[str]) -> "Lock":
        """Return a copy of the lock with only the named stages."""
        return Lock(stages={name: self.stages[name] for name in names})

    def upstream(self, path: str) -> list[str]:
        """Return the names of the stages that a file depends on, in the order of a run; none if no stage writes it."""
        writer = {file.path: name for name, stage in self.stages.items() for file in stage.outs}
        found: dict[str, None] = {}  # an ordered set
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
    """Return every dvc.lock of a project, in its root and in all folders that DVC does not ignore."""
    from dvc.fs import LocalFileSystem  # imported late: it takes longer than reading a dvc.lock
    from dvc.ignore import DvcIgnoreFilter

    files = LocalFileSystem(url=str(root))
    found = []
    for folder, folders, names in DvcIgnoreFilter(files, str(root)).walk(files, str(root)):
        folders[:] = [name for name in folders if name not in SKIPPED]
        found += [Path(folder, "dvc.lock")] if "dvc.lock" in names else []
    return sorted(found)


def read_records(root: Path) -> tuple[dict[str, Entry], dict[str, str]]:
    """Return the records in every dvc.lock of a project by stage address, and errors by name of unreadable file."""
    records: dict[str, Entry] = {}
    problems: dict[str, str] = {}
    for path in lock_files(root):
        name = str(path.relative_to(root))
        graph = name.removesuffix("dvc.lock") + "dvc.yaml"
        try:
            stages = parse_lock_document(path.read_bytes())
            records |= {stage if graph == "dvc.yaml" else f"{graph}:{stage}": stages[stage] for stage in stages}
        except (OSError, ValueError) as error:
            problems[name] = str(error)
    return records, problems


def load_yaml(text: str) -> Any:
    """Parse YAML that DVC wrote, with DVC's parser. Raise ValueError if it is no YAML, or aliases make it huge."""
    try:
        if UNUSUAL.search(text) or text.count("[") + text.count("{") > YAML_DEPTH:
            require_small_yaml(text)
        return YAML(typ="safe").load(text)
    except Exception as error:  # the parser raises many types
        raise ValueError(f"it is not YAML: {type(error).__name__}: {' '.join(str(error).split())}") from None


def parse_lock(document: Any) -> Lock:
    """Parse a dvc.lock, given as text or as parsed YAML. Raise ValueError, with the reason, if it is not valid."""
    try:
        return Lock.model_validate(load_yaml(document) if isinstance(document, str) else document)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, first['loc'])) or 'the whole'}: {first['msg']}") from None


def parse_lock_document(content: bytes) -> dict[str, Entry]:
    """Parse a dvc.lock of any DVC version and any size. Return the complete records of its stages by name.

    Raise ValueError, with the reason, if the content cannot be parsed.
    """
    text = content.decode("utf-8")
    if has_conflict(text):
        raise ValueError("a merge left conflict markers in it")
    document = load_yaml(text)
    if not isinstance(document, dict):
        raise ValueError("it is not a dvc.lock: it has no stages" if document else "it is empty")
    stages = document.get("stages", {} if "schema" in document else document)
    parse_lock({"stages": stages})
    return stages


def has_conflict(text: str) -> bool:
    """Return whether a text has conflict markers of a merge."""
    return any(line.startswith("<<<<<<< ") for line in text.splitlines())


def refuse_conflicts(root: Path) -> None:
    """Raise InputError if a file in `root` that DVC reads has conflict markers. DVC's own errors do not say so."""
    for name in ("dvc.yaml", "dvc.lock", ".dvc/config"):
        path = root / name
        if path.is_file() and has_conflict(path.read_bytes().decode(errors="replace")):
            received, hint = "a file with conflict markers", "Keep one side, and run `dvc repro`."
            raise InputError(name, expected="a finished merge", received=received, hint=hint)


def hashes(entry: Mapping[str, Any] | None, kind: str) -> dict[str, str]:
    """Return the hashes of the `deps` or `outs` in a record by path: md5, etag or checksum; '' without a hash."""
    items = (entry or {}).get(kind) or []
    forms = ("md5", "etag", "checksum")
    return {str(item["path"]): next((str(item[form]) for form in forms if form in item), "") for item in items}


def read_lock(path: Path) -> Lock:
    """Read a dvc.lock. Raise InputError if it is missing or damaged."""
    try:
        return parse_lock(read_text(path))
    except FileNotFoundError:
        received, hint = "no such file", REDO
    except ValueError as error:
        received, hint = f"a damaged file ({error})", "Restore it from Git."
    raise InputError(str(path), expected="a dvc.lock", received=received, hint=hint)


def require_same_params(lock: Lock, params: Path) -> None:
    """Raise InputError if a parameter in params.yaml differs from the value in dvc.lock."""
    recorded = lock.params()
    document = flatten(read_mapping(params))
    # Compare only sections that a stage of this run depends on. The section of another network may differ.
    sections = {name.partition(".")[0] for name in recorded}
    now = {name: value for name, value in document.items() if name.partition(".")[0] in sections}
    for name in {**recorded, **now}:
        if name not in now or name not in recorded or now[name] != recorded[name]:
            expected = f"{shown(recorded[name]) if name in recorded else 'none'}, as in dvc.lock"
            received = shown(now[name]) if name in now else "nothing"
            raise InputError(f"parameter '{name}' in {params}", expected=expected, received=received, hint=REDO)


def require_recorded(path: Path, lock: Lock, name: str | None = None) -> None:
    """Raise InputError if a file's MD5 differs from dvc.lock, or dvc.lock lacks the file; OSError if it is missing.

    Args:
        name: the file's path in dvc.lock, if it differs from `path`.
    """
    file = lock.files().get(name or path.as_posix())
    if file is None:
        raise InputError(str(path), "dvc.lock does not record this file", hint=REDO)
    found = file_hash(path, "md5")
    if found != file.md5:
        expected = f"the file that dvc.lock names, MD5 {file.md5}"
        raise InputError(str(path), expected=expected, received=f"MD5 {found}", hint=REDO)
