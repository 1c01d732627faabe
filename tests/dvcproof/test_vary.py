"""dvcproof.vary, in addition to test_cases.py: the effect of each variation, its options and its limits."""

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import yaml

from bench.prover import Case, read_list, surroundings
from dvcproof import circumstances
from dvcproof.alone import Outcome, show_difference
from dvcproof.circumstances import ADVICE, Circumstance, shell_words
from dvcproof.findings import CANNOT_TELL, HOLDS, STAGE_FAILED, Finding, Report
from dvcproof.inquiry import Inquiry
from dvcproof.project import Project
from dvcproof.runtime.program import InputError
from dvcproof.vary import vary
from tests.support.project import commit, environment, run_ok

DEFECTS, TWINS, _ = read_list()


def commands(cases: Sequence[Case]) -> dict[str, str]:
    """Return the command of each case of the kind 'circumstance', by the name of its circumstance."""
    return {case.name.partition("-")[0]: str(case.stages["go"]["cmd"]) for case in cases if case.kind == "circumstance"}


#: For each circumstance, a command that writes the circumstance into o.txt, and the command of its repaired twin.
CIRCUMSTANCES = {name: (one, commands(TWINS)[name]) for name, one in commands(DEFECTS).items() if name in ADVICE}

#: Circumstances that cannot be varied on every machine.
NOT_EVERYWHERE = ("clock", "network", "host", "language", "cores", "processor", "order", "shell")


@pytest.fixture(autouse=True)
def _variables() -> Iterator[None]:
    with mock.patch.dict(os.environ, environment(SHADE="blue"), clear=True):
        yield


def make(path: Path, stages: dict[str, Any], files: dict[str, str] | None = None) -> Path:
    """Make and commit a project. If a stage is only a command, its output goes to a file of the stage's name."""
    path.mkdir(parents=True)
    run_ok("git", "init", "--quiet", "--initial-branch", "main", cwd=path)
    (path / ".dvc").mkdir()
    (path / ".dvc" / "config").touch()
    (path / ".dvc" / ".gitignore").write_text("/config.local\n/tmp\n/cache\n", encoding="utf-8")
    parts = {f"parts/{name}": "" for name in "cadb"}
    for name, text in ({"i.txt": "one\ntwo\n"} | parts | (files or {})).items():
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_text(text, encoding="utf-8")
    written = {name: shown(name, stage) if isinstance(stage, str) else stage for name, stage in stages.items()}
    (path / "dvc.yaml").write_text(yaml.safe_dump({"stages": written}), encoding="utf-8")
    commit(path, "code")
    return path


def shown(name: str, command: str, **more: Any) -> dict[str, Any]:
    """Return a stage that writes the output of a command to a file of the stage's name."""
    return {"cmd": f"( {command} ) > {name}.txt", "deps": ["i.txt"], "outs": [f"{name}.txt"]} | more


def varied(path: Path, **options: Any) -> Report:
    """Run vary on a project, and return its report."""
    with warnings.catch_warnings(), Project.open(path) as project:
        warnings.simplefilter("ignore", DeprecationWarning)  # from DVC, about its own packages
        return vary(project, **options)


def results(report: Report) -> dict[str, str]:
    """Return the table as a mapping."""
    return {row[0]: row[1] for row in report.table[1:]}


@pytest.fixture(scope="module")
def possible(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Circumstance]:
    """Return the circumstances that can be varied on this machine and in a shell."""
    with mock.patch.dict(os.environ, environment(SHADE="blue"), clear=True):
        found = circumstances.circumstances(tmp_path_factory.mktemp("circumstances"), os.environ, order="")
    assert {one.name for one in found if one.absent} <= set(NOT_EVERYWHERE)
    copied = ("folder", "dates", "order")  # these vary a copy
    return {one.name: one for one in found if not one.absent and one.name not in copied}


def said_by(folder: Path, command: str, varied: Sequence[Circumstance]) -> str:
    """Return the output of a command in a shell with these circumstances varied."""
    return run_ok(*shell_words(varied), "-c", command, cwd=folder)


def written_by(folder: Path, command: str, varied: Sequence[Circumstance]) -> str:
    """Return what a command writes into o.txt in a shell with these circumstances varied."""
    return said_by(folder, f"{command}; cat o.txt", varied)


@pytest.mark.parametrize("name", [name for name in CIRCUMSTANCES if name not in ("folder", "order")])
def test_each_variation_acts_and_its_twin_is_silent(
    name: str, possible: dict[str, Circumstance], tmp_path: Path
) -> None:
    if name not in possible:
        pytest.skip(f"{name} cannot be varied here")
    for command, equal in zip(CIRCUMSTANCES[name], (False, True), strict=True):
        plain = written_by(tmp_path, command, ())
        assert written_by(tmp_path, command, ()) == plain
        assert (written_by(tmp_path, command, [possible[name]]) == plain) == equal


def test_the_hash_seed_is_varied(possible: dict[str, Circumstance], tmp_path: Path) -> None:
    command = "python -c 'print(hash(str(1)))'"
    said = {said_by(tmp_path, command, [possible["hash-seed"]]) for _ in range(2)}
    assert len(said) == 1
    assert said_by(tmp_path, command, ()) not in said


def left_over() -> set[str]:
    """Return the files that dvcproof or faketime left in shared memory."""
    shared = Path("/dev/shm")  # noqa: S108, where both are
    found = {path for path in shared.iterdir() if "dvcproof-vary" in path.name} if shared.is_dir() else set()
    return {path.name for path in [*found, *shared.glob("*faketime_*")]}


BOTH = '[ "$(umask)$TZ" = 0022UTC ] || [ "$(umask)" = 0022 ] || [ "$TZ" = UTC ] || echo both; echo end'

#: Stages that run in one project, with the beginnings of the findings about each. @RUNS@ is a file for each stage that
#: lies outside of the project.
STAGES: dict[str, tuple[Any, list[str]]] = {
    "aside": ("cat i.txt", []),
    "first": ("umask", ["error DP302 first.txt depends on the umask (022, then 077)"]),
    "second": (shown("second", "cat first.txt", deps=["first.txt"]), []),
    "zoned": (
        shown("zoned", "date -d @0 +%H", meta={"dvcproof": {"varies": {"zoned.txt": "it is for people"}}}),
        ["note DP302 zoned.txt differs, as dvc.yaml says: it is for people"],
    ),
    "after": (shown("after", "cat zoned.txt", deps=["zoned.txt"]), []),
    "both": (BOTH, ["error DP302 both.txt depends on the time zone (UTC, then "]),
    "fails": ('test "$TZ" = UTC && cat i.txt', ["error DP303 it fails if this is varied: time zone"]),
    "silent": ({"cmd": "cat fails.txt", "deps": ["fails.txt"]}, []),
    "folders": (
        {"cmd": "mkdir out && pwd > out/b.txt && cat i.txt > out/a.txt", "outs": ["out"]},
        ["error DP302 out/b.txt depends on the folder"],
    ),
    "bad": ("echo no such luck >&2; exit 3", ["error DP703 it fails in a clean clone"]),
    "none": ({"cmd": "true", "outs": ["none.txt"]}, ["error DP703 it fails in a clean clone"]),
    "worse": (shown("worse", "cat bad.txt", deps=["bad.txt"]), []),
    "dated": ("stat -c %Y i.txt", ["error DP302 dated.txt depends on the dates of files (a day earlier)"]),
    "late": (
        "echo >> @RUNS@; ([ $(($(wc -l < @RUNS@) % 2)) = 1 ] || sleep 9; echo late) & cat i.txt",
        ["error DP301 late.txt differs from run to run: a program that the stage started still runs"],
    ),
    "once": (
        "echo >> @RUNS@; [ $(wc -l < @RUNS@) != 2 ] || echo odd; cat i.txt",
        ["error DP301 once.txt differed once, but not again in "],
    ),
    "link": (
        {"cmd": 'mkdir links; ln -s "$PWD/i.txt" links/a; umask > links/b', "outs": ["links"]},
        ["error DP302 links/b depends on the umask"],
    ),
    "git": ("git log --format=%s; git status --short --untracked-files=no", []),
}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Return the report on STAGES."""
    folder = tmp_path_factory.mktemp("stages")
    stages = {name: stage for name, (stage, _) in STAGES.items()}
    for name in ("late", "once"):
        stages[name] = stages[name].replace("@RUNS@", str(folder / name))
    with mock.patch.dict(os.environ, environment(SHADE="blue"), clear=True):
        return varied(make(folder / "project", stages), only=["umask", "zone", "folder", "dates"], runs=2)


@pytest.mark.parametrize("name", STAGES)
def test_each_stage_gets_its_findings_and_no_other(report: Report, name: str) -> None:
    found = [f"{one.level} {one.rule} {one.message}" for one in report.findings if one.stage == name]
    expected = STAGES[name][1]
    assert [text[: len(begin)] for text, begin in zip(found, expected, strict=True)] == expected
    assert all(one.file == "dvc.yaml" and one.line for one in report.findings)


def test_the_evidence_shows_the_difference_or_the_last_words(report: Report) -> None:
    found = {one.stage: one for one in report.findings}
    assert found["first"].evidence == "line 1, plain:  0022\nline 1, varied: 0077"
    assert "no such luck" in found["bad"].evidence
    assert "output none.txt does not exist" in found["none"].evidence
    assert ", together with umask" in found["both"].message
    assert "folder" not in found["both"].message
    assert "{out: reason}" in found["folders"].fix
    assert (results(report)["worse"], report.status()) == ("did not run, since it depends on bad", STAGE_FAILED)


def test_a_clean_project_takes_two_runs_and_says_what_was_varied(tmp_path: Path) -> None:
    path = make(tmp_path / "project", {"go": "cat i.txt", "next": shown("next", "cat go.txt", deps=["go.txt"])})
    report = varied(path, keep=tmp_path / "kept")
    assert report.status() == HOLDS
    assert not report.findings
    assert results(report) == {"go": "equal", "next": "equal"}
    for name in ("time zone (UTC, then", "umask (022, then 077)", "folder (its name"):
        assert name in report.summary
    for run in ("plain", "varied"):
        assert (tmp_path / "kept" / f"{run}-run" / "next.txt").read_text() == "one\ntwo\n"


@pytest.mark.slow
def test_what_cannot_be_varied_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(tmp_path / "project", {"go": "cat i.txt"})
    monkeypatch.setattr(circumstances, "_faketime", lambda _: ())
    monkeypatch.setattr("dvcproof.vary.find_memory", lambda: None)
    report = varied(path, only=["clock", "order", "umask"])
    assert "clock (faketime is not installed)" in report.summary
    assert "order (there is no folder in memory" in report.summary
    assert "umask" in report.summary
    assert report.status() == CANNOT_TELL


@pytest.mark.slow
def test_a_plain_run_that_does_not_end_is_unknown(tmp_path: Path) -> None:
    path = make(tmp_path / "project", {"go": "sleep 60"})
    report = varied(path, only=["umask"], timeout=4)
    assert report.status() == CANNOT_TELL
    assert report.unknown == ["it takes longer than 4 s: go"]


@pytest.mark.slow
def test_a_stage_that_waits_for_ever_under_a_circumstance_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dvcproof.vary.MORE_SECONDS", 1)
    stages = {"go": '[ "$TZ" = UTC ] || sleep 99; cat i.txt', "next": shown("next", "cat go.txt", deps=["go.txt"])}
    report = varied(make(tmp_path / "project", stages), only=["umask", "zone"], runs=2, timeout=20)
    (found,) = report.findings
    assert (found.rule, found.stage) == ("DP303", "go")
    assert "it does not end in time if this is varied: time zone" in found.message


@pytest.mark.slow
def test_a_stopped_clock_does_not_stop_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stage waits for the clock, which is stopped to test whether it is the cause."""
    monkeypatch.setattr("dvcproof.vary.MORE_SECONDS", 2)
    code = "import time, os; end = time.time() + .1\nwhile time.time() < end: pass\nprint(os.urandom(4))"
    stage = {"cmd": "python go.py > o.txt", "deps": ["go.py"], "outs": ["o.txt"]}
    path = make(tmp_path / "project", {"go": stage}, {"go.py": code})
    before = left_over()
    report = varied(path, runs=2)
    (found,) = report.findings
    assert found.rule == "DP301"
    assert "held fixed without effect: the order of sets" in found.evidence
    assert left_over() <= before  # dead files of earlier runs are removed too


@pytest.mark.slow
def test_the_network_may_be_allowed(tmp_path: Path, possible: dict[str, Circumstance]) -> None:
    if "network" not in possible:
        pytest.skip("the network cannot be varied here")
    with surroundings(tmp_path / "around") as words:
        url = f"http://127.0.0.1:{words['@PORT@']}/"
        command = f"python -c 'import urllib.request as u; print(u.urlopen(\"{url}\").status)'"
        allowed = shown("allowed", command, meta={"dvcproof": {"network": "it asks"}})
        report = varied(make(tmp_path / "project", {"refused": command, "allowed": allowed}), only=["network"], runs=2)
    (found,) = report.findings
    assert (found.rule, found.stage) == ("DP303", "refused")
    assert "Connection refused" in found.evidence
    assert results(report)["allowed"] == "equal"


def test_an_accusation_needs_a_second_run(tmp_path: Path) -> None:
    """The runs of the script: three plain ones, one with another time zone, and then a second with that zone."""

    def findings(write: Callable[[int, list[str]], str]) -> list[Finding]:
        numbers = count(1)

        def run(varied: Sequence[Circumstance]) -> Outcome:
            text = write(next(numbers), [one.name for one in varied])
            (tmp_path / text).mkdir(exist_ok=True)
            (tmp_path / text / "go.txt").write_text(text)
            return Outcome(0, "", {"go.txt": text}, tmp_path / "nowhere", tmp_path / text)

        with warnings.catch_warnings(), Project.open(path) as project:
            warnings.simplefilter("ignore", DeprecationWarning)
            two = [Circumstance("zone", "time zone"), Circumstance("umask", "umask")]
            return Inquiry(project.stages[0], run, two, 3).findings()

    path = make(tmp_path / "project", {"go": "cat i.txt"})
    assert not findings(lambda run, _: "odd" if run == 4 else "even")
    assert not findings(lambda run, _: "odd" if run in (4, 5, 6) else "even")
    (found,) = findings(lambda _, names: "odd" if "zone" in names else "even")
    assert found.message == "go.txt depends on the time zone"


def test_wrong_names_are_refused(tmp_path: Path) -> None:
    path = make(tmp_path / "project", {"go": "cat i.txt"})
    with pytest.raises(InputError, match="some of zone, language"):
        varied(path, only=["weather"])
    with pytest.raises(InputError, match="there is no stage of this name"):
        varied(path, stages=["come"])
    with pytest.raises(InputError, match="2 or more"):
        varied(path, runs=1)


@pytest.mark.parametrize(("excuse", "said"), [({"go.txt": ""}, r"varies\.go\.txt: "), ("go.txt", "varies: ")])
def test_an_excuse_needs_a_reason(tmp_path: Path, excuse: object, said: str) -> None:
    stage = shown("go", "umask", meta={"dvcproof": {"varies": excuse}})
    with pytest.raises(InputError, match=said):
        varied(make(tmp_path / "project", {"go": stage}), only=["umask"])


def test_differences_are_shown(tmp_path: Path) -> None:
    one, other = tmp_path / "one.txt", tmp_path / "other.txt"
    one.write_text("a\n" + "x" * 200 + "1" + "y" * 200 + "\n")
    other.write_text("a\n" + "x" * 200 + "2" + "y" * 200 + "\n")
    shown_lines = show_difference(one, other).splitlines()
    assert [line[:8] for line in shown_lines] == ["line 2, "] * 2
    assert "xx1yy" in shown_lines[0]
    assert "xx2yy" in shown_lines[1]
    other.write_text("a\n")
    assert "(no such line)" in show_difference(one, other)
    other.write_bytes(one.read_bytes().replace(b"\n", b"\r\n"))
    assert show_difference(one, other) == "only the line ends differ"
    one.write_bytes(b"\x00\xff1")
    other.write_bytes(b"\x00\xff2")
    assert "first differing byte at 2" in show_difference(one, other)
