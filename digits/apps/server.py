"""An HTTP server for this machine only, carried by aiohttp, with bounds on what a client can hold.

A connection carries one request. aiohttp refuses what is no HTTP, and a second Host or Content-Length.
"""

import asyncio
import errno
import json
import socket
from collections.abc import Mapping
from functools import partial
from typing import Any, cast

from aiohttp import web
from aiohttp.http import HttpProcessingError

from dvcproof.runtime.program import InputError

#: Connections at once. Others wait in the backlog of the operating system.
CONNECTIONS = 200
BACKLOG = 4096

#: Seconds for the head of a request, and again for its body: far more than any program on this machine needs.
SECONDS = 5

#: Header lines of a request, of at most FIELD bytes each. A browser sends about twenty.
HEADERS = 32
FIELD = 2**13


def json_response(content: dict[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """An object in one line."""
    body = json.dumps(content).encode() + b"\n"
    return web.Response(status=status, body=body, content_type="application/json", headers=headers)


def listen(port: int) -> socket.socket:
    """Take a port of this machine; 0 is any free one. Clients may connect from now on, and wait for `serve`.

    Raises:
        InputError: the port is taken, or may not be used.
    """
    try:
        if port not in range(2**16):
            raise OSError(errno.EINVAL, "a port that does not exist")
        listener = socket.create_server(("127.0.0.1", port), backlog=BACKLOG)
    except OSError as error:
        raise InputError(
            f"port {port}",
            expected="a free port from 0 to 65535",
            received="one that another program uses" if error.errno == errno.EADDRINUSE else str(error.strerror),
            hint="Choose another with --port. 0 takes any free one.",
        ) from None
    listener.setblocking(False)
    return listener


async def serve(application: web.Application, listener: socket.socket) -> None:
    """Answer until cancelled. A connection that has no place yet waits, and is not lost."""
    loop = asyncio.get_running_loop()
    application.on_response_prepare.append(_close)
    runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=1)
    await runner.setup()
    server = cast(web.Server, runner.server)
    places = asyncio.Semaphore(CONNECTIONS)
    try:
        while True:
            await places.acquire()
            connection = await _accept(listener)
            await loop.connect_accepted_socket(partial(Connection, server, places, loop), connection)
    finally:
        await runner.cleanup()


async def _close(_: web.Request, response: web.StreamResponse) -> None:
    """One request a connection: so none can be held by asking again and again."""
    response.force_close()


async def _accept(listener: socket.socket) -> socket.socket:
    """The next connection. A client may have gone already, or this process may open no more files for now."""
    while True:
        try:
            return (await asyncio.get_running_loop().sock_accept(listener))[0]
        except OSError:
            await asyncio.sleep(0.1)


class Connection(web.RequestHandler):
    """One connection, which gives its place back when it ends."""

    __slots__ = ("_places",)

    def __init__(self, server: web.Server, places: asyncio.Semaphore, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            server,
            loop=loop,
            keepalive_timeout=SECONDS,  # until the head is complete
            lingering_time=1,  # to take what is still being sent: the sender would else see no answer
            max_headers=HEADERS,
            max_line_size=FIELD,
            max_field_size=FIELD,
            auto_decompress=False,
            tcp_keepalive=False,
        )
        self._places = places

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._places.release()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what is no HTTP in one line, and leave errors of this program to aiohttp, which reports them."""
        if not isinstance(exc, HttpProcessingError):
            return super().handle_error(request, status, exc, message)
        reason = (message or "no HTTP").splitlines()[0].rstrip(" :.")
        response = json_response({"error": reason}, status)
        response.force_close()
        return response
