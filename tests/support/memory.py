"""Measure the peak memory of a program."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.project import ROOT, environment

PEAK = """
import re, sys
{work}
print(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1], file=sys.stderr)
"""

#: Repetitions of the sample's training set: 9,600 and 76,800 images, 7 and 57 MiB, with blocks of 0.25 MiB.
TIMES = (16, 128)

linux_only = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc")


def peak_mebibytes(work: str, *arguments: str | Path) -> float:
    """Run a Python program, and return its peak memory in MiB."""
    result = subprocess.run(
        [sys.executable, "-c", PEAK.format(work=work), *map(str, arguments)],
        cwd=ROOT,
        env=environment(PYTHONDONTWRITEBYTECODE="1"),
        capture_output=True,
        text=True,
        check=True,
    )
    return int(result.stderr.splitlines()[-1]) / 1024
