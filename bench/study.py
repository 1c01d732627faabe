"""What the studies share: parameters from the command line, stages run with them, and values over seeds described."""

import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from digits.params import read_document
from dvcproof.lockfile import read_lock
from dvcproof.runtime.program import InputError
from dvcproof.values import parse_value

#: The committed parameters. A study runs in the top folder of the project.
PARAMS = Path("params.yaml")

#: The list of packages.
PACKAGES = Path("requirements.lock")

#: The data set of studies that are of no other.
MNIST = "data/mnist.npz"

#: What `load` writes of a data set, but for the facts that it finds in it.
ARRAYS = ("train_images.npy", "train_labels.npy", "test_images.npy", "test_labels.npy")


def _trained_on(params: Path) -> tuple[str, int]:
    """The data set that params.yaml names, and how many of its images are kept back."""
    document = read_document(params)
    return document["load"]["source"], document["preprocess"]["validation_size"]


def on_whole_mnist(params: Path) -> bool:
    """Whether params.yaml names MNIST, and keeps no images back."""
    return _trained_on(params) == (MNIST, 0)


def require_whole_mnist(params: Path) -> None:
    """Refuse to measure other images than those of a baseline, or of the pictures that are drawn.

    Raises:
        InputError: params.yaml names other data, or keeps images back.
    """
    source, kept = _trained_on(params)
    if (source, kept) != (MNIST, 0):
        raise InputError(
            str(params),
            expected=f"the whole training set of {MNIST}, which this study is of",
            received=f"{kept} images kept back of {source}",
            hint="Restore both parameters for this study.",
        )


def data_hashes() -> dict[str, str | None]:
    """The MD5 of each array of the data set that the project is run on, from dvc.lock."""
    written = read_lock(Path("dvc.lock")).stages["load"].outs  # other stages write files of the same names
    return {Path(file.path).name: file.md5 for file in written if Path(file.path).name in ARRAYS}


def run_model_stages(stages: Sequence[str], what: str, data: Path, folder: Path, launcher: Sequence[str] = ()) -> None:
    """Run `train`, or `train` and then `evaluate`, on what `dvc repro` prepared or a study did.

    Args:
        stages: their names, in order.
        what: the run's name in messages.
        data: folder with raw/dataset.json and prepared/.
        folder: holds params.yaml, and takes all that the stages write.
        launcher: what starts the command of a stage, given as the next words; none: it is started as it is.

    Raises:
        InputError: a stage failed.
    """
    options = {
        "--params": folder / "params.yaml",
        "--dataset": data / "raw" / "dataset.json",
        "--data": data / "prepared",
        "--model": folder / "model.keras",
        "--history": folder / "history.csv",
    }
    extra = {"train": {"--platform": folder / "platform.json"}, "evaluate": {"--out": folder}}
    for stage in stages:
        run_stage(stage, options | extra[stage], what, launcher)


def run_stage(stage: str, options: dict[str, Path], what: str, launcher: Sequence[str] = ()) -> None:
    """Run one stage with its options, and a launcher as above.

    Raises:
        InputError: it failed.
    """
    words = [str(word) for option in options.items() for word in option]
    command = [*launcher, sys.executable, "-m", "dvcproof.runtime.run", str(PACKAGES), f"stages.{stage}", *words]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise InputError(
            f"{stage} with {what}", expected="exit status 0", received=result.stderr, hint="Run `make repro` first."
        )


def parse_values(texts: Sequence[str]) -> dict[str, Any]:
    """Parameters from NAME=VALUE each.

    Raises:
        InputError: a text has another form.
    """
    for text in texts:
        if not all(text.partition("=")):
            hint = "As in --set train.shards=4."
            raise InputError("a parameter", expected="NAME=VALUE", received=text, hint=hint)
    return {name: parse_value(value) for name, _, value in (text.partition("=") for text in texts)}


def describe(values: Sequence[float]) -> dict[str, float]:
    """Mean, standard deviation of the sample, number, least and greatest."""
    return {
        "mean": statistics.mean(values),
        "std": statistics.stdev(values),
        "n": len(values),
        "min": min(values),
        "max": max(values),
    }
