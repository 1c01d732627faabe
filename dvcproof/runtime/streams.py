"""Standard output and standard error that never end a program.

A character that the encoding lacks is escaped. If a stream can no longer be written, for example because its reader has
closed the pipe, output to it is dropped and the program goes on. `finish` reports the loss.
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
    """A file that keeps its first error in `lost`, and drops all output from then on."""

    lost: OSError | None = None

    def write(self, data: "ReadableBuffer", /) -> int:
        if self.lost is None:
            try:
                return super().write(data)
            except OSError as error:
                self.lost = error
        return memoryview(data).nbytes


class _Stream(io.TextIOWrapper):
    """A standard stream. A character that its encoding lacks is written as an escape, as \\u1ed1."""

    def __init__(self, standard: io.TextIOWrapper) -> None:
        self.descriptor = _Descriptor(standard.fileno(), "w", closefd=False)
        super().__init__(
            # As in Python itself, there is no buffer under `python -u`.
            self.descriptor if standard.write_through else io.BufferedWriter(self.descriptor),
            encoding=standard.encoding,
            errors="backslashreplace",
            line_buffering=standard.line_buffering,
            write_through=standard.write_through,
        )


def prepare() -> None:
    """Replace Python's own standard streams. Leave streams that a test or another program has set."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # closed: the next file to be opened would get this number, and printed text would go into it
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is `number`
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 # never closed
        elif isinstance(stream, io.TextIOWrapper) and stream is getattr(sys, f"__{name}__"):
            stream.flush()
            setattr(sys, name, _Stream(stream))


def finish() -> None:
    """Flush standard output.

    Raise OSError if standard output could not be written, unless the reason is that its reader closed the pipe.
    """
    if isinstance(sys.stdout, _Stream):
        sys.stdout.flush()
        lost = sys.stdout.descriptor.lost
        if lost is not None and lost.errno != errno.EPIPE:
            raise OSError(lost.errno, lost.strerror, "standard output")
