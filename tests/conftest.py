"""Fixtures that several test files share."""

import gc
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from digits.data.dataset import write_dataset
from tests.support.arrays import sample_dataset
from tests.support.project import ROOT, Arrays

if TYPE_CHECKING:
    from selenium import webdriver

    from tests.support.s3 import S3
    from tests.support.server import Server


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a background job of a shell ignores Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)


#: Fixtures that start a program that takes seconds: a browser, a store on S3.
SLOW_FIXTURES = {"browser", "s3"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests that use SLOW_FIXTURES as slow. Of a test with the mark `fast(n)`, mark all but n cases as slow."""
    seen: Counter[str] = Counter()
    for item in items:
        name, marker = item.nodeid.partition("[")[0], item.get_closest_marker("fast")
        seen[name] += 1
        slow = SLOW_FIXTURES.intersection(getattr(item, "fixturenames", ()))
        if seen[name] > marker.args[0] if marker else slow:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def digits() -> Arrays:
    """Return the first 600 training and 200 test images of the real MNIST, with their labels, under Keras's names."""
    with np.load(ROOT / "data" / "mnist.npz", allow_pickle=False) as mnist:
        return {name: mnist[name][: 600 if "train" in name else 200] for name in mnist.files}


@pytest.fixture
def small_npz(tmp_path: Path, digits: Arrays) -> Path:
    """Return a .npz file of the small sample."""
    path = tmp_path / "small.npz"
    np.savez_compressed(path, **digits)  # type: ignore[arg-type]
    return path


@pytest.fixture
def edit() -> Callable[[Path, str, str], None]:
    """Return a function that replaces a text, which must stand exactly once in a file."""

    def replace(path: Path, old: str, new: str) -> None:
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {path}"
        path.write_text(text.replace(old, new), encoding="utf-8")

    return replace


@pytest.fixture(scope="session")
def tensorflow() -> Any:
    """Return TensorFlow, imported with this project's settings. A test of TensorFlow or Keras needs this fixture."""
    from exactkeras import determinism

    determinism.configure(seed=0)
    import tensorflow as tf

    return tf


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model file, trained on a part of the real images. It reads about 95 of 100 test images right."""
    from tests.support.trained import train_model

    return train_model(tmp_path_factory.mktemp("trained") / "model.keras")


@pytest.fixture(scope="session")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the path of dataset.json of the real MNIST, with its training images in the same folder."""
    folder = tmp_path_factory.mktemp("raw")
    with np.load(ROOT / "data" / "mnist.npz", allow_pickle=False) as mnist:
        np.save(folder / "train_images.npy", mnist["x_train"])
        np.save(folder / "train_labels.npy", mnist["y_train"])
    write_dataset(folder / "dataset.json", sample_dataset())
    return folder / "dataset.json"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator["Server"]:
    """Yield a TLS server that this process and its children trust. Downloads are kept under `tmp_path`."""
    import trustme

    from tests.support.server import Server

    authority = trustme.CA()
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


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator["S3"]:
    """Yield a real S3 server with an empty store."""
    from tests.support.s3 import serve_s3

    with serve_s3(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator["webdriver.Chrome"]:
    """Yield a browser with no history, for one test file. Its window is 1280 x 900."""
    from tests.support.browser import open_browser

    with open_browser(tmp_path_factory.mktemp("chromium")) as driver:
        yield driver
