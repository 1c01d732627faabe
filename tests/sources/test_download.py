"""Data sets at an address: fetched once, pinned by their hash, and refused when anything is amiss."""

import hashlib
import re
import socket
import sys
from pathlib import Path

import pytest
import trustme

from digits.sources import download
from tests.support.arrays import snapshot, write_load_params
from tests.support.loading import OUTPUTS, refused, run_load
from tests.support.project import AT_ROOT, run
from tests.support.server import Server

#: Connections of failed downloads, which pooch leaves to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")


@pytest.fixture
def npz(small_npz: Path) -> bytes:
    """The small sample as the bytes of a .npz."""
    return small_npz.read_bytes()


def test_a_second_load_downloads_nothing(tmp_path: Path, npz: bytes, server: Server) -> None:
    server.files["small.npz"] = npz
    first = run_load(tmp_path, server.address("small.npz"))
    assert server.requests == ["small.npz"]
    assert run_load(tmp_path, server.address("small.npz")) == first
    assert server.requests == ["small.npz"]


def test_a_damaged_download_is_fetched_again(tmp_path: Path, npz: bytes, server: Server) -> None:
    server.files["small.npz"] = npz
    first = run_load(tmp_path, server.address("small.npz"))
    (kept,) = (tmp_path / "cache" / "digits").iterdir()
    kept.write_bytes(npz[:-1])
    assert run_load(tmp_path, server.address("small.npz")) == first
    assert server.requests == ["small.npz"] * 2


def test_the_command_line_downloads(tmp_path: Path, npz: bytes, server: Server) -> None:
    server.files["small.npz"] = npz
    write_load_params(tmp_path, server.address("small.npz"))
    command = (sys.executable, "-m", "stages.load", "--params", "params.yaml", "--out", "raw")
    result = run(*command, cwd=tmp_path, env=AT_ROOT)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("train_images  uint8 [600, 28, 28]\n")
    assert set(snapshot(tmp_path / "raw")) == OUTPUTS


def test_a_person_sees_a_progress_bar(
    tmp_path: Path, npz: bytes, server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(download, "on_terminal", lambda: True)
    server.files["small.npz"] = npz
    assert set(run_load(tmp_path, server.address("small.npz"))) == OUTPUTS
    assert "100%" in capsys.readouterr().err


# Addresses that are refused


@pytest.mark.parametrize(
    "source",
    [
        "http://localhost/a.npz#sha256=" + "0" * 64,
        "https://localhost/a.npz",
        "https://localhost/a.npz#sha256=",
        "https://localhost/a.npz#sha256=" + "0" * 63,
        "https://localhost/a.npz#sha256=" + "0" * 65,
        "https://localhost/a.npz#sha256=" + "g" * 64,
        "https://localhost/a.npz#md5=" + "0" * 32,
        "https://localhost/a.npz#sha256=" + "0" * 64 + "\n",
        "https://#sha256=" + "0" * 64,
        "ftp://localhost/a.npz#sha256=" + "0" * 64,
        "file:///etc/passwd#sha256=" + "0" * 64,
        "s3://bucket/a.npz",
    ],
)
def test_an_address_without_https_or_hash_is_refused(tmp_path: Path, source: str) -> None:
    line = refused(tmp_path, source)
    assert "': expected https://host/file.npz#sha256=<64 hex digits>. Got an address without" in line
    assert "Use https and append #sha256= and the file's SHA-256" in line


def test_a_file_with_another_hash_is_refused_and_not_kept(tmp_path: Path, npz: bytes, server: Server) -> None:
    server.files["small.npz"] = npz
    line = refused(tmp_path, server.address("small.npz", "0" * 64))
    assert (
        f"small.npz: expected the SHA-256 {'0' * 64}. Got {hashlib.sha256(npz).hexdigest()}. Check both in `load.so"
        in line
    )
    assert list((tmp_path / "cache" / "digits").iterdir()) == []


def test_an_answer_of_404_is_shown(tmp_path: Path, server: Server) -> None:
    line = refused(tmp_path, server.address("missing.npz", "0" * 64))
    assert re.search(r"/missing\.npz: expected a file to download\. Got 404 Client Error: Not Found for url", line)
    assert server.requests == ["missing.npz"]
    assert list((tmp_path / "cache" / "digits").iterdir()) == []


def test_a_download_that_breaks_off_is_refused_and_not_kept(tmp_path: Path, npz: bytes, server: Server) -> None:
    server.files["cut.npz"] = npz
    line = refused(tmp_path, server.address("cut.npz"))
    assert re.search(r"/cut\.npz: expected a file to download\. Got .*\d+ more expected", line)
    assert list((tmp_path / "cache" / "digits").iterdir()) == []


def test_a_server_that_is_not_there_is_named(tmp_path: Path, server: Server) -> None:
    with socket.socket() as unused:
        unused.bind(("localhost", 0))
        port = unused.getsockname()[1]
    line = refused(tmp_path, f"https://localhost:{port}/a.npz#sha256={'0' * 64}")
    assert re.search(r"/a\.npz: expected a file to download\. Got .*Connection refused", line)
    assert " object at 0x" not in line
    assert server.requests == []


@pytest.mark.parametrize("host", ["[", "a b", "localhost:99999999", "local..host", "*"])
def test_a_host_that_cannot_be_is_refused(tmp_path: Path, host: str, server: Server) -> None:
    line = refused(tmp_path, f"https://{host}/a.npz#sha256={'0' * 64}")
    assert "/a.npz: expected a file to download. Got " in line
    assert server.requests == []


def test_a_server_that_nobody_vouches_for_is_refused(
    tmp_path: Path, npz: bytes, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["small.npz"] = npz
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "other.pem"))
    line = refused(tmp_path, server.address("small.npz"))
    assert re.search(r"expected a file to download\. Got .*certificate verify failed", line)
    assert server.requests == []


def test_a_download_that_is_a_page_is_refused(tmp_path: Path, server: Server) -> None:
    server.files["page.html"] = b"<html>not what you wanted</html>"
    line = refused(tmp_path, server.address("page.html"))
    assert "Got a web page. Open the address in a browser, and download the file itself from there." in line
