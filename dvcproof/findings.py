"""The findings of a verb, and the forms in which they are printed for people and for programs."""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from dvcproof.messages import counted, printable
from dvcproof.runtime.program import InputError

Level = Literal["error", "warning", "note"]
LEVELS = ("error", "warning", "note")

#: The columns of the findings in a table.
COLUMNS = ("level", "stage", "finding", "mend", "rule")

#: Exit statuses: no errors; errors found; wrong usage; cannot tell; a stage failed; another process is at work.
HOLDS, FOUND, USAGE, CANNOT_TELL, STAGE_FAILED, AT_WORK = range(6)


class FoundError(InputError):
    """A finding that ends the verb."""

    status = FOUND


class UnknownError(InputError):
    """The result cannot be told, for example because a remote does not answer or the history is cut off."""

    status = CANNOT_TELL


class BusyError(InputError):
    """Another process is at work in the project."""

    status = AT_WORK


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or worth knowing.

    The first digit of a rule is its subject: 1 dvc.lock, 2 findings of trace, 3 findings of vary, 4 dvc.yaml alone,
    5 the cache, 6 a remote, 7 a clean clone, 8 metrics.
    """

    rule: str  # as 'DP201'
    level: Level
    message: str  # the problem, without a full stop
    fix: str = ""  # the next step, as a sentence
    stage: str = ""  # the address of the stage
    path: str = ""  # the file with the problem
    file: str = ""  # the file to edit, with the line
    line: int = 0
    evidence: str = ""  # lines that show the problem, such as a difference or the last lines of an output
    change: str = ""  # the edit of dvc.yaml that solves it: 'deps + src/helper.py', 'params - params.yaml:lr'

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        head = " ".join(filter(None, (place, self.stage)))
        text = f"{self.level}: {head + ': ' if head else ''}{self.message}"
        return printable(f"{text}. {self.fix} [{self.rule}]" if self.fix else f"{text}. [{self.rule}]")


@dataclass
class Report:
    """The result of a verb."""

    verb: str
    summary: str = ""
    findings: list[Finding] = field(default_factory=list)
    table: list[Sequence[str]] = field(default_factory=list)  # rows of cells; the first row is the header
    unknown: list[str] = field(default_factory=list)  # reasons why the result cannot be told
    failed: bool = False  # whether a stage failed

    def status(self) -> int:
        """Return the exit status."""
        if self.failed:
            return STAGE_FAILED
        if any(finding.level == "error" for finding in self.findings):
            return FOUND
        return CANNOT_TELL if self.unknown else HOLDS


def show(report: Report, form: str = "text") -> None:
    """Print a report in a format: text, json, markdown, or github (annotations and a step summary)."""
    sys.stdout.write({"text": _text, "json": _json, "github": _github, "markdown": _markdown}[form](report) + "\n")
    sys.stdout.flush()


def _text(report: Report) -> str:
    table = [[printable(cell) for cell in row] for row in report.table]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in table]
    for finding in report.findings:
        lines += [str(finding), *(f"    {printable(line)}" for line in finding.evidence.splitlines())]
    lines += [f"cannot tell: {printable(reason)}" for reason in report.unknown]
    numbers = {level: sum(finding.level == level for finding in report.findings) for level in LEVELS}
    counts = [counted(number, level) for level, number in numbers.items() if number]
    otherwise = "a stage failed" if report.failed else "cannot tell" if report.unknown else "ok"
    return "\n".join([*lines, f"{report.verb}: {report.summary}: {', '.join(counts) or otherwise}"])


def _json(report: Report) -> str:
    content: dict[str, Any] = {"schema": 1, "tool": "dvcproof", "verb": report.verb, "summary": report.summary}
    content |= {"status": report.status(), "findings": [asdict(finding) for finding in report.findings]}
    content |= {"stages": [dict(zip(report.table[0], row, strict=True)) for row in report.table[1:]]}
    return json.dumps(content | {"unknown": report.unknown}, indent=2)


def _github(report: Report) -> str:
    lines = []
    for finding in report.findings:
        kind = {"note": "notice"}.get(finding.level, finding.level)
        name = _data(finding.file).replace(":", "%3A").replace(",", "%2C")
        where = f"file={name},line={finding.line or 1}," if finding.file else ""
        text = f"{finding.stage}: " * bool(finding.stage) + f"{finding.message}. {finding.fix}"
        lines.append(f"::{kind} {where}title={finding.rule}::{_data(text.strip())}")
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(_markdown(report) + "\n")
    return "\n".join([*lines, f"{report.verb}: {report.summary}"])


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _markdown(report: Report) -> str:
    lines = [f"### dvcproof {report.verb}", "", report.summary, ""]
    findings: list[Sequence[str]] = [(one.level, one.stage, one.message, one.fix, one.rule) for one in report.findings]
    for head, *rows in filter(None, (report.table, [COLUMNS, *findings] if findings else [])):
        cells = (head, ["---"] * len(head), *rows)
        lines += ["| " + " | ".join(printable(cell).replace("|", "\\|") for cell in row) + " |" for row in cells]
        lines.append("")
    return "\n".join([*lines, *(f"cannot tell: {reason}" for reason in report.unknown)])
