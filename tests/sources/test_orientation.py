"""How images lie: what is ink on paper, which way round it is, and what only looks like it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from digits.sources.orientation import find_background, is_emnist, looks_transposed, stored_levels
from tests.support.project import Arrays

Images = NDArray[np.uint8]


@pytest.fixture(scope="module")
def written(digits: Arrays) -> Images:
    """The sample: [600, 28, 28]."""
    return digits["x_train"].astype(np.uint8)


def resized(images: Images, side: int) -> Images:
    return np.stack([np.asarray(Image.fromarray(image).resize((side, side))) for image in images])


def cropped(images: Images) -> Images:
    """Each digit in 8 x 8 pixels without a margin above and below, as scikit-learn's are."""
    return np.stack([np.asarray(Image.fromarray(image).resize((8, 8), box=(2, 4, 26, 24))) for image in images])


def coloured(images: Images, *colour: float) -> Images:
    return (images[..., None] * np.array(colour)).astype(np.uint8)


def scanned(images: Images) -> Images:
    """Dark ink on sheets of paper that differ, with noise."""
    random = np.random.default_rng(0)
    paper = random.normal(235, 8, (len(images), 1, 1)) + random.normal(0, 6, images.shape)
    return np.clip(paper - 0.8 * images, 0, 255).astype(np.uint8)


def clothes(count: int) -> Images:
    """White things on black that stand or lie, and fill the picture: made as Fashion-MNIST's are."""
    random, images = np.random.default_rng(1), np.zeros((count, 28, 28), np.uint8)
    for number, image in enumerate(images):
        long, short = random.integers(22, 27), random.integers(8, 20)
        height, width = (long, short) if number % 5 < 3 else (short, long)
        top, left = (28 - height) // 2, (28 - width) // 2
        image[top : top + height, left : left + width] = random.integers(120, 255, (height, width))
    return images


def photographs(*form: int) -> Images:
    """Smooth levels everywhere, from one corner to the other and as bright as dark."""
    random = np.random.default_rng(2)
    slopes = random.normal(0, 300, (form[0], 2, 1, 1))
    y, x = np.mgrid[: form[1], : form[2]] / form[1] - 0.5
    grey = random.uniform(0, 255, (form[0], 1, 1)) + slopes[:, 0] * y + slopes[:, 1] * x
    return np.clip(grey, 0, 255).astype(np.uint8)


INK: dict[str, tuple[Callable[[Images], Images], str | None]] = {
    "MNIST": (lambda x: x, "light"),
    "MNIST inverted": (lambda x: 255 - x, "dark"),
    "scans": (scanned, "dark"),
    "black and white": (lambda x: (x < 128) * np.uint8(255), "dark"),
    "chalk on a grey board": (lambda x: (150 + 0.4 * x).astype(np.uint8), "light"),
    "ink on grey paper": (lambda x: (110 - 0.4 * x).astype(np.uint8), "dark"),
    "8 x 8, cropped": (cropped, "light"),
    "8 x 8, cropped and dark": (lambda x: 255 - cropped(x), "dark"),
    "12 x 12": (lambda x: 255 - resized(x, 12), "dark"),
    "128 x 128": (lambda x: 255 - resized(x[:50], 128), "dark"),
    "scans in RGB": (lambda x: np.repeat(scanned(x)[..., None], 3, axis=3), "dark"),
    "light in RGB": (lambda x: coloured(x, 1, 1, 0.95), "light"),
    "things on black": (lambda x: clothes(len(x)), "light"),
    "things on white": (lambda x: 255 - clothes(len(x)), "dark"),
    "photographs": (lambda x: photographs(*x.shape), None),
    "photographs in RGB": (lambda x: np.stack([photographs(*x.shape), x, 255 - x], axis=3), None),
    "in colour on white": (lambda x: 255 - coloured(x, 1, 0.3, 0.1), None),
    "in colour on black": (lambda x: coloured(x, 0.2, 1, 0.2), None),
    "noise": (lambda x: np.random.default_rng(0).integers(0, 256, x.shape, np.uint8), None),
    "nothing": (lambda x: x * 0, None),
    "white": (lambda x: x * 0 + 255, None),
    "half of them inverted": (lambda x: np.concatenate([x, 255 - x]), None),
}


@pytest.mark.parametrize(("change", "ink"), INK.values(), ids=INK)
def test_ink_is_told_from_its_background(written: Images, change: Callable[[Images], Images], ink: str | None) -> None:
    assert find_background(change(written)).ink == ink


LYING: dict[str, tuple[Callable[[Images], Images], bool]] = {
    "MNIST": (lambda x: x, True),
    "MNIST inverted": (lambda x: 255 - x, True),
    "scans": (scanned, True),
    "8 x 8": (cropped, True),
    "RGB": (lambda x: np.repeat(x[..., None], 3, axis=3), True),
    "ten images": (lambda x: x[:10], True),
    "things": (lambda x: clothes(len(x)), False),
    "photographs": (lambda x: photographs(*x.shape), False),
    "nothing": (lambda x: x * 0, False),
}


@pytest.mark.parametrize(("change", "seen"), LYING.values(), ids=LYING)
def test_characters_that_lie_are_noticed(written: Images, change: Callable[[Images], Images], seen: bool) -> None:
    upright = change(written)
    lying = upright.swapaxes(1, 2)
    assert not looks_transposed(upright, find_background(upright))
    assert looks_transposed(lying, find_background(lying)) is seen


@pytest.mark.parametrize("classes", [(0, 1), (3, 7), (2, 5, 8), (4, 9)])
def test_some_of_the_digits_are_enough(digits: Arrays, written: Images, classes: tuple[int, ...]) -> None:
    some = written[np.isin(digits["y_train"], classes)]
    assert not looks_transposed(some, find_background(some))
    assert looks_transposed(some.swapaxes(1, 2), find_background(some))


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("data/emnist", True),
        ("/srv/EMNIST/raw", True),
        ("emnist-letters-train-images-idx3-ubyte.gz", True),
        ("x_train in data/emnist-balanced.npz", True),
        ("https://host/sets/emnist.npz#sha256=00", True),
        ("/home/emnist-course/sets/data/mnist.npz", False),
        ("data/mnist.npz", False),
        ("data/kmnist", False),
        ("data/qmnist-train", False),
        ("data/femnist.npz", False),
        ("https://host/mnist.npz#emnist", False),
    ],
)
def test_emnist_is_known_by_its_name(name: str, known: bool) -> None:
    assert is_emnist([name]) is known
    assert is_emnist(["data/raw", name]) is known


@pytest.mark.parametrize(("highest", "expected"), [(255, [0, 1, 254, 255]), (16, [0, 16, 255, 255])])
def test_levels_are_stretched_and_inverted(highest: int, expected: list[int]) -> None:
    assert stored_levels("light", highest)[[0, 1, 254, 255]].tolist() == expected
    assert stored_levels(None, highest)[[0, 1, 254, 255]].tolist() == expected
    assert stored_levels("dark", highest)[[0, 1, 254, 255]].tolist() == [255 - level for level in expected]


@pytest.mark.parametrize("highest", range(1, 256))
def test_stretching_keeps_all_levels_apart(highest: int) -> None:
    assert len(np.unique(stored_levels("light", highest)[: highest + 1])) == highest + 1


def test_fashion_mnist_is_left_as_it_is() -> None:
    """The real one, where Debian's package is installed."""
    import gzip

    path = Path("/usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz")
    if not path.is_file():
        pytest.skip("needs the Debian package dataset-fashion-mnist")
    with gzip.open(path) as file:
        images = np.frombuffer(file.read(16 + 784 * 3000), np.uint8, offset=16).reshape(-1, 28, 28)
    background = find_background(images)
    assert background.ink == "light"
    assert not looks_transposed(images, background)
    assert not looks_transposed(images.swapaxes(1, 2), background)
