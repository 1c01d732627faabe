"""Kinds of pictures of one digit that were made when the program was finished, and had no part in any choice."""

import math
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from bench.pictures.drawing import (
    CREAM,
    Digit,
    Random,
    paper,
    pen,
    photographed,
    picture,
    pixels,
    put,
    through,
    written,
)
from bench.pictures.kinds import Kind, clean, squared


def squared_photographed(digit: Digit, rng: Random) -> Image.Image:
    """Squared paper, far from even light, a little askew."""
    page = squared(digit, rng).rotate(float(rng.uniform(-4, 4)), resample=Image.Resampling.BICUBIC, fillcolor=CREAM)
    light = np.linspace(0.6, 1, 640, dtype=np.float32)[None, :, None]
    return photographed((pixels(page) * light)[25:-25, 35:-35], rng)


def strip_on_a_table(digit: Digit, rng: Random) -> Image.Image:
    """A narrow piece of paper on a table of stone."""
    stone = picture(paper(rng, 500, 800, (150, 140, 138), 22))
    strip = picture(put(paper(rng, 230, 520, (250, 250, 250), 2), pen(digit, 180), 25, int(rng.integers(30, 310))))
    turned = strip.convert("RGBA").rotate(float(rng.uniform(-12, 12)), Image.Resampling.BICUBIC, expand=True)
    stone.paste(turned, (120, 80), turned)
    return photographed(pixels(stone), rng)


def coffee_ring(digit: Digit, rng: Random) -> Image.Image:
    """Beside the digit, on plain paper."""
    page = paper(rng, 480, 640)
    y, x = np.mgrid[:480, :640]
    radius = np.hypot(y - rng.uniform(160, 320), x - rng.uniform(480, 520))
    stain = 0.5 * np.exp(-(((radius - 95) / 6) ** 2))[..., None]
    page = page * (1 - stain) + stain * np.array((150, 105, 60), np.float32)
    return picture(put(page, pen(digit, 280), 100, 50))


def pencil_on_cardboard(digit: Digit, rng: Random) -> Image.Image:
    """On brown, with the grain of its waves."""
    page = paper(rng, 480, 640, (196, 160, 118), 6)
    page += 5 * np.sin(np.arange(640) / 3)[None, :, None].astype(np.float32)
    return photographed(put(page, 0.8 * pen(digit, 300), 90, 170, (70, 66, 66)), rng)


def answer_sheet(digit: Digit, rng: Random) -> Image.Image:
    """Numbered questions, each with a box to write in; one answer is written."""
    page = picture(paper(rng, 640, 480))
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(24)
    for number in range(4):
        draw.text((40, 75 + 150 * number), f"{number + 1}.  Answer:", (40, 40, 40), font)
        draw.rectangle((260, 20 + 150 * number, 420, 150 + 150 * number), outline=(60, 60, 70), width=2)
    return picture(put(pixels(page), pen(digit, 110), 30 + 150 * int(rng.integers(0, 4)), 285))


def tablet(digit: Digit, rng: Random) -> Image.Image:  # noqa: ARG001 (of the same form as all)
    """A drawing app with a dock of coloured icons at the bottom."""
    page = Image.new("RGB", (1000, 700), (252, 252, 250))
    draw = ImageDraw.Draw(page)
    draw.rectangle((0, 610, 1000, 700), (205, 210, 216))
    for number, colour in enumerate(("#e63946", "#2a9d8f", "#f4a261", "#264653", "#8338ec")):
        draw.rounded_rectangle((260 + 100 * number, 625, 320 + 100 * number, 685), 14, colour)
    return picture(put(pixels(page), pen(digit, 400), 110, 300, (30, 30, 200)))


def staple(digit: Digit, rng: Random) -> Image.Image:
    """In the corner of a sheet, with its shadow."""
    page = picture(written(digit, rng))
    angle = float(rng.uniform(0.5, 1.1))
    for offset, colour in ((3, (190, 188, 180)), (0, (110, 110, 115))):
        start, end = (
            (24 + offset, 60 + offset),
            (24 + offset + 45 * math.cos(angle), 60 + offset - 45 * math.sin(angle)),
        )
        ImageDraw.Draw(page).line((*start, *end), colour, 4)
    return page


def forwarded_many_times(digit: Digit, rng: Random) -> Image.Image:
    """Reduced and compressed again and again."""
    image = clean(digit, rng)
    for quality in (60, 40, 25):
        image = through(image.resize((image.width * 3 // 4, image.height * 3 // 4)), "JPEG", quality=quality)
    return image


#: Capitals of a printer that are no digit to the eye either.
LETTERS = "ACEFHKMNPRTUVWXY"


def letters(rng: Random) -> Iterator[Image.Image]:
    """Each of LETTERS, printed and a little turned."""
    for letter in LETTERS:
        page = Image.new("L", (240, 240), 250)
        ImageDraw.Draw(page).text((120, 120), letter, 30, ImageFont.load_default(170), anchor="mm")
        yield page.rotate(float(rng.uniform(-10, 10)), Image.Resampling.BICUBIC, fillcolor=250)


#: By name.
KEPT: dict[str, Kind] = {
    "squared paper, a photo": squared_photographed,
    "a strip of paper on a table": strip_on_a_table,
    "a coffee ring": coffee_ring,
    "pencil on cardboard": pencil_on_cardboard,
    "an answer sheet": answer_sheet,
    "tablet with a dock": tablet,
    "a staple": staple,
    "forwarded many times": forwarded_many_times,
}
