"""The memory that a process may use, and how it uses it."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from exactkeras import memory
from tests.support.project import ROOT
from tests.support.refusal import refused_by

MACHINE = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("0::/a/b", {"a/b/memory.max": "4096"}, 4096),
        ("0::/a/b", {"a/b/memory.max": "max", "a/memory.max": "8192", "memory.max": "max"}, 8192),
        ("0::/", {"memory.max": "12288"}, 12288),  # at the top of a container
        (
            "5:cpu,cpuacct:/x\n4:memory:/x/y\n0::/",  # version 1
            {"memory/x/y/memory.limit_in_bytes": "9223372036854771712", "memory/x/memory.limit_in_bytes": "16384"},
            16384,
        ),
        ("4:memory:/x", {"memory/z/memory.limit_in_bytes": "16384"}, MACHINE),  # of another group
        ("0::/a", {"a/memory.max": "-1"}, MACHINE),
    ],
)
def test_the_limit_of_a_control_group_counts(
    own: str, files: dict[str, str], expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "OWN_GROUPS", tmp_path / "own")
    monkeypatch.setattr(memory, "GROUPS", tmp_path / "groups")
    (tmp_path / "own").write_text(own + "\n", encoding="utf-8")
    for file, text in files.items():
        (tmp_path / "groups" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "groups" / file).write_text(text + "\n", encoding="ascii")
    endless = resource.RLIM_INFINITY
    monkeypatch.setattr(resource, "getrlimit", lambda _: (endless, endless))
    assert memory.limit() == expected
    for kind in (resource.RLIMIT_DATA, resource.RLIMIT_AS):  # a limit of the process counts too
        monkeypatch.setattr(resource, "getrlimit", lambda asked, kind=kind: (1024 if asked == kind else endless, 0))
        assert memory.limit() == 1024


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


FAULTS = """
import resource, sys
import numpy as np
from exactkeras.memory import keep_memory
if sys.argv[1:] == ["keep"]:
    assert keep_memory()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    kept = [np.ones(2**18, np.float32) for _ in range(20)]
    del kept
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only GNU's C library has the setting")
def test_memory_that_is_kept_is_not_cleared_again() -> None:
    assert int(python(FAULTS, "keep").stdout) < 0.2 * int(python(FAULTS).stdout)


LIMITED = """
import resource
from dvcproof.runtime.program import run
from exactkeras import memory
resource.setrlimit(resource.RLIMIT_AS, (2**31, resource.getrlimit(resource.RLIMIT_AS)[1]))
run(memory.require_address_space)
"""


def test_a_shell_that_limits_memory_is_named() -> None:
    """Otherwise a library ends the process with `pthread_create failed`, or without a word."""
    line = refused_by(python(LIMITED))
    assert "expected a limit of at least 2621440 (`ulimit -v`). Got 2097152. Run `ulimit -v unlimited`" in line
    assert python(LIMITED.replace("(2**31,", "(2**33,")).returncode == 0
