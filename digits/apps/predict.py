"""Read digits from pictures with the trained model. Several digits in a row are read as a number.

For each picture that cannot be read, an error is printed. The other pictures are read, and the exit status is 1.
"""

import argparse
import json
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from digits.apps.handwriting import draw_steps, prepare
from digits.apps.options import command
from digits.apps.reading import Reader, Reading, open_reader
from digits.data.dataset import read_dataset
from digits.sources.tree import LEFTOVERS
from dvcproof.messages import printable
from dvcproof.runtime.bounds import open_file
from dvcproof.runtime.files import replacing
from dvcproof.runtime.program import InputError

#: The most bytes of a picture file. Photographs have fewer.
MAX_BYTES = 32 * 2**20


def answer(digits: Sequence[Reading]) -> dict[str, Any]:
    """Return the answer that --json prints and the demo sends for the digits of a picture, from left to right.

    `probability` is the probability that all digits are right. `probabilities` belong to the least certain digit.
    """
    names = [digit.predicted for digit in digits]
    least = min(digits, key=lambda digit: digit.probability)
    return {
        "predicted": ("" if all(len(name) == 1 for name in names) else " ").join(names),
        "probability": round(math.prod(digit.probability for digit in digits), 6),
        "unsure": any(digit.unsure for digit in digits),
        "probabilities": {name: round(value, 6) for name, value in least.probabilities.items()},
        "digits": [
            {"predicted": one.predicted, "probability": round(one.probability, 6), "unsure": one.unsure}
            for one in digits
        ],
    }


def answer_line(image: str, digits: Sequence[Reading]) -> str:
    """Return the answer as a line for people."""
    found = answer(digits)
    each = ", ".join(f"{digit.predicted} {digit.probability:.3f}" for digit in digits)
    text = f": {each}" if len(digits) > 1 else f", probability {found['probability']:.3f}"
    return f"{printable(image)}: {found['predicted']}{text}{', unsure' if found['unsure'] else ''}"


def add_names(parser: argparse.ArgumentParser) -> None:
    """Add the option for the params.yaml that names the classes."""
    default = Path("params.yaml") if Path("params.yaml").exists() else None
    help_ = "params.yaml with names of the classes (default: params.yaml in this folder, else the data set's names)"
    parser.add_argument("--params", type=Path, default=default, metavar="PATH", help=help_)


def sources(arguments: Sequence[str]) -> Iterator[str]:
    """Yield the paths of pictures. A folder stands for all files in and below it, except LEFTOVERS."""
    for argument in arguments:
        files = (path for path in Path(argument).rglob("*") if path.is_file())
        found = [str(path) for path in files if not LEFTOVERS.search(path.relative_to(argument).as_posix())]
        yield from sorted(found) or [argument]


def read(image: str) -> bytes:
    """Read a file, or standard input for '-'. Raise InputError if it cannot be read, or if it is too large."""
    try:
        with open(0, "rb", closefd=False) if image == "-" else open_file(Path(image)) as file:  # 0: standard input
            content = file.read(MAX_BYTES + 1)
        if len(content) <= MAX_BYTES:
            return content
        problem = f"the file is larger than {MAX_BYTES // 2**20} MiB"
    except IsADirectoryError:  # `sources` leaves only empty folders
        problem = "there are no files in this folder"
    except OSError as error:
        problem = f"it cannot be read ({error.strerror})"
    raise InputError(image, problem, hint="Give a picture, or a folder with pictures.")


def main() -> None:
    parser = command("predict", __doc__, "model", "dataset")
    parser.add_argument("images", nargs="+", metavar="image", help="a picture, a folder, or - for standard input")
    add_names(parser)
    parser.add_argument("--json", action="store_true", help="print a JSON object per line, with all probabilities")
    help_ = "draw the steps from the picture to the model's input, for the last picture that can be read"
    parser.add_argument("--explain", type=Path, metavar="OUT.png", help=help_)
    args = parser.parse_args()
    dataset = read_dataset(args.dataset)
    reader: Reader | None = None  # opened for the first picture that can be read, as this takes seconds
    failed = False
    for image in sources(args.images):
        try:
            prepared = prepare(image, read(image), dataset)
        except InputError as error:
            sys.stderr.write(f"ERROR: {error}\n")
            failed = True
            continue
        if args.explain:
            with replacing(args.explain) as (file,):
                draw_steps(prepared.steps).save(file, "PNG")
        reader = reader or open_reader(args.model, args.dataset, args.params)
        digits = reader.read(prepared.images)
        sys.stdout.write(json.dumps({"image": image} | answer(digits)) if args.json else answer_line(image, digits))
        sys.stdout.write("\n")
        sys.stdout.flush()
    sys.exit(failed)
