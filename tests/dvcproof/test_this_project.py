"""This project under its own tool: its stages declare what they read, and no circumstance changes a byte."""

import shutil

import pytest

from dvcproof.findings import HOLDS
from dvcproof.project import Project
from dvcproof.trace import trace
from dvcproof.vary import vary
from tests.support.project import ROOT

pytestmark = pytest.mark.slow


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_each_stage_declares_what_it_reads_and_writes() -> None:
    with Project.open(ROOT) as project:
        report = trace(project, how="strace")
    assert report.status() == HOLDS, [str(one) for one in report.findings if one.level == "error"]
    assert [str(one) for one in report.findings if one.level == "warning"] == []
    assert any("allowed: " in one.message for one in report.findings)  # it has looked: exceptions are printed


def test_no_circumstance_changes_a_byte() -> None:
    with Project.open(ROOT) as project:
        report = vary(project)
    assert report.status() == HOLDS, [str(one) for one in report.findings]
