"""How much the result depends on the seed: train and evaluate with each of several, on what `dvc repro` prepared.

python -m bench.seeds --seeds 10 --data data --out bench/results/seeds.json
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.points import Data, Where, add_options, compute, where
from bench.study import PARAMS, data_hashes, describe, run_model_stages, run_stage
from digits.study import study_params
from dvcproof.runtime.files import replacing, write_json
from dvcproof.runtime.program import InputError, run
from dvcproof.values import set_params


def run_seed(seed: int, data: Path, folder: Path) -> dict[str, float]:
    """Train and evaluate with one seed, all other parameters as in params.yaml.

    Args:
        seed: the value of `train.seed`.
        data: the pipeline's folder with raw/ and prepared/.
        folder: an empty folder to work in.
    """
    set_params(Path(shutil.copy(PARAMS, folder)), {"train.seed": seed})
    run_model_stages(("train", "evaluate"), f"seed {seed}", data, folder)
    scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    epochs = json.loads((folder / "history.json").read_text(encoding="utf-8"))
    return {
        "seed": seed,
        "test_accuracy": scores["test"]["accuracy"],
        "train_accuracy": scores["train"]["accuracy"],
        "last_epoch_accuracy": epochs["last_epoch"]["accuracy"],
        "gap": scores["gap"]["accuracy"],
    }


def one_seed(seed: int, data: Path) -> dict[str, float]:
    """The same in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        return run_seed(seed, data, Path(folder))


def prepare(folder: Path) -> Path:
    """Load and preprocess as `dvc repro` does, for a worker that has not run it.

    Args:
        folder: an empty folder to work in.
    """
    run_stage("load", {"--params": PARAMS, "--out": folder / "raw"}, "the study's data")
    run_stage(
        "preprocess", {"--params": PARAMS, "--raw": folder / "raw", "--out": folder / "prepared"}, "the study's data"
    )
    return folder


def study(seeds: Sequence[int], data: Path, where: Where) -> dict[str, Any]:
    """Run every seed and describe what came out."""
    valid_for = {"params": study_params(PARAMS), "data": data_hashes()}  # first: it can fail
    runs = compute(one_seed, [(seed,) for seed in seeds], Data(data, prepare), where, "seeds")
    measured = [name for name in runs[0] if name != "seed"]
    return valid_for | {name: describe([run[name] for run in runs]) for name in measured} | {"runs": runs}


def nearest_seed(study: Mapping[str, Any]) -> int:
    """The seed of the most typical run: the one whose test accuracy is the nearest to the mean."""
    mean = study["test_accuracy"]["mean"]
    return int(min(study["runs"], key=lambda one: abs(one["test_accuracy"] - mean))["seed"])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.seeds", description=__doc__)
    parser.add_argument("--seeds", type=int, required=True, help="how many: 0, 1, 2, ...; at least 2")
    parser.add_argument("--data", type=Path, required=True, help="the pipeline's folder with raw/ and prepared/")
    parser.add_argument("--out", type=Path, required=True, help="the JSON to write")
    add_options(parser)
    args = parser.parse_args()
    if args.seeds < 2:
        raise InputError("--seeds", expected="at least 2", received=str(args.seeds), hint="A spread needs two runs.")
    result = study(range(args.seeds), args.data, where(args))
    with replacing(args.out) as (file,):
        write_json(file, result)
    test = result["test_accuracy"]
    sys.stdout.write(f"test accuracy {test['mean']:.2%}, spread (std) {test['std']:.2%}, n = {test['n']}\n")


if __name__ == "__main__":
    run(main)
