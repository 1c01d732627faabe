"""Output cannot break a program's work: any letters, readers who leave, closed streams, full disks."""

import shlex
import subprocess
import sys
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.support.project import ROOT, environment

#: A program that writes a file, and prints more than a pipe holds. A second argument sets `output_is_log`.
PROGRAM = """
import sys
from pathlib import Path
from dvcproof.runtime.program import run

def main():
    for number in range(20000):
        print("số", number)
    sys.stderr.write("lỗi\\n")
    Path(sys.argv[1]).write_text("done")

run(main, output_is_log=len(sys.argv) > 2)
"""

#: The same without this project's `run`.
PLAIN = PROGRAM.partition("run(main, ")[0] + "main()\n"


def shell(form: str, work: Path, *arguments: str, program: str = PROGRAM, **variables: str) -> CompletedProcess[str]:
    """Run a program in a line of the shell, in which PROGRAM stands for it; the status is that of the program."""
    source = work.with_suffix(".py")
    source.write_text(program, encoding="utf-8")
    command = shlex.join([sys.executable, str(source), str(work), *arguments])
    line = "set -o pipefail; " + form.replace("PROGRAM", command)
    env = environment(PYTHONPATH=str(ROOT), **variables)
    return subprocess.run(
        ["bash", "-c", line], cwd=work.parent, env=env, capture_output=True, encoding="utf-8", check=False
    )


ASCII = [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}]


@pytest.mark.parametrize("variables", ASCII)
def test_a_stream_without_the_letter_gets_an_escape(tmp_path: Path, variables: dict[str, str]) -> None:
    result = shell("PROGRAM", tmp_path / "work", **variables)
    assert (result.returncode, result.stderr) == (0, "l\\u1ed7i\n")
    assert result.stdout.startswith("s\\u1ed1 0\n")
    assert (tmp_path / "work").exists()


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("form", ["PROGRAM | head -1", "PROGRAM 2>&1 | head -1", "PROGRAM >&-", "PROGRAM >&- 2>&-"])
def test_a_reader_who_leaves_stops_nothing(tmp_path: Path, form: str, unbuffered: str) -> None:
    result = shell(form, tmp_path / "work", PYTHONUNBUFFERED=unbuffered)
    assert result.returncode == 0, result
    assert result.stderr.replace("lỗi\n", "") == ""
    assert (tmp_path / "work").exists()


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_fails_what_only_prints(tmp_path: Path, unbuffered: str) -> None:
    result = shell("PROGRAM > /dev/full", tmp_path / "work", PYTHONUNBUFFERED=unbuffered)
    assert result.returncode == 1
    assert "ERROR: standard output: it cannot be read or written: No space left on device." in result.stderr
    assert (tmp_path / "work").exists()


def test_a_full_disk_warns_what_writes_files(tmp_path: Path) -> None:
    result = shell("PROGRAM > /dev/full", tmp_path / "work", "log")
    assert result.returncode == 0
    assert result.stderr == "lỗi\nWARNING: standard output is incomplete: No space left on device\n"


@pytest.mark.parametrize(
    ("form", "variables"),
    [("PROGRAM", ASCII[0]), ("PROGRAM | head -1", {}), ("PROGRAM >&-", {}), ("PROGRAM > /dev/full", {})],
)
def test_a_plain_program_fails_at_each(tmp_path: Path, form: str, variables: dict[str, str]) -> None:
    """The negative control. A closed output is no case: there `print` is silent, and only `sys.stdout.write` fails."""
    program = PLAIN.replace('print("số", number)', 'sys.stdout.write(f"số {number}\\n")')
    result = shell(form, tmp_path / "work", program=program, **variables)
    assert result.returncode != 0
    assert "Traceback" in result.stderr
    assert not (tmp_path / "work").exists()


def test_a_file_never_gets_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    """Otherwise the output of a C library would be written into the file."""
    program = """
import os, sys
from pathlib import Path
from dvcproof.runtime.program import run

def main():
    with Path(sys.argv[1]).open("w") as file:
        os.write(1, b"printed by a library")
        file.write("work")

run(main)
"""
    result = shell("PROGRAM <&- >&- 2>&-", tmp_path / "work", program=program)
    assert result.returncode == 0
    assert (tmp_path / "work").read_text() == "work"


#: All programs but those of bench/, some of which only other programs start.
PROGRAMS = [path for folder in ("stages", "digits", "dvcproof") for path in (ROOT / folder).rglob("*.py")]


def test_every_program_is_run_by_the_one_function() -> None:
    """Only `run` handles the streams."""
    programs = {path: text for path in PROGRAMS if 'if __name__ == "__main__":' in (text := path.read_text("utf-8"))}
    assert len(programs) > 6
    for name in ("digits/environment.py", "dvcproof/watcher.py"):  # before anything is installed; as a shell
        del programs[ROOT / name]
    for path, text in programs.items():
        assert "    run(main" in text.partition('if __name__ == "__main__":')[2], path
    assert "run(main, output_is_log=True)" in programs[ROOT / "stages" / "train.py"]  # a training is not lost
