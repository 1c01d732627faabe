"""Pictures as files: converted without loss, or refused."""

import io
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from digits.sources.pictures import decode, find
from digits.sources.tree import open_tree
from dvcproof.runtime.program import InputError
from stages.load import load
from tests.support.forms import BOTH, few, files, picture
from tests.support.project import Arrays

LEVELS = np.arange(256, dtype=np.uint8).reshape(16, 16)
COLOURS = np.stack([LEVELS, LEVELS[::-1], LEVELS.T], axis=2)
DEEP = LEVELS.astype(np.uint16)


def webp(image: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "WEBP", lossless=True, exact=True)
    return file.getvalue()


GOOD = [
    *((picture(LEVELS, kind), LEVELS) for kind in ("PNG", "GIF", "BMP", "TIFF", "PPM")),
    (webp(LEVELS), LEVELS),
    (picture(COLOURS), COLOURS),
    (picture(LEVELS, mode="RGB"), LEVELS),
    (picture(LEVELS, mode="RGBA"), LEVELS),
    (picture(DEEP * 257), LEVELS),
]


@pytest.mark.parametrize(("content", "expected"), GOOD)
def test_a_picture_gives_its_levels(content: bytes, expected: NDArray[np.uint8]) -> None:
    assert np.array_equal(decode("a", content), expected)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "the file is empty"),
        (b"hello", "this is not a picture"),
        (picture(LEVELS)[:50], "this is not a picture, or a damaged one|the picture is damaged"),
        (picture(np.zeros((7, 28), np.uint8)), "Got 28 x 7 pixels"),
        (picture(np.zeros((28, 129), np.uint8)), "Got 129 x 28 pixels"),
        (picture(np.zeros((5000, 5000), np.uint8)), "Got 5000 x 5000 pixels"),
        (picture(LEVELS) + bytes(2**20), "the picture has more than 1048576 bytes"),
        (picture(COLOURS, "JPEG", "CMYK"), "pictures of the mode CMYK cannot be read"),
        (picture(DEEP * 256), "the picture has 16 bits"),
        (picture(np.dstack([COLOURS, LEVELS])), "the picture is transparent"),
    ],
)
def test_other_files_are_refused(content: bytes, match: str) -> None:
    with pytest.raises(InputError, match=f"^a: .*({match})"):
        decode("a", content)


def two_classes(folder: Path, digits: Arrays, *counts: int) -> Path:
    """Write as many copies of one picture into the folder of each class, for training and for test."""
    image = picture(few(digits)["x_train"][0])
    names = [f"{split}{label}/{k}.png" for split in BOTH.values() for label, n in enumerate(counts) for k in range(n)]
    return files(lambda _: dict.fromkeys(names, image))(folder, digits)


def test_one_coloured_picture_makes_all_coloured(tmp_path: Path, digits: Arrays) -> None:
    source, colours = two_classes(tmp_path, digits, 3, 3), np.zeros((28, 28, 3), np.uint8)
    colours[3, 4] = 9, 8, 7
    (source / "train" / "1" / "2.png").write_bytes(picture(colours))
    (source / "train" / "licence.txt").write_text("free")
    (source / "train" / "1" / "Thumbs.db").write_bytes(b"\xd0\xcf")
    assert load(str(source), tmp_path / "out")[0] == "train_images  uint8 [6, 28, 28, 3]"
    images = np.load(tmp_path / "out" / "train_images.npy")
    assert np.array_equal(images[-1], colours)
    assert np.array_equal(images[0], np.dstack([few(digits)["x_train"][0]] * 3))


def test_a_file_of_another_kind_among_pictures_is_named(tmp_path: Path, digits: Arrays) -> None:
    source = two_classes(tmp_path, digits, 1, 1)
    (source / "train" / "1" / "notes.txt").write_text("hello")
    with pytest.raises(InputError, match=r"1/notes\.txt: this is not a picture"):
        load(str(source), tmp_path / "out")


@pytest.mark.parametrize("split", ["", "train/"])
def test_pictures_of_one_class_are_refused(tmp_path: Path, digits: Arrays, split: str) -> None:
    image = picture(few(digits)["x_train"][0])
    source = files(lambda _: {f"{split}a/{k}.png": image for k in range(3)})(tmp_path, digits)
    with (
        pytest.raises(InputError, match="all pictures are in one folder, a, and so of one class"),
        ExitStack() as stack,
    ):
        find(open_tree(source), stack)
