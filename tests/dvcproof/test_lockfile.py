"""dvcproof.lockfile: the records in dvc.lock, and the comparison with files and parameters."""

from pathlib import Path

import pytest

from dvcproof.lockfile import Lock, parse_lock, read_lock, require_recorded, require_same_params
from dvcproof.runtime.files import file_hash
from dvcproof.runtime.program import InputError
from dvcproof.values import set_params
from tests.support.project import ROOT, recipe_params
from tests.support.refusal import one_line

TEXT = """schema: '2.0'
stages:
  load:
    cmd: python load.py
    deps: [{path: code, md5: c0de.dir}, {path: 'https://localhost/digits.npz', checksum: '"e"'}]
    outs: [{path: raw/test_labels.npy, md5: '11'}]
  train:
    cmd: python train.py
    deps: [{path: raw/test_labels.npy, md5: '11'}]
    params: {params.yaml: {dense: {units: 16}, train: {model: dense, seed: 0}}}
    outs: [{path: model.keras, md5: '22'}]
  evaluate:
    cmd: python evaluate.py
    deps: [{path: model.keras, md5: '22'}]
    params: {params.yaml: {class_names: [a, b]}}
    outs: [{path: scores.json, md5: '33'}]
  twice:
    cmd: python twice.py
    deps: [{path: scores.json, md5: '33'}, {path: raw/test_labels.npy, md5: '11'}]
    outs: [{path: twice.txt}]
"""


@pytest.fixture
def lock() -> Lock:
    return parse_lock(TEXT)


def test_what_a_lock_says(lock: Lock) -> None:
    expected = {"dense.units": 16, "train.model": "dense", "train.seed": 0, "class_names": ["a", "b"]}
    assert lock.params() == expected
    assert lock.only(["load"]).params() == {}
    assert lock.inputs() == {"code": "c0de.dir", "https://localhost/digits.npz": None}
    made = {"raw/test_labels.npy", "model.keras", "scores.json", "twice.txt"}
    assert lock.files().keys() - lock.inputs().keys() == {out.path for out in lock.outputs()} == made
    assert lock.named("test_labels.npy", "x") == {"raw/test_labels.npy": "11"}
    assert [*read_lock(ROOT / "dvc.lock").stages] == ["load", "preprocess", "train", "evaluate"]


@pytest.mark.parametrize(
    ("path", "stages"),
    [
        ("twice.txt", ["load", "train", "evaluate", "twice"]),  # two ways lead there
        ("scores.json", ["load", "train", "evaluate"]),
        ("raw/test_labels.npy", ["load"]),
        ("code", []),
    ],
)
def test_the_stages_that_lead_to_a_file(lock: Lock, path: str, stages: list[str]) -> None:
    assert lock.upstream(path) == stages


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no such file"),
        ("stages: \xff\n", r"a damaged file \(.*utf-8"),
        ("", r"a damaged file \(the whole: Input should be a valid dictionary"),
        ("- a\n", r"a damaged file \(the whole: Input should be"),
        ("stages: 5\n", r"a damaged file \(stages: Input should be a valid dictionary"),
        ("stages: {train: {}}\n", r"a damaged file \(stages.train.cmd: Field required"),
        (
            "stages: {train: {cmd: x, outs: [{md5: '1'}]}}\n",
            r".* \(stages.train.outs.0.path: Field required",
        ),
        (
            "stages: {train: {cmd: x, deps: {path: a}}}\n",
            r".* \(stages.train.deps: Input should be a valid list",
        ),
        ("stages: [\n", r"a damaged file \(ParserError"),
        ("stages: {a: 1\n<<<<<<< HEAD\n", r"a damaged file \((Scanner|Parser)Error"),
        ("!!bool 5\n", r"a damaged file \(KeyError"),
        ("stages: {}\nstages: {}\n", r"a damaged file \(DuplicateKeyError"),
        ("\x00", r"a damaged file \(ReaderError"),
    ],
)
def test_a_damaged_lock_is_refused_in_one_line(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "dvc.lock"
    if text is not None:
        path.write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=rf"dvc\.lock: expected a dvc\.lock\. Got {message}") as error:
        read_lock(path)
    assert one_line(f"ERROR: {error.value}").endswith("Run `dvc repro`." if text is None else "Restore it from Git.")


@pytest.fixture
def run(tmp_path: Path) -> tuple[Lock, Path]:
    """Return a run of the dense network, and the params.yaml that it was made with."""
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


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "  units: 512",
            "  units: 64",
            r"'dense\.units' in .*: expected 512, as in dvc\.lock\. Got 64\. Run",
        ),
        ("  model: dense", "  model: convnet", r"'train\.model' in .*: expected 'dense', .* Got 'convnet'\."),
        ("  units: 512", "", r"'dense\.units' in .*: expected 512, as in dvc\.lock\. Got nothing\."),
        ("  units: 512", "  units: 512\n  dropout: 0.5", r"'dense\.dropout' in .*: expected none, .* Got 0\.5\."),
    ],
)
def test_another_value_is_refused(run: tuple[Lock, Path], old: str, new: str, message: str) -> None:
    text = run[1].read_text(encoding="utf-8")
    assert f"\n{old}\n" in text
    run[1].write_text(text.replace(f"\n{old}\n", f"\n{new}\n"), encoding="utf-8")
    with pytest.raises(InputError, match=message) as error:
        require_same_params(*run)
    one_line(f"ERROR: {error.value}")


def test_a_run_without_parameters_agrees_with_any(tmp_path: Path) -> None:
    require_same_params(parse_lock("stages: {load: {cmd: x}}"), recipe_params(tmp_path))


@pytest.fixture
def recorded(tmp_path: Path) -> tuple[Path, Lock]:
    """Return a file, and a lock that names it by its path."""
    path = tmp_path / "scores.json"
    path.write_text("{}", encoding="utf-8")
    out = {"path": path.as_posix(), "md5": file_hash(path, "md5")}
    return path, Lock.model_validate({"stages": {"evaluate": {"cmd": "x", "outs": [out]}}})


def test_a_recorded_file(recorded: tuple[Path, Lock], tmp_path: Path) -> None:
    path, lock = recorded
    require_recorded(path, lock)
    other = path.rename(tmp_path / "other.json")
    require_recorded(other, lock, str(path))
    with pytest.raises(InputError, match=r"other\.json: expected a file in dvc\.lock\. Got a file that is not there"):
        require_recorded(other, lock)
    with pytest.raises(FileNotFoundError, match=r"scores\.json"):
        require_recorded(path, lock)


def test_a_file_of_another_content_is_refused(recorded: tuple[Path, Lock]) -> None:
    path, lock = recorded
    path.write_text("[]", encoding="utf-8")
    digest = "99914b932bd37a50b983c5e7c90ae93b"  # md5sum of {}
    message = rf"scores\.json: expected the file that dvc\.lock names, MD5 {digest}\. Got MD5 \w{{32}}\."
    with pytest.raises(InputError, match=message) as error:
        require_recorded(path, lock)
    one_line(f"ERROR: {error.value}")
