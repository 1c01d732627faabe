"""Parts that all studies share: the command, the recorded conditions, the refusals, and runs of stages."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench import __main__ as bench
from bench import convnet, seeds, sweep, workers
from bench.__main__ import commands_of, studies
from bench.convnet import EXAMPLE
from bench.study import ARRAYS, at_least, data_hashes, parameter, parser_of, require_whole_mnist
from digits.apps.results import study_params
from dvcproof.runtime.files import file_hash
from dvcproof.runtime.program import InputError
from dvcproof.values import set_params
from tests.support.project import Arrays, recipe_params
from tests.support.results import RESULTS
from tests.support.verifying import small_project


@pytest.fixture
def project(
    tmp_path_factory: pytest.TempPathFactory, digits: Arrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Return a copy of the small project without results, which is the working directory."""
    project = shutil.copytree(small_project(tmp_path_factory, digits), tmp_path / "project")
    (project / RESULTS).mkdir(parents=True)
    monkeypatch.chdir(project)
    return project


def test_a_command_replaces_the_options_of_the_study_and_dvc_records_its_own() -> None:
    study = studies()["seeds"]
    options = ["--data", "data", "--out", "bench/results/seeds.json"]
    record = ["dvc", "--cd", "bench", "commit", "--quiet", "--force", "seeds"]
    plain = ["bench.seeds", "--seeds", "10", *options]
    assert commands_of("seeds", study, []) == [["digits", "repro"], plain, record]
    assert commands_of("seeds", study, ["--jobs", "2"]) == [["digits", "repro"], [*plain, "--jobs", "2"], record]
    other = ["bench.seeds", *options, "--seeds=3"]
    assert commands_of("seeds", study, ["--seeds=3"]) == [["digits", "repro"], other]
    assert commands_of("seeds", study, ["--help"]) == [[*plain, "--help"]]
    assert commands_of("tables", studies()["tables"], []) == [["bench.tables"]]


def test_an_unknown_study_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, hint in (("sweeps", r"Did you mean `make study NAME=sweep`\?"), ("x", "lists the studies")):
        monkeypatch.setattr(sys, "argv", ["bench", name])
        with pytest.raises(InputError, match=rf"^{name}: there is no study of this name\. .*{hint}"):
            bench.main()


def made_up_seed(seed: int, *_: object) -> dict[str, float]:
    names = ("test_accuracy", "train_accuracy", "last_epoch_accuracy", "gap")
    return {"seed": seed} | dict.fromkeys(names, 0.5 + seed / 10)


def made_up_contestants(*_: object) -> dict[str, list[dict[str, float]]]:
    found = {EXAMPLE: (0.97, 30.0), "7": (0.98, 20.0), "20": (0.99, 60.0)}
    return {
        name: [{"seed": seed, "test_accuracy": accuracy, "seconds": seconds} for seed in range(2)]
        for name, (accuracy, seconds) in found.items()
    }


def made_up_training(values: dict[str, Any], *_: object) -> dict[str, Any]:
    return {"seconds": 1.0, "exchanged": 0, "sha256": str(values.get("dense.units"))}


LARGER = "--workers 1 2 --set train.shards=4 --larger dense.units=32 --data data"

#: Each study's module, its options, the function that works and what stands in for it, and how its parameters are read.
STUDIES: dict[str, tuple[Any, str, str, Callable[..., Any], dict[str, Any]]] = {
    "seeds": (seeds, "--seeds 3 --data data", "run_seed", made_up_seed, {}),
    "convnet": (
        *(convnet, "--seeds 2 --epochs 7 20 --data data", "study", made_up_contestants),
        {"model": "convnet", "scored": False},
    ),
    "workers": (workers, LARGER, "train", made_up_training, {"model": "dense", "scored": False}),
}


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_records_the_parameters_and_data_that_it_is_valid_for(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    module, options, function, stand_in, reading = STUDIES[name]
    monkeypatch.setattr(module, function, stand_in)
    out = RESULTS / f"{name}.json"
    monkeypatch.setattr(sys, "argv", [name, *options.split(), "--out", str(out)])
    module.main()
    assert capsys.readouterr().out
    result = json.loads(out.read_text(encoding="utf-8"))
    assert result["data"] == {name: file_hash(project / "data" / "raw" / name, "md5") for name in ARRAYS}
    assert result["params"] == study_params(project / "params.yaml", **reading)
    if name == "convnet":
        assert result["contestants"]["7"]["runs"] == made_up_contestants()["7"]
        assert result["contestants"]["7"]["seconds"] == {"mean": 20, "std": 0, "n": 2, "min": 20, "max": 20}
        assert out.with_suffix(".png").read_bytes()[:4] == b"\x89PNG"
    if name == "seeds":
        assert [run["seed"] for run in result["runs"]] == [0, 1, 2]
        assert result["gap"] == pytest.approx({"mean": 0.6, "std": 0.1, "n": 3, "min": 0.5, "max": 0.7})
    if name == "workers":
        runs = [(one["workers"], one["sha256"]) for one in result["runs"]]
        assert runs == [(1, "None"), (2, "None"), (1, "32"), (2, "32")]
    Path("dvc.lock").unlink()
    with pytest.raises(InputError, match=r"dvc\.lock: expected a dvc\.lock\. Got no such file\. Run `dvc repro`"):
        data_hashes()


@pytest.mark.parametrize("values", [{"load.source": "data/other.npz"}, {"preprocess.validation_size": 5}])
def test_a_study_of_mnist_needs_all_of_it(tmp_path: Path, values: dict[str, Any]) -> None:
    require_whole_mnist(recipe_params(tmp_path))
    set_params(tmp_path / "params.yaml", values)
    with pytest.raises(InputError, match=r"expected the whole training set of data/mnist\.npz, which .* Restore both"):
        require_whole_mnist(tmp_path / "params.yaml")


def test_an_option_of_another_form_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    parser = parser_of("bench.some", "Some study.")
    parser.add_argument("--seeds", type=at_least(2))
    parser.add_argument("--set", type=parameter)
    assert parser.parse_args(["--seeds", "2", "--set", "a.b=1e-3", "--out", "x"]).set == ("a.b", 0.001)
    for options, message in (
        ("--seeds 1", "argument --seeds: expected a whole number of at least 2, got 1"),
        ("--set dense.units", "argument --set: invalid parameter value: 'dense.units'"),
    ):
        with pytest.raises(SystemExit):
            parser.parse_args([*options.split(), "--out", "x"])
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("module", "options", "message"),
    [
        (sweep, "--set dense.units=8 --seeds 2 --validation 60000", "validation_size"),
        (workers, "--workers 1 --larger dense.units=8 --data none", r"train with 1 workers: expected exit status 0"),
    ],
)
def test_a_stage_that_fails_ends_the_study(
    project: Path, monkeypatch: pytest.MonkeyPatch, module: Any, options: str, message: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["a study", *options.split(), "--out", "out.json"])
    with pytest.raises(InputError, match=message):
        module.main()
    assert not (project / "out.json").exists()


@pytest.mark.slow
def test_a_seed_scores_as_the_pipeline_does(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_ROOT", str(project))  # as if the study were a stage of DVC
    monkeypatch.setenv("DVC_STAGE", "seeds")
    before = {*(project / ".dvc").rglob("*")}
    scores = json.loads((project / "metrics" / "scores.json").read_text(encoding="utf-8"))
    for seed in (0, 1):
        found = seeds.run_seed(seed, Path("data"))
        same = (found["test_accuracy"], found["gap"]) == (scores["test"]["accuracy"], scores["gap"]["accuracy"])
        assert same == (seed == 0)
    assert {*(project / ".dvc").rglob("*")} == before


def test_the_typical_seed_is_taken_and_nothing_else_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [{"seed": seed, "test_accuracy": accuracy} for seed, accuracy in ((0, 0.97), (4, 0.981), (9, 0.9785))]
    (tmp_path / "seeds.json").write_text(json.dumps({"test_accuracy": {"mean": 0.98}, "runs": runs}), encoding="utf-8")
    params = recipe_params(tmp_path, train={"seed": 0})
    before = params.read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["seeds", "--take-typical", "seeds.json"])
    with pytest.raises(SystemExit, match=r"^0$"):
        seeds.main()
    assert capsys.readouterr().out == "train.seed: 4\n"
    assert params.read_text(encoding="utf-8") == before.replace("  seed: 0\n", "  seed: 4\n")


def test_workers_that_change_the_model_are_an_error(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "train", lambda _, count, *__: {"sha256": str(count)})
    monkeypatch.setattr(sys, "argv", ["workers", *LARGER.split(), "--out", "out.json"])
    with pytest.raises(InputError, match=r"models of {'train\.shards': 4}: their bytes depend on the number of w"):
        workers.main()
    assert not (project / "out.json").exists()
