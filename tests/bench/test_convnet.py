"""The study of the convnet beside Keras's example: what it claims, and that it scores as the pipeline does."""

import json
import sys
from pathlib import Path

import pytest

from bench import convnet
from bench.chart import draw_accuracy
from bench.convnet import EXAMPLE, contestants, run_convnet
from digits.common.cli import InputError
from digits.common.params import set_params
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


def test_accuracy_is_drawn_against_seconds(tmp_path: Path) -> None:
    runs = [{"seed": seed, "test_accuracy": 0.99 + seed / 100, "seconds": 30.0 + seed} for seed in range(2)]
    several, one = (contestants(dict.fromkeys(names, runs)) for names in ((EXAMPLE, "1", "7"), (EXAMPLE, "7")))
    for name, found in {"several": several, "again": several, "one": one}.items():
        draw_accuracy(found, EXAMPLE, tmp_path / f"{name}.png")
    pictures = [(tmp_path / f"{name}.png").read_bytes() for name in ("several", "again", "one")]
    assert pictures[0][:4] == b"\x89PNG"
    assert pictures[0] == pictures[1] != pictures[2]


@pytest.mark.usefixtures("tensorflow")
def test_the_example_is_the_published_network() -> None:
    from bench.example_convnet import build_model

    assert build_model().count_params() == 34_826  # as Keras's page says


def test_contestants_are_interleaved(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, int]] = []

    def run_of(name: str, seed: int) -> dict[str, int]:
        calls.append((name, seed))
        return {"seed": seed}

    monkeypatch.setattr(convnet, "run_example", lambda seed: run_of(EXAMPLE, seed))
    monkeypatch.setattr(convnet, "run_convnet", lambda epochs, seed, *_: run_of(str(epochs), seed))
    found = convnet.study(2, [7, 20], Path("data"))
    assert calls == [(name, seed) for seed in range(2) for name in (EXAMPLE, "7", "20")]
    assert found == {name: [{"seed": 0}, {"seed": 1}] for name in (EXAMPLE, "7", "20")}


@pytest.mark.parametrize(
    ("seeds", "epochs", "change", "message"),
    [
        ("1", "7 20", None, r"--seeds: expected at least 2\. Got 1"),
        (
            "2",
            "8 20",
            None,
            r"--epochs: expected numbers .* among them the 7 of params\.yaml\. Got 8 20\. As in .* 7 21",
        ),
        ("2", "0 7", None, r"--epochs: expected numbers from 1 .* Got 0 7\."),
        ("2", "7 10001", None, r"--epochs: expected .* to 10000.* Got 7 10001\."),
        (
            "2",
            "7 20",
            {"preprocess.validation_size": 5},
            r"params\.yaml: expected the whole training set of data/mnist\.npz",
        ),
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


@pytest.mark.slow
def test_it_scores_as_the_pipeline_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, digits: Arrays) -> None:
    project, work = make_project(tmp_path / "project", digits), tmp_path / "work"
    work.mkdir()
    values = {"train.model": "convnet", "convnet.epochs": 2, "train.seed": 3}
    set_params(project / "params.yaml", values)
    run_ok("dvc", "repro", cwd=project)
    scores = json.loads((project / "metrics" / "scores.json").read_text(encoding="utf-8"))
    run_ok("git", "checkout", "params.yaml", cwd=project)
    monkeypatch.chdir(project)
    run = run_convnet(2, 3, Path("data"), work)
    assert run["test_accuracy"] == scores["test"]["accuracy"]
    assert run["seed"] == 3
    assert 1 < run["seconds"] < 600
