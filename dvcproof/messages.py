"""Write the error messages that a user sees. A stage imports this module only after it has failed."""

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dvcproof.runtime.program import InputError

#: Most characters of one part of a message. Errors of libraries and names in files can be long.
LONGEST = 800


def problem(error: "InputError") -> str:
    """Return the message of an error without the next step."""
    parts = (error.what, error.sentence.removesuffix("."), error.expected, error.received.removesuffix("."))
    what, sentence, expected, received = map(shortened, parts)
    return f"{what}: {sentence or f'expected {expected}. Got {received}'}"


def line(error: "InputError") -> str:
    """Return the message of an error with the next step, as one line."""
    return printable(re.sub(r"\s*\n\s*", " ", f"{problem(error)}. {error.hint}"))


def system_error(error: OSError) -> "InputError":
    """Return an InputError for an error of the operating system."""
    from dvcproof.runtime.program import InputError

    hint = "Check the path, its permissions and the free space."
    sentence = f"it cannot be read or written: {error.strerror or error}"
    return InputError(str(error.filename or "the system"), sentence, hint=hint)


def warning_error(warning: Warning) -> "InputError":
    """Return an InputError for a warning that Python raised as an error (`-W error`)."""
    from dvcproof.runtime.program import InputError

    hint = "Run `unset PYTHONWARNINGS`, or leave out `-W error`."
    return InputError("Python", f"a warning was raised as an error: {warning}", hint=hint)


def shortened(text: str) -> str:
    """Shorten a text to at most LONGEST characters by cutting out its middle."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2 - 3]} ... {text[2 - LONGEST // 2 :]}"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: '1 object', '2 objects'."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def printable(text: str) -> str:
    """Escape characters that could control the terminal. Names in foreign files may contain such characters."""
    return "".join(char if char.isprintable() or char == "\xa0" else ascii(char)[1:-1] for char in text)
