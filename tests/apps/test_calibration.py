"""Calibration and Brier's score, compared with figures computed by hand or in another way."""

import numpy as np
import pytest

from digits.apps.calibration import brier, calibration_error, probabilities, reliability
from digits.scoring.metrics import Predictions


def predictions(*rows: list[float], labels: list[int]) -> Predictions:
    with np.errstate(divide="ignore"):
        return Predictions(np.log(np.array(rows, np.float32)), np.array(labels, np.int32))


def test_a_hand_made_example() -> None:
    # Two images in (0.4, 0.6], one in (0.6, 0.8], three in (0.8, 1].
    confidences = np.array([0.5, 0.6, 0.7, 0.9, 0.9, 1.0])
    bins = reliability(confidences, np.array([True, False, False, True, True, True]), bins=5)
    assert [one.images for one in bins] == [0, 0, 2, 1, 3]
    assert [one.accuracy for one in bins] == [0, 0, 0.5, 0, 1]
    assert [one.confidence for one in bins] == pytest.approx([0, 0, 0.55, 0.7, 2.8 / 3])
    assert [(one.low, one.high) for one in bins] == [(0, 0.2), (0.2, 0.4), (0.4, 0.6), (0.6, 0.8), (0.8, 1)]
    # 2/6 * |0.5 - 0.55| + 1/6 * |0 - 0.7| + 3/6 * |1 - 2.8/3|
    assert calibration_error(bins) == pytest.approx((0.1 + 0.7 + 0.2) / 6)


def test_brier_goes_from_0_to_2() -> None:
    two = predictions([0.8, 0.1, 0.1], [0.2, 0.5, 0.3], labels=[0, 2])
    assert brier(two) == pytest.approx(((0.04 + 0.01 + 0.01) + (0.04 + 0.25 + 0.49)) / 2, rel=1e-6)
    assert [brier(predictions([1.0, 0.0], labels=[label])) for label in (0, 1)] == [0, 2]


def test_probabilities_are_never_above_1() -> None:
    # log-softmax may round a probability of 1 to a little more
    assert probabilities(Predictions(np.array([[1e-7, -20.0]], np.float32), np.array([0], np.int32))).max() == 1
