"""Does the last commit give its own results? Run every stage again in a clean clone, and compare what comes out.

The clone has an empty cache and nobody's configuration of DVC, so nothing can be taken from anywhere.
"""

import filecmp
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from dvc.repo import Repo
from dvc_data.hashfile.hash import hash_file
from dvc_data.hashfile.hash_info import HashInfo
from dvc_data.hashfile.tree import Tree

from dvcproof.compare import first_difference
from dvcproof.config import ToleranceConfig, read_config
from dvcproof.freshness import Report, is_pinned
from dvcproof.git import FULL_DISK, MORE_SPACE, AbsentError, changed_files, environment, git, git_text, top_folder
from dvcproof.lockfile import Change, Lock, causes, changes, read_lock
from dvcproof.runtime.program import InputError
from dvcproof.tolerance import Tolerance, check_metric, tolerance
from dvcproof.values import flatten

_EXECUTED = re.compile(r"^(?:Running stage '(.+)':|Stage '(.+)' is cached - skipping run)", re.MULTILINE)


class Clone:
    """A clean clone of the last commit of the project `root`, in `folder`, which holds nothing else.

    The project may be a part of a larger repository: all of it is cloned, and `path` is the project in it.
    """

    def __init__(self, root: Path, folder: Path) -> None:
        self.root, self.folder = root, folder
        top, prefix = top_folder(root)
        self.commit = git_text(root, "rev-parse", "--short", "--verify", "HEAD").strip()
        git(folder, "clone", "--quiet", str(top), str(folder / "clone"))
        self.path = folder / "clone" / prefix
        for name, hint in (("dvc.lock", "Commit dvc.lock with metrics."), (".dvc/config", "Commit the folder .dvc.")):
            if not (self.path / name).is_file():
                raise InputError(f"commit {self.commit}", expected=prefix + name, received="none", hint=hint)
        # Not the cache that the project or its user may share with others.
        (self.path / ".dvc" / "config.local").write_text("[cache]\n    dir = cache\n", encoding="utf-8")
        self.lock = self.current_lock()

    def current_lock(self) -> Lock:
        """The clone's dvc.lock as it is now."""
        return read_lock(self.path / "dvc.lock")

    def repro(self, *options: str) -> list[str]:
        """Run `dvc repro`, and return the stages that were executed or restored, in that order.

        Raises:
            InputError: it failed.
        """
        command = [sys.executable, "-m", "dvc", "repro", *options]
        result = subprocess.run(
            command,
            cwd=self.path,
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        executed = [ran or restored for ran, restored in _EXECUTED.findall(result.stdout)]
        if result.returncode:
            lines = result.stdout.splitlines()
            full = [line for line in lines if any(words in line for words in FULL_DISK)][:1]
            errors = full or [line for line in lines if line.startswith("ERROR: ")]
            hint = "Is all that it needs committed? Run it in a clone of your own to see more."
            raise InputError(
                f"`dvc repro` in a clean clone of commit {self.commit}",
                expected=f"success{f' of stage {executed[-1]!r}' if executed else ''}",
                received="; ".join(line.removeprefix("ERROR: ") for line in errors or lines[-3:]),
                hint=f"{self.folder} is full. {MORE_SPACE}" if full else hint,
            )
        return executed

    def _environment(self) -> dict[str, str]:
        keep = {name: value for name, value in environment().items() if not name.startswith(("DVC_", "PYTHON"))}
        # Nobody's configuration: these folders do not exist, or are empty.
        ours = {
            f"DVC_{name}_DIR": str(self.folder / "dvc") for name in ("GLOBAL_CONFIG", "SYSTEM_CONFIG", "SITE_CACHE")
        }
        programs = f"{Path(sys.executable).parent}{os.pathsep}{keep.get('PATH', os.defpath)}"
        return keep | ours | {"DVC_NO_ANALYTICS": "1", "PATH": programs}

    def committed(self, path: str) -> Path | None:
        """The committed version of a file in a file of its own, or None if Git does not hold it."""
        try:
            content = git(self.path, "cat-file", "blob", f"HEAD:./{path}")
        except AbsentError:
            return None
        file = self.folder / "committed" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return file


def rerun(clone: Clone) -> Report:
    """Run every stage in a new clone, and compare the results with the committed ones."""
    config = read_config(clone.path).tolerance
    executed = clone.repro("--force", "--no-run-cache")
    allowed = tolerance(clone.lock, clone.path, config)
    problems = list(_not_executed(clone, executed))
    found = changes(clone.lock, clone.current_lock())
    found.sort(key=lambda change: executed.index(change.fact.stage) if change.fact.stage in executed else -1)
    problems += _leftovers(clone, found)
    # DVC records the ETag of an address. A server may give an unchanged file another one.
    pinned = [change for change in found if is_pinned(change.fact.name)]
    notes = [f"{change.fact}: {change.found}, was {change.recorded}; checked by its SHA-256" for change in pinned]
    found = [change for change in found if change not in pinned]
    problems += [_explain(change, found, clone) for change in causes(found) if not allowed.covers(change.fact)]
    equal = "byte for byte, dvc.lock and all results that Git holds"
    if allowed.reasons and found and config:
        notes += _accept(clone, allowed, config, problems)
        equal = "within tolerance"
    elif allowed.reasons:
        notes.append(f"{allowed}. They came out equal all the same")
    return Report(problems, notes, f"commit {clone.commit}, {len(executed)} stages executed: equal {equal}")


def _accept(clone: Clone, allowed: Tolerance, config: ToleranceConfig, problems: list[InputError]) -> list[str]:
    """Compare the metric where bytes may differ. Adds to `problems`; returns what to tell the user."""
    notes = [f"WARNING: {allowed}. {config.metric} is compared instead of bytes"]
    values = list(_metrics(clone, allowed, config.metric))
    if not values:
        what = f"outputs of {', '.join(sorted(allowed.stages))}"
        sentence = f"no JSON in Git has {config.metric}, to compare instead of bytes"
        problems.append(InputError(what, sentence, hint="Keep the metrics in Git (cache: false)."))
    for committed, new in values:
        try:
            notes.append(check_metric(committed, new, config, clone.path))
        except InputError as error:
            problems.append(error)
    return notes


def repeat(clone: Clone) -> Report:
    """Run `dvc repro` once more, which should execute nothing."""
    problems = [
        InputError(
            f"stage '{stage}'",
            expected="nothing to do in a second `dvc repro`",
            received="another run",
            hint="Does it change its own inputs, or is it marked always_changed?",
        )
        for stage in clone.repro()
    ]
    return Report(problems, [], "a second `dvc repro` executed 0 stages")


def _not_executed(clone: Clone, executed: list[str]) -> Iterator[InputError]:
    for stage in clone.lock.stages:
        if stage not in executed:
            yield InputError(
                f"stage '{stage}' in dvc.lock of commit {clone.commit}",
                expected="to be executed",
                received="no such run",
                hint="Is it gone from dvc.yaml, or frozen?",
            )
    for stage in executed:
        if stage not in clone.lock.stages:
            yield InputError(
                f"stage '{stage}' of commit {clone.commit}",
                expected="a record in its dvc.lock",
                received="none",
                hint="Run `dvc repro`, then commit dvc.lock and metrics.",
            )


def _explain(change: Change, found: list[Change], clone: Clone) -> InputError:
    fact, recorded, new = change
    received = "nothing" if new is None else new
    inputs = {other.fact for other in found if other.fact.stage == fact.stage and other.fact.kind != "output"}
    hint = f"dvc.lock of commit {clone.commit} was made from something else: run `dvc repro` and commit dvc.lock."
    if fact.kind == "output":
        received += f" from the re-run ({_values(change, clone)})"
        if not inputs:
            hint = "Its inputs were the same: does its code use a clock, chance, threads, paths or the network?"
        elif all(input_.kind == "dependency" for input_ in inputs):
            hint = f"It follows from {', '.join(sorted(input_.name for input_ in inputs))}."
    return InputError(str(fact), expected=f"{recorded or 'nothing'}, as committed", received=received, hint=hint)


def _values(change: Change, clone: Clone) -> str:
    """In what the committed and the new version of an output differ, where the committed one is at hand."""
    path = change.fact.name
    differences = []
    for name, recorded in _recorded_files(change, clone).items():
        new = clone.path / path / name
        if not new.exists():
            differences.append(f"{name or path} is gone")
        elif not filecmp.cmp(recorded, new, shallow=False):
            differences.append(f"{name} {first_difference(name or path, recorded, new)}".lstrip())
    return "; ".join(differences[:3]) or "the committed version is not at hand to compare with"


def _recorded_files(change: Change, clone: Clone) -> dict[str, Path]:
    """The committed version of an output: in Git, in the DVC cache, or in the work tree if it is still the same.

    Returns:
        Files by their name in the output, if it is a folder, or by an empty name. Only those that are at hand.
    """
    path = change.fact.name
    in_git = clone.committed(path)
    if in_git:
        return {"": in_git}
    outs = {out.path: out.md5 for out in clone.lock.stages[change.fact.stage].outs}
    digest = HashInfo("md5", outs.get(path))
    with Repo(str(clone.root)) as repo:
        cache, files = repo.cache.local, repo.fs
        wanted = {"": digest}
        if digest.isdir:
            listed = Tree.load(cache, digest) if cache.exists(digest.value) else ()
            wanted = {"/".join(key): part for key, _, part in listed}
        places = {name: (cache.oid_to_path(part.value), str(clone.root / path / name)) for name, part in wanted.items()}
        return {
            name: Path(place)
            for name, part in wanted.items()
            for place in reversed(places[name])
            if part and files.isfile(place) and hash_file(place, files, "md5")[1] == part
        }


def _leftovers(clone: Clone, found: list[Change]) -> Iterator[InputError]:
    """Committed files that the re-run changed although dvc.lock did not say so, and files that nobody declared."""
    expected = [change.fact.name for change in found if change.fact.kind == "output"]
    expected += ["dvc.lock"] if found else []
    for name in changed_files(clone.path):
        if any(Path(name).is_relative_to(path) for path in expected):
            continue
        committed = clone.committed(name)
        new = clone.path / name
        if committed and new.is_file():
            received = first_difference(name, committed, new)
            hint = "Run `dvc repro`, then commit dvc.lock and metrics."
        elif committed:
            received, hint = "no file after the re-run", "Does a stage still write it? Remove it from Git if not."
        else:
            received, hint = "a new file", "Declare it as an output of its stage in dvc.yaml, commit it, or ignore it."
        yield InputError(name, expected=f"what commit {clone.commit} holds", received=received, hint=hint)


def _metrics(clone: Clone, allowed: Tolerance, name: str) -> Iterator[tuple[float, float]]:
    """Read the committed and the new value of a metric from every JSON that Git holds and a tolerated stage wrote."""
    for stage in sorted(allowed.stages):
        for out in clone.lock.stages[stage].outs:
            committed = clone.committed(out.path) if out.path.endswith(".json") else None
            if committed:
                old, new = (_metric(path, name) for path in (committed, clone.path / out.path))
                if old is not None and new is not None:
                    yield old, new


def _metric(scores: Path, name: str) -> float | None:
    try:
        return float(flatten(json.loads(scores.read_text(encoding="utf-8")))[name])
    except (ValueError, KeyError, TypeError):
        return None
