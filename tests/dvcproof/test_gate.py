"""gate: a metric that is worse than in another commit is an error, unless a commit accepts it."""

import json
import re
import shutil
from pathlib import Path

import pytest

from dvcproof.findings import CANNOT_TELL, FOUND, HOLDS, Report, UnknownError
from dvcproof.gate import gate
from dvcproof.git import GitError, git
from dvcproof.project import Project
from dvcproof.runtime.program import InputError
from tests.support.project import commit, run_ok
from tests.support.team import make

GRAPH = """
stages:
  score:
    cmd: cp values.json scores.json; cp values.json cached.json
    deps: [values.json]
    metrics: [scores.json: {cache: false}, cached.json]
"""
VALUES = {"test": {"accuracy": 0.9, "loss": 0.2, "note": "x", "good": True, "parts": {"a": 3}}}


def set_values(path: Path, **values: object) -> None:
    """Write the metrics VALUES with these changes, and run the stage."""
    test = {name: value for name, value in (VALUES["test"] | values).items() if value is not None}
    (path / "values.json").write_text(json.dumps({"test": test}), encoding="utf-8")
    run_ok("dvc", "repro", "--quiet", cwd=path)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project on its branch main, and a branch on which the metrics are worse, not committed."""
    files = {"dvc.yaml": GRAPH, "values.json": json.dumps(VALUES)}
    path = make(tmp_path_factory.mktemp("gate") / "project", files)
    run_ok("git", "checkout", "--quiet", "-b", "change", cwd=path)
    set_values(path, accuracy=0.88, loss=0.3)
    return path


@pytest.fixture
def project(built: Path, tmp_path: Path) -> Path:
    return shutil.copytree(built, tmp_path / "project", symlinks=True)


def judged(path: Path, against: str = "main", **options: object) -> Report:
    with Project.open(path) as project:
        return gate(project, against=against, **options)  # type: ignore[arg-type]


def found(report: Report) -> list[str]:
    """Return the metrics that are errors."""
    return [one.message.split()[1] for one in report.findings if one.level == "error"]


def test_what_is_worse_is_found_in_every_file(project: Path) -> None:
    report = judged(project)
    worse = [f"{file}:test.{name}" for file in ("cached.json", "scores.json") for name in ("accuracy", "loss")]
    assert (report.status(), found(report)) == (FOUND, worse)
    assert {row[3] for row in report.table if row[0].endswith("parts.a")} == {"equal"}
    assert len(report.table) == 7  # neither strings nor Booleans are metrics
    text = str(report.findings[0])
    assert "cached.json:test.accuracy is 0.88, and was 0.9: higher is better, and it may be worse by at most 0" in text


def test_one_metric_and_what_is_allowed(project: Path) -> None:
    accuracy, loss, part = (f"scores.json:test.{name}" for name in ("accuracy", "loss", "parts.a"))
    assert found(judged(project, metrics=[accuracy])) == [accuracy]
    assert judged(project, metrics=[accuracy], worse_by=0.03).status() == HOLDS
    assert found(judged(project, metrics=[accuracy, loss], worse_by=0.03)) == [loss]
    assert judged(project, metrics=[accuracy, part], lower=True).status() == HOLDS
    with pytest.raises(InputError, match=r"--metric scores\.json:x: there is no such number .* Known metrics: cached"):
        judged(project, metrics=["scores.json:x"])
    with pytest.raises(InputError, match=r"--worse-by: expected at least 0"):
        judged(project, worse_by=float("nan"))


def test_a_metric_that_is_gone_or_no_number_is_worse(project: Path) -> None:
    set_values(project, accuracy=None, loss=float("nan"), more=1)
    report = judged(project)
    assert {one.rule for one in report.findings} == {"DP801", "DP802"}
    assert found(report)[:2] == ["cached.json:test.accuracy", "cached.json:test.loss"]


def test_a_commit_accepts_it(project: Path) -> None:
    run_ok("git", "commit", "--quiet", "--all", "-m", "worse\n\nAccept-worse-model:", cwd=project)
    assert judged(project).status() == FOUND  # the commit gives no reason
    run_ok("git", "commit", "--quiet", "--allow-empty", "-m", "yes", "-m", "Accept-worse-model: smaller", cwd=project)
    report = judged(project)
    assert report.status() == HOLDS
    assert {one.level for one in report.findings} == {"note"}
    assert all("accepts it: smaller" in one.message for one in report.findings)


def test_a_way_that_is_cut_off_accepts_nothing(project: Path, tmp_path: Path) -> None:
    """A clone has an old common commit and lacks the newer one, whose trailer is of main. A shallower one has none."""
    run_ok("git", "stash", "--quiet", cwd=project)
    run_ok("git", "checkout", "--quiet", "-b", "side", cwd=project)
    run_ok("git", "commit", "--quiet", "--allow-empty", "-m", "beside", cwd=project)
    run_ok("git", "checkout", "--quiet", "change", cwd=project)
    message = ("-m", "long ago", "-m", "Accept-worse-model: long ago")
    run_ok("git", "commit", "--quiet", "--allow-empty", *message, cwd=project)
    run_ok("git", "branch", "--force", "main", cwd=project)
    run_ok("git", "stash", "pop", "--quiet", cwd=project)
    commit(project, "worse")
    run_ok("git", "checkout", "--quiet", "main", cwd=project)
    for number in range(4):
        run_ok("git", "commit", "--quiet", "--allow-empty", "-m", f"{number}", cwd=project)
    run_ok("git", "merge", "--quiet", "--no-ff", "-m", "meet", "side", cwd=project)
    url, path, shallow = project.as_uri(), tmp_path / "cut", tmp_path / "shallow"
    options = ("--quiet", "--depth", "1", "--no-single-branch", "--branch", "change")
    run_ok("git", "clone", *options, url, str(shallow), cwd=tmp_path)
    with pytest.raises(UnknownError, match=r"this clone is shallow, .* Run `git fetch --unshallow origin`") as error:
        judged(shallow, "origin/main")
    assert error.value.status == CANNOT_TELL
    run_ok("git", "clone", "--quiet", "--depth", "3", "--branch", "main", url, str(path), cwd=tmp_path)
    run_ok("git", "fetch", "--quiet", "--depth", "9", "origin", "change:change", cwd=path)
    run_ok("git", "checkout", "--quiet", "change", cwd=path)
    assert run_ok("git", "merge-base", "HEAD", "origin/main", cwd=path)
    with pytest.raises(UnknownError, match="this clone is shallow, and it ends too early to tell"):
        judged(path, "origin/main", metrics=["scores.json:test.accuracy"])
    run_ok("git", "fetch", "--quiet", "--unshallow", "origin", cwd=path)
    assert judged(path, "origin/main", metrics=["scores.json:test.accuracy"]).status() == FOUND


@pytest.mark.parametrize("missing", ["blob:none", "tree:0"])
def test_a_clone_without_the_files_of_the_other_commit_is_refused(project: Path, tmp_path: Path, missing: str) -> None:
    """DVC would wait for a blob for ever, and end with a traceback without a tree."""
    commit(project, "worse")
    run_ok("git", "config", "uploadpack.allowFilter", "true", cwd=project)
    run_ok("git", "clone", "--quiet", f"--filter={missing}", project.as_uri(), "partial", cwd=tmp_path)
    path = tmp_path / "partial"
    with pytest.raises(UnknownError, match="this partial clone lacks files of it") as error:
        judged(path, "origin/main")
    with pytest.raises(GitError, match="It may be a partial clone"):
        git(tmp_path, "clone", "--quiet", "--no-local", str(path), "again")  # as verify makes its clone
    (remedy,) = re.findall(r"Run `(.+)`\.", str(error.value))
    run_ok("sh", "-c", remedy, cwd=path)
    metric = "scores.json:test.accuracy"
    assert found(judged(path, "origin/main", metrics=[metric])) == [metric]


def test_what_cannot_be_compared_is_not_passed(project: Path) -> None:
    with pytest.raises(InputError, match=r"--against nowhere: there is no such commit here\."):
        judged(project, "nowhere")
    set_values(project)
    shutil.rmtree(project / ".dvc" / "cache")
    report = judged(project)  # the cached metrics of main are in no cache
    assert report.status() == CANNOT_TELL
    assert any("cached.json of main cannot be read" in reason for reason in report.unknown)
    (project / "dvc.yaml").write_text("stages: {}\n", encoding="utf-8")
    commit(project, "nothing")
    assert judged(project, "HEAD").unknown == ["HEAD has no metric to compare with"]
