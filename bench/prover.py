"""Run the verbs of dvcproof over projects with one planted defect each, the same projects repaired, and clean ones.

bench/prover.yaml lists the projects, and the findings that each verb must report.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import yaml

from bench.measure import NOBODY, environment, this_machine
from bench.study import parser_of, save
from dvcproof.__main__ import call, parser
from dvcproof.findings import Finding, Report
from dvcproof.runtime.program import InputError, run

LIST = Path(__file__).with_name("prover.yaml")

#: The verbs that report findings about a project.
JUDGES = ("check", "verify", "trace", "vary", "doctor")

#: The files that every project has.
FILES = {"i.txt": "one\ntwo\n"}


@dataclass(frozen=True)
class Case:
    """A project, and the findings that the verbs must report.

    Args:
        name: the name of the case, which is also that of its folder.
        kind: the kind of its defect, or a description of a clean project.
        stages: the stages, as in dvc.yaml.
        files: texts of files by path, which may include more dvc.yaml files.
        before: a shell script that runs before the stages.
        after: a shell script that plants a defect after the stages have run and the project is committed.
        found: for each verb, the expected findings, each as 'LEVEL RULE part of the message'.
        alone: whether the case has a repository of its own. If not, it has a folder in a shared repository.
        options: options of `dvc init`.
        missed: why no verb finds the defect.
    """

    name: str
    kind: str
    stages: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    before: str = ""
    after: str = ""
    found: Mapping[str, Sequence[str]] = field(default_factory=dict)
    alone: bool = False
    options: str = ""
    missed: str = ""

    def twin(self, mended: Mapping[str, Any]) -> "Case":
        """Return the repaired project: without the script `after`, and with the keys of `mended` in its stages."""
        stages = dict(self.stages)
        for name, keys in mended.get("stages", {}).items():
            merged = {**stages.get(name, {}), **keys}
            stages[name] = {key: value for key, value in merged.items() if value is not None}
        files = {**self.files, **mended.get("files", {})}
        before = mended.get("before", self.before)
        name = f"{self.name}-mended"
        return replace(self, name=name, stages=stages, files=files, before=before, after="", found={})


def read_list(path: Path = LIST) -> tuple[list[Case], list[Case], list[Case]]:
    """Return the cases with defects, their repaired twins without duplicates, and the clean projects."""
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    defects, twins = [], []
    for kind, cases in document["defects"].items():
        for name, keys in cases.items():
            mended = keys.pop("mended", {})
            case = Case(name, kind, **keys)
            defects.append(case)
            if (mended or case.after) and not case.missed:
                twins.append(case.twin(mended))
    unique = {repr(replace(twin, name="", kind="")): twin for twin in reversed(twins)}
    clean = [Case(name, **keys) for name, keys in document["clean"].items()]
    return defects, [*reversed(unique.values())], clean


class _Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@contextlib.contextmanager
def surroundings(folder: Path) -> Iterator[dict[str, str]]:
    """Set up what lies outside of the projects: a home folder, a file, a server, a variable. Yield their values by the
    words that stand for them in the list."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "home").mkdir()
    (folder / "home" / "settings").write_text("x", encoding="utf-8")
    (folder / "away.csv").write_text("1\n", encoding="utf-8")
    variables = environment() | NOBODY | {"HOME": str(folder / "home"), "SHADE": "blue", "SHELL": "/bin/bash"}
    with ThreadingHTTPServer(("127.0.0.1", 0), _Answer) as server, mock.patch.dict(os.environ, variables, clear=True):
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield {
                "@PORT@": f"{server.server_port}",
                "@AWAY@": f"{folder / 'away.csv'}",
                "@HOME@": f"{folder / 'home'}",
            }
        finally:
            server.shutdown()
            thread.join()


def make(cases: Sequence[Case], root: Path, words: Mapping[str, str], *, runs: bool = True) -> Path:
    """Make and commit a repository with one case, or with several cases in a folder each.

    Args:
        cases: one that stands alone, or several.
        root: the repository's folder, a new one.
        words: what `surroundings` gives.
        runs: whether to run the stages and then the scripts that plant defects.

    Raises:
        InputError: a command failed.
    """
    root.mkdir(parents=True)
    options = cases[0].options
    if options != "--no-scm":
        _sh("git init --quiet --initial-branch main", root.parent if options == "--subdir" else root)
    _sh(f"dvc init --quiet {options}", root)
    commit = "true" if options == "--no-scm" else "git add --all && git commit --quiet --allow-empty --message run"
    places = {case.name: root if case.alone else root / case.name for case in cases}
    for case in cases:
        _write(case, places[case.name], words)
    _sh(commit, root)
    if not runs:
        return root
    _sh("dvc repro --all-pipelines", root)
    _sh(commit, root)
    for case in cases:
        _sh(_filled(case.after, words), places[case.name])
    return root


def _write(case: Case, folder: Path, words: Mapping[str, str]) -> None:
    graph = {"dvc.yaml": yaml.safe_dump({"stages": dict(case.stages)}, sort_keys=False)} if case.stages else {}
    for name, text in {**FILES, **graph, **case.files}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(_filled(text, words), encoding="utf-8")
    _sh(_filled(case.before, words), folder)


def _filled(text: str, words: Mapping[str, str]) -> str:
    for name, value in words.items():
        text = text.replace(name, value)
    return text


def _sh(script: str, folder: Path) -> None:
    result = subprocess.run(["sh", "-ec", script], cwd=folder, capture_output=True, text=True, check=False)
    if result.returncode:
        said = result.stdout + result.stderr
        raise InputError(script, expected="exit status 0", received=said, hint="Correct bench/prover.yaml.")


def judge(verb: str, root: Path) -> Report:
    """Run a verb as the command line does. Return an InputError as a finding of the rule 'refused'."""
    args = parser().parse_args([verb, "-C", str(root)])
    options = {name: value for name, value in vars(args).items() if name not in ("verb", "folder", "format")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # from DVC, about its own packages
        try:
            return call(verb, args.folder.resolve(), options)
        except InputError as error:
            return Report(verb, findings=[Finding("refused", "error", str(error))])


def of_case(report: Report, case: Case) -> list[Finding]:
    """Return the findings about a case: about its stages, files in its folder, or the whole repository.

    What the verb could not decide is given as a warning of the rule 'unknown'.
    """

    def is_about(finding: Finding) -> bool:
        places = [place for place in (finding.stage, finding.file, finding.path) if place]
        return case.alone or not places or any(place.startswith(f"{case.name}/") for place in places)

    unknown = [Finding("unknown", "warning", text, stage=_stage_in(text)) for text in report.unknown]
    return [one for one in (*report.findings, *unknown) if is_about(one)]


def _stage_in(text: str) -> str:
    """Return the stage whose name a text begins with: 'FOLDER/dvc.yaml:NAME: ...'."""
    first = text.partition(": ")[0]
    return first if "dvc.yaml:" in first else ""


class Verdict(NamedTuple):
    """The findings of a verb about a case, compared with those expected.

    Args:
        found: expected findings that were reported, each as 'LEVEL RULE part of the message'.
        absent: expected findings that were not reported.
        besides: false alarms: errors and warnings that are not expected.
    """

    found: list[str]
    absent: list[str]
    besides: list[str]


def compare(report: Report, case: Case) -> Verdict:
    """Compare the findings of a verb about a case with those that the list expects."""
    said = [(one.level, one.rule, one.message.replace(f"{case.name}/", "")) for one in of_case(report, case)]
    found: list[str] = []
    absent: list[str] = []
    for expected in case.found.get(report.verb, []):
        level, rule, text = expected.split(" ", 2)
        match = next((one for one in said if one[:2] == (level, rule) and text in one[2]), None)
        if match:
            said.remove(match)
        (found if match else absent).append(expected)
    return Verdict(found, absent, [" ".join(one) for one in said if one[0] != "note"])


def verbs_for(case: Case, *, is_clean: bool) -> Sequence[str]:
    """Return the verbs to run on a case: all but those that can find nothing there.

    The doctor needs a dvc.yaml in the top folder. Verbs that read the last commit cannot see a damaged working tree.
    """
    if not case.alone:
        return JUDGES[:-1]
    return JUDGES if is_clean else [verb for verb in JUDGES if verb in ("check", "doctor", *case.found)]


def judged(
    cases: Sequence[Case], root: Path, words: Mapping[str, str], verbs: Sequence[str]
) -> Iterator[tuple[str, dict[str, Verdict]]]:
    """Make a repository of these cases, run verbs over it, and yield each case's name and its verdict of each verb.

    Args:
        cases: one that stands alone, or several.
        root: the repository's folder, a new one.
        words: what `surroundings` gives.
        verbs: some of JUDGES.
    """
    make(cases, root, words)
    reports = {verb: judge(verb, root) for verb in verbs}
    for case in cases:
        yield case.name, {verb: compare(report, case) for verb, report in reports.items()}


def study(folder: Path) -> dict[str, Any]:
    """Run the verbs over every case, and return the result of the study."""
    defects, twins, clean = read_list()
    packed = [case for case in (*defects, *twins, *clean) if not case.alone]
    verdicts: dict[str, dict[str, Verdict]] = {}
    with surroundings(folder / "around") as words:
        for number, group in enumerate([packed, *([case] for case in (*defects, *twins, *clean) if case.alone)]):
            root = folder / f"{number}" / "project"
            verdicts |= dict(judged(group, root, words, verbs_for(group[0], is_clean=group[0] in clean)))
            shutil.rmtree(folder / f"{number}")
    return {
        "defects": [_defect(case, verdicts[case.name]) for case in defects],
        "mended": [{"kind": case.kind, "name": case.name} | _rest(verdicts[case.name]) for case in twins],
        "clean": [
            {"kind": case.kind, "name": case.name, "verbs": [*verdicts[case.name]]} | _rest(verdicts[case.name])
            for case in clean
        ],
    }


def _defect(case: Case, said: Mapping[str, Verdict]) -> dict[str, Any]:
    """Describe how a defect was found. It counts as found only if all expected findings were reported."""
    is_found = any(one.found for one in said.values()) and not any(one.absent for one in said.values())
    absent = _by_verb(said, "absent")
    return {
        "kind": case.kind,
        "name": case.name,
        "is_found": is_found,
        "missed": case.missed,
        "absent": absent,
    } | _rest(said)


def _rest(said: Mapping[str, Verdict]) -> dict[str, dict[str, str]]:
    return {"found": _by_verb(said, "found"), "false_alarms": _by_verb(said, "besides")}


def _by_verb(said: Mapping[str, Verdict], part: str) -> dict[str, str]:
    """Return findings as text, for each verb that reported any: 'undeclared input helper.py [DP201]; ...'."""
    lists = {verb: [one.split(" ", 2) for one in getattr(verdict, part)] for verb, verdict in said.items()}
    return {verb: "; ".join(f"{text} [{rule}]" for _, rule, text in found) for verb, found in lists.items() if found}


def main() -> None:
    args = parser_of("bench.prover", __doc__).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = study(Path(folder))
    save(args.out, {"machine": this_machine()} | found)
    for name, items in found.items():
        alarms = sum(bool(one["false_alarms"]) for one in items)
        absent = [one["name"] for one in items if not one.get("is_found", True)]
        sys.stdout.write(
            f"{name}: {len(items)}, {alarms} with false alarms; not found: {', '.join(absent) or 'none'}\n"
        )


if __name__ == "__main__":
    run(main)
