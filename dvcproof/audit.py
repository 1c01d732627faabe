"""Run again some of the runs that a store records, chosen by chance, and name each record that does not come out.

Whoever may write into a store can name any model there as the result of any run. Only running it tells.
"""

import random
import tempfile
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import NamedTuple

from dvc.repo import Repo

from dvcproof.cache import names, read_entry
from dvcproof.clone import Clone
from dvcproof.findings import Finding, Report
from dvcproof.lockfile import Entry, Lock, hashes, read_records
from dvcproof.project import Project, address_of
from dvcproof.runtime.program import InputError
from dvcproof.share import Plan, opened
from dvcproof.store import Store
from dvcproof.values import flatten, set_params

#: How a line begins about a record that could not be judged.
UNKNOWN = "it could not be run here: "


class Record(NamedTuple):
    """A record in the store: the folder is the hash of what went into the run, the name that of all it says."""

    folder: str
    name: str
    text: str


def audited(root: Path, *, remote: str, sample: int = 1, record: str | None = None, remove: bool = False) -> Report:
    """Run records of a store again, and report those that do not come out.

    Args:
        record: the name of the only record to run; None: any.

    Raise UnknownError if the store did not answer, or refused; InputError if DVC cannot read the project, or the commit
    has no dvc.lock.
    """
    if sample < 1:
        raise InputError("--sample", expected="at least 1", received=str(sample), hint="Name how many to run.")
    report, good = Report("audit"), 0
    with opened(root, remote) as (_, store):
        for one, problem in _audit(root, store, sample, record):
            good += not problem
            if problem.startswith(UNKNOWN):
                report.unknown.append(f"record {one.name}: {problem}")
            elif problem:
                fix = f"Run `dvcproof audit --remote {remote} --record {one.name} --remove` with a key that may write."
                if remove:
                    store.remove_record(one.folder, one.name)
                    fix = "It was removed."
                report.findings.append(Finding("DP602", "error", f"record {one.name}: {problem}", fix))
    if not (good or report.findings or report.unknown):
        report.unknown.append(f"store {remote} has no record of this commit: `git checkout` one that it has")
    report.summary = f"{good} records came out as the store has them"
    return report


def _audit(root: Path, store: Store, sample: int, wanted: str | None) -> Iterator[tuple[Record, str]]:
    """Run records again until `sample` have been. Return each with what is wrong with it, which may be nothing."""
    with tempfile.TemporaryDirectory(prefix="audit-") as folder, Project.open(root) as project:
        clone = Clone(project, Path(folder, "first"))
        done = 0
        for number, (record, entry) in enumerate(_choose(store, clone, wanted)):
            if done == sample:
                return
            if entry is None:
                yield record, "it is damaged: it is not what its name says"
                continue
            try:
                found = _rerun(Clone(project, Path(folder, str(number))), store, entry)
            except InputError as error:  # the machine may be at fault, so that the record is not accused
                done += 1
                yield record, f"{UNKNOWN}{error.problem}"
                continue
            if found is None:
                continue
            done += 1
            there, here = hashes(entry, "outs"), hashes(found, "outs")
            wrong = next((path for path in there if there[path] != here.get(path)), None)
            yield record, "" if not wrong else f"{wrong}: expected md5 {there[wrong]}. Got md5 {here.get(wrong)}"


def _choose(store: Store, clone: Clone, wanted: str | None) -> Iterator[tuple[Record, Entry | None]]:
    """Return records that the last commit can run again, in an order that nobody can foresee. None: it is damaged."""
    folders = store.folders()
    random.SystemRandom().shuffle(folders)
    inputs = Lock.model_validate({"stages": read_records(clone.path)[0]}).inputs()
    for folder in folders:
        for name, text in store.records(folder).items():
            entry = read_entry(text, folder, name)
            deps = (entry or {}).get("deps", ())
            own = all(inputs[dep["path"]] == dep.get("md5") for dep in deps if dep["path"] in inputs)
            if wanted in (None, name) and own:
                yield Record(folder, name, text), entry


def _rerun(clone: Clone, store: Store, entry: Entry) -> Entry | None:
    """Run again what a record says in a clean clone. None: it is not a run of this commit, or its inputs are gone.

    The command is the one that the clone's dvc.yaml has: never one that a record brings along.

    Raise InputError if the stage failed.
    """
    found = _find(clone, entry) or (_set_params(clone, entry) and _find(clone, entry))
    if not found:
        return None
    name, folder, written = found
    deps = {path: digest for path, digest in hashes(entry, "deps").items() if path in written}
    if not all(_place(store, digest, folder / path) for path, digest in deps.items()):
        return None
    result = clone.repro("--single-item", name)
    if result.status != 0:
        lines = result.last_lines.splitlines() or ["it said nothing"]
        raise InputError(f"stage '{name}'", f"it fails in a clean clone: {lines[-1]}", hint="Run it by hand.")
    return read_records(clone.path)[0][name]


def _set_params(clone: Clone, entry: Entry) -> bool:
    """Give the clone the parameters of a run. False: its files have other names, or another form than YAML."""
    with Repo(str(clone.path)) as repo:
        folders = {Path(stage.wdir) for stage in repo.index.stages if stage.cmd == entry["cmd"]}
    try:
        for folder, (path, values) in product(folders, entry.get("params", {}).items()):
            set_params(folder / path, flatten(values))
    except (InputError, AttributeError, TypeError):
        return False
    return True


def _find(clone: Clone, entry: Entry) -> tuple[str, Path, set[str]] | None:
    """Return the stage of the clone that has the inputs of a run, its folder, and the paths of what is not there."""
    with Repo(str(clone.path)) as repo:
        outs = [(stage, out) for stage in repo.index.stages for out in stage.outs]
        # Data that was added is there already, if the project's cache has it.
        written = {out.def_path for stage, out in outs if not (stage.is_data_source and out.exists)}
        plan = Plan(repo, {dep["path"]: dep["md5"] for dep in entry.get("deps", ()) if "md5" in dep})
        same = (stage for stage, inputs in plan if names(inputs)[0] == names(entry)[0])
        return next(((address_of(stage), Path(stage.wdir), written) for stage in same), None)


def _place(store: Store, digest: str, target: Path) -> bool:
    """Put an input into the clone: a file, or a folder of files. A record of another service has no digest."""
    if not digest.endswith(".dir"):
        return bool(digest) and store.fetch(digest, target) == "good"
    parts = store.parts(digest)
    return parts is not None and all(_place(store, part, target / path) for path, part in parts.items())
