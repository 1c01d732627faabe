"""What may differ on a machine that cannot give the committed bytes, and by how much.

There is no tolerance on a machine with no known deviation: there the bytes must be equal. Elsewhere (no
AVX2, another architecture, a GPU) the model, and what is made from it, may differ in bits; its metric may not
differ by more than training from other seeds makes it differ. `[tool.dvcproof.tolerance]` names the files.
"""

import json
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dvcproof.config import ToleranceConfig
from dvcproof.runtime.program import InputError

if TYPE_CHECKING:
    from dvcproof.project import Project

#: Half the width of the band, in standard deviations over seeds. Two trainings from different seeds differ by sqrt(2)
#: standard deviations, so 4 of them are 2.8 of those: exceeded in 1 of 200 pairs. Runs of one seed that differ in
#: rounding only are closer to each other than that.
DEVIATIONS = 4
#: A standard deviation of fewer runs than this says little.
FEWEST_RUNS = 5


class Tolerance(NamedTuple):
    """Why bytes may differ here, and in which stages."""

    reasons: list[str]
    stages: frozenset[str]

    def __str__(self) -> str:
        return f"this machine may give other bits in {', '.join(sorted(self.stages))}: {'; '.join(self.reasons)}"


def tolerance(project: "Project", clone: Path, config: ToleranceConfig | None) -> Tolerance:
    """Read why the machine may give other bits from the record that a stage wrote while it ran in `clone`.

    It is the stage whose command names the record. The stage and all that depend on it may differ.

    Raise InputError if a stage should have written the record but there is none, or it cannot be read.
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
    """Compare the metric of a re-run with the committed one. Return a line that says how far apart they are.

    Raise InputError if they are further apart than the band allows, or the study over seeds in `clone` gives no band.
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
    """A metric over seeds."""

    mean: float
    band: float  # half the width of what is to be expected
    source: str  # what the band is


def read_spread(text: str | None, config: ToleranceConfig) -> Spread:
    """Read a study over seeds from the text of the file `config.runs`, None if there is none.

    Raise InputError if it is no such study, or one of too few seeds.
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
