"""Measure how good the convnet is and how long it takes, beside Keras's public example, interleaved over seeds.

python -m bench.convnet --seeds 5 --epochs 1 2 3 --data data --out bench/results/convnet.json \\
    --long convnet.epochs=20 evaluate.views=11

The convnet is trained for the number of epochs in params.yaml, and for the numbers of --epochs, to show accuracy
against seconds. --long adds a long training with other parameters. The model of the last epoch is scored, and the test
set chooses nothing. The convnet's seconds are those of the whole stage `train`, from the start of the program to the
saved file; `load` and `preprocess` take under a second and do not count. The example's seconds go from the start of the
program to the end of its `fit`. They include the scoring of its validation images, not its evaluation on the test set.

An interrupted study resumes after its last finished run.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench.chart import draw_accuracy
from bench.measure import printed_json, this_machine
from bench.points import Finished, code, compute
from bench.study import (
    MNIST,
    PARAMS,
    at_least,
    describe,
    parameter,
    parser_of,
    require_whole_mnist,
    trained,
    valid_for,
)
from digits.params import read_params
from dvcproof.runtime.files import file_hash, replacing, write_json
from dvcproof.runtime.program import run
from dvcproof.values import set_params

Run = dict[str, Any]

#: Names of contestants: Keras's example and the long training. The others are named after their number of epochs: '7'.
#: If a model is scored on several views of each image, their number is added to the name: 'longx11'.
EXAMPLE, LONG = "example", "long"


class Training(NamedTuple):
    """A network that is trained and scored with several seeds."""

    seeds: int
    #: Parameters of the convnet that differ from params.yaml; None for Keras's example.
    values: Mapping[str, Any] | None = None
    #: The number of views of each image in a second scoring of the model; None for no second scoring.
    views: int | None = None


def run_contestant(
    name: str, values: Mapping[str, Any] | None, views: int | None, seed: int, data: Path
) -> dict[str, Run]:
    """Run one training with a seed: the convnet through the stages, or Keras's example with its default settings.

    Returns:
        The run of each contestant: of the model on one view and, if `views` is given, on several.
    """
    if values is None:
        command = [sys.executable, "-m", "bench.example_convnet", MNIST, str(seed)]
        return {name: {"seed": seed} | printed_json(command, Path.cwd())}
    params = {"train.model": "convnet", "train.seed": seed, "evaluate.views": 1, **values}
    with trained(params, f"the convnet, seed {seed}", data) as network:
        found = {name: network.scores()}
        if views:
            set_params(network.folder / "params.yaml", {"evaluate.views": views})
            found[f"{name}x{views}"] = network.scores()
        return {
            one: {"seed": seed, "test_accuracy": scores["test"]["accuracy"], "seconds": network.seconds}
            for one, scores in found.items()
        }


def study(trainings: Mapping[str, Training], data: Path, finished: Finished) -> dict[str, list[Run]]:
    """Run all trainings with one seed, then with the next, so that a slow period of the machine meets all of them.

    Args:
        trainings: the trainings by name.
        data: the pipeline's folder with raw/ and prepared/.
        finished: runs that are not computed again; new runs are added to it.
    """
    points = [
        (name, training.values, training.views, seed)
        for seed in range(max(training.seeds for training in trainings.values()))
        for name, training in trainings.items()
        if seed < training.seeds
    ]
    runs: dict[str, list[Run]] = {}
    for found in compute(run_contestant, points, data, Path, name="convnet", finished=finished):
        for contestant, one in found.items():
            runs.setdefault(contestant, []).append(one)
    return runs


def contestants(runs: dict[str, list[Run]]) -> dict[str, Any]:
    """Return statistics of the test accuracy and seconds of each contestant, and its runs."""
    return {
        name: {kind: describe([run[kind] for run in found]) for kind in ("test_accuracy", "seconds")} | {"runs": found}
        for name, found in runs.items()
    }


def trainings_of(seeds: int, epochs: Sequence[int], long_seeds: int, long: Mapping[str, Any]) -> dict[str, Training]:
    """Return the trainings of a study: Keras's example, the convnet for several numbers of epochs, and a long one."""
    usual = read_params(PARAMS, "convnet").convnet.epochs
    found = {EXAMPLE: Training(seeds)}
    found |= {str(number): Training(seeds, {"convnet.epochs": number}) for number in sorted({usual, *epochs})}
    if long:
        values = {name: value for name, value in long.items() if name != "evaluate.views"}
        found[LONG] = Training(long_seeds, values, long.get("evaluate.views"))
    return found


def main() -> None:
    parser = parser_of("bench.convnet", __doc__, data=True)
    seeds, epochs = at_least(2), "values of convnet.epochs, besides that in params.yaml"
    parser.add_argument("--seeds", type=seeds, required=True, help="number of seeds; they are 0, 1, 2, ...")
    parser.add_argument("--epochs", type=at_least(1), nargs="+", required=True, help=epochs)
    parser.add_argument("--long", nargs="+", default=[], type=parameter, help="NAME=VALUE of one more training")
    parser.add_argument("--long-seeds", type=seeds, default=10, help="seeds of that training (default: %(default)s)")
    args = parser.parse_args()
    require_whole_mnist(PARAMS)
    long, conditions = dict(args.long), {"machine": this_machine()} | valid_for("convnet", scored=False)
    own = [file_hash(Path(__file__).with_name(name)) for name in ("convnet.py", "example_convnet.py")]
    finished = Finished(args.out, conditions | {"code": code(("digits", "exactkeras", "stages")), "study": own})
    trainings = trainings_of(args.seeds, args.epochs, args.long_seeds, long)
    result = conditions | {"long": long, "contestants": contestants(study(trainings, args.data, finished))}
    with replacing(args.out, args.out.with_suffix(".png")) as (file, chart):
        write_json(file, result)
        draw_accuracy(result, EXAMPLE, chart)
    finished.path.unlink(missing_ok=True)
    for name, values in result["contestants"].items():
        accuracy, seconds = values["test_accuracy"], values["seconds"]
        sys.stdout.write(f"{name:10} {accuracy['mean']:.3%} +- {accuracy['std']:.3%}   {seconds['mean']:.0f} s\n")


if __name__ == "__main__":
    run(main)
