"""The memory that this process may use, files that are read into it, and settings that speed up its use."""

import ctypes
import os
import resource
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from dvcproof.runtime.program import InputError

#: The file in which Linux lists the control groups of this process, and the folder of all control groups.
OWN_GROUPS, GROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")

#: Bytes of address space that TensorFlow reserves. It never uses most of them.
ADDRESSES = 5 * 2**29

#: Files that would fill more than this fraction of the memory are not read into it.
MOST_HELD = 0.5

#: Options of the C library's mallopt(3), with their numbers from malloc.h. All values are bytes. M_TRIM_THRESHOLD (-1):
#: return freed memory to the system only above this size. M_TOP_PAD (-2): ask the system for at least this much more
#: memory at a time. M_MMAP_THRESHOLD (-3): map each array of at least this size separately.
MALLOC_OPTIONS = {-1: 2**31 - 1, -2: 2**26, -3: 2**25}


def read_ahead(files: Sequence[Any], processes: int = 1) -> list[Future[NDArray[Any]] | None]:
    """Start to read files into memory, in a thread. Return the array to come of each file, None if it does not fit.

    Each file needs a `size` in bytes, and a method `read()` that returns an array. The memory is shared by `processes`
    processes that read the same files. Call this before TensorFlow is imported: the import leaves a core idle.
    """
    room, pool, found = MOST_HELD * limit() / processes, ThreadPoolExecutor(1), list[Future[NDArray[Any]] | None]()
    for file in files:
        held = file.size <= room
        room -= file.size if held else 0
        found.append(pool.submit(file.read) if held else None)
    pool.shutdown(wait=False)
    return found


def limit() -> int:
    """Return the bytes of memory that this process may use.

    This is the machine's memory, or a lower limit of the process or of one of its control groups, as in a container.
    """
    return min([os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), *_process_limits(), *_group_limits()])


def _process_limits() -> Iterator[int]:
    for kind in (resource.RLIMIT_DATA, resource.RLIMIT_AS):
        soft, _ = resource.getrlimit(kind)
        if soft != resource.RLIM_INFINITY:
            yield soft


def _group_limits() -> Iterator[int]:
    for inner, name in own_groups():
        for group in (inner, *inner.parents):  # the limits of outer groups count too
            try:
                text = (group / name).read_text(encoding="ascii").strip()
            except (OSError, ValueError):
                continue
            if text.isdecimal() and group.is_relative_to(GROUPS):  # "max" means no limit
                yield int(text)


def own_groups() -> list[tuple[Path, str]]:
    """Return the control groups of this process, each with the name of the file that has its memory limit."""
    try:
        lines = OWN_GROUPS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    found = (line.split(":", 2) for line in lines)
    names = {"": "memory.max", "memory": "memory.limit_in_bytes"}  # control groups version 2, and version 1
    return [(GROUPS / kind / own.lstrip("/"), names[kind]) for _, kind, own in found if kind in names]


def require_address_space() -> None:
    """Raise InputError if `ulimit -v` is too low for TensorFlow: it would abort the process."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY and limit < ADDRESSES:
        raise InputError(
            "memory for TensorFlow",
            expected=f"a limit of at least {ADDRESSES // 1024} (`ulimit -v`)",
            received=str(limit // 1024),
            hint="Run `ulimit -v unlimited`; where that is not permitted, start a shell without the limit.",
        )


def keep_memory() -> bool:
    """Let the C library keep freed memory for the next tensor. Return whether the library can; GNU's can.

    Otherwise the library maps new memory in each step of a training, and the system clears it page by page.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(mallopt(option, value) for option, value in MALLOC_OPTIONS.items())
