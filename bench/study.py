"""Functions that the studies share: parameters from the command line, runs of stages, and statistics."""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from digits.apps.results import study_params
from dvcproof.lockfile import read_lock
from dvcproof.runtime.document import read_mapping
from dvcproof.runtime.files import replacing, write_json
from dvcproof.runtime.program import InputError
from dvcproof.values import parse_value, set_params

#: The committed parameters. A study runs in the top folder of the project.
PARAMS = Path("params.yaml")

#: The file that pins all packages.
PACKAGES = Path("requirements.lock")

#: The data set of the studies that need MNIST.
MNIST = "data/mnist.npz"

#: The files that `load` writes for a data set.
ARRAYS = ("train_images.npy", "train_labels.npy", "test_images.npy", "test_labels.npy")


def parser_of(module: str, doc: str | None, *, data: bool = False) -> argparse.ArgumentParser:
    """Return a parser with the options that most studies have."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=doc)
    if data:
        parser.add_argument("--data", type=Path, required=True, help="the pipeline's folder with raw/ and prepared/")
    parser.add_argument("--out", type=Path, required=True, help="the result to write")
    return parser


def at_least(least: int) -> Callable[[str], int]:
    """Return a `type` for argparse: whole numbers that are not below `least`."""

    def number(text: str) -> int:
        if not text.isdigit() or int(text) < least:
            raise argparse.ArgumentTypeError(f"expected a whole number of at least {least}, got {text}")
        return int(text)

    return number


def parameter(text: str) -> tuple[str, Any]:
    """Parse NAME=VALUE, as a `type` for argparse. Raises ValueError if there is no `=`."""
    name, value = text.split("=", 1)
    return name, parse_value(value)


def require_whole_mnist(params: Path) -> None:
    """Check that params.yaml names the data that the study's baselines or pictures are made from.

    Raises:
        InputError: params.yaml names other data, or keeps images back for validation.
    """
    document = read_mapping(params)
    found = document["load"]["source"], document["preprocess"]["validation_size"]
    if found != (MNIST, 0):
        raise InputError(
            str(params),
            expected=f"the whole training set of {MNIST}, which this study needs",
            received=f"{found[1]} images kept back of {found[0]}",
            hint="Restore both parameters for this study.",
        )


def data_hashes() -> dict[str, str | None]:
    """Return the MD5 of each array of the data set that the project runs on, from dvc.lock."""
    written = read_lock(Path("dvc.lock")).stages["load"].outs  # other stages write files with the same names
    return {Path(file.path).name: file.md5 for file in written if Path(file.path).name in ARRAYS}


def valid_for(model: str | None = None, *, scored: bool = True) -> dict[str, Any]:
    """Return the parameters and data that a study is valid for. Call this before the work, since it may raise."""
    return {"params": study_params(PARAMS, model, scored=scored), "data": data_hashes()}


def write_params(folder: Path, values: Mapping[str, Any]) -> Path:
    """Write params.yaml into a folder, with values that differ from the committed ones: {'train.seed': 8}."""
    path = Path(shutil.copy(PARAMS, folder))
    set_params(path, values)
    return path


class Trained(NamedTuple):
    """A network that was trained for a study, in a folder with params.yaml and all outputs of the stages."""

    folder: Path
    seconds: float  # duration of the stage `train`, from start to end of its program
    data: Path
    what: str

    def scores(self) -> dict[str, Any]:
        """Run the stage `evaluate`, and return the content of scores.json."""
        run_model_stage("evaluate", self.what, self.data, self.folder)
        return read_result(self.folder / "scores.json")


@contextmanager
def trained(values: Mapping[str, Any], what: str, data: Path, launcher: Sequence[str] = ()) -> Iterator[Trained]:
    """Train in a temporary folder, with values that differ from the committed parameters.

    Args:
        values: values of parameters by their full names.
        what: the run's name in messages.
        data: the pipeline's folder with raw/ and prepared/.
        launcher: words to put before the stage's command.

    Raises:
        InputError: the training failed.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_params(folder, values)
        start = time.perf_counter()
        run_model_stage("train", what, data, folder, launcher)
        yield Trained(folder, time.perf_counter() - start, data, what)


def run_model_stage(stage: str, what: str, data: Path, folder: Path, launcher: Sequence[str] = ()) -> None:
    """Run `train` or `evaluate` on prepared data, in a folder with params.yaml. Raises InputError if it fails."""
    options = {
        "--params": folder / "params.yaml",
        "--dataset": data / "raw" / "dataset.json",
        "--data": data / "prepared",
        "--model": folder / "model.keras",
        "--history": folder / "history.csv",
    }
    extra = {"train": {"--platform": folder / "platform.json"}, "evaluate": {"--out": folder}}
    run_stage(stage, options | extra[stage], what, launcher)


def run_stage(stage: str, options: Mapping[str, Path], what: str, launcher: Sequence[str] = ()) -> None:
    """Run one stage with its options. Raises InputError if it fails."""
    words = [str(word) for option in options.items() for word in option]
    command = [*launcher, sys.executable, "-m", "dvcproof.runtime.run", str(PACKAGES), f"stages.{stage}", *words]
    # A study may itself run as a stage of DVC. The inner stage must not report its inputs under the study's name.
    outside = {name: value for name, value in os.environ.items() if name not in ("DVC_ROOT", "DVC_STAGE")}
    result = subprocess.run(command, env=outside, capture_output=True, text=True, check=False)
    if result.returncode:
        hint = "Run `make repro` first."
        raise InputError(f"{stage} with {what}", expected="exit status 0", received=result.stderr, hint=hint)


def load_and_preprocess(params: Path, folder: Path) -> Path:
    """Run `load` and `preprocess` in a folder, and return the folder with raw/ and prepared/."""
    raw, prepared = folder / "raw", folder / "prepared"
    run_stage("load", {"--params": params, "--out": raw}, "the study's data")
    run_stage("preprocess", {"--params": params, "--raw": raw, "--out": prepared}, "the study's data")
    return folder


def describe(values: Sequence[float]) -> dict[str, float]:
    """Return mean, sample standard deviation, number, minimum and maximum."""
    found = {"mean": statistics.mean(values), "std": statistics.stdev(values), "n": len(values)}
    return found | {"min": min(values), "max": max(values)}


def read_result(path: Path) -> dict[str, Any]:
    """Read a study's result.

    Raises:
        InputError: the file is not a JSON object.
    """
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        raise InputError(str(path), "this result is damaged", hint="Restore it from Git.") from None


def save(path: Path, result: Any) -> None:
    """Write a study's result as JSON. If that fails, the earlier file stays."""
    with replacing(path) as (file,):
        write_json(file, result)
