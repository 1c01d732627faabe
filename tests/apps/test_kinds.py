"""Pictures as people have them: some of each kind, and what fails without the step that is for it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from bench.pictures.drawing import drawn, paper, pen, picture, put
from bench.pictures.kinds import SEEN
from bench.pictures.others import SHAPES, no_digits
from digits.apps.handwriting import prepare
from digits.apps.ink import background, finding
from digits.apps.reading import Reader, Reading, open_reader
from dvcproof.runtime.program import InputError
from tests.support.pictures import file
from tests.support.project import ROOT

pytestmark = pytest.mark.usefixtures("tensorflow")

Digits = list[tuple[str, NDArray[np.uint8]]]


@pytest.fixture(scope="module")
def reader(trained: Path, loaded: Path) -> Reader:
    return open_reader(trained, loaded)


@pytest.fixture(scope="module")
def digits(reader: Reader) -> Digits:
    """Four real test images that the quick model of these tests reads with certainty."""
    with np.load(ROOT / "data" / "mnist.npz", allow_pickle=False) as mnist:
        images, labels = mnist["x_test"][6000:6100], mnist["y_test"][6000:6100]
    sure = [not one.unsure and one.probability > 0.98 for one in reader.read(images)]
    return [(str(label), image) for image, label in zip(images[sure], labels[sure], strict=True)][:4]


def read(reader: Reader, image: Image.Image) -> list[Reading]:
    """What is read; nothing if it is refused."""
    try:
        return reader.read(prepare("a", file(image), reader.dataset).images)
    except InputError:
        return []


def right(reader: Reader, digits: Digits, kind: str) -> int:
    rng = np.random.default_rng(5)
    pictures = [(label, SEEN[kind](digit, rng)) for label, digit in digits]
    return sum("".join(one.predicted for one in read(reader, image)) == label for label, image in pictures)


@pytest.mark.slow
@pytest.mark.parametrize("kind", SEEN)
def test_a_digit_in_every_kind_of_picture(reader: Reader, digits: Digits, kind: str) -> None:
    """The quick model of these tests may miss one that is turned, in pencil or in 8 x 8 pixels."""
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


@pytest.mark.slow
@pytest.mark.parametrize("step", WITHOUT)
def test_what_each_step_is_for(reader: Reader, digits: Digits, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, module, name, instead = WITHOUT[step]
    monkeypatch.setattr(module, name, instead)
    assert right(reader, digits, kind) <= len(digits) // 2


def test_the_lines_of_a_table_are_no_digit(reader: Reader, digits: Digits) -> None:
    """They touch no edge of the picture, and stand around the cell with the digit."""
    for label, digit in digits:
        page = np.full((600, 800, 3), 250, np.float32)
        for place in range(4):
            page[50 + 165 * place : 53 + 165 * place, 50:748] = page[50:548, 50 + 232 * place : 53 + 232 * place] = 60
        put(page, pen(digit, 120), 240, 340)
        assert [one.predicted for one in read(reader, picture(page))] == [label]


@pytest.mark.slow
def test_several_digits_are_read_from_left_to_right(reader: Reader, digits: Digits) -> None:
    page = paper(np.random.default_rng(0), 220, 760)
    for place, (_, digit) in enumerate(digits):
        put(page, pen(digit, 150), 20 + 7 * place, 30 + 180 * place)
    found = read(reader, picture(page))
    assert [one.predicted for one in found] == [label for label, _ in digits]
    assert not any(one.unsure for one in found)


@pytest.mark.slow
def test_what_is_no_digit_is_refused_or_unsure(reader: Reader) -> None:
    for shape in ("dash", "plus", "x", "tick", "A", "E", "star", "wave", "face"):
        found = read(reader, drawn(SHAPES[shape], side=240, width=9))
        assert not found or any(one.unsure for one in found), shape
    sure = [read(reader, image) for image in no_digits(np.random.default_rng(3), 1)]
    assert np.mean([bool(found) and not any(one.unsure for one in found) for found in sure]) <= 0.1


@pytest.mark.slow
def test_without_the_training_images_more_pass(reader: Reader) -> None:
    alone = reader._replace(neighbours=None)
    pictures = list(no_digits(np.random.default_rng(4), 2))

    def passing(one: Reader) -> int:
        found = [read(one, image) for image in pictures]
        return sum(bool(readings) and not any(reading.unsure for reading in readings) for readings in found)

    assert passing(reader) < passing(alone)
