"""Fail if a change makes the model worse: compare this run with the run of the branch into which it will be merged.

python -m digits gate --against origin/main

The gate fails in two cases: the test predictions are significantly worse, image by image; or the test accuracy is below
the spread over seeds. The spread is read from the other branch, so a change cannot lower its own limit. A change passes
in spite of this if one of its commits has the trailer `Accept-worse-model: REASON`.
"""

import json
import sys

from digits.apps.comparison import verdict
from digits.apps.options import Files, command, given_files
from digits.apps.results import committed_text, study_params
from digits.apps.runs import Earlier, earlier_run, read_run
from dvcproof.config import ToleranceConfig
from dvcproof.gate import TRAILER, accepted
from dvcproof.git import GitError
from dvcproof.lockfile import require_recorded, require_same_params
from dvcproof.messages import printable
from dvcproof.runtime.program import InputError
from dvcproof.tolerance import Spread, read_spread


def gate(files: Files, against: str) -> tuple[list[str], list[InputError]]:
    """Compare the run in the working tree with the run of a commit. Return notes, and a problem for each failed check.

    Raise InputError if one of the runs is missing or damaged, or if Git does not know which commits the change has.
    """
    if not against:
        hint = "Run `make gate AGAINST=origin/main`."
        raise InputError("--against", "this must name a branch or commit with a run", hint=hint)
    this, root = read_run(files), files.lock.parent
    require_same_params(this.lock, files.params)
    for name in ("scores.json", "confusion.csv", "per_class.csv"):
        require_recorded(files.metrics / name, this.lock)
    earlier = earlier_run(files, against, committed=False)
    assert isinstance(earlier, Earlier)  # noqa: S101 # a named commit without a run was refused
    hint = (
        f"`make report AGAINST={against}` shows where. "
        f"If it is intended, say why: git commit --allow-empty -a -m 'Accept it' -m '{TRAILER}: REASON'."
    )
    found, accuracy = verdict(this, earlier), this.scores["test.accuracy"]
    notes, problems = [f"against {earlier.commit} ({earlier.subject}): {found.headline}. {found.reason}"], []
    if found.kind in ("worse", "none"):
        expected = f"a model that is not worse than that of {earlier.commit}"
        problems.append(InputError("test predictions", expected=expected, received=found.headline.lower(), hint=hint))
    spread = spread_of(against, files)
    if isinstance(spread, str):
        notes.append(f"test accuracy {accuracy:.4f}; {spread}")
    else:
        lowest, band = spread.mean - spread.band, f"{spread.mean:.4f} +- {spread.band:.4f} ({spread.source})"
        notes.append(f"test accuracy {accuracy:.4f}; over seeds {band}")
        if accuracy < lowest:
            expected = f"at least {lowest:.4f}, the lower end of {band}"
            problems.append(InputError("test accuracy", expected=expected, received=f"{accuracy:.4f}", hint=hint))
    if problems and (why := accepted(root, against)):
        return [*notes, *(problem.problem for problem in problems), why], []
    return notes, problems


def spread_of(against: str, files: Files) -> Spread | str:
    """Return the spread over seeds in a commit, or a string that says why it has none for these parameters."""
    try:
        text = committed_text(files.lock.parent, against, files.seeds)
    except GitError as error:
        return f"no spread over seeds to compare with: {error.words}"
    spread = read_spread(text, ToleranceConfig(runs=files.seeds, key="test_accuracy", measure="make study NAME=seeds"))
    if json.loads(text).get("params") != study_params(files.params):
        return "the spread over seeds was measured with other parameters"
    return spread


def main() -> None:
    parser = command("gate", __doc__, "params", "lock", "metrics", "seeds")
    parser.add_argument("--against", metavar="COMMIT", required=True, help="the commit to compare with")
    args = parser.parse_args()
    notes, problems = gate(given_files(args), args.against)
    for note in notes:
        sys.stdout.write(f"gate: {printable(note)}\n")
    if problems:
        sys.stdout.flush()
        sys.exit("\n".join(f"ERROR: {problem}" for problem in problems))
    sys.stdout.write("gate: ok\n")
