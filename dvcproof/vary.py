"""Find out whether circumstances (the time zone, the language, the folder, chance) change the outputs of the stages.

Each stage runs twice from equal inputs, in two copies of a clean clone: plain, and with every circumstance varied. If
its outputs differ, the stage runs again: first unchanged, to see whether it differs by chance, and then with one
circumstance varied at a time. Stages that depend on it get the outputs of the plain run.
"""

import shutil
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from uuid import uuid4

import psutil

from dvcproof.alone import Outcome, Runner, declared, remove
from dvcproof.circumstances import ADVICE, Circumstance, circumstances, find_memory, tidy_clock
from dvcproof.clone import Clone, Result, full_disk, working_folder
from dvcproof.findings import Finding, Report
from dvcproof.inquiry import Inquiry
from dvcproof.judge import Exceptions, exceptions
from dvcproof.project import Project, Stage
from dvcproof.runtime.program import InputError

#: Number of copies of the project and its outputs that are in memory at the same time. They may fill 1/PART of it.
COPIES, PART = 6, 2

#: Time limit of a later run of a stage: SLOWER times the seconds of its plain run, plus MORE_SECONDS.
SLOWER, MORE_SECONDS = 10, 30


def vary(
    project: Project,
    *,
    stages: Sequence[str] = (),
    only: Sequence[str] = (),
    without: Sequence[str] = (),
    runs: int = 5,
    timeout: float = 600,
    keep: Path | None = None,
) -> Report:
    """Report which circumstances change the outputs of the stages in the last commit.

    Args:
        stages: the stages to run, with those that they depend on; empty for all.
        only: the circumstances to vary, keys of ADVICE; empty for all.
        without: the circumstances to leave unvaried.
        runs: the number of equal runs after which a stage counts as equal.
        timeout: seconds for one run of a stage.
        keep: a new folder for the clone, and its copies in which the stages ran. It is not deleted at the end.

    Raise InputError if there is no commit, or a stage or circumstance is unknown.
    """
    for name in (*only, *without):
        if name not in ADVICE:
            known = ", ".join(ADVICE)
            raise InputError("the circumstances", expected=f"some of {known}", received=name, hint="Correct the name.")
    if runs < 2:
        raise InputError("the number of runs", expected="2 or more", received=str(runs), hint="Give more.")
    names = [name for name in ADVICE if name in (only or ADVICE) and name not in without]
    targets = project.choose(stages)
    wanted = {stage.address for stage in targets}.union(*map(project.before, targets))
    todo = [one for one in project.stages if one.address in wanted and one.commands and not one.frozen]
    allowed = {stage.address: exceptions(stage) for stage in project.stages}
    report = Report("vary")
    if not todo:
        report.summary = "no stages to run"
        return report
    with working_folder(keep, "dvcproof-vary-") as folder, tidy_clock():
        memory, why = _find_room(project) if "order" in names else (None, "")
        with working_folder(None, "dvcproof-vary-", memory) if memory else nullcontext(folder) as room:
            clone = Clone(project, folder)
            clone.set_cache(str(clone.path / ".dvc" / "cache"))  # the copies have no cache of their own
            found = circumstances(folder, clone.environment(), order=why)
            varied = [one for one in found if one.name in names and not one.absent]
            absent = {one.name: one.absent for one in found if one.name in names and one.absent}
            if only:
                report.unknown += [f"{name} cannot be varied here: {reason}" for name, reason in absent.items()]
            trial = _Trial(Runner(project, clone, room), varied, allowed, report, runs, timeout)
            rows = [(stage.address, trial.examine(stage)) for stage in todo]
            report.table = [("stage", "result"), *rows]
            for place in room.glob("*-run") if keep is not None and room != folder else ():
                shutil.move(place, folder / place.name)
    texts = ", ".join(one.text for one in varied) or "nothing"
    report.summary = f"{len(todo)} stage{'s' if len(todo) > 1 else ''}, plain and varied in {texts}"
    if absent:
        reasons = (f"{name} ({reason})" for name, reason in absent.items())
        report.summary += f"; not varied here: {', '.join(reasons)}"
    if not varied:
        report.unknown.append("nothing could be varied")
    return report


def _find_room(project: Project) -> tuple[Path | None, str]:
    """Return a folder in memory, which is needed to vary the order of listings, or None and the reason."""
    memory = find_memory()
    if memory is None:
        return None, "there is no folder in memory from which programs may run"
    items = [*project.data, *(out for stage in project.stages for out in stage.outs)]
    files = (Path(name) for name in project.tracked)
    size = sum(item.size for item in items) + sum(path.stat().st_size for path in files if path.is_file())
    if size * COPIES * PART > min(shutil.disk_usage(memory).free, psutil.virtual_memory().available):
        return None, f"{COPIES} copies of the project's {size:,} bytes are too large for the memory"
    return memory, ""


@dataclass
class _Trial:
    """All runs of one call of `vary`.

    Args:
        varied: the circumstances to vary.
        exceptions: for each stage, what dvc.yaml allows.
        number: the number of equal runs after which a stage counts as equal.
        timeout: seconds for one run of a stage.
    """

    runner: Runner
    varied: Sequence[Circumstance]
    exceptions: Mapping[str, Exceptions]
    report: Report
    number: int
    timeout: float
    #: The stages that failed in the plain run, and those that depend on them.
    failed: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.plain = self.runner.copy(self.runner.clone.top, "plain-run")
        self.other = self.runner.copy(self.runner.clone.top, "varied-run", self.varied)

    def examine(self, stage: Stage) -> str:
        """Run a stage plain and varied, and report why its outputs differ. Return the result for the table."""
        name = stage.address
        if missing := sorted(self.runner.project.before(stage) & self.failed):
            self.failed.add(name)
            return f"did not run, since it depends on {missing[0]}"
        plain = self.runner.run(stage, self.plain, (), self.timeout)
        if plain.status != 0:
            self.failed.add(name)
            return self._failure(stage, plain)
        online = bool(self.exceptions[name].network)
        circumstances = [one for one in self.varied if one.name != "network" or not online]
        limit = min(self.timeout, SLOWER * plain.seconds + MORE_SECONDS)
        varied = self.runner.run(stage, self.other, circumstances, limit)
        if varied.equals(plain):
            return "equal"
        found = self._compare(stage, plain, varied, circumstances, limit)
        self.report.findings += found
        self.runner.give(stage, self.plain, self.other)
        short = {"DP301": "differs by chance", "DP302": "differs", "DP303": "fails"}
        words = ("differs, as dvc.yaml says" if one.level == "note" else short[one.rule] for one in found)
        return "; ".join(dict.fromkeys(words))

    def _failure(self, stage: Stage, plain: Outcome) -> str:
        """Report that a stage failed in the plain run. Return the result for the table."""
        clone = self.runner.clone
        words = full_disk(plain.said, self.runner.folder)
        if plain.status is None:
            self.report.unknown.append(f"it takes longer than {self.timeout:g} s: {stage.address}")
        elif words or clone.missing:
            self.report.unknown.append(words or f"data is missing: {', '.join(clone.missing)}. Run `dvc pull`")
        else:
            self.report.failed = True
            said = Result(plain.status, plain.said).last_lines
            self.report.findings.append(
                stage.finding("DP703", "it fails in a clean clone", "Correct it.", evidence=said)
            )
        return "failed"

    def _compare(
        self, stage: Stage, plain: Outcome, varied: Outcome, circumstances: Sequence[Circumstance], limit: float
    ) -> list[Finding]:
        """Return the findings about a stage whose two runs differ."""
        excuses = self.exceptions[stage.address].varies

        def judged(outcome: Outcome) -> Outcome:
            """Return an outcome without the outputs that may vary."""
            files = {path: one for path, one in outcome.files.items() if declared(stage, path) not in excuses}
            return replace(outcome, files=files)

        paths = (path for path in {**plain.files, **varied.files} if plain.files.get(path) != varied.files.get(path))
        differing = {declared(stage, path) for path in paths} if varied.status == 0 else set()
        found = [
            stage.finding("DP302", f"{path} differs, as dvc.yaml says: {why}", path=path, level="note")
            for path, why in excuses.items()
            if path in differing
        ]
        if judged(varied).equals(judged(plain)):
            return found

        def run(ones: Sequence[Circumstance]) -> Outcome:
            top = self.runner.copy(self.plain, f"alone-{uuid4().hex}", ones)
            return judged(self.runner.run(stage, top, ones, limit))

        inquiry = Inquiry(stage, run, circumstances, self.number)
        found += inquiry.findings() or [inquiry.once(judged(plain), judged(varied))]
        for place in self.runner.folder.glob("alone-*"):
            remove(place)
        return found
