"""Serve files with TLS on this machine."""

import hashlib
import http.server
import ssl

import trustme


class Server(http.server.ThreadingHTTPServer):
    """A server of `files` that records the requested names in `requests`."""

    def __init__(self, certificate: trustme.LeafCert) -> None:
        super().__init__(("localhost", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.files: dict[str, bytes] = {}
        self.requests: list[str] = []

    def handle_error(self, *_: object) -> None:
        """Ignore clients that hang up."""

    def address(self, name: str, sha256: str | None = None) -> str:
        sha256 = hashlib.sha256(self.files[name]).hexdigest() if sha256 is None else sha256
        return f"https://localhost:{self.server_port}/{name}#sha256={sha256}"


class Handler(http.server.BaseHTTPRequestHandler):
    """Send the files of a Server; send only the first half of `cut.npz`."""

    server: Server

    def do_GET(self) -> None:
        name = self.path.removeprefix("/")
        self.server.requests.append(name)
        if self.do_HEAD():
            content = self.server.files[name]
            self.wfile.write(content[: len(content) // 2] if name == "cut.npz" else content)

    def do_HEAD(self) -> bool:
        content = self.server.files.get(self.path.removeprefix("/"))
        if content is None:
            self.send_error(404)
            return False
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.end_headers()
        return True

    def log_message(self, *_: object) -> None:
        """Log nothing."""
