"""How good the convnet is, and how long it takes: several seeds of it and of Keras's public example, interleaved.

python -m bench.convnet --seeds 5 --epochs 1 2 3 --data data --out bench/results/convnet.json \\
    --long convnet.epochs=20 evaluate.views=11

The convnet is trained for the epochs that params.yaml says, and for fewer and more: its accuracy against seconds; and
once with other parameters, for long. The model of the last epoch is scored, and the test set chooses nothing. Its
seconds are those of the whole stage `train`, from the start of the program to the saved file, without `load` and
`preprocess`, which take under a second. The example's are those from the start of the program to the end of its `fit`,
which also scores the images that it keeps back, without its evaluation.

A study that was ended goes on after its last finished run.
"""

import argparse
import json
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from bench.chart import draw_accuracy
from bench.points import code
from bench.speed import measured, this_machine
from bench.study import MNIST, PARAMS, data_hashes, describe, parse_values, require_whole_mnist, run_model_stages
from digits.networks import Convnet, read_network
from digits.params import read_params
from digits.scoring.params import EvaluateParams
from digits.study import study_params
from dvcproof.runtime.files import file_hash, replacing, write_json
from dvcproof.runtime.program import InputError, on_terminal, run
from dvcproof.values import set_params

Run = dict[str, Any]

#: As the section `convnet` of params.yaml allows.
MOST_EPOCHS = int(Convnet.model_json_schema()["properties"]["epochs"]["maximum"])

#: Among the contestants, Keras's example and the long training. Others are named by their number of epochs, as 7; what
#: is scored on several views of each image, also by their number, as longx11.
EXAMPLE, LONG = "example", "long"


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


class Training(NamedTuple):
    """What is trained with each of several seeds, and scored."""

    seeds: int
    #: Parameters of the convnet that are not those of params.yaml; None: it is Keras's example.
    values: Mapping[str, Any] | None = None
    #: Of each image, to score the model on once more.
    views: int | None = None


def run_convnet(name: str, training: Training, seed: int, data: Path, folder: Path) -> dict[str, Run]:
    """Train and evaluate the convnet through the stages.

    Args:
        name: of the contestant.
        training: of the convnet.
        seed: the value of `train.seed`.
        data: the pipeline's folder with raw/ and prepared/.
        folder: an empty folder to work in.

    Returns:
        One or two contestants and their runs.
    """
    params, what = Path(shutil.copy(PARAMS, folder)), f"the convnet, seed {seed}"
    set_params(params, {"train.model": "convnet", "train.seed": seed, "evaluate.views": 1, **(training.values or {})})
    start = time.perf_counter()
    run_model_stages(("train",), what, data, folder)
    seconds = time.perf_counter() - start

    def scored() -> Run:
        run_model_stages(("evaluate",), what, data, folder)
        scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
        return {"seed": seed, "test_accuracy": scores["test"]["accuracy"], "seconds": seconds}

    found = {name: scored()}
    if training.views:
        set_params(params, {"evaluate.views": training.views})
        found[f"{name}x{training.views}"] = scored()
    return found


def run_example(seed: int) -> Run:
    """Train Keras's example with a seed, as it comes: all cores, every instruction that the processor has."""
    return {"seed": seed} | measured([sys.executable, "-m", "bench.example_convnet", MNIST, str(seed)], Path.cwd())


def study(trainings: Mapping[str, Training], data: Path, finished: Finished) -> dict[str, list[Run]]:
    """Run all trainings with the first seed, then with the next: what slows the machine down slows all of them down.

    Args:
        trainings: by name.
        data: the pipeline's folder with raw/ and prepared/.
        finished: runs that need not be run again; takes up the others.
    """
    runs: dict[str, list[Run]] = {}
    numbers = range(max(training.seeds for training in trainings.values()))
    todo = [(seed, *pair) for seed in numbers for pair in trainings.items() if seed < pair[1].seeds]
    for seed, name, training in tqdm(todo, desc="convnet", disable=not on_terminal()):
        key = f"{name}, {training.values}, {training.views} views, seed {seed}"
        if key not in finished.runs:
            with tempfile.TemporaryDirectory() as folder:
                example = training.values is None
                one = {name: run_example(seed)} if example else run_convnet(name, training, seed, data, Path(folder))
                finished.add(key, one)
        for contestant, found in finished.runs[key].items():
            runs.setdefault(contestant, []).append(found)
    return runs


def contestants(runs: dict[str, list[Run]]) -> dict[str, Any]:
    """Test accuracy and seconds of each contestant, described, with its runs."""
    return {
        name: {kind: describe([run[kind] for run in found]) for kind in ("test_accuracy", "seconds")} | {"runs": found}
        for name, found in runs.items()
    }


def trainings_of(seeds: int, epochs: Sequence[int], long_seeds: int, long: Mapping[str, Any]) -> dict[str, Training]:
    """The trainings of a study: Keras's example, the convnet for each of several numbers of epochs, and a long one.

    Raises:
        InputError: too few seeds, or numbers or parameters that are not allowed.
    """
    if min(seeds, long_seeds if long else seeds) < 2:
        received = f"{seeds} and {long_seeds}" if long else str(seeds)
        raise InputError("--seeds", expected="at least 2", received=received, hint="A spread needs two runs.")
    if min(epochs) < 1 or max(epochs) > MOST_EPOCHS:
        expected, received = f"numbers from 1 to {MOST_EPOCHS}", " ".join(map(str, epochs))
        raise InputError("--epochs", expected=expected, received=received, hint="As in --epochs 1 2 3.")
    usual = read_params(PARAMS, "convnet", Convnet).epochs
    found = {EXAMPLE: Training(seeds)}
    found |= {str(number): Training(seeds, {"convnet.epochs": number}) for number in sorted({usual, *epochs})}
    if long:
        with tempfile.TemporaryDirectory() as folder:  # what is not allowed is refused before the first training
            params = Path(shutil.copy(PARAMS, folder))
            set_params(params, {"train.model": "convnet", **long})
            read_network(params)
            views = read_params(params, "evaluate", EvaluateParams).views
        if "evaluate.views" in long and views < 2:
            expected, hint = "evaluate.views of at least 2", "One view is scored in any case."
            raise InputError("--long", expected=expected, received=str(views), hint=hint)
        values = {name: value for name, value in long.items() if name != "evaluate.views"}
        found[LONG] = Training(long_seeds, values, views if "evaluate.views" in long else None)
    return found


def parsed(texts: Sequence[str]) -> dict[str, Any]:
    """Parameters of the convnet, and perhaps `evaluate.views`, given as convnet.epochs=35.

    Raises:
        InputError: a text names something else, or has another form, or no parameter of the convnet is there.
    """
    allowed = re.compile(r"(convnet\.\w+|evaluate\.views)=.+")
    wrong = next((text for text in texts if not allowed.fullmatch(text)), None)
    if wrong is not None or (texts and not any(text.startswith("convnet.") for text in texts)):
        expected, hint = "parameters of the convnet, and evaluate.views if you like", "As convnet.epochs=35."
        raise InputError("--long", expected=expected, received=wrong or " ".join(texts), hint=hint)
    return parse_values(texts)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.convnet", description=__doc__)
    parser.add_argument("--seeds", type=int, required=True, help="how many: 0, 1, 2, ...; at least 2")
    parser.add_argument(
        "--epochs", type=int, nargs="+", required=True, help="values of convnet.epochs, beside that of params.yaml"
    )
    parser.add_argument("--long", nargs="+", default=[], metavar="NAME=VALUE", help="parameters of one more training")
    parser.add_argument("--long-seeds", type=int, default=10, help="of that one (default: %(default)s)")
    parser.add_argument("--data", type=Path, required=True, help="the pipeline's folder with raw/ and prepared/")
    parser.add_argument("--out", type=Path, required=True, help="the JSON to write, and beside it its chart, .png")
    args = parser.parse_args()
    long = parsed(args.long)
    trainings = trainings_of(args.seeds, args.epochs, args.long_seeds, long)
    require_whole_mnist(PARAMS)
    valid_for = {"params": study_params(PARAMS, "convnet", scored=False), "data": data_hashes()}  # first: it can fail
    here = {"machine": this_machine()}
    own = [file_hash(Path(__file__).with_name(name)) for name in ("convnet.py", "example_convnet.py")]
    finished = Finished(args.out, valid_for | here | {"code": code(("digits", "exactkeras", "stages")), "study": own})
    found = contestants(study(trainings, args.data, finished))
    result = here | valid_for | {"long": long, "contestants": found}
    with replacing(args.out, args.out.with_suffix(".png")) as (file, chart):
        write_json(file, result)
        draw_accuracy(result, EXAMPLE, chart)
    finished.remove()
    for name, values in found.items():
        accuracy, seconds = values["test_accuracy"], values["seconds"]
        sys.stdout.write(f"{name:10} {accuracy['mean']:.3%} +- {accuracy['std']:.3%}   {seconds['mean']:.0f} s\n")


if __name__ == "__main__":
    run(main)
