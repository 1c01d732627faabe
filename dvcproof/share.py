"""Share runs through a store: a remote of DVC, by its name or its address, that several machines reach.

fetch, before `dvc repro`: the cache gets what the store has for this code, these parameters and this data.
push, after it: the store gets the runs that the cache has whole, and what is damaged there is replaced.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dvc.dependency import ParamsDependency
from dvc.repo import Repo
from dvc.repo.reproduce import plan_repro
from dvc.stage.serialize import to_single_stage_lockfile
from dvc_data.hashfile.hash_info import HashInfo
from dvc_data.hashfile.meta import Meta

from dvcproof.cache import Cache, digests, names, read_entry, recorded
from dvcproof.findings import Finding, Report, UnknownError
from dvcproof.lockfile import Entry, read_records
from dvcproof.project import Project, address_of, refusals
from dvcproof.rwlock import alone
from dvcproof.store import DEADLINE, State, Store, StoreError, in_parallel

#: The list of records that were fetched, in a project.
FETCHED = Path(".dvc", "tmp", "fetched-records")


class Plan:
    """What `dvc repro` will look for: of each stage the hash of its inputs, as far as they are known before it runs.

    Args:
        results: hashes of what stages will write, by paths, as far as they are known.
    """

    def __init__(self, repo: Repo, results: Mapping[str, str] | None = None) -> None:
        self._stages = plan_repro(repo.index.graph)
        # Data that was added is not written by a stage: it is what is here.
        self._written = {out.fs_path for stage in self._stages if not stage.is_data_source for out in stage.outs}
        self._known: dict[str, HashInfo] = {}
        self._project = Project(repo)
        for stage in self._stages:
            self.expect(stage, results or {})

    def __iter__(self) -> Iterator[tuple[Any, Entry]]:
        """Return each stage whose inputs are known, the first ones first, and a run of it without results."""
        for stage in self._stages:
            if stage.cmd and stage.deps and all(map(self._resolve, stage.deps)):
                yield stage, to_single_stage_lockfile(stage)

    def expect(self, stage: Any, found: Mapping[str, str]) -> None:
        """Take the hashes of files, by their paths, for those of the results that a stage will have."""
        outs = (out for out in stage.outs if out.def_path in found)
        self._known |= {out.fs_path: HashInfo("md5", found[out.def_path]) for out in outs}

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


def fetch(cache: Cache, repo: Repo, store: Store) -> Iterator[str]:
    """Put into the cache what it lacks of the runs that `dvc repro` will look for. Return lines about it.

    Raise StoreError if the store did not answer, or refused. What had come is kept.
    """
    plan, (lock, _) = Plan(repo), read_records(cache.root)
    for stage, inputs in plan:
        key, _ = names(inputs)
        address, folder = address_of(stage), Path(stage.wdir)
        entry = lock.get(address)
        if entry is None or names(entry)[0] != key:
            entry = _cached(cache, key)
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
        plan.expect(stage, {out["path"]: out["md5"] for out in entry.get("outs", ()) if "md5" in out})
        states = _fetch_outputs(cache, store, entry, folder, record=record is not None)
        if states.count("good"):
            yield f"stage '{address}': {states.count('good')} objects fetched"
        if missing := [state for state in states if state != "good"]:
            yield f"stage '{address}': {len(missing)} objects there are {missing[0]}, so that it runs here"
        elif record:
            cache.write_record(key, record, texts[record])
            with (cache.root / FETCHED).open("a", encoding="utf-8") as list_:
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


def _cached(cache: Cache, key: str) -> Entry | None:
    """Return the run in the cache that DVC would take: the newest."""
    paths = [path for path in cache.records() if path.parent.name == key]
    newest = max(paths, key=lambda path: path.stat().st_mtime, default=None)
    return read_entry(newest.read_text(encoding="utf-8"), key, newest.name) if newest else None


def push(cache: Cache, store: Store) -> Iterator[str]:
    """Send the runs that the cache has whole, objects before records. Return lines about it.

    Records that were fetched are not sent: one that an audit has removed would come back.

    Raise StoreError if the store did not answer, or refused.
    """
    runs = {path: _whole(cache, (recorded(path) or ["", []])[1]) for path in cache.records()}
    kept = [_whole(cache, [one]) for entry in read_records(cache.root)[0].values() for one in digests(entry)]
    sources = {digest: place for found in (*runs.values(), *kept) for digest, place in found.items()}

    def send(digest: str) -> State:
        state = store.state(digest, sources[digest].stat().st_size)
        if state != "good":
            store.put(digest, sources[digest])
        return state

    states = in_parallel(send, sorted(sources))
    names_file = cache.root / FETCHED
    fetched = set(names_file.read_text(encoding="utf-8").split()) if names_file.exists() else set()
    own = [path for path, objects in runs.items() if objects and f"{path.parent.name}/{path.name}" not in fetched]
    found = in_parallel(lambda path: _send_record(store, path), own)
    yield f"{states.count('missing')} objects and {found.count('missing')} records of runs added"
    for what, bad in (("objects", states.count("damaged")), ("records", found.count("damaged"))):
        if bad:
            yield f"{bad} damaged {what} replaced"


def _whole(cache: Cache, outputs: list[str]) -> dict[str, Path]:
    """Return the good objects of outputs, with those that folders consist of; none if one is not there."""
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


@contextmanager
def opened(root: Path, remote: str, patience: float | None = None) -> Iterator[tuple[Repo, Store]]:
    """Open a project and a store.

    Raise UnknownError if the store did not answer, or refused; InputError if DVC cannot read the project.
    """
    try:
        with refusals(root), Repo(str(root)) as repo:
            yield repo, Store.open(repo, remote, patience)
    except StoreError as error:
        hint = "Check its address, the keys and this machine's clock, and run this again: what was sent is kept."
        raise UnknownError(f"store {remote}", expected="an answer", received=str(error), hint=hint) from None


def exchange(direction: str, root: Path, remote: str, patience: float = DEADLINE) -> Report:
    """Push to a store or fetch from it, and report what was done.

    Args:
        patience: seconds to wait for the store's first answer.

    Raise BusyError if DVC is at work in the project; UnknownError if nothing can be written to the store; InputError if
    DVC cannot read the project.
    """
    report, cache = Report(direction, remote), Cache(root)
    with alone(cache), opened(cache.root, remote, patience if direction == "fetch" else None) as (repo, store):
        try:
            store.ask(patience)
            for line in push(cache, store) if direction == "push" else fetch(cache, repo, store):
                report.findings.append(Finding("DP601", "note", line))
        except StoreError as error:
            if direction == "push":
                raise
            report.unknown.append(f"{remote} cannot be read, so that what the cache lacks is made here: {error}")
    return report
