"""Does dvc.lock describe the code, parameters, data and results that are here? Checked without running anything.

`dvc status` and `dvc repro --dry` are no substitute: to them a stage that something was dropped from, or a dvc.lock
that contradicts itself, is up to date; and they exit with 0. Here DVC resolves the graph, reads the parameters and
computes the hashes; the result is what `dvc repro` would write into dvc.lock now, and is compared with what it holds.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from dvc.dependency import ParamsDependency
from dvc.repo import Repo
from dvc.stage import PipelineStage
from dvc.stage.serialize import to_single_stage_lockfile
from dvc_data.hashfile.build import build
from dvc_data.hashfile.db import HashFileDB
from packaging.markers import Marker

from dvcproof.git import changed_files
from dvcproof.lockfile import Change, Lock, Stage, causes, changes, read_lock, refuse_conflict
from dvcproof.runtime.program import InputError
from dvcproof.runtime.run import require_packages


class Report(NamedTuple):
    """What a check found: errors, what the user should know besides, and a line that says what was checked."""

    problems: list[InputError]
    notes: list[str]
    summary: str


def check(root: Path) -> Report:
    """Compare the project in the folder `root` with its dvc.lock.

    Raises:
        InputError: a file has conflict markers, there is no dvc.yaml or more than one, or Git refuses.
        DvcException: DVC cannot read the project.
    """
    for name in ("dvc.yaml", "dvc.lock", "params.yaml"):
        refuse_conflict(root / name)
    recorded = recorded_lock(root)
    packages = list(_packages(root / "requirements.lock"))
    with Repo(str(root)) as repo:
        repo.index.check_graph()
        everything = repo.index.stages
        pipeline = _pipeline(everything)
        problems = [*packages, *_wrong_stages(pipeline, recorded), *_disagreements(everything)]
        problems += [*_missing(everything), *_unpinned(pipeline)]
        notes = list(_notes(pipeline))
        hashes = Hashes(repo)
        found = Lock(stages={stage.name: hashes.entry(stage) for stage in pipeline if stage.name in recorded.stages})
    problems += [_explain(change, names) for change, names in _grouped(causes(changes(recorded, found)))]
    if changed := changed_files(root):
        more = f" and {len(changed) - 8} more" if len(changed) > 8 else ""
        notes.append(f"not in the last commit, and so not in the re-run: {', '.join(changed[:8])}{more}")
    return Report(problems, notes, f"{len(pipeline)} stages and {len(hashes.known)} files are as dvc.lock records them")


def recorded_lock(root: Path) -> Lock:
    """The dvc.lock of the project in the folder `root`; without stages if there is none.

    Raises:
        InputError: there is no dvc.yaml, or dvc.lock is damaged.
    """
    if not (root / "dvc.yaml").is_file():
        raise InputError(
            str(root / "dvc.yaml"),
            expected="a graph",
            received="no such file",
            hint="Run it in the top folder of the project.",
        )
    return read_lock(root / "dvc.lock") if (root / "dvc.lock").exists() else Lock()


class Hashes:
    """Hashes of what is in the work tree, computed by DVC from the content each time, never taken from its database."""

    def __init__(self, repo: Repo) -> None:
        self.known: dict[str, tuple[Any, Any]] = {}
        self._store = HashFileDB(repo.fs, repo.cache.local.path)  # only read: `dry_run` adds nothing to it

    def entry(self, stage: PipelineStage) -> Stage:
        """What dvc.lock ought to hold of a stage now. Files that are absent or remote keep what it does hold."""
        for item in (*stage.deps, *stage.outs):
            if isinstance(item, ParamsDependency):
                item.hash_info = item.get_hash()
            elif _is_here(item):
                item.meta, item.hash_info = self.of(item)
        return Stage.model_validate(to_single_stage_lockfile(stage))

    def of(self, item: Any) -> tuple[Any, Any]:
        """Size and hash of a file or folder that is here."""
        if item.fs_path not in self.known:
            _, meta, content = build(
                self._store, item.fs_path, item.fs, item.hash_name, ignore=item.dvcignore, dry_run=True
            )
            self.known[item.fs_path] = meta, content.hash_info
        return self.known[item.fs_path]


def _packages(lock: Path) -> Iterator[InputError]:
    """What differs from the list of packages: what every stage refuses, and what is missing on this machine alone."""
    if lock.is_file():
        try:
            require_packages(lock, lambda marker: Marker(marker).evaluate())
        except InputError as error:
            yield error


def _pipeline(everything: Iterable[Any]) -> list[PipelineStage]:
    pipeline = [stage for stage in everything if isinstance(stage, PipelineStage)]
    for stage in pipeline:
        if stage.path_in_repo != "dvc.yaml":
            raise InputError(
                stage.path_in_repo,
                expected="no other graph than dvc.yaml",
                received=f"stage '{stage.name}'",
                hint="Move it into dvc.yaml.",
            )
    return pipeline


def _is_here(item: Any) -> bool:
    return item.protocol == "local" and bool(item.exists)


def _wrong_stages(pipeline: list[PipelineStage], recorded: Lock) -> Iterator[InputError]:
    names = [stage.name for stage in pipeline]
    for name in names:
        if name not in recorded.stages:
            yield InputError(
                f"stage '{name}'",
                expected="a record in dvc.lock",
                received="none",
                hint="Run `dvc repro`, then commit its results.",
            )
    for name in recorded.stages:
        if name not in names:
            yield InputError(
                f"stage '{name}' in dvc.lock",
                expected="a stage of this name in dvc.yaml",
                received="none: it was removed or renamed, which DVC does not notice",
                hint="Delete dvc.lock, run `dvc repro` (it takes what it knows from its cache), then commit dvc.lock.",
            )


def _disagreements(everything: Iterable[Any]) -> Iterator[InputError]:
    """Dependencies whose recorded hash differs from that of the output that they are."""
    everything = list(everything)
    outputs = {out.fs_path: out for stage in everything for out in stage.outs}
    for stage in everything:
        for dep in stage.deps:
            out = outputs.get(dep.fs_path)
            if out and dep.hash_info and out.hash_info and dep.hash_info != out.hash_info:
                yield InputError(
                    f"stage '{stage.addressing}', dependency {dep.def_path} in dvc.lock",
                    expected=f"md5 {out.hash_info.value}, which stage '{out.stage.addressing}' wrote",
                    received=f"md5 {dep.hash_info.value}",
                    hint="Run `dvc repro`, then commit its results.",
                )


def _missing(everything: Iterable[Any]) -> Iterator[InputError]:
    """Files that Git ought to hold, being neither made by a stage nor in DVC's cache, but that are not here."""
    everything = list(everything)
    outputs = [out for stage in everything for out in stage.outs]
    for stage in everything:
        for item in (*stage.deps, *stage.outs):
            if item.protocol != "local" or _is_here(item) or (item in stage.outs and item.use_cache):
                continue
            if item in stage.outs or not any(_overlap(item, out) for out in outputs):
                yield InputError(
                    f"stage '{stage.addressing}', {'output' if item in stage.outs else 'dependency'} {item.def_path}",
                    expected="a file or folder",
                    received="none",
                    hint="Restore it from Git, or run `dvc repro`.",
                )


def _unpinned(pipeline: Iterable[Any]) -> Iterator[InputError]:
    for stage in pipeline:
        for dep in stage.deps:
            if dep.protocol != "local" and not is_pinned(dep.def_path):
                yield InputError(
                    f"stage '{stage.name}', dependency {dep.def_path}",
                    expected="an address that ends in #sha256=<64 hex digits>, which the stage checks",
                    received="one whose content may change",
                    hint="Append #sha256= and the file's SHA-256 (`sha256sum FILE`).",
                )


def is_pinned(address: str) -> bool:
    """Whether this is an address of a file that the stage checks by its SHA-256."""
    return "://" in address and "#sha256=" in address


def _overlap(item: Any, out: Any) -> bool:
    paths = Path(item.fs_path), Path(out.fs_path)
    return paths[0].is_relative_to(paths[1]) or paths[1].is_relative_to(paths[0])


def _notes(pipeline: list[PipelineStage]) -> Iterator[str]:
    for stage in pipeline:
        for dep in stage.deps:
            if is_pinned(dep.def_path):
                yield f"stage '{stage.name}', dependency {dep.def_path}: taken as pinned, nothing was downloaded"
    absent = [out for stage in pipeline for out in stage.outs if out.use_cache and not _is_here(out)]
    if absent:
        yield f"{len(absent)} outputs are not in the work tree, so only their records in dvc.lock were compared"


def _grouped(found: Iterable[Change]) -> Iterable[tuple[Change, list[str]]]:
    """Each change once, with the stages that it concerns: many share a module or a data file."""
    stages: dict[Change, list[str]] = {}
    for change in found:
        shared = change if change.fact.kind == "command" else change._replace(fact=change.fact._replace(stage=""))
        stages.setdefault(shared, []).append(change.fact.stage)
    return stages.items()


def _explain(change: Change, names: list[str]) -> InputError:
    fact, recorded, found = change
    where = f"stage{'s' if len(names) > 1 else ''} {', '.join(map(repr, names))}, {fact.kind} {fact.name}".rstrip()
    commit = "then commit its results."
    redo = f"Run `dvc repro`, {commit}"
    if found is None or (fact.kind == "parameter" and recorded and json.loads(recorded) == json.loads(found)):
        redo = f"DVC does not notice: run `dvc repro --force --single-item {' '.join(names)}`, {commit}"
    elif fact.kind == "output":
        redo = f"Run `dvc repro`, {commit}"
    return InputError(
        where,
        expected="a record in dvc.lock" if recorded is None else f"{recorded}, as in dvc.lock",
        received="none" if recorded is None else "none any more" if found is None else found,
        hint=redo,
    )
