"""A page on this machine where a digit is drawn and the trained model says what it reads. Ctrl-C ends it."""

import asyncio
import base64
import hashlib
import html
import io
import json
import re
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from aiohttp import web
from PIL import Image

from digits.apps.handwriting import prepare
from digits.apps.ink.explain import draw_steps
from digits.apps.options import add_files, command
from digits.apps.predict import Prediction, add_names, class_names
from digits.apps.reading import Classifier, Reader, open_reader
from digits.apps.server import SECONDS, json_response, listen, serve
from dvcproof.runtime.program import InputError

PAGE = Path(__file__).with_name("demo.html")

#: Bytes of the largest drawing. The page sends about a hundredth of it.
MAX_BYTES = 2**20

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Demo:
    """GET / is the page. POST /predict takes a drawing, as PNG, and answers in JSON."""

    def __init__(self, reader: Reader, port: int) -> None:
        self.reader = reader
        self.page, policy = page(reader.classifier)
        self.headers = {
            "Content-Security-Policy": policy,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-store",
        }
        self.hosts = [f"{name}:{port}" for name in ("127.0.0.1", "localhost")]
        # One drawing at a time: threads would share the model and Python's warnings, and each needs memory.
        self.worker = ThreadPoolExecutor(max_workers=1)

    def application(self) -> web.Application:
        """The two addresses, behind the rules that hold for every request."""
        application = web.Application(middlewares=[self.guard], client_max_size=MAX_BYTES)
        application.add_routes([web.get("/", self.show), web.post("/predict", self.predict)])
        application.on_response_prepare.append(self._protect)
        return application

    async def _protect(self, _: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(self.headers)

    @web.middleware
    async def guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer, or give the reason why not."""
        try:
            self._check_origin(request)
            return await handler(request)
        except (web.HTTPNotFound, web.HTTPMethodNotAllowed) as error:  # from aiohttp's router
            allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
            return json_response({"error": "GET / and POST /predict are all there is"}, error.status, allow)
        except web.HTTPException as error:
            return json_response({"error": error.text}, error.status)
        except InputError as error:
            return json_response({"error": str(error)}, 422)

    def _check_origin(self, request: web.Request) -> None:
        """Let no other page use this server: neither under a name of its own (DNS rebinding) nor from elsewhere."""
        host = request.headers.get("Host", "")
        origin = request.headers.get("Origin", f"http://{host}")
        if host not in self.hosts or origin != f"http://{host}":
            raise web.HTTPForbidden(text=f"open http://{self.hosts[0]} itself")

    async def show(self, _: web.Request) -> web.Response:
        """The page."""
        return web.Response(body=self.page, content_type="text/html", charset="utf-8")

    async def predict(self, request: web.Request) -> web.Response:
        """What the model reads in the drawing that was sent."""
        drawing = await self._drawing(request)
        return json_response(await asyncio.get_running_loop().run_in_executor(self.worker, self.read, drawing))

    async def _drawing(self, request: web.Request) -> bytes:
        """The body of the request."""
        if request.content_type != "image/png":  # other pages can only send other types without asking
            raise web.HTTPUnsupportedMediaType(text="expected Content-Type: image/png")
        if request.content_length is None:
            raise web.HTTPLengthRequired(text="expected a Content-Length")
        if request.content_length > MAX_BYTES:
            raise web.HTTPRequestEntityTooLarge(MAX_BYTES, text=f"expected at most {MAX_BYTES} bytes")
        try:
            async with asyncio.timeout(SECONDS):
                return await request.read()
        except TimeoutError:
            raise web.HTTPRequestTimeout(text=f"expected the drawing within {SECONDS} seconds") from None

    def read(self, drawing: bytes) -> dict[str, Any]:
        """What the model reads in a picture: as `predict --json` says it, with what it saw and the steps to it, as PNG.

        Raises:
            InputError: the bytes are no image that can be read, or there is no ink in it.
        """
        prepared = prepare("the drawing", drawing, self.reader.dataset)
        found = Prediction("", self.reader.read(prepared.images)).as_object()
        return found | {
            "probabilities": list(found["probabilities"].values()),
            "seen": _png(prepared.steps[-1].picture),
            "steps": _png(draw_steps(prepared.steps)),
        }


def _png(picture: Image.Image) -> str:
    """A picture as PNG, in Base64."""
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


def page(classifier: Classifier) -> tuple[bytes, str]:
    """The page, with the names of the classes filled in, and the policy that lets nothing but its own parts run."""
    text = PAGE.read_text(encoding="utf-8").replace("{{classes}}", html.escape(json.dumps(classifier.names)))
    parts = {tag: re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL) for tag in ("script", "style")}
    allowed = [f"{tag}-src " + " ".join(map(_hash, contents)) for tag, contents in parts.items()]
    rest = ["connect-src 'self'", "img-src data:", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"]
    return text.encode(), "; ".join(["default-src 'none'", *allowed, *rest])


def _hash(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def main() -> None:
    parser = command("demo", __doc__)
    add_files(parser, "model", "dataset")
    add_names(parser)
    parser.add_argument(
        "--port", type=int, default=8000, help="of the page, on this machine (default: %(default)s); 0: any free one"
    )
    args = parser.parse_args()
    with listen(args.port) as listener:
        port = listener.getsockname()[1]
        demo = Demo(open_reader(args.model, args.dataset, class_names(args.params)), port)
        sys.stdout.write(f"Draw a digit at http://127.0.0.1:{port} (Ctrl-C ends it)\n")
        sys.stdout.flush()
        asyncio.run(serve(demo.application(), listener))
