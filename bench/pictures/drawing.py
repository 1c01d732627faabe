"""Draw paper, ink and what a camera does, to make pictures of digits as people have them."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Pixels = NDArray[np.float32]  # [h, w, 3] in 0 .. 255
Page = Pixels | Image.Image
Digit = NDArray[np.uint8]  # [28, 28], 255 is ink
Random = np.random.Generator
Colour = int | tuple[int, int, int]
Stroke = list[tuple[float, float]]  # points, x to the right and y down, in [0, 1]

CREAM, BLUE_INK = (246, 245, 240), (25, 30, 90)


def pixels(page: Page) -> Pixels:
    """Return a page as pixels to draw on."""
    return np.array(page.convert("RGB"), np.float32) if isinstance(page, Image.Image) else page


def picture(page: Page) -> Image.Image:
    """Return a page as a picture."""
    return page if isinstance(page, Image.Image) else Image.fromarray(np.clip(page, 0, 255).astype(np.uint8))


def paper(rng: Random, height: int = 480, width: int = 640, colour: Colour = CREAM, noise: float = 3) -> Pixels:
    """Return a sheet with a little noise."""
    return np.clip(np.array(colour) + rng.normal(0, noise, (height, width, 1)), 0, 255).astype(np.float32)


def pen(digit: Digit, side: int) -> Pixels:
    """Return a real digit as the crisp stroke of a pen: how much ink there is, [side, side] in [0, 1]."""
    image = Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC)
    return np.clip((np.asarray(image, np.float32) / 255 - 0.45) * max(side / 84, 3) + 0.5, 0, 1)


def put(page: Page, ink: Pixels, top: int, left: int, colour: Colour = BLUE_INK) -> Pixels:
    """Write on a page; pixels are changed in place."""
    page = pixels(page)
    spot = page[top : top + ink.shape[0], left : left + ink.shape[1]]
    spot[:] = spot * (1 - ink[..., None]) + np.array(colour, np.float32) * ink[..., None]
    return page


def write(digit: Digit, rng: Random) -> Pixels:
    """Return a clean sheet with a digit somewhere on it."""
    top, left = int(rng.integers(20, 160)), int(rng.integers(20, 320))
    return put(paper(rng), pen(digit, 300), top, left)


def boxes(page: Pixels, *places: tuple[int | None, int | None, int | None, int | None, Colour]) -> Pixels:
    """Fill rectangles on a page, in place: (top, bottom, left, right, colour)."""
    for top, bottom, left, right, colour in places:
        page[top:bottom, left:right] = colour
    return page


def discs(page: Pixels, radius: int, colour: Colour, *places: tuple[int, int]) -> Pixels:
    """Draw discs around places (row, column) on a page."""
    y, x = np.mgrid[: page.shape[0], : page.shape[1]]
    near = [(y - row) ** 2 + (x - column) ** 2 < radius**2 for row, column in places]
    return np.where(np.any(near, axis=0)[..., None], np.array(colour, np.float32), page)


def rotated(page: Page, rng: Random, most: float, **options: Any) -> Image.Image:
    """Rotate a page by up to this many degrees."""
    return picture(page).rotate(float(rng.uniform(-most, most)), Image.Resampling.BICUBIC, **options)


def lying_on(table: Page, sheet: Page, rng: Random, most: float, place: tuple[int, int]) -> Image.Image:
    """Put a sheet on a table, rotated by up to this many degrees."""
    turned = rotated(picture(sheet).convert("RGBA"), rng, most, expand=True)
    table = picture(table)
    table.paste(turned, place, turned)
    return table


def jpeg(page: Page, quality: int) -> Image.Image:
    """Return a page as it comes out of a JPEG file."""
    stream = io.BytesIO()
    picture(page).save(stream, "JPEG", quality=quality)
    return Image.open(stream)


def photographed(page: Page, rng: Random) -> Image.Image:
    """Add noise and blur, and compress as JPEG."""
    noisy = pixels(page) + rng.normal(0, 4, pixels(page).shape).astype(np.float32)
    return jpeg(picture(noisy).filter(ImageFilter.GaussianBlur(1.2)), 80)


def drawn(strokes: Sequence[Stroke], side: int, width: int, ink: Colour = (20, 20, 60)) -> Image.Image:
    """Draw strokes with a pen with round ends, `width` pixels wide."""
    large = Image.new("RGB", (2 * side, 2 * side), (250, 250, 250))
    draw = ImageDraw.Draw(large)
    for stroke in strokes:
        points = [(2 * side * x, 2 * side * y) for x, y in stroke]
        draw.line(points, ink, 2 * width, joint="curve")
        for x, y in points:
            draw.ellipse((x - width, y - width, x + width, y + width), ink)
    return large.resize((side, side), Image.Resampling.BOX)
