"""dvcproof.lockfile: what dvc.lock records, and whether files, parameters or another lock agree with it."""

import re
from pathlib import Path
from typing import Any

import pytest

from dvcproof.lockfile import (
    Change,
    Fact,
    Lock,
    causes,
    changes,
    facts,
    parse_lock,
    read_lock,
    require_recorded,
    require_same_params,
)
from dvcproof.runtime.files import file_hash
from dvcproof.runtime.program import InputError
from dvcproof.values import set_params
from tests.support.project import ROOT, recipe_params
from tests.support.refusal import one_line

TEXT = """schema: '2.0'
stages:
  load:
    cmd: python load.py
    deps:
    - path: code
      hash: md5
      md5: c0de.dir
      size: 12
      nfiles: 2
    - path: https://localhost/digits.npz
      hash: md5
      checksum: '"e"'
      size: 3
    outs:
    - path: raw/test_labels.npy
      hash: md5
      md5: '11'
      size: 5
  train:
    cmd: python train.py
    deps:
    - path: raw/test_labels.npy
      hash: md5
      md5: '11'
      size: 5
    params:
      params.yaml:
        dense:
          units: 16
        train:
          model: dense
          seed: 0
    outs:
    - path: model.keras
      hash: md5
      md5: '22'
      size: 7
  evaluate:
    cmd: python evaluate.py
    deps:
    - path: model.keras
      hash: md5
      md5: '22'
      size: 7
    params:
      params.yaml:
        class_names:
        - a
        - b
    outs:
    - path: scores.json
      hash: md5
      md5: '33'
      size: 9
"""


@pytest.fixture
def lock() -> Lock:
    return parse_lock(TEXT)


def with_units(value: Any) -> Lock:
    """A lock of one stage that ran with this value of `dense.units`."""
    params = {"params.yaml": {"dense": {"units": value}}}
    return Lock.model_validate({"stages": {"train": {"cmd": "x", "params": params}}})


def test_the_projects_own_lock_is_read() -> None:
    stages = read_lock(ROOT / "dvc.lock").stages
    assert list(stages) == ["load", "preprocess", "train", "evaluate"]


def test_every_parameter_by_its_whole_name(lock: Lock) -> None:
    expected = {"dense.units": 16, "train.model": "dense", "train.seed": 0, "class_names": ["a", "b"]}
    assert lock.params() == expected
    assert lock.only(["load"]).params() == {}


def test_inputs_are_what_no_stage_wrote(lock: Lock) -> None:
    assert lock.inputs() == {"code": "c0de.dir", "https://localhost/digits.npz": None}
    assert lock.files().keys() - lock.inputs().keys() == {"raw/test_labels.npy", "model.keras", "scores.json"}
    assert lock.named("test_labels.npy", "x") == {"raw/test_labels.npy": "11"}


def test_the_stages_that_lead_to_a_file(lock: Lock) -> None:
    assert lock.upstream("scores.json") == ["load", "train", "evaluate"]
    assert lock.upstream("raw/test_labels.npy") == ["load"]
    assert lock.upstream("code") == []


def test_a_stage_stands_once_however_often_it_is_used() -> None:
    """Two ways lead from the first stage to the last."""
    outs, deps = {"a": ["a1", "a2"], "b": ["b"], "c": ["c"]}, {"a": [], "b": ["a1"], "c": ["b", "a2"]}
    stages = {
        name: {"cmd": "x", "deps": [{"path": dep} for dep in deps[name]], "outs": [{"path": out} for out in outs[name]]}
        for name in outs
    }
    assert Lock.model_validate({"stages": stages}).upstream("c") == ["a", "b", "c"]


def test_facts_of_every_kind(lock: Lock) -> None:
    found = facts(lock)
    assert found[Fact("train", "command", "")] == "python train.py"
    assert found[Fact("load", "dependency", "code")] == "md5 c0de.dir, size 12, nfiles 2"
    assert found[Fact("load", "dependency", "https://localhost/digits.npz")] == 'size 3, checksum "e"'
    assert found[Fact("train", "output", "model.keras")] == "md5 22, size 7"
    assert found[Fact("train", "parameter", "train.model in params.yaml")] == '"dense"'
    assert found[Fact("evaluate", "parameter", "class_names in params.yaml")] == '["a", "b"]'
    assert len(found) == 3 + 4 + 3 + 4  # commands, dependencies, outputs, parameters


def test_a_fact_in_words() -> None:
    assert str(Fact("train", "output", "model.keras")) == "stage 'train', output model.keras"
    assert str(Fact("train", "command", "")) == "stage 'train', command"


def test_equal_locks_have_no_changes(lock: Lock) -> None:
    assert changes(lock, parse_lock(TEXT)) == []


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("units: 16", "units: 64", Change(Fact("train", "parameter", "dense.units in params.yaml"), "16", "64")),
        ("cmd: python load.py", "cmd: sh", Change(Fact("load", "command", ""), "python load.py", "sh")),
        (
            "size: 9",
            "size: 10",
            Change(Fact("evaluate", "output", "scores.json"), "md5 33, size 9", "md5 33, size 10"),
        ),
        (
            "nfiles: 2",
            "nfiles: 3",
            Change(
                Fact("load", "dependency", "code"), "md5 c0de.dir, size 12, nfiles 2", "md5 c0de.dir, size 12, nfiles 3"
            ),
        ),
        (
            "          seed: 0\n",
            "",
            Change(Fact("train", "parameter", "train.seed in params.yaml"), "0", None),
        ),
        (
            "          seed: 0\n",
            "          seed: 0\n          more: 1\n",
            Change(Fact("train", "parameter", "train.more in params.yaml"), None, "1"),
        ),
    ],
)
def test_one_change(lock: Lock, old: str, new: str, expected: Change) -> None:
    assert TEXT.count(old) == 1
    assert changes(lock, parse_lock(TEXT.replace(old, new))) == [expected]


@pytest.mark.parametrize(("old", "new"), [(1, True), (1, 1.0), (0, False), (1, "1"), (None, "null")])
def test_values_of_other_types_are_changes(old: Any, new: Any) -> None:
    (change,) = changes(with_units(old), with_units(new))
    assert change.recorded != change.found


def test_a_stage_of_one_lock_only_is_no_change(lock: Lock) -> None:
    assert changes(lock, lock.only(["load", "train"])) == []


def test_what_follows_from_a_changed_output_is_no_cause(lock: Lock) -> None:
    found = changes(lock, parse_lock(TEXT.replace("'22'", "'44'").replace("c0de", "c0ffee")))
    assert [str(change.fact) for change in found] == [
        "stage 'load', dependency code",
        "stage 'train', output model.keras",
        "stage 'evaluate', dependency model.keras",
    ]
    assert causes(found) == found[:2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the whole: Input should be a valid dictionary"),
        ("- a\n", "the whole: Input should be"),
        ("stages: 5\n", "stages: Input should be a valid dictionary"),
        ("stages: {train: {}}\n", "stages.train.cmd: Field required"),
        ("stages: {train: {cmd: x, outs: [{md5: '1'}]}}\n", "stages.train.outs.0.path: Field required"),
        ("stages: {train: {cmd: x, deps: {path: a}}}\n", "stages.train.deps: Input should be a valid list"),
        ("stages: [\n", "ParserError"),
        ("stages: {a: 1\n<<<<<<< HEAD\n", "(Scanner|Parser)Error"),
        ("!!bool 5\n", "KeyError"),
        ("stages: {}\nstages: {}\n", "DuplicateKeyError"),
        ("\x00", "ReaderError"),
    ],
)
def test_a_damaged_lock_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "dvc.lock"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=rf"dvc\.lock: expected a dvc\.lock\. Got a damaged file \({message}") as error:
        read_lock(path)
    line = one_line(f"ERROR: {error.value}")
    assert line.endswith("Restore it from Git.")


def test_a_lock_that_is_no_text_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "dvc.lock").write_bytes(b"stages: \xff\n")
    with pytest.raises(InputError, match=r"expected a dvc\.lock\. Got a damaged file \(.*utf-8.*\)\. Restore") as error:
        read_lock(tmp_path / "dvc.lock")
    one_line(f"ERROR: {error.value}")


def test_a_missing_lock_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected a dvc\.lock\. Got no such file\. Run `dvc repro`\.") as error:
        read_lock(tmp_path / "dvc.lock")
    one_line(f"ERROR: {error.value}")


@pytest.fixture
def run(tmp_path: Path) -> tuple[Lock, Path]:
    """A run of the dense network, and the params.yaml that it was made with."""
    params = recipe_params(tmp_path)
    dense = {"optimizer": "rmsprop", "learning_rate": 0.001, "epochs": 5, "batch_size": 128, "units": 512}
    train = {"model": "dense", "seed": 7, "shards": 2, "device": "cpu"}
    recorded = {"params.yaml": {"dense": dense, "train": train}}
    lock = Lock.model_validate({"stages": {"train": {"cmd": "x", "params": recorded}}})
    return lock, params


def test_the_same_params(run: tuple[Lock, Path]) -> None:
    require_same_params(*run)


@pytest.mark.parametrize("name", ["convnet.filters", "load.source", "evaluate.worst", "class_names"])
def test_a_section_that_the_run_did_not_use_is_not_compared(run: tuple[Lock, Path], name: str) -> None:
    set_params(run[1], {name: 5})
    require_same_params(*run)


@pytest.mark.parametrize(("name", "value"), [("dense.units", 64), ("train.seed", 8), ("train.model", "convnet")])
def test_another_value_is_refused(run: tuple[Lock, Path], name: str, value: object) -> None:
    recorded = run[0].params()[name]
    set_params(run[1], {name: value})
    message = f"parameter '{name}' in .*: expected {recorded!r}, as in dvc.lock. Got {value!r}. Run `dvc repro`."
    with pytest.raises(InputError, match=message) as error:
        require_same_params(*run)
    one_line(f"ERROR: {error.value}")


def test_a_value_that_is_gone_is_refused(run: tuple[Lock, Path]) -> None:
    text = run[1].read_text(encoding="utf-8")
    run[1].write_text(re.sub(r"\n  units: 512\n", "\n", text), encoding="utf-8")
    with pytest.raises(InputError, match=r"'dense\.units' in .*: expected 512, as in dvc\.lock\. Got nothing\."):
        require_same_params(*run)


def test_a_value_that_the_run_did_not_have_is_refused(run: tuple[Lock, Path]) -> None:
    text = run[1].read_text(encoding="utf-8")
    run[1].write_text(text.replace("\n  units: 512\n", "\n  units: 512\n  dropout: 0.5\n"), encoding="utf-8")
    with pytest.raises(InputError, match=r"'dense\.dropout' in .*: expected none, as in dvc\.lock\. Got 0\.5\."):
        require_same_params(*run)


def test_a_run_without_parameters_agrees_with_any(tmp_path: Path) -> None:
    require_same_params(parse_lock("stages: {load: {cmd: x}}"), recipe_params(tmp_path))


@pytest.fixture
def recorded(tmp_path: Path) -> tuple[Path, Lock]:
    """A file, and a lock that names it by its path."""
    path = tmp_path / "scores.json"
    path.write_text("{}", encoding="utf-8")
    out = {"path": path.as_posix(), "md5": file_hash(path, "md5")}
    return path, Lock.model_validate({"stages": {"evaluate": {"cmd": "x", "outs": [out]}}})


def test_a_recorded_file(recorded: tuple[Path, Lock], tmp_path: Path) -> None:
    path, lock = recorded
    require_recorded(path, lock)
    require_recorded(path.rename(tmp_path / "copy"), lock, str(path))


def test_a_file_of_another_content_is_refused(recorded: tuple[Path, Lock]) -> None:
    path, lock = recorded
    path.write_text("[]", encoding="utf-8")
    message = rf"scores\.json: expected the file that dvc\.lock names, MD5 {file_hash_of_braces()}\. Got MD5 \w{{32}}\."
    with pytest.raises(InputError, match=message) as error:
        require_recorded(path, lock)
    one_line(f"ERROR: {error.value}")


def file_hash_of_braces() -> str:
    return "99914b932bd37a50b983c5e7c90ae93b"  # md5sum of {}


def test_a_file_that_the_lock_does_not_name_is_refused(recorded: tuple[Path, Lock], tmp_path: Path) -> None:
    path, lock = recorded
    other = path.rename(tmp_path / "other.json")
    with pytest.raises(InputError, match=r"other\.json: expected a file that dvc\.lock names\. Got one that it does"):
        require_recorded(other, lock)


def test_a_recorded_file_that_is_absent(recorded: tuple[Path, Lock]) -> None:
    recorded[0].unlink()
    with pytest.raises(FileNotFoundError, match=r"scores\.json"):
        require_recorded(*recorded)
