"""Draw digits as strokes of a pen, with Pillow or with the pointer of a browser."""

import math

from PIL import Image, ImageDraw

Point = tuple[float, float]  # x to the right and y down, in [0, 1]


def _arc(centre: Point, radii: Point, start: float, end: float) -> list[Point]:
    """Return 17 points on an ellipse, between two angles in degrees, clockwise from the right."""
    angles = [math.radians(start + (end - start) * step / 16) for step in range(17)]
    return [(centre[0] + radii[0] * math.cos(angle), centre[1] + radii[1] * math.sin(angle)) for angle in angles]


STROKES: dict[int, list[list[Point]]] = {
    0: [_arc((0.5, 0.5), (0.27, 0.4), -90, 270)],
    1: [[(0.38, 0.25), (0.52, 0.12), (0.52, 0.9)]],
    2: [[*_arc((0.5, 0.32), (0.25, 0.2), -180, 40), (0.25, 0.88), (0.78, 0.88)]],
    3: [_arc((0.48, 0.3), (0.24, 0.19), -150, 90) + _arc((0.48, 0.69), (0.27, 0.2), -90, 150)],
    4: [[(0.6, 0.1), (0.22, 0.62), (0.8, 0.62)], [(0.62, 0.35), (0.62, 0.92)]],
    5: [[(0.74, 0.12), (0.34, 0.12), (0.31, 0.46), *_arc((0.47, 0.65), (0.26, 0.23), -125, 150)]],
    6: [[(0.66, 0.1), (0.42, 0.35), *_arc((0.5, 0.68), (0.22, 0.22), -170, 190)]],
    7: [[(0.24, 0.14), (0.76, 0.14), (0.45, 0.9)]],
    8: [_arc((0.5, 0.3), (0.2, 0.18), 90, 450), _arc((0.5, 0.7), (0.24, 0.21), -90, 270)],
    9: [[*_arc((0.5, 0.34), (0.22, 0.22), 0, 360), (0.62, 0.9)]],
}


def draw(digit: int, *, side: int, width: int) -> Image.Image:
    """Draw a digit in black on white, in mode L, with round ends.

    Args:
        digit: from 0 to 9.
        side: width and height of the picture, in pixels.
        width: width of the pen, in pixels.
    """
    # Draw at twice the size, then resize: Pillow does not anti-alias lines.
    picture = Image.new("L", (2 * side, 2 * side), 255)
    pen = ImageDraw.Draw(picture)
    for stroke in STROKES[digit]:
        points = [(2 * side * x, 2 * side * y) for x, y in stroke]
        pen.line(points, fill=0, width=2 * width, joint="curve")
        for x, y in (points[0], points[-1]):
            pen.ellipse((x - width, y - width, x + width, y + width), fill=0)
    return picture.resize((side, side), Image.Resampling.BOX)
