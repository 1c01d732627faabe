"""Image files from outside: read within bounds, or refused by what they are."""

import io
import re
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from digits.apps import decoding
from digits.apps.decoding import decode
from digits.apps.handwriting import prepare
from dvcproof.runtime.program import InputError
from tests.support.arrays import sample_dataset
from tests.support.pictures import SIDE, WIDTH, difference, file, to_digit, to_digits
from tests.support.strokes import draw


@pytest.mark.fast(4)
@pytest.mark.parametrize("kind", decoding.FORMATS)
def test_every_format(kind: str) -> None:
    drawing = draw(3, side=SIDE, width=WIDTH).convert("RGB")
    (digit,) = prepare("a", file(drawing, kind), sample_dataset()).images
    assert np.abs(digit.astype(int) - to_digit(drawing)).mean() < 1.5


@pytest.mark.fast(3)
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
    return file(Image.new("1", (decoding.MAX_PIXELS // 5000 + 1, 5000)))


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
    "nothing": (b"", "Got an empty file. Save the picture again, as PNG."),
    "text": (b"seven", "Got another file"),
    "vector graphics": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "Got an SVG drawing. Export it as PNG"),
    "vector graphics with a head": (b"<?xml version='1.0'?>\n<svg/>", "Got an SVG drawing"),
    "a document": (b"%PDF-1.7", "Got a PDF document. Save its page as PNG"),
    "an array": (b"\x93NUMPY\x01\x00", "Got a NumPy array. To train on it, name its data set"),
    "IDX": (b"\x00\x00\x08\x03\x00", "Got an IDX file. To train on it"),
    "a table": (b"label,pixel0,pixel1\n5,0,0\n", "Got a table (CSV). To train on it"),
    "a table with semicolons": (b"label;pixel0\n5;0\n", "Got a table (CSV). To train on it"),
    "a document of JSON": (b'{"cells": [], "a": 1}', "Got a JSON document. Save the picture again, as PNG."),
    "a pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Got a Git LFS pointer. Run `git lfs"),
    "arrays": (b"PK\x03\x04" + bytes(26) + b"x_train.npy", "Got NumPy arrays (.npz). To train on it"),
    "an archive": (b"PK\x03\x04", "Got a ZIP archive. Unpack it"),
    "a web page": (b"<!DOCTYPE html><title>404</title>", "Got a web page. Save the picture"),
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
    most = r"at most 16 megapixels, 25 as HEIF or 50 as JPEG\."
    with pytest.raises(InputError, match=rf"a\.png: expected an image \(PNG, .*\) of {most} {re.escape(message)}"):
        decode("a.png", content)


def test_a_name_does_not_decide_the_format() -> None:
    drawing = draw(3, side=SIDE, width=WIDTH).convert("RGB")
    assert difference(decode("IMG_1.jpg", file(drawing, "HEIF"))) < 1


def outcome(content: bytes) -> str:
    """The line with which a file is refused, or nothing if a digit can be read from it, or that it is blank."""
    try:
        digits = to_digits(decode("a", content))
    except InputError as error:
        return str(error)
    return "" if all(digit.shape == (28, 28) for digit in digits) else "another form"


@pytest.mark.fast(1)
@pytest.mark.parametrize("kind", decoding.FORMATS)
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
        re.fullmatch(r"a: expected an image .*\. Got .*\. (Save|Unpack|To train) .*\.", line) for line in refused
    )


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
