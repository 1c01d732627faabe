"""Every form of a data set gives the same arrays or is refused, with the message in its row of docs/data.md."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from digits.sources import recognize
from digits.sources.recognize import Foreign
from dvcproof.runtime.program import InputError
from stages.load import load
from tests.support.forms import FORMS, WORDS, Form, few
from tests.support.loading import KEYS, refused
from tests.support.project import Arrays


def in_order(images: np.ndarray, labels: np.ndarray) -> list[tuple[int, bytes]]:
    """Return images and labels, sorted by their content."""
    return sorted((int(label), image.tobytes()) for label, image in zip(labels, images, strict=True))


@pytest.mark.parametrize("form", [form for form in FORMS if form.outcome != "refused"], ids=lambda form: form.title)
def test_a_form_gives_the_same_arrays(
    tmp_path: Path, digits: Arrays, monkeypatch: pytest.MonkeyPatch, form: Form
) -> None:
    monkeypatch.chdir(tmp_path)
    sample = few(digits)
    lines = load(str(form.make(Path(), sample)), Path("out"), test_size=form.test_size)
    assert form.said in " | ".join(lines[4:])
    assert form.outcome == ("converted" if form.said else "accepted")
    written = {name: np.load(f"out/{name}.npy") for name in KEYS}
    if "true and false" in form.title:
        sample |= {key: np.uint8(255) * np.greater(sample[key], 127) for key in ("x_train", "x_test")}
    if "exchanged" in form.said:
        sample |= {key: sample[key].swapaxes(1, 2) for key in ("x_train", "x_test")}
    if "zero" in form.said:
        order = np.argsort(sorted(range(10), key=WORDS.__getitem__))
        sample |= {key: order[sample[key]] for key in ("y_train", "y_test")}
    if form.test_size:
        assert len(written["test_labels"]) == form.test_size
        both = [np.concatenate([written[f"train_{what}"], written[f"test_{what}"]]) for what in ("images", "labels")]
        assert in_order(*both) == in_order(sample["x_train"], sample["y_train"])
        return
    for split in ("train", "test"):
        found = in_order(written[f"{split}_images"], written[f"{split}_labels"])
        assert found == in_order(sample[f"x_{split}"], sample[f"y_{split}"])
    if not any(words in form.title for words in ("pictures in", "classes by name", "in colour, with")):
        assert all(np.array_equal(written[name], sample[key]) for name, key in KEYS.items())


@pytest.mark.parametrize("form", [form for form in FORMS if form.outcome == "refused"], ids=lambda form: form.title)
def test_a_form_is_refused_with_its_words(
    tmp_path: Path, digits: Arrays, monkeypatch: pytest.MonkeyPatch, form: Form
) -> None:
    monkeypatch.chdir(tmp_path)
    assert form.said in refused(tmp_path, form.make(Path(), few(digits)))


@pytest.mark.parametrize("source", ["missing.npz", "missing/", "\x00", "x" * 200])
def test_a_source_that_is_not_there_is_refused(tmp_path: Path, source: str) -> None:
    assert "no such file or folder. Set `load.source` in params.yaml to a file, a folder" in refused(tmp_path, source)


# The test set


def test_the_step_of_a_refusal_works(tmp_path: Path, digits: Arrays) -> None:
    form = next(form for form in FORMS if "Kaggle" in form.title)
    source = form.make(tmp_path, few(digits))
    with pytest.raises(InputError, match=r"set `load\.test_size` to 20 in params\.yaml"):
        load(str(source), tmp_path / "out")
    assert len(load(str(source), tmp_path / "out", test_size=20)) > 4
    with pytest.raises(InputError, match=r"`load\.test_size` is 120\. To test on 20 of the 120"):
        load(str(source), tmp_path / "out", test_size=120)


def test_a_test_size_beside_a_test_set_is_refused(tmp_path: Path, small_npz: Path) -> None:
    with pytest.raises(InputError, match=r"'load\.test_size': it is 5, but .* has a test set\. Set .* to 0"):
        load(str(small_npz), tmp_path / "out", test_size=5)


# Kinds and purposes of files


@pytest.mark.parametrize(
    ("kind", "heads"),
    [
        (recognize.TABLE, [b"\xef\xbb\xbflabel" + b",p" * 64 + b"\r\n", b"1" + b";0" * 784, b"1" + b"\t0" * 784]),
        ("a file of unknown kind", [b"label,name\n1,one\n" + b"," * 100, b"\0\0\x08\x05", b"\0\0\x0a\x03"]),
        ("an XML document, perhaps a server's error message", [b"<?xml version='1.0'?><Error>"]),
        ("a .dvc file", [b"outs:\n- md5: 0\n"]),
        ("a MATLAB file", [b"MATLAB 5.0 MAT-file"]),
        ("an Arrow file", [b"ARROW1\0\0"]),
        ("a SQLite database", [b"SQLite format 3\0"]),
        ("JSON", [b' {"a": 1}']),
        ("a 7z or RAR archive", [b"7z\xbc\xaf\x27\x1c"]),
    ],
)
def test_a_kind_is_known_by_its_first_bytes(kind: str, heads: Sequence[bytes]) -> None:
    for found in map(recognize.kind_of, heads):
        assert (found.words if isinstance(found, Foreign) else found) == kind
        assert not isinstance(found, Foreign) or found.hint.endswith(".")


@pytest.mark.parametrize(
    ("split", "paths"),
    [
        ("train", ["train-images-idx3-ubyte", "X_train.npy", "trainX", "train/images.npy", "train.npz/X.npy"]),
        (
            "test",
            ["t10k-labels-idx1-ubyte (1).gz", "qmnist-test-labels-idx2-int.gz", "ytest", "train-test-split/test.csv"],
        ),
        ("validation", ["valid/3/1.png", "val_images.npy"]),
        (None, ["latest/contest.csv", "constrained.npy", "arr_0.npy"]),
    ],
)
def test_a_path_tells_its_set(split: str | None, paths: Sequence[str]) -> None:
    assert {recognize.split_of(path) for path in paths} == {split}


def test_numbered_files_are_in_natural_order() -> None:
    assert sorted(["10.png", "9.png", "a2", "a10"], key=recognize.natural) == ["9.png", "10.png", "a2", "a10"]
