"""Name the files of a run on a command line: each is by default where dvc.yaml has it."""

import argparse
from pathlib import Path

FILES = {
    "params": ("params.yaml", "the parameters"),
    "lock": ("dvc.lock", "what DVC recorded of the run"),
    "metrics": ("metrics", "the folder that `evaluate` wrote"),
    "model": ("data/model.keras", "the model that `train` wrote"),
    "seeds": ("bench/results/seeds.json", "the study over seeds"),
    "dataset": ("data/raw/dataset.json", "the description that `load` wrote, with the training images beside it"),
    "data": ("data/prepared", "the folder of the splits that `preprocess` wrote"),
    "platform": ("data/platform.json", "the record of the machine that `train` wrote"),
}


def command(verb: str, description: str | None) -> argparse.ArgumentParser:
    """Return the parser of a verb's options."""
    prog = f"python -m digits {verb}"
    formatter = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(prog=prog, description=description, formatter_class=formatter)


def add_files(parser: argparse.ArgumentParser, *names: str) -> None:
    """Add an option for each of these FILES."""
    for name in names:
        default, purpose = FILES[name]
        help_ = f"{purpose} (default: %(default)s)"
        parser.add_argument(f"--{name}", type=Path, default=Path(default), metavar="PATH", help=help_)
