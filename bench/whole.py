"""The convnet's whole training once more, on another kind of machine than that of its study: the same model?

python -m bench.whole --study bench/results/convnet.json --seeds 2 --data data --out bench/results/convnet_whole.json

What the study says of these seeds must come out, and the bytes of the models that other kinds of machines have noted.
Runs of other kinds are kept as long as parameters, data, and what the study says of them are the same.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.convnet import Run, Training, run_convnet
from bench.speed import this_machine
from bench.study import PARAMS, data_hashes, require_whole_mnist
from digits.params import read_document
from digits.study import study_params
from dvcproof.runtime.files import file_hash, write_json
from dvcproof.runtime.program import InputError, run


def accuracies(study: dict[str, Any]) -> dict[int, float]:
    """The test accuracy for each seed of a study of the convnet, after the epochs that params.yaml says."""
    runs = study["contestants"][str(read_document(PARAMS)["convnet"]["epochs"])]["runs"]
    return {run["seed"]: run["test_accuracy"] for run in runs}


def agrees(machine: dict[str, Any], known: dict[int, float]) -> bool:
    """Whether the runs of a machine have the accuracies of a study."""
    return all(known.get(run["seed"]) == run["test_accuracy"] for run in machine["runs"])


def trained(study: dict[str, Any], known: dict[int, float], seeds: int, data: Path) -> Iterator[Run]:
    """Train the convnet of params.yaml with the first seeds of its study.

    Args:
        study: convnet.json.
        known: its accuracies.
        seeds: how many.
        data: the pipeline's folder with raw/ and prepared/.

    Yields:
        Seed, test accuracy, seconds, and SHA-256 of the model.

    Raises:
        InputError: the study has fewer seeds, or another accuracy.
    """
    if not 1 <= seeds <= len(known):
        expected, hint = f"1 to {len(known)}, which the study has", "Name fewer."
        raise InputError("--seeds", expected=expected, received=str(seeds), hint=hint)
    for seed in sorted(known)[:seeds]:
        with tempfile.TemporaryDirectory() as folder:
            found = run_convnet("whole", Training(seeds, {}), seed, data, Path(folder))["whole"]
            found["sha256"] = file_hash(Path(folder, "model.keras"))
        require_equal(f"test accuracy with seed {seed}", known[seed], found["test_accuracy"], study["machine"]["kind"])
        yield found


def require_equal(what: str, expected: object, received: object, kind: str) -> None:
    """Refuse what is not as on another kind of machine.

    Raises:
        InputError: it is not.
    """
    if received != expected:
        hint = "See docs/reproducibility.md."
        raise InputError(what, expected=f"{expected}, as on {kind}", received=str(received), hint=hint)


def together(runs: list[Run], here: dict[str, Any], kept: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The machines and their runs, one of each kind, with those of this one.

    Raises:
        InputError: a model has other bytes on another kind of machine.
    """
    others = [one for one in kept if one["machine"]["kind"] != here["kind"]]
    for other in others:
        hashes = {one["seed"]: one["sha256"] for one in other["runs"]}
        for one in runs:
            known = hashes.get(one["seed"], one["sha256"])
            require_equal(
                f"SHA-256 of the model with seed {one['seed']}", known, one["sha256"], other["machine"]["kind"]
            )
    return sorted([*others, {"machine": here, "runs": runs}], key=lambda one: str(one["machine"]["kind"]))


def is_valid(result: dict[str, Any], valid_for: dict[str, Any]) -> bool:
    """Whether a result is of these parameters and data."""
    return all(result[name] == value for name, value in valid_for.items())


def before(out: Path, valid_for: dict[str, Any], known: dict[int, float]) -> list[dict[str, Any]]:
    """The machines of an earlier result that is still valid; none if it is missing or damaged: Git has it."""
    try:
        found = json.loads(out.read_text(encoding="utf-8"))
        return [one for one in found["machines"] if is_valid(found, valid_for) and agrees(one, known)]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def read_study(path: Path, valid_for: dict[str, Any]) -> dict[str, Any]:
    """The study of the convnet.

    Raises:
        InputError: it is of other parameters or data.
    """
    study = dict(json.loads(path.read_text(encoding="utf-8")))
    if not is_valid(study, valid_for):
        expected, hint = "a study of the parameters and data that are here", "Run `make study NAME=convnet` first."
        raise InputError(str(path), expected=expected, received="one of others", hint=hint)
    return study


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.whole", description=__doc__)
    parser.add_argument("--study", type=Path, required=True, help="convnet.json")
    parser.add_argument("--seeds", type=int, required=True, help="how many of its seeds")
    parser.add_argument("--data", type=Path, required=True, help="the pipeline's folder with raw/ and prepared/")
    parser.add_argument("--out", type=Path, required=True, help="the JSON to write")
    args = parser.parse_args()
    require_whole_mnist(PARAMS)
    valid_for = {"params": study_params(PARAMS, "convnet", scored=False), "data": data_hashes()}
    study = read_study(args.study, valid_for)
    known = accuracies(study)
    kept = before(args.out, valid_for, known)
    machines = together(list(trained(study, known, args.seeds, args.data)), this_machine(), kept)
    write_json(args.out, valid_for | {"machines": machines})
    sys.stdout.write(f"{args.seeds} models as on {study['machine']['kind']}\n")


if __name__ == "__main__":
    run(main)
