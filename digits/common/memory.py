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
    """The limits of the groups that this process is in, and of those that these are in, in both versions of Linux."""
    try:
        lines = OWN_GROUPS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for _, kinds, own in (line.split(":", 2) for line in lines):
        if kinds in ("", "memory"):  # the second version has one tree of groups, without a name
            folder, name = (GROUPS / kinds, "memory.limit_in_bytes") if kinds else (GROUPS, "memory.max")
            inside = Path(own.lstrip("/"))
            for group in (inside, *inside.parents):
                yield from _number(folder / group / name)


def _number(file: Path) -> Iterator[int]:
    try:
        text = file.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return
    if text.isdecimal():  # and not "max"
        yield int(text)
