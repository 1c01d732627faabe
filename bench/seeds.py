"""How much the result depends on the seed: train and evaluate with each of several, on what `dvc repro` prepared.

python -m bench.seeds --seeds 10 --data data/prepared --out bench/results/seeds.json
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from stages.arrays import replacing
from stages.console import InputError, on_terminal, run
from stages.load import LoadParams
from stages.params import read_params
from stages.preprocess import PreprocessParams
from stages.tables import write_json
from stages.train import read_settings
from verify.parameters import set_parameter


def run_stages(stages: Sequence[str], what: str, data: Path, folder: Path) -> None:
    """Run `train`, or `train` and `evaluate`.

    Args:
        stages: their names, in order.
        what: the run's name in messages.
        data: folder of the splits that `preprocess` wrote.
        folder: holds params.yaml, and takes all that the stages write.

    Raises:
        InputError: a stage failed.
    """
    common = ["--params", f"{folder}/params.yaml", "--data", f"{data}", "--model", f"{folder}/model.keras"]
    history = ["--history", f"{folder}/history.csv"]
    extra = {"train": ["--platform", f"{folder}/platform.json"], "evaluate": ["--out", f"{folder}"]}
    for stage in stages:
        command = [sys.executable, "-m", f"stages.{stage}", *common, *history, *extra[stage]]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            raise InputError(
                f"{stage} with {what}", expected="exit status 0", received=result.stderr, hint="Run `make repro` first."
            )


def run_seed(seed: int, data: Path, folder: Path) -> dict[str, float]:
    """Train and evaluate with one seed, all other parameters as in params.yaml.

    Args:
        seed: the value of `train.seed`.
        data: folder of the splits that `preprocess` wrote.
        folder: an empty folder to work in.
    """
    set_parameter(Path(shutil.copy("params.yaml", folder)), "train.seed", seed)
    run_stages(("train", "evaluate"), f"seed {seed}", data, folder)
    scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    epochs = json.loads((folder / "history.json").read_text(encoding="utf-8"))
    return {
        "seed": seed,
        "test_accuracy": scores["test"]["accuracy"],
        "train_accuracy": scores["train"]["accuracy"],
        "last_epoch_accuracy": epochs["last_epoch"]["accuracy"],
        "gap": scores["gap"]["accuracy"],
    }


def describe(values: Sequence[float]) -> dict[str, float]:
    """Mean, standard deviation of the sample, number, least and greatest."""
    return {
        "mean": statistics.mean(values),
        "std": statistics.stdev(values),
        "n": len(values),
        "min": min(values),
        "max": max(values),
    }


def study(seeds: Sequence[int], data: Path) -> dict[str, Any]:
    """Run every seed and summarize what came out."""
    runs = []
    for seed in tqdm(seeds, desc="seeds", disable=not on_terminal()):
        with tempfile.TemporaryDirectory() as folder:
            runs.append(run_seed(seed, data, Path(folder)))
    measured = [name for name in runs[0] if name != "seed"]
    return {"params": settings()} | {name: describe([run[name] for run in runs]) for name in measured} | {"runs": runs}


def settings(model: str | None = None) -> dict[str, Any]:
    """All that a study belongs to: the values in params.yaml that can change a score, without the seed.

    Args:
        model: a value of `train.model`; None for the one in params.yaml.
    """
    path = Path("params.yaml")
    load, preprocess = read_params(path, "load", LoadParams), read_params(path, "preprocess", PreprocessParams)
    train, convnet = read_settings(path)
    values = {"load": load.model_dump(exclude={"class_names"}), "preprocess": preprocess.model_dump()}
    if (model or train.model) == "dense":
        return values | {"train": train.model_dump(exclude={"seed"}) | {"model": "dense"}}
    shared = {"model": "convnet"} | train.model_dump(include={"shards", "device"})
    return values | {"train": shared, "convnet": convnet.model_dump()}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.seeds", description=__doc__)
    parser.add_argument("--seeds", type=int, required=True, help="how many: 0, 1, 2, ...; at least 2")
    parser.add_argument("--data", type=Path, required=True, help="folder of the splits that `preprocess` wrote")
    parser.add_argument("--out", type=Path, required=True, help="the JSON to write")
    args = parser.parse_args()
    if args.seeds < 2:
        raise InputError("--seeds", expected="at least 2", received=str(args.seeds), hint="A spread needs two runs.")
    result = study(range(args.seeds), args.data)
    with replacing(args.out) as (file,):
        write_json(file, result)
    test = result["test_accuracy"]
    sys.stdout.write(f"test accuracy {test['mean']:.2%}, spread (std) {test['std']:.2%}, n = {test['n']}\n")


if __name__ == "__main__":
    run(main)
