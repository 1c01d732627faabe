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
from dvcproof.findings import HOLDS, LEVELS, Report
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
        sentence = f"{changed.split()[-1]} differs from the last commit, so no commit can be attested"
        raise InputError("the work tree", sentence, hint="Commit the change, or run `git stash`.")
    pins = {} if packages is None else read_pins(packages)
    found = list(_subjects(project))
    if not found:
        sentence = "no output is recorded, so that there is nothing to attest"
        raise InputError("the project", sentence, hint="Run `dvc repro`, then commit dvc.lock.")
    with Project.open(project.root) as fresh:
        reports = [check(fresh, packages=packages), verify(project, timeout=timeout)]
    graphs = sorted({*(project.root / stage.file for stage in project.stages), *lock_files(project.root)})
    configuration = [{"name": project.name(str(path)), "digest": {"sha256": file_hash(path)}} for path in graphs]
    machine = {"kind": kind(), "processor": cpu_name(), "system": f"{platform.system()} {platform.machine()}"}
    predicate = {
        "configuration": [{"name": "commit", "digest": {"gitCommit": commit}}, *configuration],
        "commit": commit,
        "time": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),  # noqa: UP017 # Python 3.10
        "tool": {"name": "dvcproof", "version": VERSION},
        "dvc": dvc.__version__,
        "machine": machine | {"python": platform.python_version()},
        "packages": {name: sorted(pin.version for pin in several) for name, several in sorted(pins.items())},
        "verbs": [
            {"verb": one.verb, "status": one.status(), "summary": one.summary, "unknown": one.unknown}
            | {"findings": {level: sum(finding.level == level for finding in one.findings) for level in LEVELS}}
            for one in reports
        ],
    }
    statement: dict[str, Any] = {"_type": STATEMENT, "subject": found, "predicateType": PREDICATE}
    statement["predicate"] = _judged(reports) | predicate
    with replacing(out) as (file,):
        file.write_text(json.dumps(statement, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    joined = Report("attest", f"{out}: {len(found)} outputs of commit {commit[:7]}")
    joined.table = [("verb", "status", "result"), *((one.verb, str(one.status()), one.summary) for one in reports)]
    for report in reports:
        joined.findings += report.findings
        joined.unknown += report.unknown
        joined.failed = joined.failed or report.failed
    return joined


def _judged(reports: Sequence[Report]) -> dict[str, Any]:
    """Return the overall result and the verbs that passed, warned or failed. An unknown result counts as failed."""
    verbs: dict[str, list[str]] = {"failed": [], "warned": [], "passed": []}
    for report in reports:
        warns = any(finding.level == "warning" for finding in report.findings)
        verbs["failed" if report.status() != HOLDS else "warned" if warns else "passed"].append(report.verb)
    result = next(name for name, found in verbs.items() if found).upper()
    return {"result": result, **{f"{name}Tests": found for name, found in verbs.items()}}


def _subjects(project: Project) -> Iterator[dict[str, Any]]:
    """Yield the path and digests of each recorded output; for a folder, those of each file in it.

    An output that is present and matches dvc.lock gets MD5 and SHA-256. Any other output gets only DVC's hash from
    dvc.lock; the hash of a folder is the hash of DVC's list of its files.
    """
    for out in (out for stage in project.stages for out in stage.outs):
        recorded = out.digest
        if recorded and out.exists and project.hash(out.raw)[1].value == recorded:
            for path in files_in(Path(out.place)):
                digests = {name: file_hash(path, name) for name in ("md5", "sha256")}
                yield {"name": project.name(str(path)), "digest": digests}
        elif recorded:
            form = "dvc-dir-md5" if recorded.endswith(".dir") else str(out.raw.hash_name or "md5")
            yield {"name": project.name(out.place), "digest": {form: recorded.removesuffix(".dir")}}
