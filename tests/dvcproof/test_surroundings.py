"""Assumptions of DVC about a machine are checked first; one line names the problem and the next step."""

import os
import sys
from pathlib import Path
from unittest import mock

import pytest

from digits.__main__ import main as digits
from dvcproof import surroundings
from dvcproof.__main__ import main as dvcproof
from dvcproof.findings import USAGE
from tests.support.refusal import one_line, refusal


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", str)  # as for a user without an entry


@pytest.mark.usefixtures("homeless")
@pytest.mark.parametrize("verb", ["repro", "verify", "doctor"])
def test_no_home_is_said_in_one_line(verb: str) -> None:
    problem = "HOME: it is not set, and the system lists no home for this user. Run `export HOME="
    assert problem in refusal(digits, verb)


@pytest.mark.usefixtures("homeless")
def test_no_home_is_said_by_dvcproof_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert "HOME: it is not set" in refused(capsys, "check")


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Run dvcproof, which must refuse with one line and the status of wrong usage; return the line."""
    with mock.patch.object(sys, "argv", ["dvcproof", *words]), pytest.raises(SystemExit) as stop:
        dvcproof()
    assert stop.value.code == USAGE
    return one_line(capsys.readouterr().err.rstrip("\n"))


@pytest.fixture
def read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of DVC's notes, which is read-only."""
    path = tmp_path / "notes"
    path.mkdir()
    monkeypatch.delenv("DVC_SITE_CACHE_DIR", raising=False)
    monkeypatch.setattr(surroundings, "NOTES", path)
    access = os.access
    monkeypatch.setattr(os, "access", lambda at, mode: Path(at) != path and access(at, mode))
    return path


@pytest.mark.parametrize("below", ["", "dvc", "a/b"])
def test_notes_that_cannot_be_written_are_said_with_a_way_out(
    read_only: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], below: str
) -> None:
    monkeypatch.setattr(surroundings, "NOTES", read_only / below)
    line = f"ERROR: {read_only}: DVC keeps notes there, but cannot write to it. Name another folder: `export DVC_SITE"
    assert refusal(digits, "repro").startswith(line)
    assert refused(capsys, "check").startswith(line)
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "mine"))
    surroundings.require_surroundings(tmp_path)


def test_a_configuration_that_names_the_folder_counts(read_only: Path, tmp_path: Path) -> None:
    assert read_only.exists()
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config.local").write_text("[core]\n    site_cache_dir = /mine\n", encoding="utf-8")
    surroundings.require_surroundings(tmp_path)
