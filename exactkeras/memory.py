"""How much memory this process may use."""

import os
import resource
from collections.abc import Iterator
from pathlib import Path

#: Where Linux says which control groups this process belongs to, and where their limits are.
OWN_GROUPS, GROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


def limit() -> int:
    """Bytes: what the machine has, or less by a limit of the process or of a control group (as of a container)."""
    return min([os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), *_own_limits(), *_group_limits()])


def _own_limits() -> Iterator[int]:
    for kind in (resource.RLIMIT_DATA, resource.RLIMIT_AS):
        soft, _ = resource.getrlimit(kind)
        if soft != resource.RLIM_INFINITY:
            yield soft


def _group_limits() -> Iterator[int]:
    """The limits of the groups that this process is in, and of those that these are in."""
    for inner, name in own_groups():
        for group in (inner, *inner.parents):
            if not group.is_relative_to(GROUPS):
                break
            yield from _number(group / name)


def own_groups() -> list[tuple[Path, str]]:
    """The control groups of this process, of either version of Linux's, and the file with their limit of memory."""
    try:
        lines = OWN_GROUPS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    found = (line.split(":", 2) for line in lines)
    names = {"": "memory.max", "memory": "memory.limit_in_bytes"}  # the second version has one tree, without a name
    return [(GROUPS / kind / own.lstrip("/"), names[kind]) for _, kind, own in found if kind in names]


def _number(file: Path) -> Iterator[int]:
    try:
        text = file.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return
    if text.isdecimal():  # and not "max"
        yield int(text)
