"""Stop a change that makes the model worse: compare this run with that of the branch that it is merged into.

python -m digits gate --against origin/main

It fails if the test predictions are significantly worse, image by image, or if the test accuracy is below the spread
over seeds that the other branch has committed. A change cannot move its own bar.
"""

import json
import re
import sys
from pathlib import Path
from typing import NamedTuple

from digits.apps.comparison import verdict
from digits.apps.options import Files, add_files, command, given_files
from digits.apps.runs import Earlier, Run, committed_text, earlier_run, read_run
from digits.study import study_params
from dvcproof.config import ToleranceConfig
from dvcproof.git import GitError, git_text, is_shallow
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
    """Compare this run with the one that it must not be worse than, and with the spread of the accuracy over seeds.

    `spread` may say why there is none for these parameters; `hint` is the next step after a problem.
    """
    found, accuracy = verdict(this, earlier), this.scores["test"].accuracy
    notes, problems = [f"against {earlier.commit} ({earlier.subject}): {found.headline}. {found.reason}"], []
    if found.kind in ("worse", "none"):
        expected = f"a model that is not worse than that of {earlier.commit}"
        problems.append(InputError("test predictions", expected=expected, received=found.headline.lower(), hint=hint))
    if isinstance(spread, str):
        return Judgement([*notes, f"test accuracy {accuracy:.4f}; {spread}"], problems)
    lowest, highest = spread.mean - spread.band, spread.mean + spread.band
    band = f"{spread.mean:.4f} +- {spread.band:.4f} ({spread.source})"
    if accuracy < lowest:
        expected = f"{lowest:.4f} or more, of {band}"
        problems.append(InputError("test accuracy", expected=expected, received=f"{accuracy:.4f}", hint=hint))
    place = "above" if accuracy > highest else "below" if accuracy < lowest else "within"
    return Judgement([*notes, f"test accuracy {accuracy:.4f}, {place} {band}"], problems)


def spread_of(against: str, files: Files) -> Spread | str:
    """Return the spread over seeds that a commit holds, or why there is none for this run's parameters."""
    try:
        text = committed_text(files, against, files.seeds)
    except GitError as error:
        return f"no spread over seeds to compare with: {error.words}"
    spread = read_spread(text, ToleranceConfig(runs=files.seeds, key="test_accuracy", measure="make study NAME=seeds"))
    if json.loads(text).get("params") != study_params(files.params):
        return "the spread over seeds was measured with other parameters"
    return spread


def require_fork(root: Path, against: str) -> None:
    """Refuse a commit of which Git cannot tell what was committed since: a shallow clone has lost some parents.

    What `AGAINST..HEAD` lists may then be older than AGAINST, or lack the first commits of the branch.
    """
    what = f"a worse model than that of {against}"
    ends = git_text(root, "rev-list", "--max-parents=0", "--end-of-options", f"{against}...HEAD", "--")
    if ends and is_shallow(root):
        problem = "which commits may accept it is not known, since this shallow clone ends before the branches meet"
        raise InputError(what, problem, hint="Run `git fetch --unshallow`, or `git fetch --deepen=100`.")
    every, since = (
        git_text(root, "rev-list", "--count", "--end-of-options", commits, "--")
        for commits in ("HEAD", f"{against}..HEAD")
    )
    if every == since:
        problem = "no commit of this branch may accept it, since the two have no commit in common"
        raise InputError(what, problem, hint=f"Run `git rebase {against}`.")


def acceptance(root: Path, against: str) -> str:
    """Return which commit since `against` accepts a worse model, and why; '' if none does."""
    require_fork(root, against)
    log = git_text(root, "log", "--format=%x00%h%n%B", "--end-of-options", f"{against}..HEAD", "--")
    found = re.search(rf"\0(\w+)\n[^\0]*?^{ACCEPTED}[ \t]*(\S.*)", log, re.MULTILINE)
    return f"commit {found[1]} accepts it: {found[2]}" if found else ""


def gate(files: Files, against: str) -> Judgement:
    """Judge the run in the work tree."""
    if not against:
        hint = "Run `make gate AGAINST=origin/main`."
        raise InputError("--against", "this must name a branch or commit with a run", hint=hint)
    this = read_run(files)
    require_same_params(this.lock, files.params)
    for name in ("scores.json", "confusion.csv", "per_class.csv"):
        require_recorded(files.metrics / name, this.lock)
    earlier = earlier_run(files, against, committed=False)
    assert isinstance(earlier, Earlier)  # noqa: S101 # a named commit without a run was refused
    hint = (
        f"`make report AGAINST={against}` shows where. "
        f"If it is intended, say why: git commit --allow-empty -m '{ACCEPTED} REASON'."
    )
    found = judge(this, earlier, spread_of(against, files), hint)
    accepted = acceptance(files.lock.parent, against) if found.problems else ""
    if accepted:
        return Judgement([*found.notes, *(problem.problem for problem in found.problems), accepted], [])
    return found


def main() -> None:
    parser = command("gate", __doc__)
    add_files(parser, "params", "lock", "metrics", "seeds")
    parser.add_argument("--against", metavar="COMMIT", required=True, help="the commit that must not be better")
    args = parser.parse_args()
    found = gate(given_files(args), args.against)
    for note in found.notes:
        sys.stdout.write(f"gate: {printable(note)}\n")
    if found.problems:
        sys.stdout.flush()
        sys.exit("\n".join(f"ERROR: {problem}" for problem in found.problems))
    sys.stdout.write("gate: ok\n")
