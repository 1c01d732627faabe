"""Find problems without running anything: undeclared files that a command names, and files that a clone would lack."""

import os
import re
import shlex
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

from dvcproof.findings import Finding
from dvcproof.project import Project, Stage

#: A file with more bytes than this is large for Git.
LARGE = 5_000_000

_MODULE = re.compile(r"\bpython[\d.]*\s+(?:-\w+\s+)*-m\s+([\w.]+)")
_HOME = re.compile(r"(?:^|[\s=\"'])(/home/\w|/Users/\w|~/)")
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_PIPE = re.compile(r"[^|>]\|[^|]")


def lint(project: Project, stages: Sequence[Stage]) -> list[Finding]:
    """Return the findings that need neither a run nor the data."""
    found: dict[tuple[str, str, str], Finding] = {}  # stages of one foreach have the same findings
    for stage in stages:
        for finding in (*_unobtainable(project, stage), *_of_stage(project, stage)):
            found.setdefault((finding.rule, stage.file, f"{stage.name.partition('@')[0]} {finding.path}"), finding)
    return [*found.values(), *_large(project)]


def _of_stage(project: Project, stage: Stage) -> Iterator[Finding]:
    for command in stage.commands:
        for path in dict.fromkeys((*_named_files(project, stage, command), *_modules(project, stage, command))):
            entry = f"`- {os.path.relpath(project.root / path, stage.wdir)}`"
            fix = f"Add {entry} to deps, or to outs if the stage writes it."
            yield stage.finding("DP401", f"the command names {path}, which is not a dependency", fix, path=path)
        if _PIPE.search(_QUOTED.sub("", command)) and "pipefail" not in command:
            message = "the command has a pipe, and a failure before its last part is not noticed"
            yield stage.finding("DP404", message, "Use `bash -o pipefail -c`, or an intermediate file.", level="note")
        if match := _HOME.search(command):
            message, fix = f"the command names a path of one user, {match[1]}...", "Use a relative path."
            yield stage.finding("DP405", message, fix, level="warning")
    if not stage.deps and not stage.params and not stage.frozen and not stage.always_changed:
        runs = "it runs once only" if stage.outs else "it runs each time"
        yield stage.finding("DP406", f"it has no dependencies, so that {runs}", level="note")
    for out in (out for out in stage.outs if out.persist):
        message = f"output {out.path} keeps what earlier runs left (persist), so that a clean run may differ"
        yield stage.finding("DP408", message, level="note", path=out.path)


def _unobtainable(project: Project, stage: Stage) -> Iterator[Finding]:
    for dep in (dep for dep in stage.deps if dep.local and project.top):
        known = project.maker(dep.place) or project.makes_inside(dep.place) or project.is_tracked(dep.place)
        if not known and Path(dep.place).is_relative_to(str(project.top)):
            message = f"dependency {dep.path} is neither in Git nor made by a stage, so that a clone lacks it"
            fix = f"Run `git add {dep.path}` or `dvc add {dep.path}`."
            yield stage.finding("DP402", message, fix, path=dep.path)
        elif not known:
            message = f"dependency {dep.path} is outside of the project, so that another machine lacks it"
            fix = "Copy it into the project, then run `dvc add` on the copy."
            yield stage.finding("DP402", message, fix, level="warning", path=dep.path)
    for out in (out for out in stage.outs if out.local and project.top):
        if not out.cached and not project.is_tracked(out.place):
            message, fix = f"output {out.path} is not cached and not in Git", f"Run `git add {out.path}`, or cache it."
            yield stage.finding("DP403", f"{message}, so that a clone lacks it", fix, level="warning", path=out.path)


def _named_files(project: Project, stage: Stage, command: str) -> Iterator[str]:
    """Return the files in Git that a command names but the stage does not declare."""
    try:
        words = shlex.split(command.replace("\n", " ; "))
    except ValueError:
        words = command.split()
    for word in (word.strip(";&|()<>") for word in words):
        for candidate in filter(None, {word, word.rpartition("=")[2]}):
            place = os.path.normpath(stage.wdir / candidate)
            if place in project.tracked and Path(place).is_file() and not _declared(stage, place):
                yield project.name(place)


def _modules(project: Project, stage: Stage, command: str) -> Iterator[str]:
    """Return the modules in Git that a command runs with `python -m` but the stage does not declare."""
    bases = [stage.wdir, project.root, *([project.top] if project.top else [])]
    for base, module in product(bases, _MODULE.findall(command)):
        path = base.joinpath(*module.split("."))
        for place in (f"{path}.py", str(path / "__main__.py")):
            if place in project.tracked and not _declared(stage, place):
                yield project.name(place)


def _declared(stage: Stage, place: str) -> bool:
    paths = [*(item.place for item in (*stage.deps, *stage.outs)), *stage.params]
    return any(place == path or place.startswith(path.rstrip("/") + "/") for path in paths)


def _large(project: Project) -> Iterator[Finding]:
    for place in map(Path, sorted(project.tracked)):
        if place.is_file() and not place.is_symlink() and (size := place.stat().st_size) > LARGE:
            path = project.name(str(place))
            message = f"{path} is large for Git ({size / 1e6:.0f} MB)"
            yield Finding(
                "DP407",
                "note",
                message,
                f"Keep it with `git rm --cached {path}` and `dvc add {path}`, if that is not intended.",
                path=path,
            )
