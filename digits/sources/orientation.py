"""Bring images to the form in which they are stored, light ink on dark, upright, levels up to 255, whatever the source.

How the images of a source lie is found out from a sample of them: see "How images lie" in docs/data.md.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from digits.data.arrays import replace_values
from digits.data.form import measure_form
from digits.params import Transpose

Ink = Literal["light", "dark"]
Images = NDArray[np.uint8]

#: Images, or bytes of them, that are looked at in each set, evenly spaced: a set may be sorted by class.
SAMPLE, SAMPLE_BYTES = 1000, 2**22

#: Sets with fewer levels than this are stretched to 255: 0 to 16, or 0 and 1.
FEW_LEVELS = 128

#: A background is even if this fraction of the pixels in the corners is within NEAR of the 255 levels of their median.
#: It is 100 % in MNIST, 99 % in Fashion-MNIST and in scikit-learn's 8 x 8 digits, and less than 50 % in photographs.
EVEN, NEAR = 0.75, 32

#: Ink covers at least this fraction of the pixels.
INK = 0.01

#: Images are in colour if the channels differ by more than NEAR levels in this fraction of their pixels.
COLOURED = 0.01

#: A character is tall or wide if its ink spreads LONG times as far along one axis as along the other (in standard
#: deviations). Writing stands: 46 % of MNIST's digits are tall and 0.4 % wide. Clothes lie and stand: 34 % and 20 %.
LONG, MANY, MORE = 1.5, 0.1, 5

#: How people name EMNIST, whose published images are transposed. LEAF's FEMNIST is another set and is not transposed.
_EMNIST = re.compile(r"(?<![a-z])emnist")

#: The warnings.
UNLIKE = "the test images have another background than the training images: invert one of the two sets"
LYING = (
    "the images seem to be transposed, for many are much wider than tall, and few the other way round. Look at "
    "metrics/worst.png after a run: if they lie on their side there, set `load.transpose` to {} in params.yaml, else "
    "to the other value, which ends this warning"
)


class Background(NamedTuple):
    """What lies around the characters."""

    level: float  # the median of the corners
    ink: Ink | None  # against it; None: the background is not even, or the images are in colour


class Found(NamedTuple):
    """How the images of the source lie, and what was done."""

    facts: Mapping[str, Any]  # for `Dataset`: ink, highest, transposed, form
    notes: list[str]  # what was done, a line each
    warnings: list[str]


class Canonical:
    """Brings the images of both sets, 'train' and 'test', to the form in which they are stored."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], transpose: Transpose, names: Iterable[str]) -> None:
        """Prepare for images of these shapes. With 'auto', `names` of the source and its files tell if it is EMNIST."""
        self._auto = transpose == "auto"
        self._transposed = is_emnist(names) if transpose == "auto" else transpose
        self.shapes = {name: self._upright_shape(shape) for name, shape in shapes.items()}  # of what is stored
        self._samples = {name: Sample(shape[0], shape[1:]) for name, shape in self.shapes.items()}

    def _upright_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        count, height, width, *channels = shape
        return (count, width, height, *channels) if self._transposed else shape

    def upright(self, name: str, blocks: Iterable[Images]) -> Iterator[Images]:
        """Return the images of a set as they are to be written first, block by block, and sample them."""
        for block in blocks:
            stored = np.ascontiguousarray(block.swapaxes(1, 2)) if self._transposed else block
            self._samples[name].add(stored)
            yield stored

    def finish(self, files: Mapping[str, Path]) -> Found:
        """Judge the sampled images, and rewrite the .npy files of both sets if their levels have to change."""
        highest = max(sample.highest for sample in self._samples.values())
        if not 0 < highest < FEW_LEVELS:
            highest = 255
        images = {name: np.concatenate(sample.taken) for name, sample in self._samples.items()}
        stretched = stored_levels(None, highest)
        train, test = (find_background(stretched[images[name]]) for name in ("train", "test"))
        levels = stored_levels(train.ink, highest)
        if (levels != np.arange(256)).any():
            for file in files.values():
                replace_values(file, levels)
        form = None if train.ink is None else measure_form(levels[images["train"]])
        facts = {"ink": train.ink, "highest": highest, "transposed": self._transposed, "form": form}
        notes = {
            "images: height and width exchanged" + (", as EMNIST needs it" if self._auto else ""): self._transposed,
            f"images: levels 0 to {highest} stretched to 0 to 255": highest != 255,
            "images: dark ink on a light background, inverted": train.ink == "dark",
        }
        warnings = {
            UNLIKE: test.ink != train.ink,
            LYING.format("false" if self._transposed else "true"): self._auto
            and looks_transposed(stretched[images["train"]], train),
        }
        return Found(facts, *([line for line, true in lines.items() if true] for lines in (notes, warnings)))


class Sample:
    """Images of a set, evenly spaced, and the highest level of all of them."""

    def __init__(self, count: int, image_shape: Sequence[int]) -> None:
        """Prepare for `count` images of this shape."""
        self._step = max(1, -(-count // SAMPLE), -(-count * math.prod(image_shape) // SAMPLE_BYTES))
        self._seen, self.highest, self.taken = 0, 0, [np.empty((0, *image_shape), np.uint8)]

    def add(self, block: Images) -> None:
        """Take the next images into account."""
        self.taken.append(block[-self._seen % self._step :: self._step].copy())
        self._seen += len(block)
        self.highest = max(self.highest, int(block.max()))


def find_background(images: Images) -> Background:
    """Look at the corners of images, which characters seldom reach: an eighth of each side, and at least a pixel."""
    grey = _grey(images)
    tall, wide = (max(1, side // 8) for side in grey.shape[1:])
    rows, columns = np.r_[0:tall, -tall:0], np.r_[0:wide, -wide:0]
    corners = grey[:, rows[:, None], columns]
    level = float(np.median(corners))
    even = (np.abs(corners - level) <= NEAR).mean() >= EVEN
    coloured = images.ndim == 4 and (np.ptp(images, axis=3) > NEAR).mean() > COLOURED
    ink = (np.abs(grey - level) > NEAR).mean()
    if coloured or not even or ink < INK:
        return Background(level, None)
    return Background(level, "dark" if grey.mean() < level else "light")


def looks_transposed(images: Images, background: Background) -> bool:
    """Return whether most characters are wide where writing is tall; False if the images are not ink on paper."""
    if background.ink is None:
        return False
    strength = np.abs(_grey(images) - background.level)
    strength[strength <= NEAR] = 0  # noise of the paper is not ink
    strength = strength[strength.any(axis=(1, 2))]
    if not len(strength):
        return False
    down, across = _variance(strength.sum(axis=2)), _variance(strength.sum(axis=1))
    tall, wide = (down > LONG**2 * across).mean(), (across > LONG**2 * down).mean()
    return bool(wide >= MANY and wide > MORE * tall)


def _grey(images: Images) -> NDArray[np.float32]:
    return images.mean(axis=3, dtype=np.float32) if images.ndim == 4 else images.astype(np.float32)


def _variance(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the variance of the places 0, 1, ... with these weights: [n, places] to [n]."""
    places = np.arange(weights.shape[1], dtype=np.float32)
    total = weights.sum(axis=1)
    mean = weights @ places / total
    return weights @ places**2 / total - mean**2


def is_emnist(names: Iterable[str]) -> bool:
    """Return whether paths or addresses name EMNIST, in their last part or the one before."""
    return any(_EMNIST.search(part.lower()) for name in names for part in PurePath(name.partition("#")[0]).parts[-2:])


def stored_levels(ink: Ink | None, highest: int) -> Images:
    """Return what each level of a source is stored as, uint8 [256]: `highest` becomes 255, and dark ink is inverted."""
    levels = np.rint(np.minimum(np.arange(256), highest) * (255 / highest)).astype(np.uint8)
    return 255 - levels if ink == "dark" else levels
