"""Print the results of the last run in a few lines."""

import sys
from pathlib import Path

from digits.apps.options import add_files, command
from digits.apps.results import History, Score, parse_rows, parse_scores, read
from dvcproof.runtime.bounds import finite

HINT = "Run `make repro`."


def summarize(metrics: Path) -> str:
    """Return the results in the folder that `evaluate` wrote, in a few lines."""
    scores = read(metrics / "scores.json", parse_scores, hint=HINT)
    last_epoch = read(metrics / "history.json", History.model_validate_json, hint=HINT).epochs[-1]
    lines = [
        _line("test accuracy", scores["test"]),
        _line("training accuracy", scores["train"]),
        f"  in the last epoch  {last_epoch.accuracy:8.2%}   what Keras prints: measured during the epoch",
        *([_line("validation accuracy", scores["validation"])] if "validation" in scores else []),
        f"gap                  {scores['gap'].accuracy:8.2%}   training minus test: the overfitting",
        "",
        *read(metrics / "first_ten.csv", _first_images, hint=HINT),
        "",
        f"worst mistakes: {metrics / 'worst.png'}   "
        "charts: `make report` writes report.html (`dvc plots show` needs the internet)",
    ]
    return "\n".join(lines)


def _line(title: str, score: Score) -> str:
    return f"{title:21}{score.accuracy:8.2%}   loss {score.loss:.4f}"


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
    parser = command("summary", __doc__)
    add_files(parser, "metrics")
    sys.stdout.write(summarize(parser.parse_args().metrics) + "\n")
