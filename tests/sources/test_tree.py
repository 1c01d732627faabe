"""The files of a data set are found in folders and archives; archives that need too much are refused."""

import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from bench.faults.files import Special, write
from digits.sources import tree
from dvcproof.runtime import bounds
from dvcproof.runtime.program import InputError
from stages.load import load
from tests.support.arrays import snapshot, write_idx
from tests.support.forms import FOLDERS, IDX, Make, few, npz, taped, zipped
from tests.support.project import Arrays


def test_what_lies_beside_the_data_is_passed_over(tmp_path: Path, digits: Arrays) -> None:
    folder = write_idx(tmp_path / "idx", digits)
    for name in (".DS_Store", "._train-images-idx3-ubyte", "Thumbs.db", "__MACOSX/t10k-labels-idx1-ubyte", "README"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"\0\0\x08\x01" if name != "README" else b"MNIST")
    (folder / "more.zip").write_bytes(b"PK\x03\x04 damaged")
    assert len(load(str(folder), tmp_path / "out")) == 4


@pytest.mark.parametrize("inner", [npz(), IDX, FOLDERS])
@pytest.mark.parametrize("pack", [zipped, taped])
def test_a_packed_source_gives_the_same(tmp_path: Path, digits: Arrays, pack: type, inner: Make) -> None:
    source = pack(inner)(tmp_path, few(digits))
    (plain,) = (path for path in tmp_path.iterdir() if path.name in ("data", "data.npz"))
    for name, path in (("packed", source), ("plain", plain)):
        load(str(path), tmp_path / name)
    assert snapshot(tmp_path / "packed") == snapshot(tmp_path / "plain")


def test_two_data_sets_in_one_folder_are_refused(tmp_path: Path, digits: Arrays) -> None:
    (tmp_path / "sets").mkdir()
    write_idx(tmp_path / "sets" / "one", digits)
    write_idx(tmp_path / "sets" / "two", {key: np.flip(array) for key, array in digits.items()})
    with pytest.raises(InputError, match=r"several arrays could be the images of the training set: one/train-images"):
        load(str(tmp_path / "sets"), tmp_path / "out")


def tape(*members: tuple[bytes, str, int, bytes]) -> bytes:
    """Return a .tar.gz of members: type, name, claimed size, content."""
    file = io.BytesIO()
    for kind, name, size, content in members:
        info = tarfile.TarInfo(name)
        info.type, info.size = kind, size
        file.write(info.tobuf() + content + bytes(-len(content) % 512))
    return gzip.compress(file.getvalue() + bytes(1024), mtime=0)


BAD_TAPES = {
    "long attributes": (tape((b"x", "x", 2**22, bytes(2**22))), "a header or list of files that is too long"),
    "a long name": (tape((b"L", "x", 2**22, bytes(2**22))), "a header or list of files that is too long"),
    "many files": (tape(*((b"0", f"{k}", 0, b"") for k in range(20))), "more than 9 files"),
    "a large file": (tape((b"0", "x", 2**40, b"a")), "this is a damaged file|unexpected end of data|of unknown kind"),
    "a bomb": (tape((b"0", "x", 2**24, bytes(2**24))), "it unpacks to more than 8388608 bytes"),
    "a path outside": (tape((b"0", "../../etc/x", 1, b"a")), "only an empty folder or archive"),
}


@pytest.mark.parametrize(("content", "match"), BAD_TAPES.values(), ids=BAD_TAPES)
def test_an_archive_that_asks_for_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, match: str
) -> None:
    monkeypatch.setattr(bounds, "TAR_MEMBERS", 9)
    monkeypatch.setattr(tree, "PACKED_BYTES", 2**23)
    (tmp_path / "a.tar.gz").write_bytes(content)
    with pytest.raises(InputError, match=match):
        load(str(tmp_path / "a.tar.gz"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_pytorch_file_is_called_a_pickle(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "training.pt", "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02")
    with pytest.raises(InputError, match=r"training\.pt: this is a pickle, which can run any program"):
        load(str(tmp_path / "training.pt"), tmp_path / "out")


def test_a_pipe_among_pictures_is_refused(tmp_path: Path, digits: Arrays) -> None:
    source = FOLDERS(tmp_path, few(digits))
    write(source / "train", {"5/0.png": Special.PIPE})
    with pytest.raises(InputError, match=r"5/0\.png: .*a pipe"):
        load(str(source), tmp_path / "out")
