"""The classes of a data set: counted from its labels, and named."""

import re

import numpy as np
import pytest

from digits.common.cli import InputError
from digits.data.labels import count_classes, name_classes, numbered, require_labels


@pytest.mark.parametrize(
    ("labels", "classes"), [([0, 1], 2), ([2, 2, 0, 1], 3), (list(range(255)), 255), (list(range(255, -1, -1)), 256)]
)
def test_the_labels_say_how_many_classes_there_are(labels: list[int], classes: int) -> None:
    assert count_classes("labels", np.array(labels, np.uint8)) == classes


@pytest.mark.parametrize(
    ("labels", "expected", "received"),
    [
        ([0, 0], "0 to 1", "none of class 1"),
        ([1, 2], "0 to 2", "none of class 0, and label 2 at position 1"),
        ([0, 1, 3, 3], "0 to 3", "none of class 2, and label 3 at position 2"),
        ([0, 1, 2, 255], "0 to 255", "none of class 3, and label 255 at position 3"),
        ([255], "0 to 255", "none of class 0, and label 255 at position 0"),
    ],
)
def test_a_class_without_images_is_refused(labels: list[int], expected: str, received: str) -> None:
    line = (
        f"labels: expected images of every class from {expected}. Got {received}. Give each class images to train on, "
    )
    with pytest.raises(InputError, match=re.escape(line)):
        count_classes("labels", np.array(labels, np.uint8))


@pytest.mark.parametrize(
    ("labels", "classes", "match"),
    [
        ([0, 9], 10, None),
        (
            [0, 10, 11],
            10,
            r"labels: expected labels from 0 to 9, the classes of the tr.*\. Got 10 at position 1\. Corr",
        ),
        ([255], 10, "Got 255 at position 0"),
        ([2, 1], 2, "Got 2 at position 0"),
        ([254], 255, None),
        ([255], 255, "expected labels from 0 to 254"),
        ([0, 255], 256, None),
        ([], 10, None),
    ],
)
def test_labels_of_other_classes_are_refused(labels: list[int], classes: int, match: str | None) -> None:
    values = np.array(labels, dtype=np.uint8)
    if match is None:
        require_labels("labels", values, classes)
        assert (values < classes).all()
    else:
        with pytest.raises(InputError, match=match):
            require_labels("labels", values, classes)


def test_names_are_those_given_or_those_of_the_data_set() -> None:
    assert name_classes(["bag", "coat", "7"], numbered(3)) == ["bag", "coat", "7"]
    assert name_classes(None, numbered(3)) == ["0", "1", "2"]
    assert name_classes(None, ["ant", "bee"]) == ["ant", "bee"]


@pytest.mark.parametrize("names", [["bag", "coat"], ["bag", "coat", "dress", "shirt"]])
def test_every_class_has_one_name(names: list[str]) -> None:
    line = (
        f"parameter 'class_names': expected 3 names, one for each of the labels 0 to 2. Got {len(names)} names. "
        "Name every class, or set 'class_names' to null in params.yaml."
    )
    with pytest.raises(InputError, match=re.escape(line)):
        name_classes(names, numbered(3))
