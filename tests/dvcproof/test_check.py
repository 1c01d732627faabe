"""dvcproof.check, in addition to test_cases.py: projects without findings, options and forms of output."""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dvcproof.check import check
from dvcproof.findings import FOUND, HOLDS, Report, show
from dvcproof.project import Project
from dvcproof.runtime.program import InputError
from tests.support.project import commit
from tests.support.team import make

FILES = {
    "dvc.yaml": """stages:
  split:
    cmd: head -n 2 data/raw.csv > train.csv && tail -n 2 data/raw.csv > test.csv
    deps: [data/raw.csv]
    params: [split.ratio]
    outs: [train.csv, test.csv]
  word:
    foreach: [one, two]
    do:
      cmd: mkdir -p words && echo ${item} > words/${item}.txt
      deps: [a.txt]
      outs: ['words/${item}.txt']
  frozen: {cmd: date > date.txt, deps: [a.txt], outs: [date.txt], frozen: true}
""",
    "score/dvc.yaml": """stages:
  score:
    cmd: cat ../train.csv ../words/*.txt | wc -l > ../score.json
    deps: [../train.csv, ../words]
    metrics: [../score.json: {cache: false}]
""",
    "params.yaml": "split: {ratio: 1, other: 2}\n",
    "a.txt": "a\n",
    "data/raw.csv": "a\nb\nc\nd\n",
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project with two dvc.yaml, two dvc.lock and a .dvc file; run and committed."""
    thawed = FILES | {"dvc.yaml": FILES["dvc.yaml"].replace(", frozen: true", "")}
    path = make(tmp_path_factory.mktemp("check") / "project", thawed, add="data/raw.csv")
    (path / "dvc.yaml").write_text(FILES["dvc.yaml"], encoding="utf-8")
    commit(path, "frozen")
    return path


@pytest.fixture
def project(built: Path, tmp_path: Path) -> Path:
    return shutil.copytree(built, tmp_path / "project", symlinks=True)


def checked(path: Path, *stages: str) -> Report:
    with Project.open(path) as project:
        return check(project, stages=stages)


Edit = Callable[[Path, str, str], None]


def test_a_fresh_project_passes_and_nothing_is_written(project: Path) -> None:
    def times() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in project.rglob("*") if ".dvc/tmp" not in str(path)}

    before = times()
    report = checked(project)
    assert [str(one) for one in report.findings if one.level != "note"] == []
    assert report.status() == HOLDS
    assert report.summary == "5 stages of 2 dvc.yaml compared with their records"
    assert times() == before


@pytest.mark.parametrize(
    "gone",
    [["train.csv", "test.csv", "words", "data/raw.csv"], ["words/two.txt"], ["words/one.txt", "words/two.txt"]],
)
def test_cached_data_need_not_be_here(project: Path, gone: list[str]) -> None:
    for name in gone:
        shutil.rmtree(project / name) if (project / name).is_dir() else (project / name).unlink()
    assert checked(project).status() == HOLDS


@pytest.mark.parametrize(("count", "end"), [(8, "new-7"), (10, "new-7 and 2 more")])
def test_more_than_eight_files_are_counted(project: Path, count: int, end: str) -> None:
    for number in range(count):
        (project / f"new-{number}").touch()
    (note,) = (one for one in checked(project).findings if one.message.startswith("not in the last commit: new-0, "))
    assert note.message.endswith(end)


def test_a_frozen_stage_is_not_stale(project: Path, edit: Edit) -> None:
    edit(project / "a.txt", "a", "b")
    assert "frozen" not in {one.stage for one in checked(project).findings if one.level == "error"}


def test_only_the_named_stages_are_looked_at(project: Path, edit: Edit) -> None:
    edit(project / "params.yaml", "ratio: 1", "ratio: 3")
    assert checked(project, "score/dvc.yaml:score").status() == HOLDS
    assert checked(project, "word").status() == HOLDS
    assert checked(project, "split").status() == FOUND
    with pytest.raises(InputError, match=r"stage none: there is no stage of this name\. Run `dvc stage list --all`\."):
        checked(project, "none")


def test_other_packages_than_the_locks(project: Path) -> None:
    """Every package counts, including those whose marker holds on this machine."""

    def packages(text: str) -> list[str]:
        (project / "requirements.lock").write_text(text, encoding="utf-8")
        with Project.open(project) as opened:
            found = check(opened, packages=project / "requirements.lock").findings
        assert not any("make" in one.fix for one in found)  # this project has no such command
        return [one.message for one in found if one.rule == "DP111"]

    (message,) = packages("numpy==0.1 \\\npydantic==0.1\n")
    assert re.search(r"package numpy and 1 more for .*: expected 0.1, as in .* Got \d", message)
    (message,) = packages("no-such-package==1.0 ; python_version > '3' \\\n")
    assert re.search("package no-such-package for .*: expected 1.0, .* Got none", message)
    assert packages("no-such-package==1.0 ; python_version < '3' \\\n") == []


def test_what_cannot_be_read_is_refused(project: Path) -> None:
    with pytest.raises(InputError, match=r"not inside of a DVC project\. Run it in the folder of a DVC project"):
        checked(Path(project.anchor))
    (project / "dvc.yaml").write_text("stages: 5\n")
    with pytest.raises(InputError, match="DVC cannot read the project"):
        checked(project)
    (project / "dvc.yaml").write_text("stages:\n<<<<<<< HEAD\n")
    with pytest.raises(InputError, match=r"dvc\.yaml: expected a finished merge"):
        checked(project)


def test_findings_are_printed_for_people_and_programs(
    project: Path, edit: Edit, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = project.with_name("summary")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    edit(project / "params.yaml", "ratio: 1", "ratio: 3")
    report = checked(project, "split")

    def printed(form: str) -> str:
        show(report, form)
        return capsys.readouterr().out

    what = "parameter split.ratio in params.yaml is not the recorded one"
    assert printed("text").startswith(f"error: dvc.yaml:2 split: {what}. Run")
    assert "\n    recorded: 1\n    here:     3\n" in printed("text")
    assert printed("text").endswith("check: 1 stages of 2 dvc.yaml compared with their records: 1 error\n")
    (finding,) = json.loads(printed("json"))["findings"]
    assert (finding["rule"], finding["file"], finding["line"]) == ("DP105", "dvc.yaml", 2)
    assert not summary.exists()
    assert printed("github").startswith(f"::error file=dvc.yaml,line=2,title=DP105::split: {what}. Run")
    assert f"| error | split | {what} |" in printed("markdown") == summary.read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_thousand_stages_take_seconds(tmp_path: Path) -> None:
    items = ", ".join(map(str, range(1347)))
    graph = f"stages:\n  s:\n    foreach: [{items}]\n    do:\n      cmd: echo ${{item}}\n      deps: [a]\n"
    path = make(tmp_path / "project", {"dvc.yaml": graph, "a": ""}, run=False)
    empty = "path: a\n      hash: md5\n      md5: d41d8cd98f00b204e9800998ecf8427e\n      size: 0\n"
    entry = f"    cmd: echo {{0}}\n    deps:\n    - {empty}"
    stages = "".join(f"  s@{number}:\n{entry.format(number)}" for number in range(1347))
    (path / "dvc.lock").write_text(f"schema: '2.0'\nstages:\n{stages}")
    before = os.times()
    assert checked(path).status() == HOLDS
    assert os.times().user - before.user < 60
