"""The forms of a data set: each gives the same bytes, and what is damaged, foreign or hostile is refused."""

import gc
import gzip
import hashlib
import http.server
import io
import pickle
import re
import socket
import ssl
import struct
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import trustme

from stages import sources
from stages.console import InputError
from stages.load import LoadParams, load
from stages.sources import IDX_NAMES, NAMES, NPZ_NAMES, open_source
from tests.conftest import Arrays, run
from tests.test_arrays import saved, snapshot, with_head
from tests.test_data import idx_bytes
from tests.test_load import AT_ROOT, refused, run_load, write_params

#: Connections of failed downloads, which pooch leaves to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")


def write_idx(folder: Path, digits: Arrays, *, packed: tuple[str, ...] = ()) -> Path:
    """The folder of the four IDX files, those in `packed` with gzip."""
    folder.mkdir()
    for key, name in zip(NPZ_NAMES, IDX_NAMES, strict=True):
        content = idx_bytes(digits[key])
        if name in packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)
    return folder


class Server(http.server.ThreadingHTTPServer):
    """Files served with TLS on this machine, and the requests that came."""

    def __init__(self, certificate: trustme.LeafCert) -> None:
        super().__init__(("localhost", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.files: dict[str, bytes] = {}
        self.requests: list[str] = []

    def handle_error(self, *_: object) -> None:
        """Say nothing of clients that hang up."""

    def address(self, name: str, sha256: str | None = None) -> str:
        sha256 = hashlib.sha256(self.files[name]).hexdigest() if sha256 is None else sha256
        return f"https://localhost:{self.server_port}/{name}#sha256={sha256}"


class Handler(http.server.BaseHTTPRequestHandler):
    """Gives the files of a Server; of the file `cut.npz` only the half."""

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
        """Say nothing."""


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def server(tmp_path: Path, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that this process, and those it starts, trust; downloads are kept under `tmp_path`."""
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "authority.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "localhost")
    with Server(authority.issue_cert("localhost")) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()
    gc.collect()


@pytest.fixture
def npz(small_npz: Path) -> bytes:
    """The small sample as the bytes of a .npz."""
    return small_npz.read_bytes()


# Good sources


def test_every_form_gives_the_same_bytes(tmp_path: Path, small_npz: Path, digits: Arrays, server: Server) -> None:
    server.files["small.npz"] = small_npz.read_bytes()
    np.savez(tmp_path / "stored.npz", **digits)  # type: ignore[arg-type]
    forms: dict[str, str | Path] = {
        "npz": small_npz,
        "npz, not compressed": tmp_path / "stored.npz",
        "idx": write_idx(tmp_path / "idx", digits),
        "idx, packed": write_idx(tmp_path / "packed", digits, packed=IDX_NAMES),
        "idx, mixed": write_idx(tmp_path / "mixed", digits, packed=IDX_NAMES[1:3]),
        "https": server.address("small.npz"),
        "https, large letters": server.address(
            "small.npz", hashlib.sha256(server.files["small.npz"]).hexdigest().upper()
        ),
    }
    written = {form: run_load(tmp_path / form, source) for form, source in forms.items()}
    expected = {f"{name}.npy": saved(digits[key]) for name, key in zip(NAMES, NPZ_NAMES, strict=True)}
    for form, files in written.items():
        assert files == expected, form


def test_a_stream_tells_its_form_and_gives_its_values_in_blocks(small_npz: Path, digits: Arrays) -> None:
    with open_source(str(small_npz)) as streams:
        assert tuple(streams) == NAMES
        stream = streams["train_images"]
        assert (stream.name, str(stream.dtype), stream.shape) == (f"x_train in {small_npz}", "uint8", (600, 28, 28))
        assert np.array_equal(np.concatenate(list(stream.blocks())), digits["x_train"].ravel())


def test_a_plain_file_goes_before_a_packed_one(tmp_path: Path, digits: Arrays) -> None:
    folder = write_idx(tmp_path / "idx", digits)
    (folder / f"{IDX_NAMES[0]}.gz").write_bytes(b"not read")
    assert len(run_load(tmp_path, folder)) == 4


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
    write_params(tmp_path, server.address("small.npz"))
    command = (sys.executable, "-m", "stages.load", "--params", "params.yaml", "--out", "raw")
    result = run(*command, cwd=tmp_path, env=AT_ROOT)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert len(snapshot(tmp_path / "raw")) == 4


def test_a_person_sees_a_progress_bar(
    tmp_path: Path, npz: bytes, server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sources, "on_terminal", lambda: True)
    server.files["small.npz"] = npz
    assert len(run_load(tmp_path, server.address("small.npz"))) == 4
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


def test_an_answer_of_404_is_told(tmp_path: Path, server: Server) -> None:
    line = refused(tmp_path, server.address("missing.npz", "0" * 64))
    assert re.search(r"/missing\.npz: expected a file to download\. Got 404 Client Error: Not Found for url", line)
    assert server.requests == ["missing.npz"]
    assert list((tmp_path / "cache" / "digits").iterdir()) == []


def test_a_download_that_breaks_off_is_refused_and_not_kept(tmp_path: Path, npz: bytes, server: Server) -> None:
    server.files["cut.npz"] = npz
    line = refused(tmp_path, server.address("cut.npz"))
    assert re.search(r"/cut\.npz: expected a file to download\. Got .*\d+ more expected", line)
    assert list((tmp_path / "cache" / "digits").iterdir()) == []


def test_a_server_that_is_not_there_is_told(tmp_path: Path, server: Server) -> None:
    with socket.socket() as unused:
        unused.bind(("localhost", 0))
        port = unused.getsockname()[1]
    line = refused(tmp_path, f"https://localhost:{port}/a.npz#sha256={'0' * 64}")
    assert re.search(r"/a\.npz: expected a file to download\. Got .*Connection refused", line)
    assert " object at 0x" not in line
    assert server.requests == []


@pytest.mark.parametrize("host", ["[", "a b", "localhost:99999999", "local..host", "*"])
def test_a_host_that_cannot_be_is_told(tmp_path: Path, host: str, server: Server) -> None:
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


def test_a_download_that_is_no_npz_is_refused(tmp_path: Path, server: Server) -> None:
    server.files["page.html"] = b"<html>not what you wanted</html>"
    assert "expected a .npz archive. Got a damaged or foreign file (File is not a zip" in refused(
        tmp_path, server.address("page.html")
    )


# .npz archives that are refused


def stored(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """A .npz with these files in it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def members(digits: Arrays) -> dict[str, bytes]:
    """The files in the .npz of the small sample."""
    return {f"{key}.npy": saved(array) for key, array in digits.items()}


def flip(content: bytes, position: int) -> bytes:
    """The content with one bit turned over."""
    return content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]


def claims(shape: str) -> bytes:
    """A .npy of uint8 that claims a shape, with 784 bytes of values."""
    return with_head(f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}\n", bytes(784))


Build = Callable[[Arrays], bytes]


def changed(**arrays: bytes) -> Build:
    """The archive with other files under these names."""
    return lambda digits: stored(members(digits) | {f"{key}.npy": content for key, content in arrays.items()})


OBJECTS = r": expected numbers\. Got pickled Python objects, which are never opened\."
BAD_NPZ: dict[str, tuple[Build, str]] = {
    "an empty file": (lambda _: b"", r"bad\.npz: expected a \.npz archive\. Got a damaged or foreign file"),
    "text": (lambda _: b"hello, world\n", r"a damaged or foreign file \(File is not a zip file\)"),
    "a .npy": (lambda digits: saved(digits["x_train"]), r"a damaged or foreign file \(File is not a zip file\)"),
    "an IDX file": (lambda digits: idx_bytes(digits["x_train"]), "a damaged or foreign file"),
    "an archive cut in the middle": (lambda digits: stored(members(digits))[:200_000], "a damaged or foreign file"),
    "an archive without its last byte": (lambda digits: stored(members(digits))[:-1], "a damaged or foreign file"),
    "an archive without its beginning": (lambda digits: stored(members(digits))[1000:], "a damaged or foreign file"),
    "a flipped bit": (
        lambda digits: flip(stored(members(digits)), 300_000),
        r"x_train in .*bad\.npz: expected uint8 \[600, 28, 28\]\. Got a damaged file \(Bad CRC-32",
    ),
    "a flipped bit, compressed": (
        lambda digits: flip(stored(members(digits), zipfile.ZIP_DEFLATED), 5000),
        r"x_train in .*bad\.npz: expected uint8 \[600, 28, 28\]\. Got a damaged file \(.*",
    ),
    "no test labels": (
        lambda digits: stored({name: content for name, content in members(digits).items() if "y_test" not in name}),
        r"bad\.npz: expected the arrays x_train, y_train, x_test, y_test\. Got x_test, x_train, y_train\.",
    ),
    "other names": (
        lambda _: stored({f"{number:02}.npy": b"" for number in range(20)}),
        r"Got 00, 01, 02, 03, 04, 05, 06, 07 and 12 more\. Fetch",
    ),
    "names that steer the terminal": (
        lambda _: stored({"\x1b[31m\n.npy": b""}),
        r"Got \\x1b\[31m ?\. Fetch",
    ),
    "names of folders": (lambda _: stored({"x_train.npy/": b"", "../y_train.npy": b""}), r"Got \.\./y_train, x_train"),
    "nothing": (lambda _: stored({}), r"Got no array\."),
    "a .npy cut in the head": (
        lambda digits: changed(x_test=members(digits)["x_test.npy"][:50])(digits),
        r"x_test in .*bad\.npz: expected a \.npy file\. Got a damaged or foreign one",
    ),
    "a .npy cut in the values": (
        lambda digits: changed(x_test=members(digits)["x_test.npy"][:-10])(digits),
        r"x_test in .*: expected uint8 \[200, 28, 28\]\. Got a file that ends 10 bytes early",
    ),
    "a .npy that goes on": (
        lambda digits: changed(y_test=members(digits)["y_test.npy"] + b"\0")(digits),
        r"y_test in .*: expected uint8 \[200\]\. Got a file with more bytes than its header says",
    ),
    "a member that is no .npy": (changed(y_test=b"hello, world"), r"y_test in .*: expected a \.npy file\. Got"),
    "a member that is empty": (changed(y_test=b""), r"y_test in .*: expected a \.npy file\. Got"),
    "Fortran order": (
        lambda digits: changed(x_test=saved(np.asfortranarray(digits["x_test"])))(digits),
        r"x_test in .*: expected values in C order\. Got values in Fortran order\.",
    ),
    "a negative length": (
        changed(x_test=claims("(-1, 28, 28)"), y_test=claims("(-1,)")),
        "expected at least one image",
    ),
    "negative sides": (changed(x_test=claims("(1, -28, -28)")), r"\[n, 28, 28\]\. Got uint8 \[1, -28, -28\]"),
    "an endless length": (
        changed(x_test=claims(f"({2**62}, 28, 28)"), y_test=claims(f"({2**62},)")),
        r"Got a file that ends \d+ bytes early",
    ),
    "a length beyond any integer": (
        changed(x_test=claims(f"({10**30}, 28, 28)"), y_test=claims(f"({10**30},)")),
        r"Got a file that ends \d+ bytes early",
    ),
    "a length that is no number": (changed(x_test=claims("(1.0, 28, 28)")), "x_test .*shape is not valid"),
    "code for a head": (
        changed(x_test=with_head("__import__('os').abort()\n")),
        r"expected a \.npy file\. Got a damaged",
    ),
    "format 2.0, head of 4 GiB": (
        changed(x_test=b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**32 - 1)),
        r"x_test in .*: expected a \.npy file\. Got .*\.npy format 2\.0 instead of 1\.0",
    ),
    "values of no bytes": (
        changed(x_test=with_head("{'descr': '|V0', 'fortran_order': False, 'shape': (200, 28, 28), }\n")),
        r"expected uint8 \[n, 28, 28\]\. Got \|V0",
    ),
    "compressed with LZMA": (
        lambda digits: stored(members(digits), zipfile.ZIP_LZMA),
        r"x_train in .*: expected a member as NumPy writes it\. Got another kind of compression\.",
    ),
    "encrypted": (
        lambda digits: re.sub(rb"(PK\x01\x02....)\x00", b"\\1\x01", stored(members(digits)), flags=re.DOTALL),
        r"a damaged or foreign file \(File .*x_train\.npy.* is encrypted",
    ),
}


@pytest.mark.parametrize(("build", "match"), BAD_NPZ.values(), ids=BAD_NPZ)
def test_a_bad_npz_is_refused(tmp_path: Path, digits: Arrays, build: Build, match: str) -> None:
    (tmp_path / "bad.npz").write_bytes(build(digits))
    assert re.search(match, refused(tmp_path, tmp_path / "bad.npz"))


class Payload:
    """Something that makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.path,)


def objects(payload: Payload, version: tuple[int, int]) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, np.array([payload], dtype=object), version)
    return file.getvalue()


@pytest.mark.parametrize(
    ("version", "match"),
    [
        ((1, 0), r"x_train in .*: expected numbers\. Got pickled Python objects, which are never"),
        ((2, 0), "format 2.0"),
    ],
)
def test_a_pickle_in_a_npz_is_never_opened(
    tmp_path: Path, digits: Arrays, version: tuple[int, int], match: str
) -> None:
    mark = tmp_path / "executed"
    (tmp_path / "bad.npz").write_bytes(changed(x_train=objects(Payload(mark), version))(digits))
    assert re.search(match, refused(tmp_path, tmp_path / "bad.npz"))
    assert not mark.exists()
    np.load(tmp_path / "bad.npz", allow_pickle=True)["x_train"]
    assert mark.exists()  # so the payload does what it should when it is opened


def test_a_pickle_in_place_of_a_npz_is_never_opened(tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    (tmp_path / "bad.npz").write_bytes(pickle.dumps(Payload(mark)))
    assert "expected a .npz archive. Got a damaged or foreign file" in refused(tmp_path, tmp_path / "bad.npz")
    assert not mark.exists()
    pickle.loads((tmp_path / "bad.npz").read_bytes())
    assert mark.exists()


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_damage_anywhere_is_refused_or_does_no_harm(tmp_path: Path, compression: int) -> None:
    """Bits turned over in every part of an archive: it is refused, or gives the same arrays."""
    generator = np.random.default_rng(0)
    sizes = {"x_train": (3, 28, 28), "y_train": (3,), "x_test": (2, 28, 28), "y_test": (2,)}
    arrays = {key: generator.integers(0, 10, size, np.uint8) for key, size in sizes.items()}
    labels = {"y_train": np.array([0, 1, 2], np.uint8), "y_test": np.array([2, 1], np.uint8)}
    whole = stored(members(arrays | labels), compression)
    source, refusals = tmp_path / "damaged.npz", 0
    source.write_bytes(whole)
    expected = run_load(tmp_path, source)
    positions = [*range(60), *range(len(whole) - 300, len(whole)), *generator.integers(0, len(whole), 100)]
    for position in positions:
        source.write_bytes(flip(whole, int(position)))
        try:
            load(LoadParams(class_names=None, source=str(source)), tmp_path / "out")
        except InputError:
            refusals += 1
        assert snapshot(tmp_path / "out") == expected
    assert len(positions) / 3 < refusals < len(positions)  # dates and attributes of a member may be anything


# Folders of IDX files that are refused


def idx_changed(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(change((folder / name).read_bytes()))


def idx_packed(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    def replace(folder: Path) -> None:
        (folder / f"{name}.gz").write_bytes(change(gzip.compress((folder / name).read_bytes())))
        (folder / name).unlink()

    return replace


IMAGES, LABELS = IDX_NAMES[0], IDX_NAMES[3]
BAD_IDX: dict[str, tuple[Callable[[Path], object], str]] = {
    "an empty folder": (
        lambda folder: [path.rename(folder.parent / path.name) for path in folder.iterdir()],
        rf"idx: expected the file {IMAGES} or {IMAGES}\.gz\. Got an empty folder\.",
    ),
    "no test labels": (
        lambda folder: (folder / LABELS).unlink(),
        rf"expected the file {LABELS} or {LABELS}\.gz\. Got t10k-images-idx3-ubyte, train-images",
    ),
    "an empty file": (idx_changed(IMAGES, lambda _: b""), "Got a file of 0 bytes"),
    "a file cut in the head": (idx_changed(LABELS, lambda content: content[:6]), "Got a file of 6 bytes"),
    "a file cut in the values": (
        idx_changed(IMAGES, lambda content: content[:-3]),
        rf"{IMAGES}: expected uint8 \[600, 28, 28\]\. Got a file that ends 3 bytes early",
    ),
    "a file without values": (idx_changed(LABELS, lambda content: content[:8]), "ends 200 bytes early"),
    "trailing bytes": (
        idx_changed(LABELS, lambda content: content + b"\0"),
        rf"{LABELS}: expected uint8 \[200\]\. Got a file with more bytes than its header says",
    ),
    "labels for images": (
        lambda folder: (folder / IMAGES).write_bytes((folder / LABELS).read_bytes() + bytes(16)),
        r"expected an IDX file that begins with 0x00000803 and 3 lengths\. Got 0x00000801\.",
    ),
    "a .gz without its ending": (idx_changed(IMAGES, gzip.compress), r"Got 0x1f8b"),
    "values of 4 bytes": (
        idx_changed(IMAGES, lambda content: b"\0\0\x0d\3" + content[4:]),
        r"begins with 0x00000803 and 3 lengths\. Got 0x00000d03\.",
    ),
    "little-endian": (idx_changed(LABELS, lambda content: content[3::-1] + content[4:]), r"Got 0x01080000\."),
    "27 columns": (
        idx_changed(IMAGES, lambda content: content[:12] + struct.pack(">I", 27) + content[16:]),
        r"expected uint8 \[n, 28, 28\]\. Got uint8 \[600, 28, 27\]\.",
    ),
    "lengths that disagree": (
        idx_changed(LABELS, lambda content: content[:4] + struct.pack(">I", 199) + content[8:-1]),
        "expected as many labels as images. Got 200 images and 199 labels",
    ),
    "no images": (
        lambda folder: [
            idx_changed(IDX_NAMES[2], lambda content: content[:4] + bytes(4) + content[8:16])(folder),
            idx_changed(LABELS, lambda content: content[:4] + bytes(4))(folder),
        ],
        r"expected at least one image\. Got uint8 \[0, 28, 28\]\.",
    ),
    "a length of minus one": (
        lambda folder: [
            idx_changed(IDX_NAMES[2], lambda content: content[:4] + b"\xff" * 4 + content[8:])(folder),
            idx_changed(LABELS, lambda content: content[:4] + b"\xff" * 4 + content[8:])(folder),
        ],
        r"expected uint8 \[4294967295\]\. Got a file that ends \d+ bytes early",
    ),
    "a label of 10": (
        idx_changed(LABELS, lambda content: content[:-1] + b"\x0a"),
        rf"{LABELS}: expected labels from 0 to 9, .*\. Got 10 at position 199\.",
    ),
    "a cut .gz": (
        idx_packed(IMAGES, lambda content: content[:-20]),
        rf"{IMAGES}\.gz: expected uint8 \[600, 28, 28\]\. Got a damaged file \(Compressed file ended",
    ),
    "a .gz cut in its head": (
        idx_packed(IMAGES, lambda content: content[:5]),
        rf"{IMAGES}\.gz: expected an IDX file .*\. Got a damaged file",
    ),
    "a .gz with a flipped bit": (
        idx_packed(IMAGES, lambda content: flip(content, len(content) // 2)),
        rf"{IMAGES}\.gz: expected uint8 .*\. Got a damaged file",
    ),
    "a .gz with a wrong sum": (idx_packed(LABELS, lambda content: flip(content, len(content) - 8)), "CRC check failed"),
    "a .gz with something behind": (
        idx_packed(LABELS, lambda content: content + b"hello"),
        rf"{LABELS}\.gz: expected uint8 \[200\]\. Got a damaged file \(Not a gzipped file",
    ),
    "a .gz with a second one behind": (
        idx_packed(LABELS, lambda content: content + gzip.compress(b"\0")),
        "more bytes than its header says",
    ),
    "text for a .gz": (idx_packed(LABELS, lambda _: b"hello, world"), r"Got a damaged file \(Not a gzipped file"),
}


@pytest.mark.parametrize(("change", "match"), BAD_IDX.values(), ids=BAD_IDX)
def test_bad_idx_files_are_refused(
    tmp_path: Path, digits: Arrays, change: Callable[[Path], object], match: str
) -> None:
    folder = write_idx(tmp_path / "idx", digits)
    change(folder)
    assert re.search(match, refused(tmp_path, folder))


def test_a_folder_in_place_of_an_idx_file_is_refused(tmp_path: Path, digits: Arrays) -> None:
    folder = write_idx(tmp_path / "idx", digits)
    (folder / IMAGES).unlink()
    (folder / IMAGES).mkdir()
    assert f"{IMAGES}: expected to read or write it. Got Is a directory. Check the path" in refused(tmp_path, folder)


@pytest.mark.parametrize("source", ["missing.npz", "missing/", "\x00", "x" * 200])
def test_a_source_that_is_not_there_is_refused(tmp_path: Path, source: str) -> None:
    line = refused(tmp_path, source)
    assert "expected a .npz file, a folder of IDX files, or https://...#sha256=.... Got no such file or folder." in line
    assert "Set `load.source` in params.yaml to a data set that exists." in line
