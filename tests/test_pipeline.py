"""The whole graph: what runs again when something changes, and what DVC's commands have to show."""

import ast
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.conftest import ROOT, Arrays, commit, make_project, run, run_ok, stages_run
from tests.test_sources import Server
from tests.test_sources import authority as authority  # noqa: PLC0414 (a fixture)
from tests.test_sources import server as server  # noqa: PLC0414 (a fixture)
from verify.parameters import set_parameter

STAGES = ["load", "preprocess", "train", "evaluate"]
Edit = Callable[[Path, str, str], None]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, digits: Arrays) -> Path:
    """A project on the small sample in which every stage has run once."""
    project = make_project(tmp_path_factory.mktemp("built") / "project", digits)
    params = project / "params.yaml"
    params.write_text(params.read_text().replace("epochs: 5", "epochs: 2"), encoding="utf-8")
    output = run_ok("dvc", "repro", cwd=project)
    assert stages_run(output) == STAGES
    commit(project, "first run")
    return project


@pytest.fixture
def copy(built: Path, tmp_path: Path) -> Path:
    """A copy of the built project, cache and all, to change."""
    target = tmp_path / "copy"
    shutil.copytree(built, target, symlinks=True)
    return target


def graph() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"])


def imported(module: Path, seen: frozenset[Path] = frozenset()) -> frozenset[Path]:
    """Every file of `stages` that a file imports, at its top or inside a function, directly or through another."""
    seen |= {module}
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            path = ROOT / (name.replace(".", "/") + ".py")
            if name.startswith("stages.") and path.exists() and path not in seen:
                seen |= imported(path, seen)
    return seen


def code_deps(stage: str, stages: dict[str, Any]) -> set[str]:
    return {path for path in stages[stage]["deps"] if path.startswith("stages/")}


def imports_of(stage: str) -> set[str]:
    return {str(path.relative_to(ROOT)) for path in imported(ROOT / "stages" / f"{stage}.py")}


@pytest.mark.parametrize("stage", STAGES)
def test_deps_are_the_modules_that_the_stage_imports(stage: str) -> None:
    assert code_deps(stage, graph()) == imports_of(stage)


def test_the_import_tree_reaches_through_modules_and_functions() -> None:
    # evaluate imports network inside a function, and params imports console
    assert {"stages/network.py", "stages/console.py"} <= imports_of("evaluate")
    assert "stages/training.py" not in imports_of("evaluate")


def test_every_stage_has_a_description_and_depends_on_the_lock_file() -> None:
    for name, stage in graph().items():
        assert stage["desc"], name
        assert "requirements.lock" in stage["deps"], name


def test_code_holds_no_path_of_the_graph() -> None:
    paths = [path for stage in graph().values() for path in (*stage["deps"], *stage.get("outs", []))]
    folders = {str(Path(path).parent) for path in paths if path.startswith(("data/", "metrics/"))}
    modules = {ROOT / path for stage in graph().values() for path in stage["deps"] if path.endswith(".py")}
    assert len(modules) > 10
    for module in modules:
        strings = [
            node.value
            for node in ast.walk(ast.parse(module.read_text(encoding="utf-8")))
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " not in node.value
        ]
        assert not [text for text in strings if any(text.startswith(f"{folder}/") for folder in folders)], module


def test_nothing_changed_runs_nothing(copy: Path) -> None:
    cache = copy / "stages" / "__pycache__"
    cache.mkdir(exist_ok=True)
    (cache / "train.cpython-311.pyc").write_bytes(b"another")
    assert stages_run(run_ok("dvc", "repro", cwd=copy)) == []
    assert run_ok("git", "status", "--porcelain", cwd=copy) == ""


@pytest.mark.slow
def test_a_training_parameter_runs_train_and_evaluate_and_going_back_runs_nothing(copy: Path, edit: Edit) -> None:
    lock = (copy / "dvc.lock").read_text()
    edit(copy / "params.yaml", "epochs: 2", "epochs: 1")
    assert stages_run(run_ok("dvc", "repro", cwd=copy)) == ["train", "evaluate"]
    assert (copy / "dvc.lock").read_text() != lock
    edit(copy / "params.yaml", "epochs: 1", "epochs: 2")
    output = run_ok("dvc", "repro", cwd=copy)
    assert stages_run(output) == []
    assert "Stage 'train' is cached" in output
    assert (copy / "dvc.lock").read_text() == lock


@pytest.mark.slow
def test_the_convnet_is_one_parameter_away_and_both_models_stay_cached(copy: Path) -> None:
    params = copy / "params.yaml"
    set_parameter(params, "convnet.epochs", 3)
    run_ok("dvc", "repro", cwd=copy)
    commit(copy, "dense")
    set_parameter(params, "train.model", "convnet")
    assert stages_run(run_ok("dvc", "repro", cwd=copy)) == ["train", "evaluate"]
    history = json.loads((copy / "metrics" / "history.json").read_text())
    assert [epoch["epoch"] for epoch in history["epochs"]] == [1, 2, 3]
    convnet = (copy / "dvc.lock").read_text()
    run_ok("git", "checkout", ".", cwd=copy)
    assert stages_run(run_ok("dvc", "repro", cwd=copy)) == []
    assert run_ok("git", "status", "--porcelain", cwd=copy) == ""
    set_parameter(params, "train.model", "convnet")
    assert stages_run(run_ok("dvc", "repro", cwd=copy)) == []
    assert (copy / "dvc.lock").read_text() == convnet


@pytest.mark.slow
def test_code_of_evaluate_runs_only_evaluate(copy: Path) -> None:
    with (copy / "stages" / "scores.py").open("a") as file:
        file.write("# changed\n")
    assert stages_run(run_ok("dvc", "repro", cwd=copy)) == ["evaluate"]


@pytest.mark.slow
def test_names_of_classes_are_not_trained_for(copy: Path, edit: Edit) -> None:
    names = f"class_names: {json.dumps([str(label) for label in range(10)])}"
    edit(copy / "params.yaml", names, "class_names: null")
    assert stages_run(run_ok("dvc", "repro", cwd=copy)) == ["load", "evaluate"]
    assert run_ok("git", "status", "--porcelain", cwd=copy) == " M dvc.lock\n M params.yaml\n"  # and no metrics
    edit(copy / "params.yaml", "class_names: null", names.replace("7", "seven"))
    assert stages_run(run_ok("dvc", "repro", cwd=copy)) == ["load", "evaluate"]
    assert "\nseven," in (copy / "metrics" / "per_class.csv").read_text(encoding="utf-8")


def test_too_many_names_stop_the_run_before_anything_changes(copy: Path, edit: Edit) -> None:
    edit(copy / "params.yaml", '"9"]', '"9", "ten"]')
    result = run("dvc", "repro", cwd=copy)
    assert result.returncode != 0
    assert "ERROR: parameter 'class_names': expected 10 names, one for each of the labels 0 to 9. Got 11 names." in (
        result.stderr
    )
    assert run_ok("git", "status", "--porcelain", cwd=copy) == " M params.yaml\n"


@pytest.mark.slow
def test_another_data_file_runs_everything(copy: Path, digits: Arrays) -> None:
    np.savez(copy / "data" / "mnist.npz", **(digits | {"x_train": np.flip(digits["x_train"], axis=2)}))  # type: ignore[arg-type]
    assert stages_run(run_ok("dvc", "repro", cwd=copy)) == STAGES


def test_a_pinned_address_is_a_source_that_dvc_watches(
    copy: Path, edit: Edit, server: Server, small_npz: Path, digits: Arrays
) -> None:
    server.files["small.npz"] = small_npz.read_bytes()
    edit(copy / "params.yaml", "data/mnist.npz", server.address("small.npz"))
    assert stages_run(run_ok("dvc", "repro", cwd=copy)) == ["load"]  # equal arrays: what follows is not run again
    assert stages_run(run_ok("dvc", "repro", cwd=copy)) == []
    assert len(list((copy.parent / "cache" / "digits").iterdir())) == 1
    np.savez(small_npz, **(digits | {"y_test": digits["y_test"][::-1]}))  # type: ignore[arg-type]
    server.files["small.npz"] = small_npz.read_bytes()
    assert "small.npz" in run_ok("dvc", "status", cwd=copy)
    (copy.parent / "cache" / "digits").rename(copy.parent / "forgotten")
    result = run("dvc", "repro", cwd=copy)
    assert result.returncode != 0
    assert "expected the SHA-256" in result.stderr


def test_a_package_of_another_version_runs_everything(copy: Path) -> None:
    with (copy / "requirements.lock").open("a") as file:
        file.write("# another package\n")
    status = json.loads(run_ok("dvc", "status", "--json", cwd=copy))
    assert sorted(status) == sorted(STAGES)


@pytest.mark.parametrize("kind", ["dropped", "added"])
def test_a_parameter_dropped_or_added_makes_the_stage_stale(copy: Path, edit: Edit, kind: str) -> None:
    edit(copy / "params.yaml", "  units: 512\n", "" if kind == "dropped" else "  units: 512\n  dropout: 0.5\n")
    result = run("dvc", "repro", "--single-item", "train", cwd=copy)
    assert result.returncode != 0
    assert f"parameter 'train.{'units' if kind == 'dropped' else 'dropout'}'" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_a_validation_split_reaches_history_metrics_and_plots(copy: Path, edit: Edit) -> None:
    edit(copy / "params.yaml", "validation_size: 0", "validation_size: 100")
    assert stages_run(run_ok("dvc", "repro", cwd=copy)) == ["preprocess", "train", "evaluate"]
    scores = json.loads((copy / "metrics" / "scores.json").read_text())
    assert 0 < scores["validation"]["accuracy"] <= 1
    history = json.loads((copy / "metrics" / "history.json").read_text())
    assert [epoch["epoch"] for epoch in history["epochs"]] == [1, 2]
    assert history["last_epoch"]["val_accuracy"] == history["epochs"][-1]["val_accuracy"] > 0
    run_ok("dvc", "plots", "show", cwd=copy)
    page = (copy / "dvc_plots" / "index.html").read_text()
    assert "val_accuracy" in page


@pytest.mark.slow
def test_the_commands_of_dvc_show_what_a_change_did(copy: Path, edit: Edit) -> None:
    edit(copy / "params.yaml", "units: 512", "units: 16")
    run_ok("dvc", "repro", cwd=copy)
    assert "train.units" in run_ok("dvc", "params", "diff", cwd=copy)
    assert "test.accuracy" in run_ok("dvc", "metrics", "diff", cwd=copy)
    assert "metrics/scores.json" in run_ok("dvc", "metrics", "show", cwd=copy)
    assert "preprocess" in run_ok("dvc", "dag", cwd=copy)
    run_ok("dvc", "plots", "diff", "HEAD", cwd=copy)
    page = (copy / "dvc_plots" / "index.html").read_text()
    for title in ("learning curves", "confusion matrix"):
        assert title in page.lower()
    assert (copy / "dvc_plots" / "static").exists()


def test_the_model_is_an_artifact_that_dvc_knows(copy: Path) -> None:
    code = "from dvc.repo import Repo; print(Repo('.').artifacts.read()['dvc.yaml']['digits'].path)"
    assert run_ok(sys.executable, "-c", code, cwd=copy).strip() == "data/model.keras"


def test_a_stage_that_fails_fails_the_run_and_keeps_what_was_made(copy: Path, edit: Edit) -> None:
    edit(copy / "params.yaml", "learning_rate: 0.001", "learning_rate: -1.0")
    result = run("dvc", "repro", cwd=copy)
    assert result.returncode != 0
    assert "parameter 'train.learning_rate'" in result.stderr
    assert "Got -1.0" in result.stderr
    run_ok("git", "checkout", "params.yaml", cwd=copy)
    assert stages_run(run_ok("dvc", "repro", cwd=copy)) == []
