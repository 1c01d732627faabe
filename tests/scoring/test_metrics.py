"""Scores compared with cases that were counted by hand."""

import math

import numpy as np
import pytest

from digits.scoring.metrics import ClassScores, Predictions, accuracy, confusion_matrix, loss, per_class, worst


def predictions(probabilities: list[list[float]], labels: list[int]) -> Predictions:
    return Predictions(np.log(np.array(probabilities, np.float32)), np.array(labels, np.int32))


@pytest.fixture
def five() -> Predictions:
    """Return five images of three classes: the second and the last are misclassified, class 2 is never predicted."""
    return predictions(
        [[0.5, 0.25, 0.25], [0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.75, 0.125, 0.125], [0.25, 0.625, 0.125]],
        [0, 1, 1, 0, 2],
    )


def test_accuracy_and_loss(five: Predictions) -> None:
    assert five.classes.tolist() == [0, 0, 1, 0, 1]
    assert accuracy(five) == 3 / 5
    losses = [-math.log(probability) for probability in (0.5, 0.25, 0.5, 0.75, 0.125)]
    assert five.losses.tolist() == pytest.approx(losses, rel=1e-6)
    assert loss(five) == pytest.approx(sum(losses) / 5, rel=1e-6)


def test_precision_and_recall_of_each_class(five: Predictions) -> None:
    assert confusion_matrix(five).tolist() == [[2, 0, 0], [1, 1, 0], [0, 1, 0]]  # labels by row
    assert per_class(confusion_matrix(five)) == [
        ClassScores(0, precision=2 / 3, recall=1, images=2),
        ClassScores(1, precision=1 / 2, recall=1 / 2, images=2),
        ClassScores(2, precision=0, recall=0, images=1),
    ]
    assert per_class(np.array([[1, 1], [0, 0]]))[1] == ClassScores(1, precision=0, recall=0, images=0)


def test_the_worst_mistakes_have_the_greatest_loss(five: Predictions) -> None:
    assert [worst(five, count).tolist() for count in (1, 2, 100)] == [[4], [4, 1], [4, 1]]
    same = predictions([[0.75, 0.25], [0.875, 0.125]] * 100, [1] * 200)
    assert worst(same, 150).tolist() == [*range(1, 200, 2), *range(0, 100, 2)]  # equally bad images keep their order
    assert worst(predictions([[0.75, 0.25]], [0]), 25).tolist() == []


def test_the_order_of_the_images_changes_no_bit() -> None:
    generator = np.random.default_rng(0)
    log_probabilities = np.log(generator.dirichlet(np.ones(10), 10_000).astype(np.float32))
    labels = generator.integers(0, 10, 10_000).astype(np.int32)
    orders = [generator.permutation(10_000) for _ in range(20)]
    shuffled = [Predictions(log_probabilities[order], labels[order]) for order in orders]
    assert len({(accuracy(each), loss(each)) for each in shuffled}) == 1
    # An ordinary sum does depend on the order, so the exact one is needed.
    assert len({float(each.losses.sum()) for each in shuffled}) > 1
