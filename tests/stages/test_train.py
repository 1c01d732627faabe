"""The stage `train`: its outputs, its refusals, and the parameters that reach the training."""

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

from dvcproof.runtime.files import file_hash, read_csv
from dvcproof.values import set_params
from stages import train as stage
from tests.support.arrays import write_prepared
from tests.support.project import AT_ROOT, Arrays, recipe_params, run
from tests.support.refusal import refusal

OUTPUTS = {"model.keras", "history.csv", "platform.json"}


@pytest.fixture
def prepared(tmp_path: Path, digits: Arrays) -> Path:
    """Return a folder with params.yaml (one epoch of a small network) and the splits of the small sample in `data`."""
    small = {"epochs": 1}
    recipe_params(tmp_path, dense=small | {"units": 16}, convnet=small | {"filters": 4})
    write_prepared(tmp_path / "data", digits)
    return tmp_path


def options(folder: Path, params: str = "params.yaml") -> list[str]:
    """Return the stage's options for the folder of `prepared`."""
    files = {"params": params, "dataset": "data/dataset.json", "data": "data", "model": "model.keras"}
    files |= {"history": "history.csv", "platform": "platform.json"}
    return [word for name, file in files.items() for word in (f"--{name}", str(folder / file))]


def stage_run(folder: Path) -> None:
    """Run the stage in this process; it must succeed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["train", *options(folder)])
        stage.main()


def outputs(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"params.yaml", "data"}


def test_it_writes_model_history_and_platform(prepared: Path) -> None:
    result = run(sys.executable, "-m", "stages.train", *options(prepared), cwd=prepared, env=AT_ROOT)
    assert (result.returncode, result.stderr) == (0, "")
    assert outputs(prepared) == OUTPUTS
    assert (prepared / "history.csv").read_text().startswith("epoch,accuracy,loss\n1,0.")
    record = json.loads((prepared / "platform.json").read_text())
    assert record["model_sha256"] == file_hash(prepared / "model.keras")
    assert {"tensorflow", "keras", "numpy", "machine", "cpu_flags"} <= set(record)
    assert record["may_differ_in_bits_because"] == []


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["| true", "> /dev/full"])
def test_a_training_outlives_whoever_reads_along(prepared: Path, ending: str) -> None:
    command = shlex.join([sys.executable, "-m", "stages.train", *options(prepared)])
    result = run("bash", "-c", f"set -o pipefail; {command} {ending}", cwd=prepared, env=AT_ROOT)
    assert result.returncode == 0, result.stderr
    assert outputs(prepared) == OUTPUTS


def change(**arrays: Any) -> Callable[[Path], object]:
    """Return a function that replaces arrays."""

    def damage(folder: Path) -> None:
        for name, array in arrays.items():
            np.save(folder / "data" / f"{name}.npy", array)

    return damage


#: Damaged inputs of the stage. tests/data/test_splits.py has further cases.
BAD_DATA: dict[str, tuple[Callable[[Path], object], str]] = {
    "no description": (lambda folder: (folder / "data" / "dataset.json").unlink(), "dataset.json: "),
    "NaN": (change(train_features=np.full((300, 784), np.nan, np.float32)), "[0, 1]"),
    "a missing class": (change(train_labels=np.zeros(300, np.uint8)), "train_labels.npy: "),
}


@pytest.mark.parametrize(("damage", "message"), BAD_DATA.values(), ids=BAD_DATA)
def test_bad_data_is_refused_in_one_line(prepared: Path, damage: Callable[[Path], object], message: str) -> None:
    damage(prepared)
    assert message in refusal(stage.main, *options(prepared))
    assert outputs(prepared) == set()


@pytest.mark.usefixtures("tensorflow")
def test_an_output_that_cannot_be_written_is_said_before_the_training(prepared: Path) -> None:
    (prepared / "history.csv").mkdir()
    with mock.patch("exactkeras.fit.fit", side_effect=AssertionError):
        assert "history.csv: expected a file" in refusal(stage.main, *options(prepared))
    assert outputs(prepared) == {"history.csv"}


@pytest.mark.slow
@pytest.mark.usefixtures("tensorflow")
@pytest.mark.parametrize("model", ["dense", "convnet"])
def test_parameters_decide_the_model(prepared: Path, model: str) -> None:
    def trained(**changes: object) -> str:
        set_params(prepared / "params.yaml", changes)
        stage_run(prepared)
        return file_hash(prepared / "model.keras")

    first = trained(**{"train.model": model})
    assert trained() == first
    assert trained(**{"train.seed": 8}) != first
    assert trained(**{"train.seed": 7, f"{model}.epochs": 2}) != first
    assert [row["epoch"] for row in read_csv(prepared / "history.csv")] == ["1", "2"]


@pytest.mark.usefixtures("tensorflow")
def test_what_the_probe_finds_is_shown_and_recorded(
    prepared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reasons = ["a product is another", "so is a step"]
    probe = mock.Mock(return_value=[*reasons])
    monkeypatch.setattr("exactkeras.probe.deviations", probe)
    monkeypatch.setattr("exactkeras.fit.fit", lambda *_, **__: {"loss": [0.5], "accuracy": [0.5]})
    stage_run(prepared)
    assert probe.call_args.args[2] == 300  # images
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"WARNING: this machine may give other bits: {reason}" for reason in reasons]
    assert json.loads((prepared / "platform.json").read_text())["may_differ_in_bits_because"] == reasons
