"""Compare a run with an earlier run: is its model better, and which metrics, parameters and files differ?"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy.stats import binomtest

from digits.apps.runs import Earlier, Run
from dvcproof.gate import is_lower

#: The significance level: a difference with a smaller p-value counts as clear. The value is a convention of R. A.
#: Fisher, Statistical Methods for Research Workers (1925).
ALPHA = 0.05

#: The names of the files in which `preprocess` writes the test set.
TEST_SET = ("test_features.npy", "test_labels.npy")

#: Groups of metrics in which no change counts as better or worse, since a network may overfit the training set; each
#: with its title for people.
NOT_JUDGED = {"train": "training", "gap": "gap (overfitting)", "last_epoch": "last epoch, as Keras prints it"}


def p_value(gained: int, lost: int) -> float:
    """Return the probability of a difference at least this large if neither of two models is better.

    This is the exact form of the test of Q. McNemar (Psychometrika 12, 1947). It treats each image on which only one
    model is right as a toss of a fair coin. On `gained` images only the second model is right, on `lost` images only
    the first. T. G. Dietterich (Neural Computation 10, 1998) recommends the test for models that are trained once.
    """
    return float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0


class Verdict(NamedTuple):
    """The answer to the question: is this run better?"""

    kind: str  # better, worse, unclear, same or none
    headline: str
    reason: str


def verdict(run: Run, earlier: Earlier | str) -> Verdict:
    """Compare a run with an earlier run, image by image. `earlier` is a text if there is no earlier run: the reason."""
    if isinstance(earlier, str):
        return Verdict("none", "No earlier run to compare with", f"{earlier.rstrip('.')}.")
    if comparable(run, earlier) is None:
        reason = "Differences in the metrics below come from data and model together."
        return Verdict("none", "Not comparable: another test set", reason)
    if np.array_equal(run.predicted, earlier.run.predicted):
        return Verdict("same", "The same predictions as before", "Every test image is read as the same class.")
    now, before = run.predicted == run.labels, earlier.run.predicted == run.labels
    gained, lost = int((now & ~before).sum()), int((before & ~now).sum())
    p = p_value(gained, lost)
    reason = (
        f"Of {len(run.labels):,} test images, {gained:,} are newly right and {lost:,} newly wrong. If neither were "
        f"better, a difference this large would occur in {f'{100 * p:.3g}' if p >= 0.0001 else 'less than 0.01'}"
        "\N{NO-BREAK SPACE}% of comparisons."
    )
    if p >= ALPHA:
        return Verdict("unclear", "No clear difference", reason)
    kind = "better" if gained > lost else "worse"
    return Verdict(kind, f"{kind.capitalize()} than before", reason)


def comparable(run: Run, earlier: Earlier | str) -> Run | None:
    """Return the earlier run if it was tested on the same images, else None."""
    if isinstance(earlier, str) or run.lock.named(*TEST_SET) != earlier.run.lock.named(*TEST_SET):
        return None
    return earlier.run if np.array_equal(run.labels, earlier.run.labels) else None


class Metric(NamedTuple):
    """A metric of a run, and its value in an earlier run."""

    key: str  # its name in `dvc metrics diff`
    value: float
    before: float | None  # None: the earlier run does not have it, or there is no earlier run

    @property
    def title(self) -> str:
        """The name for people: 'training: loss'."""
        split, _, name = self.key.rpartition(".")
        return f"{NOT_JUDGED.get(split, split)}: {name}".removeprefix(": ")

    @property
    def change(self) -> float | None:
        """The difference from the earlier run, or None. It is rounded to six decimals, as the values in the files."""
        return None if self.before is None else round(self.value - self.before, 6)

    @property
    def judgement(self) -> str:
        """'better', 'worse', or '' if the metric did not change or is not judged. For a loss, lower is better."""
        if not self.change or self.key.partition(".")[0] in NOT_JUDGED:
            return ""
        return "better" if (self.change < 0) == is_lower(self.key) else "worse"


def metrics(run: Run, before: Run | None) -> list[Metric]:
    """Return every figure in metrics/scores.json, and the accuracy of the last epoch."""

    def figures(run: Run) -> dict[str, float]:
        return run.scores | {"last_epoch.accuracy": run.epochs[-1].accuracy}

    old = figures(before) if before else {}
    return [Metric(key, value, old.get(key)) for key, value in figures(run).items()]


def differing(now: Mapping[str, object], before: Mapping[str, object]) -> list[str]:
    """Return the names whose values differ, and the names that only one of the mappings has."""
    return [name for name in {**now, **before} if (name in now, now.get(name)) != (name in before, before.get(name))]
