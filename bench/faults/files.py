"""Files of generated inputs: bytes, or something else in a file's place."""

import contextlib
import os
import shutil
import socket
from collections.abc import Mapping
from enum import Enum
from pathlib import Path


class Special(Enum):
    """What may stand in the place of a file."""

    NOTHING = "nothing"
    PIPE = "pipe"
    SOCKET = "socket"
    FOLDER = "folder"
    DEVICE = "device"
    LOOP = "loop"


Content = bytes | Special
Files = Mapping[str, Content]


def write(folder: Path, files: Files) -> Path:
    """Write files into a new folder, in place of an earlier one. Their names may have folders in them."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            _make(path, content)
    return folder


def _make(path: Path, kind: Special) -> None:
    match kind:
        case Special.PIPE:
            os.mkfifo(path)
        case Special.SOCKET:
            with socket.socket(socket.AF_UNIX) as server, contextlib.chdir(path.parent):
                server.bind(path.name)  # a whole path may be too long
        case Special.FOLDER:
            path.mkdir()
        case Special.DEVICE:
            path.symlink_to("/dev/zero")
        case Special.LOOP:
            path.symlink_to(path.name)
