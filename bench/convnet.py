"""How good the convnet is, and how long it takes: several seeds of it and of Keras's public example, in turns.

python -m bench.convnet --seeds 5 --longer 20 --data data/prepared --out bench/results/convnet.json

The convnet is trained for the epochs that params.yaml says, and for longer. The model of the last epoch is scored,
and the test set chooses nothing. Its seconds are those of the whole stage `train`, from the start of the program to the
saved file, without `load` and `preprocess`, which take under a second. The example's are those from the start of the
program to the end of its `fit`, which also scores the images that it keeps back, without its evaluation.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from bench.seeds import describe, run_stages, settings
from bench.speed import machine, measured
from stages.arrays import replacing
from stages.console import InputError, on_terminal, run
from stages.load import LoadParams
from stages.params import read_params
from stages.preprocess import PreprocessParams
from stages.tables import write_json
from stages.train import ConvnetParams, read_settings
from verify.parameters import set_parameter

Run = dict[str, Any]

#: What Keras's example is given.
DATA = "data/mnist.npz"

#: As the section `convnet` of params.yaml allows.
MOST_EPOCHS = int(ConvnetParams.model_json_schema()["properties"]["epochs"]["maximum"])

#: Keras's example among the contestants; the others are named by their number of epochs.
EXAMPLE = "example"


def run_convnet(epochs: int, seed: int, data: Path, folder: Path) -> Run:
    """Train and evaluate the convnet through the stages, all other parameters as in params.yaml.

    Args:
        epochs: the value of `convnet.epochs`.
        seed: the value of `train.seed`.
        data: folder of the splits that `preprocess` wrote.
        folder: an empty folder to work in.
    """
    params = Path(shutil.copy("params.yaml", folder))
    for name, value in (("train.model", "convnet"), ("train.seed", seed), ("convnet.epochs", epochs)):
        set_parameter(params, name, value)
    start = time.perf_counter()
    run_stages(("train",), f"the convnet, seed {seed}", data, folder)
    seconds = time.perf_counter() - start
    run_stages(("evaluate",), f"the convnet, seed {seed}", data, folder)
    scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    return {"seed": seed, "test_accuracy": scores["test"]["accuracy"], "seconds": seconds}


def run_example(seed: int) -> Run:
    """Train Keras's example with a seed, as it comes: all cores, every instruction that the processor has."""
    return {"seed": seed} | measured([sys.executable, "-m", "bench.keras_convnet", DATA, str(seed)], Path.cwd())


def study(seeds: int, epochs: Sequence[int], data: Path) -> dict[str, list[Run]]:
    """Run every contestant with every seed, in turns: what slows the machine down slows all of them down."""
    runs: dict[str, list[Run]] = {name: [] for name in (EXAMPLE, *map(str, epochs))}
    with tqdm(total=seeds * len(runs), desc="convnet", disable=not on_terminal()) as steps:
        for seed in range(seeds):
            for name, found in runs.items():
                with tempfile.TemporaryDirectory() as folder:
                    example = name == EXAMPLE
                    found.append(run_example(seed) if example else run_convnet(int(name), seed, data, Path(folder)))
                steps.update()
    return runs


def summarize(runs: dict[str, list[Run]]) -> dict[str, Any]:
    """Test accuracy and seconds of each contestant, described, with its runs."""
    return {
        name: {kind: describe([run[kind] for run in found]) for kind in ("test_accuracy", "seconds")} | {"runs": found}
        for name, found in runs.items()
    }


def require_whole_mnist(params: Path) -> None:
    """Refuse to compare on other images than those that the example trains on.

    Raises:
        InputError: params.yaml names other data, or keeps images back.
    """
    source, kept = read_params(params, "load", LoadParams).source, read_params(params, "preprocess", PreprocessParams)
    if source != DATA or kept.validation_size:
        raise InputError(
            str(params),
            expected=f"the whole training set of {DATA}, which Keras's example has too",
            received=f"{kept.validation_size} images kept back of {source}",
            hint="Restore both parameters for this study.",
        )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.convnet", description=__doc__)
    parser.add_argument("--seeds", type=int, required=True, help="how many: 0, 1, 2, ...; at least 2")
    parser.add_argument("--longer", type=int, required=True, help="another, greater value of convnet.epochs")
    parser.add_argument("--data", type=Path, required=True, help="folder of the splits that `preprocess` wrote")
    parser.add_argument("--out", type=Path, required=True, help="the JSON to write")
    args = parser.parse_args()
    if args.seeds < 2:
        raise InputError("--seeds", expected="at least 2", received=str(args.seeds), hint="A spread needs two runs.")
    params = Path("params.yaml")
    usual = read_settings(params).convnet.epochs
    if not usual < args.longer <= MOST_EPOCHS:
        expected = f"more epochs than the {usual} in params.yaml, up to {MOST_EPOCHS}"
        raise InputError("--longer", expected=expected, received=str(args.longer), hint="Try three times as many.")
    require_whole_mnist(params)
    found = summarize(study(args.seeds, [usual, args.longer], args.data))
    with replacing(args.out) as (file,):
        write_json(file, {"machine": machine(), "params": settings("convnet"), "contestants": found})
    for name, values in found.items():
        accuracy, seconds = values["test_accuracy"], values["seconds"]
        what = "Keras's example" if name == EXAMPLE else f"convnet, {name} epochs"
        sys.stdout.write(f"{what:20} {accuracy['mean']:.3%} +- {accuracy['std']:.3%}   {seconds['mean']:.0f} s\n")


if __name__ == "__main__":
    run(main)
