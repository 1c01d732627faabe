"""The workflow of GitHub and the report that it gives to reviewers: run here, as far as they can be."""

import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.project import ROOT, Arrays, run, run_ok
from tests.support.verifying import branched_project

REPORT = ROOT / ".github" / "report.sh"
CI = ROOT / ".ci" / "run"


def workflow() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")))


def steps(job: str) -> list[dict[str, Any]]:
    return list(workflow()["jobs"][job]["steps"])


def commands() -> str:
    return "\n".join(step["run"] for job in workflow()["jobs"] for step in steps(job) if "run" in step)


def test_what_emulation_needs_is_there_before_the_tests() -> None:
    of_workflow = [step["run"] for step in steps("test") if "run" in step]
    of_any_ci = CI.read_text(encoding="utf-8").splitlines()
    for lines in (of_workflow, of_any_ci):
        (install,) = (index for index, line in enumerate(lines) if "apt-get install" in line)
        assert {"qemu-user", "debootstrap"} <= set(lines[install].split())
        assert install < lines.index("make test-all")


def test_the_workflow_calls_targets_and_scripts_that_exist() -> None:
    targets = re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    called = re.findall(r"make ([a-z0-9-]+)", commands())
    assert called == ["test-all", "verify", "check", "setup", "gate"]
    assert set(called) <= set(targets)
    for script in re.findall(r"\.github/\S+\.sh", commands()):
        assert (ROOT / script).is_file(), script


def test_the_command_for_any_ci_runs_every_check_in_order() -> None:
    lines = CI.read_text(encoding="utf-8").splitlines()
    called = [line.removeprefix("make ") for line in lines if line.startswith("make ")]
    assert called == ["verify", "check", "test-all"]
    assert "set -euo pipefail" in lines  # the first that fails ends it
    assert os.access(CI, os.X_OK)


def test_the_report_has_the_history_that_it_compares() -> None:
    checkout = next(step for step in steps("report") if step.get("uses", "").startswith("actions/checkout@"))
    assert checkout["with"]["fetch-depth"] == 0


def test_the_gate_is_last_so_that_what_it_stops_has_a_report() -> None:
    assert steps("report")[-1] == {"run": 'make gate AGAINST="origin/$GITHUB_BASE_REF"'}


def test_the_workflow_may_read_and_nothing_else() -> None:
    assert workflow()["permissions"] == {"contents": "read"}
    assert not any("permissions" in job for job in workflow()["jobs"].values())
    # What a contributor chooses, the name of a branch, must not be pasted into a command.
    assert "${{" not in commands()


def test_every_action_is_pinned_to_a_major_version() -> None:
    used = [step["uses"] for job in workflow()["jobs"] for step in steps(job) if "uses" in step]
    assert used
    assert all(re.fullmatch(r"actions/[a-z-]+@v\d+", name) for name in used)


@pytest.mark.slow
def test_the_report_of_a_branch(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, digits: Arrays) -> None:
    project = shutil.copytree(branched_project(tmp_path_factory, digits), tmp_path / "project")
    run_ok("git", "checkout", "--quiet", "seed", cwd=project)
    markdown = run_ok(str(REPORT), "main", "plots", cwd=project)
    metrics, parameters = markdown.removeprefix("### Metrics\n\n").split("### Parameters\n\n")
    assert re.search(r"^\| metrics/scores.json +\| test.accuracy +\| 0\.\d+ +\| 0\.\d+ +\| -?\d", metrics, re.MULTILINE)
    assert re.search(r"^\| params.yaml +\| train.seed +\| 0 +\| 1 +\|$", parameters, re.MULTILINE)
    assert "`plots/index.html`" in parameters
    page = (project / "plots" / "index.html").read_text(encoding="utf-8")
    assert "metrics_worst.png" in page
    same = run_ok(str(REPORT), "seed", "plots", cwd=project)
    assert same.startswith("### Metrics\n\nNo change.\n\n### Parameters\n\nNo change.\n\n")


def test_the_report_of_nothing(tmp_path: Path) -> None:
    result = run(str(REPORT), cwd=tmp_path)
    assert result.returncode == 1
    assert result.stderr.startswith("ERROR: expected a branch or commit and a folder. Got 0 arguments.")


# The store that machines share


SHARING = ROOT / ".github" / "workflows" / "cache.yml"


def sharing() -> dict[str, Any]:
    return dict(yaml.safe_load(SHARING.read_text(encoding="utf-8")))


def test_only_the_main_branch_writes_and_with_a_key_of_its_own() -> None:
    jobs = sharing()["jobs"]
    assert "\n  push:\n    branches: [main]\n" in SHARING.read_text(encoding="utf-8")
    assert jobs["write"]["environment"] == "cache-write"
    assert "github.event_name == 'push'" in jobs["write"]["if"]
    assert jobs["read"]["environment"] == "cache-read"
    assert "github.event_name != 'push'" in jobs["read"]["if"]
    pushes = {name for name, job in jobs.items() for step in job["steps"] if "digits push" in step.get("run", "")}
    assert pushes == {"write"}


def test_what_is_written_was_run_there() -> None:
    """The job that writes reads nothing, and has its key only for the command that needs it."""
    job = sharing()["jobs"]["write"]
    commands = [step for step in job["steps"] if "run" in step]
    push = '. .venv/bin/activate && python -m digits push --remote "$REMOTE"'
    assert [step["run"] for step in commands] == ["make repro REMOTE=", "make setup WITH=s3", push]
    assert "env" not in commands[0]
    assert "secrets" not in str(job["env"])


def test_the_workflow_of_the_store_may_read_and_nothing_else() -> None:
    assert sharing()["permissions"] == {"contents": "read"}
    steps = [step for job in sharing()["jobs"].values() for step in job["steps"]]
    assert not any("${{" in step.get("run", "") for step in steps)
    assert all(re.fullmatch(r"actions/[a-z-]+@v\d+", step["uses"]) for step in steps if "uses" in step)
    assert all("CACHE_REMOTE" in job["if"] for job in sharing()["jobs"].values())  # a repository without one skips it
