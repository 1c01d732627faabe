"""dvcproof.verify, in addition to test_cases.py: its evidence, its options, missing data and full disks."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dvcproof.findings import FOUND, HOLDS, STAGE_FAILED, USAGE, Report
from dvcproof.project import Project
from dvcproof.runtime.program import InputError
from dvcproof.verify import verify
from tests.support.namespace import has_namespaces, in_namespace
from tests.support.project import ROOT, commit, run_ok
from tests.support.verifying import fails, passes, write_toy

GRAPH = """
stages:
  one:
    cmd: {one}
    deps: [data.csv, a.txt]
    outs: [one.txt]
  two:
    cmd: sort one.txt > two/sorted.txt
    deps: [one.txt]
    outs: [two]
"""


def make(path: Path, one: str = "cat data.csv a.txt > one.txt", more: str = "") -> Path:
    """Make a project of two stages, the first with this command; it is run and committed."""
    path.mkdir(parents=True)
    graph = GRAPH.format(one=json.dumps(one)).replace("sort one", "mkdir -p two && sort one")
    (path / "dvc.yaml").write_text(graph + more, encoding="utf-8")
    (path / "data.csv").write_text("b\na\n", encoding="utf-8")
    (path / "a.txt").write_text("c\n", encoding="utf-8")
    run_ok("git", "init", "--quiet", cwd=path)
    run_ok("dvc", "init", "--quiet", cwd=path)
    run_ok("dvc", "add", "--quiet", "data.csv", cwd=path)
    run_ok("dvc", "repro", "--quiet", cwd=path)
    commit(path, "run")
    return path


def verified(path: Path, *stages: str, **options: object) -> Report:
    with Project.open(path) as project:
        return verify(project, stages=stages, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("good") / "project")


@pytest.fixture
def toy(good: Path, tmp_path: Path) -> Path:
    return shutil.copytree(good, tmp_path / "toy", symlinks=True)


def test_a_commit_that_gives_its_own_bytes(toy: Path, tmp_path: Path) -> None:
    (toy / "untracked.txt").touch()  # an untracked file is not in the clone
    report = verified(toy, keep=tmp_path / "kept")
    assert report.status() == HOLDS, report
    assert [row[:3] for row in report.table[1:]] == [("one", "yes", "equal"), ("two", "yes", "equal")]
    assert (tmp_path / "kept" / "clone" / "two" / "sorted.txt").read_text() == "a\nb\nc\n"
    assert run_ok("git", "status", "--porcelain", cwd=toy) == "?? untracked.txt\n"
    with pytest.raises(InputError, match=r"--keep .*: this folder exists already\. Name a new one\."):
        verified(toy, keep=tmp_path / "kept")


def test_data_that_is_nowhere_leaves_it_open(toy: Path) -> None:
    shutil.rmtree(toy / ".dvc" / "cache")
    (toy / "data.csv").unlink()
    report = verified(toy)
    assert report.unknown == ["data.csv is in neither cache nor work tree: run `dvc fetch`"]
    assert report.status() != HOLDS


def test_data_that_only_the_work_tree_has(toy: Path) -> None:
    shutil.rmtree(toy / ".dvc" / "cache")
    assert verified(toy, "one").status() == HOLDS


@pytest.mark.parametrize("here", [True, False])
def test_a_record_that_was_made_up(toy: Path, *, here: bool) -> None:
    """The evidence takes the committed version from the working tree or from the cache."""
    (toy / "one.txt").unlink()
    (toy / "one.txt").write_text("far better\n", encoding="utf-8")
    run_ok("dvc", "commit", "--quiet", "--force", "one", cwd=toy)
    commit(toy, "made up")
    if not here:
        (toy / "one.txt").unlink()
    report = verified(toy)
    (finding,) = (one for one in report.findings if one.stage == "one")
    assert finding.message.endswith("though two runs give equal bytes: dvc.lock records other inputs or circumstances")
    assert finding.evidence == "line 1: far better recorded, b re-run"


def test_a_stage_that_fails_shows_its_own_words(toy: Path, edit: Callable[[Path, str, str], None]) -> None:
    edit(toy / "dvc.yaml", "sort one.txt", "echo its own words; false; sort none.txt")
    edit(toy / "dvc.yaml", "mkdir -p two && ", "")
    commit(toy, "fails")
    report = verified(toy)
    assert report.status() == STAGE_FAILED
    (finding,) = (one for one in report.findings if one.rule == "DP703")
    assert finding.stage == "two"
    assert "its own words" in finding.evidence
    assert [row[1] for row in report.table[1:]] == ["yes", "no"]


def test_time_is_limited(tmp_path: Path) -> None:
    project = make(tmp_path / "project")
    graph = (project / "dvc.yaml").read_text(encoding="utf-8")
    (project / "dvc.yaml").write_text(graph.replace("cat data.csv", "sleep 60; cat data.csv"), encoding="utf-8")
    commit(project, "slow")
    report = verified(project, timeout=8)
    assert report.status() == STAGE_FAILED
    assert "the time limit was reached" in {one.message for one in report.findings}


@pytest.mark.slow
@pytest.mark.skipif(not has_namespaces(), reason="only with a mount namespace can a disk be made small")
@pytest.mark.parametrize(("kib", "status"), [(600, USAGE), (3000, STAGE_FAILED)])
def test_a_temporary_folder_that_is_too_small(tmp_path: Path, kib: int, status: int) -> None:
    """The report blames the disk, not the commit."""
    toy, small = make(tmp_path / "toy"), tmp_path / "small"
    (toy / "large").write_bytes(os.urandom(700_000))
    graph = (toy / "dvc.yaml").read_text(encoding="utf-8")
    (toy / "dvc.yaml").write_text(graph.replace("cat data.csv", "head -c 3000000 /dev/zero > raw.tmp; cat data.csv"))
    commit(toy, "large")
    small.mkdir()
    command = f"mount -t tmpfs -o size={kib}k tmpfs '{small}' && exec python -m dvcproof verify"
    result = in_namespace(command, cwd=toy, env={"TMPDIR": str(small), "PYTHONPATH": str(ROOT)})
    assert result.returncode == status, result
    said = result.stdout + result.stderr
    assert "No space left on device" in said
    assert "Name a folder on a larger disk with `TMPDIR=/var/tmp`, or with `--keep DIR`" in said


@pytest.mark.slow
def test_another_machine_is_judged_by_the_metric(tmp_path: Path) -> None:
    """This applies only if the project has [tool.dvcproof.tolerance] in its pyproject.toml."""
    toy = write_toy(tmp_path / "toy")
    assert "equal" in passes(toy, "--only", "verify", env={"BECAUSE": "no-AVX2"})
    said = passes(toy, "--only", "verify", env={"SHIFT": "0.01", "BECAUSE": "no-AVX2"})
    assert "this machine may give other bits in evaluate, train: no-AVX2" in said
    assert "test.accuracy 0.9100 against 0.9000, within +- 0.0632 (4 standard deviations over 5 seeds)" in said
    said = fails(toy, "--only", "verify", env={"SHIFT": "0.07", "BECAUSE": "no-AVX2"})
    assert "test.accuracy of the re-run: expected 0.9000 +- 0.0632" in said
    assert "output model.npy is not the committed one" in fails(toy, "--only", "verify", env={"SHIFT": "1"})


@pytest.mark.parametrize(("name", "status"), [("one.txt", HOLDS), ("other.txt", FOUND)])
def test_an_output_that_may_vary_is_a_note(tmp_path: Path, name: str, status: int) -> None:
    path = make(tmp_path / "project", "date +%N > one.txt")
    graph = (path / "dvc.yaml").read_text(encoding="utf-8")
    meta = f"    meta: {{dvcproof: {{varies: {{{name}: it is the time}}}}}}\n  two:"
    (path / "dvc.yaml").write_text(graph.replace("  two:", meta, 1), encoding="utf-8")
    commit(path, "it varies")
    report = verified(path, "one")
    assert report.status() == status
    assert ("output one.txt is not the committed one, as dvc.yaml says: it is the time" in str(report.findings[0])) == (
        status == HOLDS
    )
