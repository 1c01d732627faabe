"""Choose between settings of a network: several seeds for each point of a grid, ranked on images kept back.

python -m bench.sweep --set units=128,512 --set learning_rate=0.0003,0.001,0.003 --seeds 5 --validation 10000 \
    --out bench/results/sweep.json

The test set is deleted before the first training: no choice can rest on it.
"""

import argparse
import itertools
import math
import re
import statistics
import sys
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ruamel.yaml import YAML
from tqdm import tqdm

from bench.seeds import describe, run_stages, settings
from stages.arrays import replacing
from stages.console import InputError, on_terminal, run
from stages.load import LoadParams, load
from stages.params import read_params
from stages.preprocess import PreprocessParams, preprocess
from stages.tables import read_csv, write_json
from stages.train import ConvnetParams, TrainParams, read_settings

#: A point: values as they are written in params.yaml, by their names in `train`, or with `convnet.` in front.
Point = Mapping[str, str]

#: Names in `train` that belong to both networks.
BOTH = {"shards", "device"}

#: How often at most the rule may find any difference where there is none.
ERROR_RATE = 0.05


def welch(first: Sequence[float], second: Sequence[float]) -> float:
    """How probable a difference of means as large as this is when the true means are equal.

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
    freedom = error**2 / sum(part**2 / degrees for part, degrees in parts)
    return student_tails(difference / math.sqrt(error), freedom)


def student_tails(value: float, freedom: float) -> float:
    """The share of Student's t-distribution beyond -value and +value.

    With t = sqrt(freedom) * tan(angle) its density is, but for a factor, cos(angle) ** (freedom - 1), which is summed.

    Args:
        value: 0 or more.
        freedom: degrees of freedom, 1 or more.
    """
    start = math.atan(value / math.sqrt(freedom))

    def area(low: float) -> float:
        angles = np.linspace(low, math.pi / 2, 20001)
        return float(np.trapezoid(np.maximum(np.cos(angles), 0) ** (freedom - 1), angles))

    return area(start) / area(0.0)


def rank(runs: Iterable[tuple[Point, Sequence[float]]]) -> list[dict[str, Any]]:
    """Order points by the mean of their accuracies, and say which cannot be told from the best.

    A point is inside the noise of the best unless Welch's p, multiplied by the number of pairs of points, is below
    ERROR_RATE. All pairs count, since the best is known only after looking (Bonferroni's correction; R. G. Miller,
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
        p = min(1.0, welch(ordered[0][1], values) * max(1, pairs))
        row = {"values": dict(point), "validation_accuracy": describe(values), "runs": list(values)}
        ranked.append(row | {"p": p, "noise": p >= ERROR_RATE})
    return ranked


def parse_grid(texts: Sequence[str]) -> list[Point]:
    """Every combination of what is given as 'units=128,512', or of the convnet as 'convnet.epochs=4,8'.

    Raises:
        InputError: a text has another form, names what cannot be swept, or not in this company, or names it twice, or a
            value is not allowed.
    """
    grid: dict[str, list[str]] = {}
    for text in (text.removeprefix("train.") for text in texts):
        match = re.fullmatch(r"((?:convnet\.)?\w+)=([\w.+-]+(?:,[\w.+-]+)*)", text)
        known = sorted(_sweepable(grid) - set(grid))
        if match is None or match[1] not in known:
            expected = f"NAME=VALUE,VALUE with a name among {', '.join(known)}"
            hint = "Give each name once, and names of one network only; --seeds takes care of the seeds."
            raise InputError("--set", expected=expected, received=text, hint=hint)
        name, values = match.groups()
        grid[name] = values.split(",")
        if len({str(YAML(typ="safe").load(value)) for value in grid[name]}) < len(grid[name]):
            raise InputError("--set", expected="different values", received=text, hint="Give each value once.")
    points: list[Point] = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    with tempfile.TemporaryDirectory() as folder:
        for point in points:  # all before the first training
            read_settings(write_params(Path(folder), **sections(point)))
    return points


def _sweepable(chosen: Collection[str]) -> set[str]:
    """Names that a grid may hold, beside those it has: what belongs to no network, and what belongs to one."""
    dense = set(TrainParams.model_fields) - {"seed", "model"}
    convnet = {f"convnet.{name}" for name in ConvnetParams.model_fields}
    if set(chosen) <= BOTH:
        return dense | convnet
    return BOTH | convnet if model_of(chosen) == "convnet" else dense


def model_of(names: Collection[str]) -> str:
    """The network that parameters belong to; of those that belong to both, the one that params.yaml names."""
    if set(names) <= BOTH:
        return read_settings(Path("params.yaml")).train.model
    return "convnet" if any(name.startswith("convnet.") for name in names) else "dense"


def sections(point: Point, **train: str) -> dict[str, dict[str, str]]:
    """A point's values, and more of `train`, by the sections of params.yaml."""
    values: dict[str, dict[str, str]] = {"train": {"model": model_of(point)} | train, "convnet": {}}
    for name, value in point.items():
        values["convnet" if name.startswith("convnet.") else "train"][name.removeprefix("convnet.")] = value
    return values


def write_params(folder: Path, **sections: Mapping[str, str]) -> Path:
    """Write params.yaml into `folder`, with other values in some of its sections."""
    yaml = YAML(typ="safe")  # DVC's reader, as in stages/params.py: 1e-3 is a number
    document = yaml.load(Path("params.yaml"))
    for section, values in sections.items():
        document[section] |= {name: yaml.load(value) for name, value in values.items()}
    yaml.dump(document, folder / "params.yaml")
    return folder / "params.yaml"


def prepare(validation: int, folder: Path) -> Path:
    """Load and preprocess with images kept back for validation, and delete the test set.

    Args:
        validation: images to keep back, from the end of the training set.
        folder: an empty folder to work in.

    Returns:
        The folder of the splits: train and validation.

    Raises:
        InputError: no images are kept back, or more than there are.
    """
    if validation < 1:
        hint = "Points are compared on these images."
        raise InputError("--validation", expected="at least 1", received=str(validation), hint=hint)
    params = write_params(folder, preprocess={"validation_size": str(validation)})
    raw, prepared = folder / "raw", folder / "prepared"
    load(read_params(params, "load", LoadParams), raw)
    preprocess(read_params(params, "preprocess", PreprocessParams), raw, prepared)
    for path in (*raw.glob("test_*"), *prepared.glob("test_*")):
        path.unlink()
    return prepared


def validation_accuracy(point: Point, seed: int, data: Path) -> float:
    """Train a point with a seed; the accuracy in [0, 1] of the final weights on the validation split."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_params(folder, **sections(point, seed=str(seed)))
        run_stages(("train",), f"{point}, seed {seed}", data, folder)
        return float(read_csv(folder / "history.csv")[-1]["val_accuracy"])


def sweep(points: Sequence[Point], seeds: int, validation: int) -> dict[str, Any]:
    """Train every point with seeds 0, 1, ... and rank them."""
    runs: list[tuple[Point, list[float]]] = [(point, []) for point in points]
    with tempfile.TemporaryDirectory() as folder:
        data = prepare(validation, Path(folder))
        steps = list(itertools.product(range(seeds), runs))
        for seed, (point, values) in tqdm(steps, desc="sweep", disable=not on_terminal()):
            values.append(validation_accuracy(point, seed, data))
    return {"params": shared(points[0], validation), "points": rank(runs)}


def shared(swept: Collection[str], validation: int) -> dict[str, Any]:
    """All that a sweep belongs to: the values that every point has in common."""
    values = settings(model_of(swept)) | {"preprocess": {"validation_size": validation}}
    for name in swept:
        section, _, key = name.rpartition(".")
        del values[section or "train"][key]
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
    p = f"p = {point['p']:.3f}" if point["p"] >= 0.001 else "p < 0.001"
    return f"{'inside the noise' if point['noise'] else 'worse'}, {p}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.sweep", description=__doc__)
    parser.add_argument("--set", action="append", required=True, metavar="NAME=VALUE,...", help="values to try")
    parser.add_argument("--seeds", type=int, required=True, help="runs of each point: seeds 0, 1, 2, ...; at least 2")
    parser.add_argument("--validation", type=int, required=True, help="training images kept back to compare on")
    parser.add_argument("--out", type=Path, required=True, help="the JSON to write")
    args = parser.parse_args()
    if args.seeds < 2:
        raise InputError("--seeds", expected="at least 2", received=str(args.seeds), hint="A spread needs two runs.")
    result = sweep(parse_grid(args.set), args.seeds, args.validation)
    with replacing(args.out) as (file,):
        write_json(file, result)
    sys.stdout.write("\n".join(lines(result["points"])) + "\n")


if __name__ == "__main__":
    run(main)
