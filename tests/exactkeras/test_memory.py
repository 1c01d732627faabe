"""The memory that a process may use, and how it uses it."""

import os
import resource
import sys
from pathlib import Path

import pytest

from exactkeras import memory
from tests.support.project import ROOT, run
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


LIMITED = """
import resource
from dvcproof.runtime.program import run
from exactkeras import memory
resource.setrlimit(resource.RLIMIT_AS, (2**31, resource.getrlimit(resource.RLIMIT_AS)[1]))
run(memory.require_address_space)
"""


def test_a_shell_that_limits_memory_is_named() -> None:
    """Otherwise a library ends the process with `pthread_create failed` or without a message."""
    line = refused_by(run(sys.executable, "-c", LIMITED, cwd=ROOT))
    assert "expected a limit of at least 2621440 (`ulimit -v`). Got 2097152. Run `ulimit -v unlimited`" in line
    assert run(sys.executable, "-c", LIMITED.replace("(2**31,", "(2**33,"), cwd=ROOT).returncode == 0
