"""How much memory a process may use: the least of what the machine, its own limits and its groups allow."""

import os
import resource
from pathlib import Path

import pytest

from exactkeras import memory

MACHINE = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")

#: Lines of /proc/self/cgroup, files of limits below the folder of groups, and the least limit of these, in bytes.
GROUPS: dict[str, tuple[str, dict[str, str], int | None]] = {
    "second version, own": ("0::/a/b", {"a/b/memory.max": "4096"}, 4096),
    "second version, of the group around it": (
        "0::/a/b",
        {"a/b/memory.max": "max", "a/memory.max": "8192", "memory.max": "max"},
        8192,
    ),
    "second version, at the top of a container": ("0::/", {"memory.max": "12288"}, 12288),
    "first version": (
        "5:cpu,cpuacct:/x\n4:memory:/x/y\n0::/",
        {"memory/x/y/memory.limit_in_bytes": "9223372036854771712", "memory/x/memory.limit_in_bytes": "16384"},
        16384,
    ),
    "first version, of other groups": ("4:memory:/x", {"memory/z/memory.limit_in_bytes": "16384"}, None),
    "none": ("0::/a", {"a/memory.max": "max"}, None),
    "no number": ("0::/a", {"a/memory.max": "-1"}, None),
}


@pytest.fixture(autouse=True)
def unlimited(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No limits but those that a test sets."""
    monkeypatch.setattr(memory, "OWN_GROUPS", tmp_path / "own")
    monkeypatch.setattr(memory, "GROUPS", tmp_path / "groups")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


@pytest.mark.parametrize("name", GROUPS)
def test_the_limit_of_a_control_group_counts(name: str, tmp_path: Path) -> None:
    own, files, least = GROUPS[name]
    (tmp_path / "own").write_text(own + "\n", encoding="utf-8")
    for file, text in files.items():
        (tmp_path / "groups" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "groups" / file).write_text(text + "\n", encoding="ascii")
    assert memory.limit() == (least or MACHINE)


@pytest.mark.parametrize("kind", [resource.RLIMIT_DATA, resource.RLIMIT_AS])
def test_a_limit_of_the_process_counts(kind: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert memory.limit() == MACHINE
    endless = resource.RLIM_INFINITY
    monkeypatch.setattr(resource, "getrlimit", lambda asked: (2**20 if asked == kind else endless, endless))
    assert memory.limit() == 2**20
