"""Share runs through a store: a remote of DVC, by its name or its address, that several machines reach.

fetch, before `dvc repro`: the cache gets what the store has for this code, these parameters and this data.
push, after it: the store gets the runs that the cache has whole, and what is damaged there is replaced.

fetch --remote team
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dvc.dependency import ParamsDependency
from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.repo.reproduce import plan_repro
from dvc.stage.serialize import to_single_stage_lockfile
from dvc_data.hashfile.hash_info import HashInfo
from dvc_data.hashfile.meta import Meta
from ruamel.yaml import YAML

from dvcproof.cache import Cache, digests, names, read_entry, recorded
from dvcproof.doctor import Project
from dvcproof.findings import BusyError, UnknownError
from dvcproof.lockfile import lock_files
from dvcproof.messages import printable
from dvcproof.project import Project as Described
from dvcproof.project import address_of
from dvcproof.runtime.program import InputError
from dvcproof.store import DEADLINE, State, Store, StoreError, in_parallel

#: The list of records that were fetched, in a project.
FETCHED = Path(".dvc", "tmp", "fetched-records")

HELP = {
    "push": "Send the runs in DVC's cache to a store, and replace what is damaged there. Call it after `dvc repro`.",
    "fetch": "Take the runs of others from a store, for this code, these parameters and this data, before `dvc repro`.",
}

#: A run, in the form in which dvc.lock and the run cache hold it: cmd, deps, params, outs.
Entry = dict[str, Any]


class Plan:
    """What `dvc repro` will look for: of each stage the hash of its inputs, as far as they are known before it runs."""

    def __init__(self, repo: Repo, results: Mapping[str, str] | None = None) -> None:
        """
        Args:
            repo: the project.
            results: hashes of what stages will write, by paths, as far as they are known.
        """
        self._stages = plan_repro(repo.index.graph)
        # Data that was added is not written by a stage: it is what is here.
        self._written = {out.fs_path for stage in self._stages if not stage.is_data_source for out in stage.outs}
        outs = [out for stage in self._stages for out in stage.outs if out.def_path in (results or {})]
        self._known = {out.fs_path: HashInfo("md5", (results or {})[out.def_path]) for out in outs}
        self._project = Described(repo)

    def __iter__(self) -> Iterator[tuple[Any, Entry]]:
        """Each stage whose inputs are known, after those that it depends on, and a run of it without results."""
        for stage in self._stages:
            if stage.cmd and stage.deps and all(map(self._resolve, stage.deps)):
                yield stage, to_single_stage_lockfile(stage)

    def expect(self, stage: Any, entry: Entry) -> None:
        """Take the results of a run for those that a stage will have."""
        found = {out["path"]: out["md5"] for out in entry.get("outs", ()) if "md5" in out}
        self._known |= {
            out.fs_path: HashInfo("md5", found[out.def_path]) for out in stage.outs if out.def_path in found
        }

    def _resolve(self, dep: Any) -> bool:
        if isinstance(dep, ParamsDependency):
            dep.hash_info = dep.get_hash()
        elif dep.fs_path in self._known:
            dep.meta, dep.hash_info = Meta(), self._known[dep.fs_path]
        elif dep.fs_path in self._written or dep.protocol != "local" or not dep.exists:
            return False
        else:
            dep.meta, dep.hash_info = self._project.hash(dep)
        return True


def fetch(project: Project, repo: Repo, store: Store) -> Iterator[str]:
    """Put into the cache what it lacks of the runs that `dvc repro` will look for; gives lines about it.

    Raises:
        StoreError: the store did not answer, or refused. What had come is kept.
    """
    plan, lock = Plan(repo), locked_runs(project.root)
    for stage, inputs in plan:
        key, _ = names(inputs)
        address, folder = address_of(stage), Path(stage.wdir)
        entry = lock.get(address)
        if entry is None or names(entry)[0] != key:
            entry = _cached(project.cache, key)
        record = None
        if entry is None:
            texts = store.records(key)
            found = {name: read_entry(text, key, name) for name, text in texts.items()}
            sound = {name: entry for name, entry in found.items() if entry is not None}
            if len(sound) < len(found):
                yield f"stage '{address}': {len(found) - len(sound)} damaged records there are not used"
            if len(sound) > 1:
                yield f"stage '{address}': {len(sound)} records there contradict each other, so that it runs here"
            if len(sound) != 1:
                continue
            ((record, entry),) = sound.items()
        plan.expect(stage, entry)
        states = _fetch_outputs(project.cache, store, entry, folder, record=record is not None)
        if states.count("good"):
            yield f"stage '{address}': {states.count('good')} objects fetched"
        if missing := [state for state in states if state != "good"]:
            yield f"stage '{address}': {len(missing)} objects there are {missing[0]}, so that it runs here"
        elif record:
            project.cache.write_record(key, record, texts[record])
            with (project.root / FETCHED).open("a", encoding="utf-8") as list_:
                list_.write(f"{key}/{record}\n")


def _fetch_outputs(cache: Cache, store: Store, entry: Entry, folder: Path, *, record: bool) -> list[State]:
    """Fetch the outputs of a run that the cache lacks. Without `record`, those in the stage's folder are skipped."""
    lacking = {
        out["md5"]
        for out in entry.get("outs", ())
        if out.get("hash") == "md5"  # not of DVC 2, whose objects have other names
        and not cache.object(out["md5"])
        and (record or not cache.is_good(folder / out["path"], out["md5"]))
    }

    def fetch_object(digest: str) -> State:
        place = next(cache.places(digest))
        cache.make_folder(place)
        return store.fetch(digest, place)

    states = in_parallel(fetch_object, sorted(lacking))
    parts = {part for digest in digests(entry) for part in cache.parts(digest) if not cache.object(part)}
    return states + in_parallel(fetch_object, sorted(parts))


def locked_runs(root: Path) -> dict[str, Entry]:
    """The runs in each dvc.lock, by the addresses of their stages."""
    found: dict[str, Entry] = {}
    for path in lock_files(root):
        document = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
        graph = "" if path.parent == root else f"{path.parent.relative_to(root).as_posix()}/dvc.yaml:"
        found |= {f"{graph}{name}": entry for name, entry in ((document or {}).get("stages") or {}).items()}
    return found


def _cached(cache: Cache, key: str) -> Entry | None:
    """The run in the cache that DVC would take: the newest."""
    paths = [path for path in cache.records() if path.parent.name == key]
    for path in sorted(paths, key=lambda path: path.stat().st_mtime, reverse=True):
        return read_entry(path.read_text(encoding="utf-8"), key, path.name)
    return None


def push(project: Project, store: Store) -> Iterator[str]:
    """Send the runs that the cache has whole, objects before records; gives lines about it.

    Records that were fetched are not sent: one that an audit has removed would come back.

    Raises:
        StoreError: the store did not answer, or refused.
    """
    cache = project.cache
    runs = {path: _whole(cache, recorded(path) or []) for path in cache.records()}
    kept = [_whole(cache, [one]) for entry in locked_runs(project.root).values() for one in digests(entry)]
    sources = {digest: place for found in (*runs.values(), *kept) for digest, place in found.items()}

    def send(digest: str) -> State:
        state = store.state(digest, sources[digest].stat().st_size)
        if state != "good":
            store.put(digest, sources[digest])
        return state

    states = in_parallel(send, sorted(sources))
    fetched = _fetched(project)
    own = [path for path, objects in runs.items() if objects and f"{path.parent.name}/{path.name}" not in fetched]
    found = in_parallel(lambda path: _send_record(store, path), own)
    yield f"{states.count('missing')} objects and {found.count('missing')} records of runs added"
    for what, bad in (("objects", states.count("damaged")), ("records", found.count("damaged"))):
        if bad:
            yield f"{bad} damaged {what} replaced"


def _fetched(project: Project) -> set[str]:
    """The records that came from a store, as folder/name."""
    path = project.root / FETCHED
    return set(path.read_text(encoding="utf-8").split()) if path.exists() else set()


def _whole(cache: Cache, outputs: list[str]) -> dict[str, Path]:
    """The good objects of outputs, with those that folders consist of; none if one is not there."""
    found = {digest: cache.object(digest) for one in outputs for digest in (one, *cache.parts(one))}
    good = {digest: place for digest, place in found.items() if place}
    return good if len(good) == len(found) else {}


def _send_record(store: Store, path: Path) -> State:
    folder, text = path.parent.name, path.read_text(encoding="utf-8")
    there = store.records(folder)
    bad = {name for name, other in there.items() if read_entry(other, folder, name) is None}
    if there.get(path.name) != text:
        store.put_record(folder, path.name, text)
    for name in bad - {path.name}:
        store.remove_record(folder, name)
    return "damaged" if bad else "good" if path.name in there else "missing"


def main_push() -> None:
    """Push what has run here."""
    _main("push")


def main_fetch() -> None:
    """Fetch what others have run."""
    _main("fetch")


def _main(direction: str) -> None:
    parser = argparse.ArgumentParser(
        description=f"{HELP[direction]}\n\n%(prog)s --remote team",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--remote", required=True, help="a remote of DVC, or an address as s3://bucket/folder")
    parser.add_argument(
        "--patience", type=float, default=DEADLINE, help="seconds to wait for its first answer (default: %(default)s)"
    )
    args = parser.parse_args()
    exchange(direction, Path.cwd(), args.remote, args.patience)


def _say(line: str) -> None:
    sys.stdout.write(f"store: {printable(line)}\n")
    sys.stdout.flush()


def exchange(
    direction: str, root: Path, remote: str, patience: float = DEADLINE, say: Callable[[str], None] = _say
) -> bool:
    """Push to a store or fetch from it, and say what was done.

    Args:
        direction: push or fetch.
        root: the folder of the project.
        remote: a remote of DVC, or an address.
        patience: seconds to wait for the store's first answer.
        say: what is done with a line about it; else it is printed.

    Returns:
        Whether the store could be read. If not, the last line says why.

    Raises:
        BusyError: DVC is at work in the project.
        UnknownError: nothing can be written to the store.
        InputError: DVC cannot read the project.
    """
    try:
        project = Project(root)
        with project.alone() as at_work, Repo(str(project.root)) as repo:
            if at_work:
                hint = "Wait for it, and run this again."
                raise BusyError("the project", expected="nothing at work", received=at_work, hint=hint)
            return _exchange(direction, project, repo, remote, patience=patience, say=say)
    except DvcException as error:
        hint = "Correct it: `dvc status` says more."
        raise InputError("DVC", expected="a project that it can read", received=str(error), hint=hint) from None


def _exchange(
    direction: str, project: Project, repo: Repo, remote: str, *, patience: float, say: Callable[[str], None]
) -> bool:
    store = Store.open(repo, remote, patience if direction == "fetch" else None)
    try:
        store.ask(patience)
        for line in push(project, store) if direction == "push" else fetch(project, repo, store):
            say(line)
    except StoreError as error:
        if direction == "push":
            hint = "Check its address, the keys and this machine's clock, and run this again: what was sent is kept."
            what = f"store {remote}"
            raise UnknownError(what, expected="to write there", received=str(error), hint=hint) from None
        say(f"{remote} cannot be read, so that what the cache lacks is made here: {error}")
        return False
    return True
