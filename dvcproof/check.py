"""Check that each dvc.lock is what `dvc repro` would write now. Nothing is run, and no data is needed.

`dvc status` and `dvc repro --dry` are no substitute: both exit with 0, and both accept a dvc.lock that contradicts
itself or that records dependencies which dvc.yaml no longer has. This check lets DVC resolve the graph, read the
parameters and compute the hashes of the present files. Then it compares the result with dvc.lock.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from packaging.markers import Marker

from dvcproof.findings import Finding, Report
from dvcproof.git import AbsentError, changed_files
from dvcproof.lint import lint
from dvcproof.lockfile import Entry, hashes, read_records
from dvcproof.project import Item, Project, Stage
from dvcproof.runtime.program import InputError
from dvcproof.values import flatten

RUN = "Run `dvc repro`, then commit its results."

LINE_ENDS = "Keep Git from changing line ends: add `* -text` to .gitattributes."

#: The keys of dvc.lock that identify the content of a file.
CONTENT = ("md5", "etag", "checksum", "version_id", "files")


def check(
    project: Project, *, stages: Sequence[str] = (), linting: bool = True, packages: Path | None = None
) -> Report:
    """Compare every dvc.lock of a project with the present files.

    Args:
        stages: the stages to check. Empty: all stages, and the files that belong to no stage.
        linting: whether to check dvc.yaml itself as well.
        packages: a lock file of pip. The installed packages are compared with this file.

    Raise InputError if DVC cannot read the project, or a stage in `stages` does not exist.
    """
    report = Report("check")
    records, problems = read_records(project.root)
    for name, problem in problems.items():
        merge = "Keep one side of the merge, and run `dvc repro`."
        fix = merge if "conflict" in problem else f"Restore it: `git checkout -- {name}`."
        report.findings.append(Finding("DP109", "error", f"{name}: {problem}", fix, path=name, file=name))
    if problems:
        report.summary = "DVC cannot read the project"
        return report
    chosen = project.choose(stages)
    # Before `_compare`, which overwrites hashes in DVC's objects.
    clashes = list(_contradictions(project, records, chosen))
    for stage in chosen:
        report.findings += _compare(project, stage, records.get(stage.address))
    if not stages:
        report.findings += _orphans(project, records)
        report.findings += _data(project)
        report.findings += _packages_differ(packages) if packages else ()
        report.findings += _uncommitted(project)
    report.findings += clashes
    report.findings += lint(project, chosen) if linting else ()
    files = len({stage.file for stage in project.stages})
    report.summary = f"{len(chosen)} stages of {files} dvc.yaml compared with their records"
    return report


def _orphans(project: Project, records: Mapping[str, Entry]) -> Iterator[Finding]:
    """Yield a finding for each record in dvc.lock whose stage is no longer in dvc.yaml. DVC ignores such records."""
    known = {stage.address for stage in project.stages}
    for address in (name for name in records if name not in known):
        folder, _, name = address.rpartition("dvc.yaml:")
        message = f"the record of stage '{name}' belongs to no stage of {folder}dvc.yaml; DVC does not notice"
        lock = f"{folder}dvc.lock"
        yield Finding("DP102", "error", message, f"Delete it from {lock}.", stage=name, path=lock, file=lock)


def _compare(project: Project, stage: Stage, record: Entry | None) -> Iterator[Finding]:
    """Compare the record of a stage with the record that DVC would write now."""
    if record is None:
        yield stage.finding("DP101", "no record in dvc.lock", RUN, level="warning" if stage.frozen else "error")
        return
    try:
        now = project.entry(stage)
    except InputError as error:
        yield stage.finding("DP109", error.problem.partition("DVC cannot read the project: ")[2], "Correct it.")
        return
    before, after = ([one] if isinstance(one := entry.get("cmd"), str) else one for entry in (record, now))
    if before != after:
        evidence = _both(record.get("cmd"), now.get("cmd"))
        yield stage.finding("DP103", "the command is not the recorded one", RUN, evidence=evidence)
    if not stage.frozen:
        yield from _files_differ(project, stage, "deps", record, now)
        yield from _params_differ(stage, record.get("params") or {}, now.get("params") or {})
    yield from _files_differ(project, stage, "outs", record, now)
    for item in (item for item in (*stage.deps, *stage.outs) if item.local and not item.exists):
        is_dep, tracked = item in stage.deps, project.is_tracked(item.place)
        made = project.maker(item.place) or project.makes_inside(item.place)
        # The linter reports outputs that Git never tracked.
        if not (made or tracked) if is_dep else tracked and not item.cached:
            rule, kind = ("DP104", "dependency") if is_dep else ("DP106", "output")
            yield stage.finding(rule, f"{kind} {item.path} is neither here nor in a cache", RUN, path=item.path)


def _files_differ(project: Project, stage: Stage, key: str, record: Entry, now: Entry) -> Iterator[Finding]:
    """Compare the recorded `deps` or `outs` (`key`) with the present ones."""
    rule, kind = ("DP104", "dependency") if key == "deps" else ("DP106", "output")
    old, new = ({str(file.get("path")): file for file in entry.get(key) or []} for entry in (record, now))
    items = {item.path: item for item in (*stage.deps, *stage.outs)}
    for path in {**old, **new}:
        if path not in old or path not in new:
            yield _unpaired(stage, f"{kind} {path}", path, declared=path in new)
        elif path in items and _incomplete(project, items[path]):
            continue  # parts of the folder are missing here, so that its hash cannot be computed
        elif difference := _entry_differs(old[path], new[path]):
            message, digest = f"{kind} {path} is not the recorded one", hashes(record, key)[path]
            message, fix = _line_ends(items.get(path), digest, message, RUN)
            yield stage.finding(rule, message, fix, path=path, evidence=difference)


def _unpaired(stage: Stage, what: str, path: str, *, declared: bool) -> Finding:
    """Return a finding about something that only dvc.yaml (`declared`) or only dvc.lock has."""
    if declared:
        return stage.finding("DP108", f"dvc.lock does not record the {what}", RUN, path=path)
    message = f"dvc.lock records the {what}, which dvc.yaml does not declare; DVC does not notice"
    fix = f"Run `dvc repro --force --single-item {stage.address}`, then commit dvc.lock."
    return stage.finding("DP108", message, fix, path=path)


def _line_ends(item: Item | None, recorded: str, message: str, fix: str) -> tuple[str, str]:
    """Return the message and the next step. If a file differs only by line ends of Windows or Unix, they say so."""
    if item and item.local and Path(item.place).is_file():
        content = Path(item.place).read_bytes()
        unix = content.replace(b"\r\n", b"\n")
        texts = {unix, unix.replace(b"\n", b"\r\n")} - {content}
        if recorded in [hashlib.md5(text, usedforsecurity=False).hexdigest() for text in texts]:
            return f"{message}: only the line ends differ", f"{LINE_ENDS} {fix}"
    return message, fix


def _incomplete(project: Project, item: Item) -> bool:
    """Return whether a folder lacks outputs that stages make inside it."""
    if not item.local or not project.makes_inside(item.place):
        return False
    inside = [place for place in project.makers if place.startswith(item.place.rstrip("/") + "/")]
    return any(not os.path.lexists(place) for place in inside)


def _entry_differs(old: Entry, new: Entry) -> str:
    """Describe how two records of a file differ. Return an empty string if they are equal.

    Records of DVC 2 have fewer keys, so only keys in both are compared. DVC 2 computed the hash of a text after
    converting it to Unix line ends, but its size before that. So `size` is not compared with a record of DVC 2.
    """
    size = () if "md5" in old and "hash" not in old else ("size",)
    for key in (*CONTENT, *size, "nfiles"):
        if key in old and key in new and old[key] != new[key]:
            return _both(f"{key} {old[key]}", f"{key} {new[key]}")
    before, now = (f"isexec {bool(entry.get('isexec'))}" for entry in (old, new))
    return _both(before, now) if before != now else ""


def _params_differ(stage: Stage, old: Entry, new: Entry) -> Iterator[Finding]:
    """Compare the recorded parameters (`old`) with those in the parameter files (`new`)."""
    for file in {**old, **new}:
        before, after = (flatten(values.get(file) or {}) for values in (old, new))
        for name in {**before, **after}:
            what = f"parameter {name} in {file}"
            if name not in before or name not in after:
                yield _unpaired(stage, what, file, declared=name in after)
                continue
            texts = [json.dumps(value, default=str) for value in (before[name], after[name])]  # 1, 1.0 and true differ
            if json.loads(texts[0]) != json.loads(texts[1]):  # JSON turns tuples of Python files into lists
                yield stage.finding("DP105", f"{what} is not the recorded one", RUN, path=file, evidence=_both(*texts))
            elif texts[0] != texts[1]:
                message = f"{what} has another type than in dvc.lock; to DVC they are equal"
                fix = f"Run `dvc repro --force --single-item {stage.address}` if the type matters."
                yield stage.finding("DP105", message, fix, level="warning", path=file, evidence=_both(*texts))


def _contradictions(project: Project, records: Mapping[str, Entry], chosen: Sequence[Stage]) -> Iterator[Finding]:
    """Find dependencies that are recorded with one hash here, and another by their maker or by another reader."""

    def recorded(stage: Stage, kind: str) -> dict[str, str]:
        """Return the recorded hashes of the `deps` or `outs` of a stage by absolute path."""
        found = hashes(records.get(stage.address), kind)
        return {os.path.normpath(stage.wdir / path): digest for path, digest in found.items() if digest}

    written = {item.place: (item.digest, f"its .dvc file, {item.path}.dvc") for item in project.data if item.digest}
    for stage in project.stages:
        for place, digest in recorded(stage, "outs").items():
            written[place] = digest, f"stage '{stage.address}', which makes it"
    seen: dict[str, tuple[str | None, str]] = {}
    for stage in project.stages:
        for place, digest in recorded(stage, "deps").items():
            other, whose = written.get(place) or seen.get(place) or (None, "")
            if other and other != digest and stage in chosen and not stage.frozen:
                message = f"the recorded content of dependency {project.name(place)} differs from that of {whose}"
                evidence = f"here:  {digest}\nthere: {other}"
                yield stage.finding("DP107", message, RUN, path=project.name(place), evidence=evidence)
            if place not in written and not os.path.lexists(place):  # present files are compared elsewhere
                seen.setdefault(place, (digest, f"stage '{stage.address}', which reads it too"))


def _data(project: Project) -> Iterator[Finding]:
    """Compare the data of each .dvc file with the hash in this file."""
    for item in (item for item in project.data if item.exists and item.digest and item.raw.hash_name):
        _, now = project.hash(item.raw)
        if now and now.value != item.digest:
            name = os.path.relpath(item.raw.stage.path, project.root)
            fix = f"Run `dvc checkout {name}` for the recorded data, or `dvc commit {name}` for this."
            message = f"{project.name(item.place)} is not the data that {name} records"
            message, fix = _line_ends(item, str(item.digest), message, fix)
            evidence = _both(item.digest, now.value)
            yield Finding("DP110", "error", message, fix, path=item.path, file=name, evidence=evidence)


def _packages_differ(lock: Path) -> Iterator[Finding]:
    """Compare the installed packages with a lock file of pip."""
    from dvcproof.runtime.run import require_packages

    try:
        require_packages(lock, lambda marker: Marker(marker).evaluate())
    except InputError as error:
        yield Finding("DP111", "error", error.problem, error.hint, path=str(lock), file=str(lock))


def _uncommitted(project: Project) -> Iterator[Finding]:
    """Yield a note about the files that differ from the last commit. A clone would not have them."""
    changed: list[str] = []
    with suppress(AbsentError):
        changed = changed_files(project.root)
    if changed:
        more = f" and {len(changed) - 8} more" if len(changed) > 8 else ""
        yield Finding("DP105", "note", f"not in the last commit: {', '.join(changed[:8])}{more}")


def _both(before: Any, now: Any) -> str:
    """Return two lines that show the recorded and the present value."""
    old, new = (" ".join(str(value).split()) for value in (before, now))
    return f"recorded: {old}\nhere:     {new}" if old != new else f"recorded: {before!r}\nhere:     {now!r}"
