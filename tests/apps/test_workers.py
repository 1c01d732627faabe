"""The launcher of workers: ports, exit statuses, and the end of all workers when a worker fails."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from digits.apps import workers
from dvcproof.runtime.program import InputError
from tests.support.project import AT_ROOT, ROOT, environment, run
from tests.support.refusal import refusal, refused_by

#: A worker that prints its number and ends as its argument says: with a status, by a signal, or never ('wait').
PROGRAM = """
import json, os, signal, sys
config = json.loads(os.environ["TF_CONFIG"])
index = config["task"]["index"]
print(index, len(set(config["cluster"]["worker"])), flush=True)
word = sys.argv[1 + index]
if word == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if word in ("wait", "deaf"):
    signal.pause()
elif word.isdigit():
    sys.exit(int(word))
os.kill(os.getpid(), signal.Signals[word])
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    (tmp_path / "program.py").write_text(PROGRAM)
    return tmp_path / "program.py"


KILLED = "ERROR: worker {} was killed by {}; stopping the other workers.\n"


@pytest.mark.fast(3)
@pytest.mark.parametrize(
    ("words", "status", "errors"),
    [
        (("0", "0", "0"), 0, ""),
        (("0", "wait", "2"), 2, ""),
        (("wait", "SIGKILL"), 137, KILLED.format(1, "SIGKILL")),
        (("SIGTERM", "wait"), 143, KILLED.format(0, "SIGTERM")),
        (("SIGALRM", "wait"), 142, ""),  # the worker has printed the reason itself
    ],
)
def test_the_first_failure_ends_all(program: Path, words: tuple[str, ...], status: int, errors: str) -> None:
    command = ("-m", "digits", "workers", str(len(words)), "--", "python", program.name, *words)
    result = run(sys.executable, *command, cwd=program.parent, env=AT_ROOT)
    assert (result.returncode, result.stderr) == (status, errors)
    assert result.stdout == "0 3\n" or status


def test_a_killed_launcher_leaves_no_worker(program: Path) -> None:
    command = [sys.executable, "-m", "digits", "workers", "1", "--", "python", str(program), "wait"]
    with subprocess.Popen(command, cwd=program.parent, env=environment(**AT_ROOT), stdout=subprocess.PIPE) as launcher:
        assert launcher.stdout is not None
        assert launcher.stdout.readline() == b"0 1\n"
        launcher.kill()
        assert launcher.stdout.read() == b""  # ends only when the worker has ended too


def test_a_worker_that_ignores_sigterm_is_killed(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "GRACE", 0.1)
    deaf = workers.start(["python", str(program), "deaf"], ["127.0.0.1:1"], 0)
    workers.end([deaf])
    assert deaf.returncode in (-signal.SIGKILL, -signal.SIGTERM)  # SIGTERM if the program had not begun yet


def test_the_command_is_that_of_the_graph(tmp_path: Path) -> None:
    command = workers.train_command(ROOT / "dvc.yaml")
    assert command[:5] == ["python", "-m", "dvcproof.runtime.run", "requirements.lock", "stages.train"]
    for text in ("", "stages: {train: {cmd: [a, b]}}", "["):
        (tmp_path / "dvc.yaml").write_text(text)
        with pytest.raises(InputError, match=r"dvc\.yaml: the content is not valid .* after `--`"):
            workers.train_command(tmp_path / "dvc.yaml")


def test_what_cannot_be_started_is_one_line(tmp_path: Path) -> None:
    for count in ("0", "65"):
        assert "workers: expected from 1 to 64. Got" in refusal(workers.main, count)
    result = run(sys.executable, "-m", "digits", "workers", "2", "--", "no-such-program", cwd=tmp_path, env=AT_ROOT)
    assert refused_by(result).startswith("ERROR: no-such-program: ")
