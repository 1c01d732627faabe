"""The study of the convnet beside Keras's example: what it claims, and that it scores as the pipeline does."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from bench import convnet
from bench.chart import draw_accuracy
from bench.convnet import EXAMPLE, LONG, Finished, Training, contestants, run_convnet, trainings_of
from dvcproof.runtime.program import InputError
from dvcproof.values import set_params
from tests.support.project import Arrays, make_project, recipe_params, run_ok


def test_contestants_are_described_with_their_runs() -> None:
    runs = [{"seed": seed, "test_accuracy": 0.99 + seed / 100, "seconds": 30.0 + seed} for seed in range(2)]
    found = contestants({EXAMPLE: runs, "7": runs[::-1]})
    assert found[EXAMPLE]["runs"] == runs
    assert found["7"]["runs"] == runs[::-1]
    for one in found.values():
        assert one["test_accuracy"] == pytest.approx(
            {"mean": 0.995, "std": 0.00707107, "n": 2, "min": 0.99, "max": 1.0}
        )
        assert one["seconds"] == pytest.approx({"mean": 30.5, "std": 0.707107, "n": 2, "min": 30.0, "max": 31.0})


@pytest.mark.slow
def test_accuracy_is_drawn_against_seconds(tmp_path: Path) -> None:
    runs = [{"seed": seed, "test_accuracy": 0.99 + seed / 100, "seconds": 30.0 + seed} for seed in range(2)]
    long = {"convnet.epochs": 90, "evaluate.views": 11}
    studies = [
        {"long": values, "contestants": contestants(dict.fromkeys((EXAMPLE, *names), runs))}
        for values, names in (
            ({}, ("1", "7")),
            ({}, ("1", "7")),
            ({}, ("7",)),
            (long, ("1", "7", LONG)),
            (long, ("1", "7", LONG, "longx11")),
            (long | {"convnet.epochs": 80}, ("1", "7", LONG, "longx11")),
        )
    ]
    for number, study in enumerate(studies):
        draw_accuracy(study, EXAMPLE, tmp_path / f"{number}.png")
    first, again, *others = ((tmp_path / f"{number}.png").read_bytes() for number in range(len(studies)))
    assert first[:4] == b"\x89PNG"
    assert first == again
    assert len({first, *others}) == len(studies) - 1


@pytest.mark.usefixtures("tensorflow")
def test_the_example_is_the_published_network() -> None:
    from bench.example_convnet import build_model

    assert build_model().count_params() == 34_826  # as Keras's page says


#: What a study depends on, for those that are not run.
CONDITIONS = {"params": {"train": {"seed": 8}}, "rates": (1e-9, 0.5)}


def stand_ins(monkeypatch: pytest.MonkeyPatch, most: int = 1000) -> list[tuple[str, int]]:
    """Contestants that note their runs, and end the study after `most` of them."""
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


def studied(
    out: Path, conditions: dict[str, Any] = CONDITIONS, seeds: int = 2, epochs: int = 90, views: int = 11
) -> dict[str, Any]:
    long = Training(seeds + 1, {"convnet.epochs": epochs}, views)
    trainings = {EXAMPLE: Training(seeds), "7": Training(seeds, {"convnet.epochs": 7}), LONG: long}
    return convnet.study(trainings, Path("data"), Finished(out, conditions))


ORDER = [(EXAMPLE, 0), ("7", 0), (LONG, 0), (EXAMPLE, 1), ("7", 1), (LONG, 1), (LONG, 2)]


def test_contestants_are_interleaved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls = stand_ins(monkeypatch)
    found = studied(tmp_path / "out.json")
    assert calls == ORDER
    runs = [{"seed": seed, "seconds": 30.5} for seed in range(3)]
    assert found == {EXAMPLE: runs[:2], "7": runs[:2], LONG: runs, "longx11": runs}


@pytest.mark.parametrize("most", [1, 3, 5])
def test_a_study_that_was_ended_goes_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, most: int) -> None:
    before = stand_ins(monkeypatch, most)
    with pytest.raises(KeyboardInterrupt):
        studied(tmp_path / "out.json")
    after = stand_ins(monkeypatch)
    found = studied(tmp_path / "out.json")
    assert before + after == ORDER
    assert len(before) == most
    assert [run["seed"] for run in found["longx11"]] == [0, 1, 2]
    more = stand_ins(monkeypatch)
    studied(tmp_path / "out.json", seeds=3)
    assert more == [(EXAMPLE, 2), ("7", 2), (LONG, 3)]


def test_it_does_not_go_on_with_the_runs_of_another_study(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stand_ins(monkeypatch)
    studied(tmp_path / "out.json")
    for conditions in (CONDITIONS | {"rates": (2e-9, 0.5)}, CONDITIONS | {"more": 1}):
        calls = stand_ins(monkeypatch)
        studied(tmp_path / "out.json", conditions)
        assert calls == ORDER


@pytest.mark.parametrize("other", [{"epochs": 80}, {"views": 10}])
def test_another_long_training_takes_no_runs_of_the_last_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, other: dict[str, int]
) -> None:
    stand_ins(monkeypatch)
    studied(tmp_path / "out.json")
    calls = stand_ins(monkeypatch)
    studied(tmp_path / "out.json", **other)  # type: ignore[arg-type]
    assert calls == [(LONG, seed) for seed in range(3)]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"valid_for": ', "null"])
def test_a_damaged_file_of_runs_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / ".out.json.checkpoint").write_text(content)
    with pytest.raises(InputError, match=r"\.out\.json\.checkpoint: expected runs of a study\. .* Delete it") as error:
        Finished(tmp_path / "out.json", CONDITIONS)
    Path(str(error.value).partition(":")[0]).unlink()  # as it says
    assert Finished(tmp_path / "out.json", CONDITIONS).runs == {}


@pytest.mark.parametrize(
    ("seeds", "epochs", "change", "message"),  # `epochs` may go on with another option
    [
        ("1", "7 20", None, r"--seeds: expected at least 2\. Got 1"),
        ("2", "0 7", None, r"--epochs: expected numbers from 1 to 10000\. Got 0 7\. As in --epochs 1 2 3\."),
        ("2", "7 10001", None, r"--epochs: expected .* to 10000.* Got 7 10001\."),
        (
            "2",
            "7 20",
            {"preprocess.validation_size": 5},
            r"params\.yaml: expected the whole training set of data/mnist\.npz",
        ),
        ("2", "7 --long convnet.epochs", None, r"--long: expected .* Got convnet\.epochs\. As convnet\.epochs=35\."),
        ("2", "7 --long train.seed=3", None, r"--long: expected .* Got train\.seed=3\."),
        ("2", "7 --long convnet.units=3", None, r"expected the parameter 'convnet\.units'"),
        ("2", "7 --long convnet.epochs=0", None, r"'convnet\.epochs'.* expected an integer in \[1, 10000\]\. Got 0"),
        ("2", "7 --long convnet.epochs=", None, r"--long: expected .* Got convnet\.epochs=\. As convnet\.epochs=35\."),
        (
            "2",
            "7 --long evaluate.views=11",
            None,
            r"--long: expected parameters of the convnet.* Got evaluate\.views=11",
        ),
        (
            "2",
            "7 --long convnet.epochs=9 evaluate.views=12",
            None,
            r"'evaluate\.views'.* integer in \[1, 11\]\. Got 12",
        ),
        ("2", "7 --long convnet.epochs=9 evaluate.views=1", None, r"--long: expected .* at least 2\. Got 1\. One view"),
        ("2", "7 --long-seeds 1 --long convnet.epochs=9", None, r"--seeds: expected at least 2\. Got 2 and 1"),
        ("2", "7", {"load.source": "data/other"}, r"expected the whole .* Got 0 images kept back of data/other"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_training(  # noqa: PLR0917
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    seeds: str,
    epochs: str,
    change: dict[str, object] | None,
    message: str,
) -> None:
    params = recipe_params(tmp_path)
    set_params(params, change or {})
    monkeypatch.chdir(tmp_path)
    options = ["--seeds", seeds, "--epochs", *epochs.split(), "--data", "data", "--out", "out.json"]
    monkeypatch.setattr(sys, "argv", ["convnet", *options])
    with pytest.raises(InputError, match=message):
        convnet.main()
    assert list(tmp_path.iterdir()) == [params]


def test_the_epochs_of_the_parameters_are_always_tried(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    recipe_params(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert list(trainings_of(2, [9, 2], 2, {})) == [EXAMPLE, "2", "7", "9"]
    set_params(tmp_path / "params.yaml", {"convnet.epochs": 5})
    assert list(trainings_of(2, [9, 2], 2, {"convnet.epochs": 20})) == [EXAMPLE, "2", "5", "9", LONG]


@pytest.mark.slow
def test_it_scores_as_the_pipeline_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, digits: Arrays) -> None:
    project, work = make_project(tmp_path / "project", digits), tmp_path / "work"
    work.mkdir()
    values = {"train.model": "convnet", "convnet.epochs": 2, "train.seed": 3}
    set_params(project / "params.yaml", values)
    run_ok("dvc", "repro", cwd=project)
    scores = json.loads((project / "metrics" / "scores.json").read_text(encoding="utf-8"))
    run_ok("git", "checkout", "params.yaml", cwd=project)
    set_params(project / "params.yaml", {"evaluate.views": 3})  # which is not this study's
    monkeypatch.chdir(project)
    found = run_convnet("2", Training(2, {"convnet.epochs": 2}, views=5), 3, Path("data"), work)
    assert list(found) == ["2", "2x5"]
    assert found["2"]["test_accuracy"] == scores["test"]["accuracy"]
    for run in found.values():
        assert run["seed"] == 3
        assert 1 < run["seconds"] < 600
    assert found["2x5"]["test_accuracy"] != found["2"]["test_accuracy"]
