"""Draw paper, ink and the effects of a camera, to make realistic pictures of digits."""

import io
import math
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Pixels = NDArray[np.float32]  # [h, w, 3] in 0 .. 255
Digit = NDArray[np.uint8]  # [28, 28], 255 is ink
Random = np.random.Generator
Colour = int | tuple[int, int, int]
Stroke = list[tuple[float, float]]  # points, x to the right and y down, in [0, 1]

CREAM, BLUE_INK = (246, 245, 240), (25, 30, 90)


def pen(digit: Digit, side: int) -> Pixels:
    """Return a real digit as the crisp stroke of a pen: the amount of ink, [side, side] in [0, 1]."""
    image = Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC)
    return np.clip((np.asarray(image, np.float32) / 255 - 0.45) * max(side / 84, 3) + 0.5, 0, 1)


class Sheet:
    """A page or a screen to draw on. Each method changes it and returns it."""

    def __init__(self, height: int, width: int, colour: Colour = 255) -> None:
        self.pixels: Pixels = np.full((height, width, 3), colour, np.float32)

    @classmethod
    def of(cls, pixels: Image.Image | Pixels) -> Self:
        """Return a sheet with these pixels."""
        sheet = cls(0, 0)
        sheet.pixels = np.array(pixels.convert("RGB"), np.float32) if isinstance(pixels, Image.Image) else pixels
        return sheet

    @classmethod
    def paper(
        cls, rng: Random, height: int = 480, width: int = 640, *, colour: Colour = CREAM, noise: float = 3
    ) -> Self:
        """Return a sheet of paper with a little noise."""
        grain = rng.normal(0, noise, (height, width, 1))
        return cls.of(np.clip(np.array(colour) + grain, 0, 255).astype(np.float32))

    @property
    def image(self) -> Image.Image:
        return Image.fromarray(np.clip(self.pixels, 0, 255).astype(np.uint8))

    def box(self, top: int | None, bottom: int | None, left: int | None, right: int | None, colour: Colour) -> Self:
        self.pixels[top:bottom, left:right] = colour
        return self

    def grid(self, step: int, thick: int, colour: Colour) -> Self:
        for start in range(0, self.pixels.shape[1], step):
            self.box(start, start + thick, None, None, colour).box(None, None, start, start + thick, colour)
        return self

    def paint(self, where: NDArray[np.bool_], colour: Colour) -> Self:
        """Paint the places where `where`, [h, w], is true."""
        self.pixels[where] = colour
        return self

    def discs(self, radius: int, colour: Colour, *places: tuple[int, int]) -> Self:
        y, x = np.mgrid[: self.pixels.shape[0], : self.pixels.shape[1]]
        for row, column in places:
            self.paint((y - row) ** 2 + (x - column) ** 2 < radius**2, colour)
        return self

    def draw(self, method: str, *args: Any, **options: Any) -> Self:
        """Call a method of Pillow's ImageDraw."""
        image = self.image
        getattr(ImageDraw.Draw(image), method)(*args, **options)
        self.pixels = np.array(image, np.float32)
        return self

    def write(self, digit: Digit, side: int, top: int, left: int, colour: Colour = BLUE_INK, *, ink: float = 1) -> Self:
        return self.put(ink * pen(digit, side), top, left, colour)

    def put(self, ink: Pixels, top: int, left: int, colour: Colour = BLUE_INK) -> Self:
        spot = self.pixels[top : top + ink.shape[0], left : left + ink.shape[1]]
        spot[:] = spot * (1 - ink[..., None]) + np.array(colour, np.float32) * ink[..., None]
        return self

    def rotate(self, degrees: float) -> Self:
        return self.show(self.image.rotate(degrees, Image.Resampling.BICUBIC, fillcolor=CREAM))

    def crop(self, left: int, top: int, right: int, bottom: int) -> Self:
        self.pixels = self.pixels[top:bottom, left:right]
        return self

    def lay(self, sheet: "Sheet", degrees: float, left: int, top: int) -> Self:
        """Put another sheet, rotated, on this one."""
        turned = sheet.image.convert("RGBA").rotate(degrees, Image.Resampling.BICUBIC, expand=True)
        image = self.image
        image.paste(turned, (left, top), turned)
        return self.show(image)

    def light(self, light: NDArray[np.floating]) -> Self:
        """Multiply each pixel by the light, [h, w]."""
        self.pixels = self.pixels * light[..., None].astype(np.float32)
        return self

    def add(self, levels: NDArray[np.floating]) -> Self:
        """Add levels, [h, w], to each pixel."""
        self.pixels = self.pixels + levels[..., None].astype(np.float32)
        return self

    def photo(self, rng: Random) -> Self:
        """Add noise and blur, and compress as JPEG."""
        self.pixels = self.pixels + rng.normal(0, 4, self.pixels.shape).astype(np.float32)
        return self.show(jpeg(self.image.filter(ImageFilter.GaussianBlur(1.2)), 80))

    def show(self, image: Image.Image) -> Self:
        self.pixels = np.array(image.convert("RGB"), np.float32)
        return self


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    """Return a picture as it comes out of a JPEG file."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(stream)


def hand_shadow(rng: Random, height: int = 480, width: int = 640) -> Pixels:
    """Return brightness, [height, width] in [0, 1], with the soft edge of a shadow across it."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    angle = rng.uniform(0, 2 * math.pi)
    across = (x - width * rng.uniform(0.35, 0.65)) * math.cos(angle)
    distance = across + (y - height * rng.uniform(0.35, 0.65)) * math.sin(angle)
    return (0.6 + 0.4 / (1 + np.exp(-distance / 15))).astype(np.float32)


def drawn(strokes: list[Stroke], side: int, width: int, ink: Colour = (20, 20, 60)) -> Image.Image:
    """Draw strokes with a pen that is `width` pixels wide and has round ends."""
    large = Image.new("RGB", (2 * side, 2 * side), (250, 250, 250))
    draw = ImageDraw.Draw(large)
    for stroke in strokes:
        points = [(2 * side * x, 2 * side * y) for x, y in stroke]
        draw.line(points, ink, 2 * width, joint="curve")
        for x, y in points:
            draw.ellipse((x - width, y - width, x + width, y + width), ink)
    return large.resize((side, side), Image.Resampling.BOX)
