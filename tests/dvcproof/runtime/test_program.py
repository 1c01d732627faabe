"""Errors in one line, exit statuses, and no left-over files when a stage is stopped."""

import re
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dvcproof.runtime.program import InputError, run
from tests.support.project import ROOT, start
from tests.support.project import run as program
from tests.support.refusal import one_line, refused_by


@pytest.fixture(autouse=True)
def _keep_handler() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def fails(error: BaseException) -> Callable[[], None]:
    def main() -> None:
        raise error

    return main


CHECK = "Check the path, its permissions and the free space."
WRONG = InputError("a.npz", expected="a .npz archive", received="nothing", hint="Save it again.")


@pytest.mark.parametrize(
    ("received", "shown"),
    [
        ("two\n  lines, two  spaces.", "two lines, two  spaces"),
        ("a colour \x1b[31m and a bell \x07", r"a colour \x1b[31m and a bell \x07"),
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
    ("error", "line"),
    [
        (WRONG, "ERROR: a.npz: expected a .npz archive. Got nothing. Save it again."),
        (PermissionError(13, "denied", "/raw"), f"ERROR: /raw: it cannot be read or written: denied. {CHECK}"),
        (OSError("no cable"), f"ERROR: the system: it cannot be read or written: no cable. {CHECK}"),
    ],
)
def test_an_error_of_input_or_disk_is_one_line(error: Exception, line: str) -> None:
    with pytest.raises(SystemExit, match=f"^{re.escape(line)}$"):
        run(fails(error))
    one_line(line)


def test_a_defect_of_the_program_is_no_error_of_input() -> None:
    with pytest.raises(ZeroDivisionError, match="ours"):
        run(fails(ZeroDivisionError("ours")))


STOPPED = """
import sys, time
from pathlib import Path
from dvcproof.runtime.files import replacing
from dvcproof.runtime.program import run

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
    with start(sys.executable, "-c", STOPPED, str(earlier), cwd=ROOT) as process:
        assert process.stdout is not None
        assert Path(process.stdout.readline().strip()).read_text() == "half"
        process.send_signal(number)
        assert process.wait(timeout=30) == status
    assert [path.name for path in tmp_path.iterdir()] == ["out.txt"]
    assert earlier.read_text() == "earlier"


def test_a_warning_that_has_become_an_error_is_named() -> None:
    warn = "run(lambda: warnings.warn('too\\nold', DeprecationWarning))"
    code = f"import warnings\nfrom dvcproof.runtime.program import run\n{warn}"
    result = program(sys.executable, "-c", code, cwd=ROOT, env={"PYTHONWARNINGS": "error"})
    assert refused_by(result) == (
        "ERROR: Python: a warning was raised as an error: too old. Run `unset PYTHONWARNINGS`, or leave out `-W error`."
    )
    assert program(sys.executable, "-c", code, cwd=ROOT, env={"PYTHONWARNINGS": "default"}).returncode == 0
