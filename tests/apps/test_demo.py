"""The page to draw on, in a real browser, and its server."""

import base64
import http.client
import io
import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.actions.action_builder import ActionBuilder
from selenium.webdriver.common.actions.pointer_input import PointerInput
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from digits.apps.demo import MAX_BYTES
from tests.support.browser import console_errors, requested_urls
from tests.support.pictures import file, plain
from tests.support.project import ROOT, run, start
from tests.support.refusal import refused_by
from tests.support.strokes import STROKES


def program(model: Path, dataset: Path, port: int = 0) -> tuple[str, ...]:
    """Return the command that starts the demo."""
    options = ("--model", str(model), "--dataset", str(dataset), "--port", str(port))
    return (sys.executable, "-m", "digits", "demo", *options)


@contextmanager
def demonstration(model: Path, dataset: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Start the demo on any free port, and yield its address and its process."""
    with start(*program(model, dataset), cwd=ROOT) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            match = re.fullmatch(r"Draw a digit at (http://127\.0\.0\.1:\d+) \(Ctrl-C ends it\)\n", line)
            assert match is not None, line
            yield match[1], process
        finally:
            process.kill()


@pytest.fixture(scope="module")
def address(trained: Path, loaded: Path) -> Iterator[str]:
    with demonstration(trained, loaded) as (url, _):
        yield url


def ask(
    address: str, method: str = "POST", path: str = "/predict", body: bytes = b"", **headers: str
) -> tuple[int, str, bytes]:
    """Send a request, and return the status, the type and the body of the answer."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=30)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, {"Content-Type": "image/png"} | named)
    response = connection.getresponse()
    answer = response.status, response.headers["Content-Type"], response.read()
    connection.close()
    return answer


def decoded(base64_png: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(base64_png)))


def test_a_drawing_is_read(address: str) -> None:
    page = Image.new("L", (300, 140), 255)
    page.paste(plain(4), (0, 0))
    page.paste(plain(2), (160, 0))
    status, kind, body = ask(address, body=file(page))
    answer = json.loads(body)
    assert (status, kind, answer["predicted"]) == (200, "application/json", "42")
    assert [digit["predicted"] for digit in answer["digits"]] == ["4", "2"]
    assert sum(answer["probabilities"]) == pytest.approx(1, abs=1e-5)
    assert decoded(answer["seen"]).size == (2 * 28, 28)
    assert decoded(answer["steps"]).width > 5 * decoded(answer["steps"]).height
    dash = Image.new("L", (200, 200), 255)
    dash.paste(0, (30, 92, 170, 108))
    assert json.loads(ask(address, body=file(dash))[2])["unsure"]


REFUSED: dict[str, tuple[int, str, dict[str, Any]]] = {
    "another type": (415, "send the drawing with Content-Type: image/png", {"Content_Type": "text/plain"}),
    "not an image": (422, "the drawing: the file is not an image", {"body": b"seven"}),
    "a blank image": (422, "there is no ink", {"body": file(Image.new("L", (560, 560), 255))}),
    "too large": (413, "send at most 1048576 bytes", {"body": bytes(MAX_BYTES + 1)}),
    "no length": (411, "send the drawing with a Content-Length", {"Transfer_Encoding": "chunked"}),
    "another path": (404, "send drawings to /predict", {"path": "/other"}),
    "a file": (404, "the page is at /", {"method": "GET", "path": "/demo.py"}),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_request_is_refused_in_one_line(address: str, case: str) -> None:
    expected, reason, request = REFUSED[case]
    status, kind, body = ask(address, **request)
    assert (status, kind, body.count(b"\n")) == (expected, "application/json", 1)
    assert reason in json.loads(body)["error"]


def test_only_this_machine_can_reach_it(address: str) -> None:
    """Data that are not HTTP are refused in one line."""
    port = urlsplit(address).port or 0
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"what is this\r\n\r\n")
        answer = connection.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.0 400 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"].startswith("Bad request")
    names = {str(info[4][0]) for info in socket.getaddrinfo(socket.gethostname(), 0, socket.AF_INET)}
    for name in (names | {"127.0.0.2"}) - {"127.0.0.1"}:
        with socket.socket() as probe:
            probe.settimeout(5)
            assert probe.connect_ex((name, port)) != 0


@pytest.mark.slow
def test_ctrl_c_ends_it_quietly(trained: Path, loaded: Path) -> None:
    with demonstration(trained, loaded) as (url, process):
        silent = socket.create_connection(("127.0.0.1", urlsplit(url).port or 0))  # as a browser does
        assert ask(url, body=file(plain()))[0] == 200
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=30)
        silent.close()
    assert (process.returncode, output, errors) == (128 + signal.SIGINT, "", "")


def test_what_is_missing_is_refused_in_one_line(tmp_path: Path, loaded: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        for port, reason in ((taken, "Address already in use"), (65536, r"bind\(\): port must be 0-65535\.")):
            line = refused_by(run(*program(tmp_path / "none", tmp_path / "none", port), cwd=ROOT))
            assert re.match(rf"ERROR: port {port}: it cannot be used \({reason}\)\. Choose another with --port", line)
    line = refused_by(run(*program(tmp_path / "none.keras", loaded), cwd=ROOT))
    assert line.endswith("Run `make repro` to train one.")


# In the browser


@pytest.fixture
def page(browser: webdriver.Chrome, address: str) -> Iterator[webdriver.Chrome]:
    """Open the page. At the end, check that its console has no errors and that it sent no request to other machines.

    On a slow machine an unfinished drawing may be sent and refused. The page then shows the refusal until the next
    answer.
    """
    console_errors(browser)
    requested_urls(browser)
    browser.get(address)
    yield browser
    WebDriverWait(browser, 20, 0.05).until(lambda _: not browser.execute_script("return busy"))
    assert [error for error in console_errors(browser) if f"{address}/predict" not in error or "422" not in error] == []
    asked = {urlsplit(url).netloc for url in requested_urls(browser) if not url.startswith("data:")}
    assert asked == {urlsplit(address).netloc}


def stroke(page: webdriver.Chrome, digit: int, kind: str = "mouse") -> None:
    """Draw a digit with the pointer, and wait until the page shows the answer to the complete drawing."""
    paper = page.find_element(By.ID, "paper")
    side = paper.rect["width"]
    for points in STROKES[digit]:
        actions = ActionBuilder(page, mouse=PointerInput(kind, kind), duration=0)  # type: ignore[no-untyped-call]
        pen: Any = actions.pointer_action
        for index, (x, y) in enumerate(points):
            pen.move_to(paper, round((x - 0.5) * side), round((y - 0.5) * side))
            if index == 0:
                pen.pointer_down()
        pen.pointer_up()
        actions.perform()
    WebDriverWait(page, 20, 0.05).until(lambda _: not page.execute_script("return busy"))


def wait_for(page: webdriver.Chrome, name: str, expected: str) -> None:
    """Wait until an element of the page shows a text."""
    WebDriverWait(page, 5, 0.05).until(lambda _: expected in page.find_element(By.ID, name).text)


def shares(page: webdriver.Chrome) -> dict[str, float]:
    """Return the percentage that the bar of each class shows."""
    cells = [cell.text for cell in page.find_elements(By.CSS_SELECTOR, "#bars li > *")]
    return {name: float(share.removesuffix(" %")) for name, share in zip(cells[::3], cells[2::3], strict=True)}


def test_a_digit_is_read_while_it_is_drawn_and_cleared(page: webdriver.Chrome) -> None:
    for digit, pointer in ((2, "mouse"), (4, "touch"), (7, "mouse")):
        wait_for(page, "best", "Draw, and the bars move.")
        stroke(page, digit, pointer)
        wait_for(page, "best", str(digit))
        found = shares(page)
        assert sum(found.values()) == pytest.approx(100, abs=0.6)
        assert max(found, key=lambda name: found[name]) == str(digit)
        seen = str(page.find_element(By.ID, "seen").get_attribute("src"))
        assert decoded(seen.removeprefix("data:image/png;base64,")).size == (28, 28)
        page.switch_to.active_element.send_keys(Keys.ESCAPE)
    wait_for(page, "best", "Draw, and the bars move.")
    assert shares(page) == dict.fromkeys("0123456789", 0)
