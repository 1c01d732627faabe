"""The machine: the cores that a process may use, and the processor as the system reports it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from digits.model import machine
from tests.support.project import ROOT, environment

CPUINFO = """processor\t: 0
model name\t: A Processor: 2.0 GHz
flags\t\t: sse2 fma avx2

processor\t: 1
model name\t: Another
flags\t\t: none
"""


def read_as(monkeypatch: pytest.MonkeyPatch, text: str | None) -> None:
    """Let /proc/cpuinfo hold a text, or be absent."""

    def read_text(path: Path, **_: object) -> str:
        assert path == Path("/proc/cpuinfo")
        if text is None:
            raise FileNotFoundError(path)
        return text

    monkeypatch.setattr(Path, "read_text", read_text)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system cannot bind a process")
def test_cores_are_those_that_the_process_may_use() -> None:
    code = """
import os
from digits.model import machine
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
print(machine.cores())
"""
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment(), capture_output=True, text=True, check=True
    )
    assert result.stdout == "1\n"


def test_the_first_processor_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    read_as(monkeypatch, CPUINFO)
    assert machine.cpu_name() == "A Processor: 2.0 GHz"
    assert machine.cpu_flags() == ["avx2", "fma", "sse2"]


@pytest.mark.parametrize("text", [None, "", "processor : 0\n"])
def test_a_system_that_reports_nothing_has_no_flags(monkeypatch: pytest.MonkeyPatch, text: str | None) -> None:
    read_as(monkeypatch, text)
    monkeypatch.setattr("platform.processor", lambda: "as Python names it")
    assert machine.cpu_flags() == []
    assert machine.cpu_name() == "as Python names it"


@pytest.mark.parametrize(("name", "expected"), [("x86_64", True), ("AMD64", True), ("aarch64", False), ("i686", False)])
def test_x86_64_has_two_names(monkeypatch: pytest.MonkeyPatch, name: str, expected: bool) -> None:
    monkeypatch.setattr("platform.machine", lambda: name)
    assert machine.is_x86_64() is expected
