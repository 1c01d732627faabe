"""The launcher: ports, statuses, and that no worker outlives the first that fails."""

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from digits.apps import workers
from dvcproof.runtime.program import InputError
from tests.support.project import AT_ROOT, ROOT, environment, run
from tests.support.refusal import refusal

#: Says which worker it is, and ends as the word for its number says: a status, a signal's name, or 'wait' for ever.
PROGRAM = """
import json, os, signal, sys
config = json.loads(os.environ["TF_CONFIG"])
index = config["task"]["index"]
print(index, len(set(config["cluster"]["worker"])), flush=True)
word = sys.argv[1 + index]
if word == "wait":
    signal.pause()
elif word == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.pause()
elif word.isdigit():
    sys.exit(int(word))
os.kill(os.getpid(), signal.Signals[word])
"""


def launch(folder: Path, *words: str) -> tuple[int, str, str]:
    """Status, standard output and error of the launcher with a worker for each word."""
    (folder / "program.py").write_text(PROGRAM)
    command = ("-m", "digits", "workers", str(len(words)), "--", "python", "program.py", *words)
    result = run(sys.executable, *command, cwd=folder, env=AT_ROOT)
    return result.returncode, result.stdout, result.stderr


def test_all_that_succeed_are_a_success(tmp_path: Path) -> None:
    assert launch(tmp_path, "0", "0", "0") == (0, "0 3\n", "")


@pytest.mark.fast(2)
@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("wait", "3"), 3, ""),
        (("0", "wait", "2"), 2, ""),
        (("wait", "SIGKILL"), 137, "ERROR: worker 1 was ended by SIGKILL, and so the others are.\n"),
        (("SIGTERM", "wait"), 143, "ERROR: worker 0 was ended by SIGTERM, and so the others are.\n"),
        (("SIGALRM", "wait"), 142, ""),  # it has said why itself
    ],
)
def test_the_first_failure_ends_all(tmp_path: Path, words: tuple[str, ...], status: int, said: str) -> None:
    found, _, errors = launch(tmp_path, *words)
    assert (found, errors) == (status, said)


def test_a_killed_launcher_leaves_no_worker(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, "-m", "digits", "workers", "1", "--", "python", "program.py", "wait"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment(**AT_ROOT), stdout=subprocess.PIPE) as launcher:
        assert launcher.stdout is not None
        assert launcher.stdout.readline() == b"0 1\n"
        launcher.kill()
        assert launcher.stdout.read() == b""  # its end, when nobody can write any more: not the worker either


def test_a_worker_that_does_not_listen_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "GRACE", 0.1)
    (tmp_path / "program.py").write_text(PROGRAM)
    command = ["python", str(tmp_path / "program.py"), "deaf"]
    deaf = workers.start(command, ["127.0.0.1:1"], 0)
    workers.end([deaf])
    assert deaf.returncode in (-signal.SIGKILL, -signal.SIGTERM)  # the second: it had not begun yet


def test_ports_are_free_and_differ() -> None:
    addresses = workers.free_addresses(20)
    assert len(set(addresses)) == 20
    host, port = addresses[0].split(":")
    with socket.socket() as one:
        one.bind((host, int(port)))


def test_the_command_is_that_of_the_graph() -> None:
    command = workers.train_command(ROOT / "dvc.yaml")
    assert command[:5] == ["python", "-m", "dvcproof.runtime.run", "requirements.lock", "stages.train"]


@pytest.mark.parametrize(
    "text", ["", "stages: {}", "stages: {train: {cmd: [a, b]}}", "[", "stages: {train: {cmd: '\"'}}"]
)
def test_a_graph_without_it_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "dvc.yaml"
    path.write_text(text)
    with pytest.raises(
        InputError, match=r"dvc\.yaml: expected a stage 'train' with a command\. Got none .* after `--`"
    ):
        workers.train_command(path)
    path.unlink()
    with pytest.raises(InputError, match="Got no such file"):
        workers.train_command(path)


@pytest.mark.parametrize("count", ["0", "65", "-1"])
def test_another_number_of_workers_is_refused(count: str) -> None:
    assert "workers: expected from 1 to 64. Got" in refusal(workers.main, *(["--"] * count.startswith("-")), count)


def test_a_command_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    result = run(sys.executable, "-m", "digits", "workers", "2", "--", "no-such-program", cwd=tmp_path, env=AT_ROOT)
    assert result.returncode == 1
    assert result.stderr.startswith("ERROR: no-such-program: expected to read or write it. Got No such file")
    assert json.dumps(result.stdout) == '""'
