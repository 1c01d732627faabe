"""A place in a program at which it waits for the test, so that what happens there happens in its midst."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType


class Gate:
    """To be used as a context."""

    def __enter__(self) -> "Gate":
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.settimeout(300)  # the program failed before it got there
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()

    def put(self, file: Path, line: str) -> None:
        """Build the gate into a program, before a line that stands once in it."""
        text = file.read_text(encoding="utf-8")
        assert text.count(line) == 1, f"{line!r} stands {text.count(line)} times in {file}"
        indent = " " * (len(line) - len(line.lstrip()))
        address = self._server.getsockname()
        wait = f"{indent}__import__('socket').create_connection({address}).recv(1)\n"
        file.write_text(text.replace(line, wait + line), encoding="utf-8")

    @contextmanager
    def reached(self) -> Iterator[None]:
        """Wait until the program is there. It goes on after the block."""
        connection, _ = self._server.accept()
        with connection:
            yield
