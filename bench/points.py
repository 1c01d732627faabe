"""Compute the points of a study: here, several at a time, or on the workers of a Dask scheduler.

Points from different machines are comparable only if code and data have equal bytes. So a worker refuses code, packages
or parameters that differ from this project's, makes the data itself, and compares it with the data here.
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

#: Seconds within which a scheduler must answer, and seconds within which it must have a worker: a killed worker
#: needs some time to start again.
DEADLINE = 5
FIRST_WORKER = 30

#: A function that computes a point from its parts and the folder with the data.
Work = Callable[..., Any]
Point = tuple[Any, ...]


class Where(NamedTuple):
    """Where points are computed."""

    jobs: int = 1  # points at a time on this machine
    scheduler: str | None = None  # address of a Dask scheduler, to use instead of this machine


class Data(NamedTuple):
    """The data of a study: its folder, and a function with which a worker makes the data in an empty folder."""

    folder: Path
    make: Callable[[Path], Path]


class Finished:
    """The results of finished points, in a file beside the study's result, with which an interrupted study resumes."""

    def __init__(self, out: Path, conditions: Mapping[str, Any]) -> None:
        """Read the results of an interrupted study of the same conditions, if there is one.

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
            hint = "Delete the file: the study then starts from its first run."
            raise InputError(str(self.path), "this file of finished runs is damaged", hint=hint) from None

    def add(self, point: Point, result: Any) -> None:
        """Add the result of a point, and write the file."""
        self.results[str(point)] = result
        with replacing(self.path, results=False) as (file,):
            file.write_text(json.dumps({"valid_for": self.conditions, "runs": self.results}), encoding="utf-8")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose where points are computed."""
    parser.add_argument("--jobs", type=int, default=1, help="points at a time, on this machine (default: %(default)s)")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="compute on workers of this Dask scheduler, tcp://...")


def where(args: argparse.Namespace) -> Where:
    """Return the values of the options of `add_options`. Raises InputError if --jobs is below 1."""
    require_at_least(1, "--jobs", args.jobs, "Try one for each two cores.")
    return Where(args.jobs, args.scheduler)


def compute(
    work: Work, points: Sequence[Point], data: Data, where: Where, name: str, *, finished: Finished | None = None
) -> list[Any]:
    """Call `work(*point, folder)` for each point, and return the results in the order of `points`.

    Args:
        work: computes a point. On a cluster its result must consist of Python's built-in types.
        points: the parts of each point.
        data: the data that every point needs.
        where: where to compute; this does not change the results.
        name: the name of the study, for the progress bar.
        finished: results of points that are not computed again; new results are added to it.

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
    pool = ThreadPoolExecutor(where.jobs)  # threads suffice: each waits for the program of a stage
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

        # If a worker dies, Dask gives its point to another worker.
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
    """Return the hashes of the code, packages and parameters that a point depends on."""
    files = [PARAMS, PACKAGES, *(path for room in rooms for path in Path(room).rglob("*.py"))]
    return {path.as_posix(): file_hash(path) for path in sorted(files)}


def _hashes(folder: Path) -> dict[str, str]:
    return {path.name: file_hash(path) for path in sorted((folder / "prepared").iterdir())}


#: The data that this worker has made, by the hashes of the data; and the lock that is held while it is made.
_HERE: dict[str, Any] = {}
_LOCK = threading.Lock()


def _on_worker(shared: Any, point: Point) -> tuple[Any, str]:
    """Compute a point on a worker. Return its result and an error message, since an InputError cannot be pickled."""
    work, make, theirs, hashes = shared
    try:
        with _LOCK:
            _require_same("code", theirs, code())  # for each point: somebody may edit the code meanwhile
            data = _data(make, hashes)
        return work(*point, data), ""
    except InputError as error:
        return None, str(error)
    except OSError as error:
        return None, f"{type(error).__name__}: {error}"


def _data(make: Callable[[Path], Path], hashes: Mapping[str, str]) -> Path:
    """Make the data on the first call in a worker, and return the folder with it."""
    key = repr(sorted(hashes.items()))
    if key not in _HERE:
        room = tempfile.TemporaryDirectory(prefix="study-")
        data = make(Path(room.name))
        _require_same("data", hashes, _hashes(data))
        _HERE[key] = room, data  # the temporary folder is removed when the worker ends
    return Path(_HERE[key][1])


def _require_same(what: str, theirs: Mapping[str, str], ours: Mapping[str, str]) -> None:
    """Raise InputError if a file of the worker differs from the study's own."""
    for name in sorted({*theirs, *ours}):
        if theirs.get(name) != ours.get(name):
            hint = "Start the worker in a clone of the same commit, with the same changes."
            raise InputError(f"{name} on a worker", f"this {what} differs from that of the study", hint=hint)
