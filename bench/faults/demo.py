"""Load the demo's server: mixed requests in parallel, slow connections beside them, then large pictures at once.

The right answer to each request is known before: a status and, if it is 200, the body that an idle server gives.
"""

import argparse
import asyncio
import json
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image, ImageDraw, ImageFont

from bench.faults.files import image_file
from digits.apps.demo import MAX_BYTES, SECONDS

#: Seconds after which a request counts as lost, and a slow connection as one that the server does not end.
PATIENCE = 60

#: Seconds from one byte of a slow connection to the next.
DRIP = 0.5

#: Percentages of requests that are drawings and requests for the page. The others are all wrong in some way.
DRAWINGS, PAGES = 60, 20

#: The side of a picture of 49 megapixels.
LARGE = 7000


class Request(NamedTuple):
    """The bytes that are sent, and the status of the right answer."""

    sent: bytes
    status: int


class Reply(NamedTuple):
    """An answer, and its seconds. The status is None if nothing came in time."""

    status: int | None
    body: bytes
    seconds: float


def measure(model: Path, dataset: Path, *, requests: int, parallel: int, slow: int) -> dict[str, Any]:
    """Start a demo, load it, end it with Ctrl-C, and count.

    Args:
        model: the .keras file.
        dataset: dataset.json, with the training images beside it.
        requests: number of requests in all.
        parallel: number of requests at a time.
        slow: number of slow connections beside them.

    Returns:
        `lost` and `wrong` count requests without an answer and with a wrong one; `good` are those whose right answer is
        200, and the seconds are theirs; `slow` counts the slow connections that the server ended, and how late;
        `mebibytes` is the memory after a tenth of the requests, after all, and the peaks under load and under three
        pictures of 49 megapixels at once; `exit` is the exit status, and `output` what was written after the start.
    """
    command = [sys.executable, "-m", "digits", "demo", "--model", str(model), "--dataset", str(dataset), "--port", "0"]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # else a background job's demo would ignore it
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, before)
    with process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            if not (port := re.search(r":(\d+) ", line)):
                raise RuntimeError(f"the demo did not start: {line}{process.communicate()[1]}")
            found = asyncio.run(_load(process.pid, int(port[1]), requests, parallel, slow))
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=PATIENCE)
            return found | {"exit": process.returncode, "output": output + errors}
        finally:
            process.kill()


def _mebibytes(pid: int, name: str) -> int:
    """Read the memory of a process: VmRSS is what it holds, VmHWM its peak."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return round(int(re.findall(rf"{name}:\s+(\d+) kB", status)[0]) / 1024)


async def _load(pid: int, port: int, number: int, parallel: int, slow: int) -> dict[str, Any]:
    good = right_requests(port)
    expected = {request: (await ask(port, request.sent)).body for request in good}  # of an idle server
    chosen = _mixture(good, wrong_requests(port), number)
    quiet = asyncio.Event()
    drips = [asyncio.create_task(_drip(port, kind, quiet)) for kind in range(slow)]
    replies = await send(port, chosen[: number // 10], parallel)
    memory = {"before": _mebibytes(pid, "VmRSS")}
    replies += await send(port, chosen[number // 10 :], parallel)
    memory |= {"after": _mebibytes(pid, "VmRSS"), "peak": _mebibytes(pid, "VmHWM")}
    quiet.set()
    held = [seconds for times in await asyncio.gather(*drips) for seconds in times]
    pictures = [reply.status for reply in await send(port, [_large_picture(port)] * 3, 3)]
    memory["peak with pictures"] = _mebibytes(pid, "VmHWM")
    times: dict[str, list[float]] = {"page": [], "drawing": []}
    lost = wrong = 0
    for request, reply in zip(chosen, replies, strict=True):
        lost += reply.status is None
        right = reply.status == request.status and reply.body == expected.get(request, reply.body)
        wrong += reply.status is not None and not right
        if request.status == 200:
            times["page" if request.sent.startswith(b"GET") else "drawing"].append(reply.seconds)
    return {
        "requests": number,
        "parallel": parallel,
        "good": {name: len(seconds) for name, seconds in times.items()},
        "lost": lost,
        "wrong": wrong,
        "p99 seconds": {name: round(sorted(seconds)[len(seconds) * 99 // 100], 4) for name, seconds in times.items()},
        "slow": {"at once": slow, "ended": len(held), "seconds at most": round(max(held, default=0), 1)},
        "mebibytes": memory,
        "pictures": pictures,
    }


async def send(port: int, requests: Sequence[Request], parallel: int) -> list[Reply]:
    """Send requests, `parallel` at a time. Returns the replies in the same order."""
    free = asyncio.Semaphore(parallel)

    async def client(request: Request) -> Reply:
        async with free:
            return await ask(port, request.sent)

    return await asyncio.gather(*map(client, requests))


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
    """Be a slow client, repeatedly until all is quiet. Returns the seconds until the server ended each connection.

    The first kind sends the head of a request byte by byte, the second the body, the third nothing, and the last does
    not read the answer.
    """
    head = _post_head(port, "Content-Length: 9999\r\n").decode()
    at_once, slowly = [("", head), (head, "x" * 9999), ("", ""), (_page(port).decode(), "")][kind % 4]
    times = []

    async def trickle(writer: asyncio.StreamWriter) -> None:
        for char in slowly:
            await asyncio.sleep(DRIP)
            writer.write(char.encode())

    while not quiet.is_set():
        start = time.perf_counter()
        with suppress(ConnectionError, TimeoutError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(at_once.encode())
            sending = asyncio.create_task(trickle(writer))
            try:
                async with asyncio.timeout(PATIENCE):
                    if kind % 4 == 3:
                        await asyncio.sleep(SECONDS)
                    await reader.read()
            finally:
                sending.cancel()
                writer.close()
        times.append(time.perf_counter() - start)
    return times


def _page(port: int) -> bytes:
    return f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()


def _post_head(port: int, headers: str, kind: str = "image/png") -> bytes:
    return f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: {kind}\r\n{headers}\r\n".encode()


def _post(port: int, body: bytes, kind: str = "image/png") -> bytes:
    return _post_head(port, f"Content-Length: {len(body)}\r\n", kind) + body


def _large_picture(port: int) -> Request:
    """Return a request with a picture of 49 megapixels."""
    picture = Image.new("L", (LARGE, LARGE), 255)
    ImageDraw.Draw(picture).line([(LARGE // 2, LARGE // 5), (LARGE // 2, LARGE * 4 // 5)], 0, LARGE // 20)
    return Request(_post(port, image_file(picture, "PNG")), 200)


def right_requests(port: int) -> list[Request]:
    """Return a request for the page, and a drawing of each digit."""
    return [Request(_page(port), 200), *(Request(_post(port, _drawing(digit)), 200) for digit in range(10))]


def wrong_requests(port: int) -> list[Request]:
    """Return requests that are refused, each for another reason."""
    host = f"Host: 127.0.0.1:{port}\r\n"
    png = _drawing(3)
    return [
        Request(b"what is this\r\n\r\n", 400),
        Request(f"GET / HTTP/1.1\r\n{host}{'X: y' * 20000}\r\n\r\n".encode(), 431),
        Request(f"GET /demo.py HTTP/1.1\r\n{host}\r\n".encode(), 404),
        Request(f"DELETE / HTTP/1.1\r\n{host}\r\n".encode(), 501),
        Request(_post_head(port, ""), 411),
        Request(_post(port, bytes(MAX_BYTES + 1)), 413),
        Request(_post(port, png, kind="text/plain"), 415),
        Request(_post(port, b"seven"), 422),
        Request(_post(port, png[:200]), 422),
    ]


def _mixture(good: list[Request], bad: list[Request], number: int) -> list[Request]:
    """Choose requests in an order that looks random, and is the same every time."""
    chance = random.Random(0)  # noqa: S311
    page, *drawings = good
    weights = [DRAWINGS, PAGES, 100 - DRAWINGS - PAGES]
    return [chance.choice(kind) for kind in chance.choices([drawings, [page], bad], weights, k=number)]


def _drawing(digit: int) -> bytes:
    """Draw a digit in Pillow's own font, as PNG."""
    picture = Image.new("L", (280, 280), 255)
    ImageDraw.Draw(picture).text((140, 140), str(digit), 0, ImageFont.load_default(200), anchor="mm")
    return image_file(picture, "PNG")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.faults.demo", description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="the model that `train` wrote")
    parser.add_argument("--dataset", type=Path, required=True, help="dataset.json, with the training images beside it")
    parser.add_argument("--requests", type=int, required=True, help="number of requests in all")
    parser.add_argument("--parallel", type=int, required=True, help="number of requests at a time")
    parser.add_argument("--slow", type=int, required=True, help="number of slow connections beside them")
    print(json.dumps(measure(**vars(parser.parse_args())), indent=2))


if __name__ == "__main__":
    main()
