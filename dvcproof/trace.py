"""Run each stage in a clean clone, and compare the files that it reads and writes with those that it declares."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dvcproof import box, strace
from dvcproof.clone import Clone, Result, working_folder
from dvcproof.findings import Finding, Report
from dvcproof.git import changed_files, git, top_folder
from dvcproof.hook import Hook
from dvcproof.judge import Ground, Judge, exceptions, under
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
    way = "box" if how == "box" or reason else "strace"
    with working_folder(keep, "dvcproof-trace-") as folder:
        clone = Clone(project, folder)
        with Project.open(clone.path) as inside:
            chosen = inside.choose(stages)
            for stage in inside.stages:
                exceptions(stage)  # before anything is run
            ground = Ground(inside, clone, str(top_folder(project.root)[0]), allow_network)
            report.unknown += [f"the data of {name} is not in the cache" for name in clone.missing] + clone.obstacles
            _Trial(project, ground, chosen, report, timeout).run(way)
    changed = "; what is not committed was left out" if changed_files(project.root) else ""
    number = f"{len(chosen)} stage{'' if len(chosen) == 1 else 's'}"
    report.summary = f"{number} of commit {clone.commit}{changed}; {BLIND[way]}"
    if patch:
        sys.stdout.write(patched(project, report))
    return report


@dataclass
class _Trial:
    """One run of the chosen stages, and its report."""

    project: Project
    ground: Ground
    chosen: list[Stage]
    report: Report
    timeout: float

    def run(self, way: str) -> None:
        """Run the stages, and fill the report.

        With 'box', run the stages normally, and then each stage that succeeded in boxes.
        """
        self.report.table.append(("stage", "seconds", "read", "written", "result"))
        inside, make = self.ground.project, strace.make_hook if way == "strace" else Hook
        hook = make(self.ground.clone.folder / way)
        result = self._dvc(self._targets(), hook)
        seen, again = strace.read_all(hook), {}
        # Stages with persistent outputs need a second run, which finds the outputs of the first.
        thawed = [stage for stage in self.chosen if not stage.frozen]
        keeping = [stage.address for stage in thawed if any(out.persist and out.exists for out in stage.outs)]
        if way == "box":
            self._restore()
        elif keeping:
            hook = make(self.ground.clone.folder / "again")
            self._dvc(["--single-item", *keeping], hook)
            again = strace.read_all(hook)
        for stage in inside.stages:
            if stage.address in seen:
                self._judge(way, stage, seen[stage.address], again.get(stage.address), result)
            elif stage in self.chosen:
                words = "frozen" if stage.frozen else "did not run" if stage.commands else "has no command"
                self.report.table.append((stage.address, "", "", "", words))
                if words == "did not run" and result.status is not None:
                    last = result.last_lines.strip().splitlines() or [""]
                    self.report.unknown.append(f"{stage.address} did not run: {last[-1]}")
        if result.status is None:
            text = f"the stages took longer than {self.timeout:g} s (or left a program in the background)"
            self.report.unknown.append(f"{text}, and were ended")

    def _targets(self) -> list[str]:
        """Return the arguments of `dvc repro` for the chosen stages.

        Stages that they depend on run only if the project's cache lacks outputs of these that the chosen stages need.
        """
        inside, addresses = self.ground.project, [stage.address for stage in self.chosen]
        if len(addresses) == len(inside.stages):
            return ["--all-pipelines"]
        others = [out for stage in self.project.stages if stage.address not in addresses for out in stage.outs]
        self.ground.clone.supply(self.project, others)
        needed = [item.place for stage in self.chosen for item in stage.deps if item.local]
        made = [item for stage in inside.stages if stage not in self.chosen for item in stage.outs]
        used = [item for item in made for one in needed if under(item.place, [one]) or under(one, [item.place])]
        return [*(["--single-item"] if all(item.exists for item in used) else []), *addresses]

    def _dvc(self, words: Sequence[str], hook: Hook) -> Result:
        variables = {"PYTHONDONTWRITEBYTECODE": "1"} | hook.variables()
        return self.ground.clone.repro(*words, timeout=self.timeout, **variables)

    def _restore(self) -> None:
        """Restore the tracked files in the clone that a stage may have changed, except outputs and dvc.lock."""
        top, inside = self.ground.clone.top, self.ground.project
        outs = [out.place for stage in inside.stages for out in stage.outs if out.local]
        for name in changed_files(top):
            path = top / name
            if inside.is_tracked(str(path)) and not under(str(path), outs) and path.name != "dvc.lock":
                git(top, "checkout", "--quiet", "--", name)

    def _judge(self, way: str, stage: Stage, seen: Seen, again: Seen | None, result: Result) -> None:
        complete = all(status == 0 for status in seen.statuses) and len(seen.statuses) == len(stage.commands)
        findings: list[Finding] | None = None
        if way == "box":
            findings = box.look(self.ground, stage, seen, self.report) if complete and stage in self.chosen else []
        if findings is None:
            judge = Judge(self.ground, stage, seen, complete=complete, output=result.output)
            findings = judge.judge()
            if again:
                later = Judge(self.ground, stage, again, complete=False).judge()
                findings += [item for item in later if item.rule == "DP212" and item not in findings]
            if complete and stage in self.chosen:
                findings = box.check_parameters(self.ground, stage, seen, findings, judge.undeclared_params)
        if stage not in self.chosen:
            return
        errors = sum(item.level == "error" for item in findings)
        words = f"{errors or 'no'} error{'' if errors == 1 else 's'}" if complete else "ended too early"
        if any(seen.statuses):
            self.report.failed, words = True, "failed"
            fix = "Commit what it needs, or declare it, so that a clone has it."
            findings.insert(0, stage.finding("DP703", "it fails in a clean clone", fix, evidence=result.last_lines))
        if seen.strange:
            self.report.unknown.append(f"{stage.address}: {seen.strange} lines of strace could not be read")
        if any(item.rule == "DP213" for item in findings):
            self.report.unknown.append(f"{stage.address}: it uses what cannot be watched")
        self.report.findings += findings
        counts = (str(len(seen.reads)), str(len(seen.writes))) if seen.reads else ("", "")
        self.report.table.append((stage.address, f"{seen.seconds:.1f}", *counts, words))
