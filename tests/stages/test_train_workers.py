"""The stage `train` on several workers, and after a kill, gives the results of one undisturbed process."""

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
from tests.stages.test_train import options
from tests.support.arrays import snapshot, write_prepared
from tests.support.project import AT_ROOT, Arrays, environment, recipe_params, run
from tests.support.refusal import one_line, refusal

#: Enough epochs to end a training before its last epoch.
EPOCHS = 30

#: Seconds within which a worker must notice that another worker has ended or hangs: 15, and some for a busy machine.
NOTICED = 25

OUTPUTS = ("model.keras", "history.csv", "platform.json")
CHECKPOINT = ".model.keras.checkpoint"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, digits: Arrays) -> Path:
    """Return a folder with params.yaml and the splits of the small sample in `data`. Copy it, do not change it."""
    folder = tmp_path_factory.mktemp("prepared")
    recipe_params(folder, train={"shards": 4}, dense={"epochs": EPOCHS, "units": 16})
    write_prepared(folder / "data", digits)
    return folder


@pytest.fixture
def project(prepared: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(prepared, tmp_path / "project"))


@pytest.fixture(scope="module")
def undisturbed(tensorflow: Any, prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:  # noqa: ARG001
    """Return model and history of one process that was never killed."""
    folder = Path(shutil.copytree(prepared, tmp_path_factory.mktemp("undisturbed") / "project"))
    with mock.patch.object(sys, "argv", ["train", *options(folder)]):
        stage.main()
    return results(folder)


def command(folder: Path, params: str = "params.yaml") -> list[str]:
    return [sys.executable, "-m", "stages.train", *options(folder, params)]


def results(folder: Path) -> dict[str, bytes]:
    """Return the outputs that do not depend on the machine."""
    return {name: (folder / name).read_bytes() for name in OUTPUTS[:2]}


@contextmanager
def started(folder: Path, count: int, params: Mapping[int, str] | None = None) -> Iterator[list[subprocess.Popen[str]]]:
    """Start the stage on `count` workers, or as one process without TF_CONFIG. Kill all after the block."""
    addresses = free_addresses(count)
    with ExitStack() as ended:
        workers = []
        for index in range(count):
            config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
            extra = {"TF_CONFIG": json.dumps(config)} if count > 1 else {}
            words = command(folder, (params or {}).get(index, "params.yaml"))
            pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
            variables = environment(**AT_ROOT, **extra, PYTHONUNBUFFERED="1")
            worker = subprocess.Popen(words, cwd=folder, env=variables, **pipes)
            ended.callback(worker.communicate)
            ended.callback(worker.kill)
            workers.append(worker)
        yield workers


def wait_for_epoch(worker: subprocess.Popen[str], number: int) -> None:
    """Read the output of a worker until it begins an epoch: the epoch before then has its checkpoint."""
    assert worker.stdout is not None
    for line in worker.stdout:
        if line.startswith(f"Epoch {number}/"):
            return
    pytest.fail(f"no epoch {number}: {worker.communicate()}")


def last_words(worker: subprocess.Popen[str], within: float) -> str:
    """Return the error line of a worker, which must fail within so many seconds."""
    assert worker.stderr is not None
    assert worker.wait(within) == 1
    return one_line(worker.stderr.read().removesuffix("\n"))


@pytest.mark.slow
def test_a_killed_training_continues_however_it_runs(project: Path, undisturbed: dict[str, bytes]) -> None:
    with started(project, 1) as (alone,):
        wait_for_epoch(alone, 3)
        alone.kill()
    with started(project, 2) as workers:
        wait_for_epoch(workers[0], 6)  # the first epoch after resuming is at least 3
        workers[1].kill()
        line = last_words(workers[0], NOTICED)
    assert re.search(r"worker 0 of 2 \(.*\): another worker was lost \(", line)
    assert {*snapshot(project)} == {"params.yaml", CHECKPOINT}
    result = run(*command(project), cwd=project, env=AT_ROOT)
    assert (result.returncode, result.stderr) == (0, "")
    said = re.search(rf"{CHECKPOINT}: continuing the training after epoch (\d+)\n", result.stdout)
    assert said, result.stdout
    assert 5 <= int(said[1]) < EPOCHS
    assert results(project) == undisturbed
    assert {*snapshot(project)} == {"params.yaml", *OUTPUTS}


@pytest.mark.slow
def test_signals_are_obeyed_at_once(project: Path) -> None:
    with started(project, 2) as workers:
        wait_for_epoch(workers[0], 2)
        workers[1].send_signal(signal.SIGSTOP)  # so the other worker waits for this one, in C++
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
    assert any("2 workers: worker 1 has other parameters than worker 0. Use the same commit" in line for line in lines)
    assert {*snapshot(project)} == {"params.yaml", "other.yaml"}


def test_more_workers_than_parts_are_refused(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = {"cluster": {"worker": free_addresses(5)}, "task": {"type": "worker", "index": 4}}
    monkeypatch.setitem(os.environ, "TF_CONFIG", json.dumps(config))
    line = refusal(stage.main, *options(project))
    assert "number of workers: expected at most 4, one for each of the shards" in line
    assert {*snapshot(project)} == {"params.yaml"}
