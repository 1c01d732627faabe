"""The tests' browser: it sees what a page complains of and asks for, and it cannot be forgotten in CI."""

import re
from pathlib import Path

import pytest
from selenium import webdriver

from tests.browser import browser as browser  # noqa: PLC0414 (a fixture)
from tests.browser import console_errors, programs, requested_urls

QUIET = "<!doctype html><title>quiet</title><p>Nothing else."
FAULTY = """<!doctype html><title>faulty</title>
<img src="http://elsewhere.invalid/a.png">
<script>console.error("a complaint"); new WebSocket("ws://elsewhere.invalid/socket"); undefined_name()</script>"""


def open_page(driver: webdriver.Chrome, path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    driver.get(path.as_uri())


def test_a_quiet_page_asks_for_itself_only(browser: webdriver.Chrome, tmp_path: Path) -> None:
    page = tmp_path / "quiet.html"
    open_page(browser, page, QUIET)
    assert browser.title == "quiet"
    assert requested_urls(browser) == [page.as_uri()]
    assert console_errors(browser) == []


def test_a_faulty_page_is_noticed(browser: webdriver.Chrome, tmp_path: Path) -> None:
    page = tmp_path / "faulty.html"
    open_page(browser, page, FAULTY)
    outside = {"http://elsewhere.invalid/a.png", "ws://elsewhere.invalid/socket"}
    assert set(requested_urls(browser)) == {page.as_uri()} | outside
    errors = "\n".join(console_errors(browser))
    for complaint in ("a complaint", "undefined_name is not defined", "ERR_NAME_NOT_RESOLVED"):
        assert complaint in errors
    assert console_errors(browser) == []


@pytest.mark.parametrize(("ci", "outcome"), [("", pytest.skip.Exception), ("true", pytest.fail.Exception)])
def test_without_a_browser_tests_are_skipped_but_ci_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ci: str, outcome: type[BaseException]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match=re.escape("Debian packages chromium and chromium-driver")):
        programs()
