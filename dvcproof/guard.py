"""Run `dvc repro` so that a stage in any language is not recorded if its inputs change while it runs.

The table of the report shows which stages ran, which came from the cache, and which outputs changed.
"""

import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from dvcproof import doctor
from dvcproof.clone import dvc_command, search_path
from dvcproof.findings import Report
from dvcproof.hook import Call, Hook
from dvcproof.lockfile import Entry, hashes, read_records
from dvcproof.project import Project, Stage
from dvcproof.watcher import CHANGED

#: The options that DVC gives to these shells, so that they read no settings of the user.
OPTIONS = {"bash": ["--noprofile", "--norc"], "zsh": ["--no-rcs"]}


def run(folder: Path, words: Sequence[str]) -> Report:
    """Run `dvc repro` with these options in a folder of a project, and the doctor before and after it.

    Report the result of each stage of the project.
    """
    doctor.examine(folder)
    report = Report("run", table=[("stage", "what", "changed outputs", "seconds")])
    with Project.open(folder) as project:
        before, _ = read_records(project.root)
        calls, status = _repro(project, folder, words)
        after, _ = read_records(project.root)
        for stage in project.stages:
            _row(report, stage, before.get(stage.address), after.get(stage.address), calls.get(stage.address))
        report.summary = f"{len(calls)} of {len(project.stages)} stages ran"
    report.failed = status != 0
    doctor.examine(folder, after=not report.failed)
    return report


def _repro(project: Project, folder: Path, options: Sequence[str]) -> tuple[dict[str, Call], int]:
    """Run `dvc repro`. Return the calls of each stage that ran, and the exit status."""
    shell = os.environ.get("SHELL") or "/bin/sh"
    with tempfile.TemporaryDirectory(prefix="dvcproof-") as name:
        places = ((stage, [dep.place for dep in stage.deps if dep.local]) for stage in project.stages)
        plan = {stage.address: [*deps, *stage.params] for stage, deps in places}
        Path(name, "plan.json").write_text(json.dumps(plan), encoding="utf-8")
        watcher = str(Path(__file__).with_name("watcher.py"))
        words = [sys.executable, "-I", "-S", watcher, name, shell, *OPTIONS.get(Path(shell).name.lower(), [])]
        hook = Hook(Path(name, "hook"), shlex.join(words), shell=shell, live=True)
        variables = os.environ | hook.variables() | {"PATH": search_path(os.environ.get("PATH", os.defpath))}
        log = sys.stderr if sys.stdout is sys.stderr else None  # standard output is kept for programs
        # If the folder has no dvc.yaml, `dvc repro` without options fails.
        every = [] if (folder / "dvc.yaml").exists() else ["--all-pipelines"]
        command = [*dvc_command(), "repro", *(options or every)]
        status = subprocess.run(command, cwd=folder, env=variables, stdout=log, check=False).returncode
        return hook.calls(), status


def _row(report: Report, stage: Stage, old: Entry | None, new: Entry | None, call: Call | None) -> None:
    before, now = hashes(old, "outs"), hashes(new, "outs")
    outs = ", ".join(path for path in now if before.get(path) != now[path])
    if call and call.status == CHANGED:
        what = "refused"
        message = "a declared input changed while it ran, so nothing was recorded"
        report.findings.append(stage.finding("DP205", message, "Run it again when no other process changes the input."))
    elif call:
        what = "failed" if call.status else "ran"
    else:
        what = "no record" if not new else "unchanged" if old == new else "from the cache"
    report.table.append((stage.address, what, outs if what != "failed" else "", f"{call.seconds:.1f}" if call else ""))
