"""Pictures that hold no digit, or several; and digits as people in other places write them."""

from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageFilter

from bench.pictures.drawing import Random, Stroke, arc, drawn

#: Digits in strokes, by digit and habit.
HABITS: dict[str, list[Stroke]] = {
    "7 crossed": [[(0.25, 0.15), (0.75, 0.15), (0.42, 0.9)], [(0.35, 0.52), (0.7, 0.52)]],
    "7 crossed, curved": [
        [(0.22, 0.22), (0.27, 0.14), (0.75, 0.17), (0.52, 0.5), (0.45, 0.9)],
        [(0.34, 0.5), (0.72, 0.47)],
    ],
    "7 with a serif": [[(0.24, 0.26), (0.24, 0.14), (0.78, 0.14), (0.46, 0.9)]],
    "1 with a flag": [[(0.3, 0.36), (0.56, 0.12), (0.56, 0.9)]],
    "1 with a long flag": [[(0.2, 0.52), (0.58, 0.1), (0.58, 0.92)]],
    "1 with flag and foot": [[(0.34, 0.3), (0.52, 0.12), (0.52, 0.88)], [(0.3, 0.88), (0.74, 0.88)]],
    "1 slanted": [[(0.68, 0.1), (0.36, 0.9)]],
    "1 plain": [[(0.5, 0.1), (0.5, 0.9)]],
    "4 closed": [[(0.62, 0.9), (0.62, 0.1), (0.22, 0.62), (0.8, 0.62)]],
    "4 open": [[(0.3, 0.1), (0.26, 0.52), (0.76, 0.52)], [(0.68, 0.1), (0.66, 0.9)]],
    "0 slashed": [arc((0.5, 0.5), (0.24, 0.38), 0, 360), [(0.68, 0.2), (0.32, 0.8)]],
    "9 straight": [arc((0.48, 0.32), (0.2, 0.2), 0, 360), [(0.68, 0.3), (0.68, 0.9)]],
    "9 hooked": [[*arc((0.48, 0.32), (0.2, 0.2), 0, 360), (0.68, 0.7), *arc((0.48, 0.72), (0.2, 0.17), 0, 120)]],
    "2 with a loop": [
        [*arc((0.5, 0.3), (0.22, 0.19), -170, 60), (0.3, 0.8), *arc((0.34, 0.8), (0.07, 0.07), 60, 330), (0.78, 0.88)]
    ],
    "3 with a flat top": [[(0.28, 0.12), (0.72, 0.12), (0.46, 0.42), *arc((0.46, 0.66), (0.26, 0.24), -90, 150)]],
    "5 with a detached bar": [
        [(0.35, 0.16), (0.31, 0.46), *arc((0.46, 0.66), (0.25, 0.22), -125, 150)],
        [(0.36, 0.1), (0.74, 0.08)],
    ],
    "6 curled": [[(0.62, 0.1), (0.38, 0.4), *arc((0.5, 0.68), (0.2, 0.2), -170, 190)]],
    "8 of two circles": [arc((0.5, 0.3), (0.18, 0.18), 90, 450), arc((0.5, 0.7), (0.22, 0.21), -90, 270)],
}

#: Shapes that are no digit. Letters that are digits to the eye (B, I, O, S, Z, b, g, l, q) are left out.
SHAPES: dict[str, list[Stroke]] = {
    "dash": [[(0.1, 0.5), (0.9, 0.5)]],
    "plus": [[(0.1, 0.5), (0.9, 0.5)], [(0.5, 0.1), (0.5, 0.9)]],
    "x": [[(0.1, 0.1), (0.9, 0.9)], [(0.9, 0.1), (0.1, 0.9)]],
    "tick": [[(0.1, 0.55), (0.35, 0.85), (0.9, 0.15)]],
    "A": [[(0.15, 0.95), (0.5, 0.05), (0.85, 0.95)], [(0.3, 0.6), (0.7, 0.6)]],
    "E": [[(0.8, 0.1), (0.2, 0.1), (0.2, 0.9), (0.8, 0.9)], [(0.2, 0.5), (0.7, 0.5)]],
    "F": [[(0.8, 0.1), (0.2, 0.1), (0.2, 0.9)], [(0.2, 0.5), (0.7, 0.5)]],
    "H": [[(0.2, 0.1), (0.2, 0.9)], [(0.8, 0.1), (0.8, 0.9)], [(0.2, 0.5), (0.8, 0.5)]],
    "K": [[(0.2, 0.1), (0.2, 0.9)], [(0.8, 0.1), (0.2, 0.5), (0.8, 0.9)]],
    "M": [[(0.1, 0.9), (0.2, 0.1), (0.5, 0.6), (0.8, 0.1), (0.9, 0.9)]],
    "N": [[(0.2, 0.9), (0.2, 0.1), (0.8, 0.9), (0.8, 0.1)]],
    "R": [[(0.2, 0.9), (0.2, 0.1), *arc((0.3, 0.3), (0.4, 0.2), -90, 90), (0.2, 0.5)], [(0.4, 0.5), (0.8, 0.9)]],
    "T": [[(0.1, 0.1), (0.9, 0.1)], [(0.5, 0.1), (0.5, 0.9)]],
    "U": [[(0.2, 0.1), (0.2, 0.6), *arc((0.5, 0.6), (0.3, 0.3), 180, 0), (0.8, 0.1)]],
    "W": [[(0.05, 0.1), (0.3, 0.9), (0.5, 0.4), (0.7, 0.9), (0.95, 0.1)]],
    "Y": [[(0.1, 0.1), (0.5, 0.5), (0.9, 0.1)], [(0.5, 0.5), (0.5, 0.9)]],
    "m": [
        [(0.1, 0.9), (0.1, 0.2)],
        [(0.1, 0.5), *arc((0.3, 0.4), (0.2, 0.2), 180, 360), (0.5, 0.9)],
        [(0.5, 0.5), *arc((0.7, 0.4), (0.2, 0.2), 180, 360), (0.9, 0.9)],
    ],
    "square": [[(0.1, 0.1), (0.9, 0.1), (0.9, 0.9), (0.1, 0.9), (0.1, 0.1)]],
    "triangle": [[(0.5, 0.1), (0.9, 0.85), (0.1, 0.85), (0.5, 0.1)]],
    "star": [[(0.5, 0.05), (0.78, 0.95), (0.05, 0.38), (0.95, 0.38), (0.22, 0.95), (0.5, 0.05)]],
    "heart": [
        [
            (0.5, 0.9),
            (0.1, 0.4),
            *arc((0.3, 0.3), (0.2, 0.2), 180, 360),
            *arc((0.7, 0.3), (0.2, 0.2), 180, 360),
            (0.5, 0.9),
        ]
    ],
    "arrow": [[(0.05, 0.5), (0.95, 0.5)], [(0.65, 0.2), (0.95, 0.5), (0.65, 0.8)]],
    "wave": [[(step / 24, 0.5 + 0.25 * float(np.sin(step / 2))) for step in range(25)]],
    "zigzag": [[(step / 6, 0.2 + 0.6 * (step % 2)) for step in range(7)]],
    "face": [
        arc((0.5, 0.5), (0.45, 0.45), 0, 360),
        [(0.35, 0.35), (0.35, 0.4)],
        [(0.65, 0.35), (0.65, 0.4)],
        arc((0.5, 0.55), (0.22, 0.2), 20, 160),
    ],
}


def habits(width: int, side: int = 300, ink: int = 20, back: int = 250) -> Iterator[tuple[str, Image.Image]]:
    """Each habit, with the digit that it is."""
    for name, strokes in HABITS.items():
        yield name[0], drawn(strokes, side=side, width=width, ink=(ink,) * 3, back=(back,) * 3)


def shaken(strokes: list[Stroke], rng: Random) -> list[Stroke]:
    """The strokes as another hand draws them: slanted, turned, and not quite as they should be."""
    turn, slant = rng.uniform(-0.15, 0.15), rng.uniform(-0.2, 0.2)
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ np.array([[1, slant], [0, 1]])
    moved: list[Stroke] = []
    for stroke in strokes:
        points = (np.array(stroke) - 0.5) @ matrix.T * 0.8 + 0.5 + rng.normal(0, 0.015, (len(stroke), 2))
        moved.append([(float(x), float(y)) for x, y in points])
    return moved


def no_digits(rng: Random, each: int) -> Iterator[Image.Image]:
    """Shapes, scribbles and blurs that are no digit.

    Args:
        rng: chance.
        each: how many of each shape.
    """
    for strokes in SHAPES.values():
        for _ in range(each):
            yield drawn(shaken(strokes, rng), side=240, width=int(rng.integers(5, 14)))
    for _ in range(4 * each):
        points = [(float(x), float(y)) for x, y in rng.uniform(0.1, 0.9, (14, 2))]
        yield drawn([points], side=240, width=int(rng.integers(4, 10)))
    for _ in range(4 * each):
        levels = rng.integers(0, 255, (200, 300, 3)).astype(np.uint8)
        yield Image.fromarray(levels).filter(ImageFilter.GaussianBlur(float(rng.uniform(10, 30))))
