"""The faults: a function for each way to inject a fault, and the list of all trials."""

import os
import random
import re
import signal
import stat
import subprocess
import sysconfig
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import combinations_with_replacement, cycle
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import psutil

from bench.faults import toy
from bench.faults.files import flip
from bench.faults.hook.sitecustomize import FREE, Plan
from bench.faults.judge import Outcome, Verdict
from bench.faults.project import Process, Scene, copied, judge, output_of, refused, repro, start, status_of
from dvcproof.lockfile import read_lock

T = TypeVar("T")

#: Commands that are run two at a time.
COMMANDS = ("dvc repro", "dvc exp run", "dvc exp run --temp", "dvc status", "dvcproof verify")

#: Folders and files that are made read-only.
DATA = ("data", "data/raw", "data/prepared", "metrics")
PLACES = ("", ".dvc", ".dvc/tmp", ".dvc/cache", ".dvc/cache/runs", "dvc.lock", *DATA)

#: The kind of fault that is injected into the project with the real stages.
REAL = "kill of the real stages"


class Trial(NamedTuple):
    """One fault: its row in the table, the function that injects it, and the arguments after the project."""

    kind: str
    inject: Callable[..., Verdict]
    arguments: tuple[Any, ...]


def planned(project: Path, action: str, **fields: Any) -> Plan:
    """Return a plan whose counter file is beside the project."""
    return Plan(action, str(project), f"{project}.site/count", **fields)


def at_change(scene: Scene, action: str, number: int) -> Verdict:
    """Inject a fault at change `number` of a file in the run, counted from 1."""
    with copied(scene.start) as project:
        process = start("dvc repro", project, planned(project, action, at=number))
        if status_of(process) == 0 and action.startswith("kill"):
            return Verdict(Outcome.WRONG, f"nothing was killed: {output_of(process)}")
        return _again(scene, project, process, action)


def at_moment(scene: Scene, action: str, seconds: float) -> Verdict:
    """Send a signal to DVC, its process group or a stage after some seconds, or earlier if the run ends before."""
    with copied(scene.start) as project:
        process = start("dvc repro", project)
        with suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        if process.returncode is None and _strike(process, action):
            return _again(scene, project, process, action)
        output_of(process)
    return at_moment(scene, action, seconds / 2)


def _strike(process: Process, action: str) -> bool:
    """Send the signal; for a stage, wait until one runs. Return whether the signal was sent."""
    if action == "kill stage":
        stages: list[psutil.Process] = []
        with suppress(psutil.NoSuchProcess):
            while not stages and psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
                stages = psutil.Process(process.pid).children(recursive=True)
        for stage in stages:
            with suppress(psutil.NoSuchProcess):
                stage.kill()
        return bool(stages)
    send = os.kill if action == "kill dvc" else os.killpg
    send(process.pid, signal.SIGINT if action == "interrupt" else signal.SIGKILL)
    return True


def read_only(scene: Scene, place: str) -> Verdict:
    """Run the project while a folder or file is read-only."""
    with copied(scene.start) as project:
        process = start("dvc repro", project, planned(project, "read-only", path=str(project / place)))
        return _again(scene, project, process, "read-only")


def _again(scene: Scene, project: Path, process: Process, action: str) -> Verdict:
    """Run again at once, while processes of a killed DVC may still run. Then judge both runs."""
    status, again = status_of(process), repro(scene, project)
    output = output_of(process)
    verdict = judge(scene, project, *again)
    if verdict.outcome is not Outcome.RIGHT or action.startswith("kill"):
        return verdict
    return (interrupted(output) if action == "interrupt" else refused(status, output)) or verdict


def interrupted(output: str) -> Verdict | None:
    """Judge the output of a run that Ctrl-C ended. Return None if it has no traceback.

    Tracebacks of Python's own start and of DVC do not count: no stage can prevent them.
    """
    if "Traceback" not in output:
        return None
    files = re.findall(r'^  File "([^"]+)"', output, re.MULTILINE)
    others = ("<frozen ", sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"))
    return Verdict(Outcome.LINE if all(file.startswith(others) for file in files) else Outcome.WRONG, output)


def changed(scene: Scene, stage: str, number: int) -> Verdict:
    """Change or remove an input of a stage while the stage writes its results. Restore the input for the second run."""
    name, how = toy.changes(stage)[number]
    with copied(scene.start) as project:
        path, before = project / name, (scene.good / name).read_text(encoding="utf-8")
        plan = planned(project, "change", at=3, stage=stage, path=str(path), content=how(before) if how else None)
        process = start(scene.command, project, plan)
        status, output = status_of(process), output_of(process)
        if status == 0:
            return Verdict(Outcome.WRONG, f"{name} changed without an error: {output}")
        path.write_text(before, encoding="utf-8")
        verdict = judge(scene, project, *repro(scene, project))
        return verdict if verdict.outcome is not Outcome.RIGHT else refused(status, output) or verdict


def damaged(scene: Scene, name: str, damage: str, twice: bool) -> Verdict:
    """Damage a file of the cache and, if `twice`, the outputs in the working tree with the same content."""
    with copied(scene.good) as project:
        path, outs = project / name, read_lock(scene.good / "dvc.lock").outputs()
        digest, content = path.parent.name + path.name, path.read_bytes()
        for file in (path, *(project / out.path for out in outs if twice)):
            if file.read_bytes() == content:
                spoil(file, damage)
        verdict = judge(scene, project, *repro(scene, project))
        if verdict.outcome is Outcome.RIGHT and digest in {out.md5 for out in outs} and not path.is_file():
            return Verdict(Outcome.WRONG, f"object {digest} was not made again")
        return verdict


def spoil(path: Path, damage: str) -> None:
    """Damage a file as a disk would: its mode and date stay, and a flip keeps the size, too."""
    before, content = path.stat(), path.read_bytes()
    middle = len(content) // 2
    path.chmod(stat.S_IRUSR | stat.S_IWUSR)
    if damage == "deletion":
        path.unlink()
        return
    path.write_bytes(flip(content, middle) if damage == "flip" else content[:middle])
    path.chmod(before.st_mode & 0o777)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def together(scene: Scene, first: str, other: str) -> Verdict:
    """Run two commands at once."""
    with copied(scene.start) as project:
        running = [start(command, project) for command in (first, other)]
        refusals = [refused(status_of(process), output_of(process)) for process in running]
        found = [one for one in (judge(scene, project, *repro(scene, project)), *refusals) if one]
        return max(found, key=lambda one: list(Outcome).index(one.outcome))


def plan(scene: Scene, counts: Mapping[str, int], real_seconds: float) -> list[Trial]:
    """Choose the trials. Equal counts give equal trials, apart from the moments in time.

    Args:
        scene: the project with the quick stages.
        counts: the number of faults of each kind; fewer are chosen where fewer are possible.
        real_seconds: seconds of a run of the real stages.
    """
    chance = random.Random(0)  # noqa: S311
    events, seconds = _listed(scene)
    kinds = [(number, event.split()[0]) for number, event in enumerate(events, 1)]
    made = [number for number, kind in kinds if kind in ("os.rename", "os.link", "made", "write")]
    fills = [number for number, kind in kinds if kind not in FREE]
    inputs = [
        (f"input {'changes' if change[1] else 'vanishes'} during its stage", stage, number)
        for stage in toy.READS
        for number, change in enumerate(toy.changes(stage))
    ]
    damages = [
        (f"{'record' if 'runs' in path.parts else 'object'} of the cache: {how}", str(path), how, twice)
        for path in sorted(_files(scene.good, ".dvc/cache"))
        for how in ("flip", "cut", "deletion")
        for twice in ((False,) if "runs" in path.parts else (False, True))
    ]

    def moments(kind: str, actions: Sequence[str], number: int, longest: float = seconds) -> list[Trial]:
        return [Trial(kind, at_moment, (actions[i % len(actions)], chance.uniform(0, longest))) for i in range(number)]

    def changes(kind: str, actions: Sequence[str], numbers: Sequence[int]) -> list[Trial]:
        return [Trial(kind, at_change, one) for one in zip(cycle(actions), numbers, strict=False)]

    signals, half = ("kill group", "kill dvc", "kill stage"), counts["interrupts"] // 2
    return [
        *changes("kill at a change of a file", ("kill group", "kill dvc", "kill self"), spread(made, counts["kills"])),
        *moments("kill at a random moment", signals, counts["moments"]),
        *changes("Ctrl-C", ("interrupt",), spread(made, half)),
        *moments("Ctrl-C", ("interrupt",), counts["interrupts"] - half),
        *changes("full disk", ("full", "full once"), spread(fills, counts["full"])),
        *(Trial("read-only place", read_only, (place,)) for place in spread(PLACES, counts["places"])),
        *(Trial(kind, changed, tuple(rest)) for kind, *rest in spread(inputs, counts["changes"])),
        *(Trial(kind, damaged, tuple(rest)) for kind, *rest in spread(damages, counts["damages"])),
        *(
            Trial("two commands at once", together, pair)
            for pair in spread([*combinations_with_replacement(COMMANDS, 2)], counts["pairs"])
        ),
        *moments(REAL, signals, counts["real"], real_seconds),
    ]


def _files(project: Path, folder: str) -> list[Path]:
    """Return the files in a folder of a project, relative to the project."""
    return [path.relative_to(project) for path in (project / folder).rglob("*") if path.is_file()]


def _listed(scene: Scene) -> tuple[list[str], float]:
    """Return the changes of files in a run without faults, and the seconds of the run."""
    with copied(scene.start) as project:
        plan, before = planned(project, "list"), time.monotonic()
        process = start("dvc repro", project, plan)
        status, output, seconds = status_of(process), output_of(process), time.monotonic() - before
        if status:
            raise RuntimeError(f"the run without faults failed: {output}")
        return Path(plan.counter).read_text(encoding="utf-8").splitlines(), seconds


def spread(items: Sequence[T], number: int) -> list[T]:
    """Choose `number` items, evenly spread; all items if there are fewer."""
    number = min(number, len(items))
    return [items[(2 * index + 1) * len(items) // (2 * number)] for index in range(number)]


def known(scene: Scene) -> list[Trial]:
    """Return the controls: faults that end stuck or wrong without the doctor and the watch."""
    events, _ = _listed(scene)
    places = [events.index(f"made {name}") + 1 for name in (".dvc/tmp/rwlock", "dvc.lock")]
    model = read_lock(scene.good / "dvc.lock").stages["train"].outs[0].md5 or ""
    stored = f".dvc/cache/files/md5/{model[:2]}/{model[2:]}"
    return [
        *(Trial("kill at a change of a file", at_change, ("kill dvc", number)) for number in places),
        Trial("input changes during its stage", changed, ("train", 0)),
        Trial("object of the cache: flip", damaged, (stored, "flip", True)),
    ]
