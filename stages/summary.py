"""Print what the last run of the pipeline gave, in a few lines. Not a stage: it writes nothing."""

import argparse
import json
import sys
from pathlib import Path

from stages.console import InputError, run
from stages.tables import read_csv


def summarize(metrics: Path) -> str:
    """Say in a few lines what is in the folder that `evaluate` wrote.

    Raises:
        InputError: a file is missing.
    """
    try:
        scores = json.loads((metrics / "scores.json").read_text(encoding="utf-8"))
        epochs = read_csv(metrics / "history.csv")
        first = read_csv(metrics / "first_ten.csv")
    except FileNotFoundError as error:
        raise InputError(
            str(error.filename), expected="what `evaluate` wrote", received="no such file", hint="Run `make repro`."
        ) from None
    test, train, gap = scores["test"], scores["train"], scores["gap"]
    right = sum(row["label"] == row["predicted"] for row in first)
    lines = [
        f"test accuracy        {test['accuracy']:8.2%}   loss {test['loss']:.4f}",
        f"training accuracy    {train['accuracy']:8.2%}   loss {train['loss']:.4f}",
        f"  in the last epoch  {float(epochs[-1]['accuracy']):8.2%}   while the weights still moved: what Keras prints",
    ]
    if "validation" in scores:
        validation = scores["validation"]
        lines.append(f"validation accuracy  {validation['accuracy']:8.2%}   loss {validation['loss']:.4f}")
    lines += [
        f"gap                  {gap['accuracy']:8.2%}   training minus test: the overfitting",
        "",
        f"first ten test images: {right} of {len(first)} right",
        "  label       " + "".join(f"{row['label']:>7}" for row in first),
        "  predicted   " + "".join(f"{row['predicted']:>7}" for row in first),
        "  probability " + "".join(f"{float(row['probability']):7.3f}" for row in first),
        "",
        f"worst mistakes: {metrics / 'worst.png'}   plots: `dvc plots show` writes dvc_plots/index.html",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.summary", description=__doc__)
    parser.add_argument("metrics", type=Path, help="folder that `evaluate` wrote")
    sys.stdout.write(summarize(parser.parse_args().metrics) + "\n")


if __name__ == "__main__":
    run(main)
