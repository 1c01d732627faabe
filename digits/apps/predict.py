"""Read digits from pictures with the trained model.

Each picture that cannot be read is named in one line, the others are read, and the exit status is 1.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from digits.apps.handwriting import read_digit
from digits.common.bounds import open_file
from digits.common.cli import InputError, printable, run
from digits.common.params import read_params
from digits.data.labels import name_classes, numbered
from digits.data.splits import to_features
from digits.model import determinism
from digits.scoring.params import EvaluateParams

#: Bytes of the largest file: more than a photograph has.
MAX_BYTES = 32 * 2**20


#: Pictures that are classified at a time.
PICTURES = 16


class Classifier(NamedTuple):
    """A trained model, from images to probabilities."""

    names: Sequence[str]  # of the classes
    probabilities: Callable[[NDArray[np.uint8]], NDArray[np.float64]]  # [n, 28, 28], 255 is ink, to [n, classes]


def open_classifier(path: Path, names: Sequence[str] | None = None) -> Classifier:
    """Open a trained model.

    Args:
        path: the .keras file.
        names: of the classes, in the order of the labels. None: 0, 1, 2, ...

    Raises:
        InputError: the file is missing or damaged, the model is not from [n, 784] to [n, classes], or there are not as
            many names as classes.
    """
    determinism.configure(seed=0)
    from digits.model import archive
    from digits.model.fit import log_probabilities

    model = archive.load(path, features=784)
    logarithms = log_probabilities(model, PICTURES)

    def probabilities(digits: NDArray[np.uint8]) -> NDArray[np.float64]:
        features = to_features(digits)
        parts = [logarithms(features[start : start + PICTURES]) for start in range(0, len(features), PICTURES)]
        return np.exp(np.concatenate(parts).astype(np.float64))

    return Classifier(name_classes(names, numbered(model.output_shape[1])), probabilities)


def class_names(params: Path | None) -> Sequence[str] | None:
    """What params.yaml calls the classes, or None: by number.

    Raises:
        InputError: the file is missing, or a value is out of range.
    """
    return None if params is None else read_params(params, "evaluate", EvaluateParams).class_names


class Prediction(NamedTuple):
    """What the model reads in one picture."""

    image: str  # its path, or '-' for standard input
    probabilities: dict[str, float]  # by the name of the class

    @property
    def predicted(self) -> str:
        """The most probable class."""
        return max(self.probabilities, key=lambda name: self.probabilities[name])

    def as_line(self) -> str:
        """For people."""
        return f"{printable(self.image)}: {self.predicted}, probability {self.probabilities[self.predicted]:.3f}"

    def as_json(self) -> str:
        """For programs: an object in one line."""
        probabilities = {name: round(value, 6) for name, value in self.probabilities.items()}
        best = {"predicted": self.predicted, "probability": probabilities[self.predicted]}
        return json.dumps({"image": self.image} | best | {"probabilities": probabilities})


def predict(classifier: Classifier, images: Sequence[str], digits: Sequence[NDArray[np.uint8]]) -> Iterator[Prediction]:
    """Classify digits.

    Args:
        classifier: the model.
        images: what n pictures are called.
        digits: the digits in them, each uint8 [28, 28], 255 is ink.
    """
    rows = classifier.probabilities(np.stack(digits)).tolist()
    for image, row in zip(images, rows, strict=True):
        yield Prediction(image, dict(zip(classifier.names, row, strict=True)))


def sources(arguments: Sequence[str]) -> Iterator[str]:
    """The pictures that the arguments name. A folder stands for its files in order, without hidden ones."""
    for argument in arguments:
        try:
            files = sorted(str(path) for path in Path(argument).iterdir() if path.is_file() and path.name[0] != ".")
        except OSError:  # no folder
            files = []
        yield from files or [argument]


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


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m digits.apps.predict", description=__doc__)
    parser.add_argument(
        "images", nargs="+", metavar="image", help="a picture, a folder of them, or - for standard input"
    )
    parser.add_argument("--model", type=Path, default="data/model.keras", help="the model, by default %(default)s")
    parser.add_argument("--params", type=Path, help="params.yaml, for the names of the classes; else by number")
    parser.add_argument("--json", action="store_true", help="one JSON object a line, with all probabilities")
    args = parser.parse_args()
    names = class_names(args.params)
    images, digits, failed = [], [], False
    for image in sources(args.images):
        try:
            digits.append(read_digit(image, read(image)))
            images.append(image)
        except InputError as error:
            sys.stderr.write(f"ERROR: {error}\n")
            failed = True
    if images:
        for prediction in predict(open_classifier(args.model, names), images, digits):
            sys.stdout.write((prediction.as_json() if args.json else prediction.as_line()) + "\n")
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    run(main)
