"""Draw digits with various habits of writing, and shapes that are not digits."""

import math
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from bench.pictures.drawing import Random, Stroke, drawn


def strokes(text: str) -> list[Stroke]:
    """Parse strokes, separated by |, of points x,y and arcs x,y,width,height,start,end, in per cent and degrees."""
    return [[point for item in part.split() for point in _points(item)] for part in text.split("|")]


def _points(item: str) -> Stroke:
    """Parse a point, or an arc around a point, clockwise from the right."""
    numbers = [float(number) for number in item.split(",")]
    x, y, *radii = (number / 100 for number in numbers[:4])
    if not radii:
        return [(x, y)]
    start, end = numbers[4:]
    angles = [math.radians(start + (end - start) * step / 24) for step in range(25)]
    return [(x + radii[0] * math.cos(angle), y + radii[1] * math.sin(angle)) for angle in angles]


#: Strokes for each digit and habit of writing.
HABITS = {
    "7 crossed": "25,15 75,15 42,90 | 35,52 70,52",
    "7 crossed, curved": "22,22 27,14 75,17 52,50 45,90 | 34,50 72,47",
    "7 with a serif": "24,26 24,14 78,14 46,90",
    "1 with a flag": "30,36 56,12 56,90",
    "1 with a long flag": "20,52 58,10 58,92",
    "1 with flag and foot": "34,30 52,12 52,88 | 30,88 74,88",
    "1 slanted": "68,10 36,90",
    "1 plain": "50,10 50,90",
    "4 closed": "62,90 62,10 22,62 80,62",
    "4 open": "30,10 26,52 76,52 | 68,10 66,90",
    "0 slashed": "50,50,24,38,0,360 | 68,20 32,80",
    "9 straight": "48,32,20,20,0,360 | 68,30 68,90",
    "9 hooked": "48,32,20,20,0,360 68,70 48,72,20,17,0,120",
    "2 with a loop": "50,30,22,19,-170,60 30,80 34,80,7,7,60,330 78,88",
    "3 with a flat top": "28,12 72,12 46,42 46,66,26,24,-90,150",
    "5 with a detached bar": "35,16 31,46 46,66,25,22,-125,150 | 36,10 74,8",
    "6 curled": "62,10 38,40 50,68,20,20,-170,190",
    "8 of two circles": "50,30,18,18,90,450 | 50,70,22,21,-90,270",
}

#: Shapes that are not digits. Letters that look like digits (B, I, O, S, Z, b, g, l, q) are left out.
NOT_DIGITS = {
    "dash": "10,50 90,50",
    "plus": "10,50 90,50 | 50,10 50,90",
    "x": "10,10 90,90 | 90,10 10,90",
    "tick": "10,55 35,85 90,15",
    "A": "15,95 50,5 85,95 | 30,60 70,60",
    "E": "80,10 20,10 20,90 80,90 | 20,50 70,50",
    "F": "80,10 20,10 20,90 | 20,50 70,50",
    "H": "20,10 20,90 | 80,10 80,90 | 20,50 80,50",
    "K": "20,10 20,90 | 80,10 20,50 80,90",
    "M": "10,90 20,10 50,60 80,10 90,90",
    "N": "20,90 20,10 80,90 80,10",
    "R": "20,90 20,10 30,30,40,20,-90,90 20,50 | 40,50 80,90",
    "T": "10,10 90,10 | 50,10 50,90",
    "U": "20,10 20,60 50,60,30,30,180,0 80,10",
    "W": "5,10 30,90 50,40 70,90 95,10",
    "Y": "10,10 50,50 90,10 | 50,50 50,90",
    "m": "10,90 10,20 | 10,50 30,40,20,20,180,360 50,90 | 50,50 70,40,20,20,180,360 90,90",
    "square": "10,10 90,10 90,90 10,90 10,10",
    "triangle": "50,10 90,85 10,85 50,10",
    "star": "50,5 78,95 5,38 95,38 22,95 50,5",
    "heart": "50,90 10,40 30,30,20,20,180,360 70,30,20,20,180,360 50,90",
    "arrow": "5,50 95,50 | 65,20 95,50 65,80",
    "wave": " ".join(f"{step / 0.24},{50 + 25 * np.sin(step / 2)}" for step in range(25)),
    "zigzag": " ".join(f"{step / 0.06},{20 + 60 * (step % 2)}" for step in range(7)),
    "face": "50,50,45,45,0,360 | 35,35 35,40 | 65,35 65,40 | 50,55,22,20,20,160",
}

#: Printed capitals that do not look like digits.
LETTERS = "ACEFHKMNPRTUVWXY"


def habits(width: int, side: int = 300) -> Iterator[tuple[str, Image.Image]]:
    """Yield a picture of each habit, with its digit."""
    for name, text in HABITS.items():
        yield name[0], drawn(strokes(text), side, width, (20, 20, 20))


def shaken(text: str, rng: Random) -> list[Stroke]:
    """Return strokes with the variation of a hand: slanted, rotated and imprecise."""
    turn, slant = rng.uniform(-0.15, 0.15), rng.uniform(-0.2, 0.2)
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ np.array([[1, slant], [0, 1]])
    moved: list[Stroke] = []
    for stroke in strokes(text):
        points = (np.array(stroke) - 0.5) @ matrix.T * 0.8 + 0.5 + rng.normal(0, 0.015, (len(stroke), 2))
        moved.append([(float(x), float(y)) for x, y in points])
    return moved


def no_digits(rng: Random, each: int) -> Iterator[Image.Image]:
    """Yield `each` pictures of every shape, then scribbles and blurs."""
    for text in NOT_DIGITS.values():
        for _ in range(each):
            yield drawn(shaken(text, rng), 240, int(rng.integers(5, 14)))
    for _ in range(4 * each):
        points = [(float(x), float(y)) for x, y in rng.uniform(0.1, 0.9, (14, 2))]
        yield drawn([points], 240, int(rng.integers(4, 10)))
    for _ in range(4 * each):
        levels = rng.integers(0, 255, (200, 300, 3)).astype(np.uint8)
        yield Image.fromarray(levels).filter(ImageFilter.GaussianBlur(float(rng.uniform(10, 30))))


def letters(rng: Random) -> Iterator[Image.Image]:
    """Yield each of LETTERS, printed and a little rotated."""
    for letter in LETTERS:
        page = Image.new("L", (240, 240), 250)
        ImageDraw.Draw(page).text((120, 120), letter, 30, ImageFont.load_default(170), anchor="mm")
        yield page.rotate(float(rng.uniform(-10, 10)), Image.Resampling.BICUBIC, fillcolor=250)
