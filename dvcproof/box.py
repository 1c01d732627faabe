"""Run a stage in a box: a folder that contains only its declared inputs, or only the files that it was seen to read.

A stage that fails in a box needs an input that is missing there. Boxes show which parameters a stage uses and, where
strace is not available, which files.
"""

# Paths are plain strings here for speed: there are thousands.
# ruff: noqa: PTH112, PTH113, PTH119

import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML

from dvcproof import cut
from dvcproof.clone import copy, digest, files_in
from dvcproof.findings import Finding, Report
from dvcproof.git import changed_files, git
from dvcproof.judge import Ground, under
from dvcproof.project import Project, Stage
from dvcproof.strace import Seen

#: Time limit in seconds for all runs of a stage in boxes, and the most bytes copied into one box.
CHEAP, LARGE = 60.0, 2**30

#: The most undeclared inputs of one stage that are searched for, one run after the other.
MOST = 20

#: File names are searched for in this many last lines of the output of a failed stage.
LAST = 30

#: The names of parameters to keep in each parameter file; the keys are paths.
Keep = Mapping[str, set[str]]


@dataclass
class Outcome:
    """The result of one run in a box.

    Args:
        words: the last lines of output of a failed stage; empty: it did not fail.
        different: paths of output files that differ from those in the clone.
        outputs: the hash of each output file; the keys are paths.
        extra: files that the stage wrote and does not declare.
        altered: inputs that the stage changed.
    """

    words: str
    different: list[str]
    outputs: dict[str, str]
    extra: list[str]
    altered: list[str]

    @property
    def same(self) -> bool:
        """Return whether the stage succeeded and gave the same outputs as in the clone."""
        return not self.words and not self.different


class Box:
    """Runs one stage in boxes.

    Args:
        ground: the clone, in which the stage has run.
        inputs: absolute paths in the clone of the inputs that the box gets, apart from parameter files.
    """

    def __init__(self, ground: Ground, stage: Stage, inputs: Sequence[str]) -> None:
        self.ground, self.stage = ground, stage
        self.top = ground.clone.top
        self.root = ground.clone.folder / "box"
        self.inputs = [path for path in inputs if under(path, [str(self.top)])]
        self.params = [path for path in stage.params if under(path, [str(self.top)])]
        self.outs = [out.place for out in stage.outs if out.local and under(out.place, [str(self.top)])]
        self.wanted = {path: digest(file) for out in self.outs for path, file in self._named(out, self.top)}
        self.end = time.monotonic() + CHEAP

    def size(self) -> int:
        """Return the number of bytes copied into a box."""
        return sum(file.stat().st_size for path in self.inputs for file in files_in(Path(path)))

    def left(self) -> float:
        """Return the seconds that are left for this stage."""
        return self.end - time.monotonic()

    def run(self, keep: Keep | None = None, *, leave_out: str = "") -> Outcome:
        """Run the stage.

        Args:
            keep: for each parameter file, the names to keep in it. A file that is not in `keep` stays whole.
            leave_out: the path of an input that is not copied into the box.
        """
        shutil.rmtree(self.root, ignore_errors=True)
        for path in self.inputs:
            if path != leave_out and os.path.lexists(path):
                copy(Path(path), self._there(path))
        for path in dict.fromkeys([*self.params, *(keep or ())]):
            if os.path.isfile(path):
                self._write_params(Path(path), self._there(path), (keep or {}).get(path))
        for path in [*self.outs, str(self.stage.wdir / "x")]:
            self._there(path).parent.mkdir(parents=True, exist_ok=True)
        before = {file: digest(file) for file in files_in(self.root)}
        clone, folder = self.ground.clone, self._there(str(self.stage.wdir))
        root = self._there(str(clone.path))
        result = clone.run_alone(self.stage, folder, root, ["/bin/sh"], max(1.0, self.left()))
        words = "" if result.status == 0 else result.last_lines or f"exit status {result.status}"
        places = [self._there(path) for path in self.outs]
        outputs = {path: digest(file) for place in places for path, file in self._named(str(place), self.root)}
        different = [path for path in {**self.wanted, **outputs} if self.wanted.get(path) != outputs.get(path)]
        after = [file for file in files_in(self.root) if "__pycache__" not in file.parts]
        extra = [file for file in after if file not in before and not under(str(file), map(str, places))]
        altered = [file for file in before if not os.path.lexists(file) or digest(file) != before[file]]
        back = [[str(self.top / file.relative_to(self.root)) for file in files] for files in (extra, altered)]
        shutil.rmtree(self.root, ignore_errors=True)
        return Outcome(words, different, outputs, *back)

    def _there(self, path: str) -> Path:
        """Return the path in the box for a path in the clone."""
        return Path(os.path.normpath(self.root / os.path.relpath(path, self.top)))

    @staticmethod
    def _named(path: str, root: Path) -> list[tuple[str, Path]]:
        return [(os.path.relpath(file, root), file) for file in files_in(Path(path))]

    @staticmethod
    def _write_params(path: Path, target: Path, keep: set[str] | None) -> None:
        copy(path, target)
        if keep is not None and path.suffix in cut.FORMATS:
            text = cut.without(path, lambda name: not any(cut.covers(key, name) for key in keep))
            target.write_text(text, encoding="utf-8")


def check_parameters(
    ground: Ground, stage: Stage, seen: Seen, findings: list[Finding], undeclared: Sequence[str]
) -> list[Finding]:
    """Find out which parameters a stage uses: run it with some of them left out. Return all findings, old and new.

    Args:
        seen: what strace saw the stage read and write.
        findings: the findings so far.
        undeclared: parameter files that the stage reads and does not declare.
    """
    top = str(ground.clone.top)
    own = [out.place for out in stage.outs if out.local]
    reads = [path for path in seen.reads if under(path, [top]) and seen.reads[path] < seen.writes.get(path, 2**62)]
    keep = [path for path in reads if not under(path, [*own, f"{top}/.git", f"{ground.clone.path}/.dvc"])]
    deps = [item.place for item in stage.deps if item.local]
    inputs = [*deps, *(path for path in keep if not under(path, deps) and os.path.isfile(path))]
    params = {*stage.params, *undeclared}
    box = Box(ground, stage, [path for path in inputs if path not in params])
    return Parameters(box, undeclared, seen.seconds).check(findings)


class Parameters:
    """The declared and the used parameters of one stage.

    Args:
        undeclared: parameter files that the stage reads and does not declare.
        seconds: the time of one run of the stage.
    """

    def __init__(self, box: Box, undeclared: Sequence[str], seconds: float) -> None:
        self.box, self.stage, self.undeclared, self.seconds = box, box.stage, undeclared, seconds
        #: For each file, the declared names. A file that is declared as a whole is not in it.
        self.declared = {path: set(keys) for path, keys in self.stage.params.items() if keys and _can_cut(path)}
        self.declared |= {path: set() for path in undeclared if _can_cut(path)}

    def check(self, findings: list[Finding]) -> list[Finding]:
        """Return the findings, with the new findings about parameters."""
        if not self.declared:
            return findings
        number = 2 + sum(map(len, self.declared.values()))
        if self.seconds * number > CHEAP or self.box.size() > LARGE:
            text = f"unused parameters were not searched for: {number} runs of {self.seconds:.0f} s would take too long"
            return [*findings, self.stage.finding("DP211", text, level="note")]
        whole = {path: set(cut.names(Path(path))) for path in self.declared}
        first = self.box.run(whole)
        if not first.same:
            why = "it fails" if first.words else "it gives other results"
            text = f"cannot tell which parameters it uses: {why} in another folder, or in each run"
            return [*findings, self.stage.finding("DP211", text, level="note")]
        missing = self._missing(whole)
        used = {path: self.declared[path] | missing[path] for path in self.declared}
        # Findings about a whole file are replaced, since the names of the parameters are now known.
        replaced = [item for item in findings if item.rule == "DP210" and item.change.endswith(":")]
        kept = [item for item in findings if item not in replaced]
        return [*kept, *self._told(missing), *self._unused(used)]

    def _missing(self, whole: dict[str, set[str]]) -> dict[str, set[str]]:
        """Return the undeclared names that change the outputs when left out. Sections are tried first, then names."""
        missing: dict[str, set[str]] = {path: set() for path in whole}
        for path, names in whole.items():
            rest = [name for name in names if not any(cut.covers(key, name) for key in self.declared[path])]
            for section in sorted({name.partition(".")[0] for name in rest}):
                inside = {name for name in rest if name.partition(".")[0] == section}
                if self.box.left() < self.seconds or self.box.run(whole | {path: names - inside}).same:
                    continue
                tried = sorted(inside) if len(inside) > 1 else []
                needed = {name for name in tried if not self.box.run(whole | {path: names - {name}}).same}
                missing[path] |= needed or inside
        return missing

    def _told(self, missing: dict[str, set[str]]) -> Iterator[Finding]:
        for path, name in ((path, name) for path, names in missing.items() for name in sorted(names)):
            file, local = self.box.ground.project.name(path), os.path.relpath(path, self.stage.wdir)
            text = f"it reads the parameter {name} of {file} and does not declare it"
            fix = f"Add `{name}` to params." if local == "params.yaml" else f"Add `{local}: [{name}]` to params."
            yield self.stage.finding("DP210", text, fix, path=file, change=f"params + {local}:{name}")

    def _unused(self, used: dict[str, set[str]]) -> Iterator[Finding]:
        templates = _templates(self.stage)
        for path, key in [(file, key) for file in used for key in sorted(self.declared[file])]:
            if any(cut.covers(key, reference) for reference in templates) or self.box.left() < self.seconds:
                continue
            shown, local = self.box.ground.project.name(path), os.path.relpath(path, self.stage.wdir)
            if self.box.run(used | {path: used[path] - {key}}).same:
                text = f"it declares the parameter {key} of {shown}, and gives the same without it"
                fix, change = f"Remove `{key}` from params, or use it.", f"params - {local}:{key}"
                yield self.stage.finding("DP211", text, fix, level="warning", path=shown, change=change)


def restore(ground: Ground) -> None:
    """Restore the tracked files in the clone that a stage may have changed, except outputs and dvc.lock."""
    outs = [out.place for stage in ground.project.stages for out in stage.outs if out.local]
    for name in changed_files(ground.clone.top):
        path = str(ground.clone.top / name)
        if ground.project.is_tracked(path) and not under(path, outs) and os.path.basename(path) != "dvc.lock":
            git(ground.clone.top, "checkout", "--quiet", "--", name)


def declared_only(ground: Ground, stage: Stage, seconds: float, report: Report) -> list[Finding]:
    """Run a stage with only its declared inputs. Return findings about undeclared inputs, outputs and parameters.

    Args:
        ground: the clone, in which the stage has succeeded.
        seconds: the time of one run of the stage.
        report: receives the reasons why something cannot be told.
    """
    box = Box(ground, stage, [item.place for item in stage.deps if item.local])
    if box.size() > LARGE or seconds * 2 > CHEAP:
        report.unknown.append(f"{stage.address}: it is too large or too slow for a box")
        return []
    findings: list[Finding] = []
    outcome = box.run()
    for _ in range(MOST):
        lacks = _lacking(ground, box, outcome.words)
        if not lacks or box.left() < 0:
            break
        box.inputs.append(lacks)
        findings.append(_undeclared(ground.project, stage, lacks))
        outcome = box.run()
    if outcome.words:
        text, fix = "it fails with only its declared inputs", "Add the missing input to deps."
        return [*findings, stage.finding("DP201", text, fix, evidence=outcome.words)]
    if outcome.different and box.run().outputs != outcome.outputs:
        report.unknown.append(
            f"{stage.address}: its results differ from run to run, so that runs in a box cannot be compared"
        )
        return findings
    if outcome.different:
        text = f"with only its declared inputs, other results: {', '.join(outcome.different)}"
        return [
            *findings,
            stage.finding(
                "DP201", text, "Add the missing input to deps; with strace installed, `dvcproof trace` names it."
            ),
        ]
    findings += _left(ground.project, stage, outcome)
    findings += _superfluous(ground.project, box, seconds)
    return Parameters(box, [], seconds).check(findings)


def _left(project: Project, stage: Stage, outcome: Outcome) -> Iterator[Finding]:
    for path in outcome.extra:
        local, name, tracked = os.path.relpath(path, stage.wdir), project.name(path), project.is_tracked(path)
        text = f"it overwrites {name}, which is in Git and is no output" if tracked else f"undeclared output {name}"
        fix = f"Add `{local}` to outs, or remove it at the end."
        change = f"outs + {local}" + (":tracked" if tracked else "")
        yield stage.finding("DP202", text, fix, path=name, change=change)
    for path in outcome.altered:
        name, fix = project.name(path), "Write the result to another file, and make that an output."
        yield stage.finding("DP205", f"it changes its own input {name}", fix, path=name)


def _superfluous(project: Project, box: Box, seconds: float) -> Iterator[Finding]:
    """Run the stage without each dependency in turn. Yield findings about those that make no difference."""
    for item in box.stage.deps:
        if item.place in box.inputs and box.left() > seconds and box.run(leave_out=item.place).same:
            name = project.name(item.place)
            text = f"it declares {name}, and gives the same without it"
            fix = f"Remove `{item.path}` from deps, or say under `meta: dvcproof: reads` why it is there."
            change = f"deps - {item.path}"
            yield box.stage.finding("DP203", text, fix, level="warning", path=name, change=change)


def _undeclared(project: Project, stage: Stage, path: str) -> Finding:
    local, name, maker = os.path.relpath(path, stage.wdir), project.name(path), project.maker(path)
    rule, text = "DP201", f"undeclared input {name}"
    if maker and not maker.endswith(".dvc"):
        rule, text = "DP204", f"it reads {name}, which stage '{maker}' makes, without declaring it"
    return stage.finding(rule, text, f"Add `{local}` to deps.", path=name, change=f"deps + {local}")


def _lacking(ground: Ground, box: Box, words: str) -> str:
    """Return a project file that the last lines of output name and that the box lacks; empty if there is none."""
    if not words:
        return ""
    top, wdir = str(ground.clone.top), box.stage.wdir
    made = [path for path in ground.project.makers if under(path, [top])]
    files = [path for path in (*ground.project.tracked, *made) if not os.path.isdir(path) or path in made]
    mine = [*box.inputs, *box.outs, *box.params]
    for line in reversed(words.splitlines()[-LAST:]):
        for path in sorted(files, key=len, reverse=True):
            if under(path, mine):
                continue
            local = os.path.relpath(path, wdir)
            forms = [local, os.path.basename(path)]
            if path.endswith(".py"):
                forms = [local[:-3].replace("/", "."), os.path.basename(path)[:-3], local]
            if any(re.search(rf"(?<![\w.-]){re.escape(form)}(?![\w-])", line) for form in forms):
                return path
    return ""


def _templates(stage: Stage) -> set[str]:
    """Return the parameters that the definition of a stage refers to: for '${train.lr}', the name 'train.lr'."""
    try:
        document = YAML().load(Path(stage.raw.path).read_text(encoding="utf-8"))
        return set(re.findall(r"\$\{\s*([^}\s]+)\s*\}", repr(document["stages"][stage.name.partition("@")[0]])))
    except Exception:  # DVC has read the file; without its text, no parameter counts as used in it
        return set()


def _can_cut(path: str) -> bool:
    """Return whether single names can be left out of a parameter file."""
    try:
        return Path(path).suffix in cut.FORMATS and bool(cut.names(Path(path)))
    except Exception:  # each format raises errors of its own; DVC reports them
        return False
