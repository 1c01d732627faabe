"""What makes a process with TensorFlow start, run and end sooner. It changes no result."""

import ctypes
import gc
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from dvcproof.runtime.program import InputError

#: Parameters of the C library's mallopt(3), from its malloc.h: give freed memory back to the system above this many
#: bytes; ask the system for memory in pieces of at least this many; map arrays of this many bytes one by one.
MALLOC_OPTIONS = {-1: 2**31 - 1, -2: 2**26, -3: 2**25}


#: Bytes of addresses that a process with TensorFlow takes at the least, most of them never used: with less, one of its
#: libraries ends the process in words of its own.
ADDRESSES = 5 * 2**29


def require_address_space() -> None:
    """Refuse a shell in which `ulimit -v` leaves too little for TensorFlow.

    Raises:
        InputError: it does.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY and limit < ADDRESSES:
        raise InputError(
            "memory for TensorFlow",
            expected=f"a limit of at least {ADDRESSES // 1024} (`ulimit -v`)",
            received=str(limit // 1024),
            hint="Run `ulimit -v unlimited`; where that is not permitted, start a shell without the limit.",
        )


@contextmanager
def quick_import() -> Iterator[None]:
    """Import TensorFlow and Keras inside this: in two thirds of the time, and the process then ends without delay.

    Python's garbage collector would search the hundreds of thousands of new objects again and again, and once more at
    the end: they live as long as the process, so it is switched off. Keras imports matplotlib if it is installed, for
    drawings that no stage makes; here it does not find it.
    """
    collecting, hidden = gc.isenabled(), "matplotlib" not in sys.modules
    gc.disable()
    if hidden:
        sys.modules["matplotlib"] = None  # type: ignore[assignment] # Python's own way to say: do not import
    try:
        yield
    finally:
        if hidden:
            del sys.modules["matplotlib"]
        gc.freeze()
        if collecting:
            gc.enable()


def keep_memory() -> bool:
    """Let the C library keep freed memory for the next tensor of the same size.

    Otherwise each step of a training maps its megabytes again, and the system clears them page by page.

    Returns:
        Whether the C library has such a setting (GNU's has).
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(mallopt(option, value) for option, value in MALLOC_OPTIONS.items())
