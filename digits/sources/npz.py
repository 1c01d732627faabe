"""Data sets as a .npz archive with Keras's four names."""

import zipfile
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from digits.common.bounds import open_archive
from digits.data.arrays import read_header
from digits.sources.stream import DAMAGE, NAMES, Stream, listed, reason, wrong

#: Keras's names in mnist.npz.
NPZ_NAMES = ("x_train", "y_train", "x_test", "y_test")


def open_npz(path: Path, files: ExitStack) -> dict[str, Stream]:
    """Open the four arrays of an archive; `files` closes them.

    Raises:
        InputError: the archive is damaged, an array is missing, or not of numbers in C order.
    """
    streams = {}
    try:
        archive = open_archive(path, files)
        disk = path.stat().st_size
        members = {info.filename: info for info in archive.infolist()}
        for name, key in zip(NAMES, NPZ_NAMES, strict=True):
            if f"{key}.npy" not in members:
                found = listed((member.removesuffix(".npy") for member in members), nothing="no array")
                raise wrong(str(path), "the arrays " + ", ".join(NPZ_NAMES), found)
            member = members[f"{key}.npy"]
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # others can ask for any memory
                raise wrong(f"{key} in {path}", "a member as NumPy writes it", "another kind of compression")
            file = files.enter_context(archive.open(member))
            streams[name] = _open_npy(f"{key} in {path}", file, member.file_size, disk)
    except DAMAGE as error:
        if isinstance(error, OSError) and error.filename:  # not of what is in the file
            raise
        raise wrong(str(path), "a .npz archive", f"a damaged or foreign file ({reason(error)})") from None
    return streams


def _open_npy(name: str, file: IO[bytes], size: int, disk: int) -> Stream:
    try:
        shape, fortran_order, dtype = read_header(file)
    except ValueError as error:
        raise wrong(name, "a .npy file", f"a damaged or foreign one ({error})") from None
    if dtype.hasobject:
        raise wrong(name, "numbers", "pickled Python objects, which are never opened")
    if fortran_order and len(shape) > 1:
        raise wrong(name, "values in C order", "values in Fortran order")
    return Stream(name, dtype, shape, file, size - file.tell(), disk)
