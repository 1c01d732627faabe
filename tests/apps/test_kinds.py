"""Realistic pictures of each kind are read, and are misread without the step that the kind needs."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from bench.pictures.__main__ import read
from bench.pictures.drawing import Sheet, drawn
from bench.pictures.kinds import SEEN, make
from bench.pictures.shapes import NOT_DIGITS, no_digits, strokes
from digits.apps.ink import background, finding
from digits.apps.reading import Reader, open_reader
from tests.support.project import ROOT

pytestmark = pytest.mark.usefixtures("tensorflow")

Digits = list[tuple[str, NDArray[np.uint8]]]


@pytest.fixture(scope="module")
def reader(trained: Path, loaded: Path) -> Reader:
    return open_reader(trained, loaded)


@pytest.fixture(scope="module")
def digits(reader: Reader) -> Digits:
    """Return four real test images that the quick model of these tests reads with certainty."""
    with np.load(ROOT / "data" / "mnist.npz", allow_pickle=False) as mnist:
        images, labels = mnist["x_test"][6000:6100], mnist["y_test"][6000:6100]
    certain = [not one.unsure and one.probability > 0.98 for one in reader.read(images)]
    return [(str(label), image) for image, label in zip(images[certain], labels[certain], strict=True)][:4]


def right(reader: Reader, digits: Digits, kind: str) -> int:
    rng = np.random.default_rng(5)
    pictures = [(label, make(kind, digit, rng)) for label, digit in digits]
    return sum("".join(one.predicted for one in read(reader, image)) == label for label, image in pictures)


def sure(reader: Reader, image: Image.Image) -> bool:
    """Return whether a picture is neither refused nor unsure."""
    found = read(reader, image)
    return bool(found) and not any(one.unsure for one in found)


@pytest.mark.slow
@pytest.mark.parametrize("kind", SEEN)
def test_a_digit_in_every_kind_of_picture(reader: Reader, digits: Digits, kind: str) -> None:
    """The quick model of these tests may miss a digit that is turned, in pencil or in 8 x 8 pixels."""
    assert right(reader, digits, kind) >= len(digits) - 1


def only_the_whole(pixels: NDArray[np.float32]) -> Iterator[NDArray[np.bool_]]:
    yield np.ones(pixels.shape[:2], bool)


WITHOUT: dict[str, tuple[str, object, str, Callable[..., object]]] = {
    "lines": ("ruled paper with a margin", finding, "without_lines", lambda ink: ink),
    "sheets": ("a sheet on a desk", finding, "pages", only_the_whole),
    "plots": ("a figure with axes", finding, "pages", only_the_whole),
    "parts": ("five specks", finding, "digits", lambda ink, _: [ink]),
    "polarity": ("chalk on a board", background, "ink_is_lighter", lambda *_: False),
    "corners": ("cut close to the ink", background, "_not_in_corners", lambda *_: (0, 0)),
}


@pytest.mark.parametrize("step", WITHOUT)
def test_what_each_step_is_for(reader: Reader, digits: Digits, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, module, name, instead = WITHOUT[step]
    monkeypatch.setattr(module, name, instead)
    assert right(reader, digits, kind) <= len(digits) // 2


def test_the_lines_of_a_table_are_no_digit(reader: Reader, digits: Digits) -> None:
    """The lines do not touch the edge of the picture, and surround the cell with the digit."""
    for label, digit in digits:
        sheet = Sheet(600, 800, 250)
        for top, left in zip(range(50, 546, 165), range(50, 747, 232), strict=True):
            sheet.box(top, top + 3, 50, 748, 60).box(50, 548, left, left + 3, 60)
        image = sheet.write(digit, 120, 240, 340).image
        assert [one.predicted for one in read(reader, image)] == [label]


@pytest.mark.slow
def test_several_digits_are_read_from_left_to_right(reader: Reader, digits: Digits) -> None:
    sheet = Sheet.paper(np.random.default_rng(0), 220, 760)
    for place, (_, digit) in enumerate(digits):
        sheet.write(digit, 150, 20 + 7 * place, 30 + 180 * place)
    found = read(reader, sheet.image)
    assert [one.predicted for one in found] == [label for label, _ in digits]
    assert not any(one.unsure for one in found)


@pytest.mark.slow
def test_what_is_no_digit_is_refused_or_unsure(reader: Reader) -> None:
    for shape in ("dash", "plus", "x", "tick", "A", "E", "star", "wave", "face"):
        assert not sure(reader, drawn(strokes(NOT_DIGITS[shape]), 240, 9)), shape
    assert np.mean([sure(reader, image) for image in no_digits(np.random.default_rng(3), 1)]) <= 0.1


def test_without_the_training_images_more_pass(reader: Reader) -> None:
    alone = reader._replace(neighbours=None)
    pictures = list(no_digits(np.random.default_rng(4), 2))
    assert sum(sure(reader, one) for one in pictures) < sum(sure(alone, one) for one in pictures)
