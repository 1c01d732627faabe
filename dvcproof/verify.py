"""Verify that the last commit gives its own results: run every stage in a clean clone, and compare what comes out.

A stage that differs although its inputs are equal is run a second time from the same inputs. Equal to the first run but
not to dvc.lock: the record is not of these inputs. Unequal: chance.
"""

import filecmp
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dvcproof.check import RUN, choose
from dvcproof.clone import Clone, Result, full_disk, working_folder
from dvcproof.compare import first_difference
from dvcproof.config import ToleranceConfig, read_config
from dvcproof.findings import Finding, Report
from dvcproof.git import AbsentError, changed_files, git
from dvcproof.hook import Hook
from dvcproof.lockfile import parse_lock_document, read_lock
from dvcproof.project import Item, Project, Stage
from dvcproof.runtime.program import InputError
from dvcproof.tolerance import NONE, Tolerance, check_metric, tolerance
from dvcproof.values import flatten

Entry = dict[str, Any]


@dataclass
class Run:
    """A run of the stages in a clean clone.

    Args:
        project: the project that was cloned.
        clone: the clone, in which the stages have run.
        recorded: by the address of a stage, its committed record.
        now: the same, after the run.
        seconds: how long each stage took.
        failed: the exit status and the last lines of each stage that failed.
    """

    project: Project
    clone: Clone
    recorded: dict[str, Entry]
    now: dict[str, Entry] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def changed(self, stage: Stage, kind: str) -> list[str]:
        """Return the paths of dependencies or outputs whose hash is not the recorded one."""
        before, after = (hashes(entries.get(stage.address), kind) for entries in (self.recorded, self.now))
        return [path for path in before if path in after and before[path] != after[path]]

    def place(self, stage: Stage, path: str) -> Path:
        """Return where an output lies in the clone."""
        return self.clone.path / os.path.relpath(stage.wdir / path, self.project.root)


def verify(
    project: Project, *, stages: Sequence[str] = (), keep: Path | None = None, timeout: float | None = None
) -> Report:
    """Run stages in a clean clone of the last commit, and compare their outputs with the committed ones.

    Args:
        project: the project.
        stages: the addresses of the stages, which run with those that they depend on; none of them: all.
        keep: a new folder in which the clone stays.
        timeout: seconds for all stages together.

    Raises:
        InputError: there is no commit, or DVC cannot read the project.
    """
    report = Report("verify")
    chosen = choose(project, stages)
    with working_folder(keep, "dvcproof-") as folder:
        clone = Clone(project, folder)
        report.unknown += [f"{path} is in neither cache nor work tree: run `dvc fetch`" for path in clone.missing]
        report.unknown += clone.obstacles
        run = Run(project, clone, read_entries(project, clone.path))
        result = _execute(run, stages, timeout)
        config = read_config(clone.path).tolerance
        allowed = _tolerance(run, config)
        again = [] if run.failed or result.status != 0 else list(_again(run, stages, timeout))
        report.table.append(("stage", "reproduced", "outputs", "seconds"))
        for stage in chosen:
            _judge(run, stage, report, allowed, timeout)
        if config and any(row[1] == "within tolerance" for row in report.table):
            report.findings += _compare_metrics(run, allowed, config)
        _failures(run, report, result)
        if not run.failed and result.status == 0:
            report.findings += _left(run)
            report.findings += again
        equal = sum(row[1] in ("yes", "within tolerance") for row in report.table)
        report.summary = f"commit {clone.commit}: {equal} of {len(chosen)} stages reproduced"
    return report


def read_entries(project: Project, root: Path) -> dict[str, Entry]:
    """Read the records of all stages, by address, from the dvc.lock files of the project or of a clone at `root`."""
    found: dict[str, Entry] = {}
    for file in {stage.file for stage in project.stages}:
        lock = (root / file).with_name("dvc.lock")
        with suppress(OSError, ValueError):
            for name, entry in parse_lock_document(lock.read_bytes()).items():
                found[name if file == "dvc.yaml" else f"{file}:{name}"] = entry
    return found


def hashes(entry: Entry | None, kind: str) -> dict[str, str]:
    """Return the hashes in a record by their paths."""
    items = (entry or {}).get(kind) or []
    return {str(item["path"]): str(item.get("md5") or item.get("etag") or item.get("checksum")) for item in items}


def _execute(run: Run, stages: Sequence[str], timeout: float | None) -> Result:
    hook = Hook(run.clone.folder / "hook")
    targets = list(stages) or ["--all-pipelines"]
    options = ("--force", "--no-run-cache", "--keep-going")
    result = run.clone.dvc("repro", *options, *targets, timeout=timeout, **hook.variables())
    run.now = read_entries(run.project, run.clone.path)
    for address, call in hook.calls().items():
        run.seconds[address] = call.seconds
        if call.status != 0:
            run.failed[address] = call.last_lines
    return result


def _judge(run: Run, stage: Stage, report: Report, allowed: Tolerance, timeout: float | None) -> None:
    """Add a row to the table, and the finding that explains it."""
    seconds = f"{run.seconds[stage.address]:.1f}" if stage.address in run.seconds else ""

    def row(reproduced: str, outputs: str) -> None:
        report.table.append((stage.address, reproduced, outputs, seconds))

    if stage.frozen:
        row("frozen", "not run")
    elif stage.address in run.failed:
        row("no", "it failed")
    elif stage.address not in run.seconds:
        row("no", "it did not run")
    elif stage.address not in run.recorded:
        row("no", "no record")
        report.findings.append(stage.finding("DP101", "no record in the committed dvc.lock", RUN))
    elif not (changed := run.changed(stage, "outs")):
        row("yes", "equal")
    else:
        difference = _difference(run, stage, changed[0])
        if stage.address in allowed.stages:
            row("within tolerance", f"{changed[0]} {difference}")
            return
        row("no", f"{changed[0]} {difference}")
        report.findings.append(_explain(run, stage, changed, difference, timeout))


def _explain(run: Run, stage: Stage, changed: Sequence[str], difference: str, timeout: float | None) -> Finding:
    """Say why an output is not the committed one."""
    what = f"output {changed[0]} is not the committed one"
    if inputs := run.changed(stage, "deps"):
        made = [path for path in inputs if run.project.maker(os.path.normpath(stage.wdir / path))]
        places = {os.path.relpath(stage.wdir / path, run.project.root) for path in inputs}
        own = places & {*changed_files(run.clone.path)}
        if own and not made:
            message = f"it changes its own input {min(own)}"
            return stage.finding("DP205", message, "Write to another file.", path=min(own), evidence=difference)
        message = f"{what}: it follows from {', '.join(made or inputs)}"
        fix = "" if made else RUN
        return stage.finding("DP701", message, fix, path=changed[0], evidence=difference)
    first = {path: run.place(stage, path) for path in changed}
    kept = run.clone.folder / "first"
    for path, place in first.items():
        _copy(place, kept / path)
    address = stage.address
    options = ("--force", "--single-item", "--no-run-cache")
    result = run.clone.dvc("repro", *options, address, timeout=timeout, SHELL="/bin/sh")
    if result.status != 0:
        message = f"{what}, and it fails when it is run a second time in the same place"
        return stage.finding("DP702", message, path=changed[0], evidence=result.last_lines)
    for path, place in first.items():
        if other := differs(path, kept / path, place):
            message = f"{what}, and two runs from equal inputs differ: chance"
            fix = "Set a seed, or one thread; `dvcproof vary` says which."
            return stage.finding("DP702", message, fix, path=path, evidence=f"first and second run: {other}")
    message = f"{what}, though two runs give equal bytes: dvc.lock is not of these inputs"
    fix = f"{RUN} If nothing was edited, a circumstance differs: `dvcproof vary` says which."
    return stage.finding("DP701", message, fix, path=changed[0], evidence=difference)


def _copy(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target)
    elif source.exists():
        shutil.copyfile(source, target)


def differs(name: str, one: Path, other: Path) -> str:
    """Say where two files or folders differ, or return nothing."""
    if not one.exists() or not other.exists():
        return f"{name} is gone" if one.exists() != other.exists() else ""
    if one.is_dir() != other.is_dir():
        return f"{name} is a folder in one of them"
    if one.is_file():
        return "" if filecmp.cmp(one, other, shallow=False) else first_difference(name, one, other)
    names = {path.relative_to(place) for place in (one, other) for path in place.rglob("*") if path.is_file()}
    found = ((part, differs(str(part), one / part, other / part)) for part in sorted(names))
    return next((f"{part}: {text}".removeprefix(f"{part}: {part} ") for part, text in found if text), "")


def _difference(run: Run, stage: Stage, path: str) -> str:
    """Say where an output differs from its committed version, if that is at hand."""
    out = next((item for item in stage.outs if item.path == path), None)
    new = run.place(stage, path)
    for name, committed in (_committed(run, stage, out) if out else {}).items():
        if text := differs(name or path, committed, new / name if name else new):
            return f"{name}: {text}" if name else text
    return "differs; the committed version is not at hand"


def _committed(run: Run, stage: Stage, out: Item) -> dict[str, Path]:
    """Return the files of the committed version of an output: from Git, from the cache, or from the work tree."""
    place = os.path.relpath(out.place, run.project.root)
    try:
        content = git(run.clone.path, "cat-file", "blob", f"HEAD:./{place}")
        file = run.clone.folder / "committed" / place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return {"": file}
    except (AbsentError, InputError):
        pass
    digest = hashes(run.recorded[stage.address], "outs").get(out.path, "")
    store = out.raw.cache
    if digest.endswith(".dir"):
        with suppress(Exception):  # DVC raises many kinds where an object is not there
            from dvc_data.hashfile.hash_info import HashInfo
            from dvc_data.hashfile.tree import Tree

            tree = Tree.load(store, HashInfo(out.raw.hash_name, digest))
            parts = {"/".join(key): Path(store.oid_to_path(part.value)) for key, _, part in tree}
            return {name: path for name, path in parts.items() if path.is_file()}
    stored = Path(store.oid_to_path(digest)) if digest else Path()
    if stored.is_file():
        return {"": stored}
    if out.exists and digest and run.project.hash(out.raw)[1].value == digest and Path(out.place).is_file():
        return {"": Path(out.place)}
    return {}


def _failures(run: Run, report: Report, result: Result) -> None:
    """Report stages that failed, and a DVC that did not start; data that is not there is no failure."""
    if not run.failed and (result.status == 0 or (run.clone.missing and result.status is not None)):
        return
    report.failed = True
    by_address = {stage.address: stage for stage in run.project.stages}
    for address, words in run.failed.items():
        if stage := by_address.get(address):
            message = "it fails in a clean clone"
            fix = "Is all that it needs committed or declared? The end of its output is below."
            report.findings.append(
                stage.finding("DP703", message, full_disk(words, run.clone.folder) or fix, evidence=words)
            )
    if not run.failed:
        message = "the time is up" if result.status is None else "`dvc repro` fails in a clean clone"
        lines = [line for line in result.output.splitlines() if line.startswith("ERROR")]
        evidence = "\n".join(lines) or result.last_lines
        report.findings.append(
            Finding("DP703", "error", message, full_disk(result.output, run.clone.folder), evidence=evidence)
        )


def _left(run: Run) -> Iterator[Finding]:
    """Find committed files that the run changed, and new files that are neither outputs nor ignored."""
    outs = [os.path.relpath(out.place, run.project.root) for stage in run.project.stages for out in stage.outs]
    for name in changed_files(run.clone.path):
        path = Path(name)
        # Files of DVC and of Python, also where Git does not ignore them.
        known = path.name in ("dvc.lock", ".gitignore") or {".dvc", "__pycache__"} & {*path.parts}
        if known or any(path.is_relative_to(out) for out in outs):
            continue
        try:
            committed = git(run.clone.path, "cat-file", "blob", f"HEAD:./{name}")
        except (AbsentError, InputError):
            fix = "Declare it as an output of its stage, commit it, or ignore it."
            yield Finding("DP705", "error", f"the run leaves {name}, which is no output", fix, path=name)
            continue
        file = run.clone.folder / "committed" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(committed)
        evidence = differs(name, file, run.clone.path / name)
        message = f"the run changes {name}, which is committed and no output"
        yield Finding("DP705", "error", message, "Declare it as an output of its stage.", path=name, evidence=evidence)


def _again(run: Run, stages: Sequence[str], timeout: float | None) -> Iterator[Finding]:
    """Find stages that a second `dvc repro` runs although nothing has changed."""
    hook = Hook(run.clone.folder / "again")
    run.clone.dvc("repro", *(list(stages) or ["--all-pipelines"]), timeout=timeout, **hook.variables())
    expected = {stage.address for stage in run.project.stages if stage.always_changed or not stage.deps}
    for stage in run.project.stages:
        if stage.address in hook.calls() and stage.address not in expected and not _follows(run, stage, hook):
            message = "a second `dvc repro` runs it again although nothing has changed"
            yield stage.finding("DP706", message, "Does it change its own inputs? `dvcproof trace` says it.")


def _follows(run: Run, stage: Stage, hook: Hook) -> bool:
    """Return whether a stage runs again because one that it depends on did."""
    makers = {run.project.maker(dep.place) for dep in stage.deps}
    return any(address in makers for address in hook.calls())


def _tolerance(run: Run, config: ToleranceConfig | None) -> Tolerance:
    """Return in which stages this machine may give other bytes, by the project's own record of it."""
    lock = run.clone.path / "dvc.lock"
    return tolerance(read_lock(lock), run.clone.path, config) if config and lock.is_file() else NONE


def _compare_metrics(run: Run, allowed: Tolerance, config: ToleranceConfig) -> Iterator[Finding]:
    """Compare the metric where bytes may differ, in every JSON that Git holds and such a stage writes."""
    yield Finding("DP701", "warning", f"{allowed}. {config.metric} is compared instead of bytes")
    values = []
    for stage in (stage for stage in run.project.stages if stage.address in allowed.stages):
        for out in (out for out in stage.outs if out.path.endswith(".json")):
            pair = (_committed(run, stage, out).get(""), run.place(stage, out.path))
            found = [_metric(path, config.metric) for path in pair if path]
            values += [found] if len(found) == 2 and None not in found else []
    if not values:
        message = f"no JSON in Git has {config.metric}, to compare instead of bytes"
        yield Finding("DP701", "error", message, "Keep the metrics in Git (cache: false).")
    for before, now in values:
        try:
            yield Finding("DP701", "note", check_metric(before or 0, now or 0, config, run.clone.path))
        except InputError as error:
            yield Finding("DP701", "error", error.problem, error.hint)


def _metric(path: Path, name: str) -> float | None:
    try:
        return float(flatten(json.loads(path.read_text(encoding="utf-8")))[name])
    except (OSError, ValueError, KeyError, TypeError):
        return None
