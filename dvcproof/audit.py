"""Re-run a random sample of the runs that a remote records, and report each record that is not reproduced.

Anyone with write access to a remote can store any model as the result of any run. Only a re-run can show that the
record is true.
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

#: The beginning of a message about a record that could not be re-run.
UNKNOWN = "it could not be run here: "


class Record(NamedTuple):
    """A record in the remote: `folder` is the hash of the inputs of the run, `name` the hash of the whole record."""

    folder: str
    name: str
    text: str


def audited(root: Path, *, remote: str, sample: int = 1, record: str | None = None, remove: bool = False) -> Report:
    """Re-run records of a remote, and report those that are not reproduced.

    Args:
        sample: the number of records to re-run.
        record: the name of the only record to re-run; None: any.
        remove: whether to remove wrong records from the remote.

    Raise UnknownError if the remote does not answer or refuses access; InputError if DVC cannot read the
    project, or the commit has no dvc.lock.
    """
    if sample < 1:
        raise InputError(
            "--sample", expected="at least 1", received=str(sample), hint="Name the number of records to run."
        )
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
        report.unknown.append(
            f"store {remote} has no record of this commit: `git checkout` a commit whose runs were pushed"
        )
    report.summary = f"{good} records reproduced"
    return report


def _audit(root: Path, store: Store, sample: int, wanted: str | None) -> Iterator[tuple[Record, str]]:
    """Re-run `sample` records. Yield each record with a text about its fault; the text is empty for a good record."""
    with tempfile.TemporaryDirectory(prefix="audit-") as folder, Project.open(root) as project:
        clone = Clone(project, Path(folder, "first"))
        done = 0
        for number, (record, entry) in enumerate(_choose(store, clone, wanted)):
            if done == sample:
                return
            if entry is None:
                yield record, "it is damaged: its name is not the hash of its content"
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
    """Yield in random order the records that fit the last commit, with their parsed entries; None: damaged."""
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
    """Re-run the run of a record in a clean clone. Return the new entry of dvc.lock.

    Return None if no stage of this commit fits the record, or if the remote lacks inputs. The command always comes from
    dvc.yaml in the clone, never from the record.

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
        lines = result.last_lines.splitlines() or ["no output"]
        raise InputError(f"stage '{name}'", f"it fails in a clean clone: {lines[-1]}", hint="Run it by hand.")
    return read_records(clone.path)[0][name]


def _set_params(clone: Clone, entry: Entry) -> bool:
    """Write the parameters of a run into the clone. Return False if a file cannot be read or lacks a parameter."""
    with Repo(str(clone.path)) as repo:
        folders = {Path(stage.wdir) for stage in repo.index.stages if stage.cmd == entry["cmd"]}
    try:
        for folder, (path, values) in product(folders, entry.get("params", {}).items()):
            set_params(folder / path, flatten(values))
    except (InputError, AttributeError, TypeError):
        return False
    return True


def _find(clone: Clone, entry: Entry) -> tuple[str, Path, set[str]] | None:
    """Return the stage in the clone that has the inputs of a run, its working folder, and the outputs not yet there."""
    with Repo(str(clone.path)) as repo:
        outs = [(stage, out) for stage in repo.index.stages for out in stage.outs]
        # Data of `dvc add` is already in the clone if the project's cache has it.
        written = {out.def_path for stage, out in outs if not (stage.is_data_source and out.exists)}
        plan = Plan(repo, {dep["path"]: dep["md5"] for dep in entry.get("deps", ()) if "md5" in dep})
        same = (stage for stage, inputs in plan if names(inputs)[0] == names(entry)[0])
        return next(((address_of(stage), Path(stage.wdir), written) for stage in same), None)


def _place(store: Store, digest: str, target: Path) -> bool:
    """Fetch a file or folder with this hash into the clone. Return False if this fails, or if the hash is empty."""
    if not digest.endswith(".dir"):
        return bool(digest) and store.fetch(digest, target) == "good"
    parts = store.parts(digest)
    return parts is not None and all(_place(store, part, target / path) for path, part in parts.items())
