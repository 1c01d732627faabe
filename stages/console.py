"""What a stage says to the person who runs it: one line for an error, progress only on a terminal."""

import os
import sys
from collections.abc import Callable
from typing import NoReturn


class InputError(Exception):
    """Something given from outside is wrong. Its text is the one line that the user reads.

    Args:
        what: the thing at fault, by the name that the user knows (a path, a parameter).
        expected: what is allowed.
        received: what was found.
        hint: the next step.
    """

    def __init__(self, what: str, *, expected: str, received: str, hint: str) -> None:
        line = f"{what}: expected {expected}. Got {received}. {hint}"
        super().__init__(" ".join(line.split()))


def run(main: Callable[[], None]) -> NoReturn:
    """Run a stage's `main` and exit: 0, or 1 with one line on standard error for an error of input or disk."""
    try:
        main()
    except InputError as error:
        sys.exit(f"ERROR: {error}")
    except OSError as error:
        where = error.filename or "the system"
        sys.exit(f"ERROR: {where}: expected it to be readable and writable. Got {error.strerror or error}.")
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0)


def on_terminal() -> bool:
    """Whether a person is watching: a progress bar is for them, plain lines are for a log."""
    return sys.stdout.isatty() and not os.environ.get("CI")
