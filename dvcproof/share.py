"""Share runs between machines through a store: a DVC remote, given by name or URL.

fetch, before `dvc repro`: copy the runs for the current code, parameters and data from the store to the cache.
push, after `dvc repro`: copy the complete runs in the cache to the store, and replace damaged files in the store.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dvcproof.cache import Cache, digests, names, read_entry, recorded
from dvcproof.findings import Finding, Report, UnknownError
from dvcproof.lockfile import Entry, hashes, read_records
from dvcproof.messages import counted
from dvcproof.project import Project, Stage
from dvcproof.rwlock import alone
from dvcproof.store import DEADLINE, State, Store, StoreError, in_parallel

#: The list of the records that were fetched, relative to the project's root.
FETCHED = Path(".dvc", "tmp", "fetched-records")


def planned(project: Project, known: dict[str, str]) -> Iterator[tuple[Stage, str]]:
    """Yield each stage whose inputs are known, in the order of a run, and the hash by which DVC looks for its run.

    Args:
        known: the hashes of outputs by absolute path. The caller adds those of a stage before it takes the next one.
    """
    made = {out.place for stage in project.stages for out in stage.outs}
    for stage in project.stages:
        given = (dep.place in known or (dep.exists and dep.place not in made) for dep in stage.deps)
        if stage.commands and stage.raw.deps and all(given):
            yield stage, names(project.entry(stage, known))[0]


def fetch(cache: Cache, project: Project, store: Store) -> Iterator[str]:
    """Copy the runs that `dvc repro` will look for from the store to the cache. Yield lines about the result."""
    lock, known = read_records(cache.root)[0], dict[str, str]()
    for stage, key in planned(project, known):
        entry, record, says = lock.get(stage.address), "", f"stage '{stage.address}':"
        if entry is None or names(entry)[0] != key:
            entry = _cached(cache, key)
        if entry is None:
            texts = store.records(key)
            sound = {name: entry for name, text in texts.items() if (entry := read_entry(text, key, name)) is not None}
            if len(sound) < len(texts):
                yield f"{says} not used: {counted(len(texts) - len(sound), 'damaged record')} in the store"
            if len(sound) > 1:
                yield f"{says} {len(sound)} records in the store contradict each other, so it runs here"
            if len(sound) != 1:
                continue
            ((record, entry),) = sound.items()
        outs = hashes(entry, "outs").items()
        known |= {os.path.normpath(stage.wdir / path): digest for path, digest in outs if digest}
        states = _fetch_outputs(cache, store, entry, stage.wdir, new=bool(record))
        if states.count("good"):
            yield f"{says} {counted(states.count('good'), 'object')} fetched"
        if missing := [state for state in states if state != "good"]:
            yield f"{says} {counted(len(missing), 'object')} {missing[0]} in the store, so it runs here"
        elif record:
            cache.write_record(key, record, texts[record])
            with (cache.root / FETCHED).open("a", encoding="utf-8") as list_:
                list_.write(f"{key}/{record}\n")


def _fetch_outputs(cache: Cache, store: Store, entry: Entry, folder: Path, *, new: bool) -> list[State]:
    """Fetch the outputs of a run that the cache lacks; those of an old record only if `folder` lacks them too.

    Return the state of each object in the store.
    """

    def fetch_object(digest: str) -> State:
        cache.make_folder(place := next(cache.places(digest)))
        return store.fetch(digest, place)

    lacking = {digest for digest in digests(entry) if not cache.object(digest)}
    for path, digest in hashes(entry, "outs").items():
        if not new and digest in lacking and cache.is_good(folder / path, digest):
            lacking.remove(digest)
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
    yield f"{counted(states.count('missing'), 'object')} and {counted(found.count('missing'), 'record')} of runs added"
    for what, bad in (("objects", states.count("damaged")), ("records", found.count("damaged"))):
        if bad:
            yield f"{bad} damaged {what} replaced"


def _whole(cache: Cache, outputs: list[str]) -> dict[str, Path]:
    """Return the paths of the objects of outputs and of their files, by hash; nothing if one is missing or damaged."""
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
def opened(root: Path, remote: str, patience: float | None = None) -> Iterator[tuple[Project, Store]]:
    """Open a project and a store. Raise UnknownError if the store does not answer or refuses."""
    try:
        with Project.open(root) as project:
            yield project, Store.open(project.repo, remote, patience)
    except StoreError as error:
        hint = "Check its address, the keys and this machine's clock, and run this again: what was sent is kept."
        raise UnknownError(f"store {remote}", expected="an answer", received=str(error), hint=hint) from None


def exchange(direction: str, root: Path, remote: str, patience: float = DEADLINE) -> Report:
    """Push to a store or fetch from it (`direction`), and report the result.

    Args:
        remote: the name of a DVC remote, or a URL.
        patience: seconds to wait for the store's first answer.

    Raise BusyError if DVC is running in the project; UnknownError if the store cannot be written.
    """
    report, cache = Report(direction, remote), Cache(root)
    with alone(cache), opened(cache.root, remote, patience if direction == "fetch" else None) as (project, store):
        try:
            store.ask(patience)
            for line in push(cache, store) if direction == "push" else fetch(cache, project, store):
                report.findings.append(Finding("DP601", "note", line))
        except StoreError as error:
            if direction == "push":
                raise
            report.unknown.append(f"{remote} cannot be read, so that `dvc repro` runs the missing stages here: {error}")
    return report
