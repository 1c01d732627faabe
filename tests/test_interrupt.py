"""A program that Ctrl-C ends, even during its imports, prints no traceback."""

import signal
import sys
from pathlib import Path

import pytest

from tests.support.project import ROOT, run

#: A module that takes the place of another and sends SIGINT when it is imported.
PRESSED = "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n"


def interrupted(folder: Path, package: str, *command: str) -> tuple[int, str]:
    (folder / f"{package}.py").write_text(PRESSED)
    path = {"PYTHONPATH": f"{folder}:{ROOT}", "PYTHONDONTWRITEBYTECODE": "1"}
    result = run(sys.executable, *command, cwd=folder, env=path)
    assert result.stdout == ""
    return result.returncode, result.stderr


@pytest.mark.parametrize(
    ("package", "command", "status"),
    [
        ("argparse", ("stages.load",), -signal.SIGINT),
        ("difflib", ("digits", "predict"), -signal.SIGINT),
        ("numpy", ("digits", "predict"), 128 + signal.SIGINT),
    ],
)
def test_an_interrupt_during_imports_is_quiet(
    tmp_path: Path, package: str, command: tuple[str, ...], status: int
) -> None:
    assert interrupted(tmp_path, package, "-m", *command) == (status, "")


def test_an_import_from_elsewhere_changes_nothing(tmp_path: Path) -> None:
    """The negative control: other programs that import the package keep Python's own handling of SIGINT."""
    status, error = interrupted(tmp_path, "numpy", "-c", "import stages.load")
    assert status == -signal.SIGINT
    assert error.endswith("KeyboardInterrupt\n")
