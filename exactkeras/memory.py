"""The memory that this process may use, and how it uses it."""

import ctypes
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

from dvcproof.runtime.program import InputError

#: Linux's list of the control groups of this process, and the folder of all groups.
OWN_GROUPS, GROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")

#: Bytes of address space that TensorFlow needs, most of which it never uses.
ADDRESSES = 5 * 2**29

#: Parameters of the C library's mallopt(3), from its malloc.h: return freed memory to the system above this many bytes;
#: ask the system for memory in pieces of at least this many; map arrays of this many bytes one by one.
MALLOC_OPTIONS = {-1: 2**31 - 1, -2: 2**26, -3: 2**25}


def limit() -> int:
    """Return bytes: the machine's memory, or a lower limit of the process or its control groups (a container's)."""
    return min([os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), *_process_limits(), *_group_limits()])


def _process_limits() -> Iterator[int]:
    for kind in (resource.RLIMIT_DATA, resource.RLIMIT_AS):
        soft, _ = resource.getrlimit(kind)
        if soft != resource.RLIM_INFINITY:
            yield soft


def _group_limits() -> Iterator[int]:
    for inner, name in own_groups():
        for group in (inner, *inner.parents):  # a limit of an outer group counts too
            try:
                text = (group / name).read_text(encoding="ascii").strip()
            except (OSError, ValueError):
                continue
            if text.isdecimal() and group.is_relative_to(GROUPS):  # and not "max"
                yield int(text)


def own_groups() -> list[tuple[Path, str]]:
    """Return the control groups of this process, and the name of the file with the memory limit in each."""
    try:
        lines = OWN_GROUPS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    found = (line.split(":", 2) for line in lines)
    names = {"": "memory.max", "memory": "memory.limit_in_bytes"}  # of version 2, which has one tree, and version 1
    return [(GROUPS / kind / own.lstrip("/"), names[kind]) for _, kind, own in found if kind in names]


def require_address_space() -> None:
    """Raise InputError if `ulimit -v` is too low for TensorFlow, which would abort the process."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY and limit < ADDRESSES:
        raise InputError(
            "memory for TensorFlow",
            expected=f"a limit of at least {ADDRESSES // 1024} (`ulimit -v`)",
            received=str(limit // 1024),
            hint="Run `ulimit -v unlimited`; where that is not permitted, start a shell without the limit.",
        )


def keep_memory() -> bool:
    """Let the C library keep freed memory for the next tensor, and return whether it can (GNU's can).

    Otherwise each step of a training maps its megabytes again, and the system clears them page by page.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(mallopt(option, value) for option, value in MALLOC_OPTIONS.items())
