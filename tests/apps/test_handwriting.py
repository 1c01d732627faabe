"""Pictures of digits in MNIST's form: the same digit comes out for any size, colours and polarity."""

import io
import re
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from digits.apps import handwriting
from digits.apps.handwriting import centre, decode, fit, ink, otsu, read_digit, to_digit
from digits.common.cli import InputError
from tests.support.centring import centred_by_box
from tests.support.project import Arrays
from tests.support.strokes import draw

SIDE, WIDTH = 140, 10


def file(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def colours(picture: Image.Image, ink: tuple[int, int, int], paper: tuple[int, int, int]) -> Image.Image:
    """A picture in black on white in two other colours."""
    share = np.asarray(picture, np.float32)[..., None] / 255
    return Image.fromarray((share * np.array(paper) + (1 - share) * np.array(ink)).astype(np.uint8))


def difference(picture: Image.Image, digit: int = 3) -> float:
    """Mean difference of what comes out, of 255 levels, from what the plain drawing of the digit gives."""
    expected = to_digit(draw(digit, side=SIDE, width=WIDTH))
    return float(np.abs(to_digit(picture).astype(int) - expected).mean())


#: `difference` between two renderings of one digit, at most: for a pixel's shift by rounding. Between two digits: 20.
SAME = 10


def mass_centre(digit: NDArray[np.uint8]) -> tuple[float, float]:
    y, x = np.mgrid[0:28, 0:28]
    return float((digit * y).sum() / digit.sum()), float((digit * x).sum() / digit.sum())


def extent(digit: NDArray[np.uint8]) -> tuple[int, int]:
    rows, columns = np.flatnonzero(digit.any(axis=1)), np.flatnonzero(digit.any(axis=0))
    return int(rows[-1] - rows[0] + 1), int(columns[-1] - columns[0] + 1)


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
    digits: Arrays, place: Callable[[NDArray[np.float32]], NDArray[np.uint8]], least: float, most: float
) -> None:
    same = []
    for image in np.concatenate([digits["x_train"], digits["x_test"]]):
        (rows, columns) = (np.flatnonzero(image.any(axis=axis)) for axis in (1, 0))
        box = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.float32) / 255
        same.append(np.array_equal(place(box), image))
    assert least <= np.mean(same) <= most


def test_mnists_own_digits_stay_nearly_as_they_are(digits: Arrays) -> None:
    images = digits["x_test"].astype(int)
    kept = np.stack([to_digit(Image.fromarray(image.astype(np.uint8))) for image in images])
    moved = np.roll(images, 1, axis=2)
    assert np.abs(kept - images).mean() < np.abs(moved - images).mean() / 3


MODES = ("L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I", "F")


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
        assert picture.mode == "I;16"
        assert difference(picture) < 0.5
    for strange in (np.nan, np.inf, -np.inf):
        levels = np.asarray(drawing, np.float32) / 255
        levels[0, 0] = strange
        assert to_digit(Image.fromarray(levels)).any()


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


@pytest.mark.parametrize("drawn", [(0, 0, 0), (255, 255, 255), (200, 30, 30)])
@pytest.mark.parametrize("hidden", [(0, 0, 0), (255, 255, 255)])
@pytest.mark.parametrize("tight", [False, True])
def test_ink_of_any_colour_on_nothing(
    drawn: tuple[int, int, int], hidden: tuple[int, int, int], *, tight: bool
) -> None:
    picture = transparent(drawn, hidden)
    assert difference(picture.crop(picture.getchannel("A").getbbox()) if tight else picture) < 0.5


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


@pytest.mark.parametrize("place", [(0, 0), (400, 20), (459, 199), (200, 0)])
@pytest.mark.parametrize("paper", [255, 128])
def test_the_place_in_a_wider_picture_does_not_matter(place: tuple[int, int], paper: int) -> None:
    picture = Image.new("L", (600, 340), paper)
    drawing = draw(3, side=SIDE, width=WIDTH)
    picture.paste(drawing.point(lambda level: level * paper // 255), place)
    assert difference(picture) < 2.5  # it was shrunk once more


def test_a_digit_may_touch_the_edge_of_the_picture() -> None:
    for digit in range(10):
        drawing = draw(digit, side=SIDE, width=WIDTH)
        box = drawing.point(lambda level: 255 - level).getbbox()
        assert box is not None
        assert difference(drawing.crop(box), digit) < 1


@pytest.mark.parametrize("side", [40, 280, 2000])
def test_the_size_does_not_matter(side: int) -> None:
    assert difference(draw(3, side=side, width=round(side * WIDTH / SIDE))) < SAME
    assert difference(draw(8, side=side, width=round(side * WIDTH / SIDE))) > 2 * SAME


@pytest.mark.parametrize("width", [1, 2, 40])
def test_thin_and_thick_lines_have_full_ink(width: int) -> None:
    assert to_digit(draw(3, side=400, width=width)).max() == 255


@pytest.mark.parametrize(("size", "expected"), [((4, 300), (20, 1)), ((300, 4), (1, 20)), ((1, 1), (20, 20))])
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


@pytest.mark.parametrize("digit", range(10))
def test_paper_in_uneven_light(digit: int) -> None:
    assert difference(photograph(digit), digit) < SAME


def test_uneven_light_is_why_the_background_is_a_plane(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handwriting, "background", lambda pixels: np.median(pixels, axis=(0, 1)))
    assert difference(photograph(3)) > 2 * SAME


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


def test_noise_is_why_ink_must_stand_out_from_the_edge(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handwriting, "NOISE", 0)
    assert to_digit(noise(25)).any()


def test_a_blank_file_is_refused() -> None:
    with pytest.raises(InputError, match=r"^a\.png: expected a digit, darker or lighter .* Got no ink\. Draw with"):
        read_digit("a.png", file(Image.new("L", (28, 28), 255)))


@pytest.mark.parametrize("kind", handwriting.FORMATS)
def test_every_format(kind: str) -> None:
    drawing = draw(3, side=SIDE, width=WIDTH).convert("RGB")
    digit = read_digit("a", file(drawing, kind))
    assert np.abs(digit.astype(int) - to_digit(drawing)).mean() < 1.5


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_of_a_camera_is_respected(orientation: int) -> None:
    turn = Image.Transpose
    back = {
        2: turn.FLIP_LEFT_RIGHT,
        3: turn.ROTATE_180,
        4: turn.FLIP_TOP_BOTTOM,
        5: turn.TRANSPOSE,
        6: turn.ROTATE_90,
        7: turn.TRANSVERSE,
        8: turn.ROTATE_270,
    }
    drawing = draw(7, side=SIDE, width=WIDTH)
    stored = drawing.transpose(back[orientation]) if orientation in back else drawing
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = file(stored, "JPEG", quality=95, exif=exif)
    assert difference(decode("a.jpg", content), digit=7) < 1
    if orientation > 1:  # and without it the digit would lie on its side
        assert difference(decode("a.jpg", file(stored, "JPEG", quality=95)), digit=7) > 10


def bomb() -> bytes:
    return file(Image.new("1", (20000, 20000)))


def large() -> bytes:
    return file(Image.new("1", (handwriting.MAX_PIXELS // 5000 + 1, 5000)))


def scans(count: int) -> bytes:
    content = file(draw(3, side=SIDE, width=WIDTH), "JPEG", progressive=True)
    last = content[content.rindex(b"\xff\xda") : -2]
    return content[:-2] + last * count + content[-2:]


def raw(maximum: int) -> bytes:
    return b"P6 1000 900 %d\n" % maximum + bytes(3 * 900 * 1000)


PLAIN = Image.new("RGB", (64, 64))
CHUNK = struct.pack(">I4s2sI", 2, b"tEXt", b"a\0", zlib.crc32(b"tEXta\0"))
DRAWING = file(draw(3, side=SIDE, width=WIDTH))
BAD: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "Got nothing"),
    "text": (b"seven", "Got another file"),
    "vector graphics": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "Got another file"),
    "PostScript": (file(draw(3, side=SIDE, width=WIDTH), "EPS"), "Got another file"),
    "truncated PNG": (DRAWING[: len(DRAWING) // 2], "Got a damaged file"),
    "truncated JPEG": (file(draw(3, side=SIDE, width=WIDTH), "JPEG")[:600], "Got a damaged file"),
    "only the head of a PNG": (DRAWING[:8], "Got another file"),
    "more pixels than allowed": (large(), "Got one of 3201 x 5000 pixels, mode 1"),
    "decompression bomb": (bomb(), "Got a damaged file (Image size (400000000 pixels) exceeds limit"),
    "a JPEG of very many scans": (scans(100), "Got one with more than 50 scans"),
    "a TIFF with JPEG in it": (file(PLAIN, "TIFF", compression="jpeg"), "Got a TIFF with JPEG in it"),
    "very many chunks": (DRAWING[:33] + CHUNK * 10**5 + DRAWING[33:], "Got a damaged file (of too many parts)"),
    "a coding that takes long": (raw(254), "Got a PPM file of more than 2 MiB in a rare coding"),
    "colours without a conversion": (file(Image.new("LAB", (9, 9)), "TIFF"), "Got one of 9 x 9 pixels, mode LAB"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_picture_is_refused(case: str) -> None:
    content, message = BAD[case]
    most = r"at most 16 megapixels, or 50 as JPEG\."
    expected = rf"a\.png: expected an image \(PNG, .*\) of {most} {re.escape(message)}.* as PNG"
    with pytest.raises(InputError, match=expected):
        read_digit("a.png", content)


def outcome(content: bytes) -> str:
    """The line with which a file is refused, or nothing if a digit can be read from it, or that it is blank."""
    try:
        digit = to_digit(decode("a", content))
    except InputError as error:
        return str(error)
    return "" if digit.shape == (28, 28) else "another form"


@pytest.mark.parametrize("kind", handwriting.FORMATS)
def test_damaged_files_are_read_or_refused_in_one_line(kind: str) -> None:
    whole = file(draw(3, side=30, width=3).convert("RGB"), kind)
    assert outcome(whole) == ""
    rng = np.random.default_rng(0)
    lines = []
    for _ in range(100):
        damaged = bytearray(whole)
        for place in rng.integers(0, min(len(whole), 200), 3):
            damaged[place] = rng.integers(256)
        lines.append(outcome(bytes(damaged)))
    refused = [line for line in lines if line]
    assert refused
    assert all(
        re.fullmatch(r"a: expected an image .*\. Got .*\. Save the picture again, as PNG\.", line) for line in refused
    )


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
    strength = ink(np.asarray(draw(3, side=SIDE, width=WIDTH).point(lambda level: 255 - level), np.float32))
    assert (strength.min(), strength.max()) == (0, 1)
    box = fit(strength)
    assert max(box.shape) == 20
    assert (box.min() >= 0, box.max()) == (True, 1)


def test_what_is_bounded_is_read_up_to_the_bound() -> None:
    assert outcome(scans(30)) == ""
    assert outcome(raw(255)) == ""
    assert outcome(file(Image.new("L", (8000, 6000), 255), "JPEG")) == ""  # a camera's
    with pytest.raises(InputError, match="Got one of 8000 x 6000 pixels"):
        decode("a.png", file(Image.new("1", (8000, 6000))))


def test_a_c_library_writes_nothing_on_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    damaged = bytearray(file(draw(3, side=SIDE, width=WIDTH), "TIFF", compression="tiff_lzw"))
    damaged[20:60] = b"\xff" * 40
    with pytest.raises(InputError, match="Got a damaged file"):
        decode("a.tiff", bytes(damaged))
    assert capfd.readouterr().err == ""
    with pytest.raises(OSError, match="decoder error"), Image.open(io.BytesIO(damaged)) as picture:
        picture.load()
    assert "Using code not yet in table" in capfd.readouterr().err
