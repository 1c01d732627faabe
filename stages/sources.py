"""The forms in which a data set of images and labels can come: a .npz, four IDX files, or an https:// address.

Every form is opened as four streams with a known type and shape, so that nothing is unpickled, nothing is held whole
in memory, and what is wrong is known before anything is written.
"""

import gzip
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from stages.arrays import BLOCK_BYTES, describe, read_header
from stages.console import InputError, on_terminal

#: Our names, Keras's names in mnist.npz, and the names of the original IDX files with their magic numbers
#: (two zero bytes, 8 for unsigned byte, the number of dimensions: http://yann.lecun.com/exdb/mnist/).
NAMES = ("train_images", "train_labels", "test_images", "test_labels")
NPZ_NAMES = ("x_train", "y_train", "x_test", "y_test")
IDX_NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
IDX_MAGIC = (0x00000803, 0x00000801, 0x00000803, 0x00000801)

_PINNED = re.compile(r"(?P<url>https://[^#]+)#sha256=(?P<sha256>[0-9a-fA-F]{64})")

#: What reading a damaged or foreign file raises.
_DAMAGE = (
    EOFError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


class Stream(NamedTuple):
    """One array of a source: what its header says, and the values still to be read."""

    name: str  # the source's own name for it, for messages
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    file: IO[bytes]

    def blocks(self) -> Iterator[NDArray[np.generic]]:
        """The values in C order, flat, in blocks of at most BLOCK_BYTES.

        Raises:
            InputError: there are fewer or more values than the header says, or the archive is damaged.
        """
        left = math.prod(self.shape) * self.dtype.itemsize
        step = BLOCK_BYTES - BLOCK_BYTES % self.dtype.itemsize
        try:
            while left:
                block = self.file.read(min(step, left))
                if not block:
                    raise self._damaged(f"a file that ends {left} bytes early")
                left -= len(block)
                yield np.frombuffer(block, self.dtype)
            if self.file.read(1):
                raise self._damaged("a file with more bytes than its header says")
        except _DAMAGE as error:
            raise self._damaged(f"a damaged file ({error})") from None

    def _damaged(self, received: str) -> InputError:
        return _wrong(self.name, describe(self.dtype, self.shape), received)


@contextmanager
def open_source(source: str) -> Iterator[dict[str, Stream]]:
    """Open a data set.

    Args:
        source: path of a .npz with the names in NPZ_NAMES, path of a folder with the files in IDX_NAMES (each plain or
            with .gz), or https://host/file.npz#sha256=<64 hex digits>.

    Yields:
        A stream for each of NAMES.

    Raises:
        InputError: the source is missing, damaged, incomplete or of another form.
    """
    with ExitStack() as files:
        path = _download(source) if "://" in source else Path(source)
        if not path.exists():
            raise InputError(
                f"data set '{source}'",
                expected="a .npz file, a folder of IDX files, or https://...#sha256=...",
                received="no such file or folder",
                hint="Set `load.source` in params.yaml to a data set that exists.",
            )
        yield _open_idx(path, files) if path.is_dir() else _open_npz(path, files)


def _open_npz(path: Path, files: ExitStack) -> dict[str, Stream]:
    streams = {}
    packed = files.enter_context(path.open("rb"))
    try:
        archive = files.enter_context(zipfile.ZipFile(packed))
        members = {info.filename: info for info in archive.infolist()}
        for name, key in zip(NAMES, NPZ_NAMES, strict=True):
            if f"{key}.npy" not in members:
                found = _listed((member.removesuffix(".npy") for member in members), nothing="no array")
                raise _wrong(str(path), "the arrays " + ", ".join(NPZ_NAMES), found)
            member = members[f"{key}.npy"]
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # others can ask for any memory
                raise _wrong(f"{key} in {path}", "a member as NumPy writes it", "another kind of compression")
            streams[name] = _open_npy(f"{key} in {path}", files.enter_context(archive.open(member)))
    except _DAMAGE as error:
        raise _wrong(str(path), "a .npz archive", f"a damaged or foreign file ({error})") from None
    return streams


def _open_npy(name: str, file: IO[bytes]) -> Stream:
    try:
        shape, fortran_order, dtype = read_header(file)
    except ValueError as error:
        raise _wrong(name, "a .npy file", f"a damaged or foreign one ({error})") from None
    if dtype.hasobject:
        raise _wrong(name, "numbers", "pickled Python objects, which are never opened")
    if fortran_order and len(shape) > 1:
        raise _wrong(name, "values in C order", "values in Fortran order")
    return Stream(name, dtype, shape, file)


def _open_idx(folder: Path, files: ExitStack) -> dict[str, Stream]:
    streams = {}
    for name, idx_name, magic in zip(NAMES, IDX_NAMES, IDX_MAGIC, strict=True):
        plain, packed = folder / idx_name, folder / f"{idx_name}.gz"
        if plain.exists():
            streams[name] = _open_idx_file(str(plain), files.enter_context(plain.open("rb")), magic)
        elif packed.exists():
            streams[name] = _open_idx_file(str(packed), files.enter_context(_gunzip(packed)), magic)
        else:
            found = _listed((path.name for path in folder.iterdir()), nothing="an empty folder")
            raise _wrong(str(folder), f"the file {idx_name} or {idx_name}.gz", found)
    return streams


def _gunzip(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path))


def _open_idx_file(name: str, file: IO[bytes], magic: int) -> Stream:
    dimensions = magic & 0xFF
    expected = f"an IDX file that begins with {magic:#010x} and {dimensions} lengths"
    try:
        header = file.read(4 * (1 + dimensions))
    except _DAMAGE as error:
        raise _wrong(name, expected, f"a damaged file ({error})") from None
    if len(header) < 4 * (1 + dimensions):
        raise _wrong(name, expected, f"a file of {len(header)} bytes")
    found, *shape = struct.unpack(f">{1 + dimensions}I", header)
    if found != magic:
        raise _wrong(name, expected, f"{found:#010x}")
    return Stream(name, np.dtype(np.uint8), tuple(shape), file)


def _download(source: str) -> Path:
    match = _PINNED.fullmatch(source)
    if not match:
        raise InputError(
            f"data set '{source}'",
            expected="https://host/file.npz#sha256=<64 hex digits>",
            received="an address without https or without a SHA-256",
            hint="Use https and append #sha256= and the file's SHA-256 (`sha256sum FILE`).",
        )
    import pooch  # here, since it costs a tenth of a second that a local source need not pay
    import requests

    url, sha256 = match["url"], match["sha256"].lower()
    pooch.get_logger().setLevel("WARNING")
    try:
        downloader = pooch.HTTPDownloader(progressbar=on_terminal(), timeout=30)
        cache = pooch.os_cache("digits")
        path = pooch.retrieve(url, f"sha256:{sha256}", fname=f"{sha256[:16]}.npz", path=cache, downloader=downloader)
    except (requests.RequestException, ValueError) as error:
        if found := re.search(rf"{sha256} but got ([0-9a-f]{{64}})", str(error)):
            raise _wrong(url, f"the SHA-256 {sha256}", found[1], hint="Check both in `load.source`.") from None
        reason = re.sub(r"<[^<>]* object at 0x[0-9a-f]+>(: )?", "", str(error))
        raise _wrong(url, "a file to download", reason, hint="Check the address and the network.") from None
    return Path(path)


def _listed(names: Iterable[str], *, nothing: str) -> str:
    names = sorted(names)
    return (", ".join(names[:8]) or nothing) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _wrong(what: str, expected: str, received: str, *, hint: str = "Fetch or save the data set again.") -> InputError:
    return InputError(what, expected=expected, received=received, hint=hint)
