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

from digits.apps.handwriting import draw_steps, prepare
from digits.apps.options import add_files, command
from digits.apps.reading import Reader, Reading, open_reader
from digits.data.dataset import read_dataset
from digits.params import read_params
from dvcproof.messages import printable
from dvcproof.runtime.bounds import open_file
from dvcproof.runtime.files import replacing
from dvcproof.runtime.program import InputError

#: Bytes of the largest file: more than a photograph has.
MAX_BYTES = 32 * 2**20

#: What systems leave in folders of pictures, in lower case.
JUNK = {"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx"}


class Prediction(NamedTuple):
    """What the model reads in one picture."""

    image: str  # its path, or '-' for standard input
    digits: list[Reading]  # from left to right

    def as_object(self) -> dict[str, Any]:
        """Return the answer of --json and of the demo. `probabilities` are those of the least certain digit."""
        names = [digit.predicted for digit in self.digits]
        least = min(self.digits, key=lambda digit: digit.probability)
        return {
            "predicted": ("" if all(len(name) == 1 for name in names) else " ").join(names),
            "probability": round(math.prod(digit.probability for digit in self.digits), 6),  # that all are right
            "unsure": any(digit.unsure for digit in self.digits),
            "probabilities": {name: round(value, 6) for name, value in least.probabilities.items()},
            "digits": [
                {"predicted": one.predicted, "probability": round(one.probability, 6), "unsure": one.unsure}
                for one in self.digits
            ],
        }

    def as_line(self) -> str:
        """Return the answer for people."""
        answer = self.as_object()
        if len(self.digits) == 1:
            text = f"{answer['predicted']}, probability {answer['probability']:.3f}"
        else:
            each = ", ".join(f"{digit.predicted} {digit.probability:.3f}" for digit in self.digits)
            text = f"{answer['predicted']}: {each}"
        return f"{printable(self.image)}: {text}{', unsure' if answer['unsure'] else ''}"


def add_names(parser: argparse.ArgumentParser) -> None:
    """Add the option for the file with names of the classes."""
    default = Path("params.yaml") if Path("params.yaml").exists() else None
    help_ = "params.yaml, for other names of the classes than those in the data set (default: that of this folder)"
    parser.add_argument("--params", type=Path, default=default, metavar="PATH", help=help_)


def class_names(params: Path | None) -> Sequence[str] | None:
    """Return the names of the classes in params.yaml, or None if the data set names them.

    Raises:
        InputError: the file is missing, or a value is out of range.
    """
    return None if params is None else read_params(params, "class_names").class_names


def sources(arguments: Sequence[str]) -> Iterator[str]:
    """Yield the pictures. A folder stands for the files in it and its subfolders, except for hidden files and JUNK."""

    def shown(names: list[str]) -> list[str]:
        return [name for name in names if name[0] != "." and name.lower() not in JUNK]

    for argument in arguments:
        found = []
        for folder, folders, files in os.walk(argument):
            folders[:] = shown(folders)
            found += [str(Path(folder) / name) for name in shown(files)]
        yield from sorted(found) or [argument]


def read(image: str) -> bytes:
    """Read a file, or standard input for '-'.

    Raises:
        InputError: the file is missing or too large, a folder is empty, or it cannot be read.
    """
    try:
        with open(0, "rb", closefd=False) if image == "-" else open_file(Path(image)) as file:  # 0: standard input
            content = file.read(MAX_BYTES + 1)
        if len(content) <= MAX_BYTES:
            return content
        problem = f"the file is larger than {MAX_BYTES // 2**20} MiB"
    except IsADirectoryError:
        problem = "there are no files in this folder"
    except OSError as error:
        problem = f"it cannot be read ({error.strerror})"
    raise InputError(image, problem, hint="Give a picture, or a folder with pictures.")


def main() -> None:
    parser = command("predict", __doc__)
    parser.add_argument("images", nargs="+", metavar="image", help="a picture, a folder, or - for standard input")
    add_files(parser, "model", "dataset")
    add_names(parser)
    parser.add_argument("--json", action="store_true", help="print a JSON object per line, with all probabilities")
    help_ = "draw the steps from the picture to what the model sees, for the last picture that can be read"
    parser.add_argument("--explain", type=Path, metavar="OUT.png", help=help_)
    args = parser.parse_args()
    names, dataset = class_names(args.params), read_dataset(args.dataset)
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
        reader = reader or open_reader(args.model, args.dataset, names)
        prediction = Prediction(image, reader.read(prepared.images))
        line = json.dumps({"image": image} | prediction.as_object()) if args.json else prediction.as_line()
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    sys.exit(failed)
