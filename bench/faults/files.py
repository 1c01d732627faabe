"""Write generated files: bytes in the forms that the readers know, or a special file such as a pipe."""

import contextlib
import io
import os
import shutil
import socket
import struct
import zipfile
from collections.abc import Iterable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


class Special(Enum):
    """A thing other than a regular file that a path may name."""

    NOTHING = "nothing"
    PIPE = "pipe"
    SOCKET = "socket"
    FOLDER = "folder"
    DEVICE = "device"
    LOOP = "loop"


Content = bytes | Special
Files = Mapping[str, Content]


def write(folder: Path, files: Files) -> Path:
    """Write files into a new folder, and replace an existing one. File names may contain folders."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        match content:
            case bytes():
                path.write_bytes(content)
            case Special.PIPE:
                os.mkfifo(path)
            case Special.SOCKET:
                with socket.socket(socket.AF_UNIX) as server, contextlib.chdir(path.parent):
                    server.bind(path.name)  # the whole path may be too long
            case Special.FOLDER:
                path.mkdir()
            case Special.DEVICE | Special.LOOP:
                path.symlink_to("/dev/zero" if content is Special.DEVICE else path.name)
    return folder


def saved(array: NDArray[Any]) -> bytes:
    """Return the bytes of a .npy file."""
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def with_head(head: str, values: bytes = b"") -> bytes:
    """Return a .npy file with the given text as its header."""
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode("latin1") + values


def idx_bytes(array: NDArray[Any]) -> bytes:
    """Return an array of uint8 as an IDX file: magic number and lengths, both big-endian, and the values."""
    return struct.pack(f">{1 + array.ndim}I", 0x0800 | array.ndim, *array.shape) + array.tobytes()


def flip(content: bytes, position: int) -> bytes:
    """Return the content with one bit flipped."""
    return content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]


def archive(members: Iterable[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED) -> bytes:
    """Return a zip archive; equal members give equal bytes."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression, compresslevel=1) as target:
        for name, content in members:
            target.writestr(zipfile.ZipInfo(name), content, compression)
    return file.getvalue()


def image_file(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """Return the bytes of a picture."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()
