"""The convnet's whole training on another kind of machine: what must be equal, and what is kept."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from bench import whole
from bench.convnet import Training
from bench.speed import this_machine
from bench.whole import accuracies, main, read_study, together, trained
from digits.study import study_params
from dvcproof.runtime.files import file_hash
from dvcproof.runtime.program import InputError
from tests.support.project import recipe_params
from tests.support.results import MACHINE

STUDY = {
    "machine": MACHINE,
    "contestants": {"7": {"runs": [{"seed": seed, "test_accuracy": 0.99 + seed / 100} for seed in range(3)]}},
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the parameters of the recipe, and stages that write a seed as the model."""
    recipe_params(tmp_path)
    monkeypatch.chdir(tmp_path)

    def run_convnet(name: str, training: Training, seed: int, _: Path, folder: Path) -> dict[str, Any]:
        assert training.values == {}
        (folder / "model.keras").write_text(f"model {seed}")
        return {name: {"seed": seed, "test_accuracy": 0.99 + seed / 100, "seconds": 30.5}}

    monkeypatch.setattr(whole, "run_convnet", run_convnet)
    return tmp_path


def test_the_first_seeds_of_the_study_are_trained(project: Path) -> None:
    found = list(trained(STUDY, accuracies(STUDY), 2, project))
    assert [(run["seed"], run["test_accuracy"], run["seconds"]) for run in found] == [(0, 0.99, 30.5), (1, 1.0, 30.5)]
    (project / "model").write_text("model 1")
    assert found[1]["sha256"] == file_hash(project / "model") != found[0]["sha256"]


@pytest.mark.parametrize("seeds", [0, 4])
def test_seeds_that_the_study_has_not_are_refused(project: Path, seeds: int) -> None:
    with pytest.raises(InputError, match=rf"--seeds: expected 1 to 3, which the study has\. Got {seeds}"):
        list(trained(STUDY, accuracies(STUDY), seeds, project))


def test_another_accuracy_than_the_studys_is_refused(project: Path) -> None:
    study = json.loads(json.dumps(STUDY))
    study["contestants"]["7"]["runs"][1]["test_accuracy"] = 0.5
    with pytest.raises(InputError) as error:
        list(trained(study, accuracies(study), 2, project))
    line = "test accuracy with seed 1: expected 0.5, as on test-1-2-cores. Got 1.0. See docs/reproducibility.md."
    assert str(error.value) == line


def run_of(seed: int, sha256: str) -> dict[str, Any]:
    return {"seed": seed, "test_accuracy": 0.99, "seconds": 30.5, "sha256": sha256}


def test_each_kind_of_machine_is_kept_once() -> None:
    here, other = MACHINE, MACHINE | {"kind": "another-1-2-cores"}
    first = together([run_of(0, "a"), run_of(1, "b")], here, [])
    assert first == [{"machine": here, "runs": [run_of(0, "a"), run_of(1, "b")]}]
    both = together([run_of(0, "a")], other, first)
    assert [one["machine"]["kind"] for one in both] == ["another-1-2-cores", "test-1-2-cores"]
    assert together([run_of(0, "z")], here, first) == [{"machine": here, "runs": [run_of(0, "z")]}]  # it is renewed


def test_other_bytes_on_another_kind_are_refused() -> None:
    first = together([run_of(0, "a"), run_of(1, "b")], MACHINE, [])
    with pytest.raises(InputError, match=r"model with seed 1: expected b, as on test-1-2-cores\. Got c"):
        together([run_of(0, "a"), run_of(1, "c")], MACHINE | {"kind": "another"}, first)


@pytest.mark.parametrize("name", ["params", "data"])
def test_a_study_of_something_else_is_refused(tmp_path: Path, name: str) -> None:
    valid_for = {"params": {"train": {"shards": 2}}, "data": {"train_images.npy": "ab"}}
    path = tmp_path / "convnet.json"
    path.write_text(json.dumps(STUDY | valid_for))
    assert read_study(path, valid_for)["machine"] == MACHINE
    with pytest.raises(InputError, match=r"Got one of others\. Run `make study NAME=convnet` first"):
        read_study(path, valid_for | {name: {}})


@pytest.fixture
def studied(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project with a study, and the words of a call of the program; the result."""
    valid_for = {"params": study_params(Path("params.yaml"), "convnet", scored=False), "data": {}}
    monkeypatch.setattr(whole, "data_hashes", dict)
    (project / "convnet.json").write_text(json.dumps(STUDY | valid_for))
    words = ("--study", "convnet.json", "--seeds", "2", "--data", "data", "--out", "whole.json")
    monkeypatch.setattr(sys, "argv", ["whole", *words])
    return project / "whole.json"


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def machines(path: Path) -> list[dict[str, Any]]:
    return list(json.loads(path.read_text())["machines"])


def test_the_program_adds_this_kind_of_machine(studied: Path) -> None:
    main()
    (only,) = machines(studied)
    assert only["machine"] == this_machine()
    assert [run["seed"] for run in only["runs"]] == [0, 1]
    edit(studied, this_machine()["kind"], "another-kind")
    main()
    assert [one["runs"] for one in machines(studied)] == [only["runs"]] * 2


def test_what_is_written_stays_if_the_bytes_differ(studied: Path) -> None:
    main()
    edit(studied, this_machine()["kind"], "another-kind")
    edit(studied, machines(studied)[0]["runs"][0]["sha256"], "0" * 64)
    before = studied.read_bytes()
    with pytest.raises(InputError, match="SHA-256 of the model with seed 0"):
        main()
    assert studied.read_bytes() == before


@pytest.mark.parametrize("text", ["", "{", "[]", '{"machines": 3}'])
def test_a_damaged_result_is_written_anew(studied: Path, text: str) -> None:
    main()
    good = machines(studied)
    studied.write_text(text)
    main()
    assert [one["machine"] for one in machines(studied)] == [one["machine"] for one in good]


def test_runs_that_the_study_contradicts_are_not_kept(studied: Path) -> None:
    main()
    edit(studied, this_machine()["kind"], "another-kind")
    edit(studied, '"test_accuracy": 0.99', '"test_accuracy": 0.98')
    main()
    assert [one["machine"] for one in machines(studied)] == [this_machine()]


def test_runs_of_other_data_are_not_kept(studied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    main()
    edit(studied, this_machine()["kind"], "another-kind")
    monkeypatch.setattr(whole, "data_hashes", lambda: {"train_images.npy": "ab"})
    edit(studied.with_name("convnet.json"), '"data": {}', '"data": {"train_images.npy": "ab"}')
    main()
    assert [one["machine"] for one in machines(studied)] == [this_machine()]
