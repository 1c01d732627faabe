"""Re-run a random sample of the runs that a remote records, and report each record that is not reproduced.

Anyone with write access to a remote can store any model as the result of any run. Only a re-run can show that the
record is true.
"""

import os
import random
import tempfile
from collections.abc import Iterator
from itertools import product
from pathlib import Path

from dvcproof.cache import names, read_entry
from dvcproof.clone import Clone
from dvcproof.findings import Finding, Report
from dvcproof.lockfile import Entry, Lock, hashes, read_records
from dvcproof.messages import counted
from dvcproof.project import Project, Stage
from dvcproof.runtime.program import InputError
from dvcproof.share import opened, planned
from dvcproof.store import Store
from dvcproof.values import flatten, set_params


def audit(root: Path, *, remote: str, sample: int = 1, record: str | None = None, remove: bool = False) -> Report:
    """Re-run `sample` records of a remote, or only `record`, and report those that are not reproduced.

    Remove them from the remote with `remove`. Raise UnknownError if the remote does not answer or refuses access.
    """
    if sample < 1:
        hint = "Name the number of records to run."
        raise InputError("--sample", expected="at least 1", received=str(sample), hint=hint)
    report, done, good = Report("audit"), 0, 0
    with opened(root, remote) as (project, store), tempfile.TemporaryDirectory(prefix="audit-") as place:
        candidates = _candidates(store, Clone(project, Path(place, "first")), record)
        for number, (folder, name, entry) in enumerate(candidates):
            if done == sample:
                break
            problem: str | None = "it is damaged: its name is not the hash of its content"
            if entry is not None:
                try:
                    problem = _difference(Clone(project, Path(place, str(number))), store, entry)
                    done += problem is not None
                    good += problem == ""
                except InputError as error:  # the machine may be at fault, so that the record is not accused
                    done += 1
                    report.unknown.append(f"record {name}: it could not be run here: {error.problem}")
                    continue
            if problem:
                fix = f"Run `dvcproof audit --remote {remote} --record {name} --remove` with a key that may write."
                if remove:
                    store.remove_record(folder, name)
                    fix = "It was removed."
                report.findings.append(Finding("DP602", "error", f"record {name}: {problem}", fix))
    if not (good or report.findings or report.unknown):
        advice = "`git checkout` a commit whose runs were pushed"
        report.unknown.append(f"store {remote} has no record of this commit: {advice}")
    report.summary = f"{counted(good, 'record')} reproduced"
    return report


def _candidates(store: Store, clone: Clone, wanted: str | None) -> Iterator[tuple[str, str, Entry | None]]:
    """Yield folder, name and content of the records that fit the last commit, in random order; None: damaged."""
    folders = store.folders()
    random.SystemRandom().shuffle(folders)
    inputs = Lock.model_validate({"stages": read_records(clone.path)[0]}).inputs()
    for folder in folders:
        for name, text in store.records(folder).items():
            entry = read_entry(text, folder, name)
            deps = (entry or {}).get("deps", ())
            own = all(inputs[dep["path"]] == dep.get("md5") for dep in deps if dep["path"] in inputs)
            if wanted in (None, name) and own:
                yield folder, name, entry


def _difference(clone: Clone, store: Store, entry: Entry) -> str | None:
    """Re-run the run of a record in a clean clone, and compare the outputs; return an empty text if they are equal.

    Return None if no stage of this commit fits the record, or if the remote lacks inputs. The command always comes from
    dvc.yaml in the clone, never from the record.

    Raise InputError if the stage failed.
    """
    found = _find(clone, entry) or (_set_params(clone, entry) and _find(clone, entry))
    if not found or not all(_place(store, digest, target) for target, digest in found[1].items()):
        return None
    name = found[0].address
    result = clone.repro("--single-item", name)
    if result.status != 0:
        lines = result.last_lines.splitlines() or ["no output"]
        raise InputError(f"stage '{name}'", f"it fails in a clean clone: {lines[-1]}", hint="Run it by hand.")
    there, here = (hashes(one, "outs") for one in (entry, read_records(clone.path)[0][name]))
    wrong = next((path for path in there if there[path] != here.get(path)), None)
    return f"{wrong}: expected md5 {there[wrong]}. Got md5 {here.get(wrong)}" if wrong else ""


def _set_params(clone: Clone, entry: Entry) -> bool:
    """Write the parameters of a run into the clone. Return False if a file cannot be read or lacks a parameter."""
    with Project.open(clone.path) as project:
        folders = {stage.wdir for stage in project.stages if stage.raw.cmd == entry["cmd"]}
    try:
        for folder, (path, values) in product(folders, entry.get("params", {}).items()):
            set_params(folder / path, flatten(values))
    except (InputError, AttributeError, TypeError):
        return False
    return True


def _find(clone: Clone, entry: Entry) -> tuple[Stage, dict[Path, str]] | None:
    """Return the stage in the clone that has the inputs of a run, and the hashes of the inputs that are not there."""
    deps = {path: digest for path, digest in hashes(entry, "deps").items() if digest}
    with Project.open(clone.path) as project:
        # Data of `dvc add` is already in the clone if the project's cache has it.
        made = {*project.makers} - {item.place for item in project.data if item.exists}
        places = ((os.path.normpath(stage.wdir / path), deps[path]) for stage in project.stages for path in deps)
        known = {place: digest for place, digest in places if place in made}
        stage = next((stage for stage, key in planned(project, known) if key == names(entry)[0]), None)
    needed = {dep.place for dep in (stage.deps if stage else ()) if dep.place in known}
    return (stage, {Path(place): known[place] for place in needed}) if stage else None


def _place(store: Store, digest: str, target: Path) -> bool:
    """Fetch a file or folder with this hash into the clone. Return False if this fails."""
    if not digest.endswith(".dir"):
        return store.fetch(digest, target) == "good"
    parts = store.parts(digest)
    return parts is not None and all(_place(store, part, target / path) for path, part in parts.items())
