"""Read digits from pictures with the trained model, several in a row as a number.

Each picture that cannot be read is named in one line, the others are read, and the exit status is 1.
"""

import argparse
import json
import math
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from digits.apps.handwriting import prepare
from digits.apps.ink.explain import Step, draw_steps
from digits.apps.options import add_files, command
from digits.apps.reading import Reader, Reading, open_reader
from digits.data.dataset import read_dataset
from digits.params import read_params
from digits.scoring.params import EvaluateParams
from dvcproof.messages import printable
from dvcproof.runtime.bounds import open_file
from dvcproof.runtime.files import replacing
from dvcproof.runtime.program import InputError

#: Bytes of the largest file: more than a photograph has.
MAX_BYTES = 32 * 2**20

#: What systems leave in folders of pictures, in small letters.
PASSED_OVER = {"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx"}


def add_names(parser: argparse.ArgumentParser) -> None:
    """Add the option for the file that may name the classes."""
    default = Path("params.yaml") if Path("params.yaml").exists() else None
    help_ = "params.yaml, for other names of the classes than the data set has (default: that of this folder)"
    parser.add_argument("--params", type=Path, default=default, metavar="PATH", help=help_)


def class_names(params: Path | None) -> Sequence[str] | None:
    """Return what params.yaml calls the classes, or None: as the data set does.

    Raises:
        InputError: the file is missing, or a value is out of range.
    """
    return None if params is None else read_params(params, "evaluate", EvaluateParams).class_names


class Prediction(NamedTuple):
    """What the model reads in one picture."""

    image: str  # its path, or '-' for standard input
    digits: list[Reading]  # from left to right

    @property
    def predicted(self) -> str:
        """The classes, from left to right: digits as a number, longer names with spaces."""
        names = [digit.predicted for digit in self.digits]
        return ("" if all(len(name) == 1 for name in names) else " ").join(names)

    @property
    def probability(self) -> float:
        """That all are right, as if they were independent."""
        return math.prod(digit.probability for digit in self.digits)

    @property
    def unsure(self) -> bool:
        """Whether any digit is."""
        return any(digit.unsure for digit in self.digits)

    def as_line(self) -> str:
        """For people."""
        if len(self.digits) == 1:
            text = f"{self.predicted}, probability {self.probability:.3f}"
        else:
            text = f"{self.predicted}: " + ", ".join(f"{one.predicted} {one.probability:.3f}" for one in self.digits)
        return f"{printable(self.image)}: {text}{', unsure' if self.unsure else ''}"

    def as_json(self) -> str:
        """For programs: an object in one line."""
        return json.dumps({"image": self.image} | self.as_object())

    def as_object(self) -> dict[str, Any]:
        """What --json and the demo answer. `probabilities` is of the least sure digit."""
        least = min(self.digits, key=lambda digit: digit.probability)
        return {
            "predicted": self.predicted,
            "probability": round(self.probability, 6),
            "unsure": self.unsure,
            "probabilities": {name: round(value, 6) for name, value in least.probabilities.items()},
            "digits": [
                {"predicted": one.predicted, "probability": round(one.probability, 6), "unsure": one.unsure}
                for one in self.digits
            ],
        }


def sources(arguments: Sequence[str]) -> Iterator[str]:
    """The pictures that the arguments name. A folder stands for its files and those of its folders, in order.

    What is hidden, or what a system puts into folders, is passed over there.
    """
    for argument in arguments:
        found = []
        for folder, folders, files in os.walk(argument):
            folders[:] = [name for name in folders if _is_shown(name)]
            found += [str(Path(folder) / name) for name in files if _is_shown(name)]
        yield from sorted(found) or [argument]


def _is_shown(name: str) -> bool:
    return name[0] != "." and name.lower() not in PASSED_OVER


def read(image: str) -> bytes:
    """Read a file, or standard input for '-'.

    Raises:
        InputError: it is missing, too large, an empty folder, or it cannot be read.
    """
    try:
        with open(0, "rb", closefd=False) if image == "-" else open_file(Path(image)) as file:  # 0: standard input
            content = file.read(MAX_BYTES + 1)
        if len(content) <= MAX_BYTES:
            return content
        received = "a larger file"
    except FileNotFoundError:
        received = "no such file"
    except IsADirectoryError:
        received = "a folder with no files in it"
    except OSError as error:
        received = f"an error: {error.strerror}"
    expected = f"a picture of at most {MAX_BYTES // 2**20} MiB"
    raise InputError(image, expected=expected, received=received, hint="Give a picture, or a folder with pictures.")


def explain(path: Path, steps: Sequence[Step]) -> None:
    """Write the steps from a picture to what the model sees, as PNG."""
    with replacing(path) as (file,):
        draw_steps(steps).save(file, "PNG")


def main() -> None:
    parser = command("predict", __doc__)
    parser.add_argument(
        "images", nargs="+", metavar="image", help="a picture, a folder of them, or - for standard input"
    )
    add_files(parser, "model", "dataset")
    add_names(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object a line, with all probabilities")
    parser.add_argument(
        "--explain",
        type=Path,
        metavar="OUT.png",
        help="draw the steps by which the last of the pictures that can be read is read",
    )
    args = parser.parse_args()
    names, dataset = class_names(args.params), read_dataset(args.dataset)
    reader: Reader | None = None
    failed = False
    for image in sources(args.images):
        try:
            prepared = prepare(image, read(image), dataset)
        except InputError as error:
            sys.stderr.write(f"ERROR: {error}\n")
            failed = True
            continue
        if args.explain:
            explain(args.explain, prepared.steps)
        reader = reader or open_reader(args.model, args.dataset, names)
        prediction = Prediction(image, reader.read(prepared.images))
        sys.stdout.write((prediction.as_json() if args.json else prediction.as_line()) + "\n")
        sys.stdout.flush()
    if failed:
        sys.exit(1)
