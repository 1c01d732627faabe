"""Data sets as arrays in .npz archives: what is damaged, foreign or hostile is refused."""

import io
import pickle
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from digits.sources import stream
from dvcproof.runtime.program import InputError
from stages.load import load
from tests.support.arrays import flip, idx_bytes, saved, snapshot, with_head
from tests.support.loading import refused, run_load
from tests.support.project import Arrays


def stored(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """A .npz with these files in it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def members(digits: Arrays) -> dict[str, bytes]:
    """The files in the .npz of the small sample."""
    return {f"{key}.npy": saved(array) for key, array in digits.items()}


def claims(shape: str) -> bytes:
    """A .npy of uint8 that claims a shape, with 784 bytes of values."""
    return with_head(f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}\n", bytes(784))


Build = Callable[[Arrays], bytes]


def changed(**arrays: bytes) -> Build:
    """The archive with other files under these names."""
    return lambda digits: stored(members(digits) | {f"{key}.npy": content for key, content in arrays.items()})


BAD_NPZ: dict[str, tuple[Build, str]] = {
    "an empty file": (lambda _: b"", r"bad\.npz: expected a data set: \.npz, .* Got an empty file\."),
    "text": (lambda _: b"hello, world\n", r"bad\.npz: expected a data set: \.npz, .* Got a file of another kind\."),
    "a .npy": (
        lambda digits: saved(digits["x_train"]),
        r"expected the labels of the training set\. Got bad\.npz\. Put",
    ),
    "an IDX file": (
        lambda digits: idx_bytes(digits["x_train"]),
        r"expected the labels of the training set\. Got bad\.npz\. Put",
    ),
    "an archive cut in the middle": (lambda digits: stored(members(digits))[:200_000], "a damaged or foreign file"),
    "an archive without its last byte": (lambda digits: stored(members(digits))[:-1], "a damaged or foreign file"),
    "an archive without its beginning": (lambda digits: stored(members(digits))[1000:], "a file of another kind"),
    "a flipped bit": (
        lambda digits: flip(stored(members(digits)), 300_000),
        r"x_train in .*bad\.npz: expected uint8 \[600, 28, 28\]\. Got a damaged file \(Bad CRC-32",
    ),
    "a flipped bit, compressed": (
        lambda digits: flip(stored(members(digits), zipfile.ZIP_DEFLATED), 5000),
        r"x_train in .*bad\.npz: expected uint8 \[600, 28, 28\]\. Got a damaged file \(.*",
    ),
    "no test labels": (
        lambda digits: stored({name: content for name, content in members(digits).items() if "y_test" not in name}),
        r"bad\.npz: expected the labels of the test set\. Got x_test, x_train, y_train\. Put images and labels",
    ),
    "other names": (
        lambda digits: stored({f"{number:02}.npy": saved(digits["y_test"]) for number in range(20)}),
        r"Got 00, 01, 02, 03, 04, 05, 06, 07 and 12 more\. Put",
    ),
    "names that steer the terminal": (
        lambda _: stored({"\x1b[31m\n.npy": b""}),
        r"ERROR: \\x1b\[31m ?in .*\. Got an empty file",
    ),
    "names of folders": (
        lambda _: stored({"x_train.npy/": b"", "../y_train.npy": b""}),
        r"Got an empty folder or arch",
    ),
    "nothing": (lambda _: stored({}), r"Got an empty folder or archive\."),
    "a .npy cut in the head": (
        lambda digits: changed(x_test=members(digits)["x_test.npy"][:50])(digits),
        r"x_test in .*bad\.npz: expected a \.npy file\. Got a damaged or foreign one",
    ),
    "a .npy cut in the values": (
        lambda digits: changed(x_test=members(digits)["x_test.npy"][:-10])(digits),
        r"x_test in .*: expected uint8 \[200, 28, 28\]\. Got a file that ends 10 bytes early",
    ),
    "a .npy that goes on": (
        lambda digits: changed(y_test=members(digits)["y_test.npy"] + b"\0")(digits),
        r"y_test in .*: expected uint8 \[200\]\. Got a file with more bytes than its header says",
    ),
    "a member that is no .npy": (
        changed(y_test=b"hello, world"),
        r"y_test in .*: expected the labels of the test set\. Got a file",
    ),
    "a member that is empty": (
        changed(y_test=b""),
        r"y_test in .*: expected the labels of the test set\. Got an empty",
    ),
    "a negative length": (
        changed(x_test=claims("(-1, 28, 28)"), y_test=claims("(-1,)")),
        "expected at least one image",
    ),
    "negative sides": (changed(x_test=claims("(1, -28, -28)")), r"expected images .*\. Got uint8 \[1, -28, -28\]"),
    "an endless length": (
        changed(x_test=claims(f"({2**62}, 28, 28)"), y_test=claims(f"({2**62},)")),
        r"Got a file that ends \d+ bytes early",
    ),
    "a length beyond any integer": (
        changed(x_test=claims(f"({10**30}, 28, 28)"), y_test=claims(f"({10**30},)")),
        r"Got a file that ends \d+ bytes early",
    ),
    "a length that is no number": (changed(x_test=claims("(1.0, 28, 28)")), "x_test .*shape is not valid"),
    "code for a head": (
        changed(x_test=with_head("__import__('os').abort()\n")),
        r"expected a \.npy file\. Got a damaged",
    ),
    "format 2.0, head of 4 GiB": (
        changed(x_test=b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**32 - 1)),
        r"x_test in .*: expected a \.npy file\. Got .*\.npy format 2\.0 instead of 1\.0",
    ),
    "values of no bytes": (
        changed(x_test=with_head("{'descr': '|V0', 'fortran_order': False, 'shape': (200, 28, 28), }\n")),
        r"expected pixels as numbers\. Got \|V0",
    ),
    "labels that fill the memory": (
        changed(y_train=claims("(600,)") + bytes(10**7)),
        r"y_train in .*: expected uint8 \[600\]\. Got a file with more bytes than its header says",
    ),
    "compressed with LZMA": (
        lambda digits: stored(members(digits), zipfile.ZIP_LZMA),
        r"x_test\.npy in .*: expected a file packed with deflate\. Got another kind of compression\.",
    ),
    "encrypted": (
        lambda digits: re.sub(rb"(PK\x01\x02....)\x00", b"\\1\x01", stored(members(digits)), flags=re.DOTALL),
        r"a damaged file \(File .*is encrypted",
    ),
}


@pytest.mark.parametrize(("build", "match"), BAD_NPZ.values(), ids=BAD_NPZ)
def test_a_bad_npz_is_refused(tmp_path: Path, digits: Arrays, build: Build, match: str) -> None:
    (tmp_path / "bad.npz").write_bytes(build(digits))
    assert re.search(match, refused(tmp_path, tmp_path / "bad.npz"))


class Payload:
    """Something that makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.path,)


def objects(payload: Payload, version: tuple[int, int]) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, np.array([payload], dtype=object), version)
    return file.getvalue()


@pytest.mark.parametrize(
    ("version", "match"),
    [
        ((1, 0), r"x_train in .*: expected numbers or texts\. Got pickled Python objects, which are never"),
        ((2, 0), "format 2.0"),
    ],
)
def test_a_pickle_in_a_npz_is_never_opened(
    tmp_path: Path, digits: Arrays, version: tuple[int, int], match: str
) -> None:
    mark = tmp_path / "executed"
    (tmp_path / "bad.npz").write_bytes(changed(x_train=objects(Payload(mark), version))(digits))
    assert re.search(match, refused(tmp_path, tmp_path / "bad.npz"))
    assert not mark.exists()
    np.load(tmp_path / "bad.npz", allow_pickle=True)["x_train"]
    assert mark.exists()  # so the payload does what it should when it is opened


def test_a_pickle_in_place_of_a_npz_is_never_opened(tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    (tmp_path / "bad.npz").write_bytes(pickle.dumps(Payload(mark)))
    assert "Got a pickle, which is a program and is never opened. In a program that you" in refused(
        tmp_path, tmp_path / "bad.npz"
    )
    assert not mark.exists()
    pickle.loads((tmp_path / "bad.npz").read_bytes())
    assert mark.exists()


@pytest.mark.fast(1)
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_damage_anywhere_is_refused_or_does_no_harm(tmp_path: Path, compression: int) -> None:
    """Bits turned over in every part of an archive: it is refused, or gives the same arrays."""
    generator = np.random.default_rng(0)
    sizes = {"x_train": (3, 28, 28), "y_train": (3,), "x_test": (2, 28, 28), "y_test": (2,)}
    arrays = {key: generator.integers(0, 10, size, np.uint8) for key, size in sizes.items()}
    labels = {"y_train": np.array([0, 1, 2], np.uint8), "y_test": np.array([2, 1], np.uint8)}
    whole = stored(members(arrays | labels), compression)
    source, refusals = tmp_path / "damaged.npz", 0
    source.write_bytes(whole)
    expected = run_load(tmp_path, source)
    positions = [*range(60), *range(len(whole) - 300, len(whole)), *generator.integers(0, len(whole), 100)]
    for position in positions:
        source.write_bytes(flip(whole, int(position)))
        try:
            load(str(source), tmp_path / "out", test_size=0)
        except InputError:
            refusals += 1
        assert snapshot(tmp_path / "out") == expected
    assert len(positions) / 3 < refusals < len(positions)  # dates and attributes of a member may be anything


def zeros(images: int) -> bytes:
    """An archive of so many black images, packed to a thousandth."""
    pixels, labels = np.zeros((images, 28, 28), np.uint8), np.arange(images, dtype=np.uint8) % 2
    arrays = {"x_train": pixels, "y_train": labels, "x_test": pixels[:2], "y_test": labels[:2]}
    return stored({f"{key}.npy": saved(array) for key, array in arrays.items()}, zipfile.ZIP_DEFLATED)


def test_a_small_file_that_unpacks_to_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(zeros(20_000))
    assert len(load(str(path), tmp_path / "first", test_size=0)) == 4  # 16 MB are not much
    monkeypatch.setattr(stream, "PACKED_BYTES", 2**22)
    line = refused(tmp_path, path)
    assert re.search(r"x_train in .*: expected at most \d+ bytes in a file of \d+\. Got a header that says 15680", line)


def test_labels_are_not_read_before_sizes_are_compared(
    tmp_path: Path, digits: Arrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bad.npz").write_bytes(changed(x_train=members(digits)["x_train.npy"][:-1])(digits))
    monkeypatch.setattr(stream.Stream, "rows", None)
    assert "Got a file that ends 1 bytes early" in refused(tmp_path, tmp_path / "bad.npz")
