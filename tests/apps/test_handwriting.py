"""Pictures of digits in MNIST's form: the same digit comes out for any size, colours and polarity."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from digits.apps.decoding import decode
from digits.apps.handwriting import prepare
from digits.apps.ink import background
from digits.apps.ink.background import otsu, strength
from digits.apps.ink.form import centre, fit
from dvcproof.runtime.program import InputError
from tests.support.arrays import sample_dataset
from tests.support.centring import centred_by_box
from tests.support.pictures import SIDE, WIDTH, difference, file, prepared, to_digit
from tests.support.project import Arrays
from tests.support.strokes import draw


def colours(picture: Image.Image, ink: tuple[int, int, int], paper: tuple[int, int, int]) -> Image.Image:
    """A picture in black on white in two other colours."""
    share = np.asarray(picture, np.float32)[..., None] / 255
    return Image.fromarray((share * np.array(paper) + (1 - share) * np.array(ink)).astype(np.uint8))


#: `difference` between two renderings of one digit, at most: for a pixel's shift by rounding. Between two digits: 20.
SAME = 10


def mass_centre(digit: NDArray[np.uint8]) -> tuple[float, float]:
    y, x = np.mgrid[0:28, 0:28]
    return float((digit * y).sum() / digit.sum()), float((digit * x).sum() / digit.sum())


def extent(digit: NDArray[np.uint8]) -> tuple[int, int]:
    rows, columns = np.flatnonzero(digit.any(axis=1)), np.flatnonzero(digit.any(axis=0))
    return int(rows[-1] - rows[0] + 1), int(columns[-1] - columns[0] + 1)


@pytest.mark.fast(3)
@pytest.mark.parametrize("digit", range(10))
def test_the_form_is_that_of_mnist(digit: int) -> None:
    field = to_digit(draw(digit, side=280, width=20))
    assert field.dtype == np.uint8
    assert field.shape == (28, 28)
    assert field.max() == 255
    assert max(extent(field)) == 20
    assert all(13.4 <= middle <= 14.6 for middle in mass_centre(field))
    assert np.unique(field).size > 10  # anti-aliased


@pytest.mark.parametrize(("place", "least", "most"), [(centre, 0.99, 1.0), (centred_by_box, 0.0, 0.2)])
def test_mnists_own_digits_are_put_where_mnist_has_them(
    digits: Arrays, place: Callable[..., NDArray[np.uint8]], least: float, most: float
) -> None:
    same = []
    for image in np.concatenate([digits["x_train"], digits["x_test"]]):
        (rows, columns) = (np.flatnonzero(image.any(axis=axis)) for axis in (1, 0))
        box = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.float32) / 255
        same.append(np.array_equal(place(box, (28, 28), by_mass=True), image))
    assert least <= np.mean(same) <= most


@pytest.mark.slow
def test_mnists_own_digits_stay_as_they_are(digits: Arrays) -> None:
    images = digits["x_test"][:50]
    assert np.mean([np.array_equal(prepared(Image.fromarray(image)), image) for image in images]) >= 0.98
    inverted = np.stack([prepared(Image.fromarray(255 - image)) for image in images]).astype(int)
    moved = np.roll(images.astype(int), 1, axis=2)
    assert np.abs(inverted - images).mean() < np.abs(moved - images).mean() / 2


MODES = ("L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I", "F")


@pytest.mark.fast(3)
@pytest.mark.parametrize("mode", MODES)
def test_every_mode_gives_the_same_digit(mode: str) -> None:
    drawing = draw(3, side=SIDE, width=WIDTH)
    picture = drawing.convert("P").convert("PA") if mode == "PA" else drawing.convert(mode)
    assert picture.mode == mode
    assert difference(picture) < 0.5
    assert difference(picture, digit=8) > 5


def test_one_bit_and_sixteen_bits() -> None:
    drawing = draw(3, side=SIDE, width=WIDTH)
    assert difference(drawing.convert("1", dither=Image.Dither.NONE)) < 5  # its edges are rough
    for bits in (10, 12, 16):
        deep = (np.asarray(drawing).astype(np.uint32) * (2**bits - 1)) // 255
        picture = decode("deep.png", file(Image.fromarray(deep.astype(np.uint16))))
        assert picture.mode == "L"
        assert difference(picture) < 0.5
    for strange in (np.nan, np.inf, -np.inf):
        levels = np.asarray(drawing, np.float32) / 255
        levels[0, 0] = strange
        assert difference(decode("deep.tiff", file(Image.fromarray(levels), "TIFF"))) < 0.5


@pytest.mark.parametrize(
    ("drawn", "paper"),
    [
        ((255, 255, 255), (0, 0, 0)),
        ((0, 0, 0), (255, 255, 255)),
        ((90, 90, 90), (180, 180, 180)),
        ((255, 230, 0), (255, 255, 255)),  # yellow on white
        ((255, 0, 0), (0, 130, 0)),  # about as light as each other
        ((0, 0, 255), (70, 0, 0)),
    ],
)
def test_the_colours_do_not_matter(drawn: tuple[int, int, int], paper: tuple[int, int, int]) -> None:
    assert difference(colours(draw(3, side=SIDE, width=WIDTH), drawn, paper)) < 0.6


def transparent(drawn: tuple[int, int, int], hidden: tuple[int, int, int]) -> Image.Image:
    """A drawing on nothing: opaque only where there is ink."""
    drawing = draw(3, side=SIDE, width=WIDTH)
    picture = colours(drawing.point(lambda level: 255 if level == 255 else 0), drawn, hidden).convert("RGBA")
    picture.putalpha(drawing.point(lambda level: 255 - level))
    return picture


@pytest.mark.fast(3)
@pytest.mark.parametrize("drawn", [(0, 0, 0), (255, 255, 255), (200, 30, 30)])
@pytest.mark.parametrize("hidden", [(0, 0, 0), (255, 255, 255)])
@pytest.mark.parametrize("tight", [False, True])
def test_ink_of_any_colour_on_nothing(
    drawn: tuple[int, int, int], hidden: tuple[int, int, int], *, tight: bool
) -> None:
    picture = transparent(drawn, hidden)
    assert difference(picture.crop(picture.getchannel("A").getbbox()) if tight else picture) < 1


def test_a_stroke_that_fills_the_picture() -> None:
    picture = Image.new("RGBA", (30, 120), (0, 0, 0, 255))
    picture.putpixel((0, 0), (0, 0, 0, 0))  # something is transparent, so the rest is ink
    assert extent(to_digit(picture)) == (20, 5)


def test_paper_that_is_cut_off_by_transparency() -> None:
    for drawn, paper in (((0, 0, 0), (255, 255, 255)), ((240, 240, 240), (20, 40, 20))):
        picture = colours(draw(3, side=SIDE, width=WIDTH), drawn, paper).convert("RGBA")
        mask = Image.new("L", picture.size, 0)
        ImageDraw.Draw(mask).rounded_rectangle((2, 2, SIDE - 3, SIDE - 3), 15, fill=255)
        picture.putalpha(mask)
        assert difference(picture) < 0.6


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_palette_with_a_transparent_colour(kind: str) -> None:
    inked = np.asarray(draw(3, side=SIDE, width=WIDTH)) < 128
    picture = Image.fromarray(inked.astype(np.uint8), "P")
    picture.putpalette([20, 20, 20, 20, 20, 20])  # as dark as the ink, but not to be seen
    assert difference(decode("a", file(picture, kind, transparency=0))) < 5
    assert not to_digit(decode("a", file(picture, kind))).any()


@pytest.mark.fast(2)
@pytest.mark.parametrize("place", [(0, 0), (400, 20), (459, 199), (200, 0)])
@pytest.mark.parametrize("paper", [255, 128])
def test_the_place_in_a_wider_picture_does_not_matter(place: tuple[int, int], paper: int) -> None:
    picture = Image.new("L", (600, 340), paper)
    drawing = draw(3, side=SIDE, width=WIDTH)
    picture.paste(drawing.point(lambda level: level * paper // 255), place)
    assert difference(picture) < SAME  # it was shrunk once more


@pytest.mark.slow
def test_a_digit_may_touch_the_edge_of_the_picture() -> None:
    for digit in range(10):
        drawing = draw(digit, side=SIDE, width=WIDTH)
        box = drawing.point(lambda level: 255 - level).getbbox()
        assert box is not None
        assert difference(drawing.crop(box), digit) < SAME


@pytest.mark.fast(1)
@pytest.mark.parametrize("side", [40, 280, 2000])
def test_the_size_does_not_matter(side: int) -> None:
    assert difference(draw(3, side=side, width=round(side * WIDTH / SIDE))) < SAME
    assert difference(draw(8, side=side, width=round(side * WIDTH / SIDE))) > 2 * SAME


@pytest.mark.parametrize("width", [1, 2, 40])
def test_thin_and_thick_lines_have_full_ink(width: int) -> None:
    assert to_digit(draw(3, side=400, width=width)).max() == 255


@pytest.mark.parametrize(("size", "expected"), [((4, 300), (20, 1)), ((300, 4), (1, 20)), ((70, 200), (20, 7))])
def test_proportions_are_kept(size: tuple[int, int], expected: tuple[int, int]) -> None:
    picture = Image.new("L", (500, 500), 255)
    picture.paste(0, (100, 100, 100 + size[0], 100 + size[1]))
    assert extent(to_digit(picture)) == expected


def photograph(digit: int, *, light: float = 60, noise: float = 6, seed: int = 0) -> Image.Image:
    """A pen on grey paper that is brighter on one side, blurred, with a camera's noise, as JPEG."""
    rng = np.random.default_rng(seed)
    drawing = draw(digit, side=700, width=50).filter(ImageFilter.GaussianBlur(3))
    paper = np.asarray(drawing, np.float32)[..., None] / 255
    y, x = np.mgrid[0:700, 0:700, 0:1][:2] / 700 - 0.5
    pixels = (70 + 120 * paper) * (1 + light / 190 * (0.8 * x + 0.6 * y)) * np.array([1, 0.97, 0.9])
    pixels += rng.normal(0, noise, pixels.shape)
    return Image.open(io.BytesIO(file(Image.fromarray(pixels.clip(0, 255).astype(np.uint8)), "JPEG", quality=85)))


@pytest.mark.fast(2)
@pytest.mark.parametrize("digit", range(10))
def test_paper_in_uneven_light(digit: int) -> None:
    assert difference(photograph(digit), digit) < SAME


def shadowed(digit: int) -> Image.Image:
    """A drawing with the edge of a shadow across it."""
    levels = np.asarray(draw(digit, side=280, width=18), np.float32)
    edge = 1 / (1 + np.exp((np.arange(280) - 150) / 6))
    return Image.fromarray((levels * (0.55 + 0.45 * edge)).astype(np.uint8))


@pytest.mark.fast(2)
@pytest.mark.parametrize("digit", range(10))
def test_the_edge_of_a_shadow(digit: int) -> None:
    assert difference(shadowed(digit), digit) < SAME


def test_shadows_are_why_the_background_is_local(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "_average", lambda signed, paper: np.full_like(signed, signed[paper].mean()))
    assert difference(shadowed(3)) > SAME


@pytest.mark.fast(2)
@pytest.mark.parametrize("digit", range(10))
def test_a_noisy_camera(digit: int) -> None:
    assert difference(photograph(digit, noise=15), digit) < SAME


def noise(deviation: float) -> Image.Image:
    grey = np.random.default_rng(1).normal(200, deviation, (300, 300))
    return Image.fromarray(grey.clip(0, 255).astype(np.uint8))


BLANK: dict[str, Callable[[], Image.Image]] = {
    "white": lambda: Image.new("L", (100, 100), 255),
    "black": lambda: Image.new("1", (100, 100)),
    "one pixel": lambda: Image.new("RGB", (1, 1), "red"),
    "a row": lambda: Image.new("L", (50, 1), 7),
    "sixteen bits": lambda: Image.new("I;16", (30, 30), 40000),
    "floating point": lambda: Image.new("F", (30, 30), 0.25),
    "nothing": lambda: Image.new("RGBA", (50, 50), (0, 0, 0, 0)),
    "opaque": lambda: Image.new("RGBA", (50, 50), (9, 9, 9, 255)),
    "noise": lambda: noise(4),
    "much noise": lambda: noise(25),
    "uneven light": lambda: Image.linear_gradient("L"),
    "hardly darker": lambda: colours(draw(3, side=100, width=8), (240, 240, 240), (255, 255, 255)),
}


@pytest.mark.parametrize("case", BLANK)
def test_a_blank_picture_has_no_ink(case: str) -> None:
    assert not to_digit(BLANK[case]()).any()


def test_a_picture_of_a_set_with_few_levels_is_stretched_as_the_set_is() -> None:
    few = sample_dataset().model_copy(update={"highest": 16})
    drawing = draw(3, side=28, width=2).convert("L")
    strokes = 255 - np.asarray(drawing)
    (faint,) = prepare("a", file(Image.fromarray(strokes // 16)), few).images
    (full,) = prepare("a", file(Image.fromarray(strokes)), few).images
    assert np.abs(faint.astype(int) - full).mean() < 8
    with pytest.raises(InputError, match=r"Got no ink"):  # where the set has all levels, it is nearly black
        prepare("a", file(Image.fromarray(strokes // 16)), sample_dataset())


@pytest.mark.parametrize("upright", [False, True])
@pytest.mark.parametrize("length", [200, 293])
def test_a_sheet_of_which_nothing_lies_inside_is_none(upright: bool, length: int) -> None:
    """A stripe of two pixels has edges on both sides, and nothing between them."""
    colours = [(44, 240, 150), (245, 156, 183), (251, 137, 147), (251, 115, 214), (199, 28, 227), (161, 36, 91)]
    stripes = np.array(colours, np.uint8)[:, None].repeat([3, 5, 6, 5, 2, 3], axis=0).repeat(length, axis=1)
    assert not prepared(Image.fromarray(stripes.swapaxes(0, 1).copy() if upright else stripes)).any()


def test_a_blank_file_is_refused() -> None:
    with pytest.raises(InputError, match=r"^a\.png: expected a digit, darker or lighter .* Got no ink\. Draw with"):
        prepare("a.png", file(Image.new("L", (28, 28), 255)), sample_dataset())


def test_otsus_threshold_parts_two_classes_best() -> None:
    rng = np.random.default_rng(0)
    levels = np.concatenate([rng.normal(40, 10, 900), rng.normal(180, 20, 100)]).clip(0, 255).astype(np.float32)
    whole = levels.astype(np.uint8)

    def within(threshold: int) -> float:
        parts = whole[whole <= threshold], whole[whole > threshold]
        return sum(float(part.var()) * len(part) for part in parts)

    best = min(within(threshold) for threshold in range(whole.min(), whole.max()))
    assert within(otsu(levels)) == pytest.approx(best)
    assert 60 < otsu(levels) < 140
    assert otsu(np.zeros((3, 3), np.float32)) == 0


def test_the_steps_keep_their_ranges() -> None:
    levels = np.asarray(draw(3, side=SIDE, width=WIDTH).point(lambda level: 255 - level), np.float32)
    inked = strength(levels, np.ones(levels.shape, bool))
    assert (inked.min(), inked.max()) == (0, 1)
    box = fit(inked, 20)
    assert max(box.shape) == 20
    assert (box.min() >= 0, box.max()) == (True, 1)
