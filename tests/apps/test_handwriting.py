"""Pictures of digits are brought to MNIST's form: size, colours, light and polarity do not change the digit."""

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageFilter

from bench.pictures.drawing import jpeg
from digits.apps.decoding import decode
from digits.apps.handwriting import prepare
from digits.apps.ink.normalize import centre
from dvcproof.runtime.program import InputError
from tests.support.arrays import sample_dataset
from tests.support.pictures import difference, file, plain, prepared, to_digit
from tests.support.project import Arrays
from tests.support.strokes import draw

Colour = tuple[int, int, int]
WHITE, BLACK = (255, 255, 255), (0, 0, 0)

#: Greatest allowed `difference` between two renderings of one digit: rounding may shift it by a pixel. Between two
#: digits the difference is 20.
SAME = 10


def test_mnists_own_digits_are_put_where_mnist_has_them(digits: Arrays) -> None:
    """The control: centred by their box, few digits are where MNIST has them."""
    same = dict[bool, list[bool]]({True: [], False: []})
    for image in np.concatenate([digits["x_train"], digits["x_test"]]):
        (rows, columns) = (np.flatnonzero(image.any(axis=axis)) for axis in (1, 0))
        box = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.float32) / 255
        for by_mass, found in same.items():
            found.append(np.array_equal(centre(box, (28, 28), by_mass=by_mass), image))
    assert np.mean(same[True]) > 0.99
    assert np.mean(same[False]) < 0.2


def test_every_mode_gives_the_same_digit() -> None:
    for mode in ("L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I", "F"):
        assert difference(plain().convert(mode)) < 0.5, mode
    assert difference(plain().convert("P").convert("PA")) < 0.5
    assert difference(plain(), digit=8) > 5


def test_one_bit_and_sixteen_bits() -> None:
    assert difference(plain().convert("1", dither=Image.Dither.NONE)) < 5  # such a picture has rough edges
    deep = (np.asarray(plain()).astype(np.uint32) * (2**16 - 1)) // 255
    picture = decode("deep.png", file(Image.fromarray(deep.astype(np.uint16))))
    assert picture.mode == "L"
    assert difference(picture) < 0.5
    for strange in (np.nan, np.inf, -np.inf):
        levels = np.asarray(plain(), np.float32) / 255
        levels[0, 0] = strange
        assert difference(decode("deep.tiff", file(Image.fromarray(levels), "TIFF"))) < 0.5


def coloured(ink: Colour, paper: Colour, drawing: Image.Image | None = None) -> Image.Image:
    """Draw a digit in two colours."""
    share = np.asarray(drawing or plain(), np.float32)[..., None] / 255
    return Image.fromarray((share * np.array(paper) + (1 - share) * np.array(ink)).astype(np.uint8))


def palette() -> Image.Image:
    """Draw a digit in a palette whose colour for paper is transparent."""
    picture = Image.fromarray((np.asarray(plain()) < 128).astype(np.uint8), "P")
    picture.putpalette([20, 20, 20, 20, 20, 20])
    return decode("a", file(picture, transparency=0))


VARIANTS: dict[str, tuple[Callable[[], Image.Image], float]] = {
    "white on black": (lambda: coloured(WHITE, BLACK), 0.6),
    "red on green, equally light": (lambda: coloured((255, 0, 0), (0, 130, 0)), 0.6),
    "a palette with a transparent colour": (palette, 5),
    "cut close": (lambda: plain().crop(plain().point(lambda level: 255 - level).getbbox()), SAME),
    "40 pixels": (lambda: plain().resize((40, 40)), SAME),
    "2000 pixels": (lambda: plain().resize((2000, 2000)), SAME),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_same_digit_comes_out(variant: str) -> None:
    make, most = VARIANTS[variant]
    assert difference(make()) < most


def photograph(digit: int, noise: float) -> Image.Image:
    """Draw a digit as in a photograph: by pen, on grey paper that is brighter on one side."""
    paper = np.asarray(draw(digit, side=700, width=50).filter(ImageFilter.GaussianBlur(3)), np.float32)[..., None] / 255
    y, x = np.mgrid[0:700, 0:700, 0:1][:2] / 700 - 0.5
    pixels = (70 + 120 * paper) * (1 + 60 / 190 * (0.8 * x + 0.6 * y)) * np.array([1, 0.97, 0.9])
    pixels += np.random.default_rng(0).normal(0, noise, pixels.shape)
    return jpeg(Image.fromarray(pixels.clip(0, 255).astype(np.uint8)), 85)


def shadowed(digit: int) -> Image.Image:
    """Draw a digit with the edge of a shadow across it."""
    edge = 1 / (1 + np.exp((np.arange(280) - 150) / 6))
    levels = np.asarray(draw(digit, side=280, width=18), np.float32) * (0.55 + 0.45 * edge)
    return Image.fromarray(levels.astype(np.uint8))


@pytest.mark.parametrize("digit", [2, 3])
def test_light_and_noise(digit: int) -> None:
    for picture in (photograph(digit, 6), photograph(digit, 15), shadowed(digit)):
        assert difference(picture, digit) < SAME


def noise(deviation: float) -> Image.Image:
    grey = np.random.default_rng(1).normal(200, deviation, (300, 300))
    return Image.fromarray(grey.clip(0, 255).astype(np.uint8))


BLANK: dict[str, Image.Image] = {
    "white": Image.new("L", (100, 100), 255),
    "one pixel": Image.new("RGB", (1, 1), "red"),
    "floating point": Image.new("F", (30, 30), 0.25),
    "nothing": Image.new("RGBA", (50, 50), (0, 0, 0, 0)),
    "noise": noise(4),
    "much noise": noise(25),
    "uneven light": Image.linear_gradient("L"),
    "hardly darker": coloured((240, 240, 240), WHITE),
}


@pytest.mark.parametrize("case", BLANK)
def test_a_blank_picture_is_refused(case: str) -> None:
    assert not to_digit(BLANK[case]).any()
    with pytest.raises(InputError, match=r"^a\.png: there is no ink, darker or lighter .*\. Draw with a thicker"):
        prepare("a.png", file(BLANK[case], "TIFF"), sample_dataset())


def test_a_picture_of_a_set_with_few_levels_is_stretched_as_the_set_is() -> None:
    few = sample_dataset().model_copy(update={"highest": 16})
    strokes = 255 - np.asarray(draw(3, side=28, width=2))
    faint = file(Image.fromarray(strokes // 16))
    full = prepare("a", file(Image.fromarray(strokes)), few).images
    assert np.abs(prepare("a", faint, few).images.astype(int) - full).mean() < 8
    with pytest.raises(InputError, match="there is no ink"):  # with all levels, it counts as nearly black
        prepare("a", faint, sample_dataset())


def test_a_stripe_of_two_pixels_is_not_a_sheet() -> None:
    """The stripe has edges on both sides, and nothing between them."""
    colours = [(44, 240, 150), (245, 156, 183), (251, 137, 147), (251, 115, 214), (199, 28, 227), (161, 36, 91)]
    stripes = np.array(colours, np.uint8)[:, None].repeat([3, 5, 6, 5, 2, 3], axis=0).repeat(293, axis=1)
    assert not prepared(Image.fromarray(stripes)).any()
    assert not prepared(Image.fromarray(stripes.swapaxes(0, 1).copy())).any()
