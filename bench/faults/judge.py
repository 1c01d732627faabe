"""Outcomes, and the judge of readers. A reader reads an input correctly, refuses it in one clear line, or is wrong."""

import ctypes
import gc
import re
import signal
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple, NoReturn

from bench.measure import peak_bytes
from dvcproof.runtime.program import InputError


class Outcome(StrEnum):
    """The outcome of a fault or an input, from best to worst."""

    RIGHT = "right"  # the right bytes
    LINE = "line"  # an error in one clear line, and the right bytes in a later run
    STUCK = "stuck"
    WRONG = "wrong"


BAD = (Outcome.STUCK, Outcome.WRONG)


class Verdict(NamedTuple):
    """An outcome, and a text that says what was wrong."""

    outcome: Outcome
    problem: str = ""


#: Limits for one input: megabytes of memory besides those held before, seconds of processor time, seconds in all.
MEGABYTES = 500
SECONDS = 5.0
WAITING = 30.0

#: The length of the longest good message, and the form of a message: thing at fault, problem, next step.
LONGEST = 1500
FORM = re.compile(r"\S.*: .+\. [A-Z].*[.?]")

Reader = Callable[[Path], None]


class WrongError(Exception):
    """A reader accepted an input that it should have refused, or read wrong values from it."""


class SlowError(BaseException):
    """Time is up. This is a BaseException, so that no reader catches it."""


def attempt(read: Reader, folder: Path) -> Verdict:
    """Let a reader read the files in a folder, and judge what it does."""

    def stop(*_: object) -> NoReturn:
        raise SlowError

    # Memory that is already free would be used again, or given back meanwhile, and hide what the reader takes.
    gc.collect()
    with suppress(AttributeError, OSError):  # the C library may have no such function
        ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak is counted from now on
    before, handler, start = peak_bytes(field="VmRSS"), signal.signal(signal.SIGALRM, stop), time.process_time()
    try:
        signal.setitimer(signal.ITIMER_REAL, WAITING)
        verdict = _verdict(read, folder)
    except SlowError:
        verdict = Verdict(Outcome.STUCK, f"more than {WAITING} s")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
    if time.process_time() - start > SECONDS:
        verdict = Verdict(Outcome.STUCK, f"more than {SECONDS} s of work")
    taken = (peak_bytes() - before) // 2**20
    if taken > MEGABYTES or "nable to allocate" in verdict.problem or "MemoryError" in verdict.problem:
        return Verdict(Outcome.WRONG, f"memory: {taken} MB. {verdict.problem}")
    return verdict


def _verdict(read: Reader, folder: Path) -> Verdict:
    try:
        read(folder)
    except InputError as error:
        line = str(error)
        clear = bool(FORM.fullmatch(line)) and line.isprintable() and len(line) <= LONGEST and "[Errno" not in line
        return Verdict(Outcome.LINE, line) if clear else Verdict(Outcome.WRONG, f"unclear: {line}")
    except OSError as error:  # if the error names the file, the command line prints one line
        clear = bool(error.filename and error.strerror)
        return Verdict(Outcome.LINE, str(error)) if clear else Verdict(Outcome.WRONG, f"unclear: {error}")
    except WrongError as error:
        return Verdict(Outcome.WRONG, f"accepted: {error}")
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{frame.filename}:{frame.lineno}"
        return Verdict(Outcome.WRONG, f"traceback: {type(error).__name__}: {error} at {place}")
    return Verdict(Outcome.RIGHT)
