"""Write a report of a run as one self-contained web page: is the run better than the one before, where does it fail?

The page is written only if everything in it belongs to the same run: the files have the hashes in dvc.lock, and the
model again predicts the classes in metrics/.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from digits.apps import calibration, charts, comparison
from digits.apps.options import Files, command, given_files
from digits.apps.results import read
from digits.apps.runs import Earlier, Run, earlier_run, read_run, uncommitted
from digits.data.classes import name_classes
from digits.data.dataset import Dataset, read_dataset
from digits.data.splits import Split, open_split
from digits.params import Params, read_params
from digits.scoring.metrics import Predictions, confusion_matrix, per_class, worst
from digits.scoring.picture import as_seen, in_base64
from digits.scoring.predictions import open_model, predict
from dvcproof.lockfile import REDO, require_recorded, require_same_params
from dvcproof.runtime.bounds import parse_json
from dvcproof.runtime.files import file_hash, replacing
from dvcproof.runtime.program import InputError
from exactkeras.augment import views


def platform(path: Path, model_sha256: str) -> dict[str, Any] | str:
    """Return the record of the machine that a model was trained on, or a string that says why it is not known."""
    if not path.exists():
        return f"There is no {path}: the machine that the model was trained on is not known."
    record = read(path, lambda text: dict(parse_json(text)), "Delete it, or run `dvc repro --force train`.")
    if record.pop("model_sha256", None) != model_sha256:
        return f"{path} is the record of another model: the machine that this one was trained on is not known."
    return record


class Report(NamedTuple):
    """Everything that the page shows."""

    params: Params
    names: Sequence[str]  # of the classes
    run: Run
    earlier: Earlier | str
    uncommitted: list[str] | None
    checked: list[str]  # the outputs whose hash was checked
    platform: dict[str, Any] | str
    model_sha256: str
    predictions: Predictions
    test: Split
    dataset: Dataset


def gather(files: Files, against: str | None = None) -> Report:
    """Read and check everything that the page shows.

    The run is compared with the run in the commit `against`, or, if that is None, with the last run.
    """
    params = read_params(files.params, "evaluate", "class_names")
    run, root = read_run(files), files.lock.parent
    require_same_params(run.lock, files.params)
    outputs = [out.path for stage in run.lock.stages.values() for out in stage.outs if (root / out.path).is_file()]
    for name in outputs:
        require_recorded(root / name, run.lock, name)
    changed = uncommitted(files)
    earlier = earlier_run(files, against, committed=changed == [])
    dataset = read_dataset(files.dataset)
    names = name_classes(params.class_names, dataset.classes)
    test = open_split(files.data, "test", dataset)
    network, seen = open_model(files.model, dataset), views(dataset.image_shape, params.evaluate.views)
    (predictions,) = predict(network, [test], params.evaluate.batch_size, seen)
    if not np.array_equal((run.labels, run.predicted), (predictions.labels, predictions.classes)):
        sentence = "the model predicts other classes than this file records"
        raise InputError(str(files.metrics / "confusion.csv"), sentence, hint=REDO)
    sha256 = file_hash(files.model)
    machine = platform(files.platform, sha256)
    return Report(params, names, run, earlier, changed, outputs, machine, sha256, predictions, test, dataset)


def render(report: Report) -> str:
    """Return the page."""
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("report.html.j2").render(_context(report))


def _context(report: Report) -> dict[str, Any]:
    """Return the variables of the template."""

    def picture(row: int) -> str:
        """Return a test image, dark on white, as a PNG in a data: address."""
        image = as_seen([report.test.features.rows(row, row + 1)], report.dataset)[0]
        return f"data:image/png;base64,{in_base64(Image.fromarray(image))}"

    run, earlier, predictions = report.run, report.earlier, report.predictions
    before = None if isinstance(earlier, str) else earlier.run
    same_images = comparison.comparable(run, earlier)
    now, old = run.lock, before.lock if before else run.lock
    matrix = confusion_matrix(predictions)
    wrong = matrix - np.diag(matrix.diagonal())
    missed_before = None
    if same_images:
        misread = run.labels[run.labels != same_images.predicted]
        missed_before = np.bincount(misread, minlength=len(matrix)).tolist()
    probabilities = calibration.probabilities(predictions)
    confidences, right = probabilities.max(axis=1), predictions.classes == predictions.labels
    bins = calibration.reliability(confidences, right)
    error = calibration.calibration_error(bins)
    return {
        "report": report,
        "earlier": None if isinstance(earlier, str) else earlier,
        "same_images": same_images,
        "verdict": comparison.verdict(run, earlier),
        "metrics": {metric.key: metric for metric in comparison.metrics(run, before)},
        "params": now.params(),
        "params_before": old.params(),
        "changed_params": comparison.differing(now.params(), old.params()),
        "changed_files": sorted(comparison.differing(now.inputs(), old.inputs())),
        "matrix": matrix.tolist(),
        "per_class": per_class(matrix),
        "missed": wrong.sum(axis=1).tolist(),  # for each class, the number of images that are read as another class
        "missed_before": missed_before,
        "taken_for": wrong.argmax(axis=1).tolist(),  # for each class, the class as which most of these are read
        "times": wrong.max(axis=1).tolist(),  # the number of images of the class that are read as `taken_for`
        "mistakes": worst(predictions, report.params.evaluate.worst).tolist(),
        "picture": picture,
        "probabilities": probabilities,
        "confident": int((~right & (confidences > 0.9)).sum()),
        "curves": [
            charts.learning_curves(run.epochs, before.epochs if before else [], y) for y in ("accuracy", "loss")
        ],
        "reliability": charts.reliability_diagram(bins, error),
        "bins": bins,
        "few": charts.FEW,
        "calibration_error": error,
        "brier": calibration.brier(predictions),
    }


def main() -> None:
    parser = command("report", __doc__, "params", "lock", "metrics", "model", "dataset", "data", "platform")
    parser.add_argument("--against", metavar="COMMIT", help="the commit to compare with (default: the last run)")
    help_ = "the page to write (default: %(default)s)"
    parser.add_argument("--out", type=Path, default=Path("report.html"), metavar="PATH", help=help_)
    args = parser.parse_args()
    report = gather(given_files(args), args.against)
    page = render(report)
    with replacing(args.out) as (file,):
        file.write_text(page, encoding="utf-8")
    sys.stdout.write(f"{args.out}: {comparison.verdict(report.run, report.earlier).headline}\n")
