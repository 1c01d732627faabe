"""Serve a page on this machine: draw a digit, and see what the trained model reads. Ctrl-C ends the server."""

import html
import json
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Any

from digits.apps.handwriting import draw_steps, prepare
from digits.apps.options import command
from digits.apps.predict import add_names, answer
from digits.apps.reading import Reader, open_reader
from digits.scoring.picture import in_base64
from dvcproof.runtime.program import InputError

PAGE = Path(__file__).with_name("demo.html")

#: The most bytes of a drawing. The page sends about a hundredth of this.
MAX_BYTES = 2**20

#: Seconds after which a silent connection is closed.
SECONDS = 5


class Handler(BaseHTTPRequestHandler):
    """The handler of requests. GET / returns the page. POST /predict takes a drawing as PNG and returns JSON."""

    server: "Server"
    timeout = SECONDS
    default_request_version = "HTTP/1.0"  # so that a status is also sent for a request that is not HTTP

    def do_GET(self) -> None:
        if self.path == "/":
            self.answer(200, self.server.page, "text/html; charset=utf-8")
        else:
            self.send_error(404, "the page is at /")

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        drawing = self.rfile.read(min(int(length), MAX_BYTES + 1)) if length.isdecimal() else b""
        if self.path != "/predict":
            self.send_error(404, "send drawings to /predict")
        elif self.headers.get_content_type() != "image/png":  # browsers do not let pages of other sites send this type
            self.send_error(415, "send the drawing with Content-Type: image/png")
        elif not length.isdecimal():
            self.send_error(411, "send the drawing with a Content-Length")
        elif len(drawing) > MAX_BYTES:
            self.send_error(413, f"send at most {MAX_BYTES} bytes")
        else:
            try:
                self.answer(200, json.dumps(self.server.read(drawing)) + "\n")
            except InputError as error:
                self.send_error(422, str(error))

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """Answer with an error as JSON in one line. The base class also calls this method."""
        self.answer(code, json.dumps({"error": message or HTTPStatus(code).phrase}) + "\n")

    def answer(self, status: int, text: str, content_type: str = "application/json") -> None:
        """Send a status and a text."""
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(text.encode())))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        """Do nothing: requests are not logged."""


class Server(ThreadingHTTPServer):
    """The server of the demo on a port of this machine; port 0 means any free port. Requests wait for `serve`."""

    request_queue_size = 128

    def serve(self, reader: Reader) -> None:
        """Answer requests until an exception such as KeyboardInterrupt."""
        names = html.escape(json.dumps(reader.classifier.names))
        self.page = PAGE.read_text(encoding="utf-8").replace("{{classes}}", names)
        self.reader, self.lock = reader, Lock()
        try:
            self.serve_forever()
        finally:
            self.lock.acquire()  # wait until TensorFlow has finished its computation

    def read(self, drawing: bytes) -> dict[str, Any]:
        """Read a drawing. Return the answer of `predict --json`, and two PNGs: the model's input, and the steps to it.

        Raise InputError if the bytes cannot be decoded as an image, or if the image has no ink.
        """
        with self.lock:  # one drawing at a time: each needs memory, and decoding changes Python's warning filters
            prepared = prepare("the drawing", drawing, self.reader.dataset)
            found = answer(self.reader.read(prepared.images))
        pictures = {"seen": in_base64(prepared.steps[-1][1]), "steps": in_base64(draw_steps(prepared.steps))}
        return found | {"probabilities": list(found["probabilities"].values())} | pictures

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing if the browser has closed the connection."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def main() -> None:
    parser = command("demo", __doc__, "model", "dataset")
    add_names(parser)
    help_ = "port of the page on this machine (default: %(default)s); 0 takes any free one"
    parser.add_argument("--port", type=int, default=8000, help=help_)
    args = parser.parse_args()
    try:
        server = Server(("127.0.0.1", args.port), Handler)
    except (OSError, OverflowError) as error:
        problem = f"it cannot be used ({getattr(error, 'strerror', None) or error})"
        raise InputError(
            f"port {args.port}", problem, hint="Choose another with --port; 0 takes any free one."
        ) from None
    with server:
        reader = open_reader(args.model, args.dataset, args.params)
        sys.stdout.write(f"Draw a digit at http://127.0.0.1:{server.server_port} (Ctrl-C ends it)\n")
        sys.stdout.flush()
        server.serve(reader)
