"""A user's Git gives the files the same bytes, whatever its settings are."""

import shutil
from pathlib import Path

import pytest

from tests.support.project import ROOT, commit, run_ok


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Return a repository with the project's .gitattributes, and files with both kinds of line endings."""
    path = tmp_path / "repository"
    path.mkdir()
    run_ok("git", "init", "--quiet", cwd=path)
    shutil.copy(ROOT / ".gitattributes", path)
    for name, content in {"a.py": b"a\nb\n", "dvc.lock": b"c\n", "metrics.csv": b"d\r\ne\n"}.items():
        (path / name).write_bytes(content)
    commit(path, "start")
    return path


def cloned(repository: Path, setting: str) -> Path:
    """Clone as a user with a setting of Git; Git must print no warning about line endings."""
    clone = repository.parent / "clone"
    name, _, value = setting.partition("=")
    user = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": name, "GIT_CONFIG_VALUE_0": value}
    assert run_ok("git", "clone", "--quiet", str(repository), str(clone), cwd=repository, env=user) == ""
    (clone / "a.py").write_bytes((clone / "a.py").read_bytes())  # so that Git looks at the content again
    assert run_ok("git", "status", "--porcelain", cwd=clone, env=user) == ""
    return clone


@pytest.mark.parametrize("setting", ["core.autocrlf=true", "core.autocrlf=input", "core.eol=crlf"])
def test_a_clone_has_the_committed_bytes(repository: Path, setting: str) -> None:
    clone = cloned(repository, setting)
    for name in ("a.py", "dvc.lock", "metrics.csv"):
        assert (clone / name).read_bytes() == (repository / name).read_bytes()


def test_without_the_attribute_a_setting_changes_bytes(repository: Path) -> None:
    text = (repository / ".gitattributes").read_text(encoding="utf-8")
    (repository / ".gitattributes").write_text(text.replace("* -text ", "* "), encoding="utf-8")
    commit(repository, "without")
    assert (cloned(repository, "core.autocrlf=true") / "a.py").read_bytes() == b"a\r\nb\r\n"
