"""Check refusals: one line, in one form, and exit status 1."""

import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest

from dvcproof.runtime.program import run

#: `THING: sentence. Next step.`
FORM = re.compile(r"ERROR: [^\s].*: .+\. [A-Z].*[.?]")


def refusal(main: Callable[[], None], *arguments: str | Path) -> str:
    """Run a program's `main` as its command line does, check that it refuses, and return the line that the user reads.

    `sys.exit` with a text prints the text on standard error and exits with 1.
    """
    before = signal.getsignal(signal.SIGTERM)
    try:
        with mock.patch.object(sys, "argv", ["program", *map(str, arguments)]), pytest.raises(SystemExit) as stop:
            run(main)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert isinstance(stop.value.code, str), f"exit status {stop.value.code}"
    return one_line(stop.value.code)


def one_line(text: str) -> str:
    """Check that a text is one line in the form of a refusal, and return the line."""
    assert FORM.fullmatch(text), text
    assert text.isprintable(), ascii(text)
    return text


def refused_by(result: subprocess.CompletedProcess[str]) -> str:
    """Check that a program refused its input without other output, and return the line."""
    assert result.returncode == 1, result
    assert result.stdout == ""
    assert result.stderr.endswith("\n")
    return one_line(result.stderr[:-1])
