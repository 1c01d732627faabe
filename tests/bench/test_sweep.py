"""Choosing between settings: the ranking and its rule for noise, no use of the test set, and DVC's experiments."""

import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import Client, LocalCluster, WorkerPlugin

from bench import sweep
from bench.study import run_model_stage
from bench.sweep import (
    ALPHA,
    lines,
    network_of,
    p_value,
    parse_grid,
    prepare,
    rank,
    shared,
    validation_accuracy,
    values_of,
)
from dvcproof.runtime.files import file_hash
from dvcproof.runtime.program import InputError
from dvcproof.values import set_params
from tests.support.project import AT_ROOT, Arrays, commit, make_project, recipe_params, run, run_ok, stages_run

GOOD = [0.981, 0.979, 0.980, 0.982, 0.978]
LIKE_IT = [0.980, 0.978, 0.981, 0.979, 0.9785]
BAD = [0.951, 0.949, 0.950, 0.952, 0.948]


def test_the_p_value_is_that_of_the_example_worked_by_hand() -> None:
    # variances 2.5 and 10: t = 3 / sqrt(2.5) = 1.8974 with 2.5**2 / (0.5**2 / 4 + 2**2 / 4) = 5.882 degrees of freedom
    assert p_value([1, 2, 3, 4, 5], [2, 4, 6, 8, 10]) == pytest.approx(0.1075, abs=1e-4)
    assert (p_value([0.5, 0.5], [0.5, 0.5]), p_value([0.5, 0.5], [0.6, 0.6])) == (1, 0)


def test_only_a_clear_difference_from_the_best_is_called_one() -> None:
    ranked = rank([({"dense.units": "1"}, BAD), ({"dense.units": "2"}, LIKE_IT), ({"dense.units": "3"}, GOOD)])
    found = [(point["values"]["dense.units"], point["noise"], point["runs"]) for point in ranked]
    assert found == [("3", True, GOOD), ("2", True, LIKE_IT), ("1", False, BAD)]
    assert ranked[0]["validation_accuracy"]["mean"] == pytest.approx(0.98)
    assert [point["p_value"] for point in ranked[::2]] == pytest.approx([1, 3 * p_value(GOOD, BAD)])
    text = list(lines(ranked))
    assert "the best of 3, 5 seeds each" in text[1]
    assert "inside the noise, p = " in text[2]
    assert "worse, p < 0.001" in text[3]


@pytest.mark.slow
def test_among_equal_points_a_difference_is_rarely_found() -> None:
    """Without the correction a difference is often found."""
    generator = np.random.default_rng(0)
    corrected = uncorrected = 0
    for _ in range(150):
        accuracies = [list(values) for values in generator.normal(0.98, 0.002, (6, 5))]
        ranked = rank([({}, values) for values in accuracies])
        corrected += any(not point["noise"] for point in ranked)
        uncorrected += any(p_value(ranked[0]["runs"], point["runs"]) < ALPHA for point in ranked[1:])
    assert corrected <= 150 * ALPHA < uncorrected / 2


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write the params.yaml of the tests into the working directory, and return its path."""
    monkeypatch.chdir(tmp_path)
    return recipe_params(tmp_path)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["dense.units"], "--set: expected NAME=VALUE,VALUE with a name among .*dense.units, .* Got dense.units"),
        (["load.source=a,b"], "Got load.source=a,b"),
        (["train.model=dense,convnet"], "Got train.model=dense,convnet"),
        (["dense.units=1,2", "convnet.shift=1,2"], "Got convnet.shift=1,2.* names of one network only"),
        (["train.seed=1,2"], "--seeds sets the seeds"),
        (["dense.units=1", "dense.units=2"], "Give each name once"),
        (["dense.units=64,0"], r"parameter 'dense.units'.*expected an integer in \[1, 65536\]\. Got 0"),
        (["dense.units=1,,2"], r"parameter 'dense.units'"),
    ],
)
@pytest.mark.usefixtures("recipe")
def test_a_wrong_grid_is_refused_before_anything_is_trained(texts: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_grid(texts)


@pytest.mark.usefixtures("recipe")
def test_a_grid_is_every_combination_read_as_dvc_reads_it() -> None:
    points = parse_grid(["dense.units=1,2", "dense.learning_rate=1e-3,0.1"])
    assert [tuple(point.values()) for point in points] == [("1", "1e-3"), ("1", "0.1"), ("2", "1e-3"), ("2", "0.1")]
    assert values_of(points[0]) == {"train.model": "dense", "dense.units": 1, "dense.learning_rate": 0.001}


def test_a_grid_names_its_network_and_is_valid_for_the_rest(recipe: Path) -> None:
    (point,) = parse_grid(["train.shards=4", "convnet.epochs=3"])
    assert values_of(point) == {"train.model": "convnet", "train.shards": 4, "convnet.epochs": 3}
    found = shared(point, 100)
    assert found["train"] == {"model": "convnet", "device": "cpu"}
    assert found["preprocess"] == {"validation_size": 100}
    assert set(found) == {"load", "preprocess", "train", "convnet"}
    assert {"epochs", "shift"} & set(found["convnet"]) == {"shift"}
    for model in ("dense", "convnet"):  # shared parameters belong to the chosen network
        set_params(recipe, {"train.model": model})
        assert network_of(["train.shards"]) == model
        assert network_of(["train.shards", "dense.units"]) == "dense"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, digits: Arrays) -> Path:
    """Return a committed project on the small sample, one epoch, with a validation split; every stage has run."""
    path = make_project(tmp_path_factory.mktemp("sweep") / "project", digits)
    set_params(path / "params.yaml", {"dense.epochs": 1, "preprocess.validation_size": 100, "train.seed": 0})
    run_ok("dvc", "repro", cwd=path)
    commit(path, "first run")
    return path


@pytest.mark.slow
def test_the_test_set_is_gone_before_training(
    monkeypatch: pytest.MonkeyPatch, project: Path, tmp_path: Path, digits: Arrays
) -> None:
    """The content of the test set does not change the result."""
    other = shutil.copytree(project, tmp_path / "other", ignore=shutil.ignore_patterns(".dvc", ".git"))
    np.savez(other / "data" / "mnist.npz", **(digits | {"x_test": 255 - digits["x_test"]}))  # type: ignore[arg-type]
    found = []
    for folder in (project, other):
        monkeypatch.chdir(folder)
        work = tmp_path / f"work-{folder.name}"
        work.mkdir()
        found.append({path.name: file_hash(path) for path in sorted((prepare(100, work) / "prepared").iterdir())})
        assert not list(work.rglob("test_*"))
    names = [f"{split}_{kind}.npy" for split in ("train", "validation") for kind in ("features", "labels")]
    assert list(found[0]) == names
    assert found[0] == found[1]
    for name in ("model.keras", "history.csv"):
        shutil.copy(project / "data" / name, work)
    with pytest.raises(InputError, match=r"test_features\.npy: expected .* Got no such file"):  # a use would be noticed
        run_model_stage("evaluate", "no test set", work, work)


class Kill(WorkerPlugin):
    """A plugin that kills the first worker that begins a second point."""

    def __init__(self, trace: str) -> None:
        self.trace, self.begun = Path(trace), 0

    def transition(self, key: Any, *states: Any, **_: Any) -> None:
        self.begun += states[-1] == "executing"
        if self.begun == 2 and not self.trace.exists():
            self.trace.write_text(str(key))
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_a_sweep_ranks_by_the_pipelines_validation_score(
    monkeypatch: pytest.MonkeyPatch, project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project)
    out = tmp_path / "sweep.json"
    options = ["--set", "dense.units=2,512", "--seeds", "2", "--validation", "100", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["sweep", *options])
    sweep.main()
    result, printed = json.loads(out.read_text()), capsys.readouterr().out
    assert [point["values"]["dense.units"] for point in result["points"]] == ["512", "2"]
    assert "units" not in result["params"]["dense"]
    assert len(printed.splitlines()) == 3
    points = json.dumps(result | {"data": None, "params": None})  # these name the arrays, and the size of the test set
    assert "test" not in printed + points
    committed = json.loads((project / "metrics" / "scores.json").read_text())
    assert result["points"][0]["runs"][0] == committed["validation"]["accuracy"]  # the same seed, 0
    options_of_cluster: Any = {"dashboard_address": ":0", "local_directory": str(tmp_path / "dask")}
    with LocalCluster(n_workers=2, threads_per_worker=1, **options_of_cluster) as cluster:
        with Client(cluster) as client:
            client.register_plugin(Kill(str(tmp_path / "killed")))
        for where in (["--jobs", "2"], ["--scheduler", cluster.scheduler_address]):
            elsewhere = tmp_path / "elsewhere.json"
            monkeypatch.setattr(sys, "argv", ["sweep", *options[:-1], str(elsewhere), *where])
            sweep.main()
            assert elsewhere.read_bytes() == out.read_bytes()
    assert (tmp_path / "killed").exists()
    (tmp_path / "data").mkdir()
    data = prepare(100, tmp_path / "data")
    labels = data / "prepared" / "validation_labels.npy"
    np.save(labels, (np.load(labels) + np.uint8(1)) % np.uint8(10))  # another validation split gives another score
    assert validation_accuracy({"dense.units": "512"}, 0, data) < committed["validation"]["accuracy"] / 2


def shown(clone: Path) -> dict[str, Any]:
    """Return experiments by name, from `dvc exp show`: their number of units and their scores."""
    rows = json.loads(run_ok("dvc", "exp", "show", "--json", cwd=clone))
    found = {one["name"]: one["revs"][-1]["data"] for row in rows for one in row["experiments"] or []}
    return {
        name: {
            "units": data["params"]["params.yaml"]["data"]["dense"]["units"],
            "scores": data["metrics"]["metrics/scores.json"]["data"],
        }
        for name, data in found.items()
    }


@pytest.mark.slow
def test_dvc_experiments_in_a_clean_clone(project: Path, tmp_path: Path) -> None:
    """The commands run, queue, show, diff and apply work."""
    clone = tmp_path / "clone"
    run_ok("git", "clone", "--quiet", str(project), str(clone), cwd=tmp_path)
    output = run_ok("dvc", "exp", "run", "--name", "direct", "-S", "dense.units=16", cwd=clone)
    assert stages_run(output) == ["load", "preprocess", "train", "evaluate"]
    assert "val_accuracy: " in output  # the progress of training is shown
    run_ok("git", "checkout", "--quiet", ".", cwd=clone)
    run_ok("dvc", "exp", "run", "--queue", "-S", "dense.units=24,32", cwd=clone)
    queue = (sys.executable, "-m", "bench.queued")
    assert "queue: all experiments succeeded" in run_ok(*queue, "--jobs", "2", cwd=clone, env=AT_ROOT)
    found = shown(clone)
    assert sorted(experiment["units"] for experiment in found.values()) == [16, 24, 32]
    assert run_ok("git", "status", "--porcelain", cwd=clone) == ""  # the queue runs in other folders
    queued = next(name for name, experiment in found.items() if experiment["units"] == 24)
    difference = json.loads(run_ok("dvc", "exp", "diff", "--json", "direct", queued, cwd=clone))
    assert difference["params"]["params.yaml"]["dense.units"] == {"old": 16, "new": 24, "diff": 8}
    assert "validation.accuracy" in difference["metrics"]["metrics/scores.json"]
    run_ok("dvc", "exp", "apply", queued, cwd=clone)
    assert "units: 24" in (clone / "params.yaml").read_text()
    assert json.loads((clone / "metrics" / "scores.json").read_text()) == found[queued]["scores"]
    assert stages_run(run_ok("dvc", "repro", cwd=clone)) == []  # the experiment is the result of these parameters
    run_ok("dvc", "exp", "run", "--queue", "--name", "wrong", "-S", "dense.learning_rate=-1.0", cwd=clone)
    result = run(*queue, cwd=clone, env=AT_ROOT)
    assert result.returncode == 1
    assert result.stderr.startswith("ERROR: experiment wrong: failed: ")
    assert "parameter 'dense.learning_rate'" in result.stderr
    result = run(*queue, cwd=clone, env=AT_ROOT)
    assert result.stderr.startswith("ERROR: the queue: it has no experiments. Queue some, ")
    run_ok("dvc", "queue", "stop", "--kill", cwd=clone)
