"""Make pictures of one digit, by kind: those that the program was developed on, and those kept aside."""

import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from bench.pictures.drawing import (
    CREAM,
    Colour,
    Digit,
    Page,
    Pixels,
    Random,
    boxes,
    discs,
    jpeg,
    lying_on,
    paper,
    pen,
    photographed,
    picture,
    pixels,
    put,
    rotated,
    write,
)

Kind = Callable[[Digit, Random], Page]
BLACK, WHITE, NEAREST = (0, 0, 0), (255, 255, 255), Image.Resampling.NEAREST


def screen(height: int, width: int, level: int = 255) -> Pixels:
    return np.full((height, width, 3), level, np.float32)


def ruled(digit: Digit, rng: Random, lines: Colour, gap: int = 48) -> Pixels:
    page = boxes(paper(rng), *((row, row + 2, None, None, lines) for row in range(30, 480, gap)))
    return put(page, pen(digit, 200), int(rng.integers(40, 240)), int(rng.integers(120, 400)))


def ruled_with_margin(digit: Digit, rng: Random) -> Page:
    page = ruled(digit, rng, (150, 170, 215))
    margin = page[:, 90:92]
    margin[margin.mean(axis=2) > 100] = (225, 130, 130)
    return page


def ruled_askew(digit: Digit, rng: Random) -> Image.Image:
    return rotated(ruled(digit, rng, (130, 190, 160), 40), rng, 6, fillcolor=CREAM).crop((60, 45, 580, 435))


def squared(digit: Digit, rng: Random, lines: Colour = (185, 205, 225), thick: int = 1) -> Page:
    page = paper(rng)
    for start in range(0, 640, 32):
        page[start : start + thick] = page[:, start : start + thick] = lines
    return put(page, pen(digit, 200), int(rng.integers(20, 260)), int(rng.integers(20, 420)))


def squared_photographed(digit: Digit, rng: Random) -> Page:
    page = pixels(rotated(squared(digit, rng), rng, 4, fillcolor=CREAM))
    return photographed((page * np.linspace(0.6, 1, 640, dtype=np.float32)[None, :, None])[25:-25, 35:-35], rng)


def fifth_line_thick(digit: Digit, rng: Random) -> Page:
    page = paper(rng)
    for number, start in enumerate(range(0, 640, 24)):
        thick = 3 if number % 5 == 0 else 1
        page[start : start + thick] = page[:, start : start + thick] = (240, 170, 140)
    return put(page, pen(digit, 210), int(rng.integers(20, 250)), int(rng.integers(20, 410)), (40, 40, 45))


def dotted(digit: Digit, rng: Random) -> Page:
    places = [(row, column) for row in range(16, 480, 32) for column in range(16, 640, 32)]
    page = boxes(paper(rng), *((row, row + 3, column, column + 3, (150, 150, 160)) for row, column in places))
    return put(page, pen(digit, 220), int(rng.integers(20, 240)), int(rng.integers(20, 400)))


def specks(digit: Digit, rng: Random, count: int, radius: int) -> Page:
    page = write(digit, rng)
    for _ in range(count):
        near = np.array([[0]])
        while not near.size or near.min() < 200:  # not on the digit
            y, x = int(rng.integers(10, 470)), int(rng.integers(10, 630))
            near = page[max(0, y - 60) : y + 60, max(0, x - 60) : x + 60]
        page[y - radius : y + radius, x - radius : x + radius] = 40
    return page


def staple(digit: Digit, rng: Random) -> Page:
    page = picture(write(digit, rng))
    angle = float(rng.uniform(0.5, 1.1))
    for offset, colour in ((3, (190, 188, 180)), (0, (110, 110, 115))):  # the shadow and the staple
        left, top = 24 + offset, 60 + offset
        line = (left, top, left + 45 * math.cos(angle), top - 45 * math.sin(angle))
        ImageDraw.Draw(page).line(line, colour, 4)
    return page


def folded_corner(digit: Digit, rng: Random) -> Page:
    page = write(digit, rng)
    y, x = np.mgrid[:480, :640]
    page[x - y > 590] = (60, 52, 45)
    return page


def coffee_ring(digit: Digit, rng: Random) -> Page:
    page = paper(rng)
    y, x = np.mgrid[:480, :640]
    radius = np.hypot(y - rng.uniform(160, 320), x - rng.uniform(480, 520))
    stain = 0.5 * np.exp(-(((radius - 95) / 6) ** 2))[..., None]
    return put(page * (1 - stain) + stain * np.array((150, 105, 60), np.float32), pen(digit, 280), 100, 50)


def cut_to_the_ink(digit: Digit, rng: Random) -> Page:
    ink = pen(digit, 300)
    rows, columns = (np.flatnonzero((ink > 0.5).any(axis=axis)) for axis in (1, 0))
    ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return put(paper(rng, ink.shape[0], ink.shape[1], noise=1), ink, 0, 0)


def print_shines_through(digit: Digit, rng: Random) -> Page:
    page, font = picture(paper(rng)), ImageFont.load_default(22)
    for row in range(0, 480, 30):
        text = "the quick brown fox jumps over the lazy dog and more"
        ImageDraw.Draw(page).text((10, row), text, (226, 225, 221), font)
    return put(page.filter(ImageFilter.GaussianBlur(1)), pen(digit, 260), 110, 190)


def thin_pen_on_grey(digit: Digit, rng: Random) -> Page:
    page = picture(paper(rng, colour=(205, 200, 190), noise=5))
    for _ in range(60):
        left, top = int(rng.integers(0, 630)), int(rng.integers(0, 470))
        end = (left + int(rng.integers(-9, 9)), top + int(rng.integers(-9, 9)))
        ImageDraw.Draw(page).line((left, top, *end), (175, 168, 155))
    return put(page, pen(digit, 300) ** 3, 90, 170, (30, 40, 120))


def pencil_on_cardboard(digit: Digit, rng: Random) -> Page:
    waves = 5 * np.sin(np.arange(640) / 3)[None, :, None].astype(np.float32)
    page = paper(rng, colour=(196, 160, 118), noise=6) + waves
    return photographed(put(page, 0.8 * pen(digit, 300), 90, 170, (70, 66, 66)), rng)


def shadow(rng: Random, height: int = 480, width: int = 640) -> Pixels:
    """Return light, [height, width, 1] in [0, 1], with the soft edge of a hand's shadow across it."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    angle = rng.uniform(0, 2 * math.pi)
    across = (x - width * rng.uniform(0.35, 0.65)) * math.cos(angle)
    distance = across + (y - height * rng.uniform(0.35, 0.65)) * math.sin(angle)
    return (0.6 + 0.4 / (1 + np.exp(-distance / 15)))[..., None].astype(np.float32)


def shadowed(page: Page, rng: Random) -> Page:
    page = pixels(page)
    return photographed(page * shadow(rng, *page.shape[:2]), rng)


def two_shadows(digit: Digit, rng: Random) -> Page:
    light = np.maximum(shadow(rng) * shadow(rng), 0.45)
    return photographed(write(digit, rng) * light, rng)


def under_a_lamp(digit: Digit, rng: Random) -> Page:
    y, x = np.mgrid[-0.5:0.5:480j, -0.5:0.5:640j]
    return photographed(write(digit, rng) * (1 - 0.9 * (x**2 + y**2))[..., None].astype(np.float32), rng)


def whiteboard_with_glare(digit: Digit, rng: Random) -> Page:
    y, x = np.mgrid[:480, :640]
    glare = 60 * np.exp(-((x - rng.uniform(0, 640)) ** 2 + (y - rng.uniform(0, 480)) ** 2) / 9000)
    page = put(paper(rng, colour=(190, 195, 200), noise=2), pen(digit, 280), 100, 180, (20, 110, 50))
    return photographed(page + glare[..., None].astype(np.float32), rng)


def chalk(digit: Digit, rng: Random) -> Pixels:
    y, x = np.mgrid[:480, :640]
    page = paper(rng, colour=(40, 70, 55), noise=7) + (18 * np.sin(x / 40 + y / 60))[..., None].astype(np.float32)
    ink = pen(digit, 300) * rng.uniform(0.55, 1, (300, 300)).astype(np.float32)
    return put(page, ink, 90, 170, (225, 228, 225))


def framed_board(digit: Digit, rng: Random) -> Page:
    board = chalk(digit, rng)
    board[:18] = board[-18:] = board[:, :18] = board[:, -18:] = (150, 105, 60)
    return board


def on_a_desk(digit: Digit, rng: Random) -> Page:
    sheet = rotated(picture(put(paper(rng, 360, 300), pen(digit, 200), 80, 50)).convert("RGBA"), rng, 8, expand=True)
    wood = picture(paper(rng, 600, 800, (120, 84, 52), 6) + 12 * np.sin(np.mgrid[:600, :800][0] / 7)[..., None])
    wood.paste(sheet, (240, 110), sheet)
    return wood


def on_a_dark_cloth(digit: Digit, rng: Random) -> Page:
    cloth = paper(rng, 600, 800, (38, 40, 60), 9)
    return lying_on(cloth, put(paper(rng, 360, 300), pen(digit, 200), 80, 50), rng, 20, (240, 110))


def strip_on_a_table(digit: Digit, rng: Random) -> Page:
    stone = paper(rng, 500, 800, (150, 140, 138), 22)
    strip = put(paper(rng, 230, 520, (250, 250, 250), 2), pen(digit, 180), 25, int(rng.integers(30, 310)))
    return photographed(lying_on(stone, strip, rng, 12, (120, 80)), rng)


def rounded_box(digit: Digit, rng: Random) -> Page:
    page = picture(paper(rng, 300, 420))
    ImageDraw.Draw(page).rounded_rectangle((90, 40, 310, 260), 18, outline=(40, 90, 60), width=4)
    return put(page, pen(digit, 150), 75, 130)


def labelled_box(digit: Digit, rng: Random) -> Page:
    page = picture(paper(rng, 320, 520))
    ImageDraw.Draw(page).rectangle((250, 60, 450, 260), outline=(30, 30, 30), width=3)
    ImageDraw.Draw(page).text((60, 140), "Amount", (30, 30, 30), ImageFont.load_default(34))
    return put(page, pen(digit, 150), 85, 275)


def cell_of_a_table(digit: Digit, rng: Random) -> Page:
    page = picture(paper(rng, 420, 560))
    draw = ImageDraw.Draw(page)
    for place in range(4):
        draw.line((10 + 180 * place, 10, 10 + 180 * place, 410), (90, 90, 90), 2)
        draw.line((10, 10 + 133 * place, 550, 10 + 133 * place), (90, 90, 90), 2)
    draw.text((205, 22), "Score", (60, 60, 60), ImageFont.load_default(22))
    return put(page, pen(digit, 110), 154, 225)


def answer_sheet(digit: Digit, rng: Random) -> Page:
    page = picture(paper(rng, 640, 480))
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(24)
    for number in range(4):
        draw.text((40, 75 + 150 * number), f"{number + 1}.  Answer:", (40, 40, 40), font)
        draw.rectangle((260, 20 + 150 * number, 420, 150 + 150 * number), outline=(60, 60, 70), width=2)
    return put(page, pen(digit, 110), 30 + 150 * int(rng.integers(0, 4)), 285)


def on_nothing(digit: Digit, _: Random) -> Page:
    levels = np.zeros((280, 280, 4), np.uint8)
    levels[20:260, 20:260, 3] = np.rint(pen(digit, 240) * 255)
    return Image.fromarray(levels)


def figure(digit: Digit, _: Random) -> Page:
    page = Image.new("L", (640, 480), 255)
    page.paste(Image.fromarray(digit).resize((370, 370), NEAREST), (143, 58))
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(10)
    draw.rectangle((142, 57, 513, 428), outline=0)
    for value in range(0, 28, 5):
        draw.text((118, 58 + value * 13), str(value), 0, font)
        draw.text((146 + value * 13, 434), str(value), 0, font)
    return page


def figure_in_colours(digit: Digit, _: Random) -> Page:
    share = np.asarray(Image.fromarray(digit).resize((370, 370), NEAREST), np.float32)[..., None] / 255
    page = screen(480, 640)
    page[55:425, 130:500] = (1 - share) * np.array((68, 1, 84)) + share * np.array((253, 231, 37))
    return page


def window(digit: Digit, _: Random) -> Page:
    bars = ((None, 34, None, None, (32, 32, 36)), (34, 90, None, None, 240), (-24, None, None, None, 240))
    page = boxes(screen(520, 700), *bars, (50, 74, 20, 44, (0, 120, 215)), (50, 74, 60, 84, (200, 30, 30)))
    return put(page, pen(digit, 280), 140, 200, BLACK)


def dark_window(digit: Digit, _: Random) -> Page:
    bars = ((None, 40, None, None, 60), (40, None, None, 60, 52), (300, 324, 18, 42, (220, 220, 220)))
    return put(boxes(screen(560, 760, 43), *bars), pen(digit, 300), 150, 260, (240, 240, 230))


def phone(digit: Digit, _: Random) -> Page:
    page = boxes(screen(900, 420), (None, 36, None, None, BLACK), (12, 24, 20, 70, WHITE))
    return put(page, pen(digit, 320), 300, 50, BLACK)


def page_of_a_browser(digit: Digit, _: Random) -> Page:
    page = Image.new("RGB", (720, 560), WHITE)
    draw = ImageDraw.Draw(page)
    draw.rectangle((0, 0, 720, 60), (222, 225, 230))
    draw.rounded_rectangle((90, 14, 600, 46), 16, WHITE)
    draw.text((110, 20), "https://draw.example/new", (60, 60, 60), ImageFont.load_default(16))
    return put(page, pen(digit, 300), 150, 200, (10, 10, 10))


def tablet(digit: Digit, _: Random) -> Page:
    page = Image.new("RGB", (1000, 700), (252, 252, 250))
    draw = ImageDraw.Draw(page)
    draw.rectangle((0, 610, 1000, 700), (205, 210, 216))
    for number, colour in enumerate(("#e63946", "#2a9d8f", "#f4a261", "#264653", "#8338ec")):
        draw.rounded_rectangle((260 + 100 * number, 625, 320 + 100 * number, 685), 14, colour)
    return put(page, pen(digit, 400), 110, 300, (30, 30, 200))


def forwarded(digit: Digit, rng: Random) -> Page:
    image = picture(write(digit, rng))
    for quality in (60, 40, 25):
        image = jpeg(image.resize((image.width * 3 // 4, image.height * 3 // 4)), quality)
    return image


#: By name, in the order in which they get their digits.
SEEN: dict[str, Kind] = {
    "clean paper": write,
    "ruled paper with a margin": ruled_with_margin,
    "faintly ruled paper": lambda digit, rng: ruled(digit, rng, (215, 224, 240)),
    "squared paper": squared,
    "box of a form": lambda digit, rng: put(
        boxes(paper(rng, 300, 300), (60, 240, 60, 240, 60), (63, 237, 63, 237, CREAM)), pen(digit, 130), 85, 85
    ),
    "a speck": lambda digit, rng: specks(digit, rng, 1, 3),
    "five specks": lambda digit, rng: specks(digit, rng, 5, 2),
    "a punch hole": lambda digit, rng: discs(write(digit, rng), 14, (60, 55, 50), (20, 620)),
    "shadow of a hand": lambda digit, rng: shadowed(write(digit, rng), rng),
    "under a lamp": under_a_lamp,
    "pencil in the shadow of a hand": lambda digit, rng: shadowed(
        put(paper(rng), pen(digit, 300) * 0.55, 90, 170, (90, 90, 95)), rng
    ),
    "a sheet on a desk": on_a_desk,
    "black on nothing (transparent)": on_nothing,
    "28 x 28 pixels": lambda digit, _: Image.fromarray(digit),
    "the same, inverted": lambda digit, _: Image.fromarray(255 - digit),
    "the same, as JPEG": lambda digit, _: jpeg(Image.fromarray(digit), 75),
    "a figure with axes": figure,
    "8 x 8 pixels": lambda digit, _: Image.fromarray(digit[4:24, 4:24]).resize((8, 8), Image.Resampling.BOX),
    "small in a corner": lambda digit, rng: put(paper(rng, 1000, 1000, noise=2), pen(digit, 90), 900, 8),
    "window of a drawing program": window,
    "dark screen": lambda digit, _: put(screen(480, 640, 30), pen(digit, 300), 90, 170, (235, 235, 235)),
    "phone screen with a status bar": phone,
    "cut close to the ink": cut_to_the_ink,
    "black edges of a scanner": lambda digit, rng: boxes(
        write(digit, rng), (None, None, None, 9, (35, 30, 30)), (-6, None, None, None, (35, 30, 30))
    ),
    "chalk on a board": chalk,
    "red pen on a yellow note": lambda digit, rng: put(
        paper(rng, colour=(250, 228, 110)), pen(digit, 300), 90, 170, (200, 30, 40)
    ),
    "turned by 25 degrees": lambda digit, rng: picture(write(digit, rng)).rotate(
        25, Image.Resampling.BICUBIC, fillcolor=CREAM
    ),
    "print shines through": print_shines_through,
    "ruled paper askew": ruled_askew,
    "darkly squared paper": lambda digit, rng: squared(digit, rng, (120, 140, 160), 2),
    "dotted paper": dotted,
    "two binder holes": lambda digit, rng: discs(write(digit, rng), 11, (30, 30, 30), (120, 14), (360, 14)),
    "two shadows": two_shadows,
    "a sheet on a dark cloth": on_a_dark_cloth,
    "a rounded box": rounded_box,
    "a figure in colours": figure_in_colours,
    "dark window with a side bar": dark_window,
    "thumbnail of a photo": lambda digit, rng: jpeg(
        picture(write(digit, rng)).resize((80, 60), Image.Resampling.BOX), 40
    ),
    "whiteboard with glare": whiteboard_with_glare,
    "ruled paper askew, in a shadow": lambda digit, rng: shadowed(ruled_askew(digit, rng), rng),
    "squared paper, each fifth line thick": fifth_line_thick,
    "a spiral notebook": lambda digit, rng: discs(
        ruled(digit, rng, (190, 200, 215), 42), 7, (70, 70, 75), *((12, column) for column in range(20, 640, 40))
    ),
    "a box with a label": labelled_box,
    "a board in a frame": framed_board,
    "page of a browser": page_of_a_browser,
    "a folded corner": folded_corner,
    "a thin pen on grey paper": thin_pen_on_grey,
    "cell of a table": cell_of_a_table,
}

#: Made when the program was finished, so they had no part in any choice.
KEPT: dict[str, Kind] = {
    "squared paper, a photo": squared_photographed,
    "a strip of paper on a table": strip_on_a_table,
    "a coffee ring": coffee_ring,
    "pencil on cardboard": pencil_on_cardboard,
    "an answer sheet": answer_sheet,
    "tablet with a dock": tablet,
    "a staple": staple,
    "forwarded many times": forwarded,
}
