"""The files of a data set in folders and archives: found, and refused where an archive asks for too much."""

import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench.faults.files import Special, write
from digits.sources import stream
from dvcproof.runtime import bounds
from dvcproof.runtime.program import InputError
from stages.load import load
from tests.support.arrays import write_idx
from tests.support.forms import FOLDERS, IDX, few, npz, taped, zipped
from tests.support.project import Arrays


def test_leftovers_of_systems_are_passed_over(tmp_path: Path, digits: Arrays) -> None:
    folder = write_idx(tmp_path / "idx", digits)
    for name in (".DS_Store", "._train-images-idx3-ubyte", "Thumbs.db", "__MACOSX/t10k-labels-idx1-ubyte", "README"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"\0\0\x08\x01" if name != "README" else b"MNIST")
    assert len(load(str(folder), tmp_path / "out", test_size=0)) == 4


@pytest.mark.parametrize("inner", [npz(), IDX, FOLDERS])
@pytest.mark.parametrize("packed", [zipped, taped])
def test_a_packed_source_is_that_inside(
    tmp_path: Path, digits: Arrays, packed: Callable[[object], object], inner: object
) -> None:
    source = packed(inner)(tmp_path, few(digits))  # type: ignore[operator]
    load(str(source), tmp_path / "packed", test_size=0)
    (plain,) = (path for path in tmp_path.iterdir() if path.name in ("data", "data.npz"))
    load(str(plain), tmp_path / "plain", test_size=0)
    for path in (tmp_path / "plain").iterdir():
        assert (tmp_path / "packed" / path.name).read_bytes() == path.read_bytes()


def test_an_archive_beside_the_data_is_not_opened(tmp_path: Path, digits: Arrays) -> None:
    folder = write_idx(tmp_path / "idx", digits)
    (folder / "more.zip").write_bytes(b"PK\x03\x04 damaged")
    assert len(load(str(folder), tmp_path / "out", test_size=0)) == 4


def test_two_data_sets_in_one_folder_are_refused(tmp_path: Path, digits: Arrays) -> None:
    (tmp_path / "sets").mkdir()
    write_idx(tmp_path / "sets" / "one", digits)
    inverted = {key: np.flip(array) for key, array in digits.items()}
    write_idx(tmp_path / "sets" / "two", inverted)
    with pytest.raises(InputError, match=r"expected one array of images for the training set\. Got one/train-im"):
        load(str(tmp_path / "sets"), tmp_path / "out", test_size=0)


def tape(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    file = io.BytesIO()
    for info, content in members:
        info.size = info.size or len(content)
        file.write(info.tobuf() + content + bytes(-len(content) % 512))
    return gzip.compress(file.getvalue() + bytes(1024), mtime=0)


def header(kind: bytes, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, size
    return info


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (tape((header(b"x", 2**22), bytes(2**22))), "a directory that is too long"),
        (tape((header(b"L", 2**22), bytes(2**22))), "a directory that is too long"),
        (tape(*((tarfile.TarInfo(f"{k}"), b"") for k in range(20))), "more than 9 files"),
        (tape((header(b"0", 2**40), b"a")), r"Got a damaged or foreign file|Got an empty|Got a file of another kind"),
        (
            gzip.compress(tarfile.TarInfo("a").tobuf() + bytes(2**22), mtime=0),
            "expected at most 1048576 bytes in a file",
        ),
        (tape((tarfile.TarInfo("../../etc/x"), b"a")), "Got an empty folder or archive"),
    ],
    ids=["long attributes", "a long name", "many files", "a large file", "a bomb", "a path outside"],
)
def test_an_archive_that_asks_for_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, match: str
) -> None:
    monkeypatch.setattr(bounds, "TAR_MEMBERS", 9)
    if "1048576" in match:
        monkeypatch.setattr(stream, "PACKED_BYTES", 2**20)
        monkeypatch.setattr(stream, "PACKED_TIMES", 1)
    (tmp_path / "a.tar.gz").write_bytes(content)
    with pytest.raises(InputError, match=match):
        load(str(tmp_path / "a.tar.gz"), tmp_path / "out", test_size=0)
    assert not (tmp_path / "out").exists()


def test_a_pytorch_file_is_called_a_pickle(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "training.pt", "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02")
    with pytest.raises(InputError, match=r"training\.pt: expected a data set\. Got a pickle, which is a program"):
        load(str(tmp_path / "training.pt"), tmp_path / "out", test_size=0)


def test_a_pipe_among_pictures_is_refused(tmp_path: Path, digits: Arrays) -> None:
    source = FOLDERS(tmp_path, few(digits))
    write(source / "train", {"5/0.png": Special.PIPE})
    with pytest.raises(InputError, match=r"5/0\.png: expected a regular file\. Got a pipe\."):
        load(str(source), tmp_path / "out", test_size=0)
