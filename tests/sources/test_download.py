"""Data sets at a URL: fetched once, pinned by their hash, and refused after any failure."""

import hashlib
import re
import socket
from pathlib import Path

import pytest
import trustme

from tests.support.loading import refused, run_load
from tests.support.server import Server

#: Connections of failed downloads, which pooch leaves to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")


@pytest.fixture
def npz(small_npz: Path, server: Server) -> bytes:
    """Serve the small sample as a .npz, and return its bytes."""
    server.files |= {name: small_npz.read_bytes() for name in ("small.npz", "cut.npz")}
    return small_npz.read_bytes()


def test_a_file_is_downloaded_once_and_again_if_it_is_damaged(
    tmp_path: Path, npz: bytes, server: Server, small_npz: Path
) -> None:
    expected = run_load(tmp_path, small_npz)
    for sha256 in (None, hashlib.sha256(npz).hexdigest().upper()):
        assert run_load(tmp_path, server.address("small.npz", sha256)) == expected
    assert server.requests == ["small.npz"]
    (kept,) = (tmp_path / "cache" / "digits").iterdir()
    kept.write_bytes(npz[:-1])
    assert run_load(tmp_path, server.address("small.npz")) == expected
    assert server.requests == ["small.npz"] * 2


@pytest.mark.parametrize(
    "source",
    [
        "http://localhost/a.npz#sha256=" + "0" * 64,
        "https://localhost/a.npz",
        *(f"https://localhost/a.npz#sha256={text}" for text in ("0" * 63, "g" * 64, "0" * 64 + "\n")),
        "file:///etc/passwd#sha256=" + "0" * 64,
    ],
)
def test_an_address_without_https_or_hash_is_refused(tmp_path: Path, source: str) -> None:
    assert "': the address has no https or no SHA-256. Use https, and append #sha256=" in refused(tmp_path, source)


@pytest.mark.usefixtures("npz")
@pytest.mark.parametrize(
    ("name", "sha256", "match"),
    [
        ("small.npz", "0" * 64, r"small\.npz: expected the SHA-256 0{64}\. Got [0-9a-f]{64}\. Check both in"),
        ("missing.npz", "0" * 64, r"/missing\.npz: the download failed: 404 Client Error: Not Found for url"),
        ("cut.npz", None, r"/cut\.npz: the download failed: .*\d+ more expected"),
    ],
)
def test_a_failed_download_is_refused_and_not_kept(
    tmp_path: Path, server: Server, name: str, sha256: str | None, match: str
) -> None:
    assert re.search(match, refused(tmp_path, server.address(name, sha256)))
    assert list((tmp_path / "cache" / "digits").iterdir()) == []


@pytest.mark.parametrize("host", ["[", "localhost:99999999", "local..host", "unused"])
def test_a_server_that_is_not_there_is_named(tmp_path: Path, server: Server, host: str) -> None:
    with socket.socket() as unused:
        unused.bind(("localhost", 0))
        host = f"localhost:{unused.getsockname()[1]}" if host == "unused" else host
    line = refused(tmp_path, f"https://{host}/a.npz#sha256={'0' * 64}")
    assert "/a.npz: the download failed: " in line
    assert " object at 0x" not in line
    assert server.requests == []


def test_a_server_without_a_valid_certificate_is_refused(
    tmp_path: Path, npz: bytes, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "other.pem"))
    line = refused(tmp_path, server.address("small.npz", hashlib.sha256(npz).hexdigest()))
    assert re.search(r"the download failed: .*certificate verify failed", line)
    assert server.requests == []
