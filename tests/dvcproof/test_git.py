"""dvcproof.git: it returns Git's output or raises with Git's message; hooks and user settings have no effect."""

import os
import shlex
from pathlib import Path

import pytest

from dvcproof.git import AbsentError, GitError, changed_files, environment, git, git_text, top_folder
from tests.support.project import commit, run_ok
from tests.support.project import environment as environment_of_tests


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a repository with one commit, in a clean environment."""
    for name, value in environment_of_tests().items():
        monkeypatch.setenv(name, value)
    path = tmp_path / "repository"
    path.mkdir()
    run_ok("git", "init", "--quiet", "--initial-branch", "main", cwd=path)
    (path / "a.txt").write_text("a\n", encoding="utf-8")
    commit(path, "Größe")
    return path


def test_what_is_absent_is_gits_own_line(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(AbsentError, match=r"path 'b\.txt' does not exist in 'HEAD'\. ") as absent:
        git(repository, "cat-file", "blob", "HEAD:b.txt")
    assert absent.value.words == "path 'b.txt' does not exist in 'HEAD'"
    with pytest.raises(AbsentError, match=r"^git status: not a git repository .*`git clone`"):
        git(tmp_path, "status")
    run_ok("git", "init", "--quiet", "empty", cwd=tmp_path)
    with pytest.raises(AbsentError, match=r"Needed a single revision\. Commit the project"):
        git(tmp_path / "empty", "rev-parse", "--verify", "HEAD")


def test_another_failure_is_not_an_absence(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(GitError, match=r"cannot change to '.*nowhere'.*\. Run `git status`") as refused:
        git(tmp_path / "nowhere", "status")
    assert not isinstance(refused.value, AbsentError)
    (repository / ".git" / "index").write_bytes(b"no index")
    with pytest.raises(GitError, match=r"index file smaller than expected") as refused:
        changed_files(repository)
    assert not isinstance(refused.value, AbsentError)


def test_git_speaks_english_and_without_a_trace(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"LANGUAGE": "de", "LC_ALL": "de_DE.UTF-8", "GIT_TRACE": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(AbsentError, match="does not exist in"):
        git(repository, "show", "HEAD:b.txt")


def test_git_that_is_not_installed(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(repository))
    with pytest.raises(AbsentError, match=r"^git status: it is not installed\. Install git\.$"):
        git(repository, "status")


def test_a_users_attributes_reach_no_clone(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "attributes").write_text("* text eol=crlf\n", encoding="utf-8")
    (tmp_path / "config").write_text(f"[core]\n\tattributesFile = {tmp_path / 'attributes'}\n", encoding="utf-8")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "config"))
    git(tmp_path, "clone", "--quiet", str(repository), "ours")
    assert (tmp_path / "ours" / "a.txt").read_bytes() == b"a\n"
    run_ok("git", "clone", "--quiet", str(repository), "theirs", cwd=tmp_path, env=dict(os.environ))
    assert (tmp_path / "theirs" / "a.txt").read_bytes() == b"a\r\n"  # the negative control


def test_a_path_with_a_line_break_is_whole(repository: Path) -> None:
    broken = repository.rename(repository.with_name("two\nlines"))
    (broken / "in\nside").mkdir()
    assert top_folder(broken / "in\nside") == (broken, "in\nside/")
    assert top_folder(broken) == (broken, "")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_the_folder_of_another_user(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("HOME", str(repository.parent))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(repository.parent / ".gitconfig"))
    for path in (repository, repository / ".git"):
        os.chown(path, 12345, 12345)
    with pytest.raises(GitError, match="detected dubious ownership in repository at") as refused:
        changed_files(repository)
    assert not isinstance(refused.value, AbsentError)
    advice = str(refused.value).partition("Run `")[2].removesuffix("`.")
    run_ok(*shlex.split(advice), cwd=repository, env={"GIT_CONFIG_GLOBAL": os.environ["GIT_CONFIG_GLOBAL"]})
    assert changed_files(repository) == []


def test_a_worktree_whose_repository_moved(repository: Path) -> None:
    run_ok("git", "worktree", "add", "--quiet", "../linked", cwd=repository)
    moved = repository.rename(repository.with_name("moved"))
    with pytest.raises(GitError, match=r"not a git repository: .*Run `git worktree repair`") as refused:
        changed_files(repository.with_name("linked"))
    assert not isinstance(refused.value, AbsentError)
    run_ok("git", "worktree", "repair", "../linked", cwd=moved)
    assert changed_files(repository.with_name("linked")) == []


def test_no_variable_of_another_call_reaches_git(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of these variables would make Git fail, or use another repository."""
    names = run_ok("git", "rev-parse", "--local-env-vars", cwd=repository).split()
    assert {"GIT_DIR", "GIT_INDEX_FILE", "GIT_CONFIG_COUNT"} <= set(names)
    for name in (*names, "GIT_QUARANTINE_PATH", "GIT_NAMESPACE"):
        monkeypatch.setenv(name, "/nowhere")
    assert not any(name in environment() for name in names)
    (repository / "new.txt").touch()
    assert changed_files(repository) == ["new.txt"]
    assert git_text(repository, "log", "--format=%s") == "Größe\n"
    git(repository.parent, "clone", "--quiet", str(repository), "clone")
    assert (repository.parent / "clone" / "a.txt").exists()


def test_the_settings_of_the_user_reach_git(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = repository.parent / "settings"
    settings.write_text("[user]\n\tname = Ada\n", encoding="utf-8")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    assert git_text(repository, "config", "user.name") == "Ada\n"


def test_changed_files(repository: Path) -> None:
    (repository / "a.txt").write_text("b\n", encoding="utf-8")
    (repository / "folder").mkdir()
    for name in ("x.txt", "y.txt"):
        (repository / "folder" / name).touch()
    (repository / ".gitignore").write_text("y.txt\n", encoding="utf-8")
    assert changed_files(repository) == ["a.txt", ".gitignore", "folder/x.txt"]
    assert changed_files(repository, "folder") == ["folder/x.txt"]
    assert changed_files(repository / "folder", "y.txt") == []
    (repository / "a.txt").unlink()
    assert changed_files(repository, "a.txt") == ["a.txt"]


def test_settings_of_the_user_change_no_output(repository: Path) -> None:
    for name, value in (("core.quotepath", "on"), ("log.showSignature", "true")):
        run_ok("git", "config", name, value, cwd=repository)
    names = ['a "quote".txt', "größe.txt", "two words.txt"]
    for name in names:
        (repository / name).touch()
    assert sorted(changed_files(repository)) == names
    assert git_text(repository, "log", "--format=%s") == "Größe\n"
