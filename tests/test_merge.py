"""The commands in docs/merge-conflicts.md end a merge with an up-to-date dvc.lock."""

import re
import shutil
from pathlib import Path

import pytest

from tests.support.project import ROOT, Arrays, commit, run, run_ok, stages_run
from tests.support.verifying import branched_project, fails, passes


def documented_commands() -> list[str]:
    block = re.search(r"```sh\n(.*?)```", (ROOT / "docs" / "merge-conflicts.md").read_text(encoding="utf-8"), re.DOTALL)
    assert block
    return block[1].splitlines()


@pytest.fixture
def conflict(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, digits: Arrays) -> Path:
    """Return a project on the branch `worst`, in the middle of merging the branch `seed`."""
    project = shutil.copytree(branched_project(tmp_path_factory, digits), tmp_path / "project")
    shutil.copy(ROOT / ".gitattributes", project)
    commit(project, "attributes")
    merge = run("git", "merge", "seed", cwd=project)
    assert merge.returncode == 1
    assert "CONFLICT (content): Merge conflict in dvc.lock" in merge.stdout
    return project


@pytest.mark.slow
def test_the_documented_commands_end_a_merge(conflict: Path) -> None:
    *commands, last = documented_commands()
    assert last == "make verify"
    executed = []
    for command in commands:
        executed += stages_run(run_ok("sh", "-ec", command, cwd=conflict))
    assert executed == ["evaluate"], "the training of the branch `seed` comes from the run cache"
    assert "not in the last commit" not in passes(conflict, "--only", "check")
    assert len(run_ok("git", "rev-list", "--parents", "-1", "HEAD", cwd=conflict).split()) == 3
    params = (conflict / "params.yaml").read_text(encoding="utf-8")
    assert "\n  seed: 1\n" in params
    assert "\n  worst: 20\n" in params


def test_a_merge_that_forgets_to_run_is_found(conflict: Path) -> None:
    run_ok("git", "checkout", "HEAD", "--", "dvc.lock", "metrics", cwd=conflict)
    commit(conflict, "merge")
    errors = fails(conflict, "--only", "check")
    assert "train: parameter train.seed in params.yaml is not the recorded one." in errors
    assert "    recorded: 0\n    here:     1\n" in errors


def test_changes_far_apart_in_the_lock_are_a_conflict_too(tmp_path: Path) -> None:
    """Git alone would merge the changes into the record of a run that never happened."""
    run_ok("git", "init", "--quiet", "--initial-branch", "main", cwd=tmp_path)
    lines = [f"line {number}" for number in range(40)]
    (tmp_path / "metrics").mkdir()

    def write(name: str, position: int, text: str) -> None:
        changed = [*lines[:position], text, *lines[position + 1 :]]
        (tmp_path / name).write_text("\n".join(changed), encoding="utf-8")

    for name in ("dvc.lock", "metrics/scores.json", "other.txt"):
        write(name, 0, lines[0])
    shutil.copy(ROOT / ".gitattributes", tmp_path)
    commit(tmp_path, "start")
    for branch, position in (("a", 2), ("b", 30)):
        run_ok("git", "checkout", "--quiet", "-b", branch, "main", cwd=tmp_path)
        for name in ("dvc.lock", "metrics/scores.json", "other.txt"):
            write(name, position, branch)
        commit(tmp_path, branch)
    assert run("git", "merge", "a", cwd=tmp_path).returncode == 1
    status = run_ok("git", "status", "--short", cwd=tmp_path).splitlines()
    assert status == ["UU dvc.lock", "UU metrics/scores.json", "M  other.txt"]
