"""The page of a run: what it shows, what it refuses, and how it looks in a real browser."""

import base64
import io
import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from digits.apps import charts, findings
from digits.apps.report import Report, gather, main, render, require_packages
from digits.apps.runs import Earlier, Epoch, Run, RunFiles, earlier_run, this_run, uncommitted
from digits.networks import Dense
from digits.scoring.metrics import Predictions
from digits.scoring.params import EvaluateParams
from dvcproof.runtime.files import file_hash, read_csv
from dvcproof.runtime.program import InputError
from dvcproof.values import flatten, set_params
from tests.support.browser import console_errors, requested_urls
from tests.support.colour import contrast
from tests.support.pipeline import run_pipeline
from tests.support.project import AT_ROOT, ROOT, Arrays, commit, make_project, run_ok
from tests.support.refusal import refusal

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("tensorflow")]

NAMES = (
    "params.yaml",
    "dvc.lock",
    "metrics",
    "data/model.keras",
    "data/raw/dataset.json",
    "data/prepared",
    "data/platform.json",
)
OPTIONS = ("--params", "--lock", "--metrics", "--model", "--dataset", "--data", "--platform")


def arguments(project: Path) -> list[str]:
    """The command's arguments for a project, without --out."""
    return [text for option, name in zip(OPTIONS, NAMES, strict=True) for text in (option, str(project / name))]


def sources(project: Path) -> RunFiles:
    return RunFiles(*(project / name for name in NAMES[:3]))


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, digits: Arrays) -> Path:
    """A project on the small sample with one run, committed."""
    project = make_project(tmp_path_factory.mktemp("first") / "project", digits)
    set_params(project / "params.yaml", {"dense.epochs": 2, "dense.units": 32, "evaluate.worst": 7})
    run_pipeline(project)
    commit(project, "first <i>run</i>")
    return project


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory, first: Path) -> Path:
    """The same project with another run, not committed: six epochs, and a validation split."""
    project = shutil.copytree(first, tmp_path_factory.mktemp("second") / "project", symlinks=True)
    set_params(project / "params.yaml", {"dense.epochs": 6, "preprocess.validation_size": 50})
    run_pipeline(project)
    return project


@pytest.fixture
def copy(second: Path, tmp_path: Path) -> Path:
    """A copy of the project with two runs, to change. DVC's cache stays away: nothing here reads it."""
    return shutil.copytree(second, tmp_path / "copy", ignore=shutil.ignore_patterns("cache", "tmp"))


def report_of(project: Path, against: str | None = None) -> Report:
    model, dataset_file, data, record = (project / name for name in NAMES[3:])
    return gather(sources(project), model=model, dataset_file=dataset_file, data=data, record=record, against=against)


@pytest.fixture(scope="module")
def report(second: Path) -> Report:
    """What the page of the second run shows."""
    return report_of(second)


@pytest.fixture(scope="module")
def html(report: Report) -> str:
    """The page of the second run."""
    return render(report)


def text_of(page: str) -> str:
    """What a page says, without its marks."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page[page.index("<body>") :])).split())


# What it shows


@pytest.mark.slow
def test_a_second_run_beside_the_committed_one(second: Path, html: str) -> None:
    page = text_of(html)
    now, before = (json.loads(text)["test"]["accuracy"] for text in (read(second), committed(second)))
    assert now > before + 0.05  # six epochs are better than two: the sample is built to show it
    assert page.split(" Of 200 ")[0].endswith("Better than before")
    gained, lost = (int(number) for number in re.findall(r", (\d+) are newly right and (\d+) newly wrong", page)[0])
    assert (gained - lost) / 200 == pytest.approx(now - before)
    assert "Changed parameters: preprocess.validation_size 0 → 50 , dense.epochs 2 → 6" in page
    assert "Changed files" not in page
    assert "Not committed. These differ from the last commit: params.yaml, dvc.lock, metrics." in page
    assert f"▲ +{100 * (now - before):.2f} points, better" in page


def read(project: Path) -> str:
    return (project / "metrics" / "scores.json").read_text()


def committed(project: Path) -> str:
    return run_ok("git", "show", "HEAD:metrics/scores.json", cwd=project)


def test_a_committed_run_is_compared_with_the_one_before(html: str, copy: Path) -> None:
    commit(copy, "second")
    page = text_of(render(report_of(copy)))
    assert "Not committed" not in page
    assert "This run is committed. It is compared with the run in commit" in page
    assert "first <i>run</i>" in page
    verdict = re.compile(r"Better than before Of 200 .*?comparisons")
    assert verdict.findall(page) == verdict.findall(text_of(html)) != []


def test_a_later_commit_without_a_new_run_changes_nothing(copy: Path) -> None:
    commit(copy, "second")
    (copy / "notes.txt").write_text("nothing to do with it")
    commit(copy, "notes")
    earlier = earlier_run(sources(copy), None, committed=True)
    assert isinstance(earlier, Earlier)
    assert earlier.subject == "first <i>run</i>"
    same = earlier_run(sources(copy), "HEAD", committed=True)
    assert findings.verdict(this_run(sources(copy)), same).headline == "The same predictions as before"


def test_the_first_run_has_none_before_it(first: Path) -> None:
    page = text_of(render(report_of(first)))
    assert "No earlier run to compare with Git has none: the committed run is the first." in page
    assert "Not committed" not in page
    assert "▲" not in page


def test_without_git_or_a_commit_there_is_no_earlier_run(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = sources(copy)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", "")
        assert (earlier_run(here, None, committed=False), uncommitted(here)) == (
            "Git has none: it is not installed",
            None,
        )
    shutil.rmtree(copy / ".git")
    assert str(earlier_run(here, None, committed=False)).startswith("Git has none: not a git repository")
    run_ok("git", "init", "--quiet", cwd=copy)
    page = text_of(render(report_of(copy)))
    assert "No earlier run to compare with Git has none: bad revision 'HEAD'." in page
    assert "Not committed. There is no commit that could hold this run." in page


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_a_refusal_of_git_is_not_no_earlier_run(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(copy.parent))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    for path in (copy, copy / ".git"):
        os.chown(path, 12345, 12345)
    line = refusal(main, *arguments(copy), "--out", copy / "report.html")
    assert "Got detected dubious ownership in repository at" in line
    assert "Run `git config --global --add safe.directory" in line
    assert not (copy / "report.html").exists()


def test_a_commit_without_a_run_is_no_earlier_run(copy: Path) -> None:
    shutil.rmtree(copy / ".git")
    run_ok("git", "init", "--quiet", cwd=copy)
    run_ok("git", "commit", "--quiet", "--allow-empty", "--message", "nothing yet", cwd=copy)
    found = earlier_run(sources(copy), None, committed=False)
    assert str(found).startswith("Git has none: path 'metrics/per_class.csv' exists on disk, but not in")


def test_a_project_in_a_folder_of_a_repository(copy: Path, tmp_path: Path) -> None:
    shutil.rmtree(copy / ".git")
    run_ok("git", "init", "--quiet", cwd=tmp_path)
    commit(tmp_path, "all of it")
    assert uncommitted(sources(copy)) == []
    earlier = earlier_run(sources(copy), "HEAD", committed=True)
    assert isinstance(earlier, Earlier)
    assert earlier.run.scores == this_run(sources(copy)).scores
    (copy / "params.yaml").write_text("# changed\n")
    assert uncommitted(sources(copy)) == ["params.yaml"]


class Pair(NamedTuple):
    """A run, and one to compare it with."""

    run: Run
    earlier: Earlier


@pytest.fixture
def pair(second: Path) -> Pair:
    run = this_run(sources(second))
    return Pair(run, Earlier("abc1234", "the same", run))


def changed_to(pair: Pair, wrong: int) -> Earlier:
    """The earlier run, reading the first images right but for `wrong` of them."""
    predicted = pair.run.labels.copy()
    predicted[:wrong] = (predicted[:wrong] + 1) % 10
    return pair.earlier._replace(run=pair.run._replace(predicted=predicted))


def test_the_verdict(pair: Pair) -> None:
    wrong = int((pair.run.predicted != pair.run.labels).sum())
    assert findings.verdict(*pair).kind == "same"
    assert findings.verdict(pair.run, "none").kind == "none"
    assert findings.verdict(pair.run, changed_to(pair, 0)).kind == "worse"
    assert findings.verdict(pair.run, changed_to(pair, 200)).kind == "better"
    assert findings.verdict(pair.run, changed_to(pair, wrong)).kind == "unclear"


def test_another_test_set_is_no_comparison(pair: Pair) -> None:
    assert findings.comparable(*pair) is pair.run
    fewer = pair.run._replace(labels=pair.run.labels[:-1], predicted=pair.run.predicted[:-1])
    lock = pair.run.lock.model_copy(deep=True)
    next(file for file in lock.stages["evaluate"].deps if file.path.endswith("test_features.npy")).md5 = "0" * 32
    for other in (fewer, pair.run._replace(lock=lock)):
        earlier = pair.earlier._replace(run=other)
        assert findings.comparable(pair.run, earlier) is None
        assert findings.verdict(pair.run, earlier).headline == "Not comparable: another test set"


def test_only_what_can_be_judged_is_judged(pair: Pair) -> None:
    def changes(amount: float) -> dict[str, str]:
        scores = {
            name: score.model_copy(update={"accuracy": score.accuracy + amount, "loss": score.loss + amount})
            for name, score in pair.run.scores.items()
        }
        return {one.key: one.judgement for one in findings.metrics(pair.run._replace(scores=scores), pair.run)}

    assert changes(0.5)["test.accuracy"] == changes(0.5)["validation.accuracy"] == "better"
    assert changes(0.5)["test.loss"] == changes(-0.5)["test.accuracy"] == "worse"
    assert {changes(0.5)[key] for key in ("train.accuracy", "gap.loss", "last_epoch.accuracy")} == {""}
    assert set(changes(0).values()) == {""}


def test_without_a_clear_difference_nothing_is_called_better(report: Report, html: str) -> None:
    assert "points, better" in text_of(html)
    assert isinstance(report.earlier, Earlier)
    wrong = int((report.run.predicted != report.run.labels).sum())
    unclear = text_of(render(report._replace(earlier=changed_to(Pair(report.run, report.earlier), wrong))))
    assert "No clear difference" in unclear
    assert not re.search("points, |, better|, worse", unclear)


def test_parameters_are_compared_by_name_and_value() -> None:
    rows = findings.parameters({"a": 1, "b": None, "c": [1]}, {"a": 1.5, "c": [1], "d": "x"})
    assert [(row.name, row.value, row.before, row.changed) for row in rows] == [
        ("a", "1", "1.5", True),
        ("b", "None", None, True),
        ("c", "[1]", "[1]", False),
        ("d", None, "x", True),
    ]
    assert not any(row.changed for row in findings.parameters({"a": 1}, None))


def test_changed_code_and_data_are_named(report: Report) -> None:
    now = report.run.lock.inputs()
    assert {"stages/train.py", "exactkeras", "requirements.lock"} <= set(now)
    assert not {"data/model.keras", "data/prepared/test_features.npy"} & set(now)
    assert findings.changed_files(now, now) == []
    before = {name: md5 for name, md5 in now.items() if name != "stages/train.py"} | {
        "stages/load.py": "0",
        "old.py": None,
    }
    assert findings.changed_files(now, before) == ["old.py", "stages/load.py", "stages/train.py"]
    lock = report.run.lock.model_copy(deep=True)
    next(file for file in lock.stages["train"].deps if file.path == "stages/train.py").md5 = "0" * 32
    page = render(report._replace(earlier=Earlier("abc1234", "other code", report.run._replace(lock=lock))))
    assert "Changed files: stages/train.py Not committed." in text_of(page)


def test_a_run_is_read_from_its_text_files(second: Path) -> None:
    run = this_run(sources(second))
    assert run.scores["test"].accuracy == float((run.labels == run.predicted).mean())
    assert len(run.labels) == 200
    assert len(run.epochs) == 6
    assert run.lock.params()["dense.units"] == 32
    names = ("data/prepared/test_features.npy", "data/prepared/test_labels.npy")
    assert set(names) <= set(run.lock.named(*findings.TEST_SET))


def test_worst_mistakes_are_the_images_of_the_test_set(report: Report, digits: Arrays) -> None:
    same = findings.comparable(report.run, report.earlier)
    assert same is not None
    found = findings.mistakes(report.predictions, report.test, report.dataset, 7, same)
    assert len(found) == 7
    assert [one.label_probability for one in found] == sorted(one.label_probability for one in found)
    for one in found:
        assert one.label == digits["y_test"][one.image] != one.predicted
        picture = Image.open(io.BytesIO(base64.b64decode(one.picture.removeprefix("data:image/png;base64,"))))
        assert np.array_equal(np.asarray(picture), 255 - digits["x_test"][one.image])  # dark on white
        assert one.new == (same.predicted[one.image] == one.label)
        assert one.probability > one.label_probability
    assert len({one.picture for one in found}) == 7


# What it looks like, as text


class Outline(HTMLParser):
    """Checks that elements are closed in order, and collects identifiers and what refers to them."""

    VOID = ("meta", "img", "br")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.identifiers: list[str] = []
        self.referred: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attrs:
            self.identifiers += [value] if name == "id" and value else []
            self.referred.update(re.findall(r"url\(#([^)]+)\)", value or ""))
            self.referred.update([value] if name == "aria-labelledby" and value else [])
            self.referred.update(re.findall(r"^#(.+)", value or "") if name.endswith("href") else [])

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_elements_are_closed_and_identifiers_are_unique(html: str) -> None:
    outline = Outline()
    outline.feed(html)
    assert outline.open == []
    assert len(outline.identifiers) == len(set(outline.identifiers)) > 10
    assert outline.referred <= set(outline.identifiers)
    assert len(outline.referred) > 10


@pytest.mark.slow
def test_two_runs_of_the_program_give_equal_bytes_and_no_date(second: Path, html: str, tmp_path: Path) -> None:
    command = (sys.executable, "-m", "digits", "report", *arguments(second), "--out", "deep/report.html")
    style = tmp_path / "matplotlibrc"
    style.write_text("lines.linewidth: 9\nsvg.fonttype: path\n")  # a user's taste does not reach the page
    output = run_ok(*command, cwd=tmp_path, env=AT_ROOT | {"MATPLOTLIBRC": str(style), "PYTHONHASHSEED": "7"})
    assert output == "deep/report.html: Better than before\n"
    assert (tmp_path / "deep" / "report.html").read_text(encoding="utf-8") == html
    assert not re.search(r"\b20\d\d-\d\d-\d\d\b", html)
    assert "://" not in html


def test_charts_stand_out_from_the_page_in_light_and_dark() -> None:
    styles = (ROOT / "digits" / "apps" / "report.html.j2").read_text(encoding="utf-8")
    found = re.findall(r"--(card|ink|soft|better|worse): (#[0-9a-f]{6})", styles)
    light, dark = dict(found[:5]), dict(found[5:])
    assert light.keys() == dark.keys() == {"card", "ink", "soft", "better", "worse"}
    assert light["card"] != dark["card"]
    for colours in (light, dark):
        for line in (charts.BLUE, charts.ORANGE):
            assert contrast(line, colours["card"]) >= 3
        for text in ("ink", "soft", "better", "worse"):
            assert contrast(colours[text], colours["card"]) >= 4.5
    assert contrast(light["ink"], dark["card"]) < 3  # why charts take their ink from the page


def test_curves_of_both_runs_and_of_validation_are_drawn() -> None:
    old = [Epoch(epoch=number, accuracy=0.5, loss=1.5) for number in (1, 2)]
    new = [Epoch(epoch=number, accuracy=0.6, loss=1.2, val_accuracy=0.4, val_loss=2) for number in (1, 2, 3)]
    alone, both = (charts.learning_curves(new, before, "loss").svg for before in ((), old))
    assert ">training</text>" in alone
    assert ">validation</text>" in alone
    assert "before" not in alone
    assert ">training, before</text>" in both
    assert "validation, before" not in both
    assert "Loss by epoch, 3 epochs. training: from 1.2000 to 1.2000; validation: from 2.0000" in alone
    assert "currentColor" in alone
    assert charts.INK not in alone


# What it refuses


def overwrite(name: str, text: str) -> Callable[[Path], object]:
    return lambda project: (project / name).write_text(text)


def remove(name: str) -> Callable[[Path], object]:
    return lambda project: (project / name).unlink()


def swap(name: str, old: str, new: str) -> Callable[[Path], object]:
    def change(project: Path) -> None:
        text = (project / name).read_text()
        assert old in text
        (project / name).write_text(text.replace(old, new, 1))

    return change


def another_model(project: Path) -> None:
    from exactkeras import archive

    network = Dense(optimizer="sgd", learning_rate=0.1, epochs=1, batch_size=1, units=32)
    archive.save(network.build((28, 28), 10), project / "data" / "model.keras")


def relock(project: Path, name: str) -> None:
    """Make dvc.lock name the file as it is now."""
    md5 = file_hash(project / name, "md5")
    lock = project / "dvc.lock"
    text, count = re.subn(rf"(- path: {name}\n +hash: md5\n +md5: )\w+", rf"\g<1>{md5}", lock.read_text())
    assert count
    lock.write_text(text)


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "no dvc.lock": (remove("dvc.lock"), r"dvc\.lock: expected what the pipeline writes. Got no such file. Run `dvc r"),
    "dvc.lock is no YAML": (overwrite("dvc.lock", "{"), r"dvc\.lock: .* Got a damaged file \(\w+Error: "),
    "dvc.lock without stages": (overwrite("dvc.lock", "schema: '2.0'"), r"dvc\.lock: .* \(ValueError: without stages"),
    "no scores": (remove("metrics/scores.json"), r"scores\.json: expected what the pipeline writes. Got no such file"),
    "scores without test": (overwrite("metrics/scores.json", "{}"), r"scores\.json: .* \(ValueError: without test"),
    "binary history": (
        lambda project: (project / "metrics/history.json").write_bytes(b"\xff"),
        r"history\.json: .* \(UnicodeDecodeError",
    ),
    "confusion without a column": (overwrite("metrics/confusion.csv", "label\n1\n"), r"confusion\.csv: .* \(KeyError"),
    "a parameter that was not run": (
        swap("params.yaml", "units: 32", "units: 33"),
        r"parameter 'dense\.units' in .*: expected 32, as in dvc\.lock\. Got 33\. Run `dvc repro`\.",
    ),
    "a wrong parameter": (swap("params.yaml", "worst: 7", "worst: 0"), r"'evaluate\.worst' in .*: expected an integer"),
    "another model": (
        another_model,
        r"model\.keras: expected the file that dvc\.lock names, MD5 \w{32}\. Got MD5 \w{32}\. Run",
    ),
    "edited scores": (
        swap("metrics/scores.json", "0.", "0.1"),
        r"scores\.json: expected the file that dvc\.lock names",
    ),
    "no model": (remove("data/model.keras"), r"model\.keras: expected a Keras model .* Got no such file"),
    "no description of the data": (remove("data/raw/dataset.json"), r"dataset\.json: expected .* Got no such file"),
    "no test set": (remove("data/prepared/test_labels.npy"), r"test_labels\.npy: .* Got no such file"),
    "platform of another form": (
        overwrite("data/platform.json", '{"model_sha256": "", "cpu_flags": 5}'),
        r"platform\.json: .* Got a damaged file \(TypeError: a text in place of a list",
    ),
    "damaged platform": (overwrite("data/platform.json", "[]"), r"platform\.json: .* Got a damaged file \(TypeError"),
}


@pytest.mark.fast(4)
@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_and_the_old_page_stays(case: str, copy: Path) -> None:
    damage, message = BAD[case]
    damage(copy)
    (copy / "out").mkdir()
    page = copy / "out" / "report.html"
    page.write_text("the page of before")
    assert re.search(message, refusal(main, *arguments(copy), "--out", page))
    assert [path.name for path in (copy / "out").iterdir()] == ["report.html"]
    assert page.read_text() == "the page of before"


def change_confusion(change: Callable[[int, int], str]) -> Callable[[Path], object]:
    """Change the last row of confusion.csv."""

    def apply(project: Path) -> None:
        path = project / "metrics" / "confusion.csv"
        *kept, last = path.read_text().splitlines()
        path.write_text("\n".join([*kept, change(*map(int, last.split(",")))]) + "\n")

    return apply


STALE: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "another model": (
        another_model,
        "data/model.keras",
        r"scores\.json, test accuracy: expected 0\.\d+, which the model",
    ),
    "accuracy": (
        swap("metrics/scores.json", "0.", "0.0"),
        "metrics/scores.json",
        r"test accuracy: .* Got 0\.0\d+\. Run",
    ),
    "loss": (
        swap("metrics/scores.json", '"loss": ', '"loss": 1'),
        "metrics/scores.json",
        r"test loss: .* Got 1\d\.\d+\.",
    ),
    "predicted class": (
        change_confusion(lambda label, predicted: f"{label},{(predicted + 1) % 10}"),
        "metrics/confusion.csv",
        r"confusion\.csv: expected what the model predicts\. Got something else\. Run `dvc repro`",
    ),
    "label": (
        change_confusion(lambda label, predicted: f"{(label + 1) % 10},{predicted}"),
        "metrics/confusion.csv",
        r"confusion\.csv: expected what the model predicts\. Got something else\. Run `dvc repro`",
    ),
}


@pytest.mark.fast(2)
@pytest.mark.parametrize("case", STALE)
def test_metrics_of_another_model_are_refused(case: str, copy: Path) -> None:
    damage, name, message = STALE[case]
    damage(copy)
    relock(copy, name)
    assert re.search(message, refusal(main, *arguments(copy), "--out", copy / "report.html"))
    assert not (copy / "report.html").exists()


def test_a_file_that_is_not_here_is_shown_as_absent(copy: Path) -> None:
    (copy / "data" / "raw" / "train_images.npy").unlink()
    found = {one.path: one.here for one in report_of(copy).artifacts}
    assert [path for path, here in found.items() if not here] == ["data/raw/train_images.npy"]
    assert len(found) == 19


def test_a_platform_that_is_not_this_model_s_is_not_shown(html: str, copy: Path) -> None:
    assert "The machine that the model was trained on. python 3." in text_of(html)
    record = json.loads((copy / "data" / "platform.json").read_text())
    (copy / "data" / "platform.json").write_text(json.dumps(record | {"model_sha256": "0" * 64}))
    page = text_of(render(report_of(copy)))
    assert (
        "platform.json is the record of another model: the machine that this one was trained on is not known." in page
    )
    assert record["cpu"] not in page
    (copy / "data" / "platform.json").unlink()
    assert "platform.json: the machine that the model was trained on is not known." in text_of(render(report_of(copy)))


def test_a_platform_whose_bits_may_differ_says_so(copy: Path) -> None:
    record = json.loads((copy / "data" / "platform.json").read_text())
    (copy / "data" / "platform.json").write_text(json.dumps(record | {"may_differ_in_bits_because": ["the device"]}))
    assert "other machines: the device." in text_of(render(report_of(copy)))


@pytest.mark.parametrize("revision", ["nowhere", "--all", "HEAD~1", ""])
def test_a_commit_without_a_run_cannot_be_named(copy: Path, revision: str) -> None:
    line = refusal(main, *arguments(copy), f"--against={revision}", "--out", copy / "report.html")
    assert line.startswith(f"ERROR: --against {revision}: expected a commit with a run. Got ")


def test_a_damaged_run_in_a_commit_is_refused(copy: Path) -> None:
    scores = (copy / "metrics" / "scores.json").read_text()
    (copy / "metrics" / "scores.json").write_text("{")
    commit(copy, "damaged")
    (copy / "metrics" / "scores.json").write_text(scores)
    line = refusal(main, *arguments(copy), "--out", copy / "report.html")
    assert re.match(
        r"ERROR: \w+:.*scores\.json: expected what the pipeline writes.*Name another commit with --against\.", line
    )


def test_packages_of_the_report_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    require_packages()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "matplotlib" else object())
    with pytest.raises(InputError, match=r"package matplotlib: .* Run `make report`\."):
        require_packages()


def test_a_name_for_each_class_is_asked_for(report: Report) -> None:
    with pytest.raises(InputError, match=r"'class_names': expected 10 names, .* Got 2 names\."):
        render(report, ["a", "b"])


# In a real browser


def open_page(driver: webdriver.Chrome, path: Path, page: str) -> None:
    console_errors(driver)
    requested_urls(driver)  # of the page before
    path.write_text(page, encoding="utf-8")
    driver.get(path.as_uri())


def faults(driver: webdriver.Chrome, path: Path) -> list[str]:
    """What is wrong with the page that is open: complaints, requests, charts that cannot be seen, a page too wide."""
    found = [f"console: {message}" for message in console_errors(driver)]
    urls = requested_urls(driver)
    assert path.as_uri() in urls  # requests are seen
    found += [
        f"asks for {url}" for url in urls if url != path.as_uri() and not url.startswith("data:image/png;base64,")
    ]
    for chart in driver.find_elements(By.CSS_SELECTOR, "[data-chart]"):
        name, size = chart.get_attribute("data-chart"), chart.rect
        if not chart.is_displayed():
            found.append(f"chart {name} is hidden")
        elif size["width"] < 200 or size["height"] < 150:
            found.append(f"chart {name} is {size['width']} x {size['height']}")
    wider = driver.execute_script("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return [*found, *([f"the page is {wider} pixels too wide"] if wider else [])]


def resize(driver: webdriver.Chrome, width: int, *, dark: bool = False, medium: str = "screen") -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": medium, "features": features})


@pytest.fixture
def page(browser: webdriver.Chrome, html: str, tmp_path: Path) -> Path:
    """The page of the second run, open on a desktop."""
    path = tmp_path / "report.html"
    resize(browser, 1280)
    open_page(browser, path, html)
    return path


def test_the_page_is_whole_and_asks_for_nothing(browser: webdriver.Chrome, page: Path) -> None:
    assert faults(browser, page) == []
    names = [chart.get_attribute("data-chart") for chart in browser.find_elements(By.CSS_SELECTOR, "[data-chart]")]
    assert names == ["confusion", "accuracy", "loss", "reliability"]
    for chart in browser.find_elements(By.CSS_SELECTOR, "svg"):
        assert chart.get_attribute("role") == "img"
        assert len(str(chart.get_attribute("aria-label"))) > 40
    pictures = browser.find_elements(By.CSS_SELECTOR, ".mistakes img")
    assert [picture.get_property("naturalWidth") for picture in pictures] == [28] * 7
    assert all(re.match(r"Test image \d+, which is \d$", str(picture.get_attribute("alt"))) for picture in pictures)


@pytest.mark.parametrize(("width", "medium"), [(360, "screen"), (768, "screen"), (1280, "screen"), (720, "print")])
@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_screens_and_paper(browser: webdriver.Chrome, page: Path, width: int, medium: str, dark: bool) -> None:
    resize(browser, width, dark=dark, medium=medium)
    assert faults(browser, page) == []
    ink, card = (
        browser.execute_script(f"return getComputedStyle(document.querySelector('{what}')).{which}")
        for what, which in ((".chart svg text", "fill"), (".card", "backgroundColor"))
    )
    assert contrast(as_hex(ink), as_hex(card)) > 7
    assert (as_hex(card) == "#ffffff") == (not dark or medium == "print")


def as_hex(colour: str) -> str:
    return "#" + "".join(f"{int(part):02x}" for part in re.findall(r"\d+", colour)[:3])


FAULTS = {
    "a remote script": (
        '<script src="http://elsewhere.invalid/a.js"></script>',
        "asks for http://elsewhere.invalid/a.js",
    ),
    "a remote picture": ('<img src="http://elsewhere.invalid/a.png">', "asks for http://elsewhere.invalid/a.png"),
    "an error": ("<script>undefined_name()</script>", "undefined_name is not defined"),
    "an empty chart": ('<svg data-chart="extra" width="9" height="9"></svg>', "chart extra is 9 x 9"),
    "a hidden chart": ('<p data-chart="extra" style="display: none">x</p>', "chart extra is hidden"),
    "a wide table": ('<p style="min-width: 3000px">x</p>', "pixels too wide"),
}


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_in_the_page_is_noticed(browser: webdriver.Chrome, page: Path, case: str, width: int) -> None:
    resize(browser, width)
    fault, complaint = FAULTS[case]
    policy = re.compile(r"<meta http-equiv=.*")
    text = page.read_text(encoding="utf-8")
    open_page(browser, page, policy.sub("", text).replace("<main>", f"<main>{fault}"))
    assert complaint in "\n".join(faults(browser, page))


def test_the_page_s_own_policy_stops_scripts(browser: webdriver.Chrome, page: Path) -> None:
    text = page.read_text(encoding="utf-8").replace("<main>", "<main><script>document.title = 'taken'</script>")
    open_page(browser, page, text)
    assert browser.title == "Better than before · run report"
    assert "Content Security Policy" in "\n".join(faults(browser, page))


def rows(table: WebElement) -> list[list[str]]:
    """The texts of a table's cells, row by row, from its `textContent`: some may be scrolled out of sight."""
    script = "return [...arguments[0].tBodies[0].rows].map(row => [...row.cells].map(cell => cell.textContent.trim()))"
    return list(table.parent.execute_script(script, table))


def test_tables_hold_the_figures_of_the_files(browser: webdriver.Chrome, page: Path, second: Path) -> None:
    assert page.exists()
    scores = flatten(json.loads(read(second)))
    before = flatten(json.loads(committed(second)))
    shown = {
        row.get_attribute("data-key"): row for row in browser.find_elements(By.CSS_SELECTOR, "#metrics [data-key]")
    }
    assert set(shown) == {*scores, "last_epoch.accuracy"}
    for key, value in scores.items():
        cells = shown[str(key)].find_elements(By.CSS_SELECTOR, "data")
        values = [value] + ([before[key]] if key in before else [])
        assert [float(str(cell.get_attribute("value"))) for cell in cells] == values
        written = f"{100 * value:.2f}\N{NO-BREAK SPACE}%" if key.endswith("accuracy") else f"{value:.4f}"
        assert cells[0].get_property("textContent") == written

    confusion = rows(browser.find_element(By.ID, "confusion"))
    table = [[int(cell or 0) for cell in row[1:]] for row in confusion]
    pairs = [(int(row["label"]), int(row["predicted"])) for row in read_csv(second / "metrics" / "confusion.csv")]
    assert table == [[pairs.count((label, predicted)) for predicted in range(10)] for label in range(10)]

    for shown_row, row in zip(
        rows(browser.find_element(By.ID, "classes")), read_csv(second / "metrics" / "per_class.csv"), strict=True
    ):
        percents = [f"{100 * float(row[name]):.2f}\N{NO-BREAK SPACE}%" for name in ("precision", "recall")]
        assert shown_row[:4] == [row["label"], row["images"], *percents]
        assert int(shown_row[4]) == sum(label == int(row["label"]) != predicted for label, predicted in pairs)


def test_artifacts_are_those_of_dvc_lock(browser: webdriver.Chrome, page: Path, second: Path) -> None:
    assert page.exists()
    lock = (second / "dvc.lock").read_text()
    found = rows(browser.find_element(By.ID, "artifact-table"))
    assert len(found) == 19
    for _, path, size, md5, here in found:
        assert f"path: {path}\n      hash: md5\n      md5: {md5}\n      size: {size.replace(',', '')}\n" in lock
        assert here == "checked"


HOSTILE = ["<script>document.title='taken'</script>", '"><img src=x onerror=alert(1)>', "$x_1$", "{{ 7 * 7 }}", "&amp;"]


def test_names_of_classes_are_text_and_nothing_else(browser: webdriver.Chrome, page: Path, report: Report) -> None:
    names = [*HOSTILE, *(f"class {number}" for number in range(5, 10))]
    open_page(browser, page, render(report, names))
    assert faults(browser, page) == []
    assert browser.title == "Better than before · run report"
    assert [row[0] for row in rows(browser.find_element(By.ID, "classes"))] == names
    assert [row[0] for row in rows(browser.find_element(By.ID, "confusion"))] == names


def test_fifty_classes_have_room(browser: webdriver.Chrome, page: Path, report: Report) -> None:
    many = render(many_classes(report, 50), [f"kind number {number}" for number in range(50)])
    for width in (360, 1280):
        resize(browser, width)
        open_page(browser, page, many)
        assert faults(browser, page) == []
    table = browser.find_element(By.ID, "confusion")
    assert len(rows(table)) == 50
    assert sum(int(cell or 0) for row in rows(table) for cell in row[1:]) == 200


def many_classes(report: Report, count: int) -> Report:
    """The report of a model that guesses among many classes."""
    random = np.random.default_rng(0)
    scores = random.normal(size=(200, count)).astype(np.float32)
    logarithms = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    predictions = Predictions(logarithms, random.integers(0, count, 200).astype(np.int32))
    run = report.run._replace(labels=predictions.labels.astype(np.intp), predicted=predictions.classes)
    params = EvaluateParams(class_names=None, batch_size=100, views=1, worst=100)
    names = [str(label) for label in range(count)]
    return report._replace(predictions=predictions, run=run, params=params, names=names)


@pytest.mark.slow
def test_a_model_without_mistakes_has_a_page_too(browser: webdriver.Chrome, page: Path, report: Report) -> None:
    sure = np.where(np.eye(10, dtype=bool)[report.predictions.labels], np.float32(0), np.float32(-100))
    perfect = report._replace(predictions=report.predictions._replace(log_probabilities=sure.astype(np.float32)))
    open_page(browser, page, render(perfect))
    assert faults(browser, page) == []
    assert "None: every test image is read right." in browser.find_element(By.TAG_NAME, "main").text
    assert "Most often misread" not in browser.find_element(By.TAG_NAME, "main").text
