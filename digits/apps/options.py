"""The files of a run, with the paths of dvc.yaml as defaults, and command-line options for other paths."""

import argparse
from pathlib import Path
from typing import NamedTuple


class Files(NamedTuple):
    """The paths of the files of a run."""

    params: Path = Path("params.yaml")
    lock: Path = Path("dvc.lock")
    metrics: Path = Path("metrics")
    model: Path = Path("data/model.keras")
    seeds: Path = Path("bench/results/seeds.json")
    dataset: Path = Path("data/raw/dataset.json")
    data: Path = Path("data/prepared")
    platform: Path = Path("data/platform.json")


HELP = {
    "params": "the parameters",
    "lock": "DVC's record of the run",
    "metrics": "the folder that `evaluate` wrote",
    "model": "the model that `train` wrote",
    "seeds": "the study over seeds",
    "dataset": "the description that `load` wrote, with the training images beside it",
    "data": "the folder of the splits that `preprocess` wrote",
    "platform": "the record of the machine that `train` wrote",
}


def command(verb: str, description: str | None, *names: str, usage: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of a verb, with an option for each of these fields of `Files`."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(f"python -m digits {verb}", usage, description, formatter_class=formatter)
    for name in names:
        help_ = f"{HELP[name]} (default: %(default)s)"
        parser.add_argument(f"--{name}", type=Path, default=getattr(Files(), name), metavar="PATH", help=help_)
    return parser


def given_files(args: argparse.Namespace) -> Files:
    """Return the paths that were given as options, and the defaults of the other files."""
    return Files(**{name: path for name, path in vars(args).items() if name in Files._fields})
