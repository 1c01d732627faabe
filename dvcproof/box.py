"""Run a stage in a box: a folder that contains only its declared inputs, or only the files that it was seen to read.

A stage that fails in a box needs an input that is missing there. Boxes show which parameters a stage uses and, where
strace is not available, which files.
"""

# Paths are plain strings here for speed: there are thousands.
# ruff: noqa: PTH113

import os
import re
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path

from ruamel.yaml import YAML

from dvcproof import cut
from dvcproof.alone import Outcome, Runner, local_outs
from dvcproof.clone import Result, copy, digest, files_in
from dvcproof.findings import Finding, Report
from dvcproof.judge import Ground, under
from dvcproof.project import Stage
from dvcproof.strace import Seen

#: Time limit in seconds for all runs of a stage in boxes, and the most bytes copied into one box.
CHEAP, LARGE = 60.0, 2**30

#: Parameters: the path of the file, and the name in it.
Params = AbstractSet[tuple[str, str]]


class Box:
    """Runs one stage in boxes.

    Args:
        ground: the clone, in which the stage has run.
        inputs: absolute paths in the clone of the inputs that the box gets, apart from parameter files.
        seconds: the time of one run of the stage.
        files: the parameter files of which only some parameters are kept.
    """

    def __init__(
        self, ground: Ground, stage: Stage, inputs: Sequence[str], seconds: float, files: Sequence[str] = ()
    ) -> None:
        self.ground, self.stage, self.seconds, self.files = ground, stage, seconds, files
        self.runner = Runner(ground.project, ground.clone, ground.clone.folder / "box")
        self.top, self.root = ground.clone.top, self.runner.folder / "top"
        self.inputs = [path for path in inputs if under(path, [str(self.top)])]
        self.outs = [out.place for out, _ in local_outs(ground.project, stage)]
        self.wanted = self._digests(self.outs, ground.clone.path)
        self.end = time.monotonic() + CHEAP
        #: Paths in the clone of the files that the last run wrote besides its outputs, and of inputs that it changed.
        self.written: list[str] = []

    def can_run(self, number: int) -> bool:
        """Return whether so many runs are not too long, nor too large."""
        size = sum(file.stat().st_size for path in self.inputs for file in files_in(Path(path)))
        return self.seconds * number <= CHEAP and size <= LARGE

    def has_time(self) -> bool:
        """Return whether there is time for one more run."""
        return self.end - time.monotonic() > self.seconds

    def run(self, keep: Params = frozenset(), *, leave_out: str = "") -> Outcome:
        """Run the stage.

        Args:
            keep: the parameters to keep in `files`.
            leave_out: the path of an input that is not copied into the box.
        """
        shutil.rmtree(self.runner.folder, ignore_errors=True)
        for path in self.inputs:
            if path != leave_out and os.path.lexists(path):
                copy(Path(path), self._there(path))
        for path in {*self.stage.params, *self.files}:
            if os.path.isfile(path) and under(path, [str(self.top)]):
                copy(Path(path), self._there(path))
                if path in self.files:
                    cut.keep_only(self._there(path), {name for file, name in keep if file == path})
        for path in [*self.outs, str(self.stage.wdir / "x")]:
            self._there(path).parent.mkdir(parents=True, exist_ok=True)
        before = self._digests([str(self.root)], self.root)
        outcome = self.runner.run(self.stage, self.root, None, max(1.0, self.end - time.monotonic()))
        after = self._digests([str(self.root)], self.root)
        changed = (name for name in {**before, **after} if before.get(name) != after.get(name))
        files = (str(self.top / name) for name in changed if "__pycache__" not in name)
        self.written = [file for file in files if not under(file, self.outs)]
        return outcome

    def is_same(self, outcome: Outcome) -> bool:
        """Return whether a run succeeded, with the same outputs as in the clone."""
        return outcome.status == 0 and outcome.files == self.wanted

    def same(self, keep: Params = frozenset(), *, leave_out: str = "") -> bool:
        """Run the stage. Return whether it succeeded, with the same outputs as in the clone."""
        return self.is_same(self.run(keep, leave_out=leave_out))

    def _there(self, path: str) -> Path:
        """Return the path in the box for a path in the clone."""
        return Path(os.path.normpath(self.root / os.path.relpath(path, self.top)))

    @staticmethod
    def _digests(paths: Sequence[str], root: Path) -> dict[str, str]:
        return {os.path.relpath(file, root): digest(file) for path in paths for file in files_in(Path(path))}


def check_parameters(
    ground: Ground, stage: Stage, seen: Seen, findings: list[Finding], undeclared: Sequence[str]
) -> list[Finding]:
    """Find out which parameters a stage uses: run it with some of them left out. Return all findings, old and new.

    Args:
        seen: what the stage was seen to read and write.
        findings: the findings so far.
        undeclared: parameter files that the stage reads and does not declare.
    """
    # A file that is declared as a whole is left alone.
    files = [
        path for path, keys in {**stage.params, **dict.fromkeys(undeclared)}.items() if keys != () and _names(path)
    ]
    if not files:
        return findings
    declared = {(path, key) for path in files for key in stage.params.get(path, ())}
    whole = {(path, name) for path in files for name in _names(path)}
    deps = [item.place for item in stage.deps if item.local]
    rest = [*deps, *stage.params, *files, *(out.place for out in stage.outs)]
    rest += [str(ground.clone.top / ".git"), str(ground.clone.path / ".dvc")]
    reads = [path for path, number in seen.reads.items() if number < seen.writes.get(path, sys.maxsize)]
    reads = [path for path in reads if not under(path, rest) and os.path.isfile(path)]
    box = Box(ground, stage, [*deps, *reads], seen.seconds, files)
    number, why = 2 + len(declared), ""
    if not box.can_run(number):
        why = f"unused parameters were not searched for: {number} runs of {seen.seconds:.0f} s would take too long"
    elif not box.is_same(first := box.run(whole)):
        fault = "it fails" if first.status != 0 else "it gives other results"
        why = f"cannot tell which parameters it uses: {fault} in another folder, or in each run"
    if why:
        return [*findings, stage.finding("DP211", why, level="note")]
    missing, untried = find_missing(box, whole, declared)
    # Findings about a whole file are replaced, since the names of the parameters are now known.
    found = [item for item in findings if item.rule != "DP210" or not item.change.endswith(":")]
    for path, key in missing:
        name, local = ground.project.name(path), os.path.relpath(path, stage.wdir)
        text = f"it reads the parameter {key} of {name} and does not declare it"
        fix = f"Add `{key}` to params." if local == "params.yaml" else f"Add `{local}: [{key}]` to params."
        found.append(stage.finding("DP210", text, fix, path=name, change=f"params + {local}:{key}"))
    if untried:
        text = f"it may read other parameters that it does not declare: there was no time to try {untried} more"
        found.append(stage.finding("DP210", text, "Look in its code for those that it reads.", level="warning"))
    return [*found, *_unused(box, declared, declared.union(missing))]


def find_missing(box: Box, whole: Params, declared: Params) -> tuple[list[tuple[str, str]], int]:
    """Return the undeclared parameters that change the outputs when left out, and the number of untried ones."""
    rest = [
        one for one in sorted(whole) if not any(one[0] == file and cut.covers(key, one[1]) for file, key in declared)
    ]
    if not rest or box.same(whole - {*rest}):
        return [], 0
    found: list[tuple[str, str]] = []
    for number, one in enumerate(rest):
        if not box.has_time():
            return found, len(rest) - number
        if not box.same(whole - {one}):
            found.append(one)
    return found or rest, 0  # any one of them may be left out, but not all


def _unused(box: Box, declared: Params, used: Params) -> Iterator[Finding]:
    stage = box.stage
    templates = _templates(stage)
    for path, key in sorted(declared):
        templated = any(cut.covers(key, one) for one in templates)
        if not templated and box.has_time() and box.same(used - {(path, key)}):
            shown, local = box.ground.project.name(path), os.path.relpath(path, stage.wdir)
            text = f"it declares the parameter {key} of {shown}, and gives the same outputs without it"
            fix, change = f"Remove `{key}` from params, or use it.", f"params - {local}:{key}"
            yield stage.finding("DP211", text, fix, level="warning", path=shown, change=change)


def look(ground: Ground, stage: Stage, seen: Seen, report: Report) -> list[Finding] | None:
    """Run a stage with only its declared inputs. Note in `seen` what it reads and writes, as strace would.

    Args:
        ground: the clone, in which the stage has succeeded.
        seen: has the time of one run of the stage, and receives the paths.
        report: receives the reasons why something cannot be told.

    Return None if the stage gives the same results, an empty list if this cannot be told, and otherwise the finding
    that it fails or gives other results, for an unknown reason.
    """
    box = Box(ground, stage, [item.place for item in stage.deps if item.local], seen.seconds)
    if not box.can_run(2):
        report.unknown.append(f"{stage.address}: it is too large or too slow for a box")
        return []
    outcome = box.run()
    if outcome.status != 0:
        text, fix = "it fails with only its declared inputs", "Add the input that it lacks to deps."
        return [stage.finding("DP201", text, fix, evidence=Result(outcome.status, outcome.said).last_lines)]
    if not box.is_same(outcome):
        if box.run().files != outcome.files:
            text = "its results differ from run to run, so that runs in a box cannot be compared"
            report.unknown.append(f"{stage.address}: {text}")
            return []
        text = "with only its declared inputs, it gives other results"
        return [stage.finding("DP201", text, "Add the missing input to deps; with strace, `dvcproof trace` names it.")]
    seen.writes = dict.fromkeys(box.written, 1)
    needed = [path for path in box.inputs if not (box.has_time() and box.same(leave_out=path))]
    seen.reads = dict.fromkeys([*needed, *stage.params], 0)
    return None


def _templates(stage: Stage) -> set[str]:
    """Return the parameters that the definition of a stage refers to: for '${train.lr}', the name 'train.lr'."""
    try:
        document = YAML().load(Path(stage.raw.path).read_text(encoding="utf-8"))
        return set(re.findall(r"\$\{\s*([^}\s]+)\s*\}", repr(document["stages"][stage.name.partition("@")[0]])))
    except Exception:  # DVC has read the file; without its text, no parameter counts as used in it
        return set()


def _names(path: str) -> set[str]:
    """Return the parameters in a file; none if single ones cannot be left out."""
    try:
        return set(cut.names(Path(path))) if Path(path).suffix in cut.FORMATS else set()
    except Exception:  # each format raises errors of its own; DVC reports them
        return set()
