"""DVC rewrites files in its own form, which is that of this project's files."""

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
