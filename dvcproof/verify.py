"""Verify that the last commit gives its own results: run every stage in a clean clone, and compare the outputs.

If a stage's outputs differ although its inputs are equal, the stage runs a second time from the same inputs. If both
runs are equal, dvc.lock records a run with other inputs. If they differ, the stage differs by chance.
"""

import filecmp
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from dvcproof.check import RUN
from dvcproof.clone import Clone, Result, copy, full_disk, working_folder
from dvcproof.compare import first_difference
from dvcproof.config import ToleranceConfig, read_config
from dvcproof.findings import Finding, Report
from dvcproof.git import changed_files
from dvcproof.hook import Hook
from dvcproof.judge import exceptions
from dvcproof.lockfile import Entry, hashes, read_records
from dvcproof.project import Project, Stage
from dvcproof.runtime.program import InputError
from dvcproof.tolerance import Tolerance, check_metric, tolerance
from dvcproof.values import flatten


@dataclass
class Run:
    """A run of the stages in a clean clone.

    Args:
        recorded: the committed records, by stage address.
        timeout: seconds for the run.
        now: the records after the run, by stage address.
        seconds: the time of each stage that ended, by stage address.
        failed: the last lines of the output of each stage that failed, by stage address.
    """

    project: Project
    clone: Clone
    recorded: dict[str, Entry]
    timeout: float | None
    now: dict[str, Entry] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def changed(self, stage: Stage, kind: str) -> list[str]:
        """Return the paths of `deps` or `outs` whose hash differs from the recorded hash."""
        before, after = (hashes(entries.get(stage.address), kind) for entries in (self.recorded, self.now))
        return [path for path in before if path in after and before[path] != after[path]]

    def name(self, stage: Stage, path: str) -> str:
        """Return the path of a stage's file relative to the project's root."""
        return os.path.relpath(stage.wdir / path, self.project.root)

    @cached_property
    def committed(self) -> Clone:
        """A second clone, with the committed files and what `supply` adds."""
        return Clone(self.project, self.clone.folder, "committed")

    def versions(self, stage: Stage, path: str) -> tuple[Path, Path]:
        """Return an output's committed version and its new one. The first exists only if Git or the cache has it."""
        name = self.name(stage, path)
        if not (self.committed.path / name).exists():
            self.committed.supply(self.project, [out for out in stage.outs if out.path == path])
        return self.committed.path / name, self.clone.path / name


def verify(
    project: Project, *, stages: Sequence[str] = (), keep: Path | None = None, timeout: float | None = None
) -> Report:
    """Run stages in a clean clone of the last commit, and compare their outputs with the committed ones.

    Raise InputError if there is no commit, or DVC cannot read the project.
    """
    report = Report("verify")
    chosen, targets = project.choose(stages), list(stages) or ["--all-pipelines"]
    with working_folder(keep, "dvcproof-") as folder:
        clone = Clone(project, folder)
        report.unknown += [f"{path} is in neither cache nor work tree: run `dvc fetch`" for path in clone.missing]
        report.unknown += clone.obstacles
        run = Run(project, clone, read_records(clone.path)[0], timeout)
        result = _execute(run, targets)
        config = read_config(clone.path).tolerance
        allowed = tolerance(project, clone.path, config if (clone.path / "dvc.lock").is_file() else None)
        again = [] if run.failed or result.status != 0 else list(_again(run, targets))
        report.table.append(("stage", "reproduced", "outputs", "seconds"))
        for stage in chosen:
            _judge(run, stage, report, allowed)
        if config and any(row[1] == "within tolerance" for row in report.table):
            report.findings += _compare_metrics(run, allowed, config)
        _failures(run, report, result)
        if not run.failed and result.status == 0:
            report.findings += _left(run)
            report.findings += again
        equal = sum(row[1] in ("yes", "within tolerance") for row in report.table)
        report.summary = f"commit {clone.commit}: {equal} of {len(chosen)} stages reproduced"
    return report


def _execute(run: Run, targets: Sequence[str]) -> Result:
    hook = Hook(run.clone.folder / "hook")
    result = run.clone.repro(*targets, timeout=run.timeout, **hook.variables())
    run.now, _ = read_records(run.clone.path)
    for address, call in hook.calls().items():
        if call.status is not None:
            run.seconds[address] = call.seconds
        if call.status:
            run.failed[address] = call.last_lines
    return result


def _judge(run: Run, stage: Stage, report: Report, allowed: Tolerance) -> None:
    """Add a stage's row to the table, and a finding if the stage differs or has no record."""
    excuses = exceptions(stage).varies
    if stage.frozen:
        words = ("frozen", "not run")
    elif stage.address in run.failed:
        words = ("no", "it failed")
    elif stage.address not in run.seconds:
        words = ("no", "it did not run")
    elif stage.address not in run.recorded:
        words = ("no", "no record")
        report.findings.append(stage.finding("DP101", "no record in the committed dvc.lock", RUN))
    elif not (changed := run.changed(stage, "outs")):
        words = ("yes", "equal")
    elif all(path in excuses for path in changed):
        words = ("no", f"{changed[0]} differs, as dvc.yaml says")
        for path in changed:
            text = f"output {path} is not the committed one, as dvc.yaml says: {excuses[path]}"
            report.findings.append(stage.finding("DP702", text, path=path, level="note"))
    else:
        committed, new = run.versions(stage, changed[0])
        text = differs(changed[0], committed, new) if committed.exists() else ""
        difference = text or "differs; the committed version is not available"
        words = ("within tolerance" if stage.address in allowed.stages else "no", f"{changed[0]} {difference}")
        if stage.address not in allowed.stages:
            report.findings.append(_explain(run, stage, changed, difference))
    seconds = run.seconds.get(stage.address)
    report.table.append((stage.address, *words, "" if seconds is None else f"{seconds:.1f}"))


def _explain(run: Run, stage: Stage, changed: Sequence[str], difference: str) -> Finding:
    """Return the finding that explains why outputs differ from the committed ones. Run the stage again if needed."""
    what = f"output {changed[0]} is not the committed one"
    if inputs := run.changed(stage, "deps"):
        made = [path for path in inputs if run.project.maker(os.path.normpath(stage.wdir / path))]
        own = {run.name(stage, path) for path in inputs} & {*changed_files(run.clone.path)}
        if own and not made:
            message = f"it changes its own input {min(own)}"
            return stage.finding("DP205", message, "Write to another file.", path=min(own), evidence=difference)
        message, fix = f"{what}, since its stage has other inputs: {', '.join(made or inputs)}", "" if made else RUN
        return stage.finding("DP701", message, fix, path=changed[0], evidence=difference)
    kept = run.clone.folder / "first"
    places = {path: run.clone.path / run.name(stage, path) for path in changed}
    for path, place in places.items():
        copy(place, kept / path)
    result = run.clone.repro("--single-item", stage.address, timeout=run.timeout)
    if result.status != 0:
        message = f"{what}, and it fails when it is run a second time in the same place"
        fix = "Remove what the first run leaves, or declare it as an output; the end of its output is below."
        return stage.finding("DP702", message, fix, path=changed[0], evidence=result.last_lines)
    for path, place in places.items():
        if other := differs(path, kept / path, place):
            message = f"{what}, and two runs from equal inputs differ: chance"
            fix = "Set a seed, or use one thread. `dvcproof vary` finds the cause."
            return stage.finding("DP702", message, fix, path=path, evidence=f"first and second run: {other}")
    message = f"{what}, though two runs give equal bytes: dvc.lock records other inputs or circumstances"
    fix = f"{RUN} If nothing was edited, `dvcproof vary` says which circumstance it depends on."
    return stage.finding("DP701", message, fix, path=changed[0], evidence=difference)


def differs(name: str, one: Path, other: Path) -> str:
    """Describe the first difference of two files or folders. Return an empty string if they are equal."""
    if not one.exists() or not other.exists():
        return f"{name} is gone" if one.exists() != other.exists() else ""
    if one.is_dir() != other.is_dir():
        return f"{name} is a folder on one side only"
    if one.is_file():
        return "" if filecmp.cmp(one, other, shallow=False) else first_difference(name, one, other)
    names = {path.relative_to(place) for place in (one, other) for path in place.rglob("*") if path.is_file()}
    found = ((part, differs(str(part), one / part, other / part)) for part in sorted(names))
    return next((f"{part}: {text}".removeprefix(f"{part}: {part} ") for part, text in found if text), "")


def _failures(run: Run, report: Report, result: Result) -> None:
    """Report failed stages, and a failed `dvc repro` without a failed stage. Missing data is not a failure."""
    if not run.failed and (result.status == 0 or (run.clone.missing and result.status is not None)):
        return
    report.failed = True
    for stage in (stage for stage in run.project.stages if stage.address in run.failed):
        words = run.failed[stage.address]
        fix = full_disk(words, run.clone.folder)
        fix = fix or "Commit or declare all that it needs; the end of its output is below."
        report.findings.append(stage.finding("DP703", "it fails in a clean clone", fix, evidence=words))
    if not run.failed:
        message = "the time limit was reached" if result.status is None else "`dvc repro` fails in a clean clone"
        lines = [line for line in result.output.splitlines() if line.startswith("ERROR")]
        evidence = "\n".join(lines) or result.last_lines
        fix = full_disk(result.output, run.clone.folder)
        report.findings.append(Finding("DP703", "error", message, fix, evidence=evidence))


def _left(run: Run) -> Iterator[Finding]:
    """Find committed files that the run changed, and new files that are neither outputs nor ignored."""
    outs = [os.path.relpath(out.place, run.project.root) for stage in run.project.stages for out in stage.outs]
    for name in changed_files(run.clone.path):
        path = Path(name)
        # Files of DVC and Python, even where Git does not ignore them.
        known = path.name in ("dvc.lock", ".gitignore") or {".dvc", "__pycache__"} & {*path.parts}
        if known or any(path.is_relative_to(out) for out in outs):
            continue
        committed = run.committed.path / name
        if committed.exists():
            evidence = differs(name, committed, run.clone.path / name)
            message, fix = f"the run changes {name}, which is committed and no output", "Declare it as an output."
            yield Finding("DP705", "error", message, fix, path=name, evidence=evidence)
        else:
            fix = "Declare it as an output of its stage, commit it, or ignore it."
            yield Finding("DP705", "error", f"the run leaves {name}, which is no output", fix, path=name)


def _again(run: Run, targets: Sequence[str]) -> Iterator[Finding]:
    """Find stages that a second `dvc repro` runs although no input has changed and no stage before them ran."""
    hook = Hook(run.clone.folder / "again")
    run.clone.dvc("repro", *targets, timeout=run.timeout, **hook.variables())
    calls = hook.calls()
    for stage in (stage for stage in run.project.stages if stage.deps and not stage.always_changed):
        if stage.address in calls and not any(run.project.maker(dep.place) in calls for dep in stage.deps):
            message = "a second `dvc repro` runs it again although nothing has changed"
            yield stage.finding("DP706", message, "Run `dvcproof trace` to see whether it changes its own inputs.")


def _compare_metrics(run: Run, allowed: Tolerance, config: ToleranceConfig) -> Iterator[Finding]:
    """Compare the metric in every committed JSON output of the stages whose bytes may differ."""
    yield Finding("DP701", "warning", f"{allowed}. {config.metric} is compared instead of bytes")
    found = False
    for stage in (stage for stage in run.project.stages if stage.address in allowed.stages):
        for out in (out for out in stage.outs if out.path.endswith(".json")):
            before, now = (_metric(path, config.metric) for path in run.versions(stage, out.path))
            if before is not None and now is not None:
                found = True
                try:
                    yield Finding("DP701", "note", check_metric(before, now, config, run.clone.path))
                except InputError as error:
                    yield Finding("DP701", "error", error.problem, error.hint)
    if not found:
        message = f"no JSON file in Git has {config.metric}, which is compared instead of bytes"
        yield Finding("DP701", "error", message, "Keep the metrics in Git (cache: false).")


def _metric(path: Path, name: str) -> float | None:
    try:
        return float(flatten(json.loads(path.read_text(encoding="utf-8")))[name])
    except (OSError, ValueError, KeyError, TypeError):
        return None
