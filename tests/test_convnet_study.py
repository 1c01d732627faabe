"""The study of the convnet beside Keras's example: what it claims, and that it scores as the pipeline does."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from bench import convnet
from bench.convnet import EXAMPLE, run_convnet, summarize
from bench.seeds import settings
from stages.console import InputError
from tests.conftest import ROOT, Arrays, make_project, run_ok
from verify.parameters import set_parameter
from verify.readme import WORDS
from verify.readme import convnet as table


@pytest.fixture
def study() -> dict[str, Any]:
    return dict(json.loads((ROOT / "bench" / "results" / "convnet.json").read_text(encoding="utf-8")))


def test_the_committed_study_is_of_these_parameters_and_of_its_own_runs(study: dict[str, Any]) -> None:
    assert study["params"] == settings("convnet"), "run `make convnet`"
    contestants = study["contestants"]
    assert str(study["params"]["convnet"]["epochs"]) in contestants
    for found in contestants.values():
        assert [run["seed"] for run in found["runs"]] == list(range(5))
    for name, again in summarize({name: found["runs"] for name, found in contestants.items()}).items():
        for kind in ("test_accuracy", "seconds"):
            assert contestants[name][kind] == pytest.approx(again[kind], abs=1e-4)
    assert {run["weights"] for run in contestants[EXAMPLE]["runs"]} == {34_826}  # as Keras's page says


def test_the_default_convnet_is_better_than_the_example_and_takes_less_time(study: dict[str, Any]) -> None:
    ours, example = (study["contestants"][name] for name in (str(study["params"]["convnet"]["epochs"]), EXAMPLE))
    assert ours["test_accuracy"]["min"] > example["test_accuracy"]["max"]
    assert ours["test_accuracy"]["mean"] >= 0.995
    assert ours["seconds"]["mean"] < example["seconds"]["mean"]


def test_the_longest_training_takes_ten_minutes_at_most(study: dict[str, Any]) -> None:
    assert max(found["seconds"]["max"] for found in study["contestants"].values()) < 600


def test_a_study_of_other_parameters_is_refused(study: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "bench" / "results"
    folder.mkdir(parents=True)
    (folder / "convnet.json").write_text(json.dumps(study), encoding="utf-8")
    assert f"{100 * study['contestants'][EXAMPLE]['test_accuracy']['mean']:.2f} %" in table(tmp_path, WORDS["en"])
    study["params"]["convnet"]["shift"] = 3.5
    (folder / "convnet.json").write_text(json.dumps(study), encoding="utf-8")
    with pytest.raises(InputError, match=r"expected a study of the convnet .* Run `make convnet`\."):
        table(tmp_path, WORDS["en"])


@pytest.mark.parametrize(
    ("seeds", "longer", "change", "message"),
    [
        ("1", "20", None, r"--seeds: expected at least 2\. Got 1"),
        ("2", "1", None, r"--longer: expected .* Got 1\."),
        ("2", "10001", None, r"--longer: expected .* to 10000.* Got 10001\."),
        (
            "2",
            "20",
            ("preprocess.validation_size", 5),
            r"params\.yaml: expected the whole training set of data/mnist\.npz",
        ),
        ("2", "20", ("load.source", "data/other"), r"expected the whole .* Got 0 images kept back of data/other"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_is_trained(  # noqa: PLR0917
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    seeds: str,
    longer: str,
    change: tuple[str, object] | None,
    message: str,
) -> None:
    params = Path(shutil.copy(ROOT / "params.yaml", tmp_path))
    if change:
        set_parameter(params, *change)
    monkeypatch.chdir(tmp_path)
    options = ["--seeds", seeds, "--longer", longer, "--data", "data", "--out", "out.json"]
    monkeypatch.setattr(sys, "argv", ["convnet", *options])
    with pytest.raises(InputError, match=message):
        convnet.main()
    assert list(tmp_path.iterdir()) == [params]


@pytest.mark.slow
def test_it_scores_as_the_pipeline_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, digits: Arrays) -> None:
    project, work = make_project(tmp_path / "project", digits), tmp_path / "work"
    work.mkdir()
    for name, value in (("train.model", "convnet"), ("convnet.epochs", 2), ("train.seed", 3)):
        set_parameter(project / "params.yaml", name, value)
    run_ok("dvc", "repro", cwd=project)
    scores = json.loads((project / "metrics" / "scores.json").read_text(encoding="utf-8"))
    run_ok("git", "checkout", "params.yaml", cwd=project)
    monkeypatch.chdir(project)
    run = run_convnet(2, 3, Path("data/prepared"), work)
    assert run["test_accuracy"] == scores["test"]["accuracy"]
    assert run["seed"] == 3
    assert 1 < run["seconds"] < 600
