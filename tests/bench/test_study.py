"""What every study records: parameters and data that it was made with, in the form that the check of figures reads."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench import convnet, figures, large, seeds, speed, sweep
from bench.convnet import EXAMPLE
from bench.pictures import __main__ as pictures
from bench.points import Where
from bench.study import ARRAYS, data_hashes
from digits.study import study_params
from dvcproof.runtime import machine
from dvcproof.runtime.files import file_hash
from dvcproof.runtime.program import InputError
from dvcproof.values import set_params
from tests.support.project import Arrays, run_ok
from tests.support.results import RESULTS, speed_results
from tests.support.verifying import small_project


@pytest.fixture
def project(
    tmp_path_factory: pytest.TempPathFactory, digits: Arrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A copy of the small project, without results; the working directory."""
    project = shutil.copytree(small_project(tmp_path_factory, digits), tmp_path / "project")
    (project / RESULTS).mkdir(parents=True)
    monkeypatch.chdir(project)
    return project


def hashes_of_files(project: Path) -> dict[str, str]:
    return {name: file_hash(project / "data" / "raw" / name, "md5") for name in ARRAYS}


def test_the_hashes_are_those_of_the_arrays(project: Path) -> None:
    assert data_hashes() == hashes_of_files(project)
    assert len(set(data_hashes().values())) == len(ARRAYS)


@pytest.mark.slow
def test_the_hashes_are_of_the_arrays_with_images_kept_back(project: Path) -> None:
    """Other stages write files of the same names, here with fewer labels."""
    set_params(project / "params.yaml", {"preprocess.validation_size": 50})
    before = data_hashes()
    run_ok("dvc", "repro", cwd=project)
    assert len({file_hash(project / "data" / folder / "train_labels.npy") for folder in ("raw", "prepared")}) == 2
    assert data_hashes() == before == hashes_of_files(project)


@pytest.mark.usefixtures("project")
def test_without_a_run_there_are_no_hashes() -> None:
    Path("dvc.lock").unlink()
    with pytest.raises(InputError, match=r"dvc\.lock: expected a dvc\.lock\. Got no such file\. Run `dvc repro`"):
        data_hashes()


def made_up_seed(seed: int, *_: object) -> dict[str, float]:
    return {"seed": seed} | dict.fromkeys(
        ("test_accuracy", "train_accuracy", "last_epoch_accuracy", "gap"), 0.5 + seed / 10
    )


def made_up_contestants(*_: object) -> dict[str, list[dict[str, float]]]:
    found = {EXAMPLE: (0.97, 30.0), "7": (0.98, 20.0), "20": (0.99, 60.0)}
    return {
        name: [{"seed": seed, "test_accuracy": accuracy, "seconds": seconds} for seed in range(2)]
        for name, (accuracy, seconds) in found.items()
    }


#: Each study's module, its options, and what stands in for its work.
STUDIES: dict[str, tuple[Any, list[str], dict[str, Callable[..., Any]]]] = {
    "seeds": (seeds, ["--seeds", "3", "--data", "data"], {"run_seed": made_up_seed}),
    "sweep": (
        sweep,
        ["--set", "dense.units=8,16", "--seeds", "2", "--validation", "100"],
        {"prepare": lambda _, folder: folder, "validation_accuracy": lambda *_: 0.5},
    ),
    "convnet": (
        convnet,
        ["--seeds", "2", "--epochs", "7", "20", "--data", "data"],
        {"study": made_up_contestants},
    ),
    "convnet_sweep": (
        sweep,
        ["--set", "convnet.filters=8,16", "--seeds", "2", "--validation", "100"],
        {"prepare": lambda _, folder: folder, "validation_accuracy": lambda *_: 0.5},
    ),
    "speed": (
        speed,
        ["--rounds", "1"],
        {"measure": lambda *_: {}, "medians": lambda _: speed_results()["times"]},
    ),
}


@pytest.mark.fast(2)
@pytest.mark.parametrize("name", STUDIES)
def test_a_study_records_what_the_check_compares(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    module, options, stand_ins = STUDIES[name]
    for function, stand_in in stand_ins.items():
        monkeypatch.setattr(module, function, stand_in)
    monkeypatch.setattr(speed, "ROOT", project)
    option = RESULTS / ("speed" if name == "speed" else f"{name}.json")
    out = option / f"{machine.kind()}.json" if name == "speed" else option
    (figure,) = (figure for figure in figures.figures() if figure.name == str(out))
    assert figures.why(figure).startswith("it is missing or damaged (FileNotFoundError: ")
    monkeypatch.setattr(sys, "argv", [name, *options, "--out", str(option)])
    module.main()
    assert capsys.readouterr().out
    assert not figures.why(figure)
    result = json.loads(out.read_text(encoding="utf-8"))
    assert result["data"] == hashes_of_files(project)
    if name in {"seeds", "speed"}:
        assert result["params"] == study_params(project / "params.yaml", "dense")
    set_params(project / "params.yaml", {"train.shards": 1})
    assert figures.why(figure) == "it was made with train.shards = 2, and params.yaml has 1"


@pytest.mark.parametrize(
    ("module", "options"),
    [
        (speed, ["--rounds", "1"]),
        (large, ["--times", "1", "--memory", "9"]),
        (pictures, ["--data", "data", "--digits", "1", "--held-out", "1"]),
    ],
)
@pytest.mark.parametrize("values", [{"load.source": "data/other.npz"}, {"preprocess.validation_size": 5}])
def test_a_study_of_mnist_needs_all_of_it(
    project: Path, monkeypatch: pytest.MonkeyPatch, module: Any, options: list[str], values: dict[str, Any]
) -> None:
    set_params(project / "params.yaml", values)
    monkeypatch.setattr(speed, "ROOT", project)
    monkeypatch.setattr(sys, "argv", ["a study", *options, "--out", "out"])
    with pytest.raises(InputError, match=r"expected the whole training set of data/mnist\.npz, which .* Restore both"):
        module.main()
    assert not (project / "out").exists()


@pytest.mark.usefixtures("project")
def test_one_seed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    out = RESULTS / "seeds.json"
    monkeypatch.setattr(sys, "argv", ["seeds", "--seeds", "1", "--data", "data", "--out", str(out)])
    with pytest.raises(InputError, match=r"--seeds: expected at least 2\. Got 1\. A spread needs two runs\."):
        seeds.main()
    assert not out.exists()


def test_the_study_over_seeds_is_described_with_its_runs(monkeypatch: pytest.MonkeyPatch, project: Path) -> None:
    monkeypatch.setattr(seeds, "run_seed", made_up_seed)
    found = seeds.study(range(3), project / "data", Where())
    assert [run["seed"] for run in found["runs"]] == [0, 1, 2]
    for name in ("test_accuracy", "train_accuracy", "last_epoch_accuracy", "gap"):
        assert found[name] == pytest.approx({"mean": 0.6, "std": 0.1, "n": 3, "min": 0.5, "max": 0.7})


@pytest.mark.slow
def test_a_seed_scores_as_the_pipeline_does(project: Path, tmp_path: Path) -> None:
    scores, history = (
        json.loads((project / "metrics" / name).read_text(encoding="utf-8")) for name in ("scores.json", "history.json")
    )
    own = {
        "seed": 0,
        "test_accuracy": scores["test"]["accuracy"],
        "train_accuracy": scores["train"]["accuracy"],
        "last_epoch_accuracy": history["last_epoch"]["accuracy"],
        "gap": scores["gap"]["accuracy"],
    }
    for seed in (0, 1):
        folder = tmp_path / str(seed)
        folder.mkdir()
        found = seeds.run_seed(seed, Path("data"), folder)
        assert set(found) == set(own)
        assert (found == own) == (seed == 0)
