"""The form in which images are stored, whatever a data set has: light ink on dark, upright, levels up to 255."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from digits.data.arrays import replace_values
from digits.data.form import Form, measure_form
from digits.sources.orientation import Background, find_background, is_emnist, looks_transposed, stored_levels

#: Of either set so many images are looked at, or so many bytes, evenly spaced, for a set may be sorted by class.
SAMPLE, SAMPLE_BYTES = 1000, 2**22

#: Sets with fewer levels than this are stretched to 255: 0 to 16, or 0 and 1.
FEW_LEVELS = 128

#: The parameter `load.transpose`.
Transpose = Annotated[
    bool | Literal["auto"],
    Field(description="true, false or auto: whether height and width of the images are to be exchanged"),
]

#: The warnings.
UNLIKE = "the background of the test images is another than that of the training images: invert one of the two sets"
LYING = (
    "the images seem to be transposed, for many are much wider than tall, and few the other way round. Look at "
    "metrics/worst.png after a run: if they lie on their side there, set `load.transpose` to {} in params.yaml, else "
    "to the other value, which ends this warning"
)

Images = NDArray[np.uint8]


class Sample:
    """Images of a set, evenly spaced, and the highest level of all of them."""

    def __init__(self, count: int, image_shape: Sequence[int]) -> None:
        """Take the number of images, and the form of one: height, width, and 3 if they are RGB."""
        self._step = max(1, -(-count // SAMPLE), -(-count * math.prod(image_shape) // SAMPLE_BYTES))
        self._seen, self._taken = 0, [np.empty((0, *image_shape), np.uint8)]
        self.highest = 0

    def watch(self, blocks: Iterable[Images]) -> Iterator[Images]:
        """Let blocks of images, [k, *image_shape], pass unchanged."""
        for block in blocks:
            self._taken.append(block[-self._seen % self._step :: self._step].copy())
            self._seen += len(block)
            self.highest = max(self.highest, int(block.max()))
            yield block

    @property
    def images(self) -> Images:
        """Those that were kept: [k, *image_shape]."""
        return np.concatenate(self._taken)


class Found(NamedTuple):
    """How the images of the source lie, and what was done."""

    facts: Mapping[str, Any]  # for `Dataset`: ink, highest, transposed
    notes: list[str]  # what was done, a line each
    warnings: list[str]
    form: Form | None  # where the training images, as they are stored, have their strokes; None: nowhere, or unknown


class Canonical:
    """Brings the images of both sets to the form in which they are stored."""

    def __init__(
        self, shapes: Mapping[str, tuple[int, ...]], *, transpose: bool | Literal["auto"], names: Iterable[str]
    ) -> None:
        """Prepare for images that are still to be read.

        Args:
            shapes: of the arrays of images, by the names of their sets, 'train' and 'test'.
            transpose: the parameter `load.transpose`.
            names: of the source and its files, for 'auto'.
        """
        self._auto = transpose == "auto"
        self._transposed = is_emnist(names) if transpose == "auto" else transpose
        self.shapes = {name: self._exchanged(shape) for name, shape in shapes.items()}  # of what is stored
        self._samples = {name: Sample(shape[0], shape[1:]) for name, shape in self.shapes.items()}

    def _exchanged(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        count, height, width, *channels = shape
        return (count, width, height, *channels) if self._transposed else shape

    def upright(self, name: str, blocks: Iterable[Images]) -> Iterator[Images]:
        """The images of a set, in blocks of some, as they are to be written."""
        return self._samples[name].watch(
            (np.ascontiguousarray(block.swapaxes(1, 2)) for block in blocks) if self._transposed else blocks
        )

    def finish(self, files: Mapping[str, Path]) -> Found:
        """Look at the images that have passed, and rewrite what was written of them if their levels are others.

        Args:
            files: the .npy files of both sets.
        """
        highest = max(sample.highest for sample in self._samples.values())
        if not 0 < highest < FEW_LEVELS:
            highest = 255
        stretched = stored_levels(None, highest)
        train, test = (find_background(stretched[self._samples[name].images]) for name in ("train", "test"))
        levels = stored_levels(train.ink, highest)
        if (levels != np.arange(256)).any():
            for file in files.values():
                replace_values(file, levels)
        facts = {"ink": train.ink, "highest": highest, "transposed": self._transposed}
        warnings = [UNLIKE] if test.ink != train.ink else []
        if self._auto and looks_transposed(stretched[self._samples["train"].images], train):
            warnings.append(LYING.format("false" if self._transposed else "true"))
        form = None if train.ink is None else measure_form(levels[self._samples["train"].images])
        return Found(facts, self._notes(train, highest), warnings, form)

    def _notes(self, background: Background, highest: int) -> list[str]:
        notes = ["images: height and width exchanged" + (", as EMNIST needs it" if self._auto else "")]
        notes = notes if self._transposed else []
        if highest != 255:
            notes.append(f"images: levels 0 to {highest} stretched to 0 to 255")
        if background.ink == "dark":
            notes.append("images: dark ink on a light background, inverted")
        return notes
