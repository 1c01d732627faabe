"""What the images of a set have in common: strokes or things, how large, and what is in the middle."""

import numpy as np
import pytest
from PIL import Image

from digits.data.dataset import Form
from digits.sources.images import measure_form
from tests.support.project import Arrays


def test_mnists_digits_are_drawn_in_a_box_by_mass(digits: Arrays) -> None:
    images = digits["x_train"].astype(np.uint8)
    assert measure_form(images) == Form(box=20, centred_by="mass")
    assert measure_form(np.repeat(images[..., np.newaxis], 3, axis=3)) == Form(box=20, centred_by="mass")


def test_digits_that_are_centred_by_their_box(digits: Arrays) -> None:
    moved = np.zeros((100, 28, 28), np.uint8)
    for place, image in zip(moved, digits["x_train"], strict=False):
        rows, columns = (np.flatnonzero(image.any(axis=axis)) for axis in (1, 0))
        cut = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        top, left = (28 - cut.shape[0]) // 2, (28 - cut.shape[1]) // 2
        place[top : top + cut.shape[0], left : left + cut.shape[1]] = cut
    assert measure_form(moved) == Form(box=20, centred_by="box")


@pytest.mark.parametrize("side", [8, 64])
def test_the_size_of_the_images_does_not_matter(digits: Arrays, side: int) -> None:
    resized = [np.asarray(Image.fromarray(image).resize((side, side))) for image in digits["x_train"][:100]]
    form = measure_form(np.stack(resized).astype(np.uint8))
    assert form is not None
    assert form.box == pytest.approx(20 * side / 28, abs=2)


def test_things_that_fill_the_picture_are_not_drawn() -> None:
    y, x = np.mgrid[:28, :28]
    discs = np.stack([((y - 14) ** 2 + (x - 14) ** 2 < radius**2) * 255 for radius in range(6, 14)])
    assert measure_form(discs.astype(np.uint8)) is None


def test_empty_images_are_not_drawn() -> None:
    assert measure_form(np.zeros((5, 28, 28), np.uint8)) is None
