"""Images of any shape: the place of digits, and images that are used unchanged."""

from typing import Literal

import numpy as np
import pytest
from PIL import Image

from digits.apps.handwriting import prepare
from digits.apps.ink.normalize import already_normal, fit_whole, normalize
from digits.data.dataset import Dataset, Form
from tests.support.arrays import sample_dataset
from tests.support.pictures import file, plain
from tests.support.project import Arrays


def of_shape(*shape: int, form: Form | None = None, ink: str | None = "light") -> Dataset:
    """Return a data set of images of this shape. Without a form, things fill the images."""
    return sample_dataset().model_copy(update={"image_shape": shape, "form": form, "ink": ink})


@pytest.mark.parametrize(("shape", "centred_by"), [((8, 8), "mass"), ((40, 24), "box"), ((16, 16, 3), "mass")])
def test_a_digit_fits_into_images_of_any_shape(shape: tuple[int, ...], centred_by: Literal["mass", "box"]) -> None:
    form = Form(box=round(0.7 * min(shape[:2])), centred_by=centred_by)
    (image,) = prepare("a", file(plain()), of_shape(*shape, form=form)).images
    assert (image.shape, image.max()) == (shape, 255)
    rows = np.flatnonzero(image.reshape(*shape[:2], -1).any(axis=(1, 2)))
    assert rows[-1] - rows[0] + 1 == form.box
    assert abs(rows.mean() - (shape[0] - 1) / 2) <= 2
    assert (image == image[..., :1]).all() or len(shape) == 2


def test_a_stroke_longer_than_a_narrow_image() -> None:
    image = normalize(np.ones((50, 5), np.float32), of_shape(12, 20, form=Form(box=20, centred_by="mass")))
    assert image.shape == (12, 20)
    assert np.count_nonzero(image.any(axis=1)) == 12


def test_what_lies_as_in_the_set_is_taken_as_it_is(digits: Arrays) -> None:
    grey, coloured = sample_dataset(), sample_dataset().model_copy(update={"image_shape": (28, 28, 3)})
    for image in digits["x_test"][:5]:
        picture = Image.fromarray(image)
        np.testing.assert_array_equal(already_normal(picture, grey), image)
        np.testing.assert_array_equal(already_normal(picture.convert("RGB"), coloured), np.dstack([image] * 3))
        for other in (255 - image, np.roll(image, 4, axis=1), np.zeros_like(image)):
            assert already_normal(Image.fromarray(other), grey) is None
        assert already_normal(picture.resize((56, 56)), grey) is None


def test_things_are_scaled_as_a_whole() -> None:
    colours = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    grey = colours[..., 0]
    np.testing.assert_array_equal(fit_whole(Image.fromarray(grey), of_shape(20, 30)), grey)
    np.testing.assert_array_equal(fit_whole(Image.fromarray(grey), of_shape(20, 30, ink="dark")), 255 - grey)
    np.testing.assert_array_equal(fit_whole(Image.fromarray(colours), of_shape(20, 30, 3, ink=None)), colours)
    for background in (0, 255):  # another size
        picture = Image.new("RGB", (80, 40), (background,) * 3)
        picture.paste((128, 128, 128), (20, 10, 60, 30))
        image = fit_whole(picture, of_shape(28, 28))
        assert image[14, 14] in (127, 128)
        assert not image[:6].any()
        sides = [np.count_nonzero(line > 60) for line in (image[14], image[:, 14])]
        assert sides == [pytest.approx(14, abs=1), pytest.approx(7, abs=1)]
    image = fit_whole(Image.new("RGB", (90, 60), (250, 200, 10)), of_shape(32, 32, 3, ink=None))
    assert (image == np.full((32, 32, 3), (250, 200, 10))).all()
