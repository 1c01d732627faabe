"""Run each stage in a clean clone and tell what it really reads and writes, against what it declares."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from dvcproof import box, strace
from dvcproof.clone import Clone, Result, working_folder
from dvcproof.findings import Finding, Report
from dvcproof.git import changed_files, top_folder
from dvcproof.judge import Ground, Judge, require_reasons
from dvcproof.patch import patched
from dvcproof.project import Project, Stage
from dvcproof.runtime.program import InputError
from dvcproof.strace import Seen

__all__ = ["patched", "trace"]

HEADER = ("stage", "seconds", "read", "written", "result")

#: What neither way shows.
BLIND = {
    "strace": "not seen: environment variables, files that are only asked about (stat), containers and daemons",
    "box": "not seen: what is read only if it is there, what lies outside of the project, the network, "
    "environment variables, containers and daemons",
}


def trace(
    project: Project,
    *,
    stages: Sequence[str] = (),
    how: Literal["auto", "strace", "box"] = "auto",
    timeout: float = 600,
    keep: Path | None = None,
    allow_network: bool = False,
) -> Report:
    """Run stages in a clean clone, and compare what they do with what they declare.

    Args:
        project: its last commit is cloned.
        stages: addresses or names; none of them: all.
        how: with strace, or each stage in a folder that holds only what it declares; auto: strace where it can be used.
        timeout: seconds for one run of the stages.
        keep: a new folder that stays, with the clone.
        allow_network: whether the network may be used.

    Raises:
        InputError: there is no such stage, an exception has no reason, or there is nothing to clone.
    """
    report = Report("trace")
    reason = "" if how == "box" else strace.obstacle()
    if reason and how == "strace":
        report.summary = "nothing was run"
        report.unknown.append(f"{reason}. Use `--how box`")
        return report
    if reason:
        report.unknown.append(f"{reason}, so that each stage ran with only what it declares; {BLIND['box']}")
    way: Literal["strace", "box"] = "box" if how == "box" or reason else "strace"
    with working_folder(keep, "dvcproof-trace-") as folder:
        clone = Clone(project, folder)
        with Project.open(clone.path) as inside:
            chosen = _chosen(inside, stages)
            require_reasons(inside.stages)
            ground = Ground(inside, clone, str(top_folder(project.root)[0]), allow_network)
            report.unknown += [f"the data of {name} is not in the cache" for name in clone.missing] + clone.obstacles
            _Run(project, ground, chosen, report, timeout).run(way)
    changed = "; what is not committed was left out" if changed_files(project.root) else ""
    number = f"{len(chosen)} stage{'' if len(chosen) == 1 else 's'}"
    report.summary = f"{number} of commit {clone.commit}{changed}; {BLIND[way]}"
    return report


def _chosen(project: Project, names: Sequence[str]) -> list[Stage]:
    for name in names:
        if not any(name in _names(stage) for stage in project.stages):
            known = ", ".join(stage.address for stage in project.stages)
            raise InputError(f"stage {name}", expected=f"one of {known}", received=name, hint="Name one of them.")
    return [stage for stage in project.stages if not names or any(name in _names(stage) for name in names)]


def _names(stage: Stage) -> set[str]:
    return {stage.address, stage.name, stage.address.partition("@")[0]}


class _Run:
    """One run of the stages, and what is made of it."""

    def __init__(self, project: Project, ground: Ground, chosen: list[Stage], report: Report, timeout: float) -> None:
        self.project, self.ground, self.chosen, self.report, self.timeout = project, ground, chosen, report, timeout
        self.clone, self.inside = ground.clone, ground.project

    def run(self, way: Literal["strace", "box"]) -> None:
        """Run the stages and fill the report."""
        self.report.table.append(HEADER)
        if way == "box":
            self._boxes()
            return
        shell = strace.write_shell(self.clone.folder / "strace")
        result = self._repro(SHELL=str(shell))
        seen = strace.read_all(shell)
        again = self._again()
        for stage in self.inside.stages:
            if stage.address in seen:
                self._judge(stage, seen[stage.address], again.get(stage.address), result)
            elif stage in self.chosen:
                self._did_not_run(stage, result)
        self._time_out(result)

    def _boxes(self) -> None:
        """Run the stages without strace, and each that ended well in boxes."""
        shell = box.write_shell(self.clone.folder / "plain")
        result = self._repro(SHELL=str(shell))
        ended = box.read_all(shell)
        box.restore(self.ground)
        for stage in self.chosen:
            seen = ended.get(stage.address)
            findings: list[Finding] = []
            if not seen:
                self._did_not_run(stage, result)
                continue
            if any(seen.statuses):
                self._failed(stage, result, findings)
            elif len(seen.statuses) == len(stage.commands):
                findings = box.declared_only(self.ground, stage, seen.seconds, self.report)
            self._row(stage, seen, findings, len(seen.statuses) == len(stage.commands))
        self._time_out(result)

    def _time_out(self, result: Result) -> None:
        if result.status is None:
            text = (
                f"the stages took longer than {self.timeout:g} s (or left a program in the background), and were ended"
            )
            self.report.unknown.append(text)

    def _repro(self, **variables: str) -> Result:
        """Run the chosen stages; those above them only if their outputs cannot be had from the project's cache."""
        words = ["repro", "--force", "--no-run-cache", "--keep-going"]
        addresses = [stage.address for stage in self.chosen]
        if len(addresses) < len(self.inside.stages):
            others = [out for stage in self.project.stages if stage.address not in addresses for out in stage.outs]
            made = [item for stage in self.inside.stages if stage not in self.chosen for item in stage.outs]
            self.clone.supply(self.project, others)
            needed = {item.place for stage in self.chosen for item in stage.deps if item.local}
            if all(item.exists for item in made if item.place in needed or _holds(item.place, needed)):
                words.append("--single-item")
            words += addresses
        else:
            words.append("--all-pipelines")
        return self.clone.dvc(*words, timeout=self.timeout, PYTHONDONTWRITEBYTECODE="1", **variables)

    def _again(self) -> dict[str, Seen]:
        """Run stages that keep their outputs once more, for only a second run has something to keep."""
        keeping = [
            stage.address
            for stage in self.chosen
            if any(out.persist and out.exists for out in stage.outs) and not stage.frozen
        ]
        if not keeping:
            return {}
        shell = strace.write_shell(self.clone.folder / "again")
        words = ["repro", "--force", "--no-run-cache", "--keep-going", "--single-item", *keeping]
        self.clone.dvc(*words, timeout=self.timeout, PYTHONDONTWRITEBYTECODE="1", SHELL=str(shell))
        return strace.read_all(shell)

    def _judge(self, stage: Stage, seen: Seen, again: Seen | None, result: Result) -> None:
        complete = all(status == 0 for status in seen.statuses) and len(seen.statuses) == len(stage.commands)
        if seen.strange:
            self.report.unknown.append(f"{stage.address}: {seen.strange} lines of strace could not be read")
        judge = Judge(self.ground, stage, seen, complete=complete, output=result.output)
        findings = judge.judge()
        if again:
            later = Judge(self.ground, stage, again, complete=False).judge()
            findings += [item for item in later if item.rule == "DP212" and item not in findings]
        if stage not in self.chosen:
            return
        failed = any(seen.statuses)
        if failed:
            self._failed(stage, result, findings)
        elif complete:
            findings = box.check_parameters(self.ground, stage, seen, findings, judge.undeclared_params)
        if any(item.rule == "DP213" for item in findings):
            self.report.unknown.append(f"{stage.address}: it uses what cannot be watched")
        self._row(stage, seen, findings, complete)

    def _row(self, stage: Stage, seen: Seen, findings: list[Finding], complete: bool) -> None:
        self.report.findings += findings
        errors = sum(item.level == "error" for item in findings)
        words = f"{errors or 'no'} error{'' if errors == 1 else 's'}" if complete else "ended too early"
        words = "failed" if any(seen.statuses) else words
        counts = (str(len(seen.reads)), str(len(seen.writes))) if seen.reads else ("", "")
        self.report.table.append((stage.address, f"{seen.seconds:.1f}", *counts, words))

    def _failed(self, stage: Stage, result: Result, findings: list[Finding]) -> None:
        self.report.failed = True
        text = "it fails in a clean clone"
        fix = "Commit what it needs, or declare it, so that a clone has it."
        place = (stage.address, "", stage.file, stage.line)
        findings.insert(0, Finding("DP703", "error", text, fix, *place, evidence=result.last_lines))

    def _did_not_run(self, stage: Stage, result: Result) -> None:
        words = "frozen" if stage.frozen else "did not run" if stage.commands else "has no command"
        self.report.table.append((stage.address, "", "", "", words))
        if words == "did not run" and result.status is not None:
            last = result.last_lines.strip().splitlines() or [""]
            self.report.unknown.append(f"{stage.address} did not run: {last[-1]}")


def _holds(place: str, needed: set[str]) -> bool:
    return any(one.startswith(place + "/") or place.startswith(one + "/") for one in needed)
