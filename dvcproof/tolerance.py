"""The tolerance for machines that cannot give the committed bytes.

On a machine with no known deviation there is no tolerance: the bytes must be equal. On other machines (no AVX2, another
architecture, a GPU) the model, and all outputs that depend on the model, may differ in bits. The metric may then differ
by no more than between trainings with different seeds. `[tool.dvcproof.tolerance]` names the files.
"""

import json
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dvcproof.config import ToleranceConfig
from dvcproof.runtime.program import InputError

if TYPE_CHECKING:
    from dvcproof.project import Project

#: Half the width of the band, in standard deviations over seeds. The difference of two trainings with different seeds
#: has a standard deviation that is sqrt(2) times as large. The band is 2.8 of those, which 1 of 200 pairs exceeds. Runs
#: with one seed that differ only in rounding are closer to each other.
DEVIATIONS = 4
#: The fewest runs from which a standard deviation is computed.
FEWEST_RUNS = 5


class Tolerance(NamedTuple):
    """The reasons why bytes may differ on this machine, and the addresses of the stages whose outputs may differ."""

    reasons: list[str]
    stages: frozenset[str]

    def __str__(self) -> str:
        return f"this machine may give other bits in {', '.join(sorted(self.stages))}: {'; '.join(self.reasons)}"


def tolerance(project: "Project", clone: Path, config: ToleranceConfig | None) -> Tolerance:
    """Return the tolerance from the record that a stage wrote while it ran in `clone`.

    The record's stage is the one whose command names `config.record`. Its outputs, and those of all stages that depend
    on it, may differ. No such stage: no tolerance.

    Raise InputError if the record is missing or cannot be read.
    """
    for stage in project.stages:
        if config and any(config.record in command.split() for command in stage.commands):
            reasons = _reasons(clone / config.record, stage.address)
            following = (one.address for one in project.stages if stage.address in project.before(one))
            return Tolerance(reasons, frozenset((stage.address, *following) if reasons else ()))
    return Tolerance([], frozenset())


def _reasons(path: Path, stage: str) -> list[str]:
    try:
        reasons = json.loads(path.read_text(encoding="utf-8"))["may_differ_in_bits_because"]
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(
            f"stage '{stage}', {path.name}",
            expected="a JSON record with 'may_differ_in_bits_because'",
            received="a file without it" if path.exists() else "no such file",
            hint="Correct the stage: without the record nobody knows whether the bytes must be equal.",
        ) from None
    return [str(reason) for reason in reasons]


def check_metric(committed: float, rerun: float, config: ToleranceConfig, clone: Path) -> str:
    """Compare the metric of a re-run with the committed metric. Return a line with both values and the band.

    Raise InputError if the metrics differ by more than the band, or the study over seeds in `clone` gives no band.
    """
    runs = clone / config.runs
    mean, band, source = read_spread(runs.read_text(encoding="utf-8") if runs.is_file() else None, config)
    if not abs(committed - mean) <= band:  # also for NaN
        raise InputError(
            str(config.runs),
            expected=f"a spread measured for these parameters, with the committed {committed:.4f} inside",
            received=f"{mean:.4f} +- {band:.4f} ({source})",
            hint=f"Run `{config.measure}`.",
        )
    if not abs(rerun - committed) <= band:
        raise InputError(
            f"{config.metric} of the re-run",
            expected=f"{committed:.4f} +- {band:.4f} ({source})",
            received=f"{rerun:.4f}",
            hint="This is more than rounding explains: compare data, code and packages.",
        )
    return f"{config.metric} {rerun:.4f} against {committed:.4f}, within +- {band:.4f} ({source})"


class Spread(NamedTuple):
    """The mean of a metric over seeds, and the band of its expected values."""

    mean: float
    band: float  # half the width of the band
    source: str  # the definition of the band, for a message


def read_spread(text: str | None, config: ToleranceConfig) -> Spread:
    """Compute the spread of the metric from the text of the file `config.runs`. Text None: there is no such file.

    Raise InputError if the text is not a study over seeds, or has fewer than FEWEST_RUNS seeds.
    """
    hint, expected = f"Run `{config.measure}`.", f"{config.key} of {FEWEST_RUNS} seeds or more"
    try:
        values = [float(run[config.key]) for run in json.loads(text or "")["runs"]]
    except (ValueError, KeyError, TypeError):
        received = "no such file" if text is None else "a file without them"
        raise InputError(str(config.runs), expected=expected, received=received, hint=hint) from None
    if len(values) < FEWEST_RUNS:
        raise InputError(str(config.runs), expected=expected, received=str(len(values)), hint=hint)
    source = f"{DEVIATIONS} standard deviations over {len(values)} seeds"
    return Spread(statistics.fmean(values), DEVIATIONS * statistics.stdev(values), source)
