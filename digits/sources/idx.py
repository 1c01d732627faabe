"""Data sets as the four IDX files in which MNIST was published, plain or gzipped."""

import gzip
import os
import struct
from contextlib import ExitStack
from pathlib import Path
from typing import IO, cast

import numpy as np

from digits.common.bounds import open_file
from digits.common.inputs import see_file
from digits.sources.stream import DAMAGE, NAMES, Stream, listed, reason, wrong

#: Names of the original files, and their magic numbers: two zero bytes, 8 for unsigned byte, the number of dimensions
#: (http://yann.lecun.com/exdb/mnist/).
IDX_NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
IDX_MAGIC = (0x00000803, 0x00000801, 0x00000803, 0x00000801)


def open_idx(folder: Path, files: ExitStack) -> dict[str, Stream]:
    """Open the four files in a folder; `files` closes them.

    Raises:
        InputError: a file is missing or damaged.
    """
    streams = {}
    for name, idx_name, magic in zip(NAMES, IDX_NAMES, IDX_MAGIC, strict=True):
        plain, packed = folder / idx_name, folder / f"{idx_name}.gz"
        see_file(plain)
        see_file(packed)
        if plain.exists():
            file = files.enter_context(open_file(plain))
            streams[name] = _open_idx_file(str(plain), file, magic, os.fstat(file.fileno()).st_size)
        elif packed.exists():
            file = files.enter_context(open_file(packed))
            unpacked = cast(IO[bytes], files.enter_context(gzip.GzipFile(fileobj=file)))
            streams[name] = _open_idx_file(str(packed), unpacked, magic, os.fstat(file.fileno()).st_size, packed=True)
        else:
            found = listed((path.name for path in folder.iterdir()), nothing="an empty folder")
            raise wrong(str(folder), f"the file {idx_name} or {idx_name}.gz", found)
    return streams


def _open_idx_file(name: str, file: IO[bytes], magic: int, disk: int, *, packed: bool = False) -> Stream:
    dimensions = magic & 0xFF
    expected = f"an IDX file that begins with {magic:#010x} and {dimensions} lengths"
    try:
        header = file.read(4 * (1 + dimensions))
    except DAMAGE as error:
        raise wrong(name, expected, f"a damaged file ({reason(error)})") from None
    if len(header) < 4 * (1 + dimensions):
        raise wrong(name, expected, f"a file of {len(header)} bytes")
    found, *shape = struct.unpack(f">{1 + dimensions}I", header)
    if found != magic:
        raise wrong(name, expected, f"{found:#010x}")
    stored = None if packed else disk - len(header)
    return Stream(name, np.dtype(np.uint8), tuple(shape), file, stored, disk)
