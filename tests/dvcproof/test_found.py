"""Faults that public projects and made-up ones brought to light, each with its control."""

import hashlib
from pathlib import Path

import pytest

from dvcproof.check import check
from dvcproof.findings import Finding
from dvcproof.project import Project
from tests.support.project import commit, run_ok

# DVC's own: its library of prefix trees changes.
pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning")

GRAPH = "stages:\n  go:\n    cmd: cp i.txt o.txt\n    deps: [i.txt]\n    outs: [o.txt]\n"


def start(path: Path, graph: str = GRAPH, *, run: bool = True) -> Path:
    """Make a project at `path` with one input, `i.txt`; run and commit it."""
    path.mkdir(parents=True)
    (path / "dvc.yaml").write_text(graph, encoding="utf-8")
    (path / "i.txt").write_bytes(b"a\nb\n")
    run_ok("git", "init", "--quiet", cwd=path)
    run_ok("dvc", "init", "--quiet", cwd=path)
    if run:
        run_ok("dvc", "repro", "--quiet", cwd=path)
    commit(path, "run")
    return path


def checked(path: Path) -> list[Finding]:
    with Project.open(path) as project:
        return [finding for finding in check(project, linting=False).findings if finding.level == "error"]


def digest(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def test_line_ends_of_windows(tmp_path: Path) -> None:
    """DVC 2 recorded the hash of the text with Unix line ends and its size as it was; DVC 3 hashes all bytes."""
    path = start(tmp_path / "project")
    lock = path / "dvc.lock"
    text = lock.read_text(encoding="utf-8").replace("size: 4", "size: 6")
    lock.write_text(text.replace("      hash: md5\n", ""), encoding="utf-8")
    assert checked(path) == []
    lock.write_text(text, encoding="utf-8")  # the control: in DVC 3 the size is that of the hashed bytes
    assert [finding.rule for finding in checked(path)] == ["DP104", "DP106"]
    lock.write_text(text.replace(digest(b"a\nb\n"), digest(b"a\r\nb\r\n")), encoding="utf-8")
    assert all("line ends" in finding.message and "-text" in finding.fix for finding in checked(path))
    (path / "i.txt").write_bytes(b"a\nc\n")
    assert ["line ends" in finding.message for finding in checked(path)] == [False, True]
