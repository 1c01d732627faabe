"""Run the pipeline and use what it made: python -m digits VERB."""

import argparse
import importlib
import sys

from digits.runtime.program import run

#: What a person may ask for, each a module of `digits/apps` with a function `main`.
VERBS = {
    "repro": "run what has changed of the pipeline, and print the result",
    "summary": "print the results of the last run",
    "predict": "read digits from pictures",
    "demo": "draw digits on a page in the browser, and see what the model reads",
    "report": "write a page: is this run better than an earlier one, and where does it fail",
    "gate": "fail if the model is worse than that of another commit",
    "card": "write the model card",
    "export": "write the model as SavedModel and ONNX file, with its card",
    "workers": "train on several workers of this machine, to the same bytes",
}


def main() -> None:
    verbs = "\n".join(f"  {verb:9} {help_}" for verb, help_ in VERBS.items())
    parser = argparse.ArgumentParser(
        prog="python -m digits",
        description=f"{__doc__}\n\n{verbs}\n\npython -m digits VERB --help says more of one.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="%(prog)s [-h] VERB ...",
    )
    parser.add_argument("verb", metavar="VERB", choices=VERBS, help="one of the words above")
    verb = parser.parse_args(sys.argv[1:2]).verb
    sys.argv[:2] = [f"python -m digits {verb}"]
    importlib.import_module(f"digits.apps.{verb}").main()


if __name__ == "__main__":
    run(main)
