"""Choose between settings of a network: several seeds for each point of a grid, ranked on validation images.

python -m bench.sweep --set dense.units=128,512 --set dense.learning_rate=0.0003,0.001,0.003 \
    --seeds 5 --validation 10000 --out bench/results/sweep.json

The test set is deleted before the first training, so that no choice can use it.
"""

import functools
import itertools
import math
import statistics
import sys
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from scipy.stats import ttest_ind

from bench.points import add_options, compute
from bench.study import (
    PARAMS,
    at_least,
    data_hashes,
    describe,
    load_and_preprocess,
    parser_of,
    save,
    trained,
    write_params,
)
from digits.apps.results import study_params
from digits.networks import NETWORKS, read_network
from digits.params import TrainParams
from dvcproof.runtime.files import read_csv
from dvcproof.runtime.program import InputError, run
from dvcproof.values import parse_value

#: A point of the grid: values as text, by the names of parameters, such as 'dense.units'.
Point = Mapping[str, str]

#: Parameters that may be swept with any network.
SHARED = {f"train.{name}" for name in TrainParams.model_fields if name not in ("seed", "model")}

#: The allowed probability of finding a difference where there is none.
ALPHA = 0.05


def p_value(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the probability of a difference of means at least this large if the true means are equal.

    This is Welch's two-sided t-test, which lets the two spreads differ: B. L. Welch, The generalization of "Student's"
    problem when several different population variances are involved, Biometrika 34 (1947).
    """
    if not statistics.variance(first) and not statistics.variance(second):
        return float(statistics.fmean(first) == statistics.fmean(second))
    return float(ttest_ind(first, second, equal_var=False).pvalue)


def rank(runs: Iterable[tuple[Point, Sequence[float]]]) -> list[dict[str, Any]]:
    """Order points by the mean of their accuracies, and mark those that cannot be told from the best.

    A point is inside the noise of the best unless Welch's p, multiplied by the number of pairs of points, is below
    ALPHA. All pairs count, since the best is known only after looking (Bonferroni's correction; R. G. Miller,
    Simultaneous Statistical Inference, Springer, 1981).

    Args:
        runs: each point, and its validation accuracies in [0, 1]: one for each seed, and at least two.

    Returns:
        For each point, the best first: `values`, statistics of `validation_accuracy`, `runs`, `p_value` against the
        best, and `noise`, which is true if the point cannot be told from the best.
    """
    ordered = sorted(runs, key=lambda point: statistics.fmean(point[1]), reverse=True)
    pairs = math.comb(len(ordered), 2)
    ranked = []
    for point, values in ordered:
        p = min(1.0, p_value(ordered[0][1], values) * max(1, pairs))
        row = {"values": dict(point), "validation_accuracy": describe(values), "runs": list(values)}
        ranked.append(row | {"p_value": p, "noise": p >= ALPHA})
    return ranked


def parse_grid(texts: Sequence[str]) -> list[Point]:
    """Return every combination of values given as 'dense.units=128,512'.

    Raises:
        InputError: a text has another form, a name stands twice or cannot be swept with the others, or a value is not
            allowed.
    """
    grid: dict[str, list[str]] = {}
    for text in texts:
        name, _, values = text.partition("=")
        networks = [network_of(grid)] if set(grid) - SHARED else list(NETWORKS)
        known = SHARED | {f"{network}.{key}" for network in networks for key in NETWORKS[network].model_fields}
        if not values or name not in known - set(grid):
            expected = f"NAME=VALUE,VALUE with a name among {', '.join(sorted(known - set(grid)))}"
            hint = "Give each name once, and names of one network only; --seeds sets the seeds."
            raise InputError("--set", expected=expected, received=text, hint=hint)
        grid[name] = values.split(",")
    points: list[Point] = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    with tempfile.TemporaryDirectory() as folder:
        for point in points:  # check all points before the first training
            read_network(write_params(Path(folder), values_of(point)))
    return points


def network_of(names: Collection[str]) -> str:
    """Return the network whose parameters are swept; if all networks share them, the one in params.yaml."""
    sections = {name.partition(".")[0] for name in set(names) - SHARED}
    return sections.pop() if sections else read_network(PARAMS)[0].model


def values_of(point: Point) -> dict[str, Any]:
    """Return the parameters of a point with parsed values, and with `train.model` for the network they belong to."""
    return {"train.model": network_of(point)} | {name: parse_value(value) for name, value in point.items()}


def prepare(validation: int, folder: Path) -> Path:
    """Load and preprocess in an empty folder with images kept back for validation, and delete the test set.

    Raises:
        InputError: the number of images to keep back is above the number of images.
    """
    params = write_params(folder, {"preprocess.validation_size": validation})
    load_and_preprocess(params, folder)
    for path in (*folder.glob("raw/test_*"), *folder.glob("prepared/test_*")):
        path.unlink()
    return folder


def validation_accuracy(point: Point, seed: int, data: Path) -> float:
    """Train a point with a seed, and return the accuracy in [0, 1] of the final weights on the validation split."""
    with trained(values_of(point) | {"train.seed": seed}, f"{point}, seed {seed}", data) as network:
        return float(read_csv(network.folder / "history.csv")[-1]["val_accuracy"])


def shared(swept: Collection[str], validation: int) -> dict[str, Any]:
    """Return the parameters that a sweep is valid for, which are the same for every point."""
    values = study_params(PARAMS, network_of(swept), scored=False) | {"preprocess": {"validation_size": validation}}
    for name in swept:
        section, _, key = name.partition(".")
        del values[section][key]
    return values


def lines(points: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the lines of the ranked table."""
    width = max(14, *(len(name) + 2 for name in points[0]["values"]))
    yield "".join(f"{name:>{width}}" for name in points[0]["values"]) + "   validation     spread   against the best"
    for index, point in enumerate(points):
        found, p = point["validation_accuracy"], point["p_value"]
        values = "".join(f"{value:>{width}}" for value in point["values"].values())
        seen = f"{'inside the noise' if point['noise'] else 'worse'}, {f'p = {p:.3f}' if p >= 0.001 else 'p < 0.001'}"
        verdict = seen if index else f"the best of {len(points)}, {found['n']} seeds each"
        yield f"{values}   {100 * found['mean']:8.2f} %   {100 * found['std']:.2f} %   {verdict}"


def main() -> None:
    parser = parser_of("bench.sweep", __doc__)
    parser.add_argument("--set", action="append", required=True, metavar="NAME=VALUE,...", help="values to try")
    parser.add_argument("--seeds", type=at_least(2), required=True, help="runs of each point: seeds 0, 1, 2, ...")
    parser.add_argument("--validation", type=at_least(1), required=True, help="training images kept back to compare on")
    add_options(parser)
    args = parser.parse_args()
    points, make = parse_grid(args.set), functools.partial(prepare, args.validation)
    conditions = {"params": shared(points[0], args.validation), "data": data_hashes()}
    steps = [(point, seed) for seed in range(args.seeds) for point in points]
    with tempfile.TemporaryDirectory() as folder:
        where = {"jobs": args.jobs, "scheduler": args.scheduler}
        found = compute(validation_accuracy, steps, make(Path(folder)), make, name="sweep", **where)
    ranked = rank((point, found[index :: len(points)]) for index, point in enumerate(points))
    save(args.out, conditions | {"points": ranked})
    sys.stdout.write("\n".join(lines(ranked)) + "\n")


if __name__ == "__main__":
    run(main)
