"""Train the whole convnet on another kind of machine than that of its study, and check that the model is the same.

python -m bench.whole --study bench/results/convnet.json --seeds 2 --data data --out bench/results/convnet_whole.json

The accuracies must equal those of the study, and the bytes of the models those on other kinds of machines. Runs on
other kinds are kept as long as parameters, data and the study's accuracies are the same.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.convnet import Run
from bench.measure import this_machine
from bench.study import PARAMS, parser_of, read_result, require_whole_mnist, save, trained, valid_for
from dvcproof.runtime.files import file_hash
from dvcproof.runtime.program import InputError, run


def accuracies(study: dict[str, Any]) -> dict[int, float]:
    """Return the test accuracy of each seed in the study of the convnet, after the usual number of epochs."""
    runs = study["contestants"][str(study["params"]["convnet"]["epochs"])]["runs"]
    return {run["seed"]: run["test_accuracy"] for run in runs}


def agrees(machine: dict[str, Any], known: dict[int, float]) -> bool:
    """Return whether the runs of a machine have the accuracies of the study."""
    return all(known.get(run["seed"]) == run["test_accuracy"] for run in machine["runs"])


def train(study: dict[str, Any], seeds: int, data: Path) -> Iterator[Run]:
    """Train the convnet of params.yaml with the first seeds of its study.

    Yields:
        Seed, test accuracy, seconds, and SHA-256 of the model.

    Raises:
        InputError: the study has fewer seeds, or an accuracy differs from the study's.
    """
    known = accuracies(study)
    if not 1 <= seeds <= len(known):
        expected = f"1 to {len(known)}, the number of seeds in the study"
        raise InputError("--seeds", expected=expected, received=str(seeds), hint="Give another number.")
    for seed in sorted(known)[:seeds]:
        params = {"train.model": "convnet", "train.seed": seed, "evaluate.views": 1}
        with trained(params, f"the convnet, seed {seed}", data) as network:
            found = {"seed": seed, "test_accuracy": network.scores()["test"]["accuracy"], "seconds": network.seconds}
            found["sha256"] = file_hash(network.folder / "model.keras")
        _require_equal(f"test accuracy with seed {seed}", known[seed], found["test_accuracy"], study["machine"]["kind"])
        yield found


def _require_equal(what: str, expected: object, received: object, kind: str) -> None:
    """Raise InputError if a value differs from that on another kind of machine."""
    if received != expected:
        hint = "See docs/reproducibility.md."
        raise InputError(what, expected=f"{expected}, as on {kind}", received=str(received), hint=hint)


def merged(runs: list[Run], here: dict[str, Any], kept: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the kinds of machines with their runs: those that are kept, and this machine's.

    Raises:
        InputError: the bytes of a model differ between kinds of machines.
    """
    others = [one for one in kept if one["machine"]["kind"] != here["kind"]]
    for other in others:
        hashes = {one["seed"]: one["sha256"] for one in other["runs"]}
        for one in runs:
            known, what = hashes.get(one["seed"], one["sha256"]), f"SHA-256 of the model with seed {one['seed']}"
            _require_equal(what, known, one["sha256"], other["machine"]["kind"])
    return sorted([*others, {"machine": here, "runs": runs}], key=lambda one: str(one["machine"]["kind"]))


def _is_valid(result: dict[str, Any], conditions: dict[str, Any]) -> bool:
    return all(result.get(name) == value for name, value in conditions.items())


def earlier(out: Path, conditions: dict[str, Any], known: dict[int, float]) -> list[dict[str, Any]]:
    """Return the machines of an earlier result that are still valid; none if the file is missing or damaged."""
    try:
        found = read_result(out)
        return [one for one in found["machines"] if _is_valid(found, conditions) and agrees(one, known)]
    except (OSError, InputError, KeyError, TypeError):
        return []


def main() -> None:
    parser = parser_of("bench.whole", __doc__, data=True)
    parser.add_argument("--study", type=Path, required=True, help="convnet.json")
    parser.add_argument("--seeds", type=int, required=True, help="how many of the study's seeds to train")
    args = parser.parse_args()
    require_whole_mnist(PARAMS)
    conditions = valid_for("convnet", scored=False)
    study = read_result(args.study)
    if not _is_valid(study, conditions):
        hint = "Run `make study NAME=convnet` first."
        raise InputError(str(args.study), "it was made with other parameters or data", hint=hint)
    runs = list(train(study, args.seeds, args.data))
    machines = merged(runs, this_machine(), earlier(args.out, conditions, accuracies(study)))
    save(args.out, conditions | {"machines": machines})
    sys.stdout.write(f"{args.seeds} models are the same as on {study['machine']['kind']}\n")


if __name__ == "__main__":
    run(main)
