"""Show how much the result depends on the seed: train and evaluate with several seeds on the prepared data.

python -m bench.seeds --seeds 10 --data data --out bench/results/seeds.json
python -m bench.seeds --take-typical bench/results/seeds.json    writes the typical seed of a study to `train.seed`
"""

import argparse
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from bench.points import add_options, compute
from bench.study import (
    PARAMS,
    at_least,
    describe,
    load_and_preprocess,
    parser_of,
    read_result,
    save,
    trained,
    valid_for,
)
from dvcproof.runtime.program import run
from dvcproof.values import set_params


def run_seed(seed: int, data: Path) -> dict[str, float]:
    """Train and evaluate with one value of `train.seed`, all other parameters as in params.yaml."""
    with trained({"train.seed": seed}, f"seed {seed}", data) as network:
        scores, epochs = network.scores(), read_result(network.folder / "history.json")
    return {
        "seed": seed,
        "test_accuracy": scores["test"]["accuracy"],
        "train_accuracy": scores["train"]["accuracy"],
        "last_epoch_accuracy": epochs["last_epoch"]["accuracy"],
        "gap": scores["gap"]["accuracy"],
    }


def nearest_seed(study: Mapping[str, Any]) -> int:
    """Return the seed of the most typical run, whose test accuracy is the nearest to the mean."""
    mean = study["test_accuracy"]["mean"]
    return int(min(study["runs"], key=lambda one: abs(one["test_accuracy"] - mean))["seed"])


class TakeTypical(argparse.Action):
    """Write the typical seed of the study in a file into params.yaml, and exit."""

    def __call__(self, parser: argparse.ArgumentParser, _: object, value: Any, __: object = None) -> None:
        seed = nearest_seed(read_result(Path(value)))
        set_params(PARAMS, {"train.seed": seed})
        sys.stdout.write(f"train.seed: {seed}\n")
        parser.exit()


def main() -> None:
    parser = parser_of("bench.seeds", __doc__, data=True)
    parser.add_argument("--seeds", type=at_least(2), required=True, help="number of seeds; they are 0, 1, 2, ...")
    parser.add_argument("--take-typical", action=TakeTypical, metavar="STUDY", help="take its typical seed")
    add_options(parser)
    args = parser.parse_args()
    conditions, points = valid_for(), [(seed,) for seed in range(args.seeds)]
    make, where = partial(load_and_preprocess, PARAMS), {"jobs": args.jobs, "scheduler": args.scheduler}
    runs = compute(run_seed, points, args.data, make, name="seeds", **where)
    spread = {name: describe([run[name] for run in runs]) for name in runs[0] if name != "seed"}
    save(args.out, conditions | spread | {"runs": runs})
    test = spread["test_accuracy"]
    sys.stdout.write(f"test accuracy {test['mean']:.2%}, spread (std) {test['std']:.2%}, n = {test['n']}\n")


if __name__ == "__main__":
    run(main)
