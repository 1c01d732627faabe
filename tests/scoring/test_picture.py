"""The picture of digits: the digits themselves, in equal bytes every time."""

import struct
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from digits.data.dataset import Dataset
from digits.data.splits import to_features
from digits.scoring.picture import CAPTION, COLUMNS, MARGIN, SIDE, as_seen, draw_images, save_png
from tests.support.project import Arrays

SCALE = SIDE // 28


def sample(digits: Arrays, count: int) -> NDArray[np.uint8]:
    return 255 - digits["x_test"][:count].astype(np.uint8)


def captions(count: int) -> list[str]:
    return [f"{index} read as {index + 1}" for index in range(count)]


def chunks(content: bytes) -> list[bytes]:
    """The names of the parts of a PNG."""
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    names, position = [], 8
    while position < len(content):
        length, name = struct.unpack(">I4s", content[position : position + 8])
        names.append(name)
        position += 12 + length
    return names


def cell(picture: Image.Image, index: int, *, caption: bool = False) -> NDArray[np.uint8]:
    """The pixels of a digit in the picture, or those of its caption."""
    left = MARGIN + index % COLUMNS * (SIDE + MARGIN)
    top = MARGIN + index // COLUMNS * (SIDE + CAPTION + MARGIN)
    pixels = np.asarray(picture)
    if caption:
        return pixels[top + SIDE : top + SIDE + CAPTION, left : left + SIDE]
    return pixels[top : top + SIDE, left : left + SIDE]


@pytest.mark.parametrize("count", [1, 5, 6, 25])
def test_the_pixels_are_the_digits(digits: Arrays, count: int) -> None:
    shown = sample(digits, count)
    picture = draw_images(shown, captions(count))
    for index, digit in enumerate(shown):
        enlarged = np.kron(digit, np.ones((SCALE, SCALE), np.uint8))
        assert np.array_equal(cell(picture, index), enlarged)
        assert cell(picture, index, caption=True).min() == 0


def test_one_other_pixel_is_seen(digits: Arrays) -> None:
    shown = sample(digits, 6)
    before = draw_images(shown, captions(6)).tobytes()
    shown[5, 27, 27] ^= 1
    assert draw_images(shown, captions(6)).tobytes() != before


@pytest.mark.parametrize(("count", "rows"), [(0, 1), (1, 1), (5, 1), (6, 2), (100, 20)])
def test_the_picture_has_room_for_rows_of_five(digits: Arrays, count: int, rows: int) -> None:
    picture = draw_images(sample(digits, count), captions(count))
    assert picture.mode == "L"
    assert picture.size == (5 * (SIDE + MARGIN) + MARGIN, rows * (SIDE + CAPTION + MARGIN) + MARGIN)


@pytest.mark.parametrize("caption", ["9 read as 4", "255 read as 254"])
def test_a_caption_fits_under_its_digit(digits: Arrays, caption: str) -> None:
    picture = np.asarray(draw_images(sample(digits, 10), [caption] * 10)).copy()
    for index in range(10):
        cell_of = np.zeros_like(picture, bool)
        left = MARGIN + index % COLUMNS * (SIDE + MARGIN)
        top = MARGIN + index // COLUMNS * (SIDE + CAPTION + MARGIN)
        cell_of[top : top + SIDE + CAPTION, left : left + SIDE] = True
        picture[cell_of] = 255
    assert (picture == 255).all()


LONG = "Ankle boot read as T-shirt/top"


def test_long_captions_stand_apart_and_are_whole(digits: Arrays) -> None:
    alone = np.asarray(draw_images(sample(digits, 1), [LONG]))
    width = (alone.shape[1] - MARGIN) // COLUMNS
    assert width > SIDE + MARGIN
    assert (alone[:, width:] == 255).all()  # it ends within its cell
    together = np.asarray(draw_images(sample(digits, 6), [LONG, *captions(4), LONG]))
    below = slice(MARGIN + SIDE, MARGIN + SIDE + CAPTION)
    second_row = slice(below.start + SIDE + CAPTION + MARGIN, below.stop + SIDE + CAPTION + MARGIN)
    for rows in (below, second_row):
        assert np.array_equal(together[rows, :width], alone[below, :width])
    for column in range(COLUMNS):
        assert (together[:, MARGIN + column * width + width - MARGIN : MARGIN + (column + 1) * width] == 255).all()


def test_a_caption_that_runs_into_the_next_would_be_noticed(digits: Arrays, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("digits.scoring.picture.math.ceil", lambda _: 0)
    with pytest.raises(AssertionError, match=r"assert \d+ > \(112 \+ 8\)"):
        test_long_captions_stand_apart_and_are_whole(digits)


def test_no_digits_give_a_picture_that_says_so() -> None:
    picture = draw_images(np.empty((0, 28, 28), np.uint8), [])
    assert np.asarray(picture).min() == 0
    assert np.asarray(picture).mean() > 240


@pytest.mark.parametrize("count", [4, 6])
def test_every_digit_has_a_caption(digits: Arrays, count: int) -> None:
    with pytest.raises(ValueError, match=r"zip\(\) argument 2 is (shorter|longer) than argument 1"):
        draw_images(sample(digits, 5), captions(count))


def test_the_file_is_always_the_same_and_holds_nothing_else(tmp_path: Path, digits: Arrays) -> None:
    for name in ("a.png", "b.png"):
        save_png(draw_images(sample(digits, 25), captions(25)), tmp_path / name)
    content = (tmp_path / "a.png").read_bytes()
    assert content == (tmp_path / "b.png").read_bytes()
    assert set(chunks(content)) == {b"IHDR", b"IDAT", b"IEND"}
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.info == {}
        assert np.array_equal(np.asarray(picture), np.asarray(draw_images(sample(digits, 25), captions(25))))


def test_a_text_in_the_file_would_be_noticed(tmp_path: Path, digits: Arrays) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("Creation Time", "now")
    draw_images(sample(digits, 1), captions(1)).save(tmp_path / "a.png", pnginfo=text)
    assert b"tEXt" in chunks((tmp_path / "a.png").read_bytes())


def test_drawing_leaves_the_digits_as_they_are(digits: Arrays) -> None:
    shown = sample(digits, 3)
    before = shown.copy()
    draw_images(shown, captions(3))
    assert np.array_equal(shown, before)


@pytest.mark.parametrize("form", [(8, 8), (9, 16), (128, 100), (32, 40, 3)])
def test_images_of_any_size_and_colour_are_drawn(form: tuple[int, ...]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (7, *form), np.uint8)
    picture = draw_images(images, captions(7))
    scale = max(1, SIDE // max(form[:2]))
    assert SIDE / 2 < max(form[:2]) * scale <= 128
    assert picture.mode == ("RGB" if len(form) == 3 else "L")
    height, width = form[0] * scale, form[1] * scale
    left, top = MARGIN + (picture.size[0] - MARGIN) // COLUMNS, MARGIN + CAPTION + MARGIN + height
    shown = np.asarray(picture)[top : top + height, left : left + width]
    assert np.array_equal(shown, images[6].repeat(scale, axis=0).repeat(scale, axis=1))


def test_ink_is_dark_and_photographs_are_as_they_are(dataset: Dataset) -> None:
    pixels = np.arange(2 * 784, dtype=np.int64).astype(np.uint8).reshape(2, 28, 28)
    features = to_features(pixels)
    assert np.array_equal(as_seen(list(features), dataset), 255 - pixels)
    assert np.array_equal(as_seen(list(features), dataset.model_copy(update={"ink": None})), pixels)
    colour = dataset.model_copy(update={"ink": None, "image_shape": (28, 14, 2)})
    assert as_seen(features[:1, None], colour).shape == (1, 28, 14, 2)  # type: ignore[arg-type]
    assert as_seen([], dataset).shape == (0, 28, 28)
