"""Check that each dvc.lock is what `dvc repro` would write now. Nothing is run, and no data is needed.

`dvc status` and `dvc repro --dry` are no substitute: to them a stage from which something was dropped, or a dvc.lock
that contradicts itself, is up to date; and they exit with 0. Here DVC resolves the graph, reads the parameters and
computes the hashes of what is here; the result is compared with the record.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from packaging.markers import Marker

from dvcproof.findings import Finding, Level, Report
from dvcproof.git import AbsentError, changed_files
from dvcproof.lint import lint
from dvcproof.lockfile import parse_lock_document
from dvcproof.project import Item, Project, Stage
from dvcproof.runtime.program import InputError
from dvcproof.values import flatten

RUN = "Run `dvc repro`, then commit its results."

LINE_ENDS = "Keep Git from changing line ends: add `* -text` to .gitattributes."

#: What dvc.lock records of the content of a file.
HASHES = ("md5", "etag", "checksum", "version_id", "files")
Records = dict[str, dict[str, Any]]


def check(
    project: Project, *, stages: Sequence[str] = (), linting: bool = True, packages: Path | None = None
) -> Report:
    """Compare every dvc.lock of a project with what is here.

    Args:
        project: the project.
        stages: the addresses of the stages to look at; none of them: all, and the files that belong to no stage.
        linting: whether to look also at what can be said from dvc.yaml alone.
        packages: a lock file of pip, which the installed packages are compared with.

    Raises:
        InputError: DVC cannot read the project, or there is no such stage.
    """
    report = Report("check")
    records = read_records(project, report)
    if report.findings:
        report.summary = "DVC cannot read the project"
        return report
    chosen = choose(project, stages)
    clashes = list(contradictions(project, records, chosen))  # first: the comparison puts new hashes into DVC's objects
    for stage in chosen:
        record = records.get(stage.file, {}).get(stage.name)
        if record is None:
            report.findings += unrecorded(stage)
        else:
            report.findings += compare(project, stage, record)
    if not stages:
        report.findings += orphans(project, records)
        report.findings += data(project)
        report.findings += list(packages_differ(packages)) if packages else []
        report.findings += uncommitted(project)
    report.findings += clashes
    if linting:
        report.findings += lint(project, chosen)
    files = len({stage.file for stage in project.stages})
    report.summary = f"{len(chosen)} stages of {files} dvc.yaml compared with their records"
    return report


def choose(project: Project, names: Sequence[str]) -> list[Stage]:
    """Return the stages with these addresses; a name of a foreach or matrix stands for all of its stages.

    Raises:
        InputError: there is no such stage.
    """
    if not names:
        return project.stages
    known = {stage.address for stage in project.stages} | {stage.address.split("@")[0] for stage in project.stages}
    for name in names:
        if name not in known:
            raise InputError(f"stage {name}", "there is none of this name", hint="Run `dvc stage list --all`.")
    return [stage for stage in project.stages if {stage.address, stage.address.split("@")[0]} & {*names}]


def read_records(project: Project, report: Report) -> dict[str, Records]:
    """Read every dvc.lock: the records by dvc.yaml and stage. One that cannot be read is a finding."""
    records: dict[str, Records] = {}
    for path in project.lock_files():
        name = os.path.relpath(path, project.root)
        graph = os.path.join(os.path.dirname(name), "dvc.yaml")  # noqa: PTH118, PTH120 (as DVC writes it)
        try:
            records[graph] = parse_lock_document(path.read_bytes())
        except (OSError, ValueError) as error:
            fix = "Restore it: `git checkout -- " + name + "`."
            if "conflict" in str(error):
                fix = "Keep one side of the merge, and run `dvc repro`."
            report.findings.append(Finding("DP109", "error", f"{name}: {error}", fix, path=name, file=name))
    return records


def unrecorded(stage: Stage) -> Iterator[Finding]:
    """Find a stage without a record. A frozen one runs only when it is thawed."""
    level: Level = "warning" if stage.frozen else "error"
    yield stage.finding("DP101", "no record in dvc.lock", RUN, level=level)


def orphans(project: Project, records: Mapping[str, Records]) -> Iterator[Finding]:
    """Find the records of stages that dvc.yaml no longer has, which DVC does not notice."""
    names: dict[str, set[str]] = {}
    for stage in project.stages:
        names.setdefault(stage.file, set()).add(stage.name)
    for graph, entries in records.items():
        lock = os.path.join(os.path.dirname(graph), "dvc.lock")  # noqa: PTH118, PTH120
        for name in entries:
            if name not in names.get(graph, set()):
                message = f"the record of stage '{name}' belongs to no stage of {graph}; DVC does not notice"
                fix = f"Delete it from {lock}."
                yield Finding("DP102", "error", message, fix, stage=name, path=lock, file=lock)


def compare(project: Project, stage: Stage, record: Mapping[str, Any]) -> Iterator[Finding]:
    """Compare the record of a stage with what DVC would write now."""
    try:
        now = project.entry(stage)
    except InputError as error:
        yield stage.finding("DP109", error.problem.partition("DVC cannot read the project: ")[2], "Correct it.")
        return
    if commands(now.get("cmd")) != commands(record.get("cmd")):
        evidence = both(record.get("cmd"), now.get("cmd"))
        yield stage.finding("DP103", "the command is not the recorded one", RUN, evidence=evidence)
    if not stage.frozen:
        yield from files_differ(project, stage, "dependency", record.get("deps") or [], now.get("deps") or [])
        yield from params_differ(stage, record.get("params") or {}, now.get("params") or {})
    yield from files_differ(project, stage, "output", record.get("outs") or [], now.get("outs") or [])
    for item in (*stage.deps, *stage.outs):
        if item.local and not item.exists and not obtainable(project, item, is_dep=item in stage.deps):
            kind = "dependency" if item in stage.deps else "output"
            rule = "DP104" if item in stage.deps else "DP106"
            yield stage.finding(rule, f"{kind} {item.path} is not here, and is in no cache", RUN, path=item.path)


def obtainable(project: Project, item: Item, *, is_dep: bool) -> bool:
    """Return whether what is absent can be had: it is made by a stage, or DVC or Git keeps it; of an output that Git
    never held, the linter speaks.
    """
    if not is_dep:
        return item.cached or not project.is_tracked(item.place)
    return bool(project.maker(item.place)) or project.makes_inside(item.place) or project.is_tracked(item.place)


def files_differ(
    project: Project, stage: Stage, kind: str, before: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]
) -> Iterator[Finding]:
    """Compare the recorded dependencies or outputs with those that are here."""
    rule = "DP104" if kind == "dependency" else "DP106"
    old = {str(entry.get("path")): entry for entry in before}
    new = {str(entry.get("path")): entry for entry in now}
    items = {item.path: item for item in (stage.deps if kind == "dependency" else stage.outs)}
    for path in {**old, **new}:
        if path not in new:
            message = f"dvc.lock records the {kind} {path}, which dvc.yaml does not declare; DVC does not notice"
            fix = f"Run `dvc repro --force --single-item {stage.address}`, then commit dvc.lock."
            yield stage.finding("DP108", message, fix, path=path)
        elif path not in old:
            yield stage.finding("DP108", f"dvc.lock does not record the {kind} {path}", RUN, path=path)
        elif path in items and incomplete(project, items[path]):
            continue  # its parts are in the cache, or still to be made: its hash cannot be known
        elif difference := entry_differs(old[path], new[path]):
            message, fix = f"{kind} {path} is not the recorded one", RUN
            if path in items and differs_by_line_ends(items[path], digest_of(old[path])):
                message, fix = f"{message}: its line ends are others", f"{LINE_ENDS} {RUN}"
            yield stage.finding(rule, message, fix, path=path, evidence=difference)


def differs_by_line_ends(item: Item, recorded: str) -> bool:
    """Return whether a file has the recorded hash once its line ends are those of Windows, or those of Unix."""
    if not item.local or not Path(item.place).is_file():
        return False
    content = Path(item.place).read_bytes()
    unix = content.replace(b"\r\n", b"\n")
    texts = {unix, unix.replace(b"\n", b"\r\n")} - {content}
    return recorded in [hashlib.md5(text, usedforsecurity=False).hexdigest() for text in texts]


def incomplete(project: Project, item: Item) -> bool:
    """Return whether a folder lacks outputs that are made inside of it."""
    if not item.local or not project.makes_inside(item.place):
        return False
    inside = [place for place in project.makers if place.startswith(item.place.rstrip("/") + "/")]
    return any(not os.path.lexists(place) for place in inside)


def entry_differs(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Say in what two records of a file differ; those that DVC 2 wrote have fewer keys.

    DVC 2 took the hash of a text with Unix line ends, and its size with those that it had.
    """
    size = () if "md5" in old and "hash" not in old else ("size",)
    for key in (*HASHES, *size, "nfiles", "isexec"):
        if key in old and key in new and old[key] != new[key]:
            return both(f"{key} {old[key]}", f"{key} {new[key]}")
    if bool(old.get("isexec")) != bool(new.get("isexec")):
        return both(f"isexec {old.get('isexec', False)}", f"isexec {new.get('isexec', False)}")
    return ""


def params_differ(stage: Stage, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Finding]:
    """Compare the recorded parameters with those of the files."""
    for file in {**old, **new}:
        before, after = (flatten(values.get(file) or {}) for values in (old, new))
        for name in {**before, **after}:
            what = f"parameter {name} in {file}"
            if name not in after:
                message = f"dvc.lock records the {what}, which is no longer declared or no longer there"
                yield stage.finding("DP108", message, RUN, path=file)
            elif name not in before:
                yield stage.finding("DP108", f"dvc.lock does not record the {what}", RUN, path=file)
            elif json.loads(as_text(before[name])) != json.loads(
                as_text(after[name])
            ):  # a tuple of .py is a list there
                evidence = both(as_text(before[name]), as_text(after[name]))
                yield stage.finding("DP105", f"{what} is not the recorded one", RUN, path=file, evidence=evidence)
            elif as_text(before[name]) != as_text(after[name]):
                message = f"{what} has another type than in dvc.lock; to DVC they are equal"
                fix = f"Run `dvc repro --force --single-item {stage.address}` if the type matters."
                evidence = both(as_text(before[name]), as_text(after[name]))
                yield stage.finding("DP105", message, fix, level="warning", path=file, evidence=evidence)


def contradictions(project: Project, records: Mapping[str, Records], chosen: Sequence[Stage]) -> Iterator[Finding]:
    """Find dependencies that dvc.lock records with another content than the stage that made them, or another user."""
    written = {item.place: (item.digest, f"its .dvc file, {item.path}.dvc") for item in project.data if item.digest}
    for stage in project.stages:
        for place, digest in recorded(records, stage, "outs").items():
            written[place] = digest, f"stage '{stage.address}', which makes it"
    seen: dict[str, tuple[str | None, str]] = {}
    for stage in project.stages:
        for place, digest in recorded(records, stage, "deps").items():
            other, whose = written.get(place) or seen.get(place) or (None, "")
            if other and other != digest and stage in chosen and not stage.frozen:
                message = f"dependency {project.name(place)} is recorded with another content than by {whose}"
                evidence = f"here:  {digest}\nthere: {other}"
                yield stage.finding("DP107", message, RUN, path=project.name(place), evidence=evidence)
            if place not in written and not os.path.lexists(place):  # what is here is compared with the record
                seen.setdefault(place, (digest, f"stage '{stage.address}', which reads it too"))


def recorded(records: Mapping[str, Records], stage: Stage, kind: str) -> dict[str, str]:
    """Return the recorded hashes of a stage's dependencies or outputs by their absolute paths."""
    entries = (records.get(stage.file, {}).get(stage.name) or {}).get(kind) or []
    found = {os.path.normpath(stage.wdir / str(entry.get("path"))): digest_of(entry) for entry in entries}
    return {place: digest for place, digest in found.items() if digest}


def digest_of(entry: Mapping[str, Any]) -> str:
    """Return the hash in a record, in whatever form."""
    return next((str(entry[key]) for key in ("md5", "etag", "checksum") if key in entry), "")


def data(project: Project) -> Iterator[Finding]:
    """Compare data with its .dvc file."""
    for item in project.data:
        if not item.local or not item.exists or not item.digest or not item.raw.hash_name:
            continue
        _, now = project.hash(item.raw)
        if now and now.value != item.digest:
            name = os.path.relpath(item.raw.stage.path, project.root)
            fix = f"Run `dvc checkout {name}` for the recorded data, or `dvc commit {name}` for this."
            message = f"{project.name(item.place)} is not the data that {name} records"
            if differs_by_line_ends(item, item.digest):
                message, fix = f"{message}: its line ends are others", f"{LINE_ENDS} {fix}"
            yield Finding(
                "DP110", "error", message, fix, path=item.path, file=name, evidence=both(item.digest, now.value)
            )


def packages_differ(lock: Path) -> Iterator[Finding]:
    """Compare the installed packages with a lock file of pip."""
    from dvcproof.runtime.run import require_packages

    try:
        require_packages(lock, lambda marker: Marker(marker).evaluate())
    except InputError as error:
        yield Finding("DP111", "error", error.problem, error.hint, path=str(lock), file=str(lock))


def uncommitted(project: Project) -> Iterator[Finding]:
    """Note the files that differ from the last commit: whoever clones does not get them."""
    try:
        changed = changed_files(project.root)
    except AbsentError:
        return
    if changed:
        more = f" and {len(changed) - 8} more" if len(changed) > 8 else ""
        yield Finding("DP105", "note", f"not in the last commit: {', '.join(changed[:8])}{more}")


def both(before: Any, now: Any) -> str:
    """Return two lines: what is recorded, and what is here."""
    old, new = (" ".join(str(value).split()) for value in (before, now))
    return f"recorded: {old}\nhere:     {new}" if old != new else f"recorded: {before!r}\nhere:     {now!r}"


def as_text(value: Any) -> str:
    """Return a value as JSON, which tells 1 from 1.0 and from true."""
    return json.dumps(value, default=str)


def commands(cmd: Any) -> list[str]:
    """Return commands as a list."""
    return [str(one) for one in cmd] if isinstance(cmd, list) else [str(cmd)]
