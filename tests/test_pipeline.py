"""The whole graph: which stages a change makes stale, and the output of DVC's commands."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from dvcproof.values import set_params
from tests.support.project import ROOT, Arrays, run, run_ok, stages_run
from tests.support.server import Server
from tests.support.verifying import IMPORTED, small_project

STAGES = ["load", "preprocess", "train", "evaluate"]
#: Folders of code that stages depend on as a whole.
ROOMS = ("digits/data", "digits/scoring", "digits/sources", "dvcproof/runtime", "exactkeras")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, digits: Arrays) -> Path:
    """Return a project on the small sample in which every stage has run once."""
    return small_project(tmp_path_factory, digits)


@pytest.fixture
def copy(built: Path, tmp_path: Path) -> Path:
    """Return a copy of the built project with its cache, which a test may change."""
    target = tmp_path / "copy"
    shutil.copytree(built, target, symlinks=True)
    return target


@pytest.fixture
def params(copy: Path) -> Path:
    """Return the params.yaml of the copy."""
    return copy / "params.yaml"


def stale(project: Path) -> list[str]:
    """Return the stages that DVC would run, in the order of the graph."""
    status = json.loads(run_ok("dvc", "status", "--json", cwd=project))
    return [stage for stage in STAGES if stage in status]


def repro(project: Path) -> list[str]:
    """Run `dvc repro`, and return the stages that it executes."""
    return stages_run(run_ok("dvc", "repro", cwd=project))


def refused(project: Path, *options: str) -> str:
    """Run `dvc repro`, which must fail without a traceback, and return its standard error."""
    result = run("dvc", "repro", *options, cwd=project)
    assert result.returncode != 0
    assert "Traceback" not in result.stderr
    return result.stderr


# Code: the stages that an edit makes stale

EDITS = {
    "digits/apps/**/*": [],
    "digits/[!np]*.py": [],
    "digits/param_errors.py": [],
    "digits/networks.py": ["train"],
    "digits/params.py": STAGES,
    "digits/scoring/*": ["evaluate"],
    "digits/sources/*": ["load"],
    "digits/data/*": STAGES,
    "dvcproof/*.py": [],
    "dvcproof/runtime/*": STAGES,
    "exactkeras/*": ["train", "evaluate"],
    "exactkeras/*.md": [],
    "bench/**/*": [],
    "stages/*": STAGES,
    "requirements.lock": STAGES,
    "data/mnist.npz": ["load"],
}


def append(path: Path) -> None:
    """Append a line to a text file."""
    with path.open("a", encoding="utf-8") as file:
        file.write("# changed\n")


@pytest.mark.parametrize("pattern", EDITS)
def test_an_edit_makes_only_its_own_stages_stale(copy: Path, pattern: str) -> None:
    if pattern.startswith("bench"):  # no stage uses bench, so that the test projects lack it
        shutil.copytree(ROOT / "bench", copy / "bench", ignore=shutil.ignore_patterns("__pycache__"))
    files = [path for path in copy.glob(pattern) if path.is_file() and path.suffix != ".pyc"]
    assert files
    for file in files:
        append(file)
    assert stale(copy) == EDITS[pattern]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_that_succeeds_has_imported_no_wording_of_errors(built: Path, stage: str) -> None:
    modules = (built / IMPORTED / stage).read_text(encoding="utf-8").split()
    assert {"digits.params", "dvcproof.runtime.files"} <= set(modules)
    assert not {"dvcproof.messages", "dvcproof.package_errors", "dvcproof.values", "digits.param_errors"} & set(modules)


#: Files that editors, merges, Python, other tools and systems leave beside code.
STRAYS = [".fit.py.swp", "fit.py~", "#fit.py#", ".#fit.py", ".idea/misc.xml", ".vscode/settings.json"]
STRAYS += ["fit.py.orig", "fit.py.rej", "fit.py.bak", "fit.py.tmp", ".writing-1/fit.py", "README.md", "beside.pyc"]
STRAYS += ["__pycache__/fit.cpython-311.pyc", ".DS_Store", ".ipynb_checkpoints/fit-checkpoint.py"]
STRAYS += [".mypy_cache/fit.json", "digits.egg-info/PKG-INFO"]
STRAYS += ["._fit.py", ".nfs0001", ".fuse_hidden0001", "Thumbs.db", "desktop.ini", "fit.py.save"]


def test_what_is_left_beside_code_is_no_edit(copy: Path) -> None:
    for path in (copy / room / name for room in ROOMS for name in STRAYS):
        path.parent.mkdir(exist_ok=True)
        if path.name.startswith(".#"):  # a lock of Emacs: a dangling symlink
            path.symlink_to("somebody@somewhere.1234")
        else:
            path.write_text("stray", encoding="utf-8")
    assert stale(copy) == []


@pytest.mark.fast(2)
@pytest.mark.parametrize("name", ["attention.py", "fit.pyx", "swp", "orig.py", "notes.txt", "table.json", "md"])
def test_any_other_new_file_is_an_edit(copy: Path, name: str) -> None:
    for room in ROOMS:
        (copy / room / name).write_text("new", encoding="utf-8")
    assert stale(copy) == STAGES


def test_nothing_changed_runs_nothing(copy: Path) -> None:
    assert repro(copy) == []
    assert run_ok("git", "status", "--porcelain", cwd=copy) == ""


# Parameters


@pytest.mark.fast(2)
@pytest.mark.parametrize(
    ("name", "value", "stages"),
    [
        ("dense.units", 8, ["train"]),
        ("convnet.filters", 8, []),  # a parameter of the network that is not trained
        ("load.source", "data/again.npz", ["load"]),
        ("preprocess.validation_size", 1, ["preprocess"]),
        ("train.model", "convnet", ["train"]),
        ("train.seed", 8, ["train"]),
        ("evaluate.worst", 1, ["evaluate"]),
        ("class_names", None, ["evaluate"]),
    ],
)
def test_a_parameter_makes_its_stage_stale(
    copy: Path, params: Path, name: str, value: object, stages: list[str]
) -> None:
    shutil.copy(copy / "data" / "mnist.npz", copy / "data" / "again.npz")
    set_params(params, {name: value})
    assert stale(copy) == stages


@pytest.mark.slow
def test_both_networks_stay_cached(copy: Path, params: Path) -> None:
    """One parameter selects the network. After both are trained, switching between them needs no training."""
    found = list[tuple[str, bytes]]()
    for model in ("dense", "convnet", "dense", "convnet"):
        set_params(params, {"train.model": model, "convnet.epochs": 3 if model == "convnet" else 7})
        output = run_ok("dvc", "repro", cwd=copy)
        assert stages_run(output) == (["train", "evaluate"] if len(found) == 1 else [])
        found.append(((copy / "dvc.lock").read_text(), (copy / "data" / "model.keras").read_bytes()))
        if len(found) > 2:
            assert "Stage 'train' is cached" in output
    assert found[:2] == found[2:]
    assert found[0][1] != found[1][1]
    history = json.loads((copy / "metrics" / "history.json").read_text())
    assert [epoch["epoch"] for epoch in history["epochs"]] == [1, 2, 3]


# Data


@pytest.mark.slow
def test_a_pinned_address_is_a_source_that_dvc_watches(
    copy: Path, params: Path, server: Server, small_npz: Path, digits: Arrays
) -> None:
    server.files["small.npz"] = small_npz.read_bytes()
    set_params(params, {"load.source": server.address("small.npz")})
    assert repro(copy) == ["load"]  # equal arrays: later stages do not run again
    assert repro(copy) == []
    assert len(list((copy.parent / "cache" / "digits").iterdir())) == 1
    np.savez(small_npz, **(digits | {"y_test": digits["y_test"][::-1]}))  # type: ignore[arg-type]
    server.files["small.npz"] = small_npz.read_bytes()
    assert "small.npz" in run_ok("dvc", "status", cwd=copy)
    (copy.parent / "cache" / "digits").rename(copy.parent / "forgotten")
    assert "expected the SHA-256" in refused(copy)


@pytest.mark.slow
def test_the_commands_of_dvc_show_what_a_change_did(copy: Path, params: Path) -> None:
    set_params(params, {"preprocess.validation_size": 100, "dense.units": 24})
    assert repro(copy) == ["preprocess", "train", "evaluate"]
    scores = json.loads((copy / "metrics" / "scores.json").read_text())
    assert 0 < scores["validation"]["accuracy"] <= 1
    history = json.loads((copy / "metrics" / "history.json").read_text())
    assert history["last_epoch"]["val_accuracy"] == history["epochs"][-1]["val_accuracy"] > 0
    for command, words in (
        ("params diff", "dense.units"),
        ("metrics diff", "test.accuracy"),
        ("metrics show", "metrics/scores.json"),
        ("dag", "preprocess"),
    ):
        assert words in run_ok("dvc", *command.split(), cwd=copy)
    run_ok("dvc", "plots", "diff", "HEAD", cwd=copy)
    page = (copy / "dvc_plots" / "index.html").read_text()
    for title in ("learning curves", "confusion matrix", "val_accuracy"):
        assert title in page.lower()
    assert 'src="https://cdn.' in page  # so the summary names `make report`, which works offline


@pytest.mark.slow
def test_names_of_classes_run_only_evaluate_and_too_many_fail(copy: Path, params: Path) -> None:
    set_params(params, {"class_names": [*"0123456", "seven", *"89"]})
    assert repro(copy) == ["evaluate"]
    assert "\nseven," in (copy / "metrics" / "per_class.csv").read_text(encoding="utf-8")
    set_params(params, {"class_names": [*"0123456789", "ten"]})
    words = "parameter 'class_names': expected 10 names, one for each of the labels 0 to 9. Got 11 names."
    assert words in refused(copy)
    run_ok("git", "checkout", "params.yaml", cwd=copy)
    assert repro(copy) == []
    assert run_ok("git", "status", "--porcelain", cwd=copy) == ""
