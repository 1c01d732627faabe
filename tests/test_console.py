"""One line for what is wrong, an exit status, and nothing left behind when a stage is stopped."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import pytest

from stages.console import InputError, on_terminal, run
from tests.conftest import ROOT, environment

#: Every refusal of a stage: what is at fault, what is allowed, what was found, the next step.
FORM = re.compile(r"ERROR: [^\s].*: expected .+\. Got .+\. [A-Z].*[.?]")


def refusal(main: Callable[[], None], *arguments: str | Path) -> str:
    """Run a stage's `main` as its command line does; it must refuse. Gives back the line that the user reads.

    `sys.exit` with a text prints it on standard error and exits with 1.
    """
    before = signal.getsignal(signal.SIGTERM)
    try:
        with mock.patch.object(sys, "argv", ["stage", *map(str, arguments)]), pytest.raises(SystemExit) as stop:
            run(main)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert isinstance(stop.value.code, str), f"exit status {stop.value.code}"
    return one_line(stop.value.code)


def one_line(text: str) -> str:
    """Check that a text is one line in the form of a refusal, and give it back."""
    assert FORM.fullmatch(text), text
    assert text.isprintable(), ascii(text)
    return text


def refused_by(result: subprocess.CompletedProcess[str]) -> str:
    """The line with which a program refused its input; any other output or exit status fails."""
    assert result.returncode == 1, result
    assert result.stdout == ""
    assert result.stderr.endswith("\n")
    return one_line(result.stderr[:-1])


@pytest.fixture(autouse=True)
def _keep_handler() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def fails(error: BaseException) -> Callable[[], None]:
    def main() -> None:
        raise error

    return main


WRONG = InputError("a.npz", expected="a .npz archive", received="nothing", hint="Save it again.")


def test_error_has_one_form() -> None:
    assert str(WRONG) == "a.npz: expected a .npz archive. Got nothing. Save it again."


@pytest.mark.parametrize(
    ("received", "shown"),
    [
        ("two\n  lines", "two lines"),
        ("a sentence.", "a sentence"),
        ("two  spaces", "two  spaces"),
        ("a colour \x1b[31m and a bell \x07", r"a colour \x1b[31m and a bell \x07"),
        ("carriage\rreturn and tab\t", r"carriage\rreturn and tab\t"),
        ("line\u2028separator", r"line\u2028separator"),
        ("undecodable \udcff", r"undecodable \udcff"),
        ("Größe", "Größe"),
    ],
)
def test_error_is_one_line_and_cannot_steer_the_terminal(received: str, shown: str) -> None:
    line = str(InputError("a", expected="b", received=received, hint="Do it."))
    assert line == f"a: expected b. Got {shown}. Do it."
    one_line(f"ERROR: {line}")


@pytest.mark.parametrize(
    "text",
    [
        "Traceback (most recent call last):\n  ...\nERROR: a: expected b. Got c. Do it.",
        "ERROR: a: expected b. Got c. Do it.\n",
        "ERROR: a: expected b. Got c.",
        "ERROR: a: expected b. Do it.",
        "a: expected b. Got c. Do it.",
    ],
)
def test_the_check_of_the_form_fails_on_other_forms(text: str) -> None:
    with pytest.raises(AssertionError, match="assert None"):
        one_line(text)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (WRONG, "ERROR: a.npz: expected a .npz archive. Got nothing. Save it again."),
        (
            PermissionError(13, "Permission denied", "/data/raw"),
            "ERROR: /data/raw: expected to read or write it. Got Permission denied. "
            "Check the path, its permissions and the free space.",
        ),
        (
            OSError("the cable is cut"),
            "ERROR: the system: expected to read or write it. Got the cable is cut. "
            "Check the path, its permissions and the free space.",
        ),
    ],
)
def test_an_error_of_input_or_disk_is_one_line(error: Exception, line: str) -> None:
    with pytest.raises(SystemExit, match=f"^{re.escape(line)}$"):
        run(fails(error))
    one_line(line)


def test_success_exits_with_0_and_an_interrupt_with_130() -> None:
    with pytest.raises(SystemExit, match=r"^0$"):
        run(lambda: None)
    with pytest.raises(SystemExit, match=r"^130$"):
        run(fails(KeyboardInterrupt()))


def test_a_defect_of_the_program_is_not_dressed_as_an_error_of_input() -> None:
    with pytest.raises(ZeroDivisionError, match="ours"):
        run(fails(ZeroDivisionError("ours")))


STOPPED = """
import sys, time
from pathlib import Path
from stages.arrays import replacing
from stages.console import run

def main():
    with replacing(Path(sys.argv[1])) as (file,):
        file.write_text("half")
        print(file, flush=True)
        time.sleep(60)

run(main)
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stage_that_is_stopped_leaves_nothing(tmp_path: Path, number: signal.Signals, status: int) -> None:
    earlier = tmp_path / "out.txt"
    earlier.write_text("earlier")
    with subprocess.Popen(
        [sys.executable, "-c", STOPPED, earlier], cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert Path(process.stdout.readline().strip()).read_text() == "half"
        process.send_signal(number)
        assert process.wait(timeout=30) == status
    assert [path.name for path in tmp_path.iterdir()] == ["out.txt"]
    assert earlier.read_text() == "earlier"


@pytest.mark.parametrize(("terminal", "ci", "expected"), [(True, "", True), (True, "true", False), (False, "", False)])
def test_progress_is_for_people(monkeypatch: pytest.MonkeyPatch, *, terminal: bool, ci: str, expected: bool) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    monkeypatch.setitem(os.environ, "CI", ci)
    assert on_terminal() is expected
