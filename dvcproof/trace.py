"""Run each stage in a clean clone, and compare the files that it reads and writes with those that it declares."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from dvcproof import box, strace
from dvcproof.clone import Clone, Result, working_folder
from dvcproof.findings import Finding, Report
from dvcproof.git import changed_files, top_folder
from dvcproof.hook import Hook
from dvcproof.judge import Ground, Judge, require_reasons, under
from dvcproof.patch import patched
from dvcproof.project import Project, Stage
from dvcproof.strace import Seen

#: The limits of each method.
BLIND = {
    "strace": "not seen: environment variables, files that are only looked up (stat), containers and daemons",
    "box": "not seen: files that are read only if they exist, files outside of the project, the network, "
    "environment variables, containers and daemons",
}


def trace(
    project: Project,
    *,
    stages: Sequence[str] = (),
    how: Literal["auto", "strace", "box"] = "auto",
    patch: bool = False,
    timeout: float = 600,
    keep: Path | None = None,
    allow_network: bool = False,
) -> Report:
    """Run stages in a clean clone, and compare the files that they use with those that they declare.

    Args:
        stages: names of stages; empty for all.
        how: 'strace', 'box' (run each stage in a folder with only its declared files), or 'auto' (strace if it works).
        patch: whether to print the corrections to dvc.yaml as a unified diff.
        timeout: seconds for one run of the stages.
        keep: a new folder for the clone, which is not deleted at the end.
        allow_network: whether the stages may use the network.

    Raise InputError if a stage is unknown, an exception has no reason, or there is nothing to clone.
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
            chosen = inside.choose(stages)
            require_reasons(inside.stages)
            ground = Ground(inside, clone, str(top_folder(project.root)[0]), allow_network)
            report.unknown += [f"the data of {name} is not in the cache" for name in clone.missing] + clone.obstacles
            trial = _Run(project, ground, chosen, report)
            trial.run(way, timeout)
    changed = "; what is not committed was left out" if changed_files(project.root) else ""
    number = f"{len(chosen)} stage{'' if len(chosen) == 1 else 's'}"
    report.summary = f"{number} of commit {clone.commit}{changed}; {BLIND[way]}"
    if patch:
        sys.stdout.write(patched(project, report))
    return report


class _Run:
    """One run of the stages, and its report."""

    def __init__(self, project: Project, ground: Ground, chosen: list[Stage], report: Report) -> None:
        self.project, self.ground, self.chosen, self.report = project, ground, chosen, report
        self.clone, self.inside = ground.clone, ground.project

    def run(self, way: Literal["strace", "box"], timeout: float) -> None:
        """Run the stages, and fill the report.

        With 'box', run the stages normally, and then each stage that succeeded in boxes.
        """
        self.report.table.append(("stage", "seconds", "read", "written", "result"))
        make = strace.make_hook if way == "strace" else Hook
        hook = make(self.clone.folder / way)
        result = self._repro(hook, timeout)
        seen, again = strace.read_all(hook), {}
        if way == "box":
            box.restore(self.ground)
        elif keeping := self._keeping():
            hook = make(self.clone.folder / "again")
            self._dvc(["--single-item", *keeping], hook, timeout)
            again = strace.read_all(hook)
        for stage in self.inside.stages:
            if stage.address in seen:
                self._judge(way, stage, seen[stage.address], again.get(stage.address), result)
            elif stage in self.chosen:
                self._did_not_run(stage, result)
        if result.status is None:
            text = f"the stages took longer than {timeout:g} s (or left a program in the background)"
            self.report.unknown.append(f"{text}, and were ended")

    def _repro(self, hook: Hook, timeout: float) -> Result:
        """Run the chosen stages. Run stages that they depend on only if the project's cache lacks those outputs."""
        words = ["--all-pipelines"]
        addresses = [stage.address for stage in self.chosen]
        if len(addresses) < len(self.inside.stages):
            others = [out for stage in self.project.stages if stage.address not in addresses for out in stage.outs]
            made = [item for stage in self.inside.stages if stage not in self.chosen for item in stage.outs]
            self.clone.supply(self.project, others)
            needed = {item.place for stage in self.chosen for item in stage.deps if item.local}
            near = [(item, one) for item in made for one in needed]
            used = [item for item, one in near if under(item.place, [one]) or under(one, [item.place])]
            words = ["--single-item"] if all(item.exists for item in used) else []
            words += addresses
        return self._dvc(words, hook, timeout)

    def _dvc(self, words: Sequence[str], hook: Hook, timeout: float) -> Result:
        return self.clone.repro(*words, timeout=timeout, PYTHONDONTWRITEBYTECODE="1", **hook.variables())

    def _keeping(self) -> list[str]:
        """Return the stages with persistent outputs. They need a second run, which finds the outputs of the first."""
        thawed = [stage for stage in self.chosen if not stage.frozen]
        return [stage.address for stage in thawed if any(out.persist and out.exists for out in stage.outs)]

    def _judge(self, way: str, stage: Stage, seen: Seen, again: Seen | None, result: Result) -> None:
        complete = all(status == 0 for status in seen.statuses) and len(seen.statuses) == len(stage.commands)
        findings: list[Finding] = []
        params: list[str] = []
        if way == "strace":
            judge = Judge(self.ground, stage, seen, complete=complete, output=result.output)
            findings, params = judge.judge(), judge.undeclared_params
        if again:
            later = Judge(self.ground, stage, again, complete=False).judge()
            findings += [item for item in later if item.rule == "DP212" and item not in findings]
        if stage not in self.chosen:
            return
        if any(seen.statuses):
            self.report.failed = True
            fix = "Commit what it needs, or declare it, so that a clone has it."
            findings.insert(0, stage.finding("DP703", "it fails in a clean clone", fix, evidence=result.last_lines))
        elif complete and way == "box":
            findings = box.declared_only(self.ground, stage, seen.seconds, self.report)
        elif complete:
            findings = box.check_parameters(self.ground, stage, seen, findings, params)
        if seen.strange:
            self.report.unknown.append(f"{stage.address}: {seen.strange} lines of strace could not be read")
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

    def _did_not_run(self, stage: Stage, result: Result) -> None:
        words = "frozen" if stage.frozen else "did not run" if stage.commands else "has no command"
        self.report.table.append((stage.address, "", "", "", words))
        if words == "did not run" and result.status is not None:
            last = result.last_lines.strip().splitlines() or [""]
            self.report.unknown.append(f"{stage.address} did not run: {last[-1]}")
