"""The classes of a data set: numbered from its labels, and named."""

import re
import tracemalloc
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from digits.data.classes import name_classes, numbered, require_labels
from digits.params import ClassNames
from digits.sources import labels as module
from digits.sources.arrays import held
from digits.sources.labels import Labels, number_labels
from dvcproof.runtime.program import InputError


def number(train: NDArray[Any], test: NDArray[Any]) -> Labels:
    return number_labels(held("A", train), held("B", test))


GOOD: dict[str, tuple[list[Any], list[int], list[str]]] = {
    "two": ([0, 1], [0, 1], ["0", "1"]),
    "in another order": ([2, 2, 0, 1], [2, 2, 0, 1], ["0", "1", "2"]),
    "from 1": ([1, 3, 2, 1], [0, 2, 1, 0], ["1", "2", "3"]),
    "3 and 7": ([7, 3, 7], [1, 0, 1], ["3", "7"]),
    "a gap": ([0, 9, 4], [0, 2, 1], ["0", "4", "9"]),
    "texts": (["bag", "coat", "Bag"], [1, 2, 0], ["Bag", "bag", "coat"]),
    "texts of numbers": (["10", "9", "2"], [2, 1, 0], ["2", "9", "10"]),
    "numbers and texts": (["10", "9", "x"], [0, 1, 2], ["10", "9", "x"]),
    "large numbers": ([2**40, 7, 2**40], [1, 0, 1], ["7", "1099511627776"]),
    "256": (list(range(255, -1, -1)), list(range(255, -1, -1)), [str(label) for label in range(256)]),
}


@pytest.mark.parametrize("block", [1, 2, 2**16])
@pytest.mark.parametrize(("labels", "numbers", "names"), GOOD.values(), ids=GOOD)
def test_classes_are_numbered_from_0(
    monkeypatch: pytest.MonkeyPatch, labels: list[Any], numbers: list[int], names: list[str], block: int
) -> None:
    monkeypatch.setattr(module, "BLOCK", block)
    found = number(np.array(labels), np.array(labels[::-1]))
    assert [str(numbers.dtype) for numbers in found[:2]] == ["uint8", "uint8"]
    assert (found.train.tolist(), found.test.tolist(), found.names) == (numbers, numbers[::-1], names)


def test_the_test_set_may_lack_a_class_and_have_texts_for_numbers() -> None:
    assert number(np.array([1, 5, 6]), np.array([6, 6])).test.tolist() == [2, 2]
    found = number(np.array([3, 7, 10]), np.array(["10", "3"]))
    assert (found.test.tolist(), found.names) == ([2, 0], ["3", "7", "10"])


@pytest.mark.parametrize(
    ("labels", "note"),
    [
        ([0, 1, 2], ""),
        ([3, 7], "3, 7 numbered from 0 to 1"),
        (["a", "b"], "a, b numbered from 0 to 1"),
        (list(range(1, 13)), "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 numbered from 0 to 11"),
        (list(range(1, 27)), "1, 2, 3, 4, 5, 6, ..., 25, 26 numbered from 0 to 25"),
    ],
)
def test_a_note_says_what_was_renumbered(labels: list[Any], note: str) -> None:
    assert number(np.array(labels), np.array(labels)).notes == ([f"labels: {note}"] if note else [])


NAMES = "expected labels that are 0 or more, or texts of 1 to 40 characters in one line. Got "
BAD: dict[str, tuple[list[Any], list[Any], str]] = {
    "one class": ([3, 3], [3], "A: expected labels of 2 to 256 classes. Got label 3 only. Add images"),
    "257 classes": ([*range(257)], [3], "Got 257 of them: 0, 1, 2, 3, 4, 5, ..., 255, 256. Check that"),
    "a negative one": ([0, 1, 2, -1, -1], [0], f"A: {NAMES}-1 at position 3. Correct the label, or"),
    "a negative one as text": (["0", "-1"], ["0"], "Got '-1' at position 1."),
    "two lines": (["a\nb", "b"], ["b"], r"Got 'a\nb' at position 0."),
    "a long one": (["a", "b" * 41], ["a"], "bbb' at position 1."),
    "a class that training lacks": (
        [0, 1, 4, 1],
        [0, 4, 3],
        "B: expected the classes of the training set: 0, 1, 4. Got 3 at position 2. Correct the labels, add "
        "training images of this class, or leave its images out of the test set.",
    ),
    "a class above all others": ([0, 1], [0, 200], "Got 200 at position 1."),
    "a class below all others": ([7, 8], [7, 3], "Got 3 at position 1."),
    "a text where training has numbers": ([0, 1], ["0", "one"], "Got one at position 1."),
}  # fmt: skip


@pytest.mark.parametrize("block", [1, 2**16])
@pytest.mark.parametrize(("train", "test", "line"), BAD.values(), ids=BAD)
def test_labels_that_name_no_class_are_refused(
    monkeypatch: pytest.MonkeyPatch, train: list[Any], test: list[Any], line: str, block: int
) -> None:
    monkeypatch.setattr(module, "BLOCK", block)
    with pytest.raises(InputError, match=re.escape(line)):
        number(np.array(train), np.array(test))


def test_labels_of_other_classes_are_refused() -> None:
    require_labels("A", np.array([0, 255], np.uint8), 256)
    line = r"A: expected labels from 0 to 9, the classes of the tr.*\. Got 10 at position 1\. Corr"
    with pytest.raises(InputError, match=line):
        require_labels("A", np.array([0, 10, 11], np.uint8), 10)


@pytest.mark.parametrize("count", [1, 2, 256, 257])
def test_there_are_2_to_256_names(count: int) -> None:
    with nullcontext() if count in (2, 256) else pytest.raises(ValidationError, match=f"{count} of them"):
        TypeAdapter(ClassNames).validate_python(numbered(count))


def test_every_class_has_one_name() -> None:
    assert name_classes(["bag", "coat", "7"], numbered(3)) == ["bag", "coat", "7"]
    assert name_classes(None, ["ant", "bee"]) == ["ant", "bee"]
    for count in (2, 4):
        line = (
            f"parameter 'class_names': expected 3 names, one for each of the labels 0 to 2. Got {count} names. "
            "Name every class, or set 'class_names' to null in params.yaml."
        )
        with pytest.raises(InputError, match=re.escape(line)):
            name_classes(["bag", "coat", "dress", "shirt"][:count], numbered(3))


def test_the_check_of_labels_takes_little_memory() -> None:
    labels = np.zeros(2**20, np.uint8)
    tracemalloc.start()
    require_labels("labels", labels, 10)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * labels.nbytes  # a byte for each label, not eight
