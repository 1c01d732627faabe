"""digits.verify.git: Git's output, or its own first line of what went wrong; nobody's settings change it."""

from pathlib import Path

import pytest

from digits.verify.git import GitError, changed_files, git, git_text
from tests.support.project import commit, environment, run_ok


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit, in an environment of its own."""
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    path = tmp_path / "repository"
    path.mkdir()
    run_ok("git", "init", "--quiet", "--initial-branch", "main", cwd=path)
    (path / "a.txt").write_text("a\n", encoding="utf-8")
    commit(path, "Größe")
    return path


def test_what_git_prints(repository: Path) -> None:
    assert git(repository, "cat-file", "blob", "HEAD:a.txt") == b"a\n"
    assert git_text(repository, "log", "--format=%s") == "Größe\n"


def test_bytes_that_are_no_text_are_replaced(repository: Path) -> None:
    (repository / "a.txt").write_bytes(b"\xff\n")
    commit(repository, "bytes")
    assert git(repository, "show", "HEAD:a.txt") == b"\xff\n"
    assert git_text(repository, "show", "HEAD:a.txt") == "\N{REPLACEMENT CHARACTER}\n"


def test_a_refusal_is_gits_own_first_line(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(GitError, match=r"^path 'b\.txt' does not exist in 'HEAD'$"):
        git(repository, "cat-file", "blob", "HEAD:b.txt")
    with pytest.raises(GitError, match=r"^not a git repository"):
        git(tmp_path, "status")
    with pytest.raises(GitError, match=r"^cannot change to '.*nowhere'"):
        git(tmp_path / "nowhere", "status")


def test_git_that_is_not_installed(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(repository))
    with pytest.raises(GitError, match=r"^it is not installed$"):
        git(repository, "status")


def test_changed_files(repository: Path) -> None:
    assert changed_files(repository) == []
    (repository / "a.txt").write_text("b\n", encoding="utf-8")
    (repository / "folder").mkdir()
    for name in ("x.txt", "y.txt"):
        (repository / "folder" / name).touch()
    (repository / ".gitignore").write_text("y.txt\n", encoding="utf-8")
    assert changed_files(repository) == ["a.txt", ".gitignore", "folder/x.txt"]
    assert changed_files(repository, "folder") == ["folder/x.txt"]
    (repository / "a.txt").unlink()
    assert changed_files(repository, "a.txt") == ["a.txt"]


def test_changed_files_outside_of_a_repository(tmp_path: Path) -> None:
    with pytest.raises(GitError, match="not a git repository"):
        changed_files(tmp_path)


def test_settings_of_the_user_change_no_output(repository: Path) -> None:
    for name, value in (("core.quotepath", "on"), ("log.showSignature", "true")):
        run_ok("git", "config", name, value, cwd=repository)
    (repository / "größe.txt").touch()
    assert changed_files(repository) == ["größe.txt"]
    assert git_text(repository, "log", "--format=%s") == "Größe\n"


def test_a_name_with_a_space_or_a_quote(repository: Path) -> None:
    for name in ("two words.txt", 'a "quote".txt'):
        (repository / name).touch()
    assert sorted(changed_files(repository)) == ['a "quote".txt', "two words.txt"]


def test_a_renamed_file_is_named_by_its_old_and_new_name(repository: Path) -> None:
    run_ok("git", "mv", "a.txt", "b.txt", cwd=repository)
    assert sorted(changed_files(repository)) == ["a.txt", "b.txt"]
