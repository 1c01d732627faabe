"""What a reviewer wants to know of a run: is it better than the one before, and where does it fail?"""

import base64
import io
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from digits.apps.calibration import probabilities
from digits.apps.comparison import ALPHA, compare
from digits.apps.runs import Earlier, Run
from digits.data.dataset import Dataset
from digits.data.splits import Split
from digits.scoring.metrics import Predictions, confusion_matrix, per_class, worst
from digits.scoring.picture import as_seen

#: What `preprocess` calls the test set.
TEST_SET = ("test_features.npy", "test_labels.npy")


class Verdict(NamedTuple):
    """The answer to: is this run better?"""

    kind: str  # better, worse, unclear, same or none
    headline: str
    reason: str


def verdict(run: Run, earlier: Earlier | str) -> Verdict:
    """Compare a run with an earlier one, image by image.

    Args:
        run: this run.
        earlier: the run to compare with, or why there is none.
    """
    if isinstance(earlier, str):
        return Verdict("none", "No earlier run to compare with", f"{earlier.rstrip('.')}.")
    if comparable(run, earlier) is None:
        return Verdict(
            "none",
            "Not comparable: another test set",
            "Differences in the metrics below come from data and model together.",
        )
    if np.array_equal(run.predicted, earlier.run.predicted):
        return Verdict("same", "The same predictions as before", "Every test image is read as the same class.")
    found = compare(run.labels, earlier.run.predicted, run.predicted)
    reason = (
        f"Of {len(run.labels):,} test images, {found.gained:,} are newly right and {found.lost:,} newly wrong. "
        f"If neither were better, a difference this large would occur in {_percent(found.p_value)} of comparisons."
    )
    if found.p_value >= ALPHA:
        return Verdict("unclear", "No clear difference", reason)
    better = found.gained > found.lost
    return Verdict("better", "Better than before", reason) if better else Verdict("worse", "Worse than before", reason)


def comparable(run: Run, earlier: Earlier | str) -> Run | None:
    """The earlier run, if it was tested on the same images."""
    if isinstance(earlier, str) or run.lock.named(*TEST_SET) != earlier.run.lock.named(*TEST_SET):
        return None
    return earlier.run if np.array_equal(run.labels, earlier.run.labels) else None


def _percent(probability: float) -> str:
    shown = f"{100 * probability:.3g}" if probability >= 0.0001 else "less than 0.01"
    return f"{shown}\N{NO-BREAK SPACE}%"


class Metric(NamedTuple):
    """A figure of this run beside that of the earlier one."""

    key: str  # as `dvc metrics diff` names it
    title: str
    value: float
    before: float | None
    percent: bool
    good: int  # 1 if greater is better, -1 if smaller is, 0 if neither: a network may overfit the training set

    @property
    def change(self) -> float | None:
        """The difference from the earlier run, or None without one. Figures in the files have six decimals."""
        return None if self.before is None else round(self.value - self.before, 6)

    @property
    def judgement(self) -> str:
        """better or worse; nothing for a metric that is not judged."""
        return ("", "better", "worse")[int(np.sign(self.change or 0)) * self.good]


def metrics(run: Run, before: Run | None) -> list[Metric]:
    """Every figure in metrics/scores.json, and the last epoch's."""
    words = {"train": "training", "gap": "gap (overfitting)"}
    found = []
    for split, score in run.scores.items():
        old = before.scores.get(split) if before else None
        title, judged = words.get(split, split), int(split in ("test", "validation"))
        accuracies = (score.accuracy, old.accuracy if old else None)
        losses = (score.loss, old.loss if old else None)
        found.append(Metric(f"{split}.accuracy", f"{title}: accuracy", *accuracies, percent=True, good=judged))
        found.append(Metric(f"{split}.loss", f"{title}: loss", *losses, percent=False, good=-judged))
    pair = run.epochs[-1].accuracy, before.epochs[-1].accuracy if before else None
    found.append(Metric("last_epoch.accuracy", "last epoch: accuracy, as Keras prints it", *pair, percent=True, good=0))
    return found


class Parameter(NamedTuple):
    """A parameter's value beside its earlier one, as text. None: there is no such parameter."""

    name: str
    value: str | None
    before: str | None
    changed: bool


def parameters(now: Mapping[str, Any], before: Mapping[str, Any] | None) -> list[Parameter]:
    """Every parameter of either run."""
    old = now if before is None else before
    return [
        Parameter(
            name,
            str(now[name]) if name in now else None,
            str(old[name]) if name in old else None,
            changed=(name in now, now.get(name)) != (name in old, old.get(name)),
        )
        for name in {**now, **old}
    ]


def changed_files(now: Mapping[str, str | None], before: Mapping[str, str | None]) -> list[str]:
    """Names of the files whose contents differ between two runs, or that only one of them read."""
    return sorted(
        name for name in {**now, **before} if (name in now, now.get(name)) != (name in before, before.get(name))
    )


class ClassMistakes(NamedTuple):
    """Scores and mistakes of one class."""

    label: int
    images: int
    precision: float
    recall: float
    missed: int  # images of this class that are read as another
    change: int | None  # how many more are missed than by the earlier run
    taken_for: int | None  # the class that most of the missed are read as; None if none is missed
    times: int  # how many are read as it


def classes(predictions: Predictions, before: Run | None) -> list[ClassMistakes]:
    """Scores and mistakes of each class.

    Args:
        predictions: of the test set.
        before: an earlier run on the same images, or None.
    """
    matrix = confusion_matrix(predictions)
    wrong = matrix - np.diag(matrix.diagonal())
    missed = wrong.sum(axis=1)
    change = missed - _missed(before, len(matrix)) if before else None
    return [
        ClassMistakes(
            score.label,
            score.images,
            score.precision,
            score.recall,
            int(missed[score.label]),
            None if change is None else int(change[score.label]),
            int(wrong[score.label].argmax()) if missed[score.label] else None,
            int(wrong[score.label].max()),
        )
        for score in per_class(matrix)
    ]


def _missed(run: Run, count: int) -> NDArray[np.intp]:
    """Images of each class that a run reads as another: [count]."""
    return np.bincount(run.labels[run.labels != run.predicted], minlength=count)


class Mistake(NamedTuple):
    """A misread test image."""

    image: int  # its number in the test set, from 0
    label: int
    predicted: int
    probability: float  # of the predicted class
    label_probability: float  # of the label
    new: bool  # the earlier run had it right
    picture: str  # data: address of a PNG


def mistakes(predictions: Predictions, test: Split, dataset: Dataset, count: int, before: Run | None) -> list[Mistake]:
    """The misread images with the greatest loss, the worst first.

    Args:
        predictions: of the test set.
        test: the test set.
        dataset: what its images are.
        count: how many, at most.
        before: an earlier run on the same images, or None.
    """
    all_probabilities = probabilities(predictions)
    return [
        Mistake(
            int(row),
            label := int(predictions.labels[row]),
            predicted := int(predictions.classes[row]),
            float(all_probabilities[row, predicted]),
            float(all_probabilities[row, label]),
            bool(before is not None and before.predicted[row] == label),
            picture(as_seen([test.features.rows(row, row + 1)], dataset)[0]),
        )
        for row in worst(predictions, count)
    ]


def picture(image: NDArray[np.uint8]) -> str:
    """An image, uint8 [height, width] or [height, width, 3], as the data: address of a PNG."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
