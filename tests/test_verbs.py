"""python -m digits: one screen of verbs, each with its own help."""

import shutil
import sys
from pathlib import Path
from unittest import mock

import pytest

from digits.__main__ import MODULES, VERBS, main
from tests.support.project import Arrays
from tests.support.refusal import refusal
from tests.support.verifying import run_main, small_project


def output(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Run the command, which must end with exit status 0, and return its output."""
    with mock.patch.object(sys, "argv", ["digits", *words]):
        try:
            main()
        except SystemExit as stop:
            assert not stop.code  # noqa: PT017
    return capsys.readouterr().out


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",)])
def test_the_verbs_are_listed_on_one_screen(capsys: pytest.CaptureFixture[str], words: tuple[str, ...]) -> None:
    lines = output(capsys, *words).splitlines()
    assert [line.split()[0] for line in lines if line.startswith("  ")] == [*VERBS]
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_says_what_it_takes(capsys: pytest.CaptureFixture[str], verb: str) -> None:
    assert output(capsys, verb, "--help").startswith(f"usage: python -m digits {verb} ")


def test_an_unknown_verb_is_refused_with_the_nearest() -> None:
    assert refusal(main, "predct") == "ERROR: predct: there is no such verb. Did you mean `python -m digits predict`?"
    assert refusal(main, "x").endswith("Run `python -m digits --help`.")


def test_a_package_that_is_missing_is_named_with_the_next_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODULES, "card", "no_such_package.part")
    line = "ERROR: package no_such_package: it is not installed. "
    assert refusal(main, "card") == f"{line}Run `make setup WITH=dev`."
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    assert refusal(main, "card") == f"{line}Run `source .venv/bin/activate` first."


@pytest.mark.usefixtures("tensorflow")
def test_a_project_is_run_and_reported(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, digits: Arrays
) -> None:
    project = shutil.copytree(small_project(tmp_path_factory, digits), tmp_path / "project", symlinks=True)
    again = run_main(main, project, "repro")
    assert again.status == 0, again.errors
    assert "Running stage" not in again.output
    summary = run_main(main, project, "summary")
    assert again.output.endswith(summary.output)
    assert summary.output.startswith("test accuracy ")
    report = run_main(main, project, "report")
    assert report.output.startswith("report.html: "), report.errors
    page = (project / "report.html").read_text(encoding="utf-8")
    assert summary.output.split()[2].rstrip("%") in page  # the test accuracy
