"""The faults, one by one: what happens to a project in the midst of a run, or to its cache, and what comes of it."""

import os
import random
import re
import signal
import stat
import sysconfig
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import psutil

from bench.faults import toy
from bench.faults.hook.sitecustomize import FREE, Plan
from bench.faults.processes import Ended, doctor, dvc, end, forked, start, verify
from bench.faults.project import Outcome, Scene, Verdict, copied, is_clear, judge, repro
from dvcproof.lockfile import read_lock

T = TypeVar("T")

#: What DVC is asked to do, two of these at once.
COMMANDS = {
    "repro": lambda: dvc("repro"),
    "exp run": lambda: dvc("exp", "run"),
    "exp run --temp": lambda: dvc("exp", "run", "--temp"),
    "status": lambda: dvc("status"),
    "verify": verify,
}

#: Folders that cannot be written.
PLACES = (
    "",
    ".dvc",
    ".dvc/tmp",
    ".dvc/cache",
    ".dvc/cache/runs",
    "dvc.lock",
    "data",
    "data/raw",
    "data/prepared",
    "metrics",
)


class Trial(NamedTuple):
    """One fault.

    Args:
        kind: the row of the table.
        inject: how it is carried out: the name of a function here.
        arguments: what it is given.
        real: whether in the project of the real stages.
    """

    kind: str
    inject: str
    arguments: tuple[Any, ...]
    real: bool = False


def carry_out(trial: Trial, scene: Scene, *, with_doctor: bool) -> Verdict:
    """Inject one fault into a copy of a project, and judge it.

    Args:
        trial: the fault.
        scene: the project.
        with_doctor: False for the control: DVC is run again, and nothing else.
    """
    verdict: Verdict = INJECT[trial.inject](scene, with_doctor, *trial.arguments)
    return verdict._replace(problem=f"{trial.inject} {trial.arguments}: {verdict.problem}" if verdict.problem else "")


def at_change(scene: Scene, with_doctor: bool, action: str, number: int) -> Verdict:
    """A fault at the change of a file that has this number in the run."""
    with copied(scene.start) as project:
        plan = Plan(action, str(project), f"{project}.site.count", at=number)
        ended = forked(dvc("repro"), project, plan=plan)
        Path(plan.counter).unlink()
        if ended.status == 0 and action.startswith("kill"):
            return Verdict(Outcome.WRONG, f"nothing was killed: {ended.output()}")
        return _again(scene, project, ended, with_doctor, action)


def at_moment(scene: Scene, with_doctor: bool, action: str, seconds: float) -> Verdict:
    """A signal to the process of DVC, to all of its group or to a stage after some seconds, or before it ends."""
    with copied(scene.start) as project:
        struck: list[bool] = []
        ended = forked(dvc("repro"), project, strike=(seconds, lambda pid: struck.append(_strike(pid, action))))
        if any(struck):
            return _again(scene, project, ended, with_doctor, action)
        ended.output()
    return at_moment(scene, with_doctor, action, seconds / 2)


def _strike(pid: int, action: str) -> bool:
    """Send the signal, to a stage as soon as there is one; whether there was."""
    match action:
        case "kill dvc":
            os.kill(pid, signal.SIGKILL)
        case "kill stage":
            stages: list[psutil.Process] = []
            with suppress(psutil.NoSuchProcess):
                while not stages and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                    stages = psutil.Process(pid).children(recursive=True)
            for stage in stages:
                with suppress(psutil.NoSuchProcess):
                    stage.kill()
            return bool(stages)
        case _:
            os.killpg(pid, signal.SIGINT if action == "interrupt" else signal.SIGKILL)
    return True


def _again(scene: Scene, project: Path, ended: Ended, with_doctor: bool, action: str) -> Verdict:
    """Run again at once: what a killed DVC has started may still be at work. Then judge both."""
    again = repro(project, with_doctor=with_doctor)
    said = ended.output()
    verdict = judge(scene, project, *again)
    if verdict.outcome is not Outcome.RIGHT or action.startswith("kill"):
        return verdict
    if action == "interrupt":
        return interrupted(said) or verdict
    return refused(ended.status, said) or verdict


def interrupted(said: str) -> Verdict | None:
    """The verdict on what was said at Ctrl-C. None: no traceback.

    Python says one itself while it starts, before it knows the program, and DVC has its own: no stage can help those.
    """
    if "Traceback" not in said:
        return None
    files = re.findall(r'^  File "([^"]+)"', said, re.MULTILINE)
    others = ("<frozen ", sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"))
    return Verdict(Outcome.LINE) if all(file.startswith(others) for file in files) else Verdict(Outcome.WRONG, said)


def refused(status: int | None, said: str) -> Verdict | None:
    """The verdict on a run in which something failed. None: nothing did."""
    if status is None:
        return Verdict(Outcome.STUCK, said)
    if status:
        return Verdict(Outcome.LINE) if is_clear(said) else Verdict(Outcome.WRONG, said)
    return None


def read_only(scene: Scene, with_doctor: bool, place: str) -> Verdict:
    """A run while a folder cannot be written."""
    with copied(scene.start) as project:
        plan = Plan("read-only", str(project), f"{project}.site.count", path=str(project / place))
        ended = forked(dvc("repro"), project, plan=plan)
        return _again(scene, project, ended, with_doctor, "read-only")


def changed(scene: Scene, with_doctor: bool, stage: str, number: int) -> Verdict:
    """An input of a stage changes or vanishes while it writes its results; it is put back for the second run."""
    name, how = toy.changes(stage)[number]
    with copied(scene.start) as project:
        path, counter = project / name, Path(f"{project}.site.count")
        before = (scene.good / name).read_text(encoding="utf-8")
        plan = Plan("change", str(project), str(counter), 3, 0, stage, str(path), how(before) if how else None)
        ended = forked(dvc("repro"), project, plan=plan)
        status, said = ended.status, ended.output()
        if status == 0 and with_doctor:
            ended = forked(doctor("--after"), project)
            status, said = ended.status, said + ended.output()
        counter.unlink()
        if status == 0:
            return Verdict(Outcome.WRONG, f"{name} changed, and nothing was said: {said}")
        path.write_text(before, encoding="utf-8")
        verdict = judge(scene, project, *repro(project, with_doctor=with_doctor))
        return verdict if verdict.outcome is not Outcome.RIGHT else refused(status, said) or verdict


def damaged(scene: Scene, with_doctor: bool, name: str, damage: str, twice: bool) -> Verdict:
    """A file of the cache is not what its name says; nor, if `twice`, are the outputs in the work tree."""
    with copied(scene.good) as project:
        path = project / name
        digest = path.parent.name + path.name
        content = path.read_bytes()
        spoil(path, damage)
        for out in (out for outs in toy.WRITES.values() for out in outs if twice):
            if (project / out).read_bytes() == content:
                spoil(project / out, damage)
        verdict = judge(scene, project, *repro(project, with_doctor=with_doctor))
        needed = {out.md5 for stage in read_lock(scene.good / "dvc.lock").stages.values() for out in stage.outs}
        if verdict.outcome is Outcome.RIGHT and digest in needed and not path.is_file():
            return Verdict(Outcome.WRONG, f"object {digest} was not made again")
        return verdict


def spoil(path: Path, damage: str) -> None:
    """Change a file as a disk would: neither its mode nor its date; a flip not its size either."""
    before, content = path.stat(), path.read_bytes()
    middle = len(content) // 2
    path.chmod(stat.S_IRUSR | stat.S_IWUSR)
    if damage == "deletion":
        path.unlink()
        return
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    path.write_bytes(flipped if damage == "flip" else content[:middle])
    path.chmod(before.st_mode & 0o777)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def together(scene: Scene, with_doctor: bool, first: str, other: str) -> Verdict:
    """Two commands at once."""
    with copied(scene.start) as project:
        running = [start(COMMANDS[name](), project) for name in (first, other)]
        said = []
        for process in running:
            ended = end(*process)
            said.append(refused(ended.status, ended.output()))
        verdict = judge(scene, project, *repro(project, with_doctor=with_doctor))
        found = [one for one in (verdict, *said) if one]
        return max(found, key=lambda one: list(Outcome).index(one.outcome))


INJECT: dict[str, Callable[..., Verdict]] = {
    function.__name__: function for function in (at_change, at_moment, read_only, changed, damaged, together)
}


class Counts(NamedTuple):
    """How many faults of each kind; at most as many as there are places."""

    kills: int
    moments: int
    interrupts: int
    full: int
    places: int
    changes: int
    damages: int
    pairs: int
    real: int


def plan(scene: Scene, counts: Counts, real_seconds: float) -> list[Trial]:
    """The trials, the same for the same counts but for the moments of time.

    Args:
        scene: of the quick stages.
        counts: how many.
        real_seconds: that a run of the real stages takes.
    """
    chance = random.Random(0)  # noqa: S311
    events, seconds = _listed(scene)
    kills = [
        number
        for number, event in enumerate(events, 1)
        if event.split()[0] in ("os.rename", "os.link", "made", "write")
    ]
    fills = [number for number, event in enumerate(events, 1) if event.split()[0] not in FREE]
    actions = ("kill group", "kill dvc", "kill self")
    stages = [(stage, number) for stage in toy.READS for number in range(len(toy.changes(stage)))]
    cache = scene.good / ".dvc" / "cache"
    files = sorted(str(path.relative_to(scene.good)) for path in cache.rglob("*") if path.is_file())
    damages = [
        (name, how, twice)
        for name in files
        for how in ("flip", "cut", "deletion")
        for twice in (False, True)
        if not (twice and "/runs/" in name)
    ]
    struck = ("kill group", "kill dvc", "kill stage")
    half = counts.interrupts // 2
    return [
        *(
            Trial("kill at a change of a file", "at_change", (actions[i % 3], n))
            for i, n in enumerate(spread(kills, counts.kills))
        ),
        *(
            Trial("kill at a random moment", "at_moment", (struck[i % 3], chance.uniform(0, seconds)))
            for i in range(counts.moments)
        ),
        *(Trial("Ctrl-C", "at_change", ("interrupt", n)) for n in spread(kills, half)),
        *(
            Trial("Ctrl-C", "at_moment", ("interrupt", chance.uniform(0, seconds)))
            for _ in range(counts.interrupts - half)
        ),
        *(
            Trial("full disk", "at_change", (("full", "full once")[i % 2], n))
            for i, n in enumerate(spread(fills, counts.full))
        ),
        *(Trial("read-only place", "read_only", (place,)) for place in spread(PLACES, counts.places)),
        *(
            Trial(f"input {'changes' if toy.changes(s)[n][1] else 'vanishes'} during its stage", "changed", (s, n))
            for s, n in spread(stages, counts.changes)
        ),
        *(
            Trial(f"{'object' if '/files/' in one[0] else 'record'} of the cache: {one[1]}", "damaged", one)
            for one in spread(damages, counts.damages)
        ),
        *(
            Trial("two commands at once", "together", pair)
            for pair in spread([*combinations_with_replacement(COMMANDS, 2)], counts.pairs)
        ),
        *(
            Trial("kill of the real stages", "at_moment", (struck[i % 3], chance.uniform(0, real_seconds)), real=True)
            for i in range(counts.real)
        ),
    ]


def _listed(scene: Scene) -> tuple[list[str], float]:
    """The changes of files in a run without faults, and the seconds that it takes."""
    with copied(scene.start) as project:
        counter = Path(f"{project}.site.count")
        before = time.monotonic()
        ended = forked(dvc("repro"), project, plan=Plan("list", str(project), str(counter)))
        seconds = time.monotonic() - before
        said, events = ended.output(), counter.read_text(encoding="utf-8").splitlines()
        counter.unlink()
    if ended.status:
        raise RuntimeError(f"the run without faults failed: {said}")
    return events, seconds


def spread(items: Sequence[T], number: int) -> list[T]:
    """So many of the items, evenly spread; all of them if there are not so many."""
    number = min(number, len(items))
    return [items[(2 * index + 1) * len(items) // (2 * number)] for index in range(number)]


def known(scene: Scene) -> list[Trial]:
    """Faults that end stuck or wrong where neither the doctor nor the watch is: the control."""
    events, _ = _listed(scene)
    places = [events.index(f"made {name}") + 1 for name in (".dvc/tmp/rwlock", "dvc.lock")]
    model = read_lock(scene.good / "dvc.lock").stages["train"].outs[0].md5 or ""
    stored = f".dvc/cache/files/md5/{model[:2]}/{model[2:]}"
    return [
        *(Trial("kill at a change of a file", "at_change", ("kill dvc", number)) for number in places),
        Trial("input changes during its stage", "changed", ("train", 0)),
        Trial("object of the cache: flip", "damaged", (stored, "flip", True)),
    ]
