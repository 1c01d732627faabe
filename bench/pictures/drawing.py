"""Paper, ink and cameras, to make pictures of digits as people have them."""

import io
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Pixels = NDArray[np.float32]  # [h, w, 3] in 0 .. 255
Digit = NDArray[np.uint8]  # [28, 28], 255 is ink
Random = np.random.Generator
Colour = tuple[int, int, int]
Stroke = Sequence[tuple[float, float]]  # points, x to the right and y down, in [0, 1]

CREAM, BLUE_INK, BLACK = (246, 245, 240), (25, 30, 90), (0, 0, 0)


def pen(digit: Digit, side: int) -> Pixels:
    """A real digit as the crisp stroke of a pen: how much ink there is, [side, side] in [0, 1]."""
    picture = Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC)
    return np.clip((np.asarray(picture, np.float32) / 255 - 0.45) * max(side / 84, 3) + 0.5, 0, 1)


def paper(rng: Random, height: int, width: int, colour: Colour = CREAM, noise: float = 3) -> Pixels:
    """A sheet with a little noise."""
    grain = rng.normal(0, noise, (height, width, 1))
    return np.clip(np.array(colour) + grain, 0, 255).astype(np.float32)


def put(page: Pixels, ink: Pixels, top: int, left: int, colour: Colour = BLUE_INK) -> Pixels:
    """Write on the page, in place."""
    spot = page[top : top + ink.shape[0], left : left + ink.shape[1]]
    spot[:] = spot * (1 - ink[..., None]) + np.array(colour, np.float32) * ink[..., None]
    return page


def written(digit: Digit, rng: Random, side: int = 300, height: int = 480, width: int = 640) -> Pixels:
    """A digit somewhere on a clean sheet."""
    top, left = int(rng.integers(20, height - side - 20)), int(rng.integers(20, width - side - 20))
    return put(paper(rng, height, width), pen(digit, side), top, left)


def pixels(image: Image.Image) -> Pixels:
    """A picture, to write on."""
    return np.array(image.convert("RGB"), np.float32)


def picture(page: Pixels) -> Image.Image:
    """The page as a picture."""
    return Image.fromarray(np.clip(page, 0, 255).astype(np.uint8))


def through(image: Image.Image, kind: str, **options: object) -> Image.Image:
    """The picture as it comes out of a file of some kind."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return Image.open(stream)


def photographed(page: Pixels, rng: Random) -> Image.Image:
    """Noise, blur and JPEG."""
    noisy = picture(page + rng.normal(0, 4, page.shape).astype(np.float32)).filter(ImageFilter.GaussianBlur(1.2))
    return through(noisy, "JPEG", quality=80)


def arc(middle: tuple[float, float], radii: tuple[float, float], start: float, end: float) -> Stroke:
    """A part of an ellipse, in degrees, clockwise from the right."""
    angles = [math.radians(start + (end - start) * step / 24) for step in range(25)]
    return [(middle[0] + radii[0] * math.cos(angle), middle[1] + radii[1] * math.sin(angle)) for angle in angles]


def drawn(
    strokes: Sequence[Stroke],
    *,
    side: int = 300,
    width: int = 16,
    ink: Colour = (20, 20, 60),
    back: Colour = (250, 250, 250),
) -> Image.Image:
    """Strokes of a pen with round ends, `width` pixels wide."""
    large = Image.new("RGB", (2 * side, 2 * side), back)
    draw = ImageDraw.Draw(large)
    for stroke in strokes:
        points = [(2 * side * x, 2 * side * y) for x, y in stroke]
        draw.line(points, ink, 2 * width, joint="curve")
        for x, y in points:
            draw.ellipse((x - width, y - width, x + width, y + width), ink)
    return large.resize((side, side), Image.Resampling.BOX)
