"""The demo's server under load: mixed requests in parallel, slow connections beside them, then large pictures at once.

Every request has one right answer, which is known before: a status and, if it is 200, the body that a server with
nothing else to do gives.
"""

import argparse
import asyncio
import io
import json
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image, ImageDraw, ImageFont

from digits.apps.demo import MAX_BYTES
from digits.apps.server import SECONDS

#: Seconds after which a request counts as lost, and a slow connection as one that the server does not end.
PATIENCE = 60

#: Seconds from one byte of a slow connection to the next.
DRIP = 0.5

#: Of every hundred requests so many are drawings, and so many ask for the page. The others are all wrong in some way.
DRAWINGS, PAGES = 60, 20

#: Pixels of the side of a picture of 49 megapixels.
LARGE = 7000


class Request(NamedTuple):
    """What is sent, and the status that is the right answer."""

    sent: bytes
    status: int


class Reply(NamedTuple):
    """What came back, and after how many seconds. No status: nothing came, or not in time."""

    status: int | None
    body: bytes
    seconds: float


class Program(NamedTuple):
    """A demo that was started as a user starts it."""

    process: subprocess.Popen[str]
    port: int

    def mebibytes(self, name: str) -> float:
        """Its memory: VmRSS is what it holds, VmHWM the most that it ever held."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        return int(re.findall(rf"{name}:\s+(\d+) kB", status)[0]) / 1024


def measure(model: Path, dataset: Path, *, requests: int, parallel: int, slow: int) -> dict[str, Any]:
    """Start a demo, load it, end it with Ctrl-C, and count.

    Args:
        model: the .keras file.
        dataset: dataset.json, with the training images beside it.
        requests: how many are sent in all.
        parallel: how many of them at a time.
        slow: connections beside them that send a byte in half a second, or nothing, or do not read the answer.

    Returns:
        `lost` and `wrong` count requests with no answer and with another than the right one; `good` are those to which
        the right one is 200, and the seconds are theirs; `slow` says how many slow connections ended, and how late;
        `mebibytes` is the memory after a tenth of the requests, after all, and the peaks under load and under three
        pictures of 49 megapixels at once; `exit` is the exit status, and `output` what was written after the start.
    """
    with started(model, dataset) as program:
        found = asyncio.run(_load(program, requests, parallel, slow))
        found["pictures"] = asyncio.run(_pictures(program))
        found["mebibytes"]["peak with pictures"] = round(program.mebibytes("VmHWM"))
        program.process.send_signal(signal.SIGINT)
        output, errors = program.process.communicate(timeout=PATIENCE)
        return found | {"exit": program.process.returncode, "output": output + errors}


@contextmanager
def started(model: Path, dataset: Path) -> Iterator[Program]:
    """A demo on any free port, which ends with the block."""
    files = ["--model", str(model), "--dataset", str(dataset)]
    command = [sys.executable, "-m", "digits", "demo", *files, "--port", "0"]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # else a background job's demo would ignore it
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, before)
    with process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            port = re.search(r":(\d+) ", line)
            if port is None:
                raise RuntimeError(f"the demo did not start: {line}{process.communicate()[1]}")
            yield Program(process, int(port[1]))
        finally:
            process.kill()


async def _load(program: Program, requests: int, parallel: int, slow: int) -> dict[str, Any]:
    good, bad = right_requests(program.port), wrong_requests(program.port)
    expected = {request: await ask(program.port, request.sent) for request in good}  # with nothing else to do
    chosen = mixture(good, bad, requests)
    quiet = asyncio.Event()
    drips = [asyncio.create_task(_drip(program.port, kind, quiet)) for kind in range(slow)]
    first = await send(program.port, chosen[: requests // 10], parallel)
    before = program.mebibytes("VmRSS")
    replies = first + await send(program.port, chosen[requests // 10 :], parallel)
    after, peak = program.mebibytes("VmRSS"), program.mebibytes("VmHWM")
    quiet.set()
    held = [seconds for times in await asyncio.gather(*drips) for seconds in times]
    pairs = list(zip(chosen, replies, strict=True))
    times = {
        name: sorted(reply.seconds for request, reply in pairs if request.status == 200 and request.sent[:4] == method)
        for name, method in (("page", b"GET "), ("drawing", b"POST"))
    }
    return {
        "requests": requests,
        "parallel": parallel,
        "good": {name: len(seconds) for name, seconds in times.items()},
        "lost": sum(reply.status is None for reply in replies),
        "wrong": sum(not _is_right(request, reply, expected) for request, reply in pairs if reply.status),
        "median seconds": {name: round(seconds[len(seconds) // 2], 4) for name, seconds in times.items()},
        "p99 seconds": {name: round(seconds[len(seconds) * 99 // 100], 4) for name, seconds in times.items()},
        "slow": {"at once": slow, "ended": len(held), "seconds at most": round(max(held, default=0), 1)},
        "mebibytes": {"before": round(before), "after": round(after), "peak": round(peak)},
    }


def _is_right(request: Request, reply: Reply, expected: dict[Request, Reply]) -> bool:
    return reply.status == request.status and (request not in expected or reply.body == expected[request].body)


async def send(port: int, requests: list[Request], parallel: int) -> list[Reply]:
    """Send requests, some at a time; the replies in the same order."""
    left = iter(enumerate(requests))
    replies = {}

    async def client() -> None:
        for index, request in left:
            replies[index] = await ask(port, request.sent)

    await asyncio.gather(*(client() for _ in range(parallel)))
    return [replies[index] for index in range(len(requests))]


async def ask(port: int, sent: bytes) -> Reply:
    """Send the bytes of a request over a connection of its own, and read until the server closes it."""
    start = time.perf_counter()
    content = b""
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(sent)
                content = await reader.read()
            finally:
                writer.close()
    head, _, body = content.partition(b"\r\n\r\n")
    status = re.match(rb"HTTP/1\.[01] (\d{3}) ", head)
    return Reply(int(status[1]) if status else None, body, time.perf_counter() - start)


async def _drip(port: int, kind: int, quiet: asyncio.Event) -> list[float]:
    """Be a slow client, again and again until all is quiet. Gives the seconds until the server ended each connection.

    The first kind sends the head of a request byte by byte, the second the body, the third nothing, and the last does
    not read the answer.
    """
    head = (
        f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: image/png\r\nContent-Length: 9999\r\n\r\n"
    )
    page = f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n"
    at_once, slowly = [("", head), (head, "x" * 9999), ("", ""), (page, "")][kind % 4]
    times = []
    while not quiet.is_set():
        start = time.perf_counter()
        with suppress(ConnectionError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(at_once.encode())
            sending = asyncio.create_task(_send_slowly(writer, slowly))
            try:
                async with asyncio.timeout(PATIENCE):
                    if kind % 4 == 3:
                        await asyncio.sleep(SECONDS)
                    await reader.read()
            except TimeoutError:
                pass
            finally:
                sending.cancel()
                writer.close()
        times.append(time.perf_counter() - start)
    return times


async def _send_slowly(writer: asyncio.StreamWriter, text: str) -> None:
    for char in text:
        await asyncio.sleep(DRIP)
        writer.write(char.encode())


async def _pictures(program: Program) -> list[int | None]:
    """Send three pictures of 49 megapixels at once; the statuses of the answers."""
    stream = io.BytesIO()
    picture = Image.new("L", (LARGE, LARGE), 255)
    ImageDraw.Draw(picture).line([(LARGE // 2, LARGE // 5), (LARGE // 2, LARGE * 4 // 5)], 0, LARGE // 20)
    picture.save(stream, "PNG")
    request = Request(_post(program.port, stream.getvalue()), 200)
    return [reply.status for reply in await send(program.port, [request] * 3, 3)]


def right_requests(port: int) -> list[Request]:
    """The page, with and without its body, and a drawing of each digit."""
    page = f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
    return [Request(page, 200), *(Request(_post(port, drawing(digit)), 200) for digit in range(10))]


def wrong_requests(port: int) -> list[Request]:
    """Requests that are refused, each with another reason."""
    host = f"Host: 127.0.0.1:{port}\r\n"
    png = drawing(3)
    return [
        Request(b"what is this\r\n\r\n", 400),
        Request(f"GET / HTTP/1.1\r\n{host}{host}\r\n".encode(), 400),
        Request(_post(port, png, f"Content-Length: {len(png)}\r\n"), 400),
        Request(f"GET / HTTP/1.1\r\n{host}{'X: y' * 5000}\r\n\r\n".encode(), 400),
        Request(b"GET / HTTP/1.1\r\nHost: elsewhere.example\r\n\r\n", 403),
        Request(_post(port, png, "Origin: https://elsewhere.example\r\n"), 403),
        Request(f"GET /demo.py HTTP/1.1\r\n{host}\r\n".encode(), 404),
        Request(f"DELETE / HTTP/1.1\r\n{host}\r\n".encode(), 405),
        Request(f"POST /predict HTTP/1.1\r\n{host}Content-Type: image/png\r\n\r\n".encode(), 411),
        Request(_post(port, bytes(MAX_BYTES + 1)), 413),
        Request(_post(port, png, kind="text/plain"), 415),
        Request(_post(port, b"seven"), 422),
        Request(_post(port, png[:200]), 422),
    ]


def mixture(good: list[Request], bad: list[Request], number: int) -> list[Request]:
    """So many requests in an order that looks random, and is the same every time."""
    chance = random.Random(0)  # noqa: S311
    page, *drawings = good
    kinds = [drawings, [page], bad]
    weights = [DRAWINGS, PAGES, 100 - DRAWINGS - PAGES]
    return [chance.choice(kind) for kind in chance.choices(kinds, weights, k=number)]


def _post(port: int, body: bytes, header: str = "", kind: str = "image/png") -> bytes:
    head = f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: {kind}\r\n{header}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def drawing(digit: int) -> bytes:
    """A digit in the font that Pillow has, as PNG."""
    picture = Image.new("L", (280, 280), 255)
    ImageDraw.Draw(picture).text((140, 140), str(digit), 0, ImageFont.load_default(200), anchor="mm")
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.faults.demo", description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="the model that `train` wrote")
    parser.add_argument("--dataset", type=Path, required=True, help="dataset.json, with the training images beside it")
    parser.add_argument("--requests", type=int, required=True, help="in all")
    parser.add_argument("--parallel", type=int, required=True, help="requests at a time")
    parser.add_argument("--slow", type=int, required=True, help="slow connections beside them")
    args = parser.parse_args()
    found = measure(args.model, args.dataset, requests=args.requests, parallel=args.parallel, slow=args.slow)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
