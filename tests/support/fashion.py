"""The real Fashion-MNIST (Xiao, Rasul and Vollgraf, arXiv:1708.07747), as Debian packages it, and its example."""

import os
import re
import shlex
from pathlib import Path

import pytest

from tests.support.project import ROOT

FOLDER = Path("/usr/share/datasets/fashion-mnist")
README = (ROOT / "exactkeras" / "README.md").read_text(encoding="utf-8")
MODEL = "fashion.keras"

#: The commands that the README shows, each with its last lines of output. The second command trains on a subset.
SHOWN = re.findall(r"^\$ (python .*)\n(test accuracy .*\nSHA-256 [0-9a-f]{64}\n)", README, re.MULTILINE)
SHA256 = SHOWN[1][1].split()[-1]


def installed(folder: Path) -> Path:
    """Return the folder of the data set. If it is missing, skip the test, or fail in CI."""
    if not folder.is_dir() and os.environ.get("CI"):
        pytest.fail(f"{folder} is missing: CI may not skip the test on another data set (.ci/run installs it)")
    if not folder.is_dir():
        pytest.skip("Fashion-MNIST was NOT run: it needs the Debian package dataset-fashion-mnist")
    return folder


def arguments(command: str) -> list[str]:
    """Return the words of a command of the README, without `python -m`."""
    python, option, *words = shlex.split(command)
    assert (python, option, words[1]) == ("python", "-m", str(installed(FOLDER)))
    return words


def subset(*more: str) -> str:
    """Return code for `run_code` that trains on the subset."""
    return f"call(*{[*arguments(SHOWN[1][0]), *more]!r})\n"
