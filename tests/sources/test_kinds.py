"""What a file is by its first bytes."""

import pytest

from digits.sources.kinds import EMPTY, IDX, NPY, NPZ, PARQUET, PICTURE, TABLE, UNKNOWN, ZIP, Foreign, kind_of


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\x93NUMPY\x01\x00", NPY),
        (b"\0\0\x08\x03\0\0\0\x01", IDX),
        (b"\0\0\x0c\x02\0\0\0\x01", IDX),
        (b"PK\x03\x04" + bytes(26) + b"x_train.npy", NPZ),
        (b"PK\x03\x04" + bytes(26) + b"x_train.txt", ZIP),
        (b"PAR1\x15\x04", PARQUET),
        (b"\x89PNG\r\n\x1a\n", PICTURE),
        (b"\xff\xd8\xff\xe0", PICTURE),
        (b"\xef\xbb\xbflabel" + b",p" * 64 + b"\r\n", TABLE),
        (b"1" + b";0" * 784, TABLE),
        (b"1" + b"\t0" * 784, TABLE),
        (b"", EMPTY),
        (b"label,name\n1,one\n" + b"," * 100, UNKNOWN),
        (b"\0\0\x08\x05", UNKNOWN),
        (b"\0\0\x0a\x03", UNKNOWN),
    ],
)
def test_a_kind_is_known_by_its_first_bytes(head: bytes, kind: object) -> None:
    assert kind_of(head) == kind


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"\n <HTML>", "a web page"),
        (b"<?xml version='1.0'?><Error>", "an XML document, perhaps the server's refusal"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (b"outs:\n- md5: 0\n", "a file in which DVC names another"),
        (b"\x80\x04\x95", "a pickle, which is a program and is never opened"),
        (b"MATLAB 5.0 MAT-file", "a MATLAB file"),
        (b"% a\n% b\n@RELATION x", "an ARFF file"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z or RAR archive"),
    ],
)
def test_a_foreign_kind_has_a_name_and_a_next_step(head: bytes, words: str) -> None:
    kind = kind_of(head)
    assert isinstance(kind, Foreign)
    assert kind.words == words
    assert kind.hint.endswith(".")
