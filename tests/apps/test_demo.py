"""The page to draw on, in a real browser, and its server, which only that page may use."""

import asyncio
import base64
import hashlib
import http.client
import io
import json
import re
import resource
import signal
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from PIL import Image, ImageStat
from selenium import webdriver
from selenium.common.exceptions import TimeoutException
from selenium.webdriver.common.actions.action_builder import ActionBuilder
from selenium.webdriver.common.actions.pointer_input import PointerInput
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from bench.faults import demo as load
from digits.apps import demo
from digits.apps.reading import Classifier
from digits.apps.server import CONNECTIONS, SECONDS, listen
from dvcproof.runtime.program import InputError
from tests.support.browser import console_errors, requested_urls
from tests.support.colour import contrast, luminance
from tests.support.memory import linux_only
from tests.support.project import ROOT, run, run_ok, start
from tests.support.strokes import STROKES, draw

Process = subprocess.Popen[str]


@contextmanager
def demonstration(model: Path, dataset: Path) -> Iterator[tuple[str, Process]]:
    """The program as it is started by hand, on any free port: its address, and its process."""
    options = ("--model", str(model), "--dataset", str(dataset), "--port", "0")
    program = (sys.executable, "-m", "digits", "demo", *options)
    with start(*program, cwd=ROOT) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            match = re.fullmatch(r"Draw a digit at (http://127\.0\.0\.1:\d+) \(Ctrl-C ends it\)\n", line)
            assert match is not None, line
            yield match[1], process
        finally:
            process.kill()


@pytest.fixture(scope="module")
def served(trained: Path, loaded: Path) -> Iterator[tuple[str, Process]]:
    with demonstration(trained, loaded) as program:
        yield program


@pytest.fixture(scope="module")
def address(served: tuple[str, Process]) -> str:
    return served[0]


def png(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


DRAWING = png(draw(3, side=200, width=15))
LARGE = png(Image.new("L", (4000, 4000), 255))
PNG = {"Content-Type": "image/png"}


def ask(
    address: str, method: str = "POST", path: str = "/predict", body: bytes = DRAWING, **headers: str
) -> tuple[int, http.client.HTTPMessage, bytes]:
    """Send a request, and give back the status, the headers and the body of the answer."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=30)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, PNG | named)
    response = connection.getresponse()
    answer = response.status, response.headers, response.read()
    connection.close()
    return answer


def decoded(base64_png: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(base64_png)))


def test_a_drawing_is_read(address: str) -> None:
    status, headers, body = ask(address)
    answer = json.loads(body)
    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert answer["predicted"] == "3"
    assert len(answer["probabilities"]) == 10
    assert sum(answer["probabilities"]) == pytest.approx(1, abs=1e-5)
    assert answer["probabilities"].index(max(answer["probabilities"])) == 3
    assert decoded(answer["seen"]).size == (28, 28)
    assert json.loads(ask(address, body=png(draw(7, side=200, width=15)))[2])["predicted"] == "7"
    with decoded(answer["steps"]) as steps:
        assert steps.width > 5 * steps.height


def test_several_digits_and_what_is_none(address: str) -> None:
    page = Image.new("L", (420, 200), 255)
    page.paste(draw(4, side=200, width=15), (0, 0))
    page.paste(draw(2, side=200, width=15), (220, 0))
    answer = json.loads(ask(address, body=png(page))[2])
    assert (answer["predicted"], [one["predicted"] for one in answer["digits"]]) == ("42", ["4", "2"])
    assert decoded(answer["seen"]).size == (2 * 28, 28)
    dash = Image.new("L", (200, 200), 255)
    dash.paste(0, (30, 92, 170, 108))
    assert json.loads(ask(address, body=png(dash))[2])["unsure"]


def host(address: str) -> str:
    return urlsplit(address).netloc


DEFLATED = {"Content_Encoding": "deflate"}
REFUSED: dict[str, tuple[int, str, Callable[[str], dict[str, Any]]]] = {
    "another type": (415, "expected Content-Type: image/png", lambda _: {"Content_Type": "text/plain"}),
    "a form": (415, "expected Content-Type", lambda _: {"Content_Type": "multipart/form-data; boundary=x"}),
    "no image": (422, "the drawing: expected an image", lambda _: {"body": b"seven"}),
    "half an image": (422, "Got a damaged file", lambda _: {"body": DRAWING[:200]}),
    "nothing": (422, "Got an empty file", lambda _: {"body": b""}),
    "a blank image": (422, "Got no ink", lambda _: {"body": png(Image.new("L", (560, 560), 255))}),
    "a bomb": (422, "exceeds limit", lambda _: {"body": png(Image.new("1", (20000, 20000)))}),
    "too large": (413, "expected at most 1048576 bytes", lambda _: {"body": bytes(demo.MAX_BYTES + 1)}),
    "no number as length": (400, "Invalid character in Content-Length", lambda _: {"Content_Length": "-1"}),
    "no length": (411, "expected a Content-Length", lambda _: {"Transfer_Encoding": "chunked", "body": b"0\r\n\r\n"}),
    "another name for this machine": (403, "open http://127.0.0.1:", lambda _: {"Host": "elsewhere.example"}),
    "the name without the port": (403, "open http://127.0.0.1:", lambda _: {"Host": "127.0.0.1"}),
    "another page": (403, "open http://127.0.0.1:", lambda _: {"Origin": "https://elsewhere.example"}),
    "a page without a name": (403, "open http://127.0.0.1:", lambda _: {"Origin": "null"}),
    "another path": (404, "GET / and POST /predict are all there is", lambda _: {"path": "/predict/../secret"}),
    "a file": (404, "GET / and POST /predict are all there is", lambda _: {"method": "GET", "path": "/demo.py"}),
    "another method": (405, "GET / and POST /predict are all there is", lambda _: {"method": "PUT"}),
    "a page that asks whether it may": (405, "GET / and POST", lambda _: {"method": "OPTIONS"}),
    "an unknown method": (400, "Invalid method encountered", lambda _: {"method": "DRAW"}),
    "too long a header": (400, "Got more than 8192 bytes", lambda _: {"Cookie": "x" * 9000}),
    "too many headers": (400, "Too many headers", lambda _: {f"X-{number}": "x" for number in range(40)}),
    "a compressed drawing": (422, "Got another file", lambda _: {"body": zlib.compress(DRAWING)} | DEFLATED),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_request_is_refused_in_one_line(address: str, case: str) -> None:
    expected, reason, change = REFUSED[case]
    status, headers, body = ask(address, **change(address))
    assert (status, headers["Content-Type"]) == (expected, "application/json")
    assert body.count(b"\n") == 1
    assert reason in json.loads(body)["error"]
    assert "Access-Control-Allow-Origin" not in headers


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_names_of_this_machine_are_accepted(address: str, method: str) -> None:
    for name in ("127.0.0.1", "localhost"):
        own = f"{name}:{urlsplit(address).port}"
        path = "/" if method == "GET" else "/predict"
        assert ask(address, method, path, Host=own, Origin=f"http://{own}")[0] == 200


def connect(address: str, sent: bytes = b"") -> socket.socket:
    """Open a connection, and send the bytes of a request or of its beginning. Little of an answer fits into it."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)  # the system takes the least that it allows
    connection.settimeout(30)
    connection.connect(("127.0.0.1", urlsplit(address).port or 0))
    connection.sendall(sent)
    return connection


def exchange(address: str, sent: bytes) -> tuple[int, bytes]:
    """Send the bytes of a request, and give back the status and the body of the answer."""
    with connect(address, sent) as connection, http.client.HTTPResponse(connection) as response:
        response.begin()
        return response.status, response.read()


def post(address: str, length: int) -> bytes:
    """The head of a request with a drawing."""
    head = f"POST /predict HTTP/1.1\r\nHost: {host(address)}\r\nContent-Type: image/png\r\n"
    return f"{head}Content-Length: {length}\r\n\r\n".encode()


@pytest.mark.parametrize(
    "sent", [b"what is this\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\x00" * 100]
)
def test_what_is_no_http_is_refused(address: str, sent: bytes) -> None:
    status, body = exchange(address, sent)
    assert status == 400
    assert body.count(b"\n") == 1
    assert re.fullmatch(r"[\w .]+", json.loads(body)["error"])


@pytest.mark.parametrize("name", ["Host", "hOST", "Content-Length", "content-length"])
def test_a_doubled_header_is_refused(address: str, name: str) -> None:
    right = host(address) if name.title() == "Host" else str(len(DRAWING))
    wrong = "elsewhere.example" if name.title() == "Host" else "3"
    request = post(address, len(DRAWING)) + DRAWING
    assert exchange(address, request)[0] == 200
    for first, second in ((right, right), (right, wrong), (wrong, right)):
        doubled = request.replace(f"{name.title()}: {right}".encode(), f"{name}: {first}\r\n{name}: {second}".encode())
        assert doubled != request
        status, body = exchange(address, doubled)
        assert (status, "Duplicate" in json.loads(body)["error"]) == (400, True)


def test_head_gives_the_head_of_the_page(address: str) -> None:
    page = ask(address, "GET", "/", b"")
    head = ask(address, "HEAD", "/", b"")
    assert (head[0], head[2]) == (200, b"")
    assert head[1]["Content-Length"] == str(len(page[2]))
    assert set(head[1].items()) - {("Date", head[1]["Date"])} == set(page[1].items()) - {("Date", page[1]["Date"])}


def test_a_wrong_method_is_answered_with_the_right_one(address: str) -> None:
    assert ask(address, "PUT")[1]["Allow"] == "POST"
    assert ask(address, "POST", "/")[1]["Allow"] == "GET,HEAD"


# Under load


@pytest.fixture(scope="module")
def under_load(trained: Path, loaded: Path) -> dict[str, Any]:
    """What a short load of a demo of its own gave; `python -m bench.faults.demo` does the same at length."""
    return load.measure(trained, loaded, requests=500, parallel=32, slow=10)


@linux_only
@pytest.mark.slow
def test_under_load_every_request_gets_its_answer(under_load: dict[str, Any]) -> None:
    assert (under_load["lost"], under_load["wrong"]) == (0, 0)
    assert sum(under_load["good"].values()) > 300
    assert under_load["pictures"] in ([200] * 3, [422] * 3)


@linux_only
@pytest.mark.slow
def test_slow_connections_are_ended(under_load: dict[str, Any]) -> None:
    assert under_load["slow"]["ended"] >= 10
    assert under_load["slow"]["seconds at most"] < 3 * SECONDS


@linux_only
@pytest.mark.slow
def test_under_load_memory_is_bounded(under_load: dict[str, Any]) -> None:
    found = under_load["mebibytes"]
    assert found["after"] - found["before"] < 50
    assert found["peak with pictures"] - found["before"] < 500


@linux_only
@pytest.mark.slow
def test_ctrl_c_ends_it_quietly_after_a_load(under_load: dict[str, Any]) -> None:
    assert (under_load["exit"], under_load["output"]) == (130, "")


@pytest.mark.slow
def test_none_of_sixteen_in_parallel_is_lost(address: str) -> None:
    port = urlsplit(address).port or 0
    requests = load.right_requests(port) * 10
    replies = asyncio.run(load.send(port, requests, parallel=16))
    assert {reply.status for reply in replies} == {200}
    answers: dict[bytes, set[bytes]] = {}
    for request, reply in zip(requests, replies, strict=True):
        answers.setdefault(request.sent, set()).add(reply.body)
    assert [len(bodies) for bodies in answers.values()] == [1] * 11  # nobody gets the answer to another's drawing


BEGINNINGS = {"silent": "", "half a head": "GET / HTTP/1.1\r\nHost:", "unread": "GET / HTTP/1.1\r\nHost: {}\r\n\r\n"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", BEGINNINGS)
def test_more_connections_than_places_only_wait(address: str, kind: str) -> None:
    start = time.monotonic()
    with ExitStack() as crowd:
        for _ in range(CONNECTIONS + 50):
            crowd.enter_context(connect(address, BEGINNINGS[kind].format(host(address)).encode()))
        assert ask(address)[0] == 200
    if kind != "unread":  # places were taken, until the first of the crowd had to go
        assert SECONDS / 2 < time.monotonic() - start < 3 * SECONDS


@pytest.mark.slow
@linux_only
def test_without_a_free_file_descriptor_all_wait(served: tuple[str, Process]) -> None:
    address, process = served
    limits = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
    allowed = max(int(path.name) for path in Path(f"/proc/{process.pid}/fd").iterdir()) + 30
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (allowed, limits[1]))
    try:
        with ExitStack() as crowd:
            for _ in range(40):
                crowd.enter_context(connect(address))
            assert ask(address)[0] == 200
    finally:
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, limits)
    assert process.poll() is None


def test_a_connection_carries_one_request(address: str) -> None:
    request = f"GET / HTTP/1.1\r\nHost: {host(address)}\r\n\r\n".encode()
    with connect(address, request * 2) as connection, connection.makefile("rb") as answers:
        assert answers.read().count(b"HTTP/1.1 200 OK") == 1


@pytest.mark.slow
def test_a_drawing_that_comes_too_slowly_is_refused(address: str) -> None:
    status, body = exchange(address, post(address, len(DRAWING)) + DRAWING[:50])
    assert (status, json.loads(body)) == (408, {"error": f"expected the drawing within {SECONDS} seconds"})


def test_the_largest_drawing_is_read_whole(address: str) -> None:
    assert ask(address, body=DRAWING + bytes(demo.MAX_BYTES - len(DRAWING)))[0] == 200


# To whom


def test_only_this_machine_can_reach_it(address: str) -> None:
    port = urlsplit(address).port or 0

    def answers(name: str) -> bool:
        with socket.socket() as probe:
            probe.settimeout(5)
            return probe.connect_ex((name, port)) == 0

    names = {str(info[4][0]) for info in socket.getaddrinfo(socket.gethostname(), 0, socket.AF_INET)}
    assert answers("127.0.0.1")
    assert not any(answers(name) for name in (names | {"127.0.0.2"}) - {"127.0.0.1"})


def test_the_policy_lets_nothing_but_the_page_run(address: str) -> None:
    status, headers, body = ask(address, "GET", "/")
    policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
    assert status == 200
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "'self'"
    assert "unsafe" not in headers["Content-Security-Policy"]
    for tag in ("script", "style"):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>".encode(), body, re.DOTALL)
        assert policy[f"{tag}-src"] == f"'sha256-{base64.b64encode(hashlib.sha256(content).digest()).decode()}'"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert not re.findall(rb"(?:src|href)=\"(?!data:)", body)


def test_the_page_names_the_classes() -> None:
    def probabilities(_: Any) -> Any:
        raise AssertionError

    text = demo.page(Classifier(['<b>"ant"</b>', "bee"], probabilities))[0].decode()
    assert "<b>" not in text.split("<script>")[0].replace('<b id="best">', "")
    assert "&lt;b&gt;\\&quot;ant\\&quot;&lt;/b&gt;" in text


@pytest.mark.slow
@pytest.mark.parametrize("signal", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_it_quietly(trained: Path, loaded: Path, signal: signal.Signals) -> None:
    with demonstration(trained, loaded) as (url, process):
        assert ask(url)[0] == 200
        with (
            connect(url),  # which a browser keeps open
            connect(url, b"GET / HTTP/1.1\r\nHost:"),
            connect(url, post(url, 1000) + DRAWING[:50]),
            connect(url, post(url, len(LARGE)) + LARGE),
            connect(url, post(url, len(DRAWING)) + DRAWING),
        ):
            assert ask(url, "GET", "/")[0] == 200  # by now all these have come
            process.send_signal(signal)
            output, errors = process.communicate(timeout=30)
    assert (process.returncode, output, errors) == (128 + signal, "", "")


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        options = ("--model", str(tmp_path / "none"), "--dataset", str(tmp_path / "none"), "--port", str(port))
        program = (sys.executable, "-m", "digits", "demo", *options)
        result = run(*program, cwd=ROOT)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == (
        f"ERROR: port {port}: expected a free port from 0 to 65535. Got one that another program uses. "
        "Choose another with --port. 0 takes any free one.\n"
    )


@pytest.mark.parametrize("port", [-1, 65536, 10**30])
def test_a_port_that_cannot_be(port: int) -> None:
    with pytest.raises(InputError, match=f"^port {port}: expected a free port from 0 to 65535"):
        listen(port)


@pytest.mark.slow
def test_without_a_model_it_says_how_to_get_one(tmp_path: Path, loaded: Path) -> None:
    options = ("--model", str(tmp_path / "none.keras"), "--dataset", str(loaded), "--port", "0")
    program = (sys.executable, "-m", "digits", "demo", *options)
    result = run(*program, cwd=ROOT)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.count("\n") == 1
    assert result.stderr.endswith("Got no such file. Run `make repro` to train one.\n")


def test_make_demo_starts_it() -> None:
    commands = run_ok("make", "--no-print-directory", "--dry-run", "demo", "PORT=9000", cwd=ROOT)
    assert "python -m digits repro" in commands
    assert commands.rstrip().endswith("python -m digits demo --port 9000")


# In the browser


@pytest.fixture
def page(browser: webdriver.Chrome, address: str) -> Iterator[webdriver.Chrome]:
    """The page, just opened. At the end it must have complained of nothing, and asked nobody else.

    A drawing half done, which a slow machine sends, may be refused as no digit: the page says so until the next answer.
    """
    console_errors(browser)
    requested_urls(browser)
    browser.get(address)
    yield browser
    settle(browser)
    assert [error for error in console_errors(browser) if f"{address}/predict" not in error or "422" not in error] == []
    assert {urlsplit(url).netloc for url in requested_urls(browser) if not url.startswith("data:")} <= {host(address)}


def settle(page: webdriver.Chrome) -> None:
    """Wait until the last request has been answered."""
    WebDriverWait(page, 20, 0.05).until(lambda _: not page.execute_script("return busy"))


def stroke(page: webdriver.Chrome, digit: int, kind: str = "mouse") -> None:
    """Draw a digit with the pointer, and wait until the page shows the answer to the whole of it."""
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
    settle(page)


def text(page: webdriver.Chrome, name: str) -> str:
    return page.find_element(By.ID, name).text


def reads(page: webdriver.Chrome, expected: str) -> bool:
    """Whether the page comes to show this digit."""
    try:
        return bool(WebDriverWait(page, 5, 0.05).until(lambda _: text(page, "best") == expected))
    except TimeoutException:
        return False


def shares(page: webdriver.Chrome) -> dict[str, float]:
    """The bars: per cent of each class, as text and as width, which must agree."""
    rows = page.execute_script(
        "return [...document.querySelectorAll('#bars li')].map(item => "
        "[item.children[0].textContent, item.children[2].textContent, item.querySelector('i').style.width])"
    )
    for _, label, width in rows:
        assert float(label.removesuffix(" %")) == pytest.approx(float(width.removesuffix("%")), abs=0.051)
    return {name: float(label.removesuffix(" %")) for name, label, _ in rows}


WAITING = "Draw, and the bars move."


@pytest.mark.parametrize("digit", range(10))
def test_a_digit_is_read_while_it_is_drawn(page: webdriver.Chrome, digit: int) -> None:
    assert text(page, "best") == WAITING
    assert shares(page) == dict.fromkeys("0123456789", 0)
    stroke(page, digit)
    assert reads(page, str(digit))
    found = shares(page)
    assert sum(found.values()) == pytest.approx(100, abs=0.6)
    assert max(found, key=lambda name: found[name]) == str(digit)
    assert [item.text.split()[0] for item in page.find_elements(By.CSS_SELECTOR, "li.best")] == [str(digit)]


def test_another_drawing_is_another_digit(page: webdriver.Chrome, address: str) -> None:
    stroke(page, 1)
    assert reads(page, "1")
    one = shares(page)
    page.find_element(By.ID, "clear").click()
    stroke(page, 7)
    assert reads(page, "7")
    assert text(page, "best") != "1"
    assert shares(page)["1"] < one["1"]
    assert {f"{address}/", f"{address}/predict"} <= set(requested_urls(page))


def test_with_a_finger(page: webdriver.Chrome) -> None:
    stroke(page, 4, kind="touch")
    assert reads(page, "4")


def ink_seen(page: webdriver.Chrome) -> float:
    """Mean level of the picture that shows what the model sees; 0 if it is the empty one."""
    url = str(page.find_element(By.ID, "seen").get_attribute("src"))
    if url.startswith("data:image/gif"):
        return 0
    with decoded(url.removeprefix("data:image/png;base64,")) as picture:
        assert picture.size == (28, 28)
        return ImageStat.Stat(picture.convert("L")).mean[0]


def test_the_page_shows_what_the_model_sees(page: webdriver.Chrome) -> None:
    assert ink_seen(page) == 0
    stroke(page, 0)
    assert reads(page, "0")
    assert 10 < ink_seen(page) < 80  # MNIST's mean is 33


@pytest.mark.parametrize("key", [Keys.ESCAPE, Keys.ENTER])
def test_the_keyboard_clears(page: webdriver.Chrome, key: str) -> None:
    stroke(page, 7)
    assert reads(page, "7")
    if key == Keys.ENTER:
        page.switch_to.active_element.send_keys(Keys.TAB)
        assert page.switch_to.active_element == page.find_element(By.ID, "clear")
    page.switch_to.active_element.send_keys(key)
    assert reads(page, WAITING)
    assert shares(page) == dict.fromkeys("0123456789", 0)
    assert ink_seen(page) == 0


def offline(page: webdriver.Chrome, *, yes: bool) -> None:
    conditions = {"offline": yes, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    page.execute_cdp_cmd("Network.emulateNetworkConditions", conditions)


def test_an_error_is_shown_until_the_next_answer(page: webdriver.Chrome) -> None:
    offline(page, yes=True)
    stroke(page, 1)
    offline(page, yes=False)
    assert WebDriverWait(page, 5).until(lambda _: "make demo" in text(page, "error"))
    assert any("ERR_INTERNET_DISCONNECTED" in error for error in console_errors(page))
    stroke(page, 1)
    assert reads(page, "1")
    assert text(page, "error") == ""
    page.execute_script("paper.toBlob = done => done(new Blob(['no picture']))")
    stroke(page, 1)
    assert WebDriverWait(page, 5).until(lambda _: "the drawing: expected an image" in text(page, "error"))
    settle(page)
    assert any("422" in error for error in console_errors(page))


def test_the_policy_stops_what_is_not_part_of_the_page(page: webdriver.Chrome) -> None:
    page.execute_script(
        "document.body.append(Object.assign(new Image(), { src: 'http://elsewhere.invalid/a.png' }));"
        "document.head.append(Object.assign(document.createElement('script'), { textContent: 'window.ran = true' }))"
    )
    complaints = WebDriverWait(page, 5).until(lambda _: console_errors(page))
    assert any("elsewhere.invalid" in complaint for complaint in complaints)
    assert page.execute_script("return window.ran") is None
    # What was stopped counts as asked for: the check at the end of every test would have failed.
    assert "http://elsewhere.invalid/a.png" in requested_urls(page)


@pytest.fixture
def emulate(page: webdriver.Chrome) -> Iterator[Callable[[int, int, str], None]]:
    """Make the window as large as a screen, in the colours that its owner prefers; and set both back."""

    def screen(width: int, height: int, scheme: str) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 2, "mobile": width < 500}
        page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    yield screen
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(1280, 720), (390, 844), (360, 640)])
def test_it_fits_on_the_screen(
    page: webdriver.Chrome, emulate: Callable[[int, int, str], None], size: tuple[int, int], scheme: str
) -> None:
    emulate(*size, scheme)
    stroke(page, 7)
    assert reads(page, "7")
    wide, high = page.execute_script("return [document.body.scrollWidth, document.body.scrollHeight]")
    assert wide <= size[0]
    assert high <= size[1]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_colours_have_contrast(
    page: webdriver.Chrome, emulate: Callable[[int, int, str], None], scheme: str
) -> None:
    emulate(1280, 720, scheme)
    style = "getComputedStyle(document.documentElement).getPropertyValue"
    names = ("page", "card", "text", "quiet", "ink", "best", "wrong", "bar")
    colour = dict(
        zip(names, page.execute_script(f"return {list(names)}.map(name => {style}('--' + name))"), strict=True)
    )
    for name in ("text", "quiet", "best", "wrong", "ink"):
        assert contrast(colour[name], colour["page"]) >= 4.5, name
        assert contrast(colour[name], colour["card"]) >= 4.5, name
    assert (luminance(colour["page"]) < 0.2) == (scheme == "dark")
    assert contrast(colour["page"], colour["card"]) < 3  # and the check can fail


def test_everything_has_a_name_for_those_who_do_not_see_it(page: webdriver.Chrome) -> None:
    stroke(page, 7)
    assert reads(page, "7")
    nodes = page.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    named = {(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node["ignored"]}
    for expected in (
        ("heading", "Draw a digit"),
        ("image", "Field to draw a digit in"),
        ("image", "The drawing in the form of the training images"),
        ("button", "Clear (Esc)"),
        ("list", "Probability of each class"),
        ("alert", ""),
    ):
        assert expected in named, expected
    assert not {role for role, name in named if role in ("button", "image", "list") and not name}
    spoken = str(page.find_element(By.CSS_SELECTOR, "[aria-live=polite]").get_attribute("textContent")).strip()
    assert spoken.removesuffix(" unsure") == "The model reads 7"  # the quick model of these tests may be
    assert page.find_element(By.TAG_NAME, "html").get_attribute("lang") == "en"
