"""Every form of a data set gives the same arrays, or is refused with the words that docs/data.md has."""

from pathlib import Path

import numpy as np
import pytest

from dvcproof.runtime.program import InputError
from stages.load import load
from tests.support.forms import FORMS, WORDS, Form, few, row
from tests.support.loading import KEYS, refused
from tests.support.project import ROOT, Arrays


def in_order(images: np.ndarray, labels: np.ndarray) -> list[tuple[int, bytes]]:
    """Labels and images in an order of their own."""
    return sorted((int(label), image.tobytes()) for label, image in zip(labels, images, strict=True))


@pytest.mark.parametrize("form", [form for form in FORMS if not form.refused], ids=lambda form: form.title)
def test_a_form_gives_the_same_arrays(
    tmp_path: Path, digits: Arrays, monkeypatch: pytest.MonkeyPatch, form: Form
) -> None:
    monkeypatch.chdir(tmp_path)
    sample = few(digits)
    source = form.make(Path(), sample)
    lines = load(str(source), Path("out"), test_size=form.test_size)
    assert form.said in " | ".join(lines[4:])
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
    if (
        "pictures" not in form.title
        and not form.title.startswith("… with classes")
        and "colour, with" not in form.title
    ):
        assert all(np.array_equal(written[name], sample[key]) for name, key in KEYS.items())


@pytest.mark.parametrize("form", [form for form in FORMS if form.refused], ids=lambda form: form.title)
def test_a_form_is_refused_with_its_words(
    tmp_path: Path, digits: Arrays, monkeypatch: pytest.MonkeyPatch, form: Form
) -> None:
    monkeypatch.chdir(tmp_path)
    assert form.said in refused(tmp_path, form.make(Path(), few(digits)))


def test_the_table_in_the_documents_has_these_rows() -> None:
    text = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    table = text.split("<!-- forms -->\n")[1].split("<!-- /forms -->")[0].splitlines()
    assert table == ["| form | outcome | in the words of `load` |", "|---|---|---|", *map(row, FORMS)]


def test_the_step_of_a_refusal_works(tmp_path: Path, digits: Arrays) -> None:
    form = next(form for form in FORMS if "Kaggle" in form.title)
    source = form.make(tmp_path, few(digits))
    with pytest.raises(InputError, match=r"set `load\.test_size` to 20 in params\.yaml"):
        load(str(source), tmp_path / "out", test_size=0)
    assert len(load(str(source), tmp_path / "out", test_size=20)) > 4
    with pytest.raises(InputError, match=r"`load\.test_size` from 1 to 119"):
        load(str(source), tmp_path / "out", test_size=120)


def test_a_test_size_beside_a_test_set_is_refused(tmp_path: Path, small_npz: Path) -> None:
    with pytest.raises(InputError, match=r"'load\.test_size': expected 0, since .* has a test set\. Got 5\."):
        load(str(small_npz), tmp_path / "out", test_size=5)
