"""check: a project that is fresh passes; each single edit of it is found, by its rule and its words."""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from dvcproof.check import check
from dvcproof.findings import FOUND, HOLDS, Report, show
from dvcproof.project import Project
from dvcproof.runtime.program import InputError
from tests.support.project import commit, run_ok

FILES = {
    "dvc.yaml": """
stages:
  split:
    cmd: head -n 2 data/raw.csv > train.csv && tail -n 2 data/raw.csv > test.csv
    deps: [data/raw.csv]
    params: [split.ratio]
    outs: [train.csv, test.csv]
  word:
    foreach: [one, two]
    do:
      cmd: mkdir -p words && echo ${item} > words/${item}.txt
      deps: [conf/a.toml]
      params:
      - conf/a.toml: [train.rate]
      - conf/c.py: [SEED, NAMES]
      outs: ['words/${item}.txt']
  frozen:
    cmd: date > date.txt
    deps: [conf/a.toml]
    outs: [date.txt]
    frozen: true
""",
    "score/dvc.yaml": """
stages:
  score:
    cmd: cat ../train.csv ../words/*.txt | wc -l > ../score.json
    wdir: .
    deps: [../train.csv, ../words]
    params:
    - ../conf/b.json:
    metrics:
    - ../score.json:
        cache: false
""",
    "params.yaml": "split: {ratio: 1, other: 2}\n",
    "conf/a.toml": "[train]\nrate = 0.1\n",
    "conf/b.json": '{"x": {"y": [1, 2]}}',
    "conf/c.py": "SEED = 3\nNAMES = ('a', 'b')\n",
    "data/raw.csv": "a\nb\nc\nd\n",
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with two dvc.yaml, two dvc.lock, a .dvc file and parameters in four forms; run and committed."""
    path = tmp_path_factory.mktemp("check") / "project"
    for name, text in FILES.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text.lstrip("\n"), encoding="utf-8")
    run_ok("git", "init", "--quiet", cwd=path)
    run_ok("dvc", "init", "--quiet", cwd=path)
    run_ok("dvc", "add", "--quiet", "data/raw.csv", cwd=path)
    graph = (path / "dvc.yaml").read_text(encoding="utf-8")
    (path / "dvc.yaml").write_text(graph.replace("    frozen: true\n", ""), encoding="utf-8")
    run_ok("dvc", "repro", "--quiet", "--all-pipelines", cwd=path)
    (path / "dvc.yaml").write_text(graph, encoding="utf-8")
    commit(path, "run")
    return path


@pytest.fixture
def project(built: Path, tmp_path: Path) -> Path:
    return shutil.copytree(built, tmp_path / "project", symlinks=True)


def checked(path: Path, *stages: str) -> Report:
    with Project.open(path) as project:
        return check(project, stages=stages)


def write(path: str, old: str, new: str) -> Callable[[Path], None]:
    def edit(root: Path) -> None:
        text = (root / path).read_text(encoding="utf-8")
        assert old in text
        (root / path).write_text(text.replace(old, new, 1), encoding="utf-8")

    return edit


def overwrite(path: str, text: str) -> Callable[[Path], None]:
    def edit(root: Path) -> None:
        (root / path).chmod(0o644)
        (root / path).unlink()
        (root / path).write_text(text, encoding="utf-8")

    return edit


def record(change: Callable[[Any], object], lock: str = "dvc.lock") -> Callable[[Path], None]:
    def edit(root: Path) -> None:
        document = yaml.safe_load((root / lock).read_text(encoding="utf-8"))
        change(document["stages"])
        (root / lock).write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")

    return edit


def test_a_fresh_project_passes_and_nothing_is_written(project: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in project.rglob("*")}
    report = checked(project)
    assert [str(one) for one in report.findings if one.level != "note"] == []
    assert report.status() == HOLDS
    assert report.summary == "5 stages of 2 dvc.yaml compared with their records"
    assert {path: path.stat().st_mtime_ns for path in project.rglob("*") if ".dvc/tmp" not in str(path)} == {
        path: time for path, time in before.items() if ".dvc/tmp" not in str(path)
    }


@pytest.mark.parametrize(
    "gone",
    [
        ["train.csv"],
        ["words"],
        ["words/two.txt"],
        ["words/one.txt", "words/two.txt"],
        ["train.csv", "test.csv", "words", "data/raw.csv"],
    ],
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


EDITS: dict[str, tuple[Callable[[Path], Any], str, str]] = {
    "command": (write("dvc.yaml", "head -n 2", "head -n 3"), "DP103", "the command is not the recorded one"),
    "parameter, yaml": (write("params.yaml", "ratio: 1", "ratio: 3"), "DP105", "split.ratio in params.yaml is not"),
    "parameter, toml": (write("conf/a.toml", "0.1", "0.2"), "DP105", "train.rate in conf/a.toml is not"),
    "parameter, json": (write("conf/b.json", "[1, 2]", "[1, 3]"), "DP105", "in ../conf/b.json is not"),
    "parameter, py": (write("conf/c.py", "SEED = 3", "SEED = 4"), "DP105", "SEED in conf/c.py is not"),
    "parameter gone": (write("params.yaml", "ratio: 1, ", ""), "DP109", "Parameters 'split.ratio' are missing from"),
    "type": (write("params.yaml", "ratio: 1,", "ratio: 1.0,"), "DP105", "has another type than in dvc.lock"),
    "dependency": (write("conf/a.toml", "rate", "# a comment\nrate"), "DP104", "dependency conf/a.toml is not"),
    "data": (overwrite("data/raw.csv", "x\n"), "DP110", "data/raw.csv is not the data that data/raw.csv.dvc records"),
    "output": (overwrite("test.csv", "x\n"), "DP106", "output test.csv is not the recorded one"),
    "output in Git": (overwrite("score.json", "9\n"), "DP106", "output ../score.json is not the recorded one"),
    "output in Git, gone": (lambda root: (root / "score.json").unlink(), "DP106", "../score.json is not here"),
    "new stage": (write("dvc.yaml", "[one, two]", "[one, two, three]"), "DP101", "no record in dvc.lock"),
    "orphan": (write("dvc.yaml", "[one, two]", "[one]"), "DP102", "the record of stage 'word@two' belongs to no"),
    "dropped": (
        write("dvc.yaml", "outs: [train.csv, test.csv]", "outs: [train.csv]"),
        "DP108",
        "test.csv, which dvc.y",
    ),
    "added": (
        write("dvc.yaml", "    deps: [data/raw.csv]", "    deps: [data/raw.csv, conf/a.toml]"),
        "DP108",
        "conf/a.toml",
    ),
    "edited hash": (record(lambda stages: stages["split"]["outs"][0].update(md5="0" * 32)), "DP106", "is not the rec"),
    "edited size": (record(lambda stages: stages["split"]["outs"][0].update(size=1)), "DP106", "is not the recorded"),
    "contradiction": (
        record(lambda stages: stages["score"]["deps"][0].update(md5="1" * 32), "score/dvc.lock"),
        "DP107",
        "is recorded with another content than by stage 'split', which makes it",
    ),
    "no lock": (lambda root: (root / "score" / "dvc.lock").unlink(), "DP101", "no record in dvc.lock"),
    "lock of no stages": (overwrite("dvc.lock", "schema: '2.0'\n"), "DP101", "no record in dvc.lock"),
    "cut short": (overwrite("dvc.lock", "schema: '2.0'\nstages:\n  split: {"), "DP109", "it is not YAML"),
    "conflict": (write("score/dvc.lock", "schema", "<<<<<<< HEAD\nschema"), "DP109", "conflict markers"),
    "not in Git": (
        lambda root: run_ok("git", "rm", "--quiet", "--cached", "conf/a.toml", cwd=root),
        "DP402",
        "conf/a.toml is neither in Git nor made by a stage",
    ),
}


@pytest.mark.parametrize("name", EDITS)
def test_each_edit_is_found(project: Path, name: str) -> None:
    edit, rule, words = EDITS[name]
    edit(project)
    report = checked(project)
    found = [one for one in report.findings if one.rule == rule and words in one.message]
    assert found, [str(one) for one in report.findings]
    assert report.status() == (HOLDS if name == "type" else FOUND)
    assert (
        name in ("output", "output in Git")
        or not any(one.rule == "DP106" for one in report.findings)
        or rule == "DP106"
    )


@pytest.mark.parametrize("edit", [write("conf/a.toml", "rate = 0.1", "rate = 0.1\nother = 1")])
def test_a_frozen_stage_is_not_stale(project: Path, edit: Callable[[Path], None]) -> None:
    edit(project)
    assert "frozen" not in {one.stage for one in checked(project).findings if one.level == "error"}


def test_only_the_named_stages_are_looked_at(project: Path) -> None:
    EDITS["parameter, yaml"][0](project)
    assert checked(project, "score/dvc.yaml:score").status() == HOLDS
    assert checked(project, "word").status() == HOLDS
    assert checked(project, "split").status() == FOUND
    with pytest.raises(InputError, match=r"stage none: there is none of this name\. Run `dvc stage list --all`\."):
        checked(project, "none")


def test_other_packages_than_the_locks(project: Path) -> None:
    """Every package counts, those with a marker that holds here among them."""

    def packages(text: str) -> list[str]:
        (project / "requirements.lock").write_text(text, encoding="utf-8")
        with Project.open(project) as opened:
            found = check(opened, packages=project / "requirements.lock").findings
        return [one.message for one in found if one.rule == "DP111"]

    (message,) = packages("numpy==0.1 \\\npydantic==0.1\n")
    assert re.search(r"package numpy, and of 1 more for .*: expected 0.1, as in .* Got \d", message)
    (message,) = packages("no-such-package==1.0 ; python_version > '3' \\\n")
    assert re.search("package no-such-package for .*: expected 1.0, .* Got none", message)
    assert packages("no-such-package==1.0 ; python_version < '3' \\\n") == []


LINTS = {
    "script": ("python go.py && true", "DP401", "the command names go.py"),
    "module": ("python -m package.go", "DP401", "the command names package/go.py"),
    "pipe": ("cat a | sort", "DP404", "the command has a pipe"),
    "home": ("cat /home/me/x", "DP405", "a path of one user"),
}


@pytest.mark.parametrize("name", LINTS)
@pytest.mark.parametrize("mended", [False, True])
def test_what_dvc_yaml_alone_says(tmp_path: Path, name: str, *, mended: bool) -> None:
    command, rule, words = LINTS[name]
    if mended:
        command = {"pipe": "bash -o pipefail -c 'cat a | sort'", "home": "cat x"}.get(name, command)
    deps = "[a, go.py, package]" if mended else "[a]"
    for file in ("a", "go.py", "package/go.py"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    (tmp_path / "dvc.yaml").write_text(f'stages:\n  s:\n    cmd: "{command}"\n    deps: {deps}\n')
    run_ok("git", "init", "--quiet", cwd=tmp_path)
    run_ok("dvc", "init", "--quiet", cwd=tmp_path)
    run_ok("git", "add", "--all", cwd=tmp_path)
    found = [one for one in checked(tmp_path).findings if one.rule == rule and words in one.message]
    assert bool(found) != mended
    assert all((one.file, one.line) == ("dvc.yaml", 2) for one in found)


def test_without_git(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    (tmp_path / "dvc.yaml").write_text("stages:\n  s:\n    cmd: cp a b\n    deps: [a]\n    outs: [b]\n")
    run_ok("dvc", "init", "--quiet", "--no-scm", cwd=tmp_path)
    run_ok("dvc", "repro", "--quiet", cwd=tmp_path)
    assert checked(tmp_path).status() == HOLDS
    with pytest.raises(InputError, match="DVC cannot read the project"):
        checked(Path(tmp_path.anchor))
    (tmp_path / "dvc.yaml").write_text("stages:\n<<<<<<< HEAD\n")
    with pytest.raises(InputError, match=r"dvc\.yaml: expected a finished merge"):
        checked(tmp_path)


@pytest.mark.parametrize("form", ["text", "json", "github", "markdown"])
def test_findings_are_printed_for_people_and_programs(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, form: str
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary"))
    EDITS["parameter, yaml"][0](project)
    report = checked(project, "split")
    show(report, form)
    printed = capsys.readouterr().out
    if form == "text":
        assert printed.startswith(
            "error: dvc.yaml:2 split: parameter split.ratio in params.yaml is not the recorded one."
        )
        assert "\n    recorded: 1\n    here:     3\n" in printed
        assert printed.endswith("check: 1 stages of 2 dvc.yaml compared with their records: 1 error\n")
    if form == "json":
        (finding,) = json.loads(printed)["findings"]
        assert (finding["rule"], finding["file"], finding["line"]) == ("DP105", "dvc.yaml", 2)
    if form == "github":
        assert printed.startswith("::error file=dvc.yaml,line=2,title=DP105::split: parameter split.ratio in params.")
        assert "| error | split |" in (tmp_path / "summary").read_text(encoding="utf-8")
    if form == "markdown":
        assert "| error | split | parameter split.ratio" in printed


@pytest.mark.slow
def test_a_thousand_stages_take_seconds(tmp_path: Path) -> None:
    run_ok("git", "init", "--quiet", cwd=tmp_path)
    run_ok("dvc", "init", "--quiet", cwd=tmp_path)
    items = ", ".join(map(str, range(1347)))
    graph = f"stages:\n  s:\n    foreach: [{items}]\n    do:\n      cmd: echo ${{item}}\n      deps: [a]\n"
    (tmp_path / "dvc.yaml").write_text(graph)
    (tmp_path / "a").touch()
    run_ok("git", "add", "a", cwd=tmp_path)
    empty = "path: a\n      hash: md5\n      md5: d41d8cd98f00b204e9800998ecf8427e\n      size: 0\n"
    entry = f"    cmd: echo {{0}}\n    deps:\n    - {empty}"
    stages = "".join(f"  s@{number}:\n{entry.format(number)}" for number in range(1347))
    (tmp_path / "dvc.lock").write_text(f"schema: '2.0'\nstages:\n{stages}")
    before = os.times()
    assert checked(tmp_path).status() == HOLDS
    assert os.times().user - before.user < 60
