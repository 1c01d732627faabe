"""Find out whether circumstances (the time zone, the language, the folder, chance) change the outputs of the stages.

The pipeline runs twice: a plain run, and a run with every circumstance varied. If a stage's outputs differ although its
inputs are equal, the stage runs alone from the inputs of the plain run. It first runs unchanged, to see whether it
differs by chance, and then with one circumstance varied at a time.
"""

import shlex
import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import psutil

from dvcproof.alone import OTHER_FOLDER, Alone, Difference, local_outs, show_difference
from dvcproof.circumstances import ADVICE, Circumstance, circumstances, copy_tree, find_memory, shell_words, tidy_clock
from dvcproof.clone import Clone, Result, full_disk, working_folder
from dvcproof.findings import Finding, Report
from dvcproof.hook import Hook
from dvcproof.inquiry import Inquiry, excuse_hint
from dvcproof.project import Project, Stage
from dvcproof.runtime.program import InputError

#: Number of copies of the project and its outputs that are in memory at the same time. They may fill 1/PART of it.
COPIES, PART = 6, 2


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
        timeout: seconds for one run of the pipeline, and for one run of a stage alone.
        keep: a new folder for the clones of the plain and the varied run, which is not deleted at the end.

    Raise InputError if there is no commit, or a stage or circumstance is unknown.
    """
    for name in (*only, *without):
        if name not in ADVICE:
            known = ", ".join(ADVICE)
            raise InputError("the circumstances", expected=f"some of {known}", received=name, hint="Correct the name.")
    chosen = [name for name in ADVICE if name in (only or ADVICE) and name not in without]
    targets = [stage.address for stage in project.choose(stages)] if stages else ["--all-pipelines"]
    for stage in project.stages:
        _excuses(stage)
    if runs < 2:
        raise InputError("the number of runs", expected="2 or more", received=str(runs), hint="Give more.")
    report = Report("vary")
    if not any(not stage.frozen for stage in project.stages):
        report.summary = "no stages to run"
        return report
    with working_folder(keep, "dvcproof-vary-") as folder, tidy_clock():
        memory, why = _find_room(project) if "order" in chosen else (None, "")
        with working_folder(None, "dvcproof-vary-", memory) if memory else nullcontext(folder) as room:
            trial = _Trial(project, folder, room, chosen, report)
            trial.targets, trial.runs, trial.timeout = targets, runs, timeout
            if why:
                trial.absent["order"] = why
            if only:
                report.unknown += [f"{name} cannot be varied here: {reason}" for name, reason in trial.absent.items()]
            trial.examine()
            if keep is not None and room != folder:
                for place in room.glob("*-run"):
                    shutil.move(place, folder / place.name)
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
class _Run:
    """A run of the pipeline in a clone.

    Args:
        statuses: the exit status of each stage that began; None: the stage did not end.
        hashes: for each stage, the hashes of its outputs in dvc.lock, by path.
    """

    clone: Clone
    result: Result
    statuses: dict[str, int | None]
    hashes: dict[str, dict[str, str | None]]


class _Trial:
    """All runs of one call of `vary`.

    Args:
        folder: the folder of the clones and hooks.
        room: the folder of the runs. It is in memory if the order of listings is varied.
    """

    targets: Sequence[str]
    runs: int
    timeout: float

    def __init__(self, project: Project, folder: Path, room: Path, chosen: Sequence[str], report: Report) -> None:
        self.project, self.folder, self.room, self.report = project, folder, room, report
        self.plain_clone = self._clone("plain")
        found, absent = circumstances(folder, self.plain_clone.environment())
        found.append(Circumstance("folder", "folder (its name has a space and a letter that is not ASCII)"))
        if room != folder:
            found.append(Circumstance("order", "order of listings of folders"))
        self.varied = [one for one in found if one.name in chosen]
        self.absent = {name: why for name, why in absent.items() if name in chosen}
        #: The result of each stage by address. `bad`: stages that differ; `excused`: stages that may differ.
        self.results: dict[str, str] = {}
        self.bad: set[str] = set()
        self.excused: set[str] = set()

    def examine(self) -> None:
        """Run the pipeline twice, compare the runs, and find the causes of the differences."""
        report = self.report
        plain = self._run(self.plain_clone, (), "plain")
        if not self._is_good(plain):
            return
        varied = self._run(self._clone("varied"), self.varied, "varied")
        stages = [one for one in self.project.stages if one.address in plain.statuses]
        for stage in stages:
            self.results[stage.address] = self._examine(stage, plain, varied)
        if varied.result.status != 0 and not report.findings:
            words = full_disk(varied.result.output, varied.clone.folder) or varied.result.last_lines
            report.unknown.append(f"`dvc repro` fails with everything varied, but no stage does: {words}")
        report.table = [("stage", "result"), *((one.address, self.results[one.address]) for one in stages)]
        names = ", ".join(one.text for one in self.varied) or "nothing"
        absent = ", ".join(f"{name} ({why})" for name, why in self.absent.items())
        report.summary = f"{len(stages)} stage{'s' if len(stages) > 1 else ''}, plain and varied in {names}"
        report.summary += f"; not varied here: {absent}" if absent else ""
        if not self.varied:
            report.unknown.append("nothing could be varied")

    def _clone(self, name: str) -> Clone:
        """Make a clone. Runs use copies of the clone, but its cache stays in place."""
        clone = Clone(self.project, self.folder / f"{name}-clone")
        clone.set_cache(str(clone.path / ".dvc" / "cache"))
        return clone

    def _run(self, clone: Clone, varied: Sequence[Circumstance], name: str) -> _Run:
        """Run the pipeline in a copy of a clone. The copy has the same path each time, unless the folder is varied."""
        names = [one.name for one in varied]
        place = self.room / (OTHER_FOLDER if "folder" in names else "work") / "project"
        copy_tree(clone.top, place, backwards="order" in names)
        prefix = clone.path.relative_to(clone.top)
        clone.top, clone.path = place, place / prefix
        online = [stage.address for stage in self.project.stages if stage.settings.get("network")]
        rest = shlex.join(shell_words(one for one in varied if one.name != "network"))
        hook = Hook(self.folder / f"{name}-hook", shlex.join(shell_words(varied)), special=(online, rest))
        result = clone.repro(*self.targets, timeout=self.timeout, **hook.variables())
        kept = self.room / f"{name}-run"
        place.rename(kept)
        clone.top, clone.path = kept, kept / prefix
        with Project.open(clone.path) as project:
            hashes = {stage.address: {out.path: out.digest for out in stage.outs} for stage in project.stages}
        return _Run(clone, result, {stage: call.status for stage, call in hook.calls().items()}, hashes)

    def _is_good(self, plain: _Run) -> bool:
        """Return whether the plain run succeeded. If not, report the reason."""
        if plain.result.status == 0:
            return True
        report, stages = self.report, {one.address: one for one in self.project.stages}
        failed = [name for name, status in plain.statuses.items() if status]
        report.summary = "the plain run, in a clean clone, did not succeed"
        if plain.result.status is None:
            running = [name for name, status in plain.statuses.items() if status is None]
            report.unknown.append(f"it takes longer than {self.timeout:g} s: {', '.join(running) or 'dvc repro'}")
        elif words := full_disk(plain.result.output, plain.clone.folder):
            report.unknown.append(words)
        elif plain.clone.missing:
            missing = ", ".join(plain.clone.missing)
            report.unknown.append(f"data is missing: {missing}. Run `dvc pull`")
        elif failed:
            stage, report.failed = stages[failed[0]], True
            said = plain.result.last_lines
            report.findings.append(stage.finding("DP703", "it fails in a clean clone", "Correct it.", evidence=said))
        else:
            report.unknown.append(f"`dvc repro` fails: {plain.result.last_lines}")
        return False

    def _examine(self, stage: Stage, plain: _Run, varied: _Run) -> str:
        """Return the result of a stage in the varied run. Find the cause if only its outputs differ, not its inputs."""
        name, earlier = stage.address, self.project.before(stage)
        if earlier & self.bad:
            causes = ", ".join(one.address for one in self.project.stages if one.address in earlier & self.bad)
            return f"not examined, since its inputs differ: {causes}"
        if name not in varied.statuses:
            late = f", which takes longer than {self.timeout:g} s" if varied.result.status is None else ""
            self.report.unknown.append(f"stage {name} did not run with everything varied{late}")
            self.bad.add(name)
            return "did not run"
        expected, actual = plain.hashes.get(name, {}), varied.hashes.get(name, {})
        differing = [path for path in expected if expected[path] != actual.get(path)]
        if varied.statuses.get(name) == 0 and not differing:
            return "equal"
        excuses = _excuses(stage)
        excused = [path for path in differing if path in excuses] if varied.statuses.get(name) == 0 else []
        for path in excused:
            text = f"{path} differs, as dvc.yaml says: {excuses[path]}"
            self.report.findings.append(stage.finding("DP302", text, path=path, level="note"))
        if excused:
            self.excused.add(stage.address)
        if excused and len(excused) == len(differing):
            return "differs, as dvc.yaml says"
        return self._look_into(stage, plain, varied, excuses, bool(earlier & self.excused))

    def _look_into(self, stage: Stage, plain: _Run, varied: _Run, excuses: dict[str, str], fed: bool) -> str:
        """Run a stage alone to find why its outputs differ. Return the result for the table.

        Args:
            fed: whether inputs of the stage differed, as dvc.yaml allows. If so, the stage may be equal when run alone.
        """
        place, ignored = self.room / "alone", frozenset(excuses)
        alone = Alone(self.project, stage, plain.clone, folder=place, ignored=ignored, timeout=self.timeout)
        rest = [one for one in self.varied if one.name != "network" or not stage.settings.get("network")]
        try:
            inquiry = Inquiry(alone, rest, self.runs)
            if fed and inquiry.is_equal(rest):
                return "equal, alone"
            found = inquiry.findings() or [_once(self.project, stage, plain, varied, inquiry)]
        finally:
            alone.close()
        self.report.findings += found
        self.bad.add(stage.address)
        short = {"DP301": "differs by chance", "DP302": "differs", "DP303": "fails"}
        return "; ".join(dict.fromkeys(short[one.rule] for one in found))


def _excuses(stage: Stage) -> dict[str, str]:
    """Return the outputs that may vary, with reasons. Raise InputError if a reason is missing or an output unknown."""
    where, given = f"{stage.file}, {stage.name}, meta.dvcproof.varies", stage.settings.get("varies") or {}
    paths = [out.path for out in stage.outs]
    if not isinstance(given, dict):
        raise InputError(where, expected="{PATH: reason}", received=repr(given), hint="Correct it.")
    for path, reason in given.items():
        if path not in paths:
            raise InputError(
                where, expected=f"an output, as {', '.join(paths)}", received=str(path), hint="Correct it."
            )
        if not isinstance(reason, str) or not reason.strip():
            raise InputError(where, f"{path} has no reason", hint="Write why it may vary.")
    return given


def _once(project: Project, stage: Stage, plain: _Run, varied: _Run, inquiry: Inquiry) -> Finding:
    """Return the finding for a difference that no run of the stage alone has repeated."""
    number, name = inquiry.alone.runs, stage.address
    if varied.statuses.get(name) != 0:
        text = f"it fails with everything varied at once, but not alone, in {number} runs"
        return stage.finding("DP303", text, "Run it several times to see why.", evidence=varied.result.last_lines)
    difference = Difference(name, "")
    for out, place in local_outs(project, stage):
        if plain.hashes[name][out.path] != varied.hashes[name].get(out.path):
            files = plain.clone.path / place, varied.clone.path / place
            difference = Difference(out.path, show_difference(*files) if all(map(Path.is_file, files)) else "")
            break
    text = f"{difference.path} differed once, but not again in {number} runs: a rare difference by chance"
    fix = f"Look for threads and unseeded random numbers. {excuse_hint(difference.path)}"
    return stage.finding("DP301", text, fix, path=difference.path, evidence=difference.how)
