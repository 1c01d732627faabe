"""verify called by Git, in a hook, an alias or a rebase: the user's commit is unchanged, and the clone is clean."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.support.project import ROOT, commit, run, run_ok
from tests.support.verifying import fails, write_toy

#: The part of verify that calls Git: it makes the clone, and lists changed files in the clone and in the project.
CLONE = """
import sys, tempfile
from pathlib import Path
from dvcproof.git import changed_files
from dvcproof.clone import Clone
from dvcproof.project import Project
with tempfile.TemporaryDirectory() as folder, Project.open(Path.cwd()) as project:
    clone = Clone(project, Path(folder))
    print("changed in the clone:", changed_files(clone.path), "here:", changed_files(project.root))
"""


@pytest.fixture(scope="module")
def good_toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy(tmp_path_factory.mktemp("toy") / "project")


@pytest.fixture
def toy(good_toy: Path, tmp_path: Path) -> Path:
    return shutil.copytree(good_toy, tmp_path / "toy")


def program(folder: Path, *arguments: str) -> str:
    """Return a shell script that runs Python with the packages of the project, and writes its output to a file."""
    words = " ".join(f"'{word}'" for word in (sys.executable, *arguments))
    script = folder / "script"
    script.write_text(f"#!/bin/sh\nPYTHONPATH='{ROOT}' {words} >'{folder}/said' 2>&1\n", encoding="utf-8")
    script.chmod(0o755)
    return str(script)


def cloning(folder: Path) -> str:
    (folder / "clone.py").write_text(CLONE, encoding="utf-8")
    return program(folder, str(folder / "clone.py"))


def as_hook(repository: Path, script: str) -> None:
    """Write a program as the pre-commit hook of a repository."""
    hook = repository / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.symlink_to(script)


def last_commit(path: Path) -> list[str]:
    """Return the files that the last commit changed."""
    return run_ok("git", "show", "--format=", "--name-only", "HEAD", cwd=path).split()


@pytest.mark.slow
def test_a_hook_of_commit_a(toy: Path, tmp_path: Path) -> None:
    """Git sets GIT_INDEX_FILE for the hook, and commits the content of that index when the hook ends."""
    as_hook(toy, program(tmp_path, "-m", "digits", "verify", "--only", "verify"))
    (toy / "seeds.json").write_text("{}\n", encoding="utf-8")
    run_ok("git", "commit", "--quiet", "-a", "-m", "edit", cwd=toy)
    assert last_commit(toy) == ["seeds.json"]
    assert run_ok("git", "status", "--porcelain", cwd=toy) == ""
    assert "stages reproduced: ok" in (tmp_path / "said").read_text(encoding="utf-8")


def test_the_control_destroys_the_commit(toy: Path, tmp_path: Path) -> None:
    """A clone that keeps Git's variables overwrites the index of the commit with its own."""
    clone = f"import subprocess; subprocess.run(['git', 'clone', '-q', '{toy}', '{tmp_path}/clone'], check=True)"
    (tmp_path / "clone.py").write_text(clone, encoding="utf-8")
    as_hook(toy, program(tmp_path, str(tmp_path / "clone.py")))
    (toy / "seeds.json").write_text("{}\n", encoding="utf-8")
    run("git", "commit", "--quiet", "-a", "-m", "edit", cwd=toy)
    assert last_commit(toy) != ["seeds.json"]


@pytest.mark.slow
def test_a_hook_in_a_linked_worktree(toy: Path, tmp_path: Path) -> None:
    """In a linked worktree, Git also sets GIT_DIR for the hook."""
    as_hook(toy, cloning(tmp_path))
    linked = tmp_path / "linked"
    run_ok("git", "worktree", "add", "--quiet", "-b", "other", str(linked), cwd=toy)
    (linked / "seeds.json").write_text("{}\n", encoding="utf-8")
    commit(linked, "edit")
    assert last_commit(linked) == ["seeds.json"]
    assert run_ok("git", "status", "--porcelain", cwd=linked) == ""
    assert (tmp_path / "said").read_text() == "changed in the clone: [] here: ['seeds.json']\n"
    run_ok("git", "commit", "--quiet", "--allow-empty", "-m", "another", cwd=linked)  # on this worktree's branch


@pytest.mark.slow
def test_each_commit_of_a_rebase(toy: Path, tmp_path: Path) -> None:
    script = cloning(tmp_path)
    before = run_ok("git", "rev-parse", "HEAD", cwd=toy)
    for number in range(2):
        (toy / "seeds.json").write_text(f"{number}\n", encoding="utf-8")
        commit(toy, f"edit {number}")
    run_ok("git", "rebase", "--quiet", "--exec", script, before.strip(), cwd=toy)
    assert run_ok("git", "log", "--format=%s", f"{before.strip()}..", cwd=toy) == "edit 1\nedit 0\n"
    assert run_ok("git", "status", "--porcelain", cwd=toy) == ""
    assert (tmp_path / "said").read_text() == "changed in the clone: [] here: []\n"


def test_an_alias_in_a_subfolder(toy: Path, tmp_path: Path) -> None:
    run_ok("git", "config", "alias.proof", f"!{cloning(tmp_path)}", cwd=toy)
    (toy / "folder").mkdir()
    run_ok("git", "proof", cwd=toy / "folder")
    assert (tmp_path / "said").read_text() == "changed in the clone: [] here: []\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_the_folder_of_another_user(toy: Path, tmp_path: Path) -> None:
    for path in (toy, toy / ".git"):
        os.chown(path, 12345, 12345)
    errors = fails(toy, "--only", "verify", env={"HOME": str(tmp_path)})
    assert "detected dubious ownership in repository at" in errors
    assert "Run `git config --global --add safe.directory " in errors
