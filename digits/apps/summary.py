"""Print the results of the last run in a few lines."""

import sys
from pathlib import Path

from digits.apps.options import command
from digits.apps.results import VALIDATION, History, added, parse_rows, parse_scores, read
from dvcproof.runtime.bounds import finite

HINT = "Run `make repro`."


def summarize(metrics: Path) -> str:
    """Return a few lines with the results in the folder that `evaluate` wrote."""
    scores = read(metrics / "scores.json", parse_scores, HINT)
    last_epoch = read(metrics / "history.json", History.model_validate_json, HINT).epochs[-1]

    def line(title: str, split: str) -> str:
        return f"{title:21}{scores[f'{split}.accuracy']:8.2%}   loss {scores[f'{split}.loss']:.4f}"

    lines = [
        line("test accuracy", "test"),
        line("training accuracy", "train"),
        f"  in the last epoch  {last_epoch.accuracy:8.2%}   what Keras prints: measured during the epoch",
        *([line("validation accuracy", "validation")] if {*VALIDATION} <= {*scores} else []),
        f"gap                  {scores['gap.accuracy']:8.2%}   training minus test: the overfitting",
        *(f"{name:20} {value:8.4f}" for name, value in added(scores).items()),
        "",
        *read(metrics / "first_ten.csv", _first_images, HINT),
        "",
        f"worst mistakes: {metrics / 'worst.png'}   "
        "charts: `make report` writes report.html (`dvc plots show` needs the internet)",
    ]
    return "\n".join(lines)


def _first_images(text: str) -> list[str]:
    rows = parse_rows(text)
    right = sum(row["label"] == row["predicted"] for row in rows)
    width = max([7, *(len(row[name]) + 2 for row in rows for name in ("label", "predicted"))])
    return [
        f"first ten test images: {right} of {len(rows)} right",
        "  label       " + "".join(f"{row['label']:>{width}}" for row in rows),
        "  predicted   " + "".join(f"{row['predicted']:>{width}}" for row in rows),
        "  probability " + "".join(f"{finite(row['probability']):{width}.3f}" for row in rows),
    ]


def main() -> None:
    parser = command("summary", __doc__, "metrics")
    sys.stdout.write(summarize(parser.parse_args().metrics) + "\n")
