"""Comparison of two runs: McNemar's exact test against independent figures, the verdict, and the differences."""

import re

import numpy as np
import pytest

from digits.apps.comparison import comparable, metrics, p_value, verdict
from digits.apps.results import Epoch
from digits.apps.runs import Earlier, Run
from dvcproof.lockfile import File, Lock, Stage

LABELS = np.arange(100) % 10


def made(wrong: range, *, test_set: str = "a", amount: float = 0.0) -> Run:
    """Return a run that misreads these images; `amount` is added to its scores."""
    predicted = LABELS.copy()
    predicted[wrong] = (predicted[wrong] + 1) % 10
    lock = Lock(stages={"evaluate": Stage(cmd="evaluate", deps=[File(path="test_labels.npy", md5=test_set)])})
    splits = ("test", "train", "validation", "gap")
    names = ("accuracy", "loss", "top3", "calibration_error")
    scores = dict.fromkeys([*(f"{split}.{name}" for split in splits for name in names), "f1"], 0.4 + amount)
    return Run(lock, scores, [Epoch(epoch=1, accuracy=0.4 + amount, loss=1)], LABELS, predicted)


def earlier(run: Run) -> Earlier:
    return Earlier("abc1234", "the one before", run)


@pytest.mark.parametrize(
    ("gained", "lost", "expected"),
    [(0, 0, 1), (1, 0, 1), (9, 1, 22 / 1024), (1, 9, 22 / 1024), (6, 0, 2 / 64), (5, 5, 1), (0, 300, 2 / 2**300)],
)
def test_the_p_value_of_a_difference(gained: int, lost: int, expected: float) -> None:
    assert p_value(gained, lost) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("before", "kind", "words"),
    [
        (range(10), "same", "Every test image is read as the same class."),
        (range(11), "unclear", "1 are newly right and 0 newly wrong. If neither were better, .* in 100"),
        (range(30), "better", "20 are newly right and 0 newly wrong. .* in less than 0.01"),
        (range(0), "worse", "0 are newly right and 10 newly wrong. .* in 0.195"),
    ],
)
def test_the_verdict(before: range, kind: str, words: str) -> None:
    found = verdict(made(range(10)), earlier(made(before)))
    assert found.kind == kind
    assert re.search(words, found.reason)


def test_without_a_comparable_run_there_is_no_verdict() -> None:
    run = made(range(10))
    assert verdict(run, "Git has none") == ("none", "No earlier run to compare with", "Git has none.")
    assert comparable(run, earlier(run)) is run
    fewer = run._replace(labels=run.labels[:-1], predicted=run.predicted[:-1])
    for other in (fewer, made(range(10), test_set="b")):
        assert comparable(run, earlier(other)) is None
        assert verdict(run, earlier(other)).headline == "Not comparable: another test set"


def test_every_metric_is_shown_and_judged_if_it_can_be() -> None:
    """For a metric that a user has added, higher is better unless its name contains loss or error."""

    def changes(amount: float) -> dict[str, str]:
        return {one.key: one.judgement for one in metrics(made(range(0), amount=amount), made(range(0)))}

    for name in ("test.accuracy", "validation.accuracy", "test.top3", "f1"):
        assert (changes(0.5)[name], changes(-0.5)[name]) == ("better", "worse")
    for name in ("test.loss", "test.calibration_error"):
        assert (changes(0.5)[name], changes(-0.5)[name]) == ("worse", "better")
    assert {changes(0.5)[key] for key in ("train.accuracy", "gap.loss", "train.top3", "last_epoch.accuracy")} == {""}
    assert set(changes(0).values()) == {""}
    alone = metrics(made(range(0)), None)
    assert {one.change for one in alone} == {None}
    titles = {one.key: one.title for one in alone}
    assert [titles[key] for key in ("train.loss", "test.top3", "f1")] == ["training: loss", "test: top3", "f1"]
