"""How good the convnet is, and how long it takes: several seeds of it and of Keras's public example, interleaved.

python -m bench.convnet --seeds 10 --epochs 1 2 3 7 35 --views 11 --data data --out bench/results/convnet.json

The convnet is trained for the epochs that params.yaml says, and for fewer and more: its accuracy against seconds. The
model of the last epoch is scored, and the test set chooses nothing; that of the longest training also on several views
of each image. Its seconds are those of the whole stage `train`, from the start of the program to the saved file,
without `load` and `preprocess`, which take under a second. The example's are those from the start of the program to the
end of its `fit`, which also scores the images that it keeps back, without its evaluation.

A study that was ended goes on after its last finished run.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from bench.chart import draw_accuracy
from bench.points import code
from bench.speed import measured, this_machine
from bench.study import PARAMS, data_hashes, describe, run_model_stages
from digits.common.cli import InputError, on_terminal, run
from digits.common.files import replacing, write_json
from digits.common.params import read_document, read_params, set_params, study_params
from digits.model.networks import Convnet
from digits.model.warp import VIEWS

Run = dict[str, Any]

#: What Keras's example is given.
DATA = "data/mnist.npz"

#: As the section `convnet` of params.yaml allows.
MOST_EPOCHS = int(Convnet.model_json_schema()["properties"]["epochs"]["maximum"])

#: Keras's example among the contestants. The others are named by their number of epochs, as 7, and by the number of
#: views that they are scored on, if it is not that of params.yaml: 35x11.
EXAMPLE = "example"


class Finished:
    """The runs that are finished, in a file beside the result, so that nothing is lost with a study that is ended."""

    def __init__(self, out: Path, valid_for: Mapping[str, Any]) -> None:
        """Take the result's path, and all that runs depend on: those of another study are not used.

        Raises:
            InputError: the file is damaged.
        """
        self.path = out.with_name(f".{out.name}.checkpoint")
        self.valid_for = json.loads(json.dumps(valid_for))
        self.runs: dict[str, dict[str, Run]] = {}
        try:
            text = self.path.read_text(encoding="utf-8") if self.path.exists() else '{"valid_for": null}'
            content: dict[str, Any] = json.loads(text)
            if content["valid_for"] == self.valid_for:
                self.runs = content["runs"]
        except (ValueError, KeyError, TypeError):
            hint = "Delete it: the study then starts anew."
            raise InputError(str(self.path), expected="runs of a study", received="a damaged file", hint=hint) from None

    def add(self, name: str, found: dict[str, Run]) -> None:
        """Note what a run has found."""
        self.runs[name] = found
        with replacing(self.path, results=False) as (file,):
            file.write_text(json.dumps({"valid_for": self.valid_for, "runs": self.runs}), encoding="utf-8")

    def remove(self) -> None:
        """Delete the file: the result is written."""
        self.path.unlink(missing_ok=True)


def run_convnet(epochs: int, seed: int, data: Path, folder: Path, views: int | None = None) -> dict[str, Run]:
    """Train and evaluate the convnet through the stages, all other parameters as in params.yaml.

    Args:
        epochs: the value of `convnet.epochs`.
        seed: the value of `train.seed`.
        data: the pipeline's folder with raw/ and prepared/.
        folder: an empty folder to work in.
        views: a value of `evaluate.views` to score the same model with once more.

    Returns:
        One or two contestants and their runs.
    """
    params, what = Path(shutil.copy(PARAMS, folder)), f"the convnet, seed {seed}"
    set_params(params, {"train.model": "convnet", "train.seed": seed, "convnet.epochs": epochs})
    start = time.perf_counter()
    run_model_stages(("train",), what, data, folder)
    seconds = time.perf_counter() - start

    def scored() -> Run:
        run_model_stages(("evaluate",), what, data, folder)
        scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
        return {"seed": seed, "test_accuracy": scores["test"]["accuracy"], "seconds": seconds}

    found = {str(epochs): scored()}
    if views:
        set_params(params, {"evaluate.views": views})
        found[f"{epochs}x{views}"] = scored()
    return found


def run_example(seed: int) -> Run:
    """Train Keras's example with a seed, as it comes: all cores, every instruction that the processor has."""
    return {"seed": seed} | measured([sys.executable, "-m", "bench.example_convnet", DATA, str(seed)], Path.cwd())


def study(seeds: int, epochs: Sequence[int], views: int | None, data: Path, finished: Finished) -> dict[str, list[Run]]:
    """Run every contestant with every seed, interleaved: what slows the machine down slows all of them down.

    Args:
        seeds: how many.
        epochs: of the convnet's trainings.
        views: the longest training is scored on so many too.
        data: the pipeline's folder with raw/ and prepared/.
        finished: runs that need not be run again; takes up the others.
    """
    runs: dict[str, list[Run]] = {}
    trainings: dict[str, int] = {EXAMPLE: 0} | {str(number): number for number in epochs}
    with tqdm(total=seeds * len(trainings), desc="convnet", disable=not on_terminal()) as steps:
        for seed in range(seeds):
            for name, number in trainings.items():
                key = f"{name}, seed {seed}"
                if key not in finished.runs:
                    with tempfile.TemporaryDirectory() as folder:
                        finished.add(
                            key,
                            run_convnet(number, seed, data, Path(folder), views if number == max(epochs) else None)
                            if number
                            else {EXAMPLE: run_example(seed)},
                        )
                for contestant, run in finished.runs[key].items():
                    runs.setdefault(contestant, []).append(run)
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
    parser.add_argument("--views", type=int, help="a value of evaluate.views to score the longest training with too")
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
    usual_views = read_document(PARAMS)["evaluate"]["views"]
    if args.views is not None and (args.views == usual_views or not 1 <= args.views <= len(VIEWS)):
        expected = f"a number from 1 to {len(VIEWS)}, other than the {usual_views} of params.yaml"
        raise InputError("--views", expected=expected, received=str(args.views), hint="Or leave it out.")
    valid_for = {"params": study_params(PARAMS, "convnet"), "data": data_hashes()}  # first: it can fail
    finished = Finished(args.out, valid_for | {"machine": this_machine(), "code": code(("digits", "stages"))})
    found = contestants(study(args.seeds, epochs, args.views, args.data, finished))
    with replacing(args.out, args.out.with_suffix(".png")) as (file, chart):
        write_json(file, {"machine": this_machine()} | valid_for | {"contestants": found})
        draw_accuracy(found, EXAMPLE, chart)
    finished.remove()
    for name, values in found.items():
        accuracy, seconds = values["test_accuracy"], values["seconds"]
        trained, _, seen = name.partition("x")
        what = "Keras's example" if name == EXAMPLE else f"convnet, {trained} epochs" + f", {seen} views" * bool(seen)
        sys.stdout.write(f"{what:30} {accuracy['mean']:.3%} +- {accuracy['std']:.3%}   {seconds['mean']:.0f} s\n")


if __name__ == "__main__":
    run(main)
