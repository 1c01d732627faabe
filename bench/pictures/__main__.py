"""Measure how pictures are read, by kind: right, unsure, and sure but wrong. make study NAME=pictures

Each kind is measured twice: on the digits and the chance that the program was developed on, and on others, kept aside.
Each kind has digits of its own: the few that the model misreads would else count in all kinds, or in none.
"""

import argparse
import zlib
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import numpy as np

from bench.pictures.counting import Counts, Labelled, count
from bench.pictures.drawing import Digit, paper, pen, picture, put
from bench.pictures.kept import KEPT, letters
from bench.pictures.kinds import SEEN
from bench.pictures.limits import measure_limits
from bench.pictures.others import habits, no_digits
from bench.study import PARAMS, data_hashes, require_whole_mnist
from digits.apps.reading import Reader, open_reader
from digits.study import study_params
from dvcproof.runtime.files import replacing, write_json
from dvcproof.runtime.program import run

#: Where in the test set the digits of a kind begin, each class by itself, and what chance starts from.
SETS = {"seen": (0, "dev"), "kept": (450, "kept aside")}


def digits_of(images: Digit, labels: Digit, start: int, each: int) -> Iterable[tuple[str, Digit]]:
    """Some images of each class."""
    for label in range(10):
        for index in np.flatnonzero(labels == label)[start : start + each]:
            yield str(label), images[index]


def several(digits: list[tuple[str, Digit]], rng: np.random.Generator) -> Labelled:
    """Numbers of two to seven digits."""
    for length in range(2, 8):
        for _ in range(3):
            chosen = [digits[index] for index in rng.integers(0, len(digits), length)]
            page = paper(rng, 220, 60 + 170 * length)
            for place, (_, digit) in enumerate(chosen):
                put(page, pen(digit, 150), int(rng.integers(20, 50)), 30 + 170 * place)
            yield "".join(label for label, _ in chosen), picture(page)


def measure(reader: Reader, images: Digit, labels: Digit, name: str, each: int) -> dict[str, Counts]:
    """The counts of every kind, with the digits and the chance of one of SETS."""
    start, salt = SETS[name]

    def chance(kind: str) -> np.random.Generator:
        return np.random.default_rng(zlib.crc32((kind + salt).encode()))

    kinds = SEEN | (KEPT if name == "kept" else {})
    found = {}
    for number, (kind, make) in enumerate(kinds.items()):
        rng, digits = chance(kind), digits_of(images, labels, start + number * each, each)
        found[kind] = count(reader, ((label, make(digit, rng)) for label, digit in digits))
    if name == "seen":
        found["habits of writing"] = count(reader, habits(16))
        found["the same, hairlines"] = count(reader, habits(2, 500))
        found["the same, a fat marker"] = count(reader, habits(44))
    found["several digits"] = count(reader, several(list(digits_of(images, labels, start, each)), chance("several")))
    none = chain(no_digits(chance("no digit"), 4), letters(chance("letters")) if name == "kept" else ())
    found["no digit"] = count(reader, (("none", image) for image in none))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.pictures", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with the model, and raw/ with the arrays")
    parser.add_argument("--digits", type=int, required=True, help="of each class, for each kind and set")
    parser.add_argument("--held-out", type=int, required=True, help="training images for the limits of `unsure`")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file")
    args = parser.parse_args()
    require_whole_mnist(PARAMS)
    reader = open_reader(args.data / "model.keras", args.data / "raw" / "dataset.json")
    images, labels = (np.load(args.data / "raw" / f"test_{kind}.npy") for kind in ("images", "labels"))
    found = {name: measure(reader, images, labels, name, args.digits) for name in SETS}
    found["limits"] = measure_limits(args.data, args.held_out)
    with replacing(args.out) as (file,):
        write_json(file, {"params": study_params(PARAMS, scored=False), "data": data_hashes(), **found})


if __name__ == "__main__":
    run(main)
