"""Command lines: one line for an error, an exit status, and progress only on a terminal."""

import os
import re
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from digits.common import streams

#: Characters of the longest part of a message: libraries can be talkative, and files hold long names.
LONGEST = 800


class InputError(Exception):
    """Something given from outside is wrong. Its text is the one line that the user reads.

    Args:
        what: the thing at fault, by the name that the user knows (a path, a parameter).
        expected: what is allowed.
        received: what was found.
        hint: the next step.
    """

    def __init__(self, what: str, *, expected: str, received: str, hint: str) -> None:
        what, expected, received = map(shortened, (what, expected, received.removesuffix(".")))
        self.problem = f"{what}: expected {expected}. Got {received}"  # without the next step
        line = re.sub(r"\s*\n\s*", " ", f"{self.problem}. {hint}")
        super().__init__(printable(line))


def shortened(text: str) -> str:
    """A text of at most LONGEST characters: what is left out of a longer one is in its middle."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2 - 3]} ... {text[2 - LONGEST // 2 :]}"


def printable(text: str) -> str:
    """A text that cannot control the terminal: names and messages of a foreign file may hold escape sequences."""
    return "".join(char if char.isprintable() or char == "\xa0" else ascii(char)[1:-1] for char in text)


#: The next step where a warning has become an error.
WARNINGS = "Run `unset PYTHONWARNINGS`, or leave out `-W error`."


def run(main: Callable[[], None], *, output_is_log: bool = False) -> NoReturn:
    """Run a program's `main` and exit: 0, or 1 with one line on standard error for an error of input or disk.

    Args:
        main: the program.
        output_is_log: its results are files. So it does not fail if only its standard output could not be written.
    """
    streams.prepare()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that `finally` tidies up
    interrupt = signal.getsignal(signal.SIGINT)
    if interrupt is signal.SIG_DFL:  # set while the program was imported: see digits/__init__.py
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        main()
        _finish(output_is_log=output_is_log)
    except InputError as error:
        sys.exit(f"ERROR: {error}")
    except OSError as error:
        line = InputError(
            str(error.filename or "the system"),
            expected="to read or write it",
            received=error.strerror or str(error),
            hint="Check the path, its permissions and the free space.",
        )
        sys.exit(f"ERROR: {line}")
    except Warning as warning:  # which Python raises only if it is asked to
        line = InputError(
            "Python", expected="warnings to be shown", received=f"the order to stop at one: {warning}", hint=WARNINGS
        )
        sys.exit(f"ERROR: {line}")
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, interrupt)
    sys.exit(0)


def _finish(*, output_is_log: bool) -> None:
    try:
        streams.finish()
    except OSError as error:
        if not output_is_log:
            raise
        sys.stderr.write(f"WARNING: {error.filename} is not whole: {error.strerror}\n")


def on_terminal() -> bool:
    """Whether a person is watching: a progress bar is for them, plain lines are for a log."""
    return sys.stdout.isatty() and not os.environ.get("CI")
