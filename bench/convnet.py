"""How good the convnet is, and how long it takes: several seeds of it and of Keras's public example, interleaved.

python -m bench.convnet --seeds 5 --epochs 1 2 3 7 20 --data data --out bench/results/convnet.json

The convnet is trained for the epochs that params.yaml says, and for fewer and more: its accuracy against seconds. The
model of the last epoch is scored, and the test set chooses nothing. Its seconds are those of the whole stage `train`,
from the start of the program to the saved file, without `load` and `preprocess`, which take under a second. The
example's are those from the start of the program to the end of its `fit`, which also scores the images that it keeps
back, without its evaluation.
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

from bench.chart import draw_accuracy
from bench.speed import measured, this_machine
from bench.study import PARAMS, data_hashes, describe, run_model_stages
from digits.common.cli import InputError, on_terminal, run
from digits.common.files import replacing, write_json
from digits.common.params import read_document, read_params, set_params, study_params
from digits.model.networks import Convnet

Run = dict[str, Any]

#: What Keras's example is given.
DATA = "data/mnist.npz"

#: As the section `convnet` of params.yaml allows.
MOST_EPOCHS = int(Convnet.model_json_schema()["properties"]["epochs"]["maximum"])

#: Keras's example among the contestants; the others are named by their number of epochs.
EXAMPLE = "example"


def run_convnet(epochs: int, seed: int, data: Path, folder: Path) -> Run:
    """Train and evaluate the convnet through the stages, all other parameters as in params.yaml.

    Args:
        epochs: the value of `convnet.epochs`.
        seed: the value of `train.seed`.
        data: the pipeline's folder with raw/ and prepared/.
        folder: an empty folder to work in.
    """
    values = {"train.model": "convnet", "train.seed": seed, "convnet.epochs": epochs}
    set_params(Path(shutil.copy(PARAMS, folder)), values)
    start = time.perf_counter()
    run_model_stages(("train",), f"the convnet, seed {seed}", data, folder)
    seconds = time.perf_counter() - start
    run_model_stages(("evaluate",), f"the convnet, seed {seed}", data, folder)
    scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    return {"seed": seed, "test_accuracy": scores["test"]["accuracy"], "seconds": seconds}


def run_example(seed: int) -> Run:
    """Train Keras's example with a seed, as it comes: all cores, every instruction that the processor has."""
    return {"seed": seed} | measured([sys.executable, "-m", "bench.example_convnet", DATA, str(seed)], Path.cwd())


def study(seeds: int, epochs: Sequence[int], data: Path) -> dict[str, list[Run]]:
    """Run every contestant with every seed, interleaved: what slows the machine down slows all of them down."""
    runs: dict[str, list[Run]] = {name: [] for name in (EXAMPLE, *map(str, epochs))}
    with tqdm(total=seeds * len(runs), desc="convnet", disable=not on_terminal()) as steps:
        for seed in range(seeds):
            for name, found in runs.items():
                with tempfile.TemporaryDirectory() as folder:
                    example = name == EXAMPLE
                    found.append(run_example(seed) if example else run_convnet(int(name), seed, data, Path(folder)))
                steps.update()
    return runs


def contestants(runs: dict[str, list[Run]]) -> dict[str, Any]:
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
    document = read_document(params)
    source, kept = document["load"]["source"], document["preprocess"]["validation_size"]
    if source != DATA or kept:
        raise InputError(
            str(params),
            expected=f"the whole training set of {DATA}, which Keras's example has too",
            received=f"{kept} images kept back of {source}",
            hint="Restore both parameters for this study.",
        )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.convnet", description=__doc__)
    parser.add_argument("--seeds", type=int, required=True, help="how many: 0, 1, 2, ...; at least 2")
    parser.add_argument(
        "--epochs", type=int, nargs="+", required=True, help="values of convnet.epochs, that of params.yaml among them"
    )
    parser.add_argument("--data", type=Path, required=True, help="the pipeline's folder with raw/ and prepared/")
    parser.add_argument("--out", type=Path, required=True, help="the JSON to write, and beside it its chart, .png")
    args = parser.parse_args()
    if args.seeds < 2:
        raise InputError("--seeds", expected="at least 2", received=str(args.seeds), hint="A spread needs two runs.")
    usual = read_params(PARAMS, "convnet", Convnet).epochs
    epochs = sorted(set(args.epochs))
    if usual not in epochs or epochs[0] < 1 or epochs[-1] > MOST_EPOCHS:
        expected = f"numbers from 1 to {MOST_EPOCHS}, and among them the {usual} of params.yaml"
        hint = f"As in --epochs 1 {usual} {3 * usual}."
        raise InputError("--epochs", expected=expected, received=" ".join(map(str, args.epochs)), hint=hint)
    require_whole_mnist(PARAMS)
    valid_for = {"params": study_params(PARAMS, "convnet"), "data": data_hashes()}  # first: it can fail
    found = contestants(study(args.seeds, epochs, args.data))
    with replacing(args.out, args.out.with_suffix(".png")) as (file, chart):
        write_json(file, {"machine": this_machine()} | valid_for | {"contestants": found})
        draw_accuracy(found, EXAMPLE, chart)
    for name, values in found.items():
        accuracy, seconds = values["test_accuracy"], values["seconds"]
        what = "Keras's example" if name == EXAMPLE else f"convnet, {name} epochs"
        sys.stdout.write(f"{what:20} {accuracy['mean']:.3%} +- {accuracy['std']:.3%}   {seconds['mean']:.0f} s\n")


if __name__ == "__main__":
    run(main)
