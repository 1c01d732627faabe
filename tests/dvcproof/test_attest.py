"""attest: the statement holds the result of a proof, also of a failed proof."""

import hashlib
import json
import platform
from pathlib import Path
from typing import Any

import pytest

from dvcproof.attest import attest
from dvcproof.findings import FOUND, HOLDS, Report
from dvcproof.project import Project
from dvcproof.runtime.machine import kind
from dvcproof.runtime.program import InputError
from dvcproof.version import VERSION
from tests.support.project import commit, run_ok, run_pipeline

GRAPH = """
stages:
  one:
    cmd: sort data.csv > one.txt && mkdir -p two/deep && cp data.csv two/deep/a.csv
    deps: [data.csv]
    outs: [one.txt, two]
"""


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    return run_pipeline(tmp_path / "toy", {"dvc.yaml": GRAPH, "data.csv": "b\na\n"})


def attested(path: Path, **options: Any) -> tuple[Report, Any]:
    """Return the report and the statement."""
    out = path.with_name("statement.json")
    with Project.open(path) as project:
        report = attest(project, out=out, **options)
    return report, json.loads(out.read_text(encoding="utf-8"))


@pytest.mark.slow
def test_what_is_proved_stands_in_the_statement(toy: Path) -> None:
    lock = toy.with_name("packages.lock")
    lock.write_text("pytest==" + pytest.__version__ + "\n", encoding="utf-8")
    report, statement = attested(toy, packages=lock)
    assert report.status() == HOLDS, report
    head = run_ok("git", "rev-parse", "HEAD", cwd=toy).strip()
    predicate = statement["predicate"]
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    passed = {"result": "PASSED", "passedTests": ["check", "verify"], "warnedTests": [], "failedTests": []}
    assert passed.items() <= predicate.items()
    assert predicate["commit"] == predicate["configuration"][0]["digest"]["gitCommit"] == head
    assert [one["name"] for one in predicate["configuration"][1:]] == ["dvc.lock", "dvc.yaml"]
    assert predicate["tool"] == {"name": "dvcproof", "version": VERSION}
    assert (predicate["machine"]["kind"], predicate["machine"]["python"]) == (kind(), platform.python_version())
    assert predicate["packages"] == {"pytest": [pytest.__version__]}
    assert [one["status"] for one in predicate["verbs"]] == [0, 0]
    digests = {one["name"]: one["digest"] for one in statement["subject"]}
    assert sorted(digests) == ["one.txt", "two/deep/a.csv"]
    for name, digest in digests.items():
        content = (toy / name).read_bytes()
        assert digest["sha256"] == hashlib.sha256(content).hexdigest()
        assert digest["md5"] == hashlib.md5(content).hexdigest()  # noqa: S324 # DVC's


@pytest.mark.slow
def test_what_does_not_hold_is_written_down_too(toy: Path) -> None:
    """Outputs that are not here have the hashes of DVC."""
    (toy / "dvc.yaml").write_text(GRAPH.replace("sort data", "sort -r data"), encoding="utf-8")
    commit(toy, "not run")
    run_ok("rm", "-r", "one.txt", "two", cwd=toy)
    report, statement = attested(toy)
    assert report.status() == FOUND
    predicate = statement["predicate"]
    assert (predicate["result"], predicate["failedTests"]) == ("FAILED", ["check", "verify"])
    assert [one["status"] for one in predicate["verbs"]] == [FOUND, FOUND]
    assert [sorted(one["digest"]) for one in statement["subject"]] == [["md5"], ["dvc-dir-md5"]]
    assert predicate["packages"] == {}


def test_nothing_is_said_of_a_commit_from_other_files(toy: Path) -> None:
    (toy / "new.txt").touch()  # an untracked file
    (toy / "data.csv").write_text("c\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"the work tree: data\.csv differs from the last commit, .*\. Commit"):
        attested(toy)
    assert not toy.with_name("statement.json").exists()
    run_ok("git", "checkout", "--quiet", ".", cwd=toy)
    (toy / "dvc.lock").unlink()
    commit(toy, "no record")
    with pytest.raises(InputError, match=r"the project: no output is recorded"):
        attested(toy)
