"""Make pictures of one digit: kinds on which the program was developed, and kinds that were kept aside."""

import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from bench.pictures.drawing import CREAM, Colour, Digit, Random, Sheet, hand_shadow, jpeg, pen

Kind = Callable[[Digit, Random], Sheet | Image.Image]

BLACK, WHITE, DARK, WOOD = (0, 0, 0), (255, 255, 255), (35, 30, 30), (150, 105, 60)
NEAREST, BOX = Image.Resampling.NEAREST, Image.Resampling.BOX
Y, X = np.mgrid[:480, :640]


font = ImageFont.load_default


def clean(digit: Digit, rng: Random) -> Sheet:
    """Write a digit somewhere on a sheet."""
    top, left = int(rng.integers(20, 160)), int(rng.integers(20, 320))
    return Sheet.paper(rng).write(digit, 300, top, left)


def ruled(digit: Digit, rng: Random, lines: Colour, gap: int = 48) -> Sheet:
    sheet = Sheet.paper(rng)
    for row in range(30, 480, gap):
        sheet.box(row, row + 2, None, None, lines)
    return sheet.write(digit, 200, int(rng.integers(40, 240)), int(rng.integers(120, 400)))


def ruled_with_margin(digit: Digit, rng: Random) -> Sheet:
    sheet = ruled(digit, rng, (150, 170, 215))
    margin = sheet.pixels[:, 90:92]
    margin[margin.mean(axis=2) > 100] = (225, 130, 130)
    return sheet


def ruled_askew(digit: Digit, rng: Random) -> Sheet:
    return ruled(digit, rng, (130, 190, 160), 40).rotate(float(rng.uniform(-6, 6))).crop(60, 45, 580, 435)


def squared(digit: Digit, rng: Random, lines: Colour = (185, 205, 225), thick: int = 1) -> Sheet:
    sheet = Sheet.paper(rng).grid(32, thick, lines)
    return sheet.write(digit, 200, int(rng.integers(20, 260)), int(rng.integers(20, 420)))


def specks(digit: Digit, rng: Random, count: int, radius: int) -> Sheet:
    sheet = clean(digit, rng)
    for _ in range(count):
        near = np.array([[0]])
        while not near.size or near.min() < 200:  # not on the digit
            y, x = int(rng.integers(10, 470)), int(rng.integers(10, 630))
            near = sheet.pixels[max(0, y - 60) : y + 60, max(0, x - 60) : x + 60]
        sheet.box(y - radius, y + radius, x - radius, x + radius, 40)
    return sheet


def staple(digit: Digit, rng: Random) -> Sheet:
    sheet = clean(digit, rng)
    angle = float(rng.uniform(0.5, 1.1))
    for offset, colour in ((3, (190, 188, 180)), (0, (110, 110, 115))):  # the shadow and the staple
        left, top = 24 + offset, 60 + offset
        sheet.draw("line", (left, top, left + 45 * math.cos(angle), top - 45 * math.sin(angle)), colour, 4)
    return sheet


def coffee_ring(digit: Digit, rng: Random) -> Sheet:
    sheet = Sheet.paper(rng)
    radius = np.hypot(Y - rng.uniform(160, 320), X - rng.uniform(480, 520))
    stain = 0.5 * np.exp(-(((radius - 95) / 6) ** 2))[..., None]
    sheet.pixels = sheet.pixels * (1 - stain) + stain * np.array(WOOD, np.float32)
    return sheet.write(digit, 280, 100, 50)


def cut_to_the_ink(digit: Digit, rng: Random) -> Sheet:
    ink = pen(digit, 300)
    rows, columns = (np.flatnonzero((ink > 0.5).any(axis=axis)) for axis in (1, 0))
    ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return Sheet.paper(rng, ink.shape[0], ink.shape[1], noise=1).put(ink, 0, 0)


def print_shines_through(digit: Digit, rng: Random) -> Sheet:
    sheet = Sheet.paper(rng)
    for row in range(0, 480, 30):
        text = "the quick brown fox jumps over the lazy dog and more"
        sheet.draw("text", (10, row), text, (226, 225, 221), font(22))
    return Sheet.of(sheet.image.filter(ImageFilter.GaussianBlur(1))).write(digit, 260, 110, 190)


def thin_pen_on_grey(digit: Digit, rng: Random) -> Sheet:
    sheet = Sheet.paper(rng, colour=(205, 200, 190), noise=5)
    for _ in range(60):
        left, top = int(rng.integers(0, 630)), int(rng.integers(0, 470))
        end = (left + int(rng.integers(-9, 9)), top + int(rng.integers(-9, 9)))
        sheet.draw("line", (left, top, *end), (175, 168, 155))
    return sheet.put(pen(digit, 300) ** 3, 90, 170, (30, 40, 120))


def two_shadows(digit: Digit, rng: Random) -> Sheet:
    light = np.maximum(hand_shadow(rng) * hand_shadow(rng), 0.45)
    return clean(digit, rng).light(light).photo(rng)


def whiteboard_with_glare(digit: Digit, rng: Random) -> Sheet:
    glare = 60 * np.exp(-((X - rng.uniform(0, 640)) ** 2 + (Y - rng.uniform(0, 480)) ** 2) / 9000)
    sheet = Sheet.paper(rng, colour=(190, 195, 200), noise=2).write(digit, 280, 100, 180, (20, 110, 50))
    return sheet.add(glare).photo(rng)


def chalk(digit: Digit, rng: Random) -> Sheet:
    sheet = Sheet.paper(rng, colour=(40, 70, 55), noise=7)
    sheet.add(18 * np.sin(X / 40 + Y / 60))
    return sheet.put(pen(digit, 300) * rng.uniform(0.55, 1, (300, 300)).astype(np.float32), 90, 170, (225, 228, 225))


def on_a_desk(digit: Digit, rng: Random) -> Sheet:
    sheet, degrees = Sheet.paper(rng, 360, 300).write(digit, 200, 80, 50), float(rng.uniform(-8, 8))
    grain = 12 * np.sin(np.mgrid[:600, :800][0] / 7)
    desk = Sheet.of(Sheet.paper(rng, 600, 800, colour=(120, 84, 52), noise=6).pixels + grain[..., None])
    return desk.lay(sheet, degrees, 240, 110)


def strip_on_a_table(digit: Digit, rng: Random) -> Sheet:
    stone = Sheet.paper(rng, 500, 800, colour=(150, 140, 138), noise=22)
    strip = Sheet.paper(rng, 230, 520, colour=(250, 250, 250), noise=2)
    strip.write(digit, 180, 25, int(rng.integers(30, 310)))
    return stone.lay(strip, float(rng.uniform(-12, 12)), 120, 80).photo(rng)


def cell_of_a_table(digit: Digit, rng: Random) -> Sheet:
    sheet = Sheet.paper(rng, 420, 560)
    for place in range(4):
        sheet.draw("line", (10 + 180 * place, 10, 10 + 180 * place, 410), (90, 90, 90), 2)
        sheet.draw("line", (10, 10 + 133 * place, 550, 10 + 133 * place), (90, 90, 90), 2)
    return sheet.draw("text", (205, 22), "Score", (60, 60, 60), font(22)).write(digit, 110, 154, 225)


def answer_sheet(digit: Digit, rng: Random) -> Sheet:
    sheet = Sheet.paper(rng, 640, 480)
    for number in range(4):
        sheet.draw("text", (40, 75 + 150 * number), f"{number + 1}.  Answer:", (40, 40, 40), font(24))
        box = (260, 20 + 150 * number, 420, 150 + 150 * number)
        sheet.draw("rectangle", box, outline=(60, 60, 70), width=2)
    return sheet.write(digit, 110, 30 + 150 * int(rng.integers(0, 4)), 285)


def on_nothing(digit: Digit, _: Random) -> Image.Image:
    levels = np.zeros((280, 280, 4), np.uint8)
    levels[20:260, 20:260, 3] = np.rint(pen(digit, 240) * 255)
    return Image.fromarray(levels)


def figure(digit: Digit, _: Random) -> Image.Image:
    page = Image.new("L", (640, 480), 255)
    page.paste(Image.fromarray(digit).resize((370, 370), NEAREST), (143, 58))
    draw = ImageDraw.Draw(page)
    draw.rectangle((142, 57, 513, 428), outline=0)
    for value in range(0, 28, 5):
        draw.text((118, 58 + value * 13), str(value), 0, font(10))
        draw.text((146 + value * 13, 434), str(value), 0, font(10))
    return page


def figure_in_colours(digit: Digit, _: Random) -> Sheet:
    share = np.asarray(Image.fromarray(digit).resize((370, 370), NEAREST), np.float32)[..., None] / 255
    sheet = Sheet(480, 640)
    sheet.pixels[55:425, 130:500] = (1 - share) * np.array((68, 1, 84)) + share * np.array((253, 231, 37))
    return sheet


def tablet(digit: Digit, _: Random) -> Sheet:
    sheet = Sheet(700, 1000, (252, 252, 250)).draw("rectangle", (0, 610, 1000, 700), (205, 210, 216))
    for number, colour in enumerate(("#e63946", "#2a9d8f", "#f4a261", "#264653", "#8338ec")):
        sheet.draw("rounded_rectangle", (260 + 100 * number, 625, 320 + 100 * number, 685), 14, colour)
    return sheet.write(digit, 400, 110, 300, (30, 30, 200))


def forwarded(digit: Digit, rng: Random) -> Image.Image:
    image = clean(digit, rng).image
    for quality in (60, 40, 25):
        image = jpeg(image.resize((image.width * 3 // 4, image.height * 3 // 4)), quality)
    return image


#: The kinds by name, in the order in which they get their digits.
SEEN: dict[str, Kind] = {
    "clean paper": clean,
    "ruled paper with a margin": ruled_with_margin,
    "faintly ruled paper": lambda digit, rng: ruled(digit, rng, (215, 224, 240)),
    "squared paper": squared,
    "box of a form": lambda digit, rng: (
        Sheet.paper(rng, 300, 300).box(60, 240, 60, 240, 60).box(63, 237, 63, 237, CREAM).write(digit, 130, 85, 85)
    ),
    "a speck": lambda digit, rng: specks(digit, rng, 1, 3),
    "five specks": lambda digit, rng: specks(digit, rng, 5, 2),
    "a punch hole": lambda digit, rng: clean(digit, rng).discs(14, (60, 55, 50), (20, 620)),
    "shadow of a hand": lambda digit, rng: clean(digit, rng).light(hand_shadow(rng)).photo(rng),
    "under a lamp": lambda digit, rng: (
        clean(digit, rng).light(1 - 0.9 * sum(np.mgrid[-0.5:0.5:480j, -0.5:0.5:640j] ** 2)).photo(rng)
    ),
    "pencil in the shadow of a hand": lambda digit, rng: (
        Sheet.paper(rng).write(digit, 300, 90, 170, (90, 90, 95), ink=0.55).light(hand_shadow(rng)).photo(rng)
    ),
    "a sheet on a desk": on_a_desk,
    "black on nothing (transparent)": on_nothing,
    "28 x 28 pixels": lambda digit, _: Image.fromarray(digit),
    "the same, inverted": lambda digit, _: Image.fromarray(255 - digit),
    "the same, as JPEG": lambda digit, _: jpeg(Image.fromarray(digit), 75),
    "a figure with axes": figure,
    "8 x 8 pixels": lambda digit, _: Image.fromarray(digit[4:24, 4:24]).resize((8, 8), BOX),
    "small in a corner": lambda digit, rng: Sheet.paper(rng, 1000, 1000, noise=2).write(digit, 90, 900, 8),
    "window of a drawing program": lambda digit, _: (
        Sheet(520, 700)
        .box(None, 34, None, None, (32, 32, 36))
        .box(34, 90, None, None, 240)
        .box(-24, None, None, None, 240)
        .box(50, 74, 20, 44, (0, 120, 215))
        .box(50, 74, 60, 84, (200, 30, 30))
        .write(digit, 280, 140, 200, BLACK)
    ),
    "dark screen": lambda digit, _: Sheet(480, 640, 30).write(digit, 300, 90, 170, 235),
    "phone screen with a status bar": lambda digit, _: (
        Sheet(900, 420).box(None, 36, None, None, 0).box(12, 24, 20, 70, 255).write(digit, 320, 300, 50, BLACK)
    ),
    "cut close to the ink": cut_to_the_ink,
    "black edges of a scanner": lambda digit, rng: (
        clean(digit, rng).box(None, None, None, 9, DARK).box(-6, None, None, None, DARK)
    ),
    "chalk on a board": chalk,
    "red pen on a yellow note": lambda digit, rng: Sheet.paper(rng, colour=(250, 228, 110)).write(
        digit, 300, 90, 170, (200, 30, 40)
    ),
    "turned by 25 degrees": lambda digit, rng: clean(digit, rng).rotate(25),
    "print shines through": print_shines_through,
    "ruled paper askew": ruled_askew,
    "darkly squared paper": lambda digit, rng: squared(digit, rng, (120, 140, 160), 2),
    "dotted paper": lambda digit, rng: (
        Sheet.paper(rng)
        .paint(((Y - 16) % 32 < 3) & ((X - 16) % 32 < 3), (150, 150, 160))
        .write(digit, 220, int(rng.integers(20, 240)), int(rng.integers(20, 400)))
    ),
    "two binder holes": lambda digit, rng: clean(digit, rng).discs(11, (30, 30, 30), (120, 14), (360, 14)),
    "two shadows": two_shadows,
    "a sheet on a dark cloth": lambda digit, rng: Sheet.paper(rng, 600, 800, colour=(38, 40, 60), noise=9).lay(
        Sheet.paper(rng, 360, 300).write(digit, 200, 80, 50), float(rng.uniform(-20, 20)), 240, 110
    ),
    "a rounded box": lambda digit, rng: (
        Sheet.paper(rng, 300, 420)
        .draw("rounded_rectangle", (90, 40, 310, 260), 18, outline=(40, 90, 60), width=4)
        .write(digit, 150, 75, 130)
    ),
    "a figure in colours": figure_in_colours,
    "dark window with a side bar": lambda digit, _: (
        Sheet(560, 760, 43)
        .box(None, 40, None, None, 60)
        .box(40, None, None, 60, 52)
        .box(300, 324, 18, 42, 220)
        .write(digit, 300, 150, 260, (240, 240, 230))
    ),
    "thumbnail of a photo": lambda digit, rng: jpeg(clean(digit, rng).image.resize((80, 60), BOX), 40),
    "whiteboard with glare": whiteboard_with_glare,
    "ruled paper askew, in a shadow": lambda digit, rng: (
        ruled_askew(digit, rng).light(hand_shadow(rng, 390, 520)).photo(rng)
    ),
    "squared paper, each fifth line thick": lambda digit, rng: (
        Sheet.paper(rng)
        .grid(24, 1, (240, 170, 140))
        .grid(120, 3, (240, 170, 140))
        .write(digit, 210, int(rng.integers(20, 250)), int(rng.integers(20, 410)), (40, 40, 45))
    ),
    "a spiral notebook": lambda digit, rng: ruled(digit, rng, (190, 200, 215), 42).discs(
        7, (70, 70, 75), *((12, column) for column in range(20, 640, 40))
    ),
    "a box with a label": lambda digit, rng: (
        Sheet.paper(rng, 320, 520)
        .draw("rectangle", (250, 60, 450, 260), outline=(30, 30, 30), width=3)
        .draw("text", (60, 140), "Amount", (30, 30, 30), font(34))
        .write(digit, 150, 85, 275)
    ),
    "a board in a frame": lambda digit, rng: chalk(digit, rng).paint(
        (np.minimum(Y, X) < 18) | (Y >= 462) | (X >= 622), WOOD
    ),
    "page of a browser": lambda digit, _: (
        Sheet(560, 720)
        .draw("rectangle", (0, 0, 720, 60), (222, 225, 230))
        .draw("rounded_rectangle", (90, 14, 600, 46), 16, WHITE)
        .draw("text", (110, 20), "https://draw.example/new", (60, 60, 60), font(16))
        .write(digit, 300, 150, 200, (10, 10, 10))
    ),
    "a folded corner": lambda digit, rng: clean(digit, rng).paint(X - Y > 590, (60, 52, 45)),
    "a thin pen on grey paper": thin_pen_on_grey,
    "cell of a table": cell_of_a_table,
}

#: Kinds that were made when the program was finished, so that no choice rests on them.
KEPT: dict[str, Kind] = {
    "squared paper, a photo": lambda digit, rng: (
        squared(digit, rng)
        .rotate(float(rng.uniform(-4, 4)))
        .light(np.linspace(0.6, 1, 640)[None].repeat(480, axis=0))
        .crop(35, 25, 605, 455)
        .photo(rng)
    ),
    "a strip of paper on a table": strip_on_a_table,
    "a coffee ring": coffee_ring,
    "pencil on cardboard": lambda digit, rng: (
        Sheet.paper(rng, colour=(196, 160, 118), noise=6)
        .add(5 * np.sin(X / 3))
        .write(digit, 300, 90, 170, (70, 66, 66), ink=0.8)
        .photo(rng)
    ),
    "an answer sheet": answer_sheet,
    "tablet with a dock": tablet,
    "a staple": staple,
    "forwarded many times": forwarded,
}


def make(kind: str, digit: Digit, rng: Random) -> Image.Image:
    """Make a picture of this kind."""
    made = (SEEN | KEPT)[kind](digit, rng)
    return made.image if isinstance(made, Sheet) else made
