"""The form of a data set's images, of any shape: where digits are put, and what is taken as it is."""

from typing import Literal

import numpy as np
import pytest
from PIL import Image

from digits.apps.handwriting import prepare
from digits.apps.ink.form import in_form, in_form_already, whole
from digits.data.dataset import Dataset
from digits.data.form import Form
from tests.support.arrays import sample_dataset
from tests.support.pictures import file
from tests.support.project import Arrays
from tests.support.strokes import draw


def of_things(*shape: int, ink: str | None = "light") -> Dataset:
    """A set in which things fill the images."""
    return sample_dataset().model_copy(update={"image_shape": shape, "form": None, "ink": ink})


@pytest.mark.fast(3)
@pytest.mark.parametrize("shape", [(8, 8), (28, 28), (40, 24), (128, 128), (16, 16, 3)])
@pytest.mark.parametrize("centred_by", ["mass", "box"])
def test_a_digit_fits_into_images_of_any_shape(shape: tuple[int, ...], centred_by: Literal["mass", "box"]) -> None:
    form = Form(box=round(0.7 * min(shape[:2])), centred_by=centred_by)
    dataset = sample_dataset().model_copy(update={"image_shape": shape, "form": form})
    (image,) = prepare("a", file(draw(3, side=200, width=15)), dataset).images
    assert (image.shape, image.max()) == (shape, 255)
    rows = np.flatnonzero(image.reshape(*shape[:2], -1).any(axis=(1, 2)))
    assert rows[-1] - rows[0] + 1 == form.box
    assert abs(rows.mean() - (shape[0] - 1) / 2) <= 2
    if len(shape) == 3:
        assert (image == image[..., :1]).all()


def test_what_lies_as_in_the_set_is_taken_as_it_is(digits: Arrays) -> None:
    form = Form(box=20, centred_by="mass")
    for image in digits["x_test"][:20]:
        found = in_form_already(Image.fromarray(image), form, (28, 28))
        assert found is not None
        np.testing.assert_array_equal(found, image)
        coloured = in_form_already(Image.fromarray(image).convert("RGB"), form, (28, 28, 3))
        assert coloured is not None
        np.testing.assert_array_equal(coloured, np.repeat(image[..., np.newaxis], 3, axis=2))
        for other in (255 - image, np.roll(image, 4, axis=1), np.zeros_like(image)):
            assert in_form_already(Image.fromarray(other), form, (28, 28)) is None
        assert in_form_already(Image.fromarray(image).resize((56, 56)), form, (28, 28)) is None


def test_things_of_the_sets_size_are_taken_as_they_are() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (20, 30), dtype=np.uint8)
    np.testing.assert_array_equal(whole(Image.fromarray(grey), of_things(20, 30)), grey)
    np.testing.assert_array_equal(whole(Image.fromarray(grey), of_things(20, 30, ink="dark")), 255 - grey)
    colours = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    np.testing.assert_array_equal(whole(Image.fromarray(colours), of_things(20, 30, 3, ink=None)), colours)


@pytest.mark.parametrize("background", [0, 255])
def test_things_of_another_size_keep_their_proportions(background: int) -> None:
    picture = Image.new("RGB", (80, 40), (background,) * 3)
    picture.paste((128, 128, 128), (20, 10, 60, 30))
    image = whole(picture, of_things(28, 28))
    assert image[14, 14] in (127, 128)
    assert not image[:6].any()
    assert np.count_nonzero(image[14] > 60) == pytest.approx(14, abs=1)
    assert np.count_nonzero(image[:, 14] > 60) == pytest.approx(7, abs=1)


def test_photographs_keep_their_colours() -> None:
    photograph = whole(Image.new("RGB", (90, 60), (250, 200, 10)), of_things(32, 32, 3, ink=None))
    assert photograph.shape == (32, 32, 3)
    assert (photograph == (250, 200, 10)).all()


def test_a_stroke_longer_than_a_narrow_image_fits() -> None:
    image = in_form(np.ones((50, 5), np.float32), Form(box=20, centred_by="mass"), (12, 20))
    assert image.shape == (12, 20)
    assert np.count_nonzero(image.any(axis=1)) == 12
