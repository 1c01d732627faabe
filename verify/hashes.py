"""The hash of a file."""

import hashlib
from pathlib import Path


def file_hash(path: Path, algorithm: str = "sha256") -> str:
    """The hash of a file's content, in hexadecimal: 'md5' is DVC's name for the file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()
