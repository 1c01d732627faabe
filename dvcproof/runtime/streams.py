"""Standard output and error that cannot end a program: not by a letter they do not know, nor by a reader who leaves.

A program's work is worth more than what it prints. So a stream that cannot be written any more is dropped and the
program goes on; `finish` tells in the end what was lost.
"""

import errno
import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _Descriptor(io.FileIO):
    """A file descriptor that remembers its first error and is silent from then on."""

    lost: OSError | None = None

    def write(self, data: "ReadableBuffer", /) -> int:
        if self.lost is None:
            try:
                return super().write(data)
            except OSError as error:
                self.lost = error
        return memoryview(data).nbytes


class _Stream(io.TextIOWrapper):
    """A standard stream. A letter that its encoding does not have becomes an escape, as \\u1ed1."""

    def __init__(self, standard: io.TextIOWrapper) -> None:
        self.descriptor = _Descriptor(standard.fileno(), "w", closefd=False)
        super().__init__(
            # Python's own choice: `python -u` has no buffer.
            self.descriptor if standard.write_through else io.BufferedWriter(self.descriptor),
            encoding=standard.encoding,
            errors="backslashreplace",
            line_buffering=standard.line_buffering,
            write_through=standard.write_through,
        )


def prepare() -> None:
    """Put such streams in the place of Python's own. Those that tests and other programs have set stay."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # closed: the next file would get this number, and be written by whoever prints
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, this one
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 # as long as the program
        elif isinstance(stream, io.TextIOWrapper) and stream is getattr(sys, f"__{name}__"):
            stream.flush()
            setattr(sys, name, _Stream(stream))


def finish() -> None:
    """Write what is still held back.

    Raise OSError if standard output could not be written. Not if its reader left: then nobody misses it.
    """
    if isinstance(sys.stdout, _Stream):
        sys.stdout.flush()
        lost = sys.stdout.descriptor.lost
        if lost is not None and lost.errno != errno.EPIPE:
            raise OSError(lost.errno, lost.strerror, "standard output")
