"""Train the whole convnet on another kind of machine than that of its study, and check that the model is the same.

python -m bench.whole --study bench/results/convnet.json --seeds 2 --data data --out bench/results/convnet_whole.json

The accuracies must equal those of the study, and the bytes of the models those on other kinds of machines. Runs on
other kinds are kept as long as parameters, data and the study's accuracies are the same.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.measure import this_machine
from bench.study import PARAMS, at_least, parser_of, read_result, require_whole_mnist, save, trained, valid_for
from dvcproof.runtime.files import file_hash
from dvcproof.runtime.program import InputError, run


def accuracies(study: Mapping[str, Any]) -> dict[int, float]:
    """Return the test accuracy of each seed in the study of the convnet, after the usual number of epochs."""
    runs = study["contestants"][str(study["params"]["convnet"]["epochs"])]["runs"]
    return {run["seed"]: run["test_accuracy"] for run in runs}


def agrees(machine: Mapping[str, Any], known: Mapping[int, float]) -> bool:
    """Return whether the runs of a machine have the accuracies of the study."""
    return all(known.get(run["seed"]) == run["test_accuracy"] for run in machine["runs"])


def _require_equal(what: str, expected: object, received: object, kind: str) -> None:
    """Raise InputError if a value differs from that on another kind of machine."""
    if received != expected:
        hint = "See docs/reproducibility.md."
        raise InputError(what, expected=f"{expected}, as on {kind}", received=str(received), hint=hint)


def _is_valid(result: Mapping[str, Any], conditions: Mapping[str, Any]) -> bool:
    return all(result.get(name) == value for name, value in conditions.items())


def main() -> None:
    parser = parser_of("bench.whole", __doc__, data=True)
    parser.add_argument("--study", type=Path, required=True, help="convnet.json")
    parser.add_argument("--seeds", type=at_least(1), required=True, help="how many of the study's seeds to train")
    args = parser.parse_args()
    require_whole_mnist(PARAMS)
    conditions, here = valid_for("convnet", scored=False), this_machine()
    study = read_result(args.study)
    if not _is_valid(study, conditions):
        hint = "Run `make study NAME=convnet` first."
        raise InputError(str(args.study), "it was made with other parameters or data", hint=hint)
    known, earlier = accuracies(study), read_result(args.out) if args.out.exists() else {}
    others = [
        one
        for one in (earlier["machines"] if _is_valid(earlier, conditions) else [])
        if agrees(one, known) and one["machine"]["kind"] != here["kind"]
    ]
    runs = []
    for seed in sorted(known)[: args.seeds]:
        params = {"train.model": "convnet", "train.seed": seed, "evaluate.views": 1}
        with trained(params, f"the convnet, seed {seed}", args.data) as network:
            accuracy, sha256 = network.scores()["test"]["accuracy"], file_hash(network.folder / "model.keras")
        _require_equal(f"test accuracy with seed {seed}", known[seed], accuracy, study["machine"]["kind"])
        for other in others:
            hashes = {one["seed"]: one["sha256"] for one in other["runs"]}
            what = f"SHA-256 of the model with seed {seed}"
            _require_equal(what, hashes.get(seed, sha256), sha256, other["machine"]["kind"])
        runs.append({"seed": seed, "test_accuracy": accuracy, "seconds": network.seconds, "sha256": sha256})
    machines = sorted([*others, {"machine": here, "runs": runs}], key=lambda one: str(one["machine"]["kind"]))
    save(args.out, conditions | {"machines": machines})
    sys.stdout.write(f"{len(runs)} models are the same as on {study['machine']['kind']}\n")


if __name__ == "__main__":
    run(main)
