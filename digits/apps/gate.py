"""Stop a change that makes the model worse: compare this run with that of the branch that it shall be merged into.

python -m digits gate --params params.yaml --lock dvc.lock --metrics metrics --seeds bench/results/seeds.json \
    --against origin/main

It fails if the test predictions are significantly worse, image by image, or if the test accuracy is below the spread
over seeds that the other branch has committed, so that no change moves its own bar.
"""

import json
import sys
from pathlib import Path
from typing import NamedTuple

from digits.apps.findings import verdict
from digits.apps.options import add_files, command
from digits.apps.runs import Earlier, Run, RunFiles, committed_text, earlier_run, this_run
from digits.study import study_params
from dvcproof.git import GitError, git_text
from dvcproof.lockfile import require_recorded, require_same_params
from dvcproof.messages import printable
from dvcproof.runtime.program import InputError
from dvcproof.tolerance import Spread, read_spread

#: A line of a commit message that says why a worse model is wanted.
ACCEPTED = "Accept-worse-model:"


class Judgement(NamedTuple):
    """What was found, and what is wrong with it."""

    notes: list[str]
    problems: list[InputError]


def judge(this: Run, earlier: Earlier, spread: Spread | str, hint: str) -> Judgement:
    """Compare this run with an earlier one and with the spread over seeds.

    Args:
        this: the run to judge.
        earlier: the run that it must not be worse than.
        spread: of the test accuracy over seeds, or why there is none for these parameters.
        hint: what to do about a problem.
    """
    found = verdict(this, earlier)
    notes, problems = [f"against {earlier.commit} ({earlier.subject}): {found.headline}. {found.reason}"], []
    if found.kind in ("worse", "none"):
        expected = f"a model that is not worse than that of {earlier.commit}"
        problems.append(InputError("test predictions", expected=expected, received=found.headline.lower(), hint=hint))
    accuracy = this.scores["test"].accuracy
    if isinstance(spread, str):
        return Judgement([*notes, f"test accuracy {accuracy:.4f}; {spread}"], problems)
    lowest, highest = spread.mean - spread.band, spread.mean + spread.band
    band = f"{spread.mean:.4f} +- {spread.band:.4f} ({spread.source})"
    if not accuracy >= lowest:  # also for NaN
        expected = f"{lowest:.4f} or more, of {band}"
        problems.append(InputError("test accuracy", expected=expected, received=f"{accuracy:.4f}", hint=hint))
    place = "above" if accuracy > highest else "below" if accuracy < lowest else "within"
    return Judgement([*notes, f"test accuracy {accuracy:.4f}, {place} {band}"], problems)


def spread_of(against: str, seeds: Path, sources: RunFiles) -> Spread | str:
    """The spread over seeds that a commit holds, if it was measured with this run's parameters.

    Raises:
        InputError: the commit's study is damaged.
    """
    try:
        text = committed_text(sources.lock.parent, against, seeds)
    except GitError as error:
        return f"no spread over seeds to compare with: {error.words}"
    spread = read_spread(text, seeds)
    if json.loads(text).get("params") != study_params(sources.params):
        return "the spread over seeds was measured with other parameters"
    return spread


def acceptance(root: Path, against: str) -> str:
    """Where and why a commit since `against` accepts a worse model; nothing if none does."""
    log = git_text(root, "log", "--format=%h%n%B%x00", "--end-of-options", f"{against}..HEAD", "--")
    for entry in log.split("\0"):
        commit, *lines = entry.strip().splitlines() or [""]
        for line in lines:
            reason = line.removeprefix(ACCEPTED).strip()
            if line.startswith(ACCEPTED) and reason:
                return f"commit {commit} accepts it: {reason}"
    return ""


def gate(sources: RunFiles, seeds: Path, against: str) -> Judgement:
    """Judge the run in the work tree.

    Raises:
        InputError: there is no run to compare with, or the files of a run do not belong together.
    """
    if not against:
        hint = "Run `make gate AGAINST=origin/main`."
        raise InputError("--against", expected="a branch or commit with a run", received="nothing", hint=hint)
    this = this_run(sources)
    require_same_params(this.lock, sources.params)
    for name in ("scores.json", "confusion.csv", "per_class.csv"):
        require_recorded(sources.metrics / name, this.lock)
    earlier = earlier_run(sources, against, committed=False)
    assert isinstance(earlier, Earlier)  # noqa: S101 # a named commit without a run was refused
    hint = (
        f"`make report AGAINST={against}` shows where. "
        f"If it is intended, say why: git commit --allow-empty -m '{ACCEPTED} REASON'."
    )
    found = judge(this, earlier, spread_of(against, seeds, sources), hint)
    accepted = acceptance(sources.lock.parent, against) if found.problems else ""
    if accepted:
        return Judgement([*found.notes, *(problem.problem for problem in found.problems), accepted], [])
    return found


def main() -> None:
    parser = command("gate", __doc__)
    add_files(parser, "params", "lock", "metrics", "seeds")
    parser.add_argument("--against", metavar="COMMIT", required=True, help="the commit that must not be better")
    args = parser.parse_args()
    found = gate(RunFiles(args.params, args.lock, args.metrics), args.seeds, args.against)
    for note in found.notes:
        sys.stdout.write(f"gate: {printable(note)}\n")
    if found.problems:
        sys.stdout.flush()
        sys.exit("\n".join(f"ERROR: {problem}" for problem in found.problems))
    sys.stdout.write("gate: ok\n")
