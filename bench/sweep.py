"""Choose between settings of a network: several seeds for each point of a grid, ranked on images kept back.

python -m bench.sweep --set dense.units=128,512 --set dense.learning_rate=0.0003,0.001,0.003 \
    --seeds 5 --validation 10000 --out bench/results/sweep.json

The test set is deleted before the first training: no choice can rest on it.
"""

import argparse
import functools
import itertools
import math
import re
import shutil
import statistics
import sys
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.points import Data, Where, add_options, compute, where
from bench.study import PARAMS, data_hashes, describe, run_model_stages, run_stage
from digits.networks import NETWORKS, Train, read_network
from digits.study import study_params
from dvcproof.runtime.files import read_csv, replacing, write_json
from dvcproof.runtime.program import InputError, run
from dvcproof.values import parse_value, set_params

#: A point: values as they are written in params.yaml, by their names there: 'dense.units'.
Point = Mapping[str, str]

#: What may be swept with any network.
SHARED = {f"train.{name}" for name in Train.model_fields if name not in ("seed", "model")}

#: How often at most the rule may find any difference where there is none.
ALPHA = 0.05


def welch(first: Sequence[float], second: Sequence[float]) -> float:
    """The p-value of a difference of means: how probable one as large as this is when the true means are equal.

    Both sides of Welch's t-test, which lets the two spreads differ: B. L. Welch, The generalization of "Student's"
    problem when several different population variances are involved, Biometrika 34 (1947).

    Args:
        first, second: two or more values each.
    """
    difference = abs(statistics.fmean(first) - statistics.fmean(second))
    parts = [(statistics.variance(values) / len(values), len(values) - 1) for values in (first, second)]
    error = sum(part for part, _ in parts)
    if not error:
        return 0.0 if difference else 1.0
    degrees_of_freedom = error**2 / sum(part**2 / degrees for part, degrees in parts)
    return student_tails(difference / math.sqrt(error), degrees_of_freedom)


def student_tails(value: float, degrees_of_freedom: float) -> float:
    """The fraction of Student's t-distribution beyond -value and +value.

    With t = sqrt(d) * tan(angle), for d degrees of freedom, its density is proportional to cos(angle) ** (d - 1), which
    is summed.

    Args:
        value: 0 or more.
        degrees_of_freedom: 1 or more.
    """
    start = math.atan(value / math.sqrt(degrees_of_freedom))

    def area(low: float) -> float:
        angles = np.linspace(low, math.pi / 2, 20001)
        return float(np.trapezoid(np.maximum(np.cos(angles), 0) ** (degrees_of_freedom - 1), angles))

    return area(start) / area(0.0)


def rank(runs: Iterable[tuple[Point, Sequence[float]]]) -> list[dict[str, Any]]:
    """Order points by the mean of their accuracies, and say which cannot be told from the best.

    A point is inside the noise of the best unless Welch's p, multiplied by the number of pairs of points, is below
    ALPHA. All pairs count, since the best is known only after looking (Bonferroni's correction; R. G. Miller,
    Simultaneous Statistical Inference, Springer, 1981).

    Args:
        runs: each point, and its validation accuracies in [0, 1], one a seed.

    Returns:
        For each point, the best first: its values, the description of its accuracies, them, p, and `noise`.

    Raises:
        InputError: a point has fewer than two accuracies.
    """
    ordered = sorted(runs, key=lambda point: statistics.fmean(point[1]), reverse=True)
    fewest = min(len(values) for _, values in ordered)
    if fewest < 2:
        hint = "One run has no spread to hold a difference against."
        raise InputError("runs of each point", expected="at least 2", received=str(fewest), hint=hint)
    pairs = math.comb(len(ordered), 2)
    ranked = []
    for point, values in ordered:
        p_value = min(1.0, welch(ordered[0][1], values) * max(1, pairs))
        row = {"values": dict(point), "validation_accuracy": describe(values), "runs": list(values)}
        ranked.append(row | {"p_value": p_value, "noise": p_value >= ALPHA})
    return ranked


def parse_grid(texts: Sequence[str]) -> list[Point]:
    """Every combination of what is given as 'dense.units=128,512'.

    Raises:
        InputError: a text has another form, names what cannot be swept, or not in this company, or names it twice, or a
            value is not allowed.
    """
    grid: dict[str, list[str]] = {}
    for text in texts:
        match = re.fullmatch(r"([\w.]+)=([\w.+-]+(?:,[\w.+-]+)*)", text)
        known = sorted(_sweepable(grid) - set(grid))
        if match is None or match[1] not in known:
            expected = f"NAME=VALUE,VALUE with a name among {', '.join(known)}"
            hint = "Give each name once, and names of one network only; --seeds takes care of the seeds."
            raise InputError("--set", expected=expected, received=text, hint=hint)
        name, values = match.groups()
        grid[name] = values.split(",")
        if len({str(parse_value(value)) for value in grid[name]}) < len(grid[name]):
            raise InputError("--set", expected="different values", received=text, hint="Give each value once.")
    points: list[Point] = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    with tempfile.TemporaryDirectory() as folder:
        for point in points:  # all before the first training
            read_network(write_params(Path(folder), point))
    return points


def _sweepable(chosen: Collection[str]) -> set[str]:
    """Names that a grid may hold, beside those it has: what all networks share, and what belongs to one."""
    networks = [network_of(chosen)] if set(chosen) - SHARED else list(NETWORKS)
    return SHARED | {f"{network}.{name}" for network in networks for name in NETWORKS[network].model_fields}


def network_of(names: Collection[str]) -> str:
    """The network whose parameters are swept; if all networks share them, the one that params.yaml names."""
    sections = {name.partition(".")[0] for name in set(names) - SHARED}
    return sections.pop() if sections else read_network(PARAMS)[0].model


def write_params(folder: Path, point: Point, **train: Any) -> Path:
    """Write params.yaml into `folder`, with the values of a point, and more of the section `train`."""
    path = Path(shutil.copy(PARAMS, folder))
    values: dict[str, Any] = {name: parse_value(value) for name, value in point.items()}
    set_params(path, {"train.model": network_of(point)} | {f"train.{name}": train[name] for name in train} | values)
    return path


def prepare(validation: int, folder: Path) -> Path:
    """Load and preprocess with images kept back for validation, and delete the test set.

    Args:
        validation: images to keep back, from the end of the training set.
        folder: an empty folder to work in.

    Returns:
        The folder, with raw/ and prepared/ as a study needs them.

    Raises:
        InputError: no images are kept back, or more than there are.
    """
    if validation < 1:
        hint = "Points are compared on these images."
        raise InputError("--validation", expected="at least 1", received=str(validation), hint=hint)
    params = Path(shutil.copy(PARAMS, folder))
    set_params(params, {"preprocess.validation_size": validation})
    raw, prepared = folder / "raw", folder / "prepared"
    run_stage("load", {"--params": params, "--out": raw}, "the sweep's data")
    run_stage("preprocess", {"--params": params, "--raw": raw, "--out": prepared}, "the sweep's data")
    for path in (*raw.glob("test_*"), *prepared.glob("test_*")):
        path.unlink()
    return folder


def validation_accuracy(point: Point, seed: int, data: Path) -> float:
    """Train a point with a seed; the accuracy in [0, 1] of the final weights on the validation split."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_params(folder, point, seed=seed)
        run_model_stages(("train",), f"{point}, seed {seed}", data, folder)
        return float(read_csv(folder / "history.csv")[-1]["val_accuracy"])


def sweep(points: Sequence[Point], seeds: int, validation: int, where: Where) -> dict[str, Any]:
    """Train every point with seeds 0, 1, ... and rank them."""
    valid_for = {"params": shared(points[0], validation), "data": data_hashes()}  # first: it can fail
    steps = [(point, seed) for seed in range(seeds) for point in points]
    with tempfile.TemporaryDirectory() as folder:
        make = functools.partial(prepare, validation)
        found = compute(validation_accuracy, steps, Data(make(Path(folder)), make), where, "sweep")
    return valid_for | {"points": rank((point, found[index :: len(points)]) for index, point in enumerate(points))}


def shared(swept: Collection[str], validation: int) -> dict[str, Any]:
    """The parameters that a sweep is valid for: the values that every point has in common."""
    values = study_params(PARAMS, network_of(swept), scored=False) | {"preprocess": {"validation_size": validation}}
    for name in swept:
        section, _, key = name.partition(".")
        del values[section][key]
    return values


def lines(points: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The ranked table as text."""
    width = max(14, *(len(name) + 2 for name in points[0]["values"]))
    yield "".join(f"{name:>{width}}" for name in points[0]["values"]) + "   validation     spread   against the best"
    for index, point in enumerate(points):
        found = point["validation_accuracy"]
        values = "".join(f"{value:>{width}}" for value in point["values"].values())
        verdict = verdict_of(point) if index else f"the best of {len(points)}, {found['n']} seeds each"
        yield f"{values}   {100 * found['mean']:8.2f} %   {100 * found['std']:.2f} %   {verdict}"


def verdict_of(point: Mapping[str, Any]) -> str:
    """What is to be said of a point that is not the best."""
    p_value = f"p = {point['p_value']:.3f}" if point["p_value"] >= 0.001 else "p < 0.001"
    return f"{'inside the noise' if point['noise'] else 'worse'}, {p_value}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.sweep", description=__doc__)
    parser.add_argument("--set", action="append", required=True, metavar="NAME=VALUE,...", help="values to try")
    parser.add_argument("--seeds", type=int, required=True, help="runs of each point: seeds 0, 1, 2, ...; at least 2")
    parser.add_argument("--validation", type=int, required=True, help="training images kept back to compare on")
    parser.add_argument("--out", type=Path, required=True, help="the JSON to write")
    add_options(parser)
    args = parser.parse_args()
    if args.seeds < 2:
        raise InputError("--seeds", expected="at least 2", received=str(args.seeds), hint="A spread needs two runs.")
    result = sweep(parse_grid(args.set), args.seeds, args.validation, where(args))
    with replacing(args.out) as (file,):
        write_json(file, result)
    sys.stdout.write("\n".join(lines(result["points"])) + "\n")


if __name__ == "__main__":
    run(main)
