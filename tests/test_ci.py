"""The GitHub workflows and their report for reviewers, run here as far as possible."""

import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.project import ROOT, Arrays, run_ok
from tests.support.verifying import branched_project

REPORT = ROOT / ".github" / "report.sh"
CI = ROOT / ".ci" / "run"
WORKFLOWS = ROOT / ".github" / "workflows"


def workflow(name: str = "ci") -> dict[str, Any]:
    return dict(yaml.safe_load((WORKFLOWS / f"{name}.yml").read_text(encoding="utf-8")))


def steps(job: str, name: str = "ci") -> list[dict[str, Any]]:
    return list(workflow(name)["jobs"][job]["steps"])


def commands(job: str, name: str = "ci") -> list[str]:
    return [step["run"] for step in steps(job, name) if "run" in step]


def test_every_check_is_run_in_order() -> None:
    called = re.findall(r"make ([a-z0-9-]+)", "\n".join(line for job in workflow()["jobs"] for line in commands(job)))
    assert called == ["test-all", "verify", "check", "setup", "gate"]
    targets = re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(called) <= set(targets)
    lines = CI.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("make ")] == ["make verify", "make check", "make test-all"]
    assert "set -euo pipefail" in lines  # the first command that fails ends the script
    assert os.access(CI, os.X_OK)


def test_the_report_has_the_history_and_comes_before_the_gate() -> None:
    checkout = next(step for step in steps("report") if step.get("uses", "").startswith("actions/checkout@"))
    assert checkout["with"]["fetch-depth"] == 0
    assert steps("report")[-1] == {"run": 'make gate AGAINST="origin/$GITHUB_BASE_REF"'}


@pytest.mark.parametrize("name", ["ci", "cache"])
def test_a_workflow_may_read_and_nothing_else(name: str) -> None:
    assert workflow(name)["permissions"] == {"contents": "read"}
    for job, content in workflow(name)["jobs"].items():
        assert "permissions" not in content
        assert commands(job, name)
        # A contributor chooses the name of a branch, so it must not be pasted into a command.
        assert not [line for line in commands(job, name) if "${{" in line]
        assert all(re.fullmatch(r"actions/[a-z-]+@v\d+", step["uses"]) for step in steps(job, name) if "uses" in step)


@pytest.mark.slow
def test_the_report_of_a_branch(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, digits: Arrays) -> None:
    project = shutil.copytree(branched_project(tmp_path_factory, digits), tmp_path / "project")
    run_ok("git", "checkout", "--quiet", "seed", cwd=project)
    markdown = run_ok(str(REPORT), "main", "plots", cwd=project)
    metrics, parameters = markdown.removeprefix("### Metrics\n\n").split("### Parameters\n\n")
    assert re.search(r"^\| metrics/scores.json +\| test.accuracy +\| 0\.\d+ +\| 0\.\d+ +\| -?\d", metrics, re.MULTILINE)
    assert re.search(r"^\| params.yaml +\| train.seed +\| 0 +\| 1 +\|$", parameters, re.MULTILINE)
    assert "`plots/index.html`" in parameters
    assert "metrics_worst.png" in (project / "plots" / "index.html").read_text(encoding="utf-8")
    same = run_ok(str(REPORT), "seed", "plots", cwd=project)
    assert same.startswith("### Metrics\n\nNo change.\n\n### Parameters\n\nNo change.\n\n")


def test_only_the_main_branch_writes_what_was_run_there_with_a_key_of_its_own() -> None:
    jobs = workflow("cache")["jobs"]
    assert "\n  push:\n    branches: [main]\n" in (WORKFLOWS / "cache.yml").read_text(encoding="utf-8")
    for job, test in {"write": "github.event_name == 'push'", "read": "github.event_name != 'push'"}.items():
        assert jobs[job]["environment"] == f"cache-{job}"
        assert test in jobs[job]["if"]
    assert all("CACHE_REMOTE" in job["if"] for job in jobs.values())  # a repository without a remote skips the job
    assert not [line for line in commands("read", "cache") if "digits push" in line]
    push = '. .venv/bin/activate && python -m digits push --remote "$REMOTE"'
    assert commands("write", "cache") == ["make repro REMOTE=", "make setup WITH=s3", push]  # it reads nothing
    first = next(step for step in steps("write", "cache") if "run" in step)
    assert "env" not in first
    assert "secrets" not in str(jobs["write"]["env"])
