"""Run again some of the runs that a store records, chosen by chance, and name each record that does not come out.

Whoever may write into a store can name any model there as the result of any run. Only running it tells.

audit --remote team --sample 3
"""

import argparse
import random
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from dvc.exceptions import DvcException
from dvc.repo import Repo

from dvcproof.cache import names, read_entry
from dvcproof.clone import Clone
from dvcproof.findings import CANNOT_TELL, Finding, Report, UnknownError
from dvcproof.lockfile import Lock
from dvcproof.messages import printable
from dvcproof.project import Project, address_of
from dvcproof.runtime.program import InputError
from dvcproof.share import Entry, Plan, locked_runs
from dvcproof.store import Store, StoreError
from dvcproof.values import flatten, set_params

#: How a line begins about a record that could not be judged.
UNKNOWN = "it could not be run here: "


class Record(NamedTuple):
    """A record in the store: the folder is the hash of what went into the run, the name that of all it says."""

    folder: str
    name: str
    text: str


def choose(store: Store, clone: Clone, wanted: str | None) -> Iterator[tuple[Record, Entry | None]]:
    """Records that the last commit can run again, in an order that nobody can foresee; damaged ones with None.

    Raises:
        StoreError: the store did not answer, or refused.
    """
    folders = store.folders()
    random.SystemRandom().shuffle(folders)
    inputs = Lock.model_validate({"stages": locked_runs(clone.path)}).inputs()
    for folder in folders:
        for name, text in store.records(folder).items():
            entry = read_entry(text, folder, name)
            if wanted in (None, name) and (entry is None or _is_of(inputs, entry)):
                yield Record(folder, name, text), entry


def _is_of(inputs: dict[str, str | None], entry: Entry) -> bool:
    """Whether a run has the code and the data that the last commit has."""
    return all(inputs[dep["path"]] == dep.get("md5") for dep in entry.get("deps", ()) if dep["path"] in inputs)


def rerun(clone: Clone, store: Store, entry: Entry) -> Entry | None:
    """Run again what a record says in a clean clone. None: it is not a run of this commit, or its inputs are gone.

    The command is the one that the clone's dvc.yaml has: never one that a record brings along.

    Raises:
        InputError: the stage failed.
        StoreError: the store did not answer, or refused.
    """
    found = _stage(clone, entry) or (_set_params(clone, entry) and _stage(clone, entry))
    if not found:
        return None
    stage, folder, written = found
    for dep in entry.get("deps", ()):
        if dep["path"] in written and not _place(store, dep.get("md5", ""), folder / dep["path"]):
            return None
    result = clone.dvc("repro", "--single-item", "--force", "--no-run-cache", stage)
    if result.status != 0:
        lines = result.last_lines.splitlines() or ["it said nothing"]
        raise InputError(f"stage '{stage}'", f"it fails in a clean clone: {lines[-1]}", hint="Run it by hand.")
    return locked_runs(clone.path)[stage]


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


def _stage(clone: Clone, entry: Entry) -> tuple[str, Path, set[str]] | None:
    """The stage of the clone that has the inputs of a run, its folder, and the paths of what is not there."""
    with Repo(str(clone.path)) as repo:
        outs = [(stage, out) for stage in repo.index.stages for out in stage.outs]
        # Data that was added is there already, if the project's cache has it.
        written = {out.def_path for stage, out in outs if not (stage.is_data_source and out.exists)}
        plan = Plan(repo, {dep["path"]: dep["md5"] for dep in entry.get("deps", ()) if "md5" in dep})
        same = (stage for stage, inputs in plan if names(inputs)[0] == names(entry)[0])
        return next(((address_of(stage), Path(stage.wdir), written) for stage in same), None)


def _place(store: Store, digest: str, target: Path) -> bool:
    """Put an input into the clone: a file, or a folder of files. A record of another service has no digest."""
    if not digest:
        return False
    if not digest.endswith(".dir"):
        return store.fetch(digest, target) == "good"
    parts = store.parts(digest)
    return parts is not None and all(_place(store, part, target / path) for path, part in parts.items())


def differences(recorded: Entry, found: Entry) -> Iterator[tuple[str, str, str]]:
    """The outputs that two runs do not share, with what the first and the second have."""
    there, here = ({out["path"]: str(out.get("md5")) for out in entry.get("outs", ())} for entry in (recorded, found))
    yield from ((path, there[path], here.get(path, "none")) for path in there if there[path] != here.get(path))


def audit(root: Path, store: Store, sample: int, wanted: str | None) -> Iterator[tuple[Record, str]]:
    """Run records again until `sample` have been; gives each with what is wrong with it, which may be nothing.

    Raises:
        InputError: the commit has no dvc.lock.
        StoreError: the store did not answer, or refused.
    """
    with tempfile.TemporaryDirectory(prefix="audit-") as folder, Project.open(root) as project:
        clone = Clone(project, _new(folder, "first"))
        done = 0
        for number, (record, entry) in enumerate(choose(store, clone, wanted)):
            if done == sample:
                return
            if entry is None:
                yield record, "expected what its name says. Got a damaged record"
                continue
            try:
                found = rerun(Clone(project, _new(folder, str(number))), store, entry)
            except InputError as error:  # the machine may be at fault, so that the record is not accused
                done += 1
                yield record, f"{UNKNOWN}{error.problem}"
                continue
            if found is None:
                continue
            done += 1
            wrong = next(differences(entry, found), None)
            yield record, "" if wrong is None else "{}: expected md5 {}, as it says. Got md5 {}".format(*wrong)


def _new(folder: str, name: str) -> Path:
    path = Path(folder, name)
    path.mkdir()
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--remote", required=True, help="a remote of DVC, or an address as s3://bucket/folder")
    parser.add_argument("--sample", type=int, default=1, help="how many to run (default: %(default)s)")
    parser.add_argument("--record", metavar="NAME", help="this record, and no other")
    parser.add_argument("--remove", action="store_true", help="remove the records that are named")
    args = parser.parse_args()
    with _opened(Path.cwd(), args.remote, args.sample) as store:
        _audit(store, args)


def audited(root: Path, remote: str, sample: int, wanted: str | None, *, remove: bool) -> Report:
    """Run records of a store again, and report those that do not come out.

    Args:
        root: the folder of the project.
        remote: a remote of DVC, or an address.
        sample: how many to run.
        wanted: the name of the only record to run; None: any.
        remove: whether to remove what does not come out.

    Raises:
        UnknownError: the store did not answer, or refused.
        InputError: DVC cannot read the project, or the commit has no dvc.lock.
    """
    report, good = Report("audit"), 0
    with _opened(root, remote, sample) as store:
        for record, problem in audit(root, store, sample, wanted):
            good += not problem
            if problem.startswith(UNKNOWN):
                report.unknown.append(f"record {record.name}: {problem}")
            elif problem:
                fix = f"Run `dvcproof audit --remote {remote} --record {record.name} --remove`."
                if remove:
                    store.remove_record(record.folder, record.name)
                    fix = "It was removed."
                report.findings.append(Finding("DP602", "error", f"record {record.name}: {problem}", fix))
    if not (good or report.findings or report.unknown):
        report.unknown.append(f"store {remote} has no record of this commit: `git checkout` one that it has")
    report.summary = f"{good} records came out as the store has them"
    return report


@contextmanager
def _opened(root: Path, remote: str, sample: int) -> Iterator[Store]:
    if sample < 1:
        raise InputError("--sample", expected="at least 1", received=str(sample), hint="Name how many to run.")
    try:
        with Repo(str(root)) as repo:
            yield Store.open(repo, remote)
    except StoreError as error:
        hint = "Check its address, the keys and this machine's clock."
        raise UnknownError(f"store {remote}", expected="an answer", received=str(error), hint=hint) from None
    except DvcException as error:
        hint = "Correct it: `dvc status` says more."
        raise InputError("DVC", expected="a project that it can read", received=str(error), hint=hint) from None


def _audit(store: Store, args: Any) -> None:
    bad = good = unknown = 0
    for record, problem in audit(Path.cwd(), store, args.sample, args.record):
        good += not problem
        if problem.startswith(UNKNOWN):
            unknown += 1
            sys.stderr.write(f"WARNING: record {record.name}: {printable(problem)}\n")
        elif problem:
            bad += 1
            again = f"--remote {args.remote} --record {record.name} --remove"
            step = f"Run `{Path(sys.argv[0]).name} {again}` with a key that may write."
            if args.remove:
                store.remove_record(record.folder, record.name)
                step = "It was removed."
            sys.stderr.write(f"ERROR: record {record.name}: {printable(problem)}. {step}\n")
            sys.stderr.flush()  # so that it is shown even if the audit is cut short
    sys.stdout.write(f"audit: {good} records came out as the store has them\n")
    sys.stdout.flush()
    if bad:
        sys.exit(1)
    if unknown:
        sys.exit(CANNOT_TELL)
    if not good:
        hint = "Audit the commit whose runs are there: `git checkout COMMIT`."
        raise InputError(f"store {args.remote}", expected="a record of this commit", received="none", hint=hint)
