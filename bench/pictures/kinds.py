"""Kinds of pictures of one digit that the program was developed on."""

import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from bench.pictures.drawing import (
    BLACK,
    CREAM,
    Colour,
    Digit,
    Pixels,
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

Kind = Callable[[Digit, Random], Image.Image]


def clean(digit: Digit, rng: Random) -> Image.Image:
    return picture(written(digit, rng))


def ruled_page(digit: Digit, rng: Random, *, lines: Colour, gap: int = 48, thick: int = 2) -> Pixels:
    page = paper(rng, 480, 640)
    for row in range(30, 480, gap):
        page[row : row + thick] = lines
    return put(page, pen(digit, 200), int(rng.integers(40, 240)), int(rng.integers(120, 400)))


def ruled(digit: Digit, rng: Random) -> Image.Image:
    page = ruled_page(digit, rng, lines=(150, 170, 215))
    margin = page[:, 90:92]
    margin[margin.mean(axis=2) > 100] = (225, 130, 130)
    return picture(page)


def ruled_faintly(digit: Digit, rng: Random) -> Image.Image:
    return picture(ruled_page(digit, rng, lines=(215, 224, 240)))


def squared(digit: Digit, rng: Random, lines: Colour = (185, 205, 225), thick: int = 1) -> Image.Image:
    page = paper(rng, 480, 640)
    for start in range(0, 640, 32):
        page[start : start + thick] = page[:, start : start + thick] = lines
    return picture(put(page, pen(digit, 200), int(rng.integers(20, 260)), int(rng.integers(20, 420))))


def box_of_a_form(digit: Digit, rng: Random) -> Image.Image:
    page = paper(rng, 300, 300)
    page[60:240, 60:240] = 60
    page[63:237, 63:237] = CREAM
    return picture(put(page, pen(digit, 130), 85, 85))


def specks(digit: Digit, rng: Random, count: int = 1, radius: int = 3) -> Image.Image:
    page = written(digit, rng)
    for _ in range(count):
        near = np.array([[0]])
        while not near.size or near.min() < 200:
            y, x = int(rng.integers(10, 470)), int(rng.integers(10, 630))
            near = page[max(0, y - 60) : y + 60, max(0, x - 60) : x + 60]
        page[y - radius : y + radius, x - radius : x + radius] = 40
    return picture(page)


def five_specks(digit: Digit, rng: Random) -> Image.Image:
    return specks(digit, rng, 5, 2)


def punch_hole(digit: Digit, rng: Random) -> Image.Image:
    page = written(digit, rng)
    y, x = np.mgrid[:480, :640]
    page[(y - 20) ** 2 + (x - 620) ** 2 < 14**2] = (60, 55, 50)
    return picture(page)


def hand_shadow(rng: Random, height: int, width: int) -> Pixels:
    """Light, [height, width, 1] in [0, 1], with the soft edge of a shadow across it."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    angle = rng.uniform(0, 2 * math.pi)
    distance = (x - width * rng.uniform(0.35, 0.65)) * math.cos(angle) + (
        y - height * rng.uniform(0.35, 0.65)
    ) * math.sin(angle)
    return (0.6 + 0.4 / (1 + np.exp(-distance / 15)))[..., None].astype(np.float32)


def shadow_of_a_hand(digit: Digit, rng: Random) -> Image.Image:
    page = written(digit, rng)
    return photographed(page * hand_shadow(rng, 480, 640), rng)


def lamp(digit: Digit, rng: Random) -> Image.Image:
    y, x = np.mgrid[-0.5:0.5:480j, -0.5:0.5:640j]
    return photographed(written(digit, rng) * (1 - 0.9 * (x**2 + y**2))[..., None].astype(np.float32), rng)


def pencil_in_shadow(digit: Digit, rng: Random) -> Image.Image:
    page = put(paper(rng, 480, 640), pen(digit, 300) * 0.55, 90, 170, (90, 90, 95))
    return photographed(page * hand_shadow(rng, 480, 640), rng)


def wood(rng: Random) -> Image.Image:
    desk = paper(rng, 600, 800, (120, 84, 52), 6)
    return picture(desk + 12 * np.sin(np.mgrid[:600, :800][0] / 7)[..., None])


def on_a_desk(digit: Digit, rng: Random, most: float = 8, desk: Image.Image | None = None) -> Image.Image:
    sheet = picture(put(paper(rng, 360, 300), pen(digit, 200), 80, 50)).convert("RGBA")
    turned = sheet.rotate(float(rng.uniform(-most, most)), expand=True, resample=Image.Resampling.BICUBIC)
    desk = desk or wood(rng)
    desk.paste(turned, (240, 110), turned)
    return desk


def on_nothing(digit: Digit, rng: Random) -> Image.Image:  # noqa: ARG001 (of the same form as all)
    levels = np.zeros((280, 280, 4), np.uint8)
    levels[20:260, 20:260, 3] = np.rint(pen(digit, 240) * 255)
    return Image.fromarray(levels)


def as_in_the_set(digit: Digit, rng: Random) -> Image.Image:  # noqa: ARG001
    return Image.fromarray(digit)


def inverted(digit: Digit, rng: Random) -> Image.Image:  # noqa: ARG001
    return Image.fromarray(255 - digit)


def small_jpeg(digit: Digit, rng: Random) -> Image.Image:  # noqa: ARG001
    return through(Image.fromarray(digit), "JPEG", quality=75)


def figure(digit: Digit, rng: Random) -> Image.Image:  # noqa: ARG001
    """As plotting libraries save it: axes, ticks and a white border."""
    page = Image.new("L", (640, 480), 255)
    page.paste(Image.fromarray(digit).resize((370, 370), Image.Resampling.NEAREST), (143, 58))
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(10)
    draw.rectangle((142, 57, 513, 428), outline=0)
    for value in range(0, 28, 5):
        draw.text((118, 58 + value * 13), str(value), 0, font)
        draw.text((146 + value * 13, 434), str(value), 0, font)
    return page


def eight_by_eight(digit: Digit, rng: Random) -> Image.Image:  # noqa: ARG001
    return Image.fromarray(digit).crop((4, 4, 24, 24)).resize((8, 8), Image.Resampling.BOX)


def small_in_a_corner(digit: Digit, rng: Random) -> Image.Image:
    return picture(put(paper(rng, 1000, 1000, noise=2), pen(digit, 90), 900, 8))


def window(digit: Digit, rng: Random) -> Image.Image:  # noqa: ARG001
    """A drawing program: a title, tools and a status line."""
    page = np.full((520, 700, 3), 255, np.float32)
    page[:34], page[34:90], page[-24:] = (32, 32, 36), 240, 240
    page[50:74, 20:44], page[50:74, 60:84] = (0, 120, 215), (200, 30, 30)
    return picture(put(page, pen(digit, 280), 140, 200, BLACK))


def dark_mode(digit: Digit, rng: Random) -> Image.Image:  # noqa: ARG001
    return picture(put(np.full((480, 640, 3), 30, np.float32), pen(digit, 300), 90, 170, (235, 235, 235)))


def phone(digit: Digit, rng: Random) -> Image.Image:  # noqa: ARG001
    """A phone's screen with its status bar."""
    page = np.full((900, 420, 3), 255, np.float32)
    page[:36], page[12:24, 20:70] = 0, 255
    return picture(put(page, pen(digit, 320), 300, 50, BLACK))


def cut_to_the_ink(digit: Digit, rng: Random) -> Image.Image:
    ink = pen(digit, 300)
    rows, columns = (np.flatnonzero((ink > 0.5).any(axis=axis)) for axis in (1, 0))
    ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return picture(put(paper(rng, ink.shape[0], ink.shape[1], noise=1), ink, 0, 0))


def edges_of_a_scanner(digit: Digit, rng: Random) -> Image.Image:
    page = written(digit, rng)
    page[:, :9] = page[-6:] = (35, 30, 30)
    return picture(page)


def chalk(digit: Digit, rng: Random) -> Image.Image:
    y, x = np.mgrid[:480, :640]
    page = paper(rng, 480, 640, (40, 70, 55), 7) + (18 * np.sin(x / 40 + y / 60))[..., None].astype(np.float32)
    return picture(
        put(page, pen(digit, 300) * rng.uniform(0.55, 1, (300, 300)).astype(np.float32), 90, 170, (225, 228, 225))
    )


def red_on_yellow(digit: Digit, rng: Random) -> Image.Image:
    return picture(put(paper(rng, 480, 640, (250, 228, 110)), pen(digit, 300), 90, 170, (200, 30, 40)))


def turned(digit: Digit, rng: Random) -> Image.Image:
    return clean(digit, rng).rotate(25, resample=Image.Resampling.BICUBIC, fillcolor=CREAM)


def print_shines_through(digit: Digit, rng: Random) -> Image.Image:
    page = picture(paper(rng, 480, 640))
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(22)
    for row in range(0, 480, 30):
        draw.text((10, row), "the quick brown fox jumps over the lazy dog and more", (226, 225, 221), font)
    blurred = pixels(page.filter(ImageFilter.GaussianBlur(1)))
    return picture(put(blurred, pen(digit, 260), 110, 190))


def ruled_askew(digit: Digit, rng: Random) -> Image.Image:
    ruled = picture(ruled_page(digit, rng, lines=(130, 190, 160), gap=40)).rotate(
        float(rng.uniform(-6, 6)), resample=Image.Resampling.BICUBIC, fillcolor=CREAM
    )
    return ruled.crop((60, 45, 580, 435))


def squared_darkly(digit: Digit, rng: Random) -> Image.Image:
    return squared(digit, rng, (120, 140, 160), 2)


def dotted(digit: Digit, rng: Random) -> Image.Image:
    page = paper(rng, 480, 640)
    for row in range(16, 480, 32):
        for column in range(16, 640, 32):
            page[row : row + 3, column : column + 3] = (150, 150, 160)
    return picture(put(page, pen(digit, 220), int(rng.integers(20, 240)), int(rng.integers(20, 400))))


def binder_holes(digit: Digit, rng: Random) -> Image.Image:
    page = written(digit, rng)
    y, x = np.mgrid[:480, :640]
    for row in (120, 360):
        page[(y - row) ** 2 + (x - 14) ** 2 < 11**2] = (30, 30, 30)
    return picture(page)


def two_shadows(digit: Digit, rng: Random) -> Image.Image:
    light = np.maximum(hand_shadow(rng, 480, 640) * hand_shadow(rng, 480, 640), 0.45)
    return photographed(written(digit, rng) * light, rng)


def on_a_dark_cloth(digit: Digit, rng: Random) -> Image.Image:
    return on_a_desk(digit, rng, 20, picture(paper(rng, 600, 800, (38, 40, 60), 9)))


def rounded_box(digit: Digit, rng: Random) -> Image.Image:
    page = picture(paper(rng, 300, 420))
    ImageDraw.Draw(page).rounded_rectangle((90, 40, 310, 260), 18, outline=(40, 90, 60), width=4)
    return picture(put(pixels(page), pen(digit, 150), 75, 130))


def colour_map(digit: Digit, rng: Random) -> Image.Image:  # noqa: ARG001
    """A figure in purple and yellow."""
    share = np.asarray(Image.fromarray(digit).resize((370, 370), Image.Resampling.NEAREST), np.float32)[..., None] / 255
    page = np.full((480, 640, 3), 255, np.float32)
    page[55:425, 130:500] = (1 - share) * np.array((68, 1, 84)) + share * np.array((253, 231, 37))
    return picture(page)


def dark_window(digit: Digit, rng: Random) -> Image.Image:  # noqa: ARG001
    page = np.full((560, 760, 3), 43, np.float32)
    page[:40], page[40:, :60], page[300:324, 18:42] = 60, 52, (220, 220, 220)
    return picture(put(page, pen(digit, 300), 150, 260, (240, 240, 230)))


def thumbnail(digit: Digit, rng: Random) -> Image.Image:
    return through(clean(digit, rng).resize((80, 60), Image.Resampling.BOX), "JPEG", quality=40)


def whiteboard(digit: Digit, rng: Random) -> Image.Image:
    """With the glare of a window."""
    y, x = np.mgrid[:480, :640]
    glare = 60 * np.exp(-((x - rng.uniform(0, 640)) ** 2 + (y - rng.uniform(0, 480)) ** 2) / 9000)
    page = put(paper(rng, 480, 640, (190, 195, 200), 2), pen(digit, 280), 100, 180, (20, 110, 50))
    return photographed(page + glare[..., None].astype(np.float32), rng)


def askew_in_shadow(digit: Digit, rng: Random) -> Image.Image:
    page = np.asarray(ruled_askew(digit, rng), np.float32)
    return photographed(page * hand_shadow(rng, *page.shape[:2]), rng)


def fifth_line_thick(digit: Digit, rng: Random) -> Image.Image:
    page = paper(rng, 480, 640)
    for number, start in enumerate(range(0, 640, 24)):
        thick = 3 if number % 5 == 0 else 1
        page[start : start + thick] = page[:, start : start + thick] = (240, 170, 140)
    return picture(put(page, pen(digit, 210), int(rng.integers(20, 250)), int(rng.integers(20, 410)), (40, 40, 45)))


def spiral_notebook(digit: Digit, rng: Random) -> Image.Image:
    page = ruled_page(digit, rng, lines=(190, 200, 215), gap=42)
    y, x = np.mgrid[:480, :640]
    for column in range(20, 640, 40):
        page[(y - 12) ** 2 + (x - column) ** 2 < 7**2] = (70, 70, 75)
    return picture(page)


def labelled_box(digit: Digit, rng: Random) -> Image.Image:
    page = picture(paper(rng, 320, 520))
    draw = ImageDraw.Draw(page)
    draw.rectangle((250, 60, 450, 260), outline=(30, 30, 30), width=3)
    draw.text((60, 140), "Amount", (30, 30, 30), ImageFont.load_default(34))
    return picture(put(pixels(page), pen(digit, 150), 85, 275))


def framed_board(digit: Digit, rng: Random) -> Image.Image:
    board = pixels(chalk(digit, rng))
    board[:18] = board[-18:] = (150, 105, 60)
    board[:, :18] = board[:, -18:] = (150, 105, 60)
    return picture(board)


def page_of_a_browser(digit: Digit, rng: Random) -> Image.Image:  # noqa: ARG001
    page = Image.new("RGB", (720, 560), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(16)
    draw.rectangle((0, 0, 720, 60), (222, 225, 230))
    draw.rounded_rectangle((90, 14, 600, 46), 16, (255, 255, 255))
    draw.text((110, 20), "https://draw.example/new", (60, 60, 60), font)
    return picture(put(pixels(page), pen(digit, 300), 150, 200, (10, 10, 10)))


def folded_corner(digit: Digit, rng: Random) -> Image.Image:
    page = written(digit, rng)
    y, x = np.mgrid[:480, :640]
    page[x - y > 590] = (60, 52, 45)
    return picture(page)


def thin_pen_on_grey(digit: Digit, rng: Random) -> Image.Image:
    page = picture(paper(rng, 480, 640, (205, 200, 190), 5))
    draw = ImageDraw.Draw(page)
    for _ in range(60):
        left, top = int(rng.integers(0, 630)), int(rng.integers(0, 470))
        draw.line((left, top, left + int(rng.integers(-9, 9)), top + int(rng.integers(-9, 9))), (175, 168, 155))
    outline = pen(digit, 300)
    return picture(put(pixels(page), outline**3, 90, 170, (30, 40, 120)))


def cell_of_a_table(digit: Digit, rng: Random) -> Image.Image:
    """The middle one of nine, with a heading over it."""
    page = picture(paper(rng, 420, 560))
    draw = ImageDraw.Draw(page)
    for place in range(4):
        draw.line((10 + 180 * place, 10, 10 + 180 * place, 410), (90, 90, 90), 2)
        draw.line((10, 10 + 133 * place, 550, 10 + 133 * place), (90, 90, 90), 2)
    draw.text((205, 22), "Score", (60, 60, 60), ImageFont.load_default(22))
    return picture(put(pixels(page), pen(digit, 110), 154, 225))


#: By name.
SEEN: dict[str, Kind] = {
    "clean paper": clean,
    "ruled paper with a margin": ruled,
    "faintly ruled paper": ruled_faintly,
    "squared paper": squared,
    "box of a form": box_of_a_form,
    "a speck": specks,
    "five specks": five_specks,
    "a punch hole": punch_hole,
    "shadow of a hand": shadow_of_a_hand,
    "under a lamp": lamp,
    "pencil in the shadow of a hand": pencil_in_shadow,
    "a sheet on a desk": on_a_desk,
    "black on nothing (transparent)": on_nothing,
    "28 x 28 pixels": as_in_the_set,
    "the same, inverted": inverted,
    "the same, as JPEG": small_jpeg,
    "a figure with axes": figure,
    "8 x 8 pixels": eight_by_eight,
    "small in a corner": small_in_a_corner,
    "window of a drawing program": window,
    "dark screen": dark_mode,
    "phone screen with a status bar": phone,
    "cut close to the ink": cut_to_the_ink,
    "black edges of a scanner": edges_of_a_scanner,
    "chalk on a board": chalk,
    "red pen on a yellow note": red_on_yellow,
    "turned by 25 degrees": turned,
    "print shines through": print_shines_through,
    "ruled paper askew": ruled_askew,
    "darkly squared paper": squared_darkly,
    "dotted paper": dotted,
    "two binder holes": binder_holes,
    "two shadows": two_shadows,
    "a sheet on a dark cloth": on_a_dark_cloth,
    "a rounded box": rounded_box,
    "a figure in colours": colour_map,
    "dark window with a side bar": dark_window,
    "thumbnail of a photo": thumbnail,
    "whiteboard with glare": whiteboard,
    "ruled paper askew, in a shadow": askew_in_shadow,
    "squared paper, each fifth line thick": fifth_line_thick,
    "a spiral notebook": spiral_notebook,
    "a box with a label": labelled_box,
    "a board in a frame": framed_board,
    "page of a browser": page_of_a_browser,
    "a folded corner": folded_corner,
    "a thin pen on grey paper": thin_pen_on_grey,
    "cell of a table": cell_of_a_table,
}
