"""Training on several workers or devices gives the bytes of one process; and the loss of a worker is an error."""

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from digits.apps.workers import free_addresses
from dvcproof.runtime.program import InputError
from tests.support import several
from tests.support.project import AT_ROOT, run, run_ok

PROGRAM = (sys.executable, "-m", "tests.support.several")


@pytest.fixture(scope="module")
def alone(tensorflow: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:  # noqa: ARG001 (it sets it up)
    """Return the results of one process for both networks."""
    folder = tmp_path_factory.mktemp("alone")
    return {name: several.train(name, folder) for name in several.NETWORKS}


def network_of_its_own() -> list[str]:
    """Return a prefix that runs a program with no network but a loopback interface, where that is allowed.

    TensorFlow's server listens on every interface.
    """
    inside = ["unshare", "-rn", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    try:
        return inside if subprocess.run([*inside, "true"], capture_output=True, check=False).returncode == 0 else []
    except FileNotFoundError:
        return []


@pytest.mark.slow
def test_workers_give_the_bytes_of_one_process(alone: dict[str, bytes], tmp_path: Path) -> None:
    count = 3  # of four shards, so that one worker has two
    launcher = [sys.executable, "-m", "digits", "workers", str(count), "--", "python", *PROGRAM[1:]]
    run_ok(*network_of_its_own(), *launcher, str(tmp_path), *alone, cwd=tmp_path, env=AT_ROOT)
    for name, expected in alone.items():
        assert (tmp_path / "0" / f"{name}.trained").read_bytes() == expected
        for index in range(1, count):
            assert expected.startswith((tmp_path / f"{index}" / f"{name}.keras").read_bytes())


def test_so_do_devices_but_not_in_another_order(alone: dict[str, bytes], tmp_path: Path) -> None:
    run_ok(*PROGRAM, str(tmp_path), "--devices", "3", cwd=tmp_path, env=AT_ROOT)
    assert (tmp_path / "dense.trained").read_bytes() == alone["dense"]
    arrival = (tmp_path / "arrival" / "dense.trained").read_bytes()
    assert arrival != alone["dense"]
    assert arrival.startswith(alone["dense"][:8])  # it is a trained model too


def error_of(index: int, addresses: list[str], deadline: int, folder: Path, prefix: list[str]) -> str:
    """Run one of two workers without the other, and return its error line."""
    config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
    command = (*prefix, *PROGRAM, str(folder), "dense", "--deadline", str(deadline))
    result = run(*command, cwd=folder, env={**AT_ROOT, "TF_CONFIG": json.dumps(config)})
    assert result.returncode
    assert "Traceback" not in result.stderr
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("ERROR")]
    return line


@pytest.mark.slow
def test_an_absent_worker_is_missed_in_one_line(tmp_path: Path) -> None:
    absent, present = free_addresses(2)
    line = error_of(1, [absent, present], 3, tmp_path, network_of_its_own())
    assert f"worker 1 of 2 ({present}): not all workers started within 3 s. Start each of " in line


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    """This test uses the machine's network: in a separate one, no other program could use the port."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        own = f"127.0.0.1:{taken.getsockname()[1]}"
        line = error_of(0, [own, *free_addresses(1)], 30, tmp_path, [])
    assert f"worker 0 of 2 ({own}): another program uses this port. Give this worker another port" in line


@pytest.fixture
def gathered(tensorflow: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], Any]:
    """Return three replicas, the last of which has what a function makes of one's own value."""
    from exactkeras.replicas import Replicas

    def make(other: Callable[[Any], Any]) -> Replicas:
        replicas = Replicas(tensorflow.distribute.get_strategy())
        replicas.count = 3
        monkeypatch.setattr(replicas, "gather", lambda value: np.stack([value, value, other(value)]))
        return replicas

    return make


@pytest.mark.parametrize("kind", ["parameters", "code", "data"])
def test_workers_that_disagree_refuse(gathered: Any, kind: str) -> None:
    from exactkeras.checkpoint import Fingerprint

    ours = Fingerprint("0" * 64, "1" * 64, "2" * 64)
    theirs = np.frombuffer(bytes.fromhex("".join(ours._replace(**{kind: "3" * 64}))), np.int32)
    gathered(lambda value: value).require_same(ours)
    with pytest.raises(InputError, match=rf"3 workers: worker 2 has other {kind} than worker 0\. Use the same commit"):
        gathered(lambda _: theirs).require_same(ours)


def test_a_worker_that_deviates_is_named(gathered: Any) -> None:
    assert gathered(lambda _: 1).deviating([]) == ["worker 2 reports deviations"]
    assert gathered(lambda _: 0).deviating([]) == []
