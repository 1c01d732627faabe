"""A DVC project as dvc.yaml, .dvc files and dvc.lock describe it. All that knows DVC's own classes is here."""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from dvc.dependency import ParamsDependency
from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.repo.reproduce import plan_repro
from dvc.stage import PipelineStage
from dvc.stage.serialize import to_single_stage_lockfile
from dvc_data.hashfile.build import build
from dvc_data.hashfile.db import HashFileDB
from dvc_objects.fs.memory import MemoryFileSystem
from ruamel.yaml import YAML

from dvcproof.findings import Finding, Level
from dvcproof.git import AbsentError, git, git_text
from dvcproof.lockfile import refuse_conflicts
from dvcproof.runtime.program import InputError


@dataclass(frozen=True)
class Item:
    """A dependency or an output: `path` as it is declared, `place` absolute, or the address of what is not `local`.

    Of an output, `cached` says whether DVC keeps it, and `persist` whether DVC leaves it there before a run. `raw` is
    DVC's own object.
    """

    path: str
    place: str
    local: bool
    cached: bool = False
    persist: bool = False
    raw: Any = field(default=None, repr=False, compare=False)

    @property
    def exists(self) -> bool:
        """Whether the path exists on this machine."""
        return self.local and os.path.lexists(self.place)

    @property
    def digest(self) -> str | None:
        """The hash that dvc.lock or the .dvc file records."""
        return self.raw.hash_info.value if self.raw.hash_info else None

    @property
    def size(self) -> int:
        """The bytes that dvc.lock or the .dvc file records; 0 without a record."""
        return (self.raw.meta.size if self.raw.meta else 0) or 0


@dataclass(frozen=True)
class Stage:
    """A stage of a pipeline, with all that it declares. Each of its commands runs in a shell of its own.

    Args:
        address: as DVC names it: 'train', 'models/dvc.yaml:fit@k'.
        file: the dvc.yaml, by its path below the project's root, where its name stands in `line`.
        params: by the absolute path of a file: the names, none of them for the whole file.
        settings: `meta: dvcproof:` in dvc.yaml.
    """

    address: str
    name: str
    file: str
    line: int
    wdir: Path
    commands: tuple[str, ...]
    deps: tuple[Item, ...]
    params: dict[str, tuple[str, ...]]
    outs: tuple[Item, ...]
    frozen: bool
    always_changed: bool
    settings: dict[str, Any]
    raw: Any = field(default=None, repr=False, compare=False)

    @property
    def names(self) -> set[str]:
        """What a person may call it."""
        return {self.address, self.address.partition("@")[0], self.name}

    def finding(
        self,
        rule: str,
        message: str,
        fix: str = "",
        *,
        level: Level = "error",
        path: str = "",
        evidence: str = "",
        change: str = "",
    ) -> Finding:
        """Return a finding about this stage, with its place in dvc.yaml."""
        return Finding(rule, level, message, fix, self.address, path, self.file, self.line, evidence, change)


class Project:
    """A project: its stages in the order in which they run, and the data of its .dvc files."""

    def __init__(self, repo: Repo) -> None:
        self.repo, self.root = repo, Path(repo.root_dir)
        self._lines: dict[str, dict[str, int]] = {}
        self._known: dict[str, tuple[Any, Any]] = {}
        # Not the project's cache: in spite of `dry_run`, DVC adds the list of a folder that DVC 2 recorded.
        self._store = HashFileDB(MemoryFileSystem(global_store=False), "/cache")  # type: ignore[no-untyped-call]

    @classmethod
    @contextmanager
    def open(cls, folder: Path) -> Iterator["Project"]:
        """Open the project that a folder belongs to. Raise InputError if there is none, or DVC cannot read it."""
        logging.getLogger("dvc").setLevel(logging.CRITICAL)
        with refusals(folder), Repo(str(Repo.find_root(str(folder)))) as repo:
            yield cls(repo)

    @cached_property
    def top(self) -> Path | None:
        """The top folder of the Git repository; None without Git."""
        try:
            return Path(git_text(self.root, "rev-parse", "--show-toplevel")[:-1])
        except AbsentError:
            return None

    @cached_property
    def tracked(self) -> frozenset[str]:
        """The absolute paths of the files that Git holds, in the index, and of all folders above them."""
        if self.top is None:
            return frozenset()
        names = git(self.top, "ls-files", "-z", "--recurse-submodules").decode(errors="surrogateescape").split("\0")
        found = {str(self.top / name) for name in names if name}
        return frozenset(found | {str(parent) for name in found for parent in Path(name).parents})

    @cached_property
    def stages(self) -> list[Stage]:
        """The stages of every dvc.yaml, each after those that it depends on."""
        with refusals(self.root):
            self.repo.index.check_graph()
            return [self._stage(raw) for raw in plan_repro(self.repo.index.graph) if isinstance(raw, PipelineStage)]

    @cached_property
    def data(self) -> list[Item]:
        """The outputs of .dvc files: data that was added or imported."""
        raws = [raw for raw in self.repo.index.stages if not isinstance(raw, PipelineStage)]
        return [self._item(out) for raw in raws for out in raw.outs]

    @cached_property
    def makers(self) -> dict[str, str]:
        """Who makes a path: the address of a stage, or the .dvc file."""
        found = {item.place: address_of(item.raw.stage) for item in self.data if item.local}
        return found | {out.place: stage.address for stage in self.stages for out in stage.outs if out.local}

    def before(self, stage: Stage) -> frozenset[str]:
        """Return the addresses of all stages that one depends on, directly or not."""
        graph, left, found = self.repo.index.graph, [stage.raw], set[Any]()
        while left:
            new = set(graph.successors(left.pop())) - found
            found |= new
            left += new
        return frozenset(one.address for one in self.stages if one.raw in found)

    def maker(self, place: str) -> str | None:
        """Return who makes a path, or a folder that it is in."""
        return next((self.makers[one] for one in _upwards(place) if one in self.makers), None)

    @cached_property
    def _above(self) -> frozenset[str]:
        return frozenset(parent for place in self.makers for parent in _upwards(place))

    def makes_inside(self, place: str) -> bool:
        """Return whether something inside of a folder is made by a stage or a .dvc file."""
        return place.rstrip("/") in self._above

    def is_tracked(self, place: str) -> bool:
        """Return whether Git holds a file, or something in a folder."""
        return place.rstrip("/") in self.tracked

    def name(self, place: str) -> str:
        """Return a path as a person writes it: from the project's root if it is in the repository."""
        inside = Path(place).is_relative_to(self.top or self.root)
        return os.path.relpath(place, self.root) if inside else place

    def entry(self, stage: Stage) -> dict[str, Any]:
        """Return what dvc.lock ought to record of a stage now. What is absent or remote keeps its record.

        Raise InputError if a parameter is not there, or its file cannot be read.
        """
        with refusals(self.root):
            for item in (*stage.raw.deps, *stage.raw.outs):
                if isinstance(item, ParamsDependency):
                    item.hash_info = item.get_hash()
                elif item.protocol == "local" and item.exists and item.hash_name:
                    item.meta, item.hash_info = self.hash(item)
            return dict(to_single_stage_lockfile(stage.raw))

    def hash(self, raw: Any) -> tuple[Any, Any]:
        """Return size and hash of a file or folder that is here, from its content, never from DVC's database."""
        key = f"{raw.hash_name} {raw.fs_path}"
        if key not in self._known:
            _, meta, content = build(
                self._store, raw.fs_path, raw.fs, raw.hash_name, ignore=raw.dvcignore, dry_run=True
            )
            self._known[key] = meta, content.hash_info
        return self._known[key]

    def choose(self, names: Sequence[str]) -> list[Stage]:
        """Return the stages with these addresses, all if there are none; a name of a foreach or matrix stands for its
        stages. Raise InputError if there is no such stage.
        """
        known = {name for stage in self.stages for name in stage.names}
        for name in names:
            if name not in known:
                raise InputError(f"stage {name}", "there is none of this name", hint="Run `dvc stage list --all`.")
        return [stage for stage in self.stages if not names or stage.names & {*names}]

    def _stage(self, raw: Any) -> Stage:
        params = {dep.fs_path: tuple(dep.params) for dep in raw.deps if isinstance(dep, ParamsDependency)}
        settings = (raw.meta or {}).get("dvcproof") if isinstance(raw.meta, dict) else None
        return Stage(
            address=address_of(raw),
            name=raw.name,
            file=raw.path_in_repo,
            line=self._line(raw),
            wdir=Path(raw.wdir),
            commands=tuple(raw.cmd if isinstance(raw.cmd, list) else [raw.cmd] if raw.cmd else []),
            deps=tuple(self._item(dep) for dep in raw.deps if not isinstance(dep, ParamsDependency)),
            params=params,
            outs=tuple(self._item(out) for out in raw.outs),
            frozen=bool(raw.frozen),
            always_changed=bool(raw.always_changed),
            settings=settings if isinstance(settings, dict) else {},
            raw=raw,
        )

    def _line(self, raw: Any) -> int:
        if raw.path not in self._lines:
            try:
                stages = YAML().load(Path(raw.path).read_text(encoding="utf-8"))["stages"]
                self._lines[raw.path] = {str(name): stages.lc.key(name)[0] + 1 for name in stages}
            except Exception:  # only the place would be missing
                self._lines[raw.path] = {}
        return self._lines[raw.path].get(raw.name.partition("@")[0], 0)

    def _item(self, raw: Any) -> Item:
        local = raw.protocol == "local" and "://" not in raw.def_path
        place = os.path.normpath(raw.fs_path) if local else raw.def_path
        return Item(raw.def_path, place, local, bool(raw.use_cache), bool(raw.persist), raw)


def address_of(raw: Any) -> str:
    """Return the name of a stage or .dvc file as DVC gives it in the project's root."""
    if not isinstance(raw, PipelineStage):
        return str(raw.path_in_repo)
    return str(raw.name) if raw.path_in_repo == "dvc.yaml" else f"{raw.path_in_repo}:{raw.name}"


@contextmanager
def refusals(folder: Path) -> Iterator[None]:
    """Raise InputError, of one line, if DVC cannot read the project in the folder."""
    try:
        yield
    except DvcException as error:
        refuse_conflicts(folder)
        causes = [str(one) for one in (error, error.__cause__) if one]
        text = " ".join(": ".join(dict.fromkeys(causes)).split())
        raise InputError(str(folder), f"DVC cannot read the project: {text}", hint="Run `dvc status`.") from None


def _upwards(place: str) -> Iterator[str]:
    """Return a path and the folders above it."""
    yield place.rstrip("/")
    yield from map(str, Path(place).parents)
