"""The stored form: what is changed is said, and what needs no change stays to the last byte."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from digits.data.arrays import write_npy
from digits.data.form import MNIST_FORM, measure_form
from digits.sources import canonical
from digits.sources.canonical import Canonical, Sample
from tests.support.project import Arrays

Images = NDArray[np.uint8]


def blocks(images: Images, size: int) -> Iterator[Images]:
    for start in range(0, len(images), size):
        yield images[start : start + size]


# The sample


@pytest.mark.parametrize("size", [1, 7, 600])
@pytest.mark.parametrize(("most", "bytes_"), [(600, 2**30), (100, 2**30), (600, 50 * 784)])
def test_the_sample_is_evenly_spaced_in_any_blocks(
    digits: Arrays, monkeypatch: pytest.MonkeyPatch, size: int, most: int, bytes_: int
) -> None:
    monkeypatch.setattr(canonical, "SAMPLE", most)
    monkeypatch.setattr(canonical, "SAMPLE_BYTES", bytes_)
    images = digits["x_train"].astype(np.uint8)
    sample = Sample(600, (28, 28))
    passed = np.concatenate(list(sample.watch(blocks(images, size))))
    assert np.array_equal(passed, images)
    step = 600 // min(most, bytes_ // 784)
    assert np.array_equal(sample.images, images[::step])
    assert sample.highest == images.max()


# What is stored


class Stored:
    """Images that have been brought to the stored form, in files."""

    def __init__(
        self, folder: Path, train: Images, test: Images, *, transpose: Any = "auto", name: str = "a.npz"
    ) -> None:
        sets = {"train": train, "test": test}
        shapes = {key: images.shape for key, images in sets.items()}
        files = {key: folder / f"{key}.npy" for key in sets}
        made = Canonical(shapes, transpose=transpose, names=[name])
        for key, images in sets.items():
            upright = made.upright(key, blocks(images, 50))
            write_npy(files[key], dtype="uint8", shape=made.shapes[key], blocks=upright)
        self.before = {key: file.read_bytes() for key, file in files.items()}
        self.facts, self.notes, self.warnings, self.form = made.finish(files)
        self.same = all(file.read_bytes() == self.before[key] for key, file in files.items())
        self.train, self.test = (np.load(file) for file in files.values())


@pytest.fixture(scope="module")
def train(digits: Arrays) -> Images:
    return digits["x_train"].astype(np.uint8)


@pytest.fixture(scope="module")
def test(digits: Arrays) -> Images:
    return digits["x_test"].astype(np.uint8)


PLAIN = {"ink": "light", "highest": 255, "transposed": False}


def test_light_ink_on_dark_stays_as_it_is(tmp_path: Path, train: Images, test: Images) -> None:
    found = Stored(tmp_path, train, test)
    assert found.same
    assert np.array_equal(found.train, train)
    assert (found.facts, found.notes, found.warnings) == (PLAIN, [], [])


def test_dark_ink_is_stored_inverted(tmp_path: Path, train: Images, test: Images) -> None:
    found = Stored(tmp_path, 255 - train, 255 - test)
    assert np.array_equal(found.train, train)
    assert np.array_equal(found.test, test)
    assert found.facts == PLAIN | {"ink": "dark"}
    assert (found.notes, found.warnings) == (["images: dark ink on a light background, inverted"], [])


def test_the_form_is_that_of_the_images_as_they_are_stored(tmp_path: Path, train: Images, test: Images) -> None:
    few = [(15 - images // 16).astype(np.uint8) for images in (train, test)]  # dark, and hardly any levels
    found = Stored(tmp_path, *few)
    assert found.form == measure_form(found.train) == MNIST_FORM
    assert measure_form(few[0]) != MNIST_FORM


def test_images_without_an_even_background_have_no_form(tmp_path: Path, train: Images, test: Images) -> None:
    """Strokes among noise are none that could be measured, even where the middle of each image is a digit."""
    rng = np.random.default_rng(0)
    framed = [np.where(images > 0, images, rng.integers(0, 256, images.shape)) for images in (train, test)]
    found = Stored(tmp_path, *(images.astype(np.uint8) for images in framed))
    assert (found.facts["ink"], found.form) == (None, None)


def test_few_levels_are_stretched(tmp_path: Path, train: Images, test: Images) -> None:
    few = [(images // 16).astype(np.uint8) for images in (train, test)]  # 0 to 15
    found = Stored(tmp_path, *few)
    assert np.array_equal(found.train, few[0] * 17)
    assert found.facts == PLAIN | {"highest": 15}
    assert found.notes == ["images: levels 0 to 15 stretched to 0 to 255"]
    dark = Stored(tmp_path, 15 - few[0], 15 - few[1])
    assert np.array_equal(dark.train, found.train)
    assert dark.facts == PLAIN | {"highest": 15, "ink": "dark"}


def test_the_highest_level_is_that_of_both_sets(tmp_path: Path, train: Images, test: Images) -> None:
    found = Stored(tmp_path, train // 32, test // 16)
    assert found.facts["highest"] == 15
    assert np.array_equal(found.test, test // 16 * 17)


@pytest.mark.parametrize(("name", "transpose"), [("emnist.npz", "auto"), ("a.npz", True), ("emnist.npz", True)])
def test_transposed_images_are_turned(tmp_path: Path, train: Images, test: Images, name: str, transpose: Any) -> None:
    lying = [images[:, 4:24].swapaxes(1, 2) for images in (train, test)]  # 28 x 20
    found = Stored(tmp_path, *lying, name=name, transpose=transpose)
    assert np.array_equal(found.train, train[:, 4:24])
    assert np.array_equal(found.test, test[:, 4:24])
    assert found.facts == PLAIN | {"transposed": True}
    reason = ", as EMNIST needs it" if transpose == "auto" else ""
    assert (found.notes, found.warnings) == ([f"images: height and width exchanged{reason}"], [])


def test_images_in_rgb_keep_their_channels(tmp_path: Path, train: Images, test: Images) -> None:
    lying = [np.stack([images, images // 2, images * 0], axis=3).swapaxes(1, 2) for images in (train, test)]
    found = Stored(tmp_path, *lying, transpose=True)
    assert np.array_equal(found.train, lying[0].swapaxes(1, 2))
    assert found.facts == PLAIN | {"ink": None, "transposed": True}


@pytest.mark.parametrize(("name", "value"), [("a.npz", "true"), ("emnist.npz", "false")])
def test_signs_of_transposition_are_a_warning(
    tmp_path: Path, train: Images, test: Images, name: str, value: str
) -> None:
    lying = (train, test) if name == "emnist.npz" else (train.swapaxes(1, 2), test.swapaxes(1, 2))
    found = Stored(tmp_path, *lying, name=name)
    (line,) = found.warnings
    assert f"set `load.transpose` to {value} in params.yaml" in line
    for said in (True, False):
        assert Stored(tmp_path, *lying, name=name, transpose=said).warnings == []
    right = Stored(tmp_path, *lying, name=name, transpose=value == "true")
    assert np.array_equal(right.train, train)


def test_a_test_set_on_another_background_is_a_warning(tmp_path: Path, train: Images, test: Images) -> None:
    for found in (Stored(tmp_path, train, 255 - test), Stored(tmp_path, 255 - train, test)):
        assert found.warnings == [canonical.UNLIKE]
