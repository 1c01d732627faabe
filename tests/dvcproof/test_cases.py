"""The list of bench/prover.yaml: each defect is found with its cause; repaired and clean projects have no findings."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.prover import Case, compare, judge, judged, make, read_list, surroundings
from bench.study import read_result
from dvcproof import strace
from dvcproof.findings import Report
from tests.support.project import ROOT

DEFECTS, TWINS, CLEAN = read_list()
#: Verbs that run the stages several times.
SLOW = {"verify", "vary"}


def concerned(verb: str) -> list[Case]:
    """Return the cases that a verb must find, and their repaired twins; for verify, clean projects too."""
    names = {case.name for case in DEFECTS if verb in case.found and not case.alone}
    clean = [case for case in CLEAN if not case.alone and verb == "verify"]
    return [*(case for case in (*DEFECTS, *TWINS) if case.name.removesuffix("-mended") in names), *clean]


def pairs() -> Iterator[object]:
    """Yield each verb with each case that concerns it."""
    for verb in ("check", "trace", "verify", "vary"):
        for case in concerned(verb):
            marks = [pytest.mark.slow] if verb in SLOW else []
            yield pytest.param(verb, case, id=f"{verb}-{case.name}", marks=marks)


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with surroundings(tmp_path_factory.mktemp("around")) as found:
        yield found


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory, words: dict[str, str]) -> Callable[[str], Report]:
    """Return a function that gives the report of a verb on all cases that concern it. Each verb runs once."""
    reports: dict[str, Report] = {}

    def report(verb: str) -> Report:
        if verb not in reports:
            place = tmp_path_factory.mktemp(verb) / "cases"
            reports[verb] = judge(verb, make(concerned(verb), place, words, runs=verb in ("check", "verify")))
        return reports[verb]

    return report


@pytest.mark.parametrize(("verb", "case"), [*pairs()])
def test_what_a_verb_says(verb: str, case: Case, said: Callable[[str], Report]) -> None:
    if verb == "trace" and strace.obstacle():
        pytest.skip(strace.obstacle())
    report = said(verb)
    name, (_, _, absent) = case.name.partition("-")[0], report.summary.partition("not varied here")
    if verb == "vary" and f" {name} (" in absent:
        pytest.skip(f"{name} cannot be varied here")
    verdict = compare(report, case)
    assert (verdict.absent, verdict.besides) == ([], [])
    findings = [one for one in report.findings if one.stage.startswith(f"{case.name}/")]
    assert all(one.file == f"{case.name}/dvc.yaml" and one.line for one in findings)
    assert all(one.fix or one.level != "error" for one in findings)


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in DEFECTS if case.alone], ids=lambda case: case.name)
def test_what_the_first_verb_says_of_a_repository(case: Case, words: dict[str, str], tmp_path: Path) -> None:
    ((_, said),) = judged([case], tmp_path / "project", words, [*case.found][:1])
    assert [(one.absent, one.besides) for one in said.values()] == [([], [])]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["subfolder", "shallow"])
def test_a_clean_repository(name: str, words: dict[str, str], tmp_path: Path) -> None:
    (case,) = (case for case in CLEAN if case.name == name)
    ((_, said),) = judged([case], tmp_path / "project", words, ["check", "verify", "doctor"])
    assert [(one.absent, one.besides) for one in said.values()] == [([], [])] * 3


def test_the_committed_result_is_of_this_list_and_good_enough() -> None:
    result = read_result(ROOT / "bench" / "results" / "prover.json")
    assert [[one["name"] for one in result[part]] for part in ("defects", "mended", "clean")] == [
        [case.name for case in cases] for cases in (DEFECTS, TWINS, CLEAN)
    ]
    missed = [one for one in result["defects"] if not one["is_found"]]
    assert len(missed) <= len(DEFECTS) / 20
    assert all(one["missed"] for one in missed)
    assert not [one["name"] for part in ("defects", "mended", "clean") for one in result[part] if one["false_alarms"]]
    assert (len({case.kind for case in DEFECTS}) >= 15, len(DEFECTS) >= 40, len(CLEAN) >= 16) == (True, True, True)
