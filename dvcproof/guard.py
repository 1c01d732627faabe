"""Run `dvc repro`, guarded: nothing is recorded of a stage whose inputs change while it runs, in any language.

The doctor looks before and after; the table says what ran, what came from the cache, and which outputs changed.
"""

import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from dvcproof.clone import dvc_command, search_path
from dvcproof.findings import Report
from dvcproof.project import Project, Stage
from dvcproof.verify import hashes, read_entries
from dvcproof.watcher import CHANGED

Entry = dict[str, Any]

#: The options with which DVC calls shells, so that they read no file of their user.
OPTIONS = {"bash": ["--noprofile", "--norc"], "zsh": ["--no-rcs"]}


def guarded(project: Project, options: Sequence[str]) -> Report:
    """Run `dvc repro` with these options, and report what each stage did.

    Args:
        project: the project.
        options: those of `dvc repro`, stages among them.
    """
    report = Report("run")
    before = read_entries(project, project.root)
    with tempfile.TemporaryDirectory(prefix="dvcproof-") as name:
        folder = Path(name)
        places = ((stage, [dep.place for dep in stage.deps if dep.local]) for stage in project.stages)
        plan = {stage.address: [*deps, *stage.params] for stage, deps in places}
        (folder / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
        shell = folder / "sh"
        words = [sys.executable, "-I", "-S", str(Path(__file__).with_name("watcher.py")), name, *_shell()]
        shell.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n', encoding="utf-8")
        shell.chmod(0o755)
        variables = os.environ | {"SHELL": str(shell), "PATH": search_path(os.environ.get("PATH", os.defpath))}
        command = [*dvc_command(), "repro", *(options or _all(project))]
        status = subprocess.run(command, cwd=project.root, env=variables, stdout=_log(), check=False)
        calls = _calls(folder)
    after = read_entries(project, project.root)
    report.table.append(("stage", "what", "changed outputs", "seconds"))
    for stage in project.stages:
        _row(report, stage, before.get(stage.address), after.get(stage.address), calls.get(stage.address))
    report.failed = status.returncode != 0
    report.summary = f"{len(calls)} of {len(project.stages)} stages ran"
    return report


def _all(project: Project) -> list[str]:
    """Return the option for all stages if the root has no dvc.yaml, where `dvc repro` alone would complain."""
    return [] if (project.root / "dvc.yaml").exists() else ["--all-pipelines"]


def _shell() -> list[str]:
    """Return the shell in which DVC runs commands, with the options that DVC gives it."""
    shell = os.environ.get("SHELL") or "/bin/sh"
    return [shell, *OPTIONS.get(Path(shell).name.lower(), [])]


def _log() -> TextIO | None:
    """Return where DVC writes, if the standard output of this process is for programs."""
    return sys.stderr if sys.stdout is sys.stderr else None


def _row(report: Report, stage: Stage, old: Entry | None, new: Entry | None, call: tuple[float, int] | None) -> None:
    seconds = f"{call[0]:.1f}" if call else ""
    before, now = hashes(old, "outs"), hashes(new, "outs")
    outs = ", ".join(path for path in now if before.get(path) != now[path])
    if call and call[1] == CHANGED:
        what = "refused"
        message = "a declared input changed while it ran, so that nothing was recorded"
        report.findings.append(stage.finding("DP205", message, "Run it again when nothing else writes there."))
    elif call and call[1] != 0:
        what = "failed"
    elif call:
        what = "ran"
    else:
        what = "no record" if not new else "unchanged" if old == new else "from the cache"
    report.table.append((stage.address, what, outs if what != "failed" else "", seconds))


def _calls(folder: Path) -> dict[str, tuple[float, int]]:
    """Return the seconds and the last exit status of each stage that ran."""
    found: dict[str, tuple[float, int]] = {}
    path = folder / "calls"
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        stage, _, seconds, status = json.loads(line)
        found[stage] = found.get(stage, (0.0, 0))[0] + seconds, status
    return found
