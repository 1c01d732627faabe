"""What each form of a data set is brought to: images and labels, of a training and a test set."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from digits.data.arrays import describe, require_same_length
from digits.sources import pixels, targets
from digits.sources.pixels import Images
from digits.sources.roles import TEST, TRAIN
from digits.sources.stream import MOST_IMAGES, Rows, Values, wrong
from dvcproof.runtime.program import InputError


class Pair(NamedTuple):
    """Images of a set and their labels, as they are in the source."""

    images: Rows
    labels: Rows


class Found(NamedTuple):
    """What a form finds in a source: the sets by name, the one without a name as the training set."""

    pairs: dict[str, Pair]
    notes: list[str]
    no_test: str = "no test set"  # why there is no test set, where there is none


class Part(NamedTuple):
    """A set as `load` writes it."""

    images: Images
    labels: Values  # whole numbers or texts [n]
    labels_name: str  # for messages


class Source(NamedTuple):
    """A data set."""

    train: Part
    test: Part
    notes: list[str]  # what was converted, chosen or left out, a line each


def to_source(name: str, found: Found, test_size: int) -> Source:
    """Check what was found, and convert it.

    Args:
        name: of the source, for messages.
        found: the sets.
        test_size: images that become the test set, of a source that has none.

    Raises:
        InputError: something in it is wrong, or `test_size` does not suit it.
    """
    for pair in found.pairs.values():
        _require_pair(pair)
    train = found.pairs[TRAIN]
    _require_test(name, found, test_size)
    test = found.pairs.get(TEST, train)
    train_images, test_images, notes = pixels.images_of(train.images, test.images)
    labels, said = targets.labels_of(train.labels)
    notes = [*found.notes, *notes, *filter(None, [said])]
    if TEST in found.pairs:
        test_labels, said = targets.labels_of(test.labels)
        parts = Part(train_images, labels, train.labels.name), Part(test_images, test_labels, test.labels.name)
        return Source(*parts, [*notes, *filter(None, [said])])
    chosen = choose(labels, test_size)
    parts = _chosen(train, train_images, labels, ~chosen), _chosen(train, train_images, labels, chosen)
    return Source(*parts, [*notes, f"test set: {test_size} of the {len(labels)} images, spread evenly over each class"])


def _require_pair(pair: Pair) -> None:
    """Refuse, before any value is read, what cannot be a set of images and labels."""
    pixels.require_form(pair.images)
    targets.require_form(pair.labels)
    for rows in pair:
        if rows.shape[0] < 1:
            received = describe(rows.dtype, rows.shape)
            raise wrong(rows.name, "at least one image", received, hint="Choose a data set with images.")
    require_same_length(f"{pair.images.name} and {pair.labels.name}", pair.images.shape[0], pair.labels.shape[0])
    for rows in pair:
        rows.require_size()
        if rows.shape[0] > MOST_IMAGES:
            received = describe(rows.dtype, rows.shape)
            raise wrong(rows.name, f"at most {MOST_IMAGES} images", received, hint="Leave some out.")


def _require_test(name: str, found: Found, test_size: int) -> None:
    """Refuse a source with neither a test set nor a number of images to make one of, or with both."""
    count = found.pairs[TRAIN].images.shape[0]
    if TEST in found.pairs and test_size:
        raise InputError(
            "parameter 'load.test_size'",
            expected=f"0, since {name} has a test set",
            received=str(test_size),
            hint="Set `load.test_size` to 0 in params.yaml.",
        )
    if TEST not in found.pairs and not 0 < test_size < count:
        few = max(1, count // 6)  # MNIST's own share
        raise InputError(
            name,
            expected=f"a test set, or `load.test_size` from 1 to {count - 1}",
            received=f"{found.no_test}, and `load.test_size` is {test_size}",
            hint=f"To test on {few} of the {count} images instead, set `load.test_size` to {few} in params.yaml.",
        )


def choose(labels: Values, count: int) -> NDArray[np.bool_]:
    """Which images become the test set: of each class its share, spread evenly over the class, but for its first image.

    Args:
        labels: [n].
        count: how many images to choose.

    Returns:
        [n], True for those chosen.

    Raises:
        InputError: no image of some class would be left to train on.
    """
    order = np.argsort(labels, kind="stable")
    ordered = labels[order]
    order = order[1:][ordered[1:] == ordered[:-1]]
    if count > len(order):
        raise InputError(
            "parameter 'load.test_size'",
            expected=f"at most {len(order)}, so that each class keeps an image to train on",
            received=str(count),
            hint="Set `load.test_size` to a smaller number in params.yaml.",
        )
    chosen = np.zeros(len(labels), bool)
    chosen[order[(2 * np.arange(count) + 1) * len(order) // (2 * count)]] = True
    return chosen


def _chosen(pair: Pair, images: Images, labels: Values, rows: NDArray[np.bool_]) -> Part:
    """Some images of a set, with their labels."""
    return Part(
        Images(images.name, (int(rows.sum()), *images.shape[1:]), _some(images.blocks, rows)),
        labels[rows],
        pair.labels.name,
    )


def _some(
    blocks: Callable[[], Iterator[NDArray[np.uint8]]], rows: NDArray[np.bool_]
) -> Callable[[], Iterator[NDArray[np.uint8]]]:
    def some() -> Iterator[NDArray[np.uint8]]:
        first = 0
        for block in blocks():
            yield block[rows[first : first + len(block)]]
            first += len(block)

    return some
