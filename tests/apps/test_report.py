"""The report of a run: its content, the runs that it refuses, and its look in a real browser."""

import base64
import io
import json
import re
import shutil
import sys
from collections.abc import Callable
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By

from digits.apps.options import Files
from digits.apps.report import Report, gather, main, render
from digits.apps.runs import Earlier, earlier_run, uncommitted
from dvcproof.runtime.files import file_hash, read_csv
from dvcproof.values import flatten, set_params
from tests.support.browser import console_errors, requested_urls
from tests.support.pipeline import run_pipeline
from tests.support.project import AT_ROOT, Arrays, commit, make_project, run_ok
from tests.support.refusal import refusal

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("tensorflow")]


def files_of(project: Path) -> Files:
    return Files(*(project / path for path in Files()))


def arguments(project: Path) -> list[str]:
    """Return the command's options for a project, without --out."""
    named = files_of(project)._asdict()
    return [word for name, path in named.items() if name != "seeds" for word in (f"--{name}", str(path))]


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, digits: Arrays) -> Path:
    """Return a project on the small sample with one run, committed."""
    project = make_project(tmp_path_factory.mktemp("first") / "project", digits)
    set_params(project / "params.yaml", {"dense.epochs": 2, "dense.units": 32, "evaluate.worst": 7})
    run_pipeline(project)
    commit(project, "first <i>run</i>")
    return project


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory, first: Path) -> Path:
    """Return the project of `first` with another run, not committed: six epochs, and a validation split."""
    project = shutil.copytree(first, tmp_path_factory.mktemp("second") / "project", symlinks=True)
    set_params(project / "params.yaml", {"dense.epochs": 6, "preprocess.validation_size": 50})
    run_pipeline(project)
    return project


@pytest.fixture
def copy(second: Path, tmp_path: Path) -> Path:
    """Copy the project with two runs, without DVC's cache. A test may change the copy."""
    return shutil.copytree(second, tmp_path / "copy", ignore=shutil.ignore_patterns("cache", "tmp"))


@pytest.fixture(scope="module")
def report(second: Path) -> Report:
    return gather(files_of(second))


@pytest.fixture(scope="module")
def html(report: Report) -> str:
    """Return the page of the second run."""
    return render(report)


def text_of(page: str) -> str:
    """Return the text of a page, without tags."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page[page.index("<body>") :])).split())


def shown(project: Path) -> str:
    """Return the text of a project's page."""
    return text_of(render(gather(files_of(project))))


def scores(project: Path) -> tuple[dict[str, float], dict[str, float]]:
    """Return the scores of the run and of the committed one, by their full names."""
    committed = run_ok("git", "show", "HEAD:metrics/scores.json", cwd=project)
    return flatten(json.loads((project / "metrics" / "scores.json").read_text())), flatten(json.loads(committed))


# Content of the page


def test_a_second_run_beside_the_committed_one(second: Path, html: str) -> None:
    page = text_of(html)
    now, before = (score["test.accuracy"] for score in scores(second))
    assert now > before + 0.05  # six epochs are better than two
    assert page.split(" Of 200 ")[0].endswith("Better than before")
    gained, lost = (int(number) for number in re.findall(r", (\d+) are newly right and (\d+) newly wrong", page)[0])
    assert (gained - lost) / 200 == pytest.approx(now - before)
    assert "Changed parameters: preprocess.validation_size 0 → 50 , dense.epochs 2 → 6" in page
    assert "Changed files" not in page
    assert "Not committed. These differ from the last commit: params.yaml, dvc.lock, metrics." in page
    assert f"▲ +{100 * (now - before):.2f} points, better" in page


def test_a_committed_run_is_compared_with_the_one_before(first: Path, copy: Path) -> None:
    commit(copy, "second")
    (copy / "notes.txt").write_text("unrelated")
    commit(copy, "notes")
    page = shown(copy)
    assert "Not committed" not in page
    assert "This run is committed. It is compared with the run in commit" in page
    assert "first <i>run</i>" in page
    assert "Better than before Of 200" in page
    page = shown(first)
    assert "No earlier run to compare with Git has none: the committed run is the first." in page
    assert "▲" not in page


def test_without_git_or_a_commit_there_is_no_earlier_run(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = files_of(copy)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", "")
        assert earlier_run(files, None, committed=False) == "Git has none: it is not installed"
        assert uncommitted(files) is None
    shutil.rmtree(copy / ".git")
    assert str(earlier_run(files, None, committed=False)).startswith("Git has none: not a git repository")
    run_ok("git", "init", "--quiet", cwd=copy)
    page = shown(copy)
    assert "No earlier run to compare with Git has none: bad revision 'HEAD'." in page
    assert "Not committed. There is no commit that could hold this run." in page
    run_ok("git", "commit", "--quiet", "--allow-empty", "--message", "nothing yet", cwd=copy)
    assert "exists on disk, but not in" in str(earlier_run(files, None, committed=False))


def test_worst_mistakes_are_the_images_of_the_test_set(report: Report, html: str, digits: Arrays) -> None:
    assert isinstance(report.earlier, Earlier)
    found = re.findall(r'<img src="data:image/png;base64,([^"]+)".*?alt="Test image (\d+), which is (\d)".*', html)
    assert len({picture for picture, *_ in found}) == 7
    for (picture, *numbers), line in zip(found, re.findall(r'<li><figure class="card">.*', html), strict=True):
        image, label = map(int, numbers)
        assert label == digits["y_test"][image] != report.run.predicted[image]
        pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture))))
        assert np.array_equal(pixels, 255 - digits["x_test"][image])  # dark on white
        assert ('<span class="new worse">' in line) == (report.earlier.run.predicted[image] == label)
    losses = report.predictions.losses[[int(image) for _, image, _ in found]].tolist()
    assert losses == sorted(losses, reverse=True)


def test_two_runs_of_the_program_give_equal_bytes_and_no_date(second: Path, html: str, tmp_path: Path) -> None:
    command = (sys.executable, "-m", "digits", "report", *arguments(second), "--out", "deep/report.html")
    style = tmp_path / "matplotlibrc"
    style.write_text("lines.linewidth: 9\nsvg.fonttype: path\n")  # a user's settings do not reach the page
    output = run_ok(*command, cwd=tmp_path, env=AT_ROOT | {"MATPLOTLIBRC": str(style), "PYTHONHASHSEED": "7"})
    assert output == "deep/report.html: Better than before\n"
    assert (tmp_path / "deep" / "report.html").read_text(encoding="utf-8") == html
    assert not re.search(r"\b20\d\d-\d\d-\d\d\b|://", html)


# Runs that are refused

SCORES = "metrics/scores.json"


def change(name: str, old: str, new: str) -> Callable[[Path], object]:
    """Replace a text in a file."""
    return lambda project: (project / name).write_text((project / name).read_text().replace(old, new))


def another_prediction(project: Path) -> None:
    """Change the last prediction, and its record in dvc.lock."""
    path, lock = project / "metrics" / "confusion.csv", project / "dvc.lock"
    text, before = path.read_text(), file_hash(path, "md5")
    path.write_text(f"{text[:-2]}{(int(text[-2]) + 1) % 10}\n")
    lock.write_text(lock.read_text().replace(before, file_hash(path, "md5")))


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "no dvc.lock": (
        lambda project: (project / "dvc.lock").unlink(),
        r"dvc\.lock: there is no such file. Run `dvc repro`",
    ),
    "a parameter that was not run": (change("params.yaml", "units: 32", "units: 33"), r"'dense\.units' in .*32.*33"),
    "edited scores": (change(SCORES, "0.", "0.1"), r"scores\.json: expected the file that dvc\.lock names, MD5 \w{32}"),
    "no test set": (lambda project: (project / "data/prepared/test_labels.npy").unlink(), r"test_labels\.npy"),
    "damaged platform": (change("data/platform.json", "{", "["), r"platform\.json: the content is not valid"),
    "another prediction": (another_prediction, r"confusion\.csv: .* than this file records\. Run `dvc repro`"),
}


@pytest.mark.parametrize(("damage", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_refused(copy: Path, damage: Callable[[Path], object], message: str) -> None:
    damage(copy)
    assert re.search(message, refusal(main, *arguments(copy), "--out", copy / "out" / "report.html"))
    assert not (copy / "out").exists()


def test_files_that_are_missing_or_of_another_model_are_shown_as_such(html: str, copy: Path) -> None:
    assert "The machine that the model was trained on. " in text_of(html)
    (copy / "data" / "raw" / "train_images.npy").unlink()
    (copy / "data" / "platform.json").write_text(json.dumps({"model_sha256": "0" * 64}))
    page = shown(copy)
    assert "platform.json is the record of another model: the machine that this one was" in page
    assert re.findall(r"(\S+) [\d,]+ \w{32} absent", page) == ["data/raw/train_images.npy"]


# In a real browser


def open_page(driver: webdriver.Chrome, path: Path, page: str) -> None:
    console_errors(driver)
    requested_urls(driver)  # drop the requests of the previous page
    path.write_text(page, encoding="utf-8")
    driver.get(path.as_uri())


def faults(driver: webdriver.Chrome, path: Path) -> list[str]:
    """Return the faults of the open page: console errors, requests, charts too small to see, a page too wide."""
    found = [f"console: {message}" for message in console_errors(driver)]
    urls = requested_urls(driver)
    assert path.as_uri() in urls  # the log does show requests
    found += [f"asks for {url}" for url in urls if url != path.as_uri() and not url.startswith("data:image/png;")]
    for chart in driver.find_elements(By.CSS_SELECTOR, "[data-chart]"):
        name, size = chart.get_attribute("data-chart"), chart.rect
        if not chart.is_displayed():
            found.append(f"chart {name} is hidden")
        elif size["width"] < 200 or size["height"] < 150:
            found.append(f"chart {name} is {size['width']} x {size['height']}")
    wider = driver.execute_script("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return [*found, *([f"the page is {wider} pixels too wide"] if wider else [])]


@pytest.fixture
def page(browser: webdriver.Chrome, html: str, tmp_path: Path) -> Path:
    """Open the page of the second run in the browser, and return its path."""
    path = tmp_path / "report.html"
    open_page(browser, path, html)
    return path


def test_the_page_is_whole_and_asks_for_nothing(browser: webdriver.Chrome, page: Path, html: str) -> None:
    names = [chart.get_attribute("data-chart") for chart in browser.find_elements(By.CSS_SELECTOR, "[data-chart]")]
    assert names == ["confusion", "accuracy", "loss", "reliability"]
    for chart in browser.find_elements(By.CSS_SELECTOR, "svg"):
        assert len(str(chart.get_attribute("aria-label"))) > 40
    pictures = browser.find_elements(By.CSS_SELECTOR, ".mistakes img")
    assert [picture.get_property("naturalWidth") for picture in pictures] == [28] * 7
    for width in (1280, 360):
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        open_page(browser, page, html)
        assert faults(browser, page) == []
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


FAULTS = {
    "a remote script": ('<script src="http://elsewhere.invalid/a.js"></script>', "asks for http://elsewhere.invalid/"),
    "an error": ("<script>undefined_name()</script>", "undefined_name is not defined"),
    "an empty chart": ('<svg data-chart="extra" width="9" height="9"></svg>', "chart extra is 9 x 9"),
    "a hidden chart": ('<p data-chart="extra" style="display: none">x</p>', "chart extra is hidden"),
    "a wide table": ('<p style="min-width: 3000px">x</p>', "pixels too wide"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_in_the_page_is_noticed(browser: webdriver.Chrome, page: Path, case: str) -> None:
    fault, complaint = FAULTS[case]
    text = re.sub(r"<meta http-equiv=.*", "", page.read_text(encoding="utf-8"))
    open_page(browser, page, text.replace("<main>", f"<main>{fault}"))
    assert complaint in "\n".join(faults(browser, page))


def rows(browser: webdriver.Chrome, table: str) -> list[list[str]]:
    """Return the texts of a table's cells, row by row, also of cells that are scrolled out of sight."""
    script = "return [...arguments[0].tBodies[0].rows].map(row => [...row.cells].map(cell => cell.textContent.trim()))"
    return list(browser.execute_script(script, browser.find_element(By.ID, table)))


def test_tables_hold_the_figures_of_the_files(browser: webdriver.Chrome, page: Path, second: Path) -> None:
    assert page.exists()
    now, before = scores(second)
    metrics = browser.find_elements(By.CSS_SELECTOR, "#metrics [data-key]")
    by_key = {row.get_attribute("data-key"): row.find_elements(By.CSS_SELECTOR, "data") for row in metrics}
    assert set(by_key) == {*now, "last_epoch.accuracy"}
    for key, value in now.items():
        values = [value] + ([before[key]] if key in before else [])
        assert [float(str(cell.get_attribute("value"))) for cell in by_key[key]] == values
    pairs = [(int(row["label"]), int(row["predicted"])) for row in read_csv(second / "metrics" / "confusion.csv")]
    table = [[int(cell or 0) for cell in row[1:]] for row in rows(browser, "confusion")]
    assert table == [[pairs.count((label, predicted)) for predicted in range(10)] for label in range(10)]
    classes = read_csv(second / "metrics" / "per_class.csv")
    for shown_row, row in zip(rows(browser, "classes"), classes, strict=True):
        percents = [f"{100 * float(row[name]):.2f}\N{NO-BREAK SPACE}%" for name in ("precision", "recall")]
        assert shown_row[:4] == [row["label"], row["images"], *percents]
        assert int(shown_row[4]) == sum(label == int(row["label"]) != predicted for label, predicted in pairs)


HOSTILE = ["<script>document.title='taken'</script>", '"><img src=x onerror=alert(1)>', "$x_1$", "{{ 7 * 7 }}", "&amp;"]


def test_names_of_classes_are_text_and_nothing_else(browser: webdriver.Chrome, page: Path, report: Report) -> None:
    names = [*HOSTILE, *(f"class {number}" for number in range(5, 10))]
    open_page(browser, page, render(report._replace(names=names)))
    assert faults(browser, page) == []
    assert browser.title == "Better than before · run report"
    assert [row[0] for row in rows(browser, "classes")] == [row[0] for row in rows(browser, "confusion")] == names
    text = page.read_text(encoding="utf-8").replace("<main>", "<main><script>document.title = 'taken'</script>")
    open_page(browser, page, text)  # the page's own policy stops scripts
    assert browser.title == "Better than before · run report"
    assert "Content Security Policy" in "\n".join(faults(browser, page))
