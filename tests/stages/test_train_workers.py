"""The stage `train` on several workers, and after a kill: one result, of one process that nothing has disturbed."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from digits.apps.workers import free_addresses
from dvcproof.values import set_params
from stages import train as stage
from tests.support.arrays import snapshot, write_prepared
from tests.support.project import AT_ROOT, Arrays, environment, recipe_params, run
from tests.support.refusal import one_line, refusal

#: So many that a training can be ended before its last one.
EPOCHS = 30

#: Seconds in which a worker must have noticed that another one has ended, or does not move: 15, and some for a busy
#: machine.
NOTICED = 25

OUTPUTS = ("model.keras", "history.csv", "platform.json")
CHECKPOINT = ".model.keras.checkpoint"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, digits: Arrays) -> Path:
    """A folder with params.yaml and the splits of the small sample in `data`. To be copied."""
    folder = tmp_path_factory.mktemp("prepared")
    recipe_params(folder, train={"shards": 4}, dense={"epochs": EPOCHS, "units": 16})
    write_prepared(folder / "data", digits)
    return folder


@pytest.fixture
def project(prepared: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(prepared, tmp_path / "project"))


@pytest.fixture(scope="module")
def undisturbed(tensorflow: Any, prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:  # noqa: ARG001
    """Model and history of one process that was never killed."""
    folder = Path(shutil.copytree(prepared, tmp_path_factory.mktemp("undisturbed") / "project"))
    with mock.patch.object(sys, "argv", ["train", *options(folder)]):
        stage.main()
    return results(folder)


def options(folder: Path, params: str = "params.yaml") -> list[str]:
    files = {"params": params, "dataset": "data/dataset.json", "data": "data"}
    files |= dict(zip(("model", "history", "platform"), OUTPUTS, strict=True))
    return [word for name, file in files.items() for word in (f"--{name}", str(folder / file))]


def command(folder: Path, params: str = "params.yaml") -> list[str]:
    return [sys.executable, "-m", "stages.train", *options(folder, params)]


def results(folder: Path) -> dict[str, bytes]:
    """Model and history: what does not depend on the machine."""
    return {name: (folder / name).read_bytes() for name in OUTPUTS[:2]}


@contextmanager
def started(folder: Path, count: int, params: Mapping[int, str] | None = None) -> Iterator[list[subprocess.Popen[str]]]:
    """The stage on so many workers, or as one process without TF_CONFIG. All are gone after the block."""
    addresses = free_addresses(count)
    with ExitStack() as ended:
        workers = []
        for index in range(count):
            config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
            extra = {"TF_CONFIG": json.dumps(config)} if count > 1 else {}
            words = command(folder, (params or {}).get(index, "params.yaml"))
            worker = subprocess.Popen(
                words,
                cwd=folder,
                env=environment(**AT_ROOT, **extra, PYTHONUNBUFFERED="1"),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            ended.callback(worker.communicate)
            ended.callback(worker.kill)
            workers.append(worker)
        yield workers


def wait_for_epoch(worker: subprocess.Popen[str], number: int) -> None:
    """Read what a worker prints until it begins an epoch: the one before has its checkpoint then."""
    assert worker.stdout is not None
    for line in worker.stdout:
        if line.startswith(f"Epoch {number}/"):
            return
    pytest.fail(f"no epoch {number}: {worker.communicate()}")


def last_words(worker: subprocess.Popen[str], within: float) -> str:
    """The one line of a worker that fails within so many seconds."""
    assert worker.stderr is not None
    assert worker.wait(within) == 1
    return one_line(worker.stderr.read().removesuffix("\n"))


@pytest.mark.slow
def test_a_killed_training_goes_on_however_it_runs(project: Path, undisturbed: dict[str, bytes]) -> None:
    with started(project, 1) as (alone,):
        wait_for_epoch(alone, 3)
        alone.kill()
    with started(project, 2) as workers:
        wait_for_epoch(workers[0], 6)  # the first that it begins is no less than 3
        workers[1].kill()
        line = last_words(workers[0], NOTICED)
    assert re.search(r"worker 0 of 2 \(.*\): expected the other workers until the end\. Got the loss of one \(", line)
    assert {*snapshot(project)} == {"params.yaml", CHECKPOINT}
    result = run(*command(project), cwd=project, env=AT_ROOT)
    assert (result.returncode, result.stderr) == (0, "")
    said = re.search(rf"{CHECKPOINT}: the training goes on after epoch (\d+)\n", result.stdout)
    assert said, result.stdout
    assert 5 <= int(said[1]) < EPOCHS
    assert results(project) == undisturbed
    assert {*snapshot(project)} == {"params.yaml", *OUTPUTS}


@pytest.mark.slow
def test_a_worker_that_does_not_move_ends_the_other(project: Path) -> None:
    with started(project, 2) as workers:
        wait_for_epoch(workers[0], 2)
        workers[1].send_signal(signal.SIGSTOP)
        assert "Got the loss of one" in last_words(workers[0], NOTICED)


@pytest.mark.slow
def test_signals_are_obeyed_at_once(project: Path) -> None:
    with started(project, 2) as workers:
        wait_for_epoch(workers[0], 2)
        workers[1].send_signal(signal.SIGSTOP)  # so the other one waits for it, in C++
        workers[0].send_signal(signal.SIGINT)
        assert workers[0].wait(NOTICED) == -signal.SIGINT
        workers[1].send_signal(signal.SIGTERM)
        workers[1].send_signal(signal.SIGCONT)
        assert workers[1].wait(NOTICED) == -signal.SIGTERM
        assert [worker.communicate()[1] for worker in workers] == ["", ""]


@pytest.mark.slow
def test_workers_with_other_parameters_refuse(project: Path) -> None:
    shutil.copy(project / "params.yaml", project / "other.yaml")
    set_params(project / "other.yaml", {"train.seed": 1})
    with started(project, 2, params={1: "other.yaml"}) as workers:
        lines = [last_words(worker, within=600) for worker in workers]
    assert any("Got other parameters on worker 1 than on worker 0. Check out the same commit" in line for line in lines)
    assert {*snapshot(project)} == {"params.yaml", "other.yaml"}


def test_more_workers_than_parts_are_refused(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = {"cluster": {"worker": free_addresses(5)}, "task": {"type": "worker", "index": 4}}
    monkeypatch.setitem(os.environ, "TF_CONFIG", json.dumps(config))
    line = refusal(stage.main, *options(project))
    assert "5 workers: expected at most 4, one for each part of a batch" in line
    assert {*snapshot(project)} == {"params.yaml"}
