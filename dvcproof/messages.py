"""Word the errors that a user sees. No stage depends on this room: a stage imports it only once it has failed."""

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dvcproof.runtime.program import InputError

#: Characters of the longest part of a message: libraries can be talkative, and files hold long names.
LONGEST = 800

#: The next step where a warning has become an error.
WARNINGS = "Run `unset PYTHONWARNINGS`, or leave out `-W error`."


def problem(error: "InputError") -> str:
    """Return what is wrong, without the next step."""
    parts = (error.what, error.sentence.removesuffix("."), error.expected, error.received.removesuffix("."))
    what, sentence, expected, received = map(shortened, parts)
    if sentence:
        return f"{what}: {sentence}"
    return f"{what}: expected {expected}. Got {received}"


def line(error: "InputError") -> str:
    """Return the one line that the user reads: what is wrong, and the next step."""
    return printable(re.sub(r"\s*\n\s*", " ", f"{problem(error)}. {error.hint}"))


def system_error(error: OSError) -> "InputError":
    """Return an error of the operating system as an error of input."""
    from dvcproof.runtime.program import InputError

    return InputError(
        str(error.filename or "the system"),
        expected="to read or write it",
        received=error.strerror or str(error),
        hint="Check the path, its permissions and the free space.",
    )


def warning_error(warning: Warning) -> "InputError":
    """Return a warning that Python was asked to raise as an error of input."""
    from dvcproof.runtime.program import InputError

    received = f"the order to stop at one: {warning}"
    return InputError("Python", expected="warnings to be shown", received=received, hint=WARNINGS)


def shortened(text: str) -> str:
    """Shorten a text to at most LONGEST characters by cutting out its middle."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2 - 3]} ... {text[2 - LONGEST // 2 :]}"


def printable(text: str) -> str:
    """Escape what could control the terminal: names and messages of a foreign file may hold escape sequences."""
    return "".join(char if char.isprintable() or char == "\xa0" else ascii(char)[1:-1] for char in text)
