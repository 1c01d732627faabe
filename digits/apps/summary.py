"""Print the results of the last run in a few lines."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from digits.apps.options import add_files, command
from dvcproof.runtime.bounds import finite, parse_json, read_text
from dvcproof.runtime.files import read_csv
from dvcproof.runtime.program import InputError

Row = Mapping[str, str]


def summarize(metrics: Path) -> str:
    """The results in the folder that `evaluate` wrote, in a few lines.

    Raises:
        InputError: a file is missing or damaged.
    """
    expected, hint = "what `evaluate` wrote", "Run `make repro`."
    try:
        scores, history = (parse_json(read_text(metrics / name)) for name in ("scores.json", "history.json"))
        lines = _accuracies(scores, history["last_epoch"])
        lines += ["", *_first_images(read_csv(metrics / "first_ten.csv"))]
    except FileNotFoundError as error:
        raise InputError(str(error.filename), expected=expected, received="no such file", hint=hint) from None
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise InputError(
            str(metrics), expected=expected, received=f"damaged files ({type(error).__name__}: {error})", hint=hint
        ) from None
    charts = "charts: `make report` writes report.html (`dvc plots show` needs the internet)"
    return "\n".join([*lines, "", f"worst mistakes: {metrics / 'worst.png'}   {charts}"])


def _accuracies(scores: Mapping[str, Mapping[str, float]], last_epoch: Mapping[str, float]) -> list[str]:
    lines = [
        _line("test accuracy", scores["test"]),
        _line("training accuracy", scores["train"]),
        f"  in the last epoch  {last_epoch['accuracy']:8.2%}   what Keras prints: measured during the epoch",
    ]
    if "validation" in scores:
        lines.append(_line("validation accuracy", scores["validation"]))
    return [*lines, f"gap                  {scores['gap']['accuracy']:8.2%}   training minus test: the overfitting"]


def _line(title: str, score: Mapping[str, float]) -> str:
    return f"{title:21}{score['accuracy']:8.2%}   loss {score['loss']:.4f}"


def _first_images(rows: Sequence[Row]) -> list[str]:
    right = sum(row["label"] == row["predicted"] for row in rows)
    width = max([7, *(len(row[name]) + 2 for row in rows for name in ("label", "predicted"))])
    return [
        f"first ten test images: {right} of {len(rows)} right",
        "  label       " + "".join(f"{row['label']:>{width}}" for row in rows),
        "  predicted   " + "".join(f"{row['predicted']:>{width}}" for row in rows),
        "  probability " + "".join(f"{finite(row['probability']):{width}.3f}" for row in rows),
    ]


def main() -> None:
    parser = command("summary", __doc__)
    add_files(parser, "metrics")
    sys.stdout.write(summarize(parser.parse_args().metrics) + "\n")
