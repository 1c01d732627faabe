"""The studies of the convnet: against Keras's example, resumed when interrupted, and on another kind of machine."""

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench import convnet, whole
from bench.convnet import EXAMPLE, LONG, Training, run_contestant, trainings_of
from bench.measure import this_machine
from bench.points import Finished
from bench.study import Trained, valid_for
from dvcproof.runtime.program import InputError
from dvcproof.values import set_params
from tests.support.project import Arrays, make_project, recipe_params, run_ok
from tests.support.results import MACHINE


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working directory, with the parameters of the tests."""
    recipe_params(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("tensorflow")
def test_the_example_is_the_published_network() -> None:
    from bench.example_convnet import build_model

    assert build_model().count_params() == 34_826  # the number in Keras's page


def studied(
    monkeypatch: pytest.MonkeyPatch, out: Path, rate: float = 0.5, epochs: int = 90, most: int = 1000
) -> tuple[list[tuple[str, int]], dict[str, Any]]:
    """Study made-up contestants, and interrupt the study after `most` runs. Return the runs and the result."""
    calls: list[tuple[str, int]] = []

    def made_up(name: str, values: object, views: int | None, seed: int, *_: Path) -> dict[str, Any]:
        assert (values is None) == (name == EXAMPLE)
        if len(calls) == most:
            time.sleep(0.3)  # until the earlier runs are written
            raise KeyboardInterrupt
        calls.append((name, seed))
        run = {"seed": seed, "seconds": 30.5}
        return {name: run, f"{name}x{views}": run} if views else {name: run}

    monkeypatch.setattr(convnet, "run_contestant", made_up)
    long = Training(3, {"convnet.epochs": epochs}, 11)
    trainings = {EXAMPLE: Training(2), "7": Training(2, {"convnet.epochs": 7}), LONG: long}
    found: dict[str, Any] = {}
    with contextlib.suppress(KeyboardInterrupt):
        found = convnet.study(trainings, Path("data"), Finished(out, {"rates": (1e-9, rate)}))
    return calls, found


ORDER = [(EXAMPLE, 0), ("7", 0), (LONG, 0), (EXAMPLE, 1), ("7", 1), (LONG, 1), (LONG, 2)]


def test_contestants_are_interleaved_and_a_study_resumes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before, _ = studied(monkeypatch, tmp_path / "out.json", most=5)
    after, found = studied(monkeypatch, tmp_path / "out.json")
    assert (before, after) == (ORDER[:5], ORDER[5:])
    runs = [{"seed": seed, "seconds": 30.5} for seed in range(3)]
    assert found == {EXAMPLE: runs[:2], "7": runs[:2], LONG: runs, "longx11": runs}


def test_a_study_does_not_take_the_runs_of_another(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    studied(monkeypatch, tmp_path / "out.json")
    assert studied(monkeypatch, tmp_path / "out.json")[0] == []
    assert studied(monkeypatch, tmp_path / "out.json", epochs=80)[0] == [(LONG, seed) for seed in range(3)]
    assert studied(monkeypatch, tmp_path / "out.json", rate=0.6)[0] == ORDER


def test_the_epochs_of_the_parameters_are_always_tried(folder: Path) -> None:
    assert list(trainings_of(2, [9, 2], 2, {})) == [EXAMPLE, "2", "7", "9"]
    set_params(folder / "params.yaml", {"convnet.epochs": 5})
    found = trainings_of(2, [9, 2], 3, {"convnet.epochs": 20, "evaluate.views": 11})
    assert list(found) == [EXAMPLE, "2", "5", "9", LONG]
    assert found[LONG] == (3, {"convnet.epochs": 20}, 11)


@pytest.mark.slow
def test_it_scores_as_the_pipeline_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, digits: Arrays) -> None:
    project = make_project(tmp_path / "project", digits)
    set_params(project / "params.yaml", {"train.model": "convnet", "convnet.epochs": 2, "train.seed": 3})
    run_ok("dvc", "repro", cwd=project)
    scores = json.loads((project / "metrics" / "scores.json").read_text(encoding="utf-8"))
    run_ok("git", "checkout", "params.yaml", cwd=project)
    set_params(project / "params.yaml", {"evaluate.views": 3})  # no parameter of this study
    monkeypatch.chdir(project)
    found = run_contestant("2", {"convnet.epochs": 2}, 5, 3, Path("data"))
    assert list(found) == ["2", "2x5"]
    assert found["2"]["test_accuracy"] == scores["test"]["accuracy"] != found["2x5"]["test_accuracy"]
    assert all(run["seed"] == 3 and 1 < run["seconds"] < 600 for run in found.values())


@pytest.fixture
def again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a study of the convnet for `whole.main`, with made-up models, and return the path of the result."""

    @contextlib.contextmanager
    def trained(values: dict[str, Any], what: str, data: Path) -> Iterator[Trained]:
        assert set(values) == {"train.model", "train.seed", "evaluate.views"}
        (folder / "model.keras").write_text(f"model {values['train.seed']}")
        yield Trained(folder, 30.5, data, what)

    def scores(network: Trained) -> dict[str, Any]:
        return {"test": {"accuracy": 0.99 + int(network.what[-1]) / 100}}

    monkeypatch.setattr(whole, "trained", trained)
    monkeypatch.setattr(Trained, "scores", scores)
    monkeypatch.setattr("bench.study.data_hashes", dict)
    runs = [{"seed": seed, "test_accuracy": 0.99 + seed / 100} for seed in range(3)]
    study = {"machine": MACHINE, "contestants": {"7": {"runs": runs}}}
    (folder / "convnet.json").write_text(json.dumps(study | valid_for("convnet", scored=False)))
    words = ("--study", "convnet.json", "--seeds", "2", "--data", "data", "--out", "whole.json")
    monkeypatch.setattr(sys, "argv", ["whole", *words])
    return folder / "whole.json"


def machines(path: Path) -> list[dict[str, Any]]:
    return list(json.loads(path.read_text())["machines"])


def replace(path: Path, old: str, new: str) -> None:
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def test_a_kind_of_machine_is_added_to_the_others(again: Path) -> None:
    whole.main()
    (only,) = machines(again)
    assert only["machine"] == this_machine()
    assert [(run["seed"], run["test_accuracy"]) for run in only["runs"]] == [(0, 0.99), (1, 1.0)]
    replace(again, only["runs"][0]["sha256"], "0" * 64)
    whole.main()  # this machine's earlier runs go
    assert machines(again) == [only]
    replace(again, this_machine()["kind"], "another-kind")
    whole.main()
    assert [one["runs"] for one in machines(again)] == [only["runs"]] * 2
    replace(again, '"shift": 1.0', '"shift": 2.0')  # a result for other parameters
    whole.main()
    assert machines(again) == [only]


def test_other_bytes_on_another_kind_are_refused_and_nothing_is_written(again: Path) -> None:
    whole.main()
    replace(again, this_machine()["kind"], "another-kind")
    replace(again, machines(again)[0]["runs"][0]["sha256"], "0" * 64)
    before = again.read_bytes()
    with pytest.raises(InputError, match=r"SHA-256 of the model with seed 0: expected 0000.*, as on another-kind"):
        whole.main()
    assert again.read_bytes() == before


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"test_accuracy": 1.0', '"test_accuracy": 0.5', r"with seed 1: expected 0\.5, as on test-1-2-cores\. Got 1"),
        ('"shift": 1.0', '"shift": 2.0', r"made with other parameters or data\. Run `make study NAME=convnet` first"),
    ],
)
def test_another_study_is_refused(again: Path, old: str, new: str, message: str) -> None:
    replace(again.with_name("convnet.json"), old, new)
    with pytest.raises(InputError, match=message):
        whole.main()
