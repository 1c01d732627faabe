"""A line in a program at which it waits for the test, so that a change happens in the middle of its run."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType


class Gate:
    """A place where a program waits. Use it as a context manager."""

    def __enter__(self) -> "Gate":
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.settimeout(300)  # seconds; later, the program has failed before that line
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()

    def put(self, file: Path, line: str) -> None:
        """Insert the gate into a program, before a line that occurs once in it."""
        text = file.read_text(encoding="utf-8")
        assert text.count(line) == 1, f"{line!r} occurs {text.count(line)} times in {file}"
        indent = " " * (len(line) - len(line.lstrip()))
        address = self._server.getsockname()
        wait = f"{indent}__import__('socket').create_connection({address}).recv(1)\n"
        file.write_text(text.replace(line, wait + line), encoding="utf-8")

    @contextmanager
    def reached(self) -> Iterator[None]:
        """Wait until the program reaches the gate. It goes on after the block."""
        connection, _ = self._server.accept()
        with connection:
            yield
