"""The summary of the files that `evaluate` writes, and the refusal of damaged files."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from digits.apps import summary
from digits.apps.summary import summarize
from tests.support.refusal import refusal


@pytest.fixture
def metrics(tmp_path: Path) -> Path:
    """Return the files of a run that got nine of the first ten images right."""
    folder = tmp_path / "metrics"
    folder.mkdir()
    scores = {
        "test": {"accuracy": 0.9786, "loss": 0.063454},
        "train": {"accuracy": 0.992683, "loss": 0.026958},
        "gap": {"accuracy": 0.014083, "loss": 0.036496},
    }
    (folder / "scores.json").write_text(json.dumps(scores))
    epochs = [{"epoch": epoch, "accuracy": 0.9685 + epoch / 100, "loss": 0.04} for epoch in (1, 2)]
    (folder / "history.json").write_text(json.dumps({"epochs": epochs}))
    rows = [f"{image},{image},{9 if image == 8 else image},0.{image}999" for image in range(10)]
    (folder / "first_ten.csv").write_text("\n".join(["image,label,predicted,probability", *rows]) + "\n")
    return folder


EXPECTED = """\
test accuracy          97.86%   loss 0.0635
training accuracy      99.27%   loss 0.0270
  in the last epoch    98.85%   what Keras prints: measured during the epoch
gap                     1.41%   training minus test: the overfitting

first ten test images: 9 of 10 right
  label             0      1      2      3      4      5      6      7      8      9
  predicted         0      1      2      3      4      5      6      7      9      9
  probability   0.100  0.200  0.300  0.400  0.500  0.600  0.700  0.800  0.900  1.000

worst mistakes: {metrics}/worst.png   charts: `make report` writes report.html (`dvc plots show` needs the internet)"""


def test_all_metrics_and_long_names_of_classes_have_their_place(metrics: Path) -> None:
    assert summarize(metrics) == EXPECTED.format(metrics=metrics)
    scores = json.loads((metrics / "scores.json").read_text())
    scores["test"]["top3"] = 0.9991  # metrics that a user has added
    more = {"validation": {"accuracy": 0.98, "loss": 0.07}, "f1": 1}
    (metrics / "scores.json").write_text(json.dumps(scores | more))
    path = metrics / "first_ten.csv"
    path.write_text(path.read_text().replace("8,8,9,", "8,Ankle boot,Sneaker,"))
    lines = summarize(metrics).splitlines()
    assert lines[3] == "validation accuracy    98.00%   loss 0.0700"
    assert lines[5:7] == ["test.top3              0.9991", "f1                     1.0000"]
    assert lines[9:11] == [
        "  label       " + "".join(f"{name:>12}" for name in [*range(8), "Ankle boot", 9]),
        "  predicted   " + "".join(f"{name:>12}" for name in [*range(8), "Sneaker", 9]),
    ]


@pytest.mark.parametrize(
    ("name", "change", "match"),
    [
        ("scores.json", lambda _: "{}", "without test.accuracy, test.loss, train.accuracy"),
        ("scores.json", lambda text: text.replace("0.9786", "NaN"), "not a finite number"),
        ("history.json", lambda _: "{}", "epochs Field required"),
        ("first_ten.csv", lambda text: text.replace("label", "lable"), "KeyError: 'label'"),
        ("first_ten.csv", lambda text: text[:-12], r"\d values in line 11"),
    ],
)
def test_a_damaged_file_is_refused(metrics: Path, name: str, change: Callable[[str], str], match: str) -> None:
    path = metrics / name
    path.write_text(change(path.read_text()))
    line = refusal(summary.main, "--metrics", metrics)
    assert re.search(rf"metrics/{name}: the content is not valid \(.*{match}.*\)\. Run `make repro`\.", line)
