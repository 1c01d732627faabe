"""The real Fashion-MNIST (Xiao, Rasul and Vollgraf, arXiv:1708.07747), as Debian packages it."""

import os
from pathlib import Path

import pytest

FOLDER = Path("/usr/share/datasets/fashion-mnist")


def installed(folder: Path) -> Path:
    """The data set. Its absence skips the test for a user, and fails it in CI."""
    if not folder.is_dir() and os.environ.get("CI"):
        pytest.fail(f"{folder} is missing: CI may not skip the test on another data set (.ci/run installs it)")
    if not folder.is_dir():
        pytest.skip("Fashion-MNIST was NOT run: it needs the Debian package dataset-fashion-mnist")
    return folder
