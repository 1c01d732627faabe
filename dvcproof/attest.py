"""Write an in-toto statement about the checks of a commit, as JSON that other tools can sign and store.

https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md
"""

import json
import platform
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import dvc

from dvcproof.check import check
from dvcproof.clone import files_in
from dvcproof.findings import HOLDS, Report
from dvcproof.git import git_text
from dvcproof.lockfile import lock_files
from dvcproof.project import Project
from dvcproof.runtime.files import file_hash, replacing
from dvcproof.runtime.machine import cpu_name, kind
from dvcproof.runtime.packages import read_pins
from dvcproof.runtime.program import InputError
from dvcproof.verify import verify
from dvcproof.version import VERSION

STATEMENT = "https://in-toto.io/Statement/v1"
#: A standard predicate: `result`, `configuration` and the lists of tests. The other fields are dvcproof's own.
PREDICATE = "https://in-toto.io/attestation/test-result/v0.1"


def attest(project: Project, *, out: Path, packages: Path | None = None, timeout: float | None = None) -> Report:
    """Check and verify the last commit, and write a statement of the result, good or bad.

    Args:
        packages: a lock file of pip. The installed packages are compared with this file; the statement lists its pins.

    Raise InputError if there is no commit, a tracked file differs from the commit, or the project has no outputs.
    """
    commit = git_text(project.root, "rev-parse", "--verify", "HEAD").strip()
    if changed := git_text(project.root, "status", "--porcelain", "--untracked-files=no").strip():
        sentence = f"{changed.split()[-1]} differs from the last commit, so that no commit can be attested"
        raise InputError("the work tree", sentence, hint="Commit the change, or run `git stash`.")
    pins = {} if packages is None else read_pins(packages)
    found = list(subjects(project))
    if not found:
        raise InputError(
            "the project",
            "no output is recorded, so that there is nothing to attest",
            hint="Run `dvc repro`, then commit dvc.lock.",
        )
    with Project.open(project.root) as fresh:
        reports = [check(fresh, packages=packages), verify(project, timeout=timeout)]
    statement = {
        "_type": STATEMENT,
        "subject": found,
        "predicateType": PREDICATE,
        "predicate": {
            **_judged(reports),
            "configuration": list(_configuration(project, commit)),
            "commit": commit,
            "time": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),  # noqa: UP017 # Python 3.10
            "tool": {"name": "dvcproof", "version": VERSION},
            "dvc": dvc.__version__,
            "machine": {
                "kind": kind(),
                "processor": cpu_name(),
                "system": f"{platform.system()} {platform.machine()}",
                "python": platform.python_version(),
            },
            "packages": {name: sorted(pin.version for pin in several) for name, several in sorted(pins.items())},
            "verbs": [_result(report) for report in reports],
        },
    }
    with replacing(out) as (file,):
        file.write_text(json.dumps(statement, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return _joined(reports, f"{out}: {len(found)} outputs of commit {commit[:7]}")


def _judged(reports: Sequence[Report]) -> dict[str, Any]:
    """Return the overall result and the verbs that passed, warned or failed. An unknown result counts as failed."""
    failed = [report.verb for report in reports if report.status() != HOLDS]
    warned = [one.verb for one in reports if one.verb not in failed and any(f.level == "warning" for f in one.findings)]
    passed = [report.verb for report in reports if report.verb not in (*failed, *warned)]
    result = "FAILED" if failed else "WARNED" if warned else "PASSED"
    return {"result": result, "passedTests": passed, "warnedTests": warned, "failedTests": failed}


def _configuration(project: Project, commit: str) -> Iterator[dict[str, Any]]:
    """Yield the digests of the checked configuration: the commit, and each dvc.yaml and dvc.lock in it."""
    yield {"name": "commit", "digest": {"gitCommit": commit}}
    graphs = {project.root / stage.file for stage in project.stages}
    for path in sorted({*graphs, *lock_files(project.root)}):
        yield {"name": project.name(str(path)), "digest": {"sha256": digests(path)["sha256"]}}


def _result(report: Report) -> dict[str, Any]:
    levels = [finding.level for finding in report.findings]
    return {
        "verb": report.verb,
        "status": report.status(),
        "summary": report.summary,
        "findings": {level: levels.count(level) for level in ("error", "warning", "note")},
        "unknown": report.unknown,
    }


def subjects(project: Project) -> Iterator[dict[str, Any]]:
    """Yield the path and digests of each recorded output; for a folder, those of each file in it.

    An output that is present and matches dvc.lock gets MD5 and SHA-256. Any other output gets only DVC's hash from
    dvc.lock; the hash of a folder is the hash of DVC's list of its files.
    """
    for stage in project.stages:
        for out in stage.outs:
            recorded = out.digest
            if recorded and out.exists and project.hash(out.raw)[1].value == recorded:
                for path in files_in(Path(out.place)):
                    yield {"name": project.name(str(path)), "digest": digests(path)}
            elif recorded:
                form = "dvc-dir-md5" if recorded.endswith(".dir") else str(out.raw.hash_name or "md5")
                yield {"name": project.name(out.place), "digest": {form: recorded.removesuffix(".dir")}}


def digests(path: Path) -> dict[str, str]:
    """Return the MD5 and SHA-256 of a file as hexadecimal text."""
    return {name: file_hash(path, name) for name in ("md5", "sha256")}


def _joined(reports: Sequence[Report], summary: str) -> Report:
    joined = Report("attest", summary)
    joined.table.append(("verb", "status", "result"))
    for report in reports:
        joined.table.append((report.verb, str(report.status()), report.summary))
        joined.findings += report.findings
        joined.unknown += report.unknown
        joined.failed = joined.failed or report.failed
    return joined
