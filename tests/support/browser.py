"""Control headless Chromium, and read the console and the requests of a page."""

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
    "--no-sandbox",  # Chromium has no sandbox for root, and the pages are this project's
    "--disable-dev-shm-usage",  # containers have little shared memory
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
    # Only this machine can be reached. The log still names requests to other machines.
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE localhost , EXCLUDE 127.0.0.1",
)


@contextmanager
def open_browser(profile: Path) -> Iterator[webdriver.Chrome]:
    """Start Chromium with an empty folder for its files, and end it at the end of the block."""
    chromium, driver_path = programs()
    options = webdriver.ChromeOptions()
    for flag in (*FLAGS, f"--user-data-dir={profile}", "--window-size=1280,900"):
        options.add_argument(flag)
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(driver_path))
    try:
        driver.get("about:blank")
        requested_urls(driver)  # drop the requests of the browser's own first page
        yield driver
    finally:
        driver.quit()


def programs() -> tuple[str, str]:
    """Return the paths of Chromium and its driver. If one is missing, skip the test, or fail in CI."""
    chromium, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if chromium and driver:
        return chromium, driver
    reason = "no Chromium or no chromedriver on the path (Debian packages chromium and chromium-driver)"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def console_errors(driver: webdriver.Chrome) -> list[str]:
    """Return the exceptions, failed loads, errors and warnings in the console since the last call."""
    return [entry["message"] for entry in _log(driver, "browser") if entry["level"] in ("SEVERE", "WARNING")]


def requested_urls(driver: webdriver.Chrome) -> list[str]:
    """Return every address that the page requested since the last call, including failures and data: URLs."""
    events = [json.loads(entry["message"])["message"] for entry in _log(driver, "performance")]
    requests = [event["params"]["request"] for event in events if event["method"] == "Network.requestWillBeSent"]
    sockets = [event["params"] for event in events if event["method"] == "Network.webSocketCreated"]
    return [request["url"] for request in requests + sockets]


def _log(driver: webdriver.Chrome, name: str) -> list[dict[str, Any]]:
    """Return the entries of a log since the last call."""
    entries: list[dict[str, Any]] = driver.get_log(name)  # type: ignore[no-untyped-call]
    return entries
