"""dvcproof on this project: its stages declare what they read, and no circumstance changes a byte."""

import shutil
from pathlib import Path

import pytest

from dvcproof.findings import HOLDS
from dvcproof.project import Project
from dvcproof.trace import trace
from dvcproof.vary import vary
from tests.support.project import Arrays
from tests.support.verifying import small_project

pytestmark = pytest.mark.slow


@pytest.fixture
def project(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, digits: Arrays) -> Path:
    """Return a project with this project's graph and code, on a small sample."""
    return Path(shutil.copytree(small_project(tmp_path_factory, digits), tmp_path / "project", symlinks=True))


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_each_stage_declares_what_it_reads_and_writes(project: Path) -> None:
    with Project.open(project) as opened:
        report = trace(opened, how="strace")
    assert report.status() == HOLDS, [str(one) for one in report.findings if one.level == "error"]
    assert [str(one) for one in report.findings if one.level == "warning"] == []
    assert any("allowed: " in one.message for one in report.findings)  # so the stages were traced


def test_no_circumstance_changes_a_byte(project: Path) -> None:
    with Project.open(project) as opened:
        report = vary(opened)
    assert report.status() == HOLDS, [str(one) for one in report.findings]
