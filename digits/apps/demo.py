"""A page on this machine where a digit is drawn and the trained model says what it reads. Ctrl-C ends it."""

import argparse
import base64
import errno
import hashlib
import html
import json
import re
import sys
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from digits.apps.handwriting import read_digit
from digits.apps.predict import Classifier, class_names, open_classifier
from digits.common.cli import InputError, run

PAGE = Path(__file__).with_name("demo.html")

#: Bytes of the largest drawing. The page sends about a hundredth of it.
MAX_BYTES = 2**20

LENGTH = re.compile(r"[0-9]{1,18}")


class RequestError(Exception):
    """A rejected request: an HTTP status and the reason, in one line."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Server(ThreadingHTTPServer):
    """Serves the page and the model, to this machine only. A browser opens connections that it may never use."""

    daemon_threads = True
    allow_reuse_port = False  # newer versions of Python would let two servers share a port

    def __init__(self, port: int) -> None:
        """Take the port; 0 is any free one.

        Raises:
            InputError: the port is taken, or may not be used.
        """
        try:
            super().__init__(("127.0.0.1", port), Handler)
        except (OSError, OverflowError) as error:
            taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
            raise InputError(
                f"port {port}",
                expected="a free port from 0 to 65535",
                received="one that another program uses" if taken else str(error),
                hint="Choose another with --port. 0 takes any free one.",
            ) from None
        self.hosts = {f"{name}:{self.server_port}" for name in ("127.0.0.1", "localhost")}
        self.lock = threading.Lock()

    def serve(self, classifier: Classifier) -> None:
        """Answer until stopped."""
        self.classifier = classifier
        self.page, self.policy = page(classifier)
        self.serve_forever()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Be quiet about a browser that has gone away."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)

    def read(self, drawing: bytes) -> dict[str, Any]:
        """What the model reads in a drawing: the likeliest class, all probabilities, and the 28 x 28 pixels it saw."""
        with self.lock:  # one at a time: handler threads share the model and Python's warnings
            digit = read_digit("the drawing", drawing)
            probabilities = self.classifier.probabilities(digit[np.newaxis])[0]
        best = self.classifier.names[int(probabilities.argmax())]
        return {"predicted": best, "probabilities": probabilities.round(6).tolist(), "seen": digit.tobytes().hex()}


class Handler(BaseHTTPRequestHandler):
    """GET / is the page. POST /predict takes a drawing, as PNG, and answers in JSON."""

    server: Server
    timeout = 10  # seconds without a byte

    def do_GET(self) -> None:
        self._answer("/", lambda: (self.server.page, "text/html; charset=utf-8"))

    def do_POST(self) -> None:
        self._answer("/predict", lambda: (_json(self.server.read(self._drawing())), "application/json"))

    def _answer(self, path: str, content: Callable[[], tuple[bytes, str]]) -> None:
        """Answer with a body of some content type, or with the reason why not."""
        try:
            self._check_origin()
            if self.path != path:
                raise RequestError(HTTPStatus.NOT_FOUND, f"{self.command} {path} is all there is")
            body, kind = content()
        except RequestError as error:
            self.send_error(error.status, str(error))
            self._drain()
        except InputError as error:
            self.send_error(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))
        else:
            self._send(HTTPStatus.OK, body, kind)

    def _check_origin(self) -> None:
        """Let no other page use this server: neither under a name of its own (DNS rebinding) nor from elsewhere."""
        host = self.headers.get("Host", "")
        origin = self.headers.get("Origin", f"http://{host}")
        if host not in self.server.hosts or origin != f"http://{host}":
            raise RequestError(HTTPStatus.FORBIDDEN, f"open http://{sorted(self.server.hosts)[0]} itself")

    def _drawing(self) -> bytes:
        """The body of the request."""
        if self.headers.get_content_type() != "image/png":  # other pages can only send other types without asking
            raise RequestError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "expected Content-Type: image/png")
        length = self.headers.get("Content-Length", "")
        if not LENGTH.fullmatch(length):
            raise RequestError(HTTPStatus.LENGTH_REQUIRED, "expected a Content-Length")
        if int(length) > MAX_BYTES:
            raise RequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"expected at most {MAX_BYTES} bytes")
        return self.rfile.read(int(length))

    def _drain(self) -> None:
        """Take what is still being sent: the sender would else see a broken connection instead of the answer."""
        length = self.headers.get("Content-Length", "")
        self.rfile.read(min(int(length), 16 * MAX_BYTES) if LENGTH.fullmatch(length) else 0)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer with the reason, in one line. The library calls this too, for what is no HTTP."""
        self._send(code, _json({"error": message or explain or HTTPStatus(code).phrase}), "application/json")

    def _send(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        headers = {
            "Content-Type": kind,
            "Content-Length": str(len(body)),
            "Content-Security-Policy": self.server.policy,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-store",
        }
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the library's name)
        """Say nothing of every request."""


def page(classifier: Classifier) -> tuple[bytes, str]:
    """The page, with the names of the classes filled in, and the policy that lets nothing but its own parts run."""
    text = PAGE.read_text(encoding="utf-8").replace("{{classes}}", html.escape(json.dumps(classifier.names)))
    parts = {tag: re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL) for tag in ("script", "style")}
    allowed = [f"{tag}-src " + " ".join(map(_hash, contents)) for tag, contents in parts.items()]
    rest = ["connect-src 'self'", "img-src data:", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"]
    return text.encode(), "; ".join(["default-src 'none'", *allowed, *rest])


def _hash(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def _json(answer: dict[str, Any]) -> bytes:
    return json.dumps(answer).encode() + b"\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m digits.apps.demo", description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="the model that `train` wrote")
    parser.add_argument("--params", type=Path, help="params.yaml, for the names of the classes; else by number")
    parser.add_argument("--port", type=int, required=True, help="of the page, on this machine; 0 takes any free one")
    args = parser.parse_args()
    with Server(args.port) as server:
        classifier = open_classifier(args.model, class_names(args.params))
        sys.stdout.write(f"Draw a digit at http://127.0.0.1:{server.server_port} (Ctrl-C ends it)\n")
        sys.stdout.flush()
        server.serve(classifier)


if __name__ == "__main__":
    run(main)
