"""Find out whether circumstances change what the stages write: the time zone, the language, the folder, chance.

Two runs if none does: a plain one, and one with everything varied at once. Else each stage that differs, though its
inputs are equal, is run alone from the inputs of the plain run: as before, to see whether chance is at work, and then
with one circumstance varied at a time.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from dvcproof.alone import OTHER_FOLDER, Alone, Difference, local_outs, show_difference
from dvcproof.circumstances import (
    ADVICE,
    Circumstance,
    circumstances,
    copy_tree,
    find_memory,
    tidy_clock,
    write_shell,
)
from dvcproof.clone import Clone, Result, full_disk, working_folder
from dvcproof.findings import Finding, Report
from dvcproof.inquiry import Inquiry, excuse_hint
from dvcproof.project import Project, Stage
from dvcproof.runtime.program import InputError

#: Copies of the project and its outputs that are in memory at one time, and the part of it that may be used.
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
    """Say which circumstances change what the stages of the last commit write.

    Args:
        project: the project; its last commit is run, in clones.
        stages: run these, and those that they depend on; none of them: all.
        only: vary only these circumstances, keys of ADVICE.
        without: vary these not.
        runs: how often a stage runs to be called equal to itself.
        timeout: seconds for one run of the pipeline, and for one of a stage alone.
        keep: a new folder, where the clones of the plain and of the varied run stay.

    Raises:
        InputError: there is no commit, or no stage or circumstance of such a name.
    """
    chosen, targets = _chosen(only, without), _targets(project, stages)
    for stage in project.stages:
        _excuses(stage)
    if runs < 2:
        raise InputError("the number of runs", expected="2 or more", received=str(runs), hint="Give more.")
    report = Report("vary")
    if not any(not stage.frozen for stage in project.stages):
        report.summary = "no stages to run"
        return report
    with working_folder(keep, "dvcproof-vary-") as folder, tidy_clock(), _room(project, folder, chosen) as room:
        trial = _Trial(
            project=project,
            folder=folder,
            room=room,
            chosen=chosen,
            targets=targets,
            runs=runs,
            timeout=timeout,
            report=report,
        )
        if only:
            report.unknown += [f"{name} cannot be varied here: {why}" for name, why in trial.absent.items()]
        trial.examine()
        if keep is not None:
            trial.keep()
    return report


def _chosen(only: Sequence[str], without: Sequence[str]) -> list[str]:
    for name in (*only, *without):
        if name not in ADVICE:
            known = ", ".join(ADVICE)
            raise InputError("the circumstances", expected=f"some of {known}", received=name, hint="Correct the name.")
    return [name for name in ADVICE if name in (only or ADVICE) and name not in without]


def _targets(project: Project, stages: Sequence[str]) -> list[str]:
    found = []
    for name in stages:
        matching = [one for one in project.stages if name in (one.address, one.address.partition("@")[0])]
        if not matching:
            known = ", ".join(one.address for one in project.stages)
            raise InputError(f"stage {name}", f"dvc.yaml has none of this name, but {known}", hint="Correct the name.")
        found += [one.address for one in matching]
    return found


@dataclass(frozen=True)
class _Room:
    """Where the runs take place.

    Args:
        folder: in memory, so that the order of listings can be varied, or on the disk.
        arranged: whether the order of listings can be varied there.
        why: the reason if not.
    """

    folder: Path
    arranged: bool
    why: str = ""


@contextmanager
def _room(project: Project, folder: Path, chosen: Sequence[str]) -> Iterator[_Room]:
    """Give a folder in memory if the order of listings is to be varied, and if the project is small enough."""
    memory = find_memory() if "order" in chosen else None
    if memory is None:
        yield _Room(folder, False, "there is no folder in memory from which programs may run")
        return
    size = _size(project)
    free = min(shutil.disk_usage(memory).free, _free_memory())
    if size * COPIES * PART > free:
        yield _Room(folder, False, f"the project's {size:,} bytes are too many to be in memory {COPIES} times")
        return
    place = Path(tempfile.mkdtemp(prefix="dvcproof-vary-", dir=memory))
    try:
        yield _Room(place, True)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _size(project: Project) -> int:
    """Return the bytes of a clone with its data and outputs, as far as they are known."""
    items = [*project.data, *(out for stage in project.stages for out in stage.outs)]
    files = (Path(name) for name in project.tracked)
    return sum(item.size for item in items) + sum(path.stat().st_size for path in files if path.is_file())


def _free_memory() -> int:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        return 0


@dataclass
class _Run:
    """A run of the pipeline in a clone.

    Args:
        clone: the clone.
        result: what DVC did.
        statuses: of each stage that began, its exit status; None: it did not end.
        hashes: of each stage, what dvc.lock records of its outputs.
    """

    clone: Clone
    result: Result
    statuses: dict[str, int | None] = field(default_factory=dict)
    hashes: dict[str, dict[str, str | None]] = field(default_factory=dict)

    def ran(self, name: str) -> bool:
        """Return whether a stage ran to its end."""
        return self.statuses.get(name) == 0


class _Trial:
    """All runs of one call of `vary`."""

    def __init__(
        self,
        *,
        project: Project,
        folder: Path,
        room: _Room,
        chosen: Sequence[str],
        targets: Sequence[str],
        runs: int,
        timeout: float,
        report: Report,
    ) -> None:
        self.project, self.folder, self.room, self.targets = project, folder, room, targets
        self.runs, self.timeout, self.report = runs, timeout, report
        self.plain_clone = self._clone("plain")
        found, absent = circumstances(folder, self.plain_clone.environment())
        found.append(Circumstance("folder", "folder (its name has a space and a letter that is not ASCII)"))
        if room.arranged:
            found.append(Circumstance("order", "order of listings of folders"))
        else:
            absent["order"] = room.why
        self.varied = [one for one in found if one.name in chosen]
        self.absent = {name: why for name, why in absent.items() if name in chosen}
        #: By the address of a stage: what became of it. `bad`: it differs; `excused`: it may.
        self.results: dict[str, str] = {}
        self.bad: set[str] = set()
        self.excused: set[str] = set()

    def examine(self) -> None:
        """Run twice, compare, and look into what differs."""
        report = self.report
        plain = self._run(self.plain_clone, (), sorted, "plain")
        if not self._is_good(plain):
            return
        varied = self._run(self._clone("varied"), self.varied, _backwards, "varied")
        stages = [one for one in self.project.stages if one.address in plain.statuses]
        for stage in stages:
            self.results[stage.address] = self._examine(stage, plain, varied)
        if varied.result.status != 0 and not report.findings:
            words = full_disk(varied.result.output, varied.clone.folder) or varied.result.last_lines
            report.unknown.append(f"`dvc repro` fails with everything varied, but no stage does: {words}")
        report.table = [("stage", "result"), *((one.address, self.results[one.address]) for one in stages)]
        report.summary = self._summary(len(stages))
        if not self.varied:
            report.unknown.append("nothing could be varied")

    def keep(self) -> None:
        """Move the clones to the disk."""
        for name in ("plain", "varied"):
            place = self.room.folder / f"{name}-run"
            if place.exists() and self.room.folder != self.folder:
                shutil.move(place, self.folder / place.name)

    def _summary(self, number: int) -> str:
        varied = ", ".join(one.text for one in self.varied) or "nothing"
        absent = ", ".join(f"{name} ({why})" for name, why in self.absent.items())
        text = f"{number} stage{'s' if number > 1 else ''}, plain and varied in {varied}"
        return f"{text}; not varied here: {absent}" if absent else text

    def _clone(self, name: str) -> Clone:
        """Make a clone, from which a run gets a copy. Its cache stays where it is."""
        clone = Clone(self.project, self.folder / f"{name}-clone")
        clone.set_cache(str(clone.path / ".dvc" / "cache"))
        return clone

    def _run(
        self, clone: Clone, varied: Sequence[Circumstance], arrange: Callable[[list[str]], list[str]], name: str
    ) -> _Run:
        """Run the pipeline in a copy of a clone; where the folder is not varied, in the same place each time."""
        names = [one.name for one in varied]
        place = self.room.folder / (OTHER_FOLDER if "folder" in names else "work") / "project"
        copy_tree(clone.top, place, arrange if self.room.arranged else list)
        clone.path, prefix = place / clone.path.relative_to(clone.top), clone.path.relative_to(clone.top)
        clone.top = place
        log = self.folder / f"{name}.log"
        log.touch()
        shell = self._shell(name, varied, log)
        what = self.targets or ["--all-pipelines"]
        result = clone.dvc(
            "repro", "--force", "--no-run-cache", "--keep-going", *what, timeout=self.timeout, SHELL=str(shell)
        )
        kept = self.room.folder / f"{name}-run"
        place.rename(kept)
        clone.top, clone.path = kept, kept / prefix
        return _Run(clone, result, _statuses(log), _hashes(clone.path))

    def _shell(self, name: str, varied: Sequence[Circumstance], log: Path) -> Path:
        online = [stage.address for stage in self.project.stages if stage.settings.get("network") is True]
        rest = [one for one in varied if one.name != "network"]
        other = write_shell(self.folder / f"{name}-online.sh", rest, log)
        return write_shell(self.folder / f"{name}.sh", varied, log, (other, online))

    def _is_good(self, plain: _Run) -> bool:
        """Return whether the plain run ended well; else say why not."""
        if plain.result.status == 0:
            return True
        report, stages = self.report, {one.address: one for one in self.project.stages}
        failed = [name for name, status in plain.statuses.items() if status]
        report.summary = "the plain run, in a clean clone, did not end well"
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
            report.findings.append(stage.finding("DP703", "it fails in a clean clone", "Mend it.", evidence=said))
        else:
            report.unknown.append(f"`dvc repro` fails: {plain.result.last_lines}")
        return False

    def _examine(self, stage: Stage, plain: _Run, varied: _Run) -> str:
        """Say what became of a stage in the varied run; look into a difference that is its own."""
        name, earlier = stage.address, self.project.before(stage)
        if earlier & self.bad:
            causes = ", ".join(one.address for one in self.project.stages if one.address in earlier & self.bad)
            return f"not examined, since its inputs differ: {causes}"
        if name not in varied.statuses:
            late = f", which takes longer than {self.timeout:g} s" if varied.result.status is None else ""
            self.report.unknown.append(f"stage {name} did not run with everything varied{late}")
            self.bad.add(stage.address)
            return "did not run"
        expected, actual = plain.hashes.get(name, {}), varied.hashes.get(name, {})
        differing = [path for path in expected if expected[path] != actual.get(path)]
        if varied.ran(name) and not differing:
            return "equal"
        excuses = _excuses(stage)
        excused = [path for path in differing if path in excuses] if varied.ran(name) else []
        for path in excused:
            text = f"{path} differs, as dvc.yaml says: {excuses[path]}"
            self.report.findings.append(stage.finding("DP302", text, path=path, level="note"))
        if excused:
            self.excused.add(stage.address)
        if excused and len(excused) == len(differing):
            return "differs, as dvc.yaml says"
        return self._look_into(stage, plain, varied, excuses, bool(earlier & self.excused))

    def _look_into(self, stage: Stage, plain: _Run, varied: _Run, excuses: dict[str, str], fed: bool) -> str:
        """Run a stage alone to find why it differs. `fed`: its inputs differed already, so alone it may be equal."""
        alone = Alone(
            project=self.project,
            stage=stage,
            clone=plain.clone,
            folder=self.room.folder / "alone",
            later=[one for one in self.project.stages if stage.address in self.project.before(one)],
            ignored=frozenset(excuses),
            timeout=self.timeout,
        )
        rest = [one for one in self.varied if one.name != "network" or stage.settings.get("network") is not True]
        try:
            inquiry = Inquiry(alone, rest, self.runs)
            if fed and inquiry.is_equal():
                return "equal, alone"
            found = inquiry.findings() or [_once(self.project, stage, plain, varied, inquiry)]
        finally:
            alone.close()
        self.report.findings += found
        self.bad.add(stage.address)
        return "; ".join(dict.fromkeys(_short(one) for one in found))


def _backwards(names: list[str]) -> list[str]:
    return sorted(names, reverse=True)


def _statuses(log: Path) -> dict[str, int | None]:
    """Read what the shells noted: of a stage with several commands, the first failure counts."""
    found: dict[str, int | None] = {}
    for line in log.read_text(encoding="utf-8").splitlines():
        word, _, name = line.partition(" ")
        if word == "start":
            found[name] = found.get(name) or None
        elif not found.get(name):
            found[name] = int(word)
    return found


def _hashes(root: Path) -> dict[str, dict[str, str | None]]:
    with Project.open(root) as project:
        return {stage.address: {out.path: out.digest for out in stage.outs} for stage in project.stages}


def _excuses(stage: Stage) -> dict[str, str]:
    """Return the outputs that may vary, and why.

    Raises:
        InputError: there is no reason, or no such output.
    """
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
    """Tell of a difference that was seen, and that no run of the stage alone shows again."""
    number, name = inquiry.alone.runs, stage.address
    if not varied.ran(name):
        text = f"it fails with everything varied at once, but not alone, in {number} runs"
        return stage.finding("DP303", text, "Run it several times to see why.", evidence=varied.result.last_lines)
    paths = [(out.path, place) for out, place in local_outs(project, stage)]
    hashes = plain.hashes[name], varied.hashes[name]
    difference = Difference(name, "")
    for path, place in paths:
        if hashes[0][path] != hashes[1].get(path):
            files = plain.clone.path / place, varied.clone.path / place
            shown = show_difference(*files) if all(file.is_file() for file in files) else ""
            difference = Difference(path, shown)
            break
    text = f"{difference.path} differed once, but not again, in {number} runs: it seldom differs by chance"
    fix = f"Look for threads and unseeded random numbers. {excuse_hint(difference.path)}"
    return stage.finding("DP301", text, fix, path=difference.path, evidence=difference.how)


def _short(found: Finding) -> str:
    return {"DP301": "differs by chance", "DP302": "differs", "DP303": "fails"}[found.rule]
