"""Compute the points of a study: here, several at a time, or on the workers of a Dask scheduler.

Equal bytes make points from different machines comparable. So a worker refuses code, packages or parameters that differ
from this project's, makes the data itself, and compares it with the data here.
"""

import argparse
import json
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from bench.study import PACKAGES, PARAMS, require_at_least
from dvcproof.runtime.files import file_hash, replacing
from dvcproof.runtime.program import InputError, on_terminal

#: Seconds within which a scheduler must answer, and have a worker: one that was killed needs some to start again.
DEADLINE = 5
FIRST_WORKER = 30

#: Computes a point from its parts and the folder with the data.
Work = Callable[..., Any]
Point = tuple[Any, ...]


class Where(NamedTuple):
    """Where points are computed."""

    jobs: int = 1  # at a time, here
    scheduler: str | None = None  # the address of a Dask scheduler, instead


class Data(NamedTuple):
    """The data of a study: where it is, and how a worker makes it in an empty folder."""

    folder: Path
    make: Callable[[Path], Path]


class Finished:
    """The results of finished points, in a file beside the study's result, so that a study that was ended resumes."""

    def __init__(self, out: Path, conditions: Mapping[str, Any]) -> None:
        """Read what an earlier study of the same conditions has found, if it was ended.

        Raises:
            InputError: the file is damaged.
        """
        self.path = out.with_name(f".{out.name}.checkpoint")
        self.conditions, self.results = json.loads(json.dumps(conditions)), dict[str, Any]()
        if not self.path.exists():
            return
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
            if found["valid_for"] == self.conditions:
                self.results = dict(found["runs"])
        except (ValueError, KeyError, TypeError):
            hint = "Delete it: the study then starts from its first run."
            raise InputError(str(self.path), "this file of finished runs is damaged", hint=hint) from None

    def add(self, point: Point, result: Any) -> None:
        """Note the result of a point."""
        self.results[str(point)] = result
        with replacing(self.path, results=False) as (file,):
            file.write_text(json.dumps({"valid_for": self.conditions, "runs": self.results}), encoding="utf-8")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Let the user say where points are computed."""
    parser.add_argument("--jobs", type=int, default=1, help="points at a time, on this machine (default: %(default)s)")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="compute on its workers: a Dask scheduler, tcp://...")


def where(args: argparse.Namespace) -> Where:
    """Read the options of `add_options`. Raises InputError if --jobs is below 1."""
    require_at_least(1, "--jobs", args.jobs, "Try one for each two cores.")
    return Where(args.jobs, args.scheduler)


def compute(
    work: Work, points: Sequence[Point], data: Data, where: Where, name: str, *, finished: Finished | None = None
) -> list[Any]:
    """Call `work(*point, folder)` for each point, and return the results in the order of `points`.

    Args:
        work: computes a point. On a cluster its result must be of Python's own types.
        points: the parts of each.
        data: what all of them need.
        where: here or elsewhere: it does not change the results.
        name: of the study, for the progress bar.
        finished: results of points that are not computed again; takes up the others.

    Raises:
        InputError: a point failed, or there is no scheduler, or it has no workers.
    """
    known = finished.results if finished else {}
    found = {index: known[str(point)] for index, point in enumerate(points) if str(point) in known}
    run = _elsewhere if where.scheduler else _here
    left = [index for index in range(len(points)) if index not in found]
    computed = run(work, [points[index] for index in left], data, where)
    for place, result in tqdm(computed, total=len(left), desc=name, disable=not on_terminal()):
        found[left[place]] = result
        if finished:
            finished.add(points[left[place]], result)
    return [found[index] for index in range(len(points))]


def _here(work: Work, points: Sequence[Point], data: Data, where: Where) -> Iterator[tuple[int, Any]]:
    pool = ThreadPoolExecutor(where.jobs)  # of threads: each waits for the program of a stage
    try:
        futures = {pool.submit(work, *point, data.folder): index for index, point in enumerate(points)}
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _elsewhere(work: Work, points: Sequence[Point], data: Data, where: Where) -> Iterator[tuple[int, Any]]:
    with _client(str(where.scheduler)) as client:
        from distributed import KilledWorker
        from distributed import as_completed as as_they_come

        # Dask gives the point of a worker that dies to another one.
        shared = work, data.make, code(), _hashes(data.folder)
        futures = {client.submit(_on_worker, shared, point, pure=False): index for index, point in enumerate(points)}
        try:
            for future in as_they_come(futures):
                result, problem = future.result()
                if problem:
                    raise InputError(
                        "a worker", problem.rstrip("."), hint="Fix it on the worker's machine, and run this again."
                    )
                yield futures[future], result
        except (KilledWorker, CancelledError, OSError) as error:
            hint = "See the logs of the workers and of the scheduler, and run this again."
            raise InputError("the workers", f"they died ({type(error).__name__}: {error})", hint=hint) from None


def _client(address: str) -> Any:
    try:
        from distributed import Client
    except ImportError:
        hint = "Run `make setup WITH=cluster`, or leave out --scheduler."
        raise InputError("--scheduler", "the package distributed is not installed", hint=hint) from None
    what, hint = f"--scheduler {address}", "Start a scheduler and workers: docs/experiments.md."
    try:
        client = Client(address, timeout=DEADLINE)
    except (OSError, ValueError) as error:
        raise InputError(what, f"no Dask scheduler answers there ({error or 'no answer'})", hint=hint) from None
    try:
        client.wait_for_workers(1, timeout=FIRST_WORKER)
    except TimeoutError:
        client.close()
        raise InputError(what, f"it has had no worker for {FIRST_WORKER} s", hint=hint) from None
    return client


def code(rooms: Sequence[str] = ("bench", "digits", "dvcproof", "exactkeras", "stages")) -> dict[str, str]:
    """Return the hashes of all that a point depends on beside the data: code, packages, parameters."""
    files = [PARAMS, PACKAGES, *(path for room in rooms for path in Path(room).rglob("*.py"))]
    return {path.as_posix(): file_hash(path) for path in sorted(files)}


def _hashes(folder: Path) -> dict[str, str]:
    return {path.name: file_hash(path) for path in sorted((folder / "prepared").iterdir())}


#: The data that this worker has made, by its hashes; and the lock under which it does.
_HERE: dict[str, Any] = {}
_LOCK = threading.Lock()


def _on_worker(shared: Any, point: Point) -> tuple[Any, str]:
    """Compute a point on a worker. Return its result, and what was wrong: an InputError cannot be sent."""
    work, make, theirs, hashes = shared
    try:
        with _LOCK:
            _require_same("code", theirs, code())  # each time: somebody may edit it, and stages are new processes
            data = _data(make, hashes)
        return work(*point, data), ""
    except InputError as error:
        return None, str(error)
    except OSError as error:
        return None, f"{type(error).__name__}: {error}"


def _data(make: Callable[[Path], Path], hashes: Mapping[str, str]) -> Path:
    """Make the data once in the life of a worker."""
    key = repr(sorted(hashes.items()))
    if key not in _HERE:
        room = tempfile.TemporaryDirectory(prefix="study-")
        data = make(Path(room.name))
        _require_same("data", hashes, _hashes(data))
        _HERE[key] = room, data  # the room is removed with the worker
    return Path(_HERE[key][1])


def _require_same(what: str, theirs: Mapping[str, str], ours: Mapping[str, str]) -> None:
    """Raise InputError if a file differs from that of the machine that asks."""
    for name in sorted({*theirs, *ours}):
        if theirs.get(name) != ours.get(name):
            hint = "Start the worker in a clone of the same commit, with the same changes."
            raise InputError(f"{name} on a worker", f"this {what} differs from that of the study", hint=hint)
