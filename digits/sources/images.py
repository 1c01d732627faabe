"""Convert images to the form in which they are stored: uint8, one shape, light ink on dark, upright, up to 255.

Values that would have to be rounded raise an error. A sample of the images shows their ink and background, and whether
they are transposed: docs/data.md has the rules.
"""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from digits.data.dataset import LONGEST, SHORTEST, Form
from digits.data.npy import NpyFile, describe, replace_values
from digits.sources.arrays import Rows, Values
from dvcproof.runtime.program import InputError

Ink = Literal["light", "dark"]
Images = NDArray[np.uint8]

#: A fraction from 0 to 1, times 255, may differ from a whole number by this much. The keys are the bytes of its type. A
#: float64 may have been converted from a float32, so both have the same limit.
_ROUNDING = {2: 0.25, 4: 1e-3, 8: 1e-3}

#: The most images, and the most bytes of images, in the sample of a set. They are evenly spaced, since a set may be
#: sorted by class.
SAMPLE, SAMPLE_BYTES = 1000, 2**22

#: If the highest level of a set is lower than this, the levels are stretched to 255: from 0 to 16, for example.
FEW_LEVELS = 128

#: A background is even if at least the fraction EVEN of the pixels in the corners differs from their median by at most
#: NEAR levels of 255. The fraction is 100 % in MNIST, 99 % in Fashion-MNIST and in scikit-learn's 8 x 8 digits, and
#: less than 50 % in photographs.
EVEN, NEAR = 0.75, 32

#: Ink covers at least this fraction of the pixels.
INK = 0.01

#: Images are in colour if the channels differ by more than NEAR levels in more than this fraction of the pixels.
COLOURED = 0.01

#: A character is tall or wide if its ink spreads more than LONG times as far along one axis as along the other (in
#: standard deviations). Images seem transposed if at least the fraction MANY of the characters is wide, and more than
#: MORE times as many are wide as tall. In MNIST, 46 % of the digits are tall and 0.4 % are wide. In Fashion-MNIST, 34 %
#: of the clothes are tall and 20 % are wide.
LONG, MANY, MORE = 1.5, 0.1, 5

#: Strokes are narrower than the fraction STROKE of the image side, except for at most the fraction SOLID of their ink.
STROKE, SOLID = 0.2, 0.1

#: Grey levels up to this count as background: resampling and JPEG leave faint traces.
FAINT = 25

#: About how many images are measured for their strokes.
MEASURED = 200

#: A name that means EMNIST, whose published images are transposed. LEAF's FEMNIST is another set and is not transposed.
_EMNIST = re.compile(r"(?<![a-z])emnist")

#: The warnings.
UNLIKE = "WARNING: the test images and the training images have different backgrounds: invert one of the two sets"
LYING = (
    "WARNING: the images seem to be transposed, since many are much wider than tall, and few much taller than wide. "
    "Look at metrics/worst.png after a run: if they lie on their side there, set `load.transpose` to {} in "
    "params.yaml, otherwise to the other value, which ends this warning"
)


# Type and shape, converted while the images are read


def fold(rows: Rows) -> Rows:
    """Return images as [n, height, width] or [n, height, width, 3], without a change of their type. Read no values.

    Raise InputError if an array of this type or shape cannot be images.
    """
    received, hint = describe(rows.dtype, rows.shape), "Convert the images to this form, and save them again."
    if rows.dtype.kind not in "buif":
        raise InputError(rows.name, expected="pixels as numbers", received=received, hint=hint)
    count, *sides = rows.shape or (0,)
    channels_first = len(sides) == 3 and sides[0] == 3 != sides[2]
    if channels_first:
        sides = [*sides[1:], 3]
    elif len(sides) == 1:
        sides = [math.isqrt(max(0, sides[0]))] * 2
    elif len(sides) == 3 and 1 in (sides[0], sides[2]):
        sides = sides[:2] if sides[2] == 1 else sides[1:]
    shape = (count, *sides)
    fits = sides[2:] in ([], [3]) and len(sides) > 1 and all(SHORTEST <= side <= LONGEST for side in sides[:2])
    if not fits or math.prod(shape) != math.prod(rows.shape):
        form = f"images [n, height, width], grey or with 3 colours, of {SHORTEST} to {LONGEST} pixels a side"
        raise InputError(rows.name, expected=form, received=received, hint=hint)

    def blocks() -> Iterator[Values]:
        for values in rows.blocks():
            yield np.moveaxis(values, 1, 3) if channels_first else values.reshape(-1, *sides)

    before, after = (", ".join(["n", *map(str, each[1:])]) for each in (rows.shape, shape))
    notes = (*rows.notes, f"[{before}] to [{after}]") if before != after else rows.notes
    return replace(rows, shape=shape, blocks=blocks, notes=notes)


def to_uint8(sets: Sequence[Rows]) -> list[Rows]:
    """Convert the images of all sets, as `fold` returned them, to levels from 0 to 255, and to grey without colours.

    Raise InputError if their sizes differ, and, when they are read, if a value cannot be converted.
    """
    for rows in sets[1:]:
        if rows.shape[1:3] != sets[0].shape[1:3]:
            sizes = [f"{each.shape[1]} x {each.shape[2]}" for each in (sets[0], rows)]
            expected, hint = f"images of {sizes[0]} pixels, as in {sets[0].name}", "Bring all images to one size."
            raise InputError(rows.name, expected=expected, received=f"{sizes[1]} pixels", hint=hint)
    units = [_is_unit(rows) for rows in sets]
    default = next((unit for unit in units if unit is not None), True)  # for a set with only 0 and 1
    colour = any((block != block[..., :1]).any() for rows in sets if len(rows.shape) == 4 for block in rows.blocks())
    every = ((rows, default if unit is None else unit) for rows, unit in zip(sets, units, strict=True))
    return [_converted(rows, unit=unit, colour=colour) for rows, unit in every]


def _is_unit(rows: Rows) -> bool | None:
    """Return whether values are fractions from 0 to 1; None if all are 0 or 1. Read only as far as necessary."""
    if rows.dtype.kind != "f":
        return rows.dtype.kind == "b"
    for values in rows.blocks():
        if ((values > 0) & (values < 1)).any():
            return True
        if (values > 1).any():
            return False
    return None


def _converted(rows: Rows, *, unit: bool, colour: bool) -> Rows:
    shape = (*rows.shape[:3], 3) if colour else rows.shape[:3]

    def blocks() -> Iterator[Images]:
        first = 0
        for values in rows.blocks():
            block = _levels(rows.name, values, unit=unit, first=first)
            first += len(block)
            if block.ndim < len(shape):
                block = np.repeat(block[..., None], 3, axis=3)
            yield block[..., 0] if block.ndim > len(shape) else block

    notes = [*rows.notes]
    if rows.dtype != np.uint8:
        notes.append(f"{rows.dtype} to uint8" + (", 1 to 255" if unit else ""))
    if len(rows.shape) != len(shape):
        notes.append("grey to three equal colours" if colour else "three equal colours to one grey")
    return Rows(rows.name, np.dtype(np.uint8), shape, blocks, tuple(notes))


def _levels(name: str, values: Values, *, unit: bool, first: int) -> Images:
    """Convert values to uint8, or raise InputError. `first` is the number of the first image, for the message."""
    if values.dtype == np.uint8:
        return values
    numbers = values.astype(np.float64)
    with np.errstate(invalid="ignore"):
        levels = numbers * (255 if unit else 1)
        whole = np.rint(levels)
        slack = _ROUNDING[values.dtype.itemsize] if values.dtype.kind == "f" and unit else 0
        bad = ~((np.abs(levels - whole) <= slack) & (whole >= 0) & (whole <= 255))
    if not bad.any():
        return whole.astype(np.uint8)
    place = [int(k) for k in np.unravel_index(int(bad.argmax()), bad.shape)]
    value = float(numbers[tuple(place)])
    expected = "whole numbers from 0 to 255, or fractions from 0 to 1"
    hint = "Save the images as they were before they were normalized, as uint8."
    if unit and 0 <= value <= 1:
        expected = "fractions of 255, as dividing uint8 by 255 gives them"
        hint = "Round them yourself, and save them again: `np.rint(x * 255).astype(np.uint8)`."
    elif math.isnan(value):
        hint = "Find out where the NaN comes from, and save the images again without it."
    place[0] += first
    where = ", ".join(f"{what} {k}" for what, k in zip(("image", "row", "column", "colour"), place, strict=False))
    raise InputError(name, expected=expected, received=f"{value:.6g} in {where}", hint=hint)


def is_emnist(names: Iterable[str]) -> bool:
    """Return whether a path or address names EMNIST in one of its last two parts."""
    return any(_EMNIST.search(part.lower()) for name in names for part in PurePath(name.partition("#")[0]).parts[-2:])


def exchanged(rows: Rows) -> Rows:
    """Return images with height and width exchanged."""
    count, height, width, *channels = rows.shape
    shape = (count, width, height, *channels)
    return replace(rows, shape=shape, blocks=lambda: (block.swapaxes(1, 2) for block in rows.blocks()))


# Ink and levels, after the images are written


def settle(
    files: Sequence[Path], image_shape: tuple[int, ...], *, transposed: bool, auto: bool
) -> tuple[dict[str, Any], list[str]]:
    """Convert the stored images, uint8 [n, *image_shape], in place to light ink on dark, with levels up to 255.

    `auto` says whether the name of the source decided if height and width have been exchanged. Return the fields ink,
    highest, transposed and form for `Dataset`; and a line for each change and each warning.
    """
    sets = [NpyFile(path, dtype=np.uint8, shape=(None, *image_shape), is_input=False) for path in files]
    highest = max(int(block.max()) for images in sets for block in images.blocks())
    if not 0 < highest < FEW_LEVELS:
        highest = 255
    steps = [max(1, -(-len(each) // SAMPLE), -(-each.size // SAMPLE_BYTES)) for each in sets]
    samples = (each.take(np.arange(0, len(each), step)) for each, step in zip(sets, steps, strict=True))
    train, test = (stored_levels(None, highest)[sample.astype(np.uint8, copy=False)] for sample in samples)
    _, ink = find_background(train)
    levels = stored_levels(ink, highest)
    if (levels != np.arange(256)).any():
        for file in files:
            replace_values(file, levels)
    form = None if ink is None else measure_form(255 - train if ink == "dark" else train)
    lines = {
        "images: height and width exchanged" + (", as EMNIST needs it" if auto else ""): transposed,
        f"images: levels 0 to {highest} stretched to 0 to 255": highest != 255,
        "images: dark ink on a light background, inverted": ink == "dark",
        UNLIKE: find_background(test)[1] != ink,
        LYING.format("false" if transposed else "true"): auto and looks_transposed(train),
    }
    facts = {"ink": ink, "highest": highest, "transposed": transposed, "form": form}
    return facts, [line for line, holds in lines.items() if holds]


def stored_levels(ink: Ink | None, highest: int) -> Images:
    """Return a table from levels to stored levels, uint8 [256]: `highest` to 255, and inverted for dark ink."""
    levels = np.rint(np.minimum(np.arange(256), highest) * (255 / highest)).astype(np.uint8)
    return 255 - levels if ink == "dark" else levels


def find_background(images: Images) -> tuple[float, Ink | None]:
    """Return the level of the background, measured in the corners of images, an eighth of each side; and the ink.

    The ink is None if the background is uneven, or if the images are in colour.
    """
    grey = _grey(images)
    tall, wide = (max(1, side // 8) for side in grey.shape[1:])
    rows, columns = np.r_[0:tall, -tall:0], np.r_[0:wide, -wide:0]
    corners = grey[:, rows[:, None], columns]
    level = float(np.median(corners))
    even = (np.abs(corners - level) <= NEAR).mean() >= EVEN
    coloured = images.ndim == 4 and (np.ptp(images, axis=3) > NEAR).mean() > COLOURED
    ink = (np.abs(grey - level) > NEAR).mean()
    if coloured or not even or ink < INK:
        return level, None
    return level, "dark" if grey.mean() < level else "light"


def looks_transposed(images: Images) -> bool:
    """Return whether many characters are wide and few are tall; False if the images are not ink on paper."""
    level, ink = find_background(images)
    if ink is None:
        return False
    strength = np.abs(_grey(images) - level)
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
    """Return the weighted variance of the places 0, 1, ...: weights [n, places] to variances [n]."""
    places = np.arange(weights.shape[1], dtype=np.float32)
    total = weights.sum(axis=1)
    mean = weights @ places / total
    return weights @ places**2 / total - mean**2


# Strokes


class Place(NamedTuple):
    """Size and place of the strokes in an image, in pixels."""

    box: int  # longer side of the box around the strokes
    mass: float  # distance of the strokes' centre of mass from the image centre
    centre: float  # distance of the centre of the box from the image centre


def measure_form(images: NDArray[np.uint8]) -> Form | None:
    """Measure size and place of the strokes in images, uint8 [n, height, width] or RGB, light ink on dark.

    Return None if the images are not thin strokes on an empty field but things that fill the image.
    """
    sample = _grey(images[:: max(1, len(images) // MEASURED)]).astype(np.uint8)
    inked = sample[(sample > FAINT).any(axis=(1, 2))]
    if not len(inked) or not are_strokes(inked):
        return None
    box, mass, centre = np.median([place(image) for image in inked], axis=0)
    return Form(box=int(box), centred_by="mass" if mass < centre else "box")


def are_strokes(images: NDArray[np.uint8]) -> bool:
    """Return whether the ink of images, uint8 [n, height, width], is thin: hardly any of it is both wide and tall."""
    ink = images > 127
    side = max(3, round(STROKE * min(images.shape[1:])))
    solid = np.lib.stride_tricks.sliding_window_view(ink, (side, side), axis=(1, 2)).all(axis=(3, 4))
    return bool(solid.sum() <= SOLID * ink.sum())


def place(image: NDArray[np.uint8]) -> Place:
    """Measure the strokes of an image, uint8 [height, width]. At least one pixel must be above FAINT."""
    strokes = np.where(image > FAINT, image, 0)
    boxes, masses, centres = [], [], []
    for axis, side in enumerate(image.shape):
        levels = strokes.sum(axis=1 - axis, dtype=np.int64)
        inked = np.flatnonzero(levels)
        boxes.append(int(inked[-1] - inked[0]) + 1)
        # As in MNIST, the centre of 28 pixels is the pixel 14, and not 13.5.
        masses.append(abs(float(np.average(np.arange(side), weights=levels)) - side / 2))
        centres.append(abs(float(inked[0] + inked[-1] + 1) - side) / 2)
    return Place(max(boxes), max(masses), max(centres))
