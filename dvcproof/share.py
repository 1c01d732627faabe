"""Share runs between machines through a store: a DVC remote, given by name or URL.

fetch, before `dvc repro`: copy the runs for the current code, parameters and data from the store to the cache.
push, after `dvc repro`: copy the complete runs in the cache to the store, and replace damaged files in the store.
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

#: The list of the records that were fetched, relative to the project's root.
FETCHED = Path(".dvc", "tmp", "fetched-records")


class Plan:
    """The runs that `dvc repro` will look for in the run cache, as far as the hashes of their inputs are known.

    Args:
        results: the known hashes of outputs that stages will write, by path.
    """

    def __init__(self, repo: Repo, results: Mapping[str, str] | None = None) -> None:
        self._stages = plan_repro(repo.index.graph)
        # No stage writes data that was added with `dvc add`: use the data on this machine.
        self._written = {out.fs_path for stage in self._stages if not stage.is_data_source for out in stage.outs}
        self._known: dict[str, HashInfo] = {}
        self._project = Project(repo)
        for stage in self._stages:
            self.expect(stage, results or {})

    def __iter__(self) -> Iterator[tuple[Any, Entry]]:
        """Return each stage whose inputs are known, in the order of a run, with its record without results."""
        for stage in self._stages:
            if stage.cmd and stage.deps and all(map(self._resolve, stage.deps)):
                yield stage, to_single_stage_lockfile(stage)

    def expect(self, stage: Any, found: Mapping[str, str]) -> None:
        """Set the expected hashes of a stage's outputs. `found` maps paths to hashes."""
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
    """Copy the runs that `dvc repro` will look for from the store to the cache. Yield lines about the result.

    Raise StoreError if the store does not answer or refuses. Files fetched until then stay in the cache.
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
                yield f"stage '{address}': {len(found) - len(sound)} damaged records in the store are not used"
            if len(sound) > 1:
                yield f"stage '{address}': {len(sound)} records in the store contradict each other, so it runs here"
            if len(sound) != 1:
                continue
            ((record, entry),) = sound.items()
        plan.expect(stage, {out["path"]: out["md5"] for out in entry.get("outs", ()) if "md5" in out})
        states = _fetch_outputs(cache, store, entry, folder, record=record is not None)
        if states.count("good"):
            yield f"stage '{address}': {states.count('good')} objects fetched"
        if missing := [state for state in states if state != "good"]:
            yield f"stage '{address}': {len(missing)} objects are {missing[0]} in the store, so it runs here"
        elif record:
            cache.write_record(key, record, texts[record])
            with (cache.root / FETCHED).open("a", encoding="utf-8") as list_:
                list_.write(f"{key}/{record}\n")


def _fetch_outputs(cache: Cache, store: Store, entry: Entry, folder: Path, *, record: bool) -> list[State]:
    """Fetch the outputs of a run that the cache lacks. Return the state of each object in the store.

    Args:
        folder: the stage's working directory.
        record: whether the run's record comes from the store. If not, good outputs in `folder` are skipped.
    """
    lacking = {
        out["md5"]
        for out in entry.get("outs", ())
        if out.get("hash") == "md5"  # skip runs of DVC 2, whose objects have other names
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
    """Return the newest run for a key in the cache, which is the one that DVC uses; None if there is none."""
    paths = [path for path in cache.records() if path.parent.name == key]
    newest = max(paths, key=lambda path: path.stat().st_mtime, default=None)
    return read_entry(newest.read_text(encoding="utf-8"), key, newest.name) if newest else None


def push(cache: Cache, store: Store) -> Iterator[str]:
    """Send the complete runs in the cache to the store, objects before records. Yield lines about the result.

    Do not send fetched records: a record that an audit has removed from the store would come back.

    Raise StoreError if the store does not answer or refuses.
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
    """Return the paths of the objects of outputs and of the files in output folders, by hash.

    Return nothing if an object is missing or damaged.
    """
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

    Raise UnknownError if the store does not answer or refuses; InputError if DVC cannot read the project.
    """
    try:
        with refusals(root), Repo(str(root)) as repo:
            yield repo, Store.open(repo, remote, patience)
    except StoreError as error:
        hint = "Check its address, the keys and this machine's clock, and run this again: what was sent is kept."
        raise UnknownError(f"store {remote}", expected="an answer", received=str(error), hint=hint) from None


def exchange(direction: str, root: Path, remote: str, patience: float = DEADLINE) -> Report:
    """Push to a store or fetch from it, and report the result.

    Args:
        direction: 'push' or 'fetch'.
        remote: the name of a DVC remote, or a URL.
        patience: seconds to wait for the store's first answer.

    Raise BusyError if DVC is running in the project; UnknownError if the store cannot be written; InputError if DVC
    cannot read the project.
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
            report.unknown.append(f"{remote} cannot be read, so that `dvc repro` runs the missing stages here: {error}")
    return report
