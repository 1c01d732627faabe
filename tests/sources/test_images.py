"""Orientation and storage of images: every change is reported, and all else stays the same to the last byte."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from digits.data.dataset import MNIST_FORM, Form, read_dataset
from digits.sources import images as module
from digits.sources.images import find_background, is_emnist, looks_transposed, measure_form
from stages.load import load
from tests.support.project import Arrays

Images = NDArray[np.uint8]


@pytest.fixture(scope="module")
def written(digits: Arrays) -> Images:
    """Return the training images, [600, 28, 28]."""
    return digits["x_train"].astype(np.uint8)


@pytest.fixture(scope="module")
def test(digits: Arrays) -> Images:
    return digits["x_test"].astype(np.uint8)


def coloured(images: Images, *colour: float) -> Images:
    return (images[..., None] * np.array(colour)).astype(np.uint8)


def scanned(images: Images) -> Images:
    """Return dark ink on sheets of paper of different brightness, with noise."""
    random = np.random.default_rng(0)
    paper = random.normal(235, 8, (len(images), 1, 1)) + random.normal(0, 6, images.shape)
    return np.clip(paper - 0.8 * images, 0, 255).astype(np.uint8)


def clothes(count: int) -> Images:
    """Return white shapes on black that fill the picture, upright or lying, as in Fashion-MNIST."""
    random, images = np.random.default_rng(1), np.zeros((count, 28, 28), np.uint8)
    for number, image in enumerate(images):
        long, short = random.integers(22, 27), random.integers(8, 20)
        height, width = (long, short) if number % 5 < 3 else (short, long)
        top, left = (28 - height) // 2, (28 - width) // 2
        image[top : top + height, left : left + width] = random.integers(120, 255, (height, width))
    return images


def photographs(*form: int) -> Images:
    """Return images of smooth levels from one corner to the other, as many bright as dark."""
    random = np.random.default_rng(2)
    slopes = random.normal(0, 300, (form[0], 2, 1, 1))
    y, x = np.mgrid[: form[1], : form[2]] / form[1] - 0.5
    grey = random.uniform(0, 255, (form[0], 1, 1)) + slopes[:, 0] * y + slopes[:, 1] * x
    return np.clip(grey, 0, 255).astype(np.uint8)


#: For each case: a function that makes the images, their ink, and whether lying digits are noticed.
INK: dict[str, tuple[Callable[[Images], Images], str | None, bool]] = {
    "MNIST": (lambda x: x, "light", True),
    "scans": (scanned, "dark", True),
    "black and white": (lambda x: (x < 128) * np.uint8(255), "dark", True),
    "chalk on a grey board": (lambda x: (150 + 0.4 * x).astype(np.uint8), "light", True),
    "scans in RGB": (lambda x: np.repeat(scanned(x)[..., None], 3, axis=3), "dark", True),
    "things on black": (lambda x: clothes(len(x)), "light", False),
    "things on white": (lambda x: 255 - clothes(len(x)), "dark", False),
    "photographs": (lambda x: photographs(*x.shape), None, False),
    "in colour on white": (lambda x: 255 - coloured(x, 1, 0.3, 0.1), None, False),
    "noise": (lambda x: np.random.default_rng(0).integers(0, 256, x.shape, np.uint8), None, False),
    "half of them inverted": (lambda x: np.concatenate([x, 255 - x]), None, False),
}


@pytest.mark.parametrize(("change", "ink", "noticed"), INK.values(), ids=INK)
def test_ink_and_lying_characters_are_noticed(
    written: Images, change: Callable[[Images], Images], ink: str | None, noticed: bool
) -> None:
    upright = change(written)
    lying = upright.swapaxes(1, 2)
    assert find_background(upright)[1] == ink
    assert not looks_transposed(upright)
    assert looks_transposed(lying) is noticed


def test_emnist_is_known_by_its_name() -> None:
    known = ["/srv/EMNIST/raw", "emnist-letters-train-images-idx3-ubyte.gz", "https://h/emnist.npz#sha256=0"]
    others = [
        "/home/emnist-course/sets/data/mnist.npz",
        "data/kmnist",
        "data/femnist.npz",
        "https://h/mnist.npz#emnist",
    ]
    for name in (*known, *others):
        assert is_emnist([name]) is is_emnist(["data/raw", name]) is (name in known)


# Stored images


class Stored:
    """Images that have been brought to the stored form, in files."""

    def __init__(
        self, folder: Path, train: Images, test: Images, *, transpose: Any = "auto", name: str = "a.npz"
    ) -> None:
        labels = {f"y_{split}": np.arange(len(images)) % 2 for split, images in (("train", train), ("test", test))}
        np.savez(folder / name, x_train=train, x_test=test, **labels)  # type: ignore[arg-type]
        lines = load(str(folder / name), folder / "out", transpose=transpose)[4:]
        self.warnings = [line for line in lines if line.startswith("WARNING")]
        self.notes = [line for line in lines if line.startswith("images: ")]
        dataset = read_dataset(folder / "out" / "dataset.json")
        self.facts = {"ink": dataset.ink, "highest": dataset.highest, "transposed": dataset.transposed}
        self.form = dataset.form
        self.train, self.test = (np.load(folder / "out" / f"{key}_images.npy") for key in ("train", "test"))


PLAIN = {"ink": "light", "highest": 255, "transposed": False}


@pytest.mark.parametrize("ink", ["light", "dark"])
def test_only_dark_ink_is_inverted(tmp_path: Path, written: Images, test: Images, ink: str) -> None:
    found = Stored(tmp_path, *(images if ink == "light" else 255 - images for images in (written, test)))
    assert np.array_equal(found.train, written)
    assert np.array_equal(found.test, test)
    assert found.facts == PLAIN | {"ink": ink}
    notes = [] if ink == "light" else ["images: dark ink on a light background, inverted"]
    assert (found.notes, found.warnings) == (notes, [])


def test_images_are_sampled_from_the_whole_set(
    tmp_path: Path, written: Images, test: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SAMPLE", 100)
    assert Stored(tmp_path, written, test).facts["ink"] == "light"
    assert Stored(tmp_path, np.concatenate([written, 255 - written]), test).facts["ink"] is None


def test_images_without_an_even_background_have_no_form(tmp_path: Path, written: Images, test: Images) -> None:
    """Strokes in noise cannot be measured, even if the middle of each image is a digit."""
    rng = np.random.default_rng(0)
    framed = [np.where(images > 0, images, rng.integers(0, 256, images.shape)) for images in (written, test)]
    found = Stored(tmp_path, *(images.astype(np.uint8) for images in framed))
    assert (found.facts["ink"], found.form) == (None, None)


@pytest.mark.parametrize("ink", ["light", "dark"])
def test_few_levels_are_stretched(tmp_path: Path, written: Images, test: Images, ink: str) -> None:
    few = [images // 16 if ink == "light" else 15 - images // 16 for images in (written, test // 2)]  # 0 to 15
    found = Stored(tmp_path, *few)
    assert np.array_equal(found.train, written // 16 * 17)
    assert found.facts == PLAIN | {"highest": 15, "ink": ink}
    assert found.notes[0] == "images: levels 0 to 15 stretched to 0 to 255"
    assert found.form == measure_form(found.train) == MNIST_FORM != measure_form(few[0])


@pytest.mark.parametrize(("name", "transpose"), [("emnist.npz", "auto"), ("a.npz", True), ("emnist.npz", True)])
def test_transposed_images_are_turned(tmp_path: Path, written: Images, test: Images, name: str, transpose: Any) -> None:
    lying = [images[:, 4:24].swapaxes(1, 2) for images in (written, test)]  # 28 x 20
    found = Stored(tmp_path, *lying, name=name, transpose=transpose)
    assert np.array_equal(found.train, written[:, 4:24])
    assert np.array_equal(found.test, test[:, 4:24])
    assert found.facts == PLAIN | {"transposed": True}
    reason = ", as EMNIST needs it" if transpose == "auto" else ""
    assert (found.notes, found.warnings) == ([f"images: height and width exchanged{reason}"], [])


@pytest.mark.parametrize(("name", "value"), [("a.npz", "true"), ("emnist.npz", "false")])
def test_signs_of_transposition_are_a_warning(
    tmp_path: Path, written: Images, test: Images, name: str, value: str
) -> None:
    lying = (written, test) if name == "emnist.npz" else (written.swapaxes(1, 2), test.swapaxes(1, 2))
    (line,) = Stored(tmp_path, *lying, name=name).warnings
    assert f"set `load.transpose` to {value} in params.yaml" in line
    for said in (True, False):
        assert Stored(tmp_path, *lying, name=name, transpose=said).warnings == []
    assert np.array_equal(Stored(tmp_path, *lying, name=name, transpose=value == "true").train, written)


def test_a_test_set_on_another_background_is_a_warning(tmp_path: Path, written: Images, test: Images) -> None:
    for found in (Stored(tmp_path, written, 255 - test), Stored(tmp_path, 255 - written, test)):
        assert found.warnings == [module.UNLIKE]


# Strokes


def boxed(images: Images) -> Images:
    """Return each digit, moved so that its box is in the centre."""
    moved = np.zeros_like(images)
    for place, image in zip(moved, images, strict=True):
        rows, columns = (np.flatnonzero(image.any(axis=axis)) for axis in (1, 0))
        cut = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        top, left = (28 - cut.shape[0]) // 2, (28 - cut.shape[1]) // 2
        place[top : top + cut.shape[0], left : left + cut.shape[1]] = cut
    return moved


MEASURED: dict[str, tuple[Callable[[Images], Images], Form | None]] = {
    "MNIST": (lambda x: x, MNIST_FORM),
    "MNIST in RGB": (lambda x: np.repeat(x[..., None], 3, axis=3), MNIST_FORM),
    "centred by the box": (boxed, Form(box=20, centred_by="box")),
    "things": (lambda x: np.pad(x[:, :20, :20] * 0 + 255, ((0, 0), (4, 4), (4, 4))), None),
    "nothing": (lambda x: x * 0, None),
}


@pytest.mark.parametrize(("change", "expected"), MEASURED.values(), ids=MEASURED)
def test_the_place_of_strokes_is_measured(
    written: Images, change: Callable[[Images], Images], expected: Form | None
) -> None:
    assert measure_form(change(written[:100])) == expected
