"""A real browser for the tests: headless Chromium, with what a page says on its console and what it asks for."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver

FLAGS = (
    "--headless=new",
    "--no-sandbox",  # root has none, and the pages are ours
    "--disable-dev-shm-usage",  # containers have little shared memory
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
    # Nothing but this machine has an address. The log of requests names what was tried all the same.
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE localhost , EXCLUDE 127.0.0.1",
)


@contextmanager
def open_browser(profile: Path, size: tuple[int, int] = (1280, 900)) -> Iterator[webdriver.Chrome]:
    """Start Chromium, and end it with the block.

    Args:
        profile: an empty folder for what the browser keeps.
        size: width and height of the window.
    """
    chromium, driver_path = programs()
    options = webdriver.ChromeOptions()
    for flag in (*FLAGS, f"--user-data-dir={profile}", f"--window-size={size[0]},{size[1]}"):
        options.add_argument(flag)
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(driver_path))
    try:
        driver.get("about:blank")
        requested_urls(driver)  # what the browser's own first page asked for
        yield driver
    finally:
        driver.quit()


def programs() -> tuple[str, str]:
    """Where Chromium and its driver are. Without them the test is skipped, but in CI it fails."""
    chromium, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if chromium and driver:
        return chromium, driver
    reason = "no Chromium or no chromedriver on the path (Debian packages chromium and chromium-driver)"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def console_errors(driver: webdriver.Chrome) -> list[str]:
    """What the page complained of since this was last asked: exceptions, failed loads, console.error and .warn."""
    return [entry["message"] for entry in _log(driver, "browser") if entry["level"] in ("SEVERE", "WARNING")]


def requested_urls(driver: webdriver.Chrome) -> list[str]:
    """Every address that the page asked for since this was last asked, those that failed and data: URLs included."""
    events = [json.loads(entry["message"])["message"] for entry in _log(driver, "performance")]
    requests = [event["params"]["request"] for event in events if event["method"] == "Network.requestWillBeSent"]
    sockets = [event["params"] for event in events if event["method"] == "Network.webSocketCreated"]
    return [request["url"] for request in requests + sockets]


def _log(driver: webdriver.Chrome, name: str) -> list[dict[str, Any]]:
    """The entries of a log since it was last read."""
    entries: list[dict[str, Any]] = driver.get_log(name)  # type: ignore[no-untyped-call]
    return entries
