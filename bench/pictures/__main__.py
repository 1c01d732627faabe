"""Count how pictures of each kind are read: right, unsure, or sure but wrong. Run `make study NAME=pictures`.

Each kind is measured twice: on the digits and random numbers that the program was developed on, and on others that were
kept aside. Each kind has its own digits: otherwise a digit that the model misreads would count in every kind.
"""

import io
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np
from PIL import Image

from bench.pictures.drawing import Digit, Sheet
from bench.pictures.kinds import KEPT, SEEN, make
from bench.pictures.shapes import habits, letters, no_digits
from bench.study import (
    PARAMS,
    load_and_preprocess,
    parser_of,
    require_whole_mnist,
    save,
    trained,
    valid_for,
    write_params,
)
from digits.apps.handwriting import prepare
from digits.apps.reading import Reader, Reading, open_reader
from dvcproof.runtime.program import InputError, run

#: For each set of pictures: the first image of each class of the test data that it uses, and the seed of its random
#: numbers.
SETS = {"seen": (0, "dev"), "kept": (450, "kept aside")}

#: Validation images that are read at a time.
BLOCK = 500

Counts = dict[str, int]


def count(readings: Iterable[tuple[str, list[Reading]]]) -> Counts:
    """Count the pictures that are right (sure or not), unsure, and sure but wrong. A refused picture is unsure."""
    found = {"pictures": 0, "right": 0, "unsure": 0, "sure_and_wrong": 0}
    for label, digits in readings:
        right = "".join(digit.predicted for digit in digits) == label
        unsure = not digits or any(digit.unsure for digit in digits)
        found["pictures"] += 1
        found["right"] += right
        found["unsure"] += unsure
        found["sure_and_wrong"] += not right and not unsure
    return found


def read(reader: Reader, image: Image.Image) -> list[Reading]:
    """Read a picture as from a file; return an empty list if the picture is refused."""
    stream = io.BytesIO()
    image.save(stream, "TIFF" if image.mode == "CMYK" else "PNG")
    try:
        return reader.read(prepare("picture", stream.getvalue(), reader.dataset).images)
    except InputError:
        return []


def digits_of(images: Digit, labels: Digit, start: int, each: int) -> Iterator[tuple[str, Digit]]:
    """Yield `each` images of each class, from position `start`, with their label."""
    for label in range(10):
        for index in np.flatnonzero(labels == label)[start : start + each]:
            yield str(label), images[index]


def several(digits: list[tuple[str, Digit]], rng: np.random.Generator) -> Iterator[tuple[str, Image.Image]]:
    """Yield pictures of numbers of two to seven digits, with the number."""
    for length in (length for length in range(2, 8) for _ in range(3)):
        chosen = [digits[index] for index in rng.integers(0, len(digits), length)]
        sheet = Sheet.paper(rng, 220, 60 + 170 * length)
        for place, (_, digit) in enumerate(chosen):
            sheet.write(digit, 150, int(rng.integers(20, 50)), 30 + 170 * place)
        yield "".join(label for label, _ in chosen), sheet.image


def pictures(images: Digit, labels: Digit, name: str, each: int) -> Iterator[tuple[str, str, Image.Image]]:
    """Yield all pictures of one of SETS: the kind, the label (the digits in the picture), and the picture."""
    start, salt = SETS[name]

    def random(kind: str) -> np.random.Generator:
        return np.random.default_rng(zlib.crc32((kind + salt).encode()))

    for number, kind in enumerate([*SEEN, *(KEPT if name == "kept" else ())]):
        rng = random(kind)
        for label, digit in digits_of(images, labels, start + number * each, each):
            yield kind, label, make(kind, digit, rng)
    if name == "seen":
        pens = {"habits of writing": (16,), "the same, hairlines": (2, 500), "the same, a fat marker": (44,)}
        yield from ((kind, label, image) for kind, pen in pens.items() for label, image in habits(*pen))
    for label, image in several(list(digits_of(images, labels, start, each)), random("several")):
        yield "several digits", label, image
    none = chain(no_digits(random("no digit"), 4), letters(random("letters")) if name == "kept" else ())
    yield from (("no digit", "none", image) for image in none)


def measure(reader: Reader, images: Digit, labels: Digit, name: str, each: int) -> dict[str, Counts]:
    """Count the readings of every kind in one of SETS."""
    readings: dict[str, list[tuple[str, list[Reading]]]] = {}
    for kind, label, image in pictures(images, labels, name, each):
        readings.setdefault(kind, []).append((label, read(reader, image)))
    return {kind: count(found) for kind, found in readings.items()}


def measure_limits(data: Path, held_out: int) -> dict[str, Counts]:
    """Count readings of the images with which the limits of `unsure` were chosen: validation images and other shapes.

    Args:
        data: the pipeline's folder with raw/.
        held_out: number of training images, from the end, to read; the model is trained on the others.
    """
    images, labels = (np.load(data / "raw" / f"train_{kind}.npy") for kind in ("images", "labels"))
    known, other = slice(None, -held_out), slice(-held_out, None)
    arrays = {"x_train": images[known], "y_train": labels[known], "x_test": images[other], "y_test": labels[other]}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.savez(folder / "held_out.npz", **arrays)
        source = {"load.source": str(folder / "held_out.npz"), "preprocess.validation_size": 0}
        load_and_preprocess(write_params(folder, source), folder)
        with trained(source, "fewer images", folder) as network:
            reader = open_reader(network.folder / "model.keras", folder / "raw" / "dataset.json")
        starts = range(0, held_out, BLOCK)
        found = (one for start in starts for one in reader.read(arrays["x_test"][start : start + BLOCK]))
        validation = zip(map(str, arrays["y_test"].tolist()), ([one] for one in found), strict=True)
        shapes = (("none", read(reader, shape)) for shape in no_digits(np.random.default_rng(0), 4))
        return {"validation": count(validation), "no digit": count(shapes)}


def main() -> None:
    parser = parser_of("bench.pictures", __doc__, data=True)
    parser.add_argument("--digits", type=int, required=True, help="digits of each class, for each kind and set")
    parser.add_argument("--held-out", type=int, required=True, help="training images for the limits of `unsure`")
    args = parser.parse_args()
    require_whole_mnist(PARAMS)
    conditions = valid_for(scored=False)
    reader = open_reader(args.data / "model.keras", args.data / "raw" / "dataset.json")
    images, labels = (np.load(args.data / "raw" / f"test_{kind}.npy") for kind in ("images", "labels"))
    found = {name: measure(reader, images, labels, name, args.digits) for name in SETS}
    save(args.out, conditions | found | {"limits": measure_limits(args.data, args.held_out)})


if __name__ == "__main__":
    run(main)
