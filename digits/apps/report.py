"""Write a run as one web page that needs nothing else: is it better than the one before, and where does it fail?

A page is written only if everything in it belongs to one run: the files are those that dvc.lock names, and the model's
predictions, computed again, are those that the metrics were computed from.
"""

import importlib.util
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from digits.apps import calibration, findings
from digits.apps.options import add_files, command
from digits.apps.runs import Earlier, Run, RunFiles, earlier_run, this_run, uncommitted
from digits.data.dataset import Dataset, read_dataset
from digits.data.labels import name_classes
from digits.data.splits import Split, open_split
from digits.params import read_params
from digits.scoring.metrics import Predictions, accuracy, confusion_matrix, loss
from digits.scoring.params import EvaluateParams
from digits.scoring.predictions import predict
from dvcproof.lockfile import REDO, Lock, require_recorded, require_same_params
from dvcproof.runtime.bounds import parse_json, read_text
from dvcproof.runtime.files import file_hash, replacing
from dvcproof.runtime.program import InputError
from exactkeras import determinism
from exactkeras.warp import views

#: The largest difference between equal scores: they are rounded to six decimals.
ROUNDING = 2e-6


class Artifact(NamedTuple):
    """An output of a stage."""

    stage: str
    path: str
    size: int | None
    md5: str | None
    here: bool  # in the work tree, and found to have this hash


def artifacts(lock: Lock, root: Path) -> list[Artifact]:
    """Every output that dvc.lock names. Those in the work tree are hashed.

    Raises:
        InputError: a file is not the one that dvc.lock names.
    """
    found = []
    for stage, record in lock.stages.items():
        for out in record.outs:
            path = root / out.path
            if path.is_file():
                require_recorded(path, lock, out.path)
            found.append(Artifact(stage, out.path, out.size, out.md5, path.is_file()))
    return found


def require_same_predictions(run: Run, predictions: Predictions, metrics: Path) -> None:
    """Refuse metrics that were not computed from these predictions.

    Raises:
        InputError: accuracy, loss or the predicted class of an image differs.
    """
    score = run.scores["test"]
    for name, recorded, found in (
        ("accuracy", score.accuracy, accuracy(predictions)),
        ("loss", score.loss, loss(predictions)),
    ):
        if not math.isclose(recorded, found, rel_tol=0, abs_tol=ROUNDING):
            raise InputError(
                f"{metrics / 'scores.json'}, test {name}",
                expected=f"{found:.6f}, which the model has",
                received=f"{recorded:.6f}",
                hint=REDO,
            )
    pairs = (run.labels, predictions.labels), (run.predicted, predictions.classes)
    if not all(np.array_equal(recorded, found) for recorded, found in pairs):
        raise InputError(
            str(metrics / "confusion.csv"), expected="what the model predicts", received="something else", hint=REDO
        )


def platform(path: Path, model_sha256: str) -> Mapping[str, Any] | str:
    """The machine that a model was trained on, or why it is not known.

    Raises:
        InputError: the record is damaged.
    """
    try:
        record = parse_json(read_text(path))
        belongs = record.pop("model_sha256") == model_sha256
        if not all(isinstance(record.get(name, []), list) for name in ("may_differ_in_bits_because", "cpu_flags")):
            raise TypeError("a text in place of a list")
    except FileNotFoundError:
        return f"There is no {path}: the machine that the model was trained on is not known."
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputError(
            str(path),
            expected="what `train` wrote",
            received=f"a damaged file ({type(error).__name__}: {error})",
            hint="Delete it, or run `dvc repro --force train`.",
        ) from None
    return (
        record
        if belongs
        else f"{path} is the record of another model: the machine that this one was trained on is not known."
    )


class Report(NamedTuple):
    """What the page shows."""

    params: EvaluateParams
    names: Sequence[str]  # of the classes
    run: Run
    earlier: Earlier | str
    uncommitted: list[str] | None
    artifacts: list[Artifact]
    platform: Mapping[str, Any] | str
    model_sha256: str
    predictions: Predictions
    test: Split
    dataset: Dataset


def gather(
    sources: RunFiles, *, model: Path, dataset_file: Path, data: Path, record: Path, against: str | None = None
) -> Report:
    """Read and check everything that the page shows.

    Args:
        sources: params.yaml, dvc.lock and metrics.
        model: the model that `train` wrote.
        dataset_file: the description of the data set that `load` wrote.
        data: folder of the splits that `preprocess` wrote.
        record: the record of the machine that `train` wrote.
        against: the commit to compare with. None: the last run.

    Raises:
        InputError: a file is missing or damaged, or does not belong to the others.
    """
    params = read_params(sources.params, "evaluate", EvaluateParams)
    run = this_run(sources)
    require_same_params(run.lock, sources.params)
    files = artifacts(run.lock, sources.lock.parent)
    changed = uncommitted(sources)
    earlier = earlier_run(sources, against, committed=changed == [])
    dataset = read_dataset(dataset_file)
    names = name_classes(params.class_names, dataset.classes)
    test = open_split(data, "test", dataset)
    determinism.configure(seed=0)
    from exactkeras import archive

    network = archive.load(model, features=math.prod(dataset.image_shape), classes=len(names))
    (predictions,) = predict(network, [test], params.batch_size, views(dataset.image_shape, params.views))
    require_same_predictions(run, predictions, sources.metrics)
    sha256 = file_hash(model)
    machine = platform(record, sha256)
    return Report(params, names, run, earlier, changed, files, machine, sha256, predictions, test, dataset)


def render(report: Report, names: Sequence[str] | None = None) -> str:
    """The page.

    Args:
        report: what it shows.
        names: what the classes are called, in order, if not as in params.yaml.

    Raises:
        InputError: there are not as many names as classes.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    names = name_classes(names, report.names)
    folder = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=folder, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.get_template("report.html.j2")
    return page.render(names=names, **_context(report))


def _context(report: Report) -> dict[str, Any]:
    """What the template refers to."""
    from digits.apps import charts

    run, earlier, predictions = report.run, report.earlier, report.predictions
    before = None if isinstance(earlier, str) else earlier.run
    same_images = findings.comparable(run, earlier)
    classes = findings.classes(predictions, same_images)
    confidences = calibration.probabilities(predictions).max(axis=1)
    right = predictions.classes == predictions.labels
    matrix = confusion_matrix(predictions)
    bins = calibration.reliability(confidences, right)
    error = calibration.calibration_error(bins)
    epochs = before.epochs if before else []
    return {
        "report": report,
        "earlier": None if isinstance(earlier, str) else earlier,
        "verdict": findings.verdict(run, earlier),
        "metrics": {metric.key: metric for metric in findings.metrics(run, before)},
        "parameters": findings.parameters(run.lock.params(), before.lock.params() if before else None),
        "changed_files": findings.changed_files(run.lock.inputs(), before.lock.inputs()) if before else [],
        "classes": classes,
        "poorest": max(classes, key=lambda one: one.missed),
        "commonest": max(classes, key=lambda one: one.times),
        "matrix": matrix.tolist(),
        "most_confused": max(1, int((matrix - np.diag(matrix.diagonal())).max())),
        "mistakes": findings.mistakes(predictions, report.test, report.dataset, report.params.worst, same_images),
        "wrong": int((~right).sum()),
        "confident": int((~right & (confidences > 0.9)).sum()),
        "curves": [charts.learning_curves(run.epochs, epochs, name) for name in ("accuracy", "loss")],
        "reliability": charts.reliability_diagram(bins, error),
        "bins": bins,
        "few": charts.FEW,
        "calibration_error": error,
        "brier": calibration.brier(predictions),
    }


def require_packages() -> None:
    """Refuse an environment without the packages that only the report needs.

    Raises:
        InputError: one is missing.
    """
    for name in ("jinja2", "matplotlib"):
        if importlib.util.find_spec(name) is None:
            raise InputError(
                f"package {name}", expected="it to be installed", received="none", hint="Run `make report`."
            )


def main() -> None:
    parser = command("report", __doc__)
    add_files(parser, "params", "lock", "metrics", "model", "dataset", "data", "platform")
    parser.add_argument("--against", metavar="COMMIT", help="the commit to compare with (default: the last run)")
    parser.add_argument(
        "--out", type=Path, default=Path("report.html"), help="the page to write (default: %(default)s)"
    )
    args = parser.parse_args()
    require_packages()
    sources = RunFiles(args.params, args.lock, args.metrics)
    report = gather(
        sources,
        model=args.model,
        dataset_file=args.dataset,
        data=args.data,
        record=args.platform,
        against=args.against,
    )
    page = render(report)
    with replacing(args.out) as (file,):
        file.write_text(page, encoding="utf-8")
    sys.stdout.write(f"{args.out}: {findings.verdict(report.run, report.earlier).headline}\n")
