"""Stop a change that makes a metric worse: compare the metrics in the working tree with those of another commit.

An intended change is accepted with the trailer `Accept-worse-model: REASON` in one of its commits.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from dvcproof.findings import Finding, Report, UnknownError
from dvcproof.git import ALL_FILES, AbsentError, git_text, is_shallow
from dvcproof.project import Project, refusals
from dvcproof.runtime.program import InputError
from dvcproof.values import flatten

#: The trailer of a commit message that gives the reason for a worse metric.
TRAILER = "Accept-worse-model"

#: A metric is better when lower if its name contains one of these words.
LOWER = ("loss", "error", "gap")

#: A metric: the path of its file, and the name of the value, such as 'test.accuracy'.
Key = tuple[str, str]


class Metrics(NamedTuple):
    """The numbers in the metrics files, and for each unreadable file the reason."""

    values: dict[Key, float]
    unread: dict[str, str]


def gate(
    project: Project, *, against: str, metrics: Sequence[str] = (), worse_by: float = 0.0, lower: bool = False
) -> Report:
    """Compare the metrics in the working tree with those of another commit.

    Args:
        against: the branch or commit to compare with.
        metrics: the metrics to compare, as FILE:KEY. Empty: every number in the project's metrics files.
        worse_by: the amount by which a metric may be worse.
        lower: whether every metric is better when lower. If not, only those with one of LOWER in their name are.

    Raise UnknownError if this clone lacks files of the other commit or the history that could accept a worse metric;
    InputError if a commit or metric does not exist, or `worse_by` is negative.
    """
    if not worse_by >= 0:
        hint = "Name a number of 0 or more."
        raise InputError("--worse-by", expected="at least 0", received=str(worse_by), hint=hint)
    commit = _commit(project.root, against)
    then, now = read_metrics(project, commit), read_metrics(project, None)
    chosen = _chosen(metrics, then, now)
    report = Report("gate", table=[("metric", against, "now", "judgement")])
    for place, found in ((against, then), ("the work tree", now)):
        report.unknown += [f"{file} of {place} cannot be read: {reason}" for file, reason in found.unread.items()]
    if chosen and not any(key in then.values for key in chosen):
        report.unknown.append(f"{against} has none of these metrics")
    for key in chosen:
        if key in then.values and key[0] not in now.unread:
            _judge(report, key, then.values[key], now.values.get(key), worse_by, lower=lower or is_lower(key[1]))
    compared = len(report.table) - 1
    if not compared and not report.unknown:
        report.unknown.append(f"{against} has no metric to compare with")
    if report.findings and (why := accepted(project.root, against)):
        findings = report.findings
        report.findings = [replace(one, level="note", message=f"{one.message}; {why}", fix="") for one in findings]
    report.summary = f"{compared} metrics compared with {against} ({commit[:7]})"
    return report


def _commit(root: Path, against: str) -> str:
    """Return the full hash of a commit.

    Raise InputError if there is no such commit; UnknownError if its files are not all here, as in a blobless clone: DVC
    would wait for them for ever.
    """
    try:
        commit = git_text(root, "rev-parse", "--verify", f"{against}^{{commit}}").strip()
    except AbsentError:
        hint = "Name a branch or a commit; `git fetch origin` gets those of the server."
        raise InputError(f"--against {against}", "there is no such commit here", hint=hint) from None
    objects = git_text(root, "rev-list", "--objects", "--no-walk", "--missing=print", commit, "--")
    if any(line.startswith("?") for line in objects.splitlines()):
        sentence = "this partial clone lacks files of it, and DVC fetches none"
        raise UnknownError(f"commit {commit[:7]}", sentence, hint=ALL_FILES)
    return commit


def read_metrics(project: Project, commit: str | None) -> Metrics:
    """Return the metrics of a commit, or of the working tree for None. Files not in Git are read from DVC's cache."""
    with refusals(project.root):
        results = project.repo.metrics.show(revs=[commit] if commit else None, hide_workspace=False)
    found: dict[str, Any] = next((result for rev, result in results.items() if rev == (commit or rev)), {})
    if "error" in found:
        return Metrics({}, {"the metrics": str(found["error"])})
    metrics = Metrics({}, {})
    for file, result in found.get("data", {}).items():
        if "error" in result:
            metrics.unread[file] = str(result["error"]) or type(result["error"]).__name__
            continue
        for name, value in flatten(result.get("data"), lists=True).items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                metrics.values[file, name] = float(value)
    return metrics


def is_lower(name: str) -> bool:
    """Return whether a metric of this name is better when lower."""
    return any(word in name.lower() for word in LOWER)


def _chosen(metrics: Sequence[str], then: Metrics, now: Metrics) -> list[Key]:
    names = {f"{file}:{name}": (file, name) for file, name in sorted({*then.values, *now.values})}
    unread = {*then.unread, *now.unread}
    for metric in metrics:
        if metric not in names and metric.rpartition(":")[0] not in unread:
            hint = f"Known metrics: {', '.join(names) or 'none'}."
            raise InputError(f"--metric {metric}", "there is no such number in the metrics", hint=hint)
    return [names[metric] for metric in metrics or names if metric in names]


def _judge(report: Report, key: Key, then: float, now: float | None, worse_by: float, *, lower: bool) -> None:
    name = f"{key[0]}:{key[1]}"
    if now is None:
        report.table.append((name, f"{then:g}", "", "gone"))
        fix = "Restore it, or accept it in a commit."
        report.findings.append(Finding("DP802", "error", f"metric {name} is gone", fix, path=key[0]))
        return
    loss = now - then if lower else then - now
    # NaN is worse than any number. NaN is allowed if the metric was NaN before.
    worse = loss > worse_by or (math.isnan(now) and not math.isnan(then))
    judgement = "worse" if worse else "equal" if loss == 0 else "better" if loss < 0 else "allowed"
    report.table.append((name, f"{then:g}", f"{now:g}", judgement))
    if worse:
        better = "lower" if lower else "higher"
        allowed = f"{better} is better, and it may be worse by at most {worse_by:g}"
        message = f"metric {name} is {now:g}, and was {then:g}: {allowed}"
        fix = f"If it is intended, say why: git commit --allow-empty -a -m 'Accept it' -m '{TRAILER}: REASON'."
        report.findings.append(Finding("DP801", "error", message, fix, path=key[0]))


def accepted(root: Path, against: str) -> str:
    """Return which commit that `against` lacks accepts a worse metric, and why; '' if none does.

    Raise UnknownError if Git does not know these commits.
    """
    _require_history(root, against)
    form = f"%h %(trailers:key={TRAILER},valueonly,unfold,separator=%x20)"
    log = git_text(root, "log", f"--format={form}", f"{against}..HEAD", "--")
    found = (line.partition(" ") for line in log.splitlines())
    return next((f"commit {commit} accepts it: {why.strip()}" for commit, _, why in found if why.strip()), "")


def _require_history(root: Path, against: str) -> None:
    """Raise UnknownError if Git does not know which commits are of the change, as in a shallow clone."""

    def commits(*options: str) -> set[str]:
        return set(git_text(root, "rev-list", *options, "--").split())

    def ends(revisions: str) -> set[str]:
        return commits("--max-parents=0", revisions)

    shallow = is_shallow(root)
    if commits("HEAD").isdisjoint(commits(against)):
        problem = f"HEAD and {against} have no common commit"
    elif not shallow:
        return
    else:
        # A commit may be of the other branch by a way that is cut off. It is not if no way is cut off since the two
        # parted, and each commit from which the change was made comes after all places where the clone ends.
        parted = [name[1:] for name in commits("--boundary", f"{against}..HEAD") if name.startswith("-")]
        if not ends(f"{against}...HEAD") and all(ends(name) == ends("HEAD") for name in parted):
            return
        problem = f"it ends too early to tell which commits {against} lacks"
    if not shallow:
        raise UnknownError("the history", problem, hint="Name a commit that this branch was made from.")
    hint = "Run `git fetch --unshallow origin`; in a workflow give actions/checkout `fetch-depth: 0`."
    raise UnknownError("the history", f"this clone is shallow, and {problem}", hint=hint)
