"""A DVC project, read from dvc.yaml, .dvc files and dvc.lock."""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from dvc.dependency import ParamsDependency
from dvc.exceptions import DvcException, NotDvcRepoError
from dvc.repo import Repo
from dvc.repo.reproduce import plan_repro
from dvc.stage import PipelineStage
from dvc.stage.serialize import to_single_stage_lockfile
from dvc_data.hashfile.build import build
from dvc_data.hashfile.db import HashFileDB
from dvc_data.hashfile.hash_info import HashInfo
from dvc_data.hashfile.meta import Meta
from dvc_objects.fs.memory import MemoryFileSystem
from ruamel.yaml import YAML

from dvcproof.findings import Finding, Level
from dvcproof.git import AbsentError, git, top_folder
from dvcproof.lockfile import refuse_conflicts
from dvcproof.runtime.program import InputError


class Item:
    """A dependency or an output. `raw` is DVC's own object."""

    def __init__(self, raw: Any) -> None:
        self.raw = raw
        #: The path as declared.
        self.path: str = raw.def_path
        #: Whether it is a file or folder on this machine.
        self.local = raw.protocol == "local" and "://" not in self.path
        #: The absolute path; the URL if it is not local.
        self.place: str = os.path.normpath(raw.fs_path) if self.local else self.path
        #: For an output, whether DVC keeps it in the cache, and whether DVC leaves it in place before a run.
        self.cached, self.persist = bool(raw.use_cache), bool(raw.persist)

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
        """The size in bytes that dvc.lock or the .dvc file records; 0 without a record."""
        return (self.raw.meta.size if self.raw.meta else 0) or 0


class Stage:
    """A stage of a pipeline as dvc.yaml declares it. `raw` is DVC's own object, `line` that of its name in dvc.yaml."""

    def __init__(self, raw: Any, line: int) -> None:
        self.raw, self.line, self.wdir = raw, line, Path(raw.wdir)
        self.name: str = raw.name
        #: The path of the dvc.yaml, relative to the project's root.
        self.file: str = raw.path_in_repo
        #: DVC's name for the stage: 'train', 'models/dvc.yaml:fit@k'.
        self.address = self.name if self.file == "dvc.yaml" else f"{self.file}:{self.name}"
        #: The commands. Each runs in its own shell.
        self.commands: tuple[str, ...] = tuple(raw.cmd if isinstance(raw.cmd, list) else filter(None, [raw.cmd]))
        self.deps = tuple(Item(dep) for dep in raw.deps if not isinstance(dep, ParamsDependency))
        self.outs = tuple(map(Item, raw.outs))
        params = (dep for dep in raw.deps if isinstance(dep, ParamsDependency))
        #: Absolute path of a parameter file -> names of parameters; no names stand for the whole file.
        self.params: dict[str, tuple[str, ...]] = {dep.fs_path: tuple(dep.params) for dep in params}
        self.frozen, self.always_changed = bool(raw.frozen), bool(raw.always_changed)
        settings = raw.meta.get("dvcproof") if isinstance(raw.meta, dict) else None
        #: The value of `meta: dvcproof:` in dvc.yaml.
        self.settings: dict[str, Any] = settings if isinstance(settings, dict) else {}

    @property
    def names(self) -> set[str]:
        """The names that a user may give for the stage."""
        return {self.address, self.address.partition("@")[0], self.name}

    def finding(self, rule: str, message: str, fix: str = "", *, level: Level = "error", **rest: str) -> Finding:
        """Return a finding about this stage, with its place in dvc.yaml. `rest` are other fields of the finding."""
        return Finding(rule, level, message, fix, self.address, file=self.file, line=self.line, **rest)


class Project:
    """A project: its stages in the order in which they run, and the data of its .dvc files."""

    def __init__(self, repo: Repo) -> None:
        self.repo, self.root = repo, Path(repo.root_dir)
        self._lines: dict[str, dict[str, int]] = {}
        self._known: dict[str, tuple[Any, Any]] = {}
        # A store in memory instead of the project's cache, because DVC writes the listing of a folder that DVC 2
        # recorded even with `dry_run`.
        self._store = HashFileDB(MemoryFileSystem(global_store=False), "/cache")  # type: ignore[no-untyped-call]

    @classmethod
    @contextmanager
    def open(cls, folder: Path) -> Iterator["Project"]:
        """Open the project that contains a folder. Raise InputError if there is no project, or DVC cannot read it."""
        logging.getLogger("dvc").setLevel(logging.CRITICAL)
        with refusals(folder), Repo(str(Repo.find_root(str(folder)))) as repo:
            yield cls(repo)

    @cached_property
    def top(self) -> Path | None:
        """The top folder of the Git repository; None without Git."""
        with suppress(AbsentError):
            return top_folder(self.root)[0]
        return None

    @cached_property
    def tracked(self) -> frozenset[str]:
        """The absolute paths of all files in Git's index, and of their parent directories."""
        if self.top is None:
            return frozenset()
        names = git(self.top, "ls-files", "-z", "--recurse-submodules").decode(errors="surrogateescape").split("\0")
        found = {str(self.top / name) for name in names if name}
        return frozenset(found | {str(parent) for name in found for parent in Path(name).parents})

    @cached_property
    def stages(self) -> list[Stage]:
        """The stages of every dvc.yaml, in the order of a run."""
        with refusals(self.root):
            self.repo.index.check_graph()
            raws = [raw for raw in plan_repro(self.repo.index.graph) if isinstance(raw, PipelineStage)]
            return [Stage(raw, self._line(raw)) for raw in raws]

    @cached_property
    def data(self) -> list[Item]:
        """The outputs of .dvc files: data that was added or imported."""
        raws = [raw for raw in self.repo.index.stages if not isinstance(raw, PipelineStage)]
        return [Item(out) for raw in raws for out in raw.outs]

    @cached_property
    def makers(self) -> dict[str, str]:
        """Map the absolute path of each output to its maker: the address of a stage, or the name of a .dvc file."""
        found = {item.place: item.raw.stage.path_in_repo for item in self.data if item.local}
        return found | {out.place: stage.address for stage in self.stages for out in stage.outs if out.local}

    def before(self, stage: Stage) -> frozenset[str]:
        """Return the addresses of all stages that a stage depends on, directly or indirectly."""
        graph, left, found = self.repo.index.graph, [stage.raw], set[Any]()
        while left:
            new = set(graph.successors(left.pop())) - found
            found |= new
            left += new
        return frozenset(one.address for one in self.stages if one.raw in found)

    def maker(self, place: str) -> str | None:
        """Return the maker of a path or of one of its parent directories; None if there is none."""
        return next((self.makers[one] for one in _upwards(place) if one in self.makers), None)

    @cached_property
    def _above(self) -> frozenset[str]:
        return frozenset(parent for place in self.makers for parent in _upwards(place))

    def makes_inside(self, place: str) -> bool:
        """Return whether a stage or a .dvc file makes something inside a folder."""
        return place.rstrip("/") in self._above

    def is_tracked(self, place: str) -> bool:
        """Return whether a file, or something in a folder, is in Git's index."""
        return place.rstrip("/") in self.tracked

    def name(self, place: str) -> str:
        """Return a path for a message: relative to the project's root if it is in the repository, else absolute."""
        inside = Path(place).is_relative_to(self.top or self.root)
        return os.path.relpath(place, self.root) if inside else place

    def entry(self, stage: Stage, known: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Return the record that dvc.lock should have for a stage now. Absent and remote items keep their old hashes.

        Args:
            known: hashes of dependencies by absolute path, which count instead of the present files. With it, no
                output is read.

        Raise InputError if a parameter is missing, or its file cannot be read.
        """
        with refusals(self.root):
            for item in (*stage.raw.deps, *(stage.raw.outs if known is None else ())):
                if isinstance(item, ParamsDependency):
                    item.hash_info = item.get_hash()
                elif known and item.fs_path in known:
                    item.meta, item.hash_info = Meta(), HashInfo("md5", known[item.fs_path])
                elif item.protocol == "local" and item.exists and item.hash_name:
                    item.meta, item.hash_info = self.hash(item)
            return dict(to_single_stage_lockfile(stage.raw))

    def hash(self, raw: Any) -> tuple[Any, Any]:
        """Return size and hash of a local file or folder, computed from its content. DVC's database is not used."""
        key = f"{raw.hash_name} {raw.fs_path}"
        if key not in self._known:
            place = (self._store, raw.fs_path, raw.fs, raw.hash_name)
            _, meta, content = build(*place, ignore=raw.dvcignore, dry_run=True)
            self._known[key] = meta, content.hash_info
        return self._known[key]

    def choose(self, names: Sequence[str]) -> list[Stage]:
        """Return the stages with these names; all stages if `names` is empty.

        The name of a foreach or matrix selects all its stages. Raise InputError if a name is unknown.
        """
        known = {name for stage in self.stages for name in stage.names}
        for name in names:
            if name not in known:
                raise InputError(f"stage {name}", "there is no stage of this name", hint="Run `dvc stage list --all`.")
        return [stage for stage in self.stages if not names or stage.names & {*names}]

    def _line(self, raw: Any) -> int:
        if raw.path not in self._lines:
            self._lines[raw.path] = {}
            with suppress(Exception):  # then findings have no line number
                stages = YAML().load(Path(raw.path).read_text(encoding="utf-8"))["stages"]
                self._lines[raw.path] = {str(name): stages.lc.key(name)[0] + 1 for name in stages}
        return self._lines[raw.path].get(raw.name.partition("@")[0], 0)


@contextmanager
def refusals(folder: Path) -> Iterator[None]:
    """Turn an error of DVC inside the block into an InputError of one line."""
    try:
        yield
    except DvcException as error:
        refuse_conflicts(folder)
        if isinstance(error, NotDvcRepoError):
            hint = "Run it in the folder of a DVC project, or name that folder with -C."
            raise InputError(str(folder), "it is not inside of a DVC project", hint=hint) from None
        causes = [str(one) for one in (error, error.__cause__) if one]
        text = " ".join(": ".join(dict.fromkeys(causes)).split())
        raise InputError(str(folder), f"DVC cannot read the project: {text}", hint="Run `dvc status`.") from None


def _upwards(place: str) -> Iterator[str]:
    """Return a path and its parent directories."""
    yield place.rstrip("/")
    yield from map(str, Path(place).parents)
