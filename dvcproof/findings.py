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


class FoundError(InputError):
    """Something was found that ends the verb."""

    status = FOUND


class UnknownError(InputError):
    """It cannot be told: a store is silent, a history is cut off."""

    status = CANNOT_TELL


class BusyError(InputError):
    """Another process is at work in the project."""

    status = AT_WORK


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or worth knowing.

    Args:
        rule: its number, for programs. DP1 is about dvc.lock, 2 what trace finds, 3 vary, 4 dvc.yaml alone, 5 the
            cache, 6 a store, 7 a clean clone, 8 metrics.
        message: what is wrong, without a full stop.
        fix: what to do, a sentence; may be empty.
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
    """All that a verb found. The first row of the table is its header; `failed`: a stage failed.

    `unknown` says why it cannot be told whether all is well; it is empty if it can.
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
    levels = [finding.level for finding in report.findings]
    numbers = {level: levels.count(level) for level in ("error", "warning", "note")}
    counts = [f"{number} {level}{'s' if number > 1 else ''}" for level, number in numbers.items() if number]
    if not counts:
        counts = ["a stage failed" if report.failed else "cannot tell" if report.unknown else "ok"]
    return "\n".join([*lines, f"{report.verb}: {report.summary}: {', '.join(counts)}"]) + "\n"


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
        name = _data(finding.file).replace(":", "%3A").replace(",", "%2C")
        where = f"file={name},line={finding.line or 1}," if finding.file else ""
        stage = f"{finding.stage}: " if finding.stage else ""
        lines.append(
            f"::{kind} {where}title={finding.rule}::{_data(f'{stage}{finding.message}. {finding.fix}'.strip())}"
        )
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(_markdown(report))
    return "\n".join([*lines, f"{report.verb}: {report.summary}"]) + "\n"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


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
