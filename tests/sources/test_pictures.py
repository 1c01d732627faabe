"""Pictures as files: converted without loss, or refused."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from digits.sources import pictures
from digits.sources.pictures import decode
from dvcproof.runtime.program import InputError
from stages.load import load
from tests.support.arrays import write_load_params
from tests.support.forms import BOTH, few, files, picture
from tests.support.project import Arrays
from tests.support.refusal import refusal

Pixels = NDArray[Any]
LEVELS = np.arange(256, dtype=np.uint8).reshape(16, 16)
COLOURS = np.stack([LEVELS, LEVELS[::-1], LEVELS.T], axis=2)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
def test_a_grey_picture_gives_its_levels(kind: str) -> None:
    content = picture(LEVELS, kind) if kind != "WEBP" else webp(LEVELS)
    assert np.array_equal(decode("a", content), LEVELS)


def webp(image: Pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "WEBP", lossless=True, exact=True)
    return file.getvalue()


def test_colours_and_deep_pictures_are_kept_or_refused() -> None:
    assert np.array_equal(decode("a", picture(COLOURS)), COLOURS)
    assert np.array_equal(decode("a", picture(LEVELS, mode="RGB")), LEVELS)
    assert np.array_equal(decode("a", picture(LEVELS.astype(np.uint16) * 257)), LEVELS)
    assert np.array_equal(decode("a", picture(LEVELS, mode="RGBA")), LEVELS)
    with pytest.raises(InputError, match=r"a: expected a picture of 8 bits\. Got one of 16 bits\."):
        decode("a", picture(LEVELS.astype(np.uint16) * 256))
    clear = np.dstack([COLOURS, LEVELS])
    with pytest.raises(InputError, match=r"a: expected a picture that covers .* Got a transparent one\."):
        decode("a", picture(clear))


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "Got an empty file"),
        (b"hello", "Got another file"),
        (picture(LEVELS)[:50], "Got a damaged file"),
        (picture(np.zeros((7, 28), np.uint8)), "Got 28 x 7 pixels"),
        (picture(np.zeros((28, 129), np.uint8)), "Got 129 x 28 pixels"),
        (picture(np.zeros((5000, 5000), np.uint8)), "Got 5000 x 5000 pixels"),
        (picture(LEVELS) + bytes(2**20), "expected at most 1048576 bytes"),
        (picture(COLOURS, "JPEG", "CMYK"), "Got one of mode CMYK"),
    ],
)
def test_what_is_no_such_picture_is_refused(content: bytes, match: str) -> None:
    with pytest.raises(InputError, match=match):
        decode("a", content)


def test_one_coloured_picture_makes_all_coloured(tmp_path: Path, digits: Arrays) -> None:
    sample, colours = few(digits), np.zeros((28, 28, 3), np.uint8)
    colours[3, 4] = 9, 8, 7
    names = [f"{split}{label}/{k}.png" for split in BOTH.values() for label in (0, 1) for k in range(3)]
    source = files(lambda _: {name: picture(sample["x_train"][0]) for name in names})(tmp_path, digits)
    (source / "train" / "1" / "2.png").write_bytes(picture(colours))
    (source / "train" / "licence.txt").write_text("free")
    (source / "train" / "1" / "Thumbs.db").write_bytes(b"\xd0\xcf")
    lines = load(str(source), tmp_path / "out", test_size=0)
    assert lines[0] == "train_images  uint8 [6, 28, 28, 3]"
    images = np.load(tmp_path / "out" / "train_images.npy")
    assert np.array_equal(images[-1], colours)
    assert np.array_equal(images[0], np.dstack([sample["x_train"][0]] * 3))


def test_every_part_has_all_classes_in_their_shares(tmp_path: Path, digits: Arrays) -> None:
    image = picture(few(digits)["x_train"][0])
    names = [f"{split}{label}/{k}.png" for split in BOTH.values() for label in (0, 1) for k in range(10 + 20 * label)]
    load(str(files(lambda _: dict.fromkeys(names, image))(tmp_path, digits)), tmp_path / "out", test_size=0)
    labels = np.load(tmp_path / "out" / "train_labels.npy")
    assert [int((labels[k : k + 4] == 0).sum()) for k in range(0, 40, 4)] == [1] * 10


def test_a_file_of_another_kind_among_pictures_is_named(tmp_path: Path, digits: Arrays) -> None:
    image = picture(few(digits)["x_train"][0])
    source = files(lambda _: {"0/0.png": image, "1/1.png": image, "1/notes.txt": b"hello"})(tmp_path, digits)
    with pytest.raises(InputError, match=r"1/notes\.txt: expected a picture .*\. Got another file\."):
        load(str(source), tmp_path / "out", test_size=1)


def test_a_person_sees_a_progress_bar(
    tmp_path: Path, digits: Arrays, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    image = picture(few(digits)["x_train"][0])
    names = [f"{split}{label}/{k}.png" for split in BOTH.values() for label in (0, 1) for k in range(3)]
    source = files(lambda _: dict.fromkeys(names, image))(tmp_path, digits)
    load(str(source), tmp_path / "out", test_size=0)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(pictures, "on_terminal", lambda: True)
    load(str(source), tmp_path / "out", test_size=0)
    assert "reading the pictures of the training set in" in capsys.readouterr().err


def test_the_parameter_for_the_test_set_is_checked(tmp_path: Path) -> None:
    params = write_load_params(tmp_path, "data")
    params.write_text(params.read_text().replace('"test_size": 0', '"test_size": -1'))
    from stages import load as stage

    line = refusal(stage.main, "--params", params, "--out", tmp_path / "out")
    assert "parameter 'load.test_size' in" in line
    assert "expected an integer in [0, inf). Got -1." in line
