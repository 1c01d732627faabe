"""dvcproof.lockfile: the records in dvc.lock, and the comparison with files and parameters."""

from pathlib import Path

import pytest

from dvcproof.lockfile import Lock, parse_lock, parse_lock_document, read_lock, require_recorded, require_same_params
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


def test_what_a_lock_says() -> None:
    lock = parse_lock(TEXT)
    expected = {"dense.units": 16, "train.model": "dense", "train.seed": 0, "class_names": ["a", "b"]}
    assert lock.params() == expected
    assert lock.only(["load"]).params() == {}
    assert lock.inputs() == {"code": "c0de.dir", "https://localhost/digits.npz": None}
    made = {"raw/test_labels.npy", "model.keras", "scores.json", "twice.txt"}
    assert lock.files().keys() - lock.inputs().keys() == {out.path for out in lock.outputs()} == made
    assert lock.named("test_labels.npy", "x") == {"raw/test_labels.npy": "11"}
    assert lock.upstream("twice.txt") == ["load", "train", "evaluate", "twice"]  # two ways lead there
    assert lock.upstream("raw/test_labels.npy") == ["load"]
    assert lock.upstream("code") == []
    assert [*read_lock(ROOT / "dvc.lock").stages] == ["load", "preprocess", "train", "evaluate"]
    assert [*parse_lock_document(b"stages: {a: {cmd: x, outs: [{path: o, md5: 11}]}}\n")] == ["a"]  # made by hand


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no such file"),
        ("stages: \xff\n", r"a damaged file \(.*utf-8"),
        ("", r"a damaged file \(the whole: Input should be a valid dictionary"),
        ("stages: {train: {cmd: x, outs: [{md5: '1'}]}}\n", r".* \(stages.train.outs.0.path: Field required"),
        ("stages: [\n", r"a damaged file \(it is not YAML: ParserError"),
        ("!!bool 5\n", r"a damaged file \(it is not YAML: KeyError"),
        ("[" * 60_000, r"a damaged file \(it is not YAML: ValueError: more than 20 levels"),
        ("{a: " * 30_000, r"a damaged file \(it is not YAML: ValueError: more than 20 levels"),
        ("- " * 30_000, r"a damaged file \(it is not YAML: ValueError: more than 20 levels"),
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
    return parse_lock({"stages": {"train": {"cmd": "x", "params": recorded}}}), params


def test_a_section_that_the_run_did_not_use_is_not_compared(run: tuple[Lock, Path]) -> None:
    set_params(run[1], {"convnet.filters": 5, "class_names": 5})
    require_same_params(*run)
    require_same_params(parse_lock("stages: {load: {cmd: x}}"), run[1])


@pytest.mark.parametrize(
    ("new", "message"),
    [
        ("  units: 64", r"'dense\.units' in .*: expected 512, as in dvc\.lock\. Got 64\. Run"),
        ("", r"'dense\.units' in .*: expected 512, as in dvc\.lock\. Got nothing\."),
        ("  units: 512\n  dropout: 0.5", r"'dense\.dropout' in .*: expected none, .* Got 0\.5\."),
    ],
)
def test_another_value_is_refused(run: tuple[Lock, Path], new: str, message: str) -> None:
    text = run[1].read_text(encoding="utf-8")
    run[1].write_text(text.replace("\n  units: 512\n", f"\n{new}\n"), encoding="utf-8")
    with pytest.raises(InputError, match=message) as error:
        require_same_params(*run)
    one_line(f"ERROR: {error.value}")


def test_a_file_is_the_recorded_one(tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    path.write_text("{}", encoding="utf-8")
    out = {"path": path.as_posix(), "md5": file_hash(path, "md5")}
    lock = parse_lock({"stages": {"evaluate": {"cmd": "x", "outs": [out]}}})
    require_recorded(path, lock)
    other = path.rename(tmp_path / "other.json")
    require_recorded(other, lock, str(path))
    with pytest.raises(InputError, match=r"other\.json: dvc\.lock does not record this file\. Run"):
        require_recorded(other, lock)
    with pytest.raises(FileNotFoundError, match=r"scores\.json"):
        require_recorded(path, lock)
    path.write_text("[]", encoding="utf-8")
    digest = "99914b932bd37a50b983c5e7c90ae93b"  # md5sum of {}
    message = rf"scores\.json: expected the file that dvc\.lock names, MD5 {digest}\. Got MD5 \w{{32}}\."
    with pytest.raises(InputError, match=message):
        require_recorded(path, lock)
