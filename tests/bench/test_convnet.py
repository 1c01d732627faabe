"""The studies of the convnet: beside Keras's example, resumed when they were ended, and on another kind of machine."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from bench import convnet, whole
from bench.chart import draw_accuracy
from bench.convnet import EXAMPLE, LONG, Finished, Training, contestants, run_convnet, trainings_of
from bench.measure import this_machine
from bench.whole import merged, trained
from digits.study import study_params
from dvcproof.runtime.program import InputError
from dvcproof.values import set_params
from tests.support.project import Arrays, make_project, recipe_params, run_ok
from tests.support.results import MACHINE

RUNS = [{"seed": seed, "test_accuracy": 0.99 + seed / 100, "seconds": 30.0 + seed} for seed in range(2)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the parameters of the recipe; the working directory."""
    recipe_params(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_contestants_are_described_with_their_runs() -> None:
    found = contestants({EXAMPLE: RUNS, "7": RUNS[::-1]})
    assert (found[EXAMPLE]["runs"], found["7"]["runs"]) == (RUNS, RUNS[::-1])
    for one in found.values():
        assert one["test_accuracy"] == pytest.approx({"mean": 0.995, "std": 0.00707107, "n": 2, "min": 0.99, "max": 1})
        assert one["seconds"]["mean"] == 30.5


@pytest.mark.slow
def test_accuracy_is_drawn_against_seconds(tmp_path: Path) -> None:
    long = {"convnet.epochs": 90, "evaluate.views": 11}
    drawn = []
    for values, names in (({}, "1 7"), ({}, "1 7"), ({}, "7"), (long, "1 7 long"), (long, "1 7 long longx11")):
        study = {"long": values, "contestants": contestants(dict.fromkeys((EXAMPLE, *names.split()), RUNS))}
        draw_accuracy(study, EXAMPLE, tmp_path / "chart.png")
        drawn.append((tmp_path / "chart.png").read_bytes())
    assert drawn[0][:4] == b"\x89PNG"
    assert drawn[0] == drawn[1]
    assert len({*drawn}) == 4


@pytest.mark.usefixtures("tensorflow")
def test_the_example_is_the_published_network() -> None:
    from bench.example_convnet import build_model

    assert build_model().count_params() == 34_826  # as Keras's page says


#: What a study depends on, for those that are not run.
CONDITIONS = {"params": {"train": {"seed": 8}}, "rates": (1e-9, 0.5)}


def stand_ins(monkeypatch: pytest.MonkeyPatch, most: int = 1000) -> list[tuple[str, int]]:
    """Put in contestants that note their runs, and end the study after `most` of them."""
    calls: list[tuple[str, int]] = []

    def run_of(name: str, seed: int) -> dict[str, Any]:
        if len(calls) == most:
            raise KeyboardInterrupt
        calls.append((name, seed))
        return {"seed": seed, "seconds": 30.5}

    def run_convnet(name: str, training: Training, seed: int, *_: Path) -> dict[str, Any]:
        run = run_of(name, seed)
        return {name: run} | ({f"{name}x{training.views}": run} if training.views else {})

    monkeypatch.setattr(convnet, "run_example", lambda seed: run_of(EXAMPLE, seed))
    monkeypatch.setattr(convnet, "run_convnet", run_convnet)
    return calls


def studied(out: Path, conditions: dict[str, Any] = CONDITIONS, epochs: int = 90, views: int = 11) -> dict[str, Any]:
    long = Training(3, {"convnet.epochs": epochs}, views)
    trainings = {EXAMPLE: Training(2), "7": Training(2, {"convnet.epochs": 7}), LONG: long}
    return convnet.study(trainings, Path("data"), Finished(out, conditions))


ORDER = [(EXAMPLE, 0), ("7", 0), (LONG, 0), (EXAMPLE, 1), ("7", 1), (LONG, 1), (LONG, 2)]


@pytest.mark.parametrize("most", [1, 5])
def test_contestants_are_interleaved_and_a_study_resumes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, most: int
) -> None:
    before = stand_ins(monkeypatch, most)
    with pytest.raises(KeyboardInterrupt):
        studied(tmp_path / "out.json")
    after = stand_ins(monkeypatch)
    found = studied(tmp_path / "out.json")
    assert (before, before + after) == (ORDER[:most], ORDER)
    runs = [{"seed": seed, "seconds": 30.5} for seed in range(3)]
    assert found == {EXAMPLE: runs[:2], "7": runs[:2], LONG: runs, "longx11": runs}


LONGEST = [(LONG, seed) for seed in range(3)]


@pytest.mark.parametrize(
    ("other", "again"),
    [
        ({}, []),
        ({"conditions": CONDITIONS | {"rates": (2e-9, 0.5)}}, ORDER),
        ({"conditions": CONDITIONS | {"more": 1}}, ORDER),
        ({"epochs": 80}, LONGEST),
        ({"views": 10}, LONGEST),
    ],
)
def test_a_study_does_not_take_the_runs_of_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, other: dict[str, Any], again: list[tuple[str, int]]
) -> None:
    stand_ins(monkeypatch)
    studied(tmp_path / "out.json")
    calls = stand_ins(monkeypatch)
    studied(tmp_path / "out.json", **other)
    assert calls == again


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"valid_for": ', "null"])
def test_a_damaged_file_of_runs_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / ".out.json.checkpoint").write_text(content)
    with pytest.raises(InputError, match=r"\.out\.json\.checkpoint: this file of finished runs is damaged\. Delete it"):
        Finished(tmp_path / "out.json", CONDITIONS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--seeds 1 --epochs 7", r"--seeds: expected at least 2\. Got 1"),
        ("--seeds 2 --epochs 0 7", r"--epochs: expected numbers from 1 to 10000\. Got 0 7\. As in --epochs 1 2 3\."),
        ("--seeds 2 --epochs 7 10001", r"--epochs: expected .* to 10000.* Got 7 10001\."),
        (
            "--seeds 2 --epochs 7 --long convnet.epochs",
            r"--long: expected .* Got convnet\.epochs\. As convnet",
        ),
        ("--seeds 2 --epochs 7 --long train.seed=3", r"--long: expected .* Got train\.seed=3\."),
        ("--seeds 2 --epochs 7 --long convnet.units=3", r"'convnet\.units'"),
        ("--seeds 2 --epochs 7 --long convnet.epochs=0", r"'convnet\.epochs'.* expected an integer in \[1, 10000\]"),
        ("--seeds 2 --epochs 7 --long evaluate.views=11", r"--long: expected parameters of the convnet.* Got evaluate"),
        (
            "--seeds 2 --epochs 7 --long convnet.epochs=9 evaluate.views=12",
            r"'evaluate\.views'.* Got 12",
        ),
        ("--seeds 2 --epochs 7 --long convnet.epochs=9 evaluate.views=1", r"at least 2\. Got 1\. One view"),
        ("--seeds 2 --epochs 7 --long-seeds 1 --long convnet.epochs=9", r"--long-seeds: expected at least 2\. Got 1"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_training(
    monkeypatch: pytest.MonkeyPatch, folder: Path, options: str, message: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["convnet", *options.split(), "--data", "data", "--out", "out.json"])
    with pytest.raises(InputError, match=message):
        convnet.main()
    assert [path.name for path in folder.iterdir()] == ["params.yaml"]


def test_the_epochs_of_the_parameters_are_always_tried(folder: Path) -> None:
    assert list(trainings_of(2, [9, 2], 2, {})) == [EXAMPLE, "2", "7", "9"]
    set_params(folder / "params.yaml", {"convnet.epochs": 5})
    assert list(trainings_of(2, [9, 2], 2, {"convnet.epochs": 20})) == [EXAMPLE, "2", "5", "9", LONG]


@pytest.mark.slow
def test_it_scores_as_the_pipeline_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, digits: Arrays) -> None:
    project, work = make_project(tmp_path / "project", digits), tmp_path / "work"
    work.mkdir()
    set_params(project / "params.yaml", {"train.model": "convnet", "convnet.epochs": 2, "train.seed": 3})
    run_ok("dvc", "repro", cwd=project)
    scores = json.loads((project / "metrics" / "scores.json").read_text(encoding="utf-8"))
    run_ok("git", "checkout", "params.yaml", cwd=project)
    set_params(project / "params.yaml", {"evaluate.views": 3})  # which is not this study's
    monkeypatch.chdir(project)
    found = run_convnet("2", Training(2, {"convnet.epochs": 2}, views=5), 3, Path("data"), work)
    assert list(found) == ["2", "2x5"]
    assert found["2"]["test_accuracy"] == scores["test"]["accuracy"] != found["2x5"]["test_accuracy"]
    assert all(run["seed"] == 3 and 1 < run["seconds"] < 600 for run in found.values())


STUDY: dict[str, Any] = {
    "machine": MACHINE,
    "data": {},
    "contestants": {"7": {"runs": [{"seed": seed, "test_accuracy": 0.99 + seed / 100} for seed in range(3)]}},
}


@pytest.fixture
def again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study of the convnet to be repeated by `whole.main`, whose models are made up; the path of the result."""

    def run_convnet(name: str, training: Training, seed: int, _: Path, folder: Path) -> dict[str, Any]:
        assert training.values == {}
        (folder / "model.keras").write_text(f"model {seed}")
        return {name: {"seed": seed, "test_accuracy": 0.99 + seed / 100, "seconds": 30.5}}

    params = study_params(Path("params.yaml"), "convnet", scored=False)
    monkeypatch.setattr(whole, "run_convnet", run_convnet)
    monkeypatch.setattr(whole, "valid_for", lambda *_, **__: {"params": params, "data": {}})
    (folder / "convnet.json").write_text(json.dumps(STUDY | {"params": params}))
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
    replace(again, this_machine()["kind"], "another-kind")
    whole.main()
    assert [one["runs"] for one in machines(again)] == [only["runs"]] * 2
    again.write_text('{"machines": 3}')  # damaged: Git has it
    whole.main()
    assert machines(again) == [only]


@pytest.mark.parametrize(("name", "old"), [("convnet.json", '"test_accuracy": 0.99}'), ("whole.json", '"shift": 1.0')])
def test_runs_of_another_study_are_not_kept(again: Path, name: str, old: str) -> None:
    whole.main()
    replace(again, this_machine()["kind"], "another-kind")
    replace(again, "0.99", "0.98") if name == "convnet.json" else replace(again, old, '"shift": 2.0')
    whole.main()
    assert [one["machine"] for one in machines(again)] == [this_machine()]


def test_other_bytes_on_another_kind_are_refused_and_nothing_is_written(again: Path) -> None:
    whole.main()
    replace(again, this_machine()["kind"], "another-kind")
    replace(again, machines(again)[0]["runs"][0]["sha256"], "0" * 64)
    before = again.read_bytes()
    with pytest.raises(InputError, match=r"SHA-256 of the model with seed 0: expected 0000.*, as on another-kind"):
        whole.main()
    assert again.read_bytes() == before
    runs = [{"seed": 0, "sha256": "z"}]
    kept = [{"machine": MACHINE, "runs": [{"seed": 0, "sha256": "a"}]}]
    assert merged(runs, MACHINE, kept) == [{"machine": MACHINE, "runs": runs}]  # its own are renewed


@pytest.mark.parametrize("seeds", [0, 4])
def test_seeds_that_the_study_has_not_are_refused(again: Path, seeds: int) -> None:
    study = json.loads(again.with_name("convnet.json").read_text())
    with pytest.raises(InputError, match=rf"--seeds: expected 1 to 3, which the study has\. Got {seeds}"):
        list(trained(study, seeds, Path("data")))


def test_another_accuracy_or_study_is_refused(again: Path) -> None:
    replace(again.with_name("convnet.json"), '"test_accuracy": 1.0', '"test_accuracy": 0.5')
    with pytest.raises(InputError, match=r"test accuracy with seed 1: expected 0\.5, as on test-1-2-cores\. Got 1"):
        whole.main()
    replace(again.with_name("convnet.json"), '"shift": 1.0', '"shift": 2.0')
    with pytest.raises(InputError, match=r"made with other parameters or data\. Run `make study NAME=convnet` first"):
        whole.main()
