"""Behaviour of DVC: it rewrites files in its own form, and its experiments fail in some places."""

import shutil
from pathlib import Path

import pytest

from tests.support.project import ROOT, commit, recipe_params, run, run_ok


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """Return a repository with the project's graph and parameters, without code."""
    path = tmp_path / "graph"
    path.mkdir()
    run_ok("git", "init", "--quiet", cwd=path)
    run_ok("dvc", "init", "--quiet", cwd=path)
    shutil.copy(ROOT / "dvc.yaml", path)
    recipe_params(path)
    commit(path, "start")
    return path


def changed_lines(path: Path) -> list[str]:
    """Return the lines that differ from the last commit, without headers of the diff."""
    lines = run_ok("git", "diff", "--unified=0", cwd=path).splitlines()
    return [line for line in lines if line[0] in "+-" and not line.startswith(("+++", "---"))]


@pytest.mark.slow
def test_dvc_freeze_changes_nothing_but_its_line(graph: Path) -> None:
    run_ok("dvc", "freeze", "evaluate", cwd=graph)
    assert changed_lines(graph) == ["+    frozen: true"]
    run_ok("dvc", "unfreeze", "evaluate", cwd=graph)
    assert changed_lines(graph) == []


@pytest.mark.slow
def test_an_experiment_changes_nothing_but_the_value(graph: Path) -> None:
    """The experiment cannot run without code, but DVC changes the parameters first."""
    assert run("dvc", "exp", "run", "-S", "dense.units=16", cwd=graph).returncode != 0
    assert changed_lines(graph) == ["-  units: 512", "+  units: 16"]


def small_repository(path: Path) -> Path:
    """Make a repository with two commits that differ in the value of a parameter."""
    path.mkdir()
    run_ok("git", "init", "--quiet", "--initial-branch", "main", cwd=path)
    run_ok("git", "config", "uploadpack.allowFilter", "true", cwd=path)
    run_ok("dvc", "init", "--quiet", cwd=path)
    graph = "stages: {a: {cmd: cp params.yaml out.yaml, params: [x], outs: [out.yaml]}}\n"
    (path / "dvc.yaml").write_text(graph, encoding="utf-8")
    for value in (1, 2):
        (path / "params.yaml").write_text(f"x: {value}\n", encoding="utf-8")
        commit(path, f"x is {value}")
    return path


@pytest.mark.slow
def test_a_folder_outside_ascii_and_its_remedy(tmp_path: Path) -> None:
    """docs/experiments.md describes this. Once DVC works there, remove the passage and this test."""
    project = small_repository(tmp_path / "café số")
    run_ok("dvc", "repro", "--quiet", cwd=project)
    commit(project, "run")
    refused = run("dvc", "exp", "run", "--temp", "-S", "x=3", cwd=project)
    assert refused.returncode != 0
    assert "'ascii' codec can't encode character" in refused.stderr
    run_ok("dvc", "cache", "dir", "--local", str(tmp_path / "cache"), cwd=project)
    run_ok("dvc", "repro", "--quiet", cwd=project)
    run_ok("dvc", "exp", "run", "--temp", "--name", "three", "-S", "x=3", cwd=project)
    run_ok("dvc", "exp", "apply", "three", cwd=project)
    assert (project / "out.yaml").read_text(encoding="utf-8") == "x: 3\n"


@pytest.mark.slow
def test_a_clone_without_old_files_and_its_remedy(tmp_path: Path) -> None:
    """DVC waits for ever for a file that only Git can fetch; with all files present it works."""
    url = small_repository(tmp_path / "origin").as_uri()
    run_ok("git", "clone", "--quiet", "--filter=blob:none", url, "clone", cwd=tmp_path)
    clone = tmp_path / "clone"
    missing = ("git", "rev-list", "--objects", "--all", "--missing=print")
    assert "\n?" in run_ok(*missing, cwd=clone)
    run_ok("git", "config", "--unset", "remote.origin.partialclonefilter", cwd=clone)
    run_ok("git", "fetch", "--quiet", "--refetch", cwd=clone)
    assert "\n?" not in run_ok(*missing, cwd=clone)
    assert run_ok("timeout", "60", "dvc", "params", "diff", "HEAD~1", cwd=clone).split()[-2:] == ["1", "2"]


@pytest.mark.slow
def test_exp_apply_keeps_a_copy_of_the_edits_that_it_discards(tmp_path: Path) -> None:
    project = small_repository(tmp_path / "project")
    run_ok("dvc", "exp", "run", "--quiet", "--name", "three", "-S", "x=3", cwd=project)
    (project / "params.yaml").write_text("x: 4  # an edit\n", encoding="utf-8")
    run_ok("dvc", "exp", "apply", "three", cwd=project)
    assert "edit" not in (project / "params.yaml").read_text(encoding="utf-8")
    run_ok("git", "checkout", "refs/exps/apply/stash", "--", "params.yaml", cwd=project)
    assert (project / "params.yaml").read_text(encoding="utf-8") == "x: 4  # an edit\n"
