"""What becomes of an input: it is read rightly, refused in one clear line, or treated wrongly."""

import gc
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

from dvcproof.runtime.program import InputError

#: What can become of an input. The first two are right.
OUTCOMES = ("read", "refused", "wrong", "unclear", "traceback", "slow", "memory", "died")
RIGHT = OUTCOMES[:2]

#: The most that an input may take above what the process takes without it: memory and time of the processor; and the
#: time until a reader that waits is interrupted.
MEGABYTES = 500
SECONDS = 5.0
WAITING = 30.0

#: The longest message, and its form: what is at fault, what is wrong with it, the next step.
LONGEST = 1500
FORM = re.compile(r"\S.*: .+\. [A-Z].*[.?]")

Reader = Callable[[Path], None]


class WrongError(Exception):
    """A reader accepted what it should have refused, or read it as something else."""


class SlowError(BaseException):
    """Time is up. No reader catches it."""


def attempt(read: Reader, folder: Path) -> tuple[str, str]:
    """Let a reader read the files in a folder.

    Returns:
        One of OUTCOMES, and what was wrong.
    """
    gc.collect()  # else what was garbage before is given back meanwhile, and hides what the reader takes
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak is counted from now on
    before = memory("VmRSS")
    try:
        with _time_limit():
            outcome, problem = _outcome(read, folder)
    except SlowError:
        outcome, problem = "slow", f"more than {SECONDS} s of work, or {WAITING} s of waiting"
    taken = memory("VmHWM") - before
    if taken > MEGABYTES or "nable to allocate" in problem or "MemoryError" in problem:
        return "memory", f"{taken} MB. {problem}"
    return outcome, problem


def _outcome(read: Reader, folder: Path) -> tuple[str, str]:
    try:
        read(folder)
    except InputError as error:
        line = str(error)
        clear = FORM.fullmatch(line) and line.isprintable() and len(line) <= LONGEST and "[Errno" not in line
        return ("refused" if clear else "unclear"), line
    except WrongError as error:
        return "wrong", str(error)
    except OSError as error:  # the command line says it in one line, if it says of which file
        return ("refused" if error.filename and error.strerror else "unclear"), str(error)
    except Exception as error:
        where = error.__traceback__
        while where and where.tb_next:
            where = where.tb_next
        place = f"{where.tb_frame.f_code.co_filename}:{where.tb_lineno}" if where else ""
        return "traceback", f"{type(error).__name__}: {error} at {place}"
    return "read", ""


@contextmanager
def _time_limit() -> Iterator[None]:
    def stop(_signal: int, _frame: FrameType | None) -> NoReturn:
        raise SlowError

    timers = ((signal.SIGPROF, signal.ITIMER_PROF, SECONDS), (signal.SIGALRM, signal.ITIMER_REAL, WAITING))
    before = [signal.signal(number, stop) for number, _, _ in timers]
    for _, timer, limit in timers:
        signal.setitimer(timer, limit)
    try:
        yield
    finally:
        for (number, timer, _), handler in zip(timers, before, strict=True):
            signal.setitimer(timer, 0)
            signal.signal(number, handler)


def memory(field: str) -> int:
    """A figure of this process, in megabytes."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(re.search(rf"{field}:\s+(\d+) kB", status)[1]) // 1024  # type: ignore[index]
