"""The picture of the worst mistakes shows the digits, and has equal bytes every time."""

import struct
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from digits.data.splits import to_features
from digits.scoring.picture import CAPTION, COLUMNS, MARGIN, SIDE, as_seen, draw_images, save_png
from tests.support.arrays import sample_dataset
from tests.support.project import Arrays


def sample(digits: Arrays, count: int) -> NDArray[np.uint8]:
    return 255 - digits["x_test"][:count].astype(np.uint8)


def captions(count: int) -> list[str]:
    return [f"{index} read as {index + 1}" for index in range(count)]


def chunks(content: bytes) -> list[bytes]:
    """Return the names of the parts of a PNG."""
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    names, position = [], 8
    while position < len(content):
        length, name = struct.unpack(">I4s", content[position : position + 8])
        names.append(name)
        position += 12 + length
    return names


@pytest.mark.parametrize(("count", "form"), [(1, (28, 28)), (6, (9, 16)), (25, (128, 100)), (5, (32, 40, 3))])
def test_images_of_any_size_and_colour_are_drawn_in_rows_of_five(count: int, form: tuple[int, ...]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (count, *form), np.uint8)
    picture = draw_images(images, captions(count))
    assert picture.mode == ("RGB" if len(form) == 3 else "L")
    scale = max(1, SIDE // max(form[:2]))
    height, width = form[0] * scale, form[1] * scale
    step = (picture.size[0] - MARGIN) // COLUMNS
    assert step >= width + MARGIN
    assert picture.size[1] == -(-count // COLUMNS) * (height + CAPTION + MARGIN) + MARGIN
    for index, image in enumerate(images):
        left, top = MARGIN + index % COLUMNS * step, MARGIN + index // COLUMNS * (height + CAPTION + MARGIN)
        pixels = np.asarray(picture)[top : top + height + CAPTION, left : left + width]
        assert np.array_equal(pixels[:height], image.repeat(scale, axis=0).repeat(scale, axis=1))
        assert pixels[height:].min() == 0  # the caption has dark pixels


LONG = "Ankle boot read as T-shirt/top"


def test_long_captions_stand_apart_and_are_whole(digits: Arrays) -> None:
    alone = np.asarray(draw_images(sample(digits, 1), [LONG]))
    width = (alone.shape[1] - MARGIN) // COLUMNS
    assert width > SIDE + MARGIN
    assert (alone[:, width:] == 255).all()  # the caption ends within its cell
    together = np.asarray(draw_images(sample(digits, 5), [LONG, *captions(4)]))
    below = slice(MARGIN + SIDE, MARGIN + SIDE + CAPTION)
    assert np.array_equal(together[below, :width], alone[below, :width])
    for column in range(COLUMNS):
        assert (together[:, column * width + width : MARGIN + (column + 1) * width] == 255).all()


def test_the_file_is_always_the_same_and_holds_nothing_else(tmp_path: Path, digits: Arrays) -> None:
    drawn = draw_images(sample(digits, 25), captions(25))
    for name in ("a.png", "b.png"):
        save_png(drawn, tmp_path / name)
    content = (tmp_path / "a.png").read_bytes()
    assert content == (tmp_path / "b.png").read_bytes()
    assert set(chunks(content)) == {b"IHDR", b"IDAT", b"IEND"}
    with Image.open(tmp_path / "a.png") as picture:
        assert np.array_equal(np.asarray(picture), np.asarray(drawn))


def test_ink_is_dark_and_photographs_are_unchanged() -> None:
    dataset = sample_dataset()
    assert np.asarray(draw_images(np.empty((0, 28, 28), np.uint8), [])).min() == 0  # says that there is no mistake
    pixels = np.arange(2 * 784, dtype=np.int64).astype(np.uint8).reshape(2, 28, 28)
    features = to_features(pixels)
    assert np.array_equal(as_seen(list(features), dataset), 255 - pixels)
    assert np.array_equal(as_seen(list(features), dataset.model_copy(update={"ink": None})), pixels)
    assert as_seen([], dataset).shape == (0, 28, 28)
