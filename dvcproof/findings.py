"""The findings of a verb, each with a rule, a place, a reason and a fix, printed for people and for programs."""

import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from dvcproof.messages import printable
from dvcproof.runtime.program import InputError

Level = Literal["error", "warning", "note"]

#: Exit statuses: it holds; there are errors; wrong usage; it cannot be told; a stage failed; something is at work here.
HOLDS, FOUND, USAGE, CANNOT_TELL, STAGE_FAILED, AT_WORK = range(6)


class UnknownError(InputError):
    """It cannot be told: a store is silent, a history is cut off."""

    status = CANNOT_TELL


class BusyError(InputError):
    """Another process is at work in the project."""

    status = AT_WORK


#: What each rule says. Hundreds: 1 dvc.lock, 2 trace, 3 vary, 4 lint, 5 cache, 6 store, 7 verify, 8 gate.
RULES = {
    "DP101": "a stage has no record in dvc.lock",
    "DP102": "dvc.lock records a stage that is not in dvc.yaml",
    "DP103": "the command is not the recorded one",
    "DP104": "a dependency is not the recorded one",
    "DP105": "a parameter is not the recorded one",
    "DP106": "an output is not the recorded one",
    "DP107": "dvc.lock records two contents of one file",
    "DP108": "dvc.yaml and dvc.lock name different dependencies, parameters or outputs",
    "DP109": "a file cannot be read",
    "DP110": "data is not what its .dvc file records",
    "DP111": "the installed packages are not those of the lock file",
    "DP201": "a stage reads a file that it does not declare",
    "DP202": "a stage writes a file that it does not declare",
    "DP203": "a stage declares what it does not read",
    "DP204": "a stage reads or writes what another stage makes, without declaring it",
    "DP205": "a stage changes its own input",
    "DP206": "a stage uses the network",
    "DP207": "a stage reads outside of the project",
    "DP208": "a stage writes outside of the project",
    "DP209": "a command inside a stage failed, and the stage went on",
    "DP210": "a stage reads a parameter that it does not declare",
    "DP211": "a stage declares a parameter that it does not read",
    "DP212": "a stage depends on what an earlier run of it left",
    "DP213": "a stage uses a service that cannot be watched",
    "DP214": "a stage looks for a file that is not there",
    "DP301": "an output depends on chance",
    "DP302": "an output depends on a circumstance",
    "DP303": "a stage fails under a circumstance",
    "DP401": "a script that the command names is not a dependency",
    "DP402": "a dependency is neither in Git nor made by a stage",
    "DP403": "an output that is not cached is not in Git",
    "DP404": "a failure inside a pipe or a list of commands is not noticed",
    "DP405": "the command names a path of one user",
    "DP406": "a stage has no dependencies, so that it runs each time, or, with outputs, once only",
    "DP407": "a large file is in Git",
    "DP408": "an output keeps what earlier runs left (persist)",
    "DP409": "data can be fetched from nowhere",
    "DP501": "something is left over or damaged",
    "DP601": "something was sent to a store, or taken from it",
    "DP602": "a record in a store does not come out",
    "DP701": "an output of a re-run is not the committed one",
    "DP702": "a stage gives different outputs each time",
    "DP703": "a stage fails in a clean clone",
    "DP704": "a stage did not run",
    "DP706": "a stage runs again although nothing has changed",
    "DP705": "a run changes a committed file, or leaves a file, that is no output",
    "DP801": "a metric is worse than that of another commit",
    "DP802": "a metric of another commit is gone",
}


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or worth knowing.

    Args:
        rule: a key of RULES.
        level: an error makes the exit status 1.
        message: what is wrong, without a full stop.
        fix: what to do, a sentence; may be empty.
        stage: the stage, as DVC names it.
        path: the file that it is about.
        file: the file to edit, with `line`.
        evidence: what shows it: a difference, the last lines of an output.
        change: the edit of dvc.yaml that mends it: 'deps + src/helper.py', 'params - params.yaml:lr'.
    """

    rule: str
    level: Level
    message: str
    fix: str = ""
    stage: str = ""
    path: str = ""
    file: str = ""
    line: int = 0
    evidence: str = ""
    change: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        head = " ".join(filter(None, (place, self.stage)))
        text = f"{self.level}: {head + ': ' if head else ''}{self.message}"
        return printable(f"{text}. {self.fix} [{self.rule}]" if self.fix else f"{text}. [{self.rule}]")


@dataclass
class Report:
    """All that a verb found.

    Args:
        verb: its name.
        summary: one line: what was looked at.
        findings: in the order of the graph.
        table: rows for people: a header, then one for each stage.
        unknown: why it cannot be told whether all is well; empty if it can.
    """

    verb: str
    summary: str = ""
    findings: list[Finding] = field(default_factory=list)
    table: list[Sequence[str]] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    failed: bool = False

    def status(self) -> int:
        """Return the exit status."""
        if self.failed:
            return STAGE_FAILED
        if any(finding.level == "error" for finding in self.findings):
            return FOUND
        return CANNOT_TELL if self.unknown else HOLDS


def show(report: Report, form: str = "text") -> None:
    """Print a report as text, json, github (annotations, and a summary of the step) or markdown."""
    sys.stdout.write({"text": _text, "json": _json, "github": _github, "markdown": _markdown}[form](report))
    sys.stdout.flush()


def _text(report: Report) -> str:
    lines = _aligned(report.table)
    for finding in report.findings:
        lines += [str(finding), *(f"    {printable(line)}" for line in finding.evidence.splitlines())]
    lines += [f"cannot tell: {printable(reason)}" for reason in report.unknown]
    counts = [f"{number} {level}{'s' if number > 1 else ''}" for level, number in _counts(report) if number]
    if not counts:
        counts = ["a stage failed" if report.failed else "cannot tell" if report.unknown else "ok"]
    return "\n".join([*lines, f"{report.verb}: {report.summary}: {', '.join(counts)}"]) + "\n"


def _counts(report: Report) -> list[tuple[str, int]]:
    levels = [finding.level for finding in report.findings]
    return [(level, levels.count(level)) for level in ("error", "warning", "note")]


def _aligned(table: Iterable[Sequence[str]]) -> list[str]:
    rows = [[printable(cell) for cell in row] for row in table]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _json(report: Report) -> str:
    content: dict[str, Any] = {
        "schema": 1,
        "tool": "dvcproof",
        "verb": report.verb,
        "summary": report.summary,
        "status": report.status(),
        "stages": [dict(zip(report.table[0], row, strict=True)) for row in report.table[1:]],
        "findings": [asdict(finding) for finding in report.findings],
        "unknown": report.unknown,
    }
    return json.dumps(content, indent=2) + "\n"


def _github(report: Report) -> str:
    lines = []
    for finding in report.findings:
        kind = {"note": "notice"}.get(finding.level, finding.level)
        where = f"file={_property(finding.file)},line={finding.line or 1}," if finding.file else ""
        text = " ".join(
            filter(None, (f"{finding.stage}:" if finding.stage else "", f"{finding.message}.", finding.fix))
        )
        lines.append(f"::{kind} {where}title={finding.rule}::{_data(text)}")
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(_markdown(report))
    return "\n".join([*lines, f"{report.verb}: {report.summary}"]) + "\n"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _markdown(report: Report) -> str:
    lines = [f"### dvcproof {report.verb}", "", report.summary, ""]
    if report.table:
        lines += [_row(report.table[0]), _row(["---"] * len(report.table[0])), *map(_row, report.table[1:]), ""]
    if report.findings:
        head = ("level", "stage", "finding", "mend", "rule")
        rows = [(item.level, item.stage, item.message, item.fix, item.rule) for item in report.findings]
        lines += [_row(head), _row(["---"] * len(head)), *map(_row, rows), ""]
    return "\n".join([*lines, *(f"cannot tell: {reason}" for reason in report.unknown)]) + "\n"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(printable(cell).replace("|", "\\|") for cell in cells) + " |"
