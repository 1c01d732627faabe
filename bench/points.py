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
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from bench.study import PACKAGES, PARAMS, at_least
from dvcproof.runtime.files import file_hash, replacing
from dvcproof.runtime.program import InputError, on_terminal

#: Seconds within which a scheduler must answer, and seconds within which it must have a worker: a killed worker
#: needs some time to start again.
DEADLINE = 5
FIRST_WORKER = 30

#: A function that computes a point from its parts and the folder with the data.
Work = Callable[..., Any]
Point = tuple[Any, ...]


#: A function that makes the data of a study in an empty folder, and returns the folder with raw/ and prepared/.
Make = Callable[[Path], Path]


class Finished:
    """The results of finished points, in a file beside the study's result, with which an interrupted study resumes."""

    def __init__(self, out: Path, conditions: Mapping[str, Any]) -> None:
        """Read the results of an interrupted study of the same conditions, if there is one."""
        self.path, self.conditions = out.with_name(f".{out.name}.checkpoint"), json.loads(json.dumps(conditions))
        found = json.loads(self.path.read_text(encoding="utf-8")) if self.path.exists() else {}
        self.results: dict[str, Any] = found["runs"] if found.get("valid_for") == self.conditions else {}

    def write(self) -> None:
        """Write the results."""
        with replacing(self.path, results=False) as (file,):
            file.write_text(json.dumps({"valid_for": self.conditions, "runs": self.results}), encoding="utf-8")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose where points are computed."""
    jobs = {"type": at_least(1), "default": 1, "help": "points at a time, on this machine (default: %(default)s)"}
    parser.add_argument("--jobs", **jobs)  # type: ignore[arg-type]
    parser.add_argument("--scheduler", metavar="ADDRESS", help="compute on workers of this Dask scheduler, tcp://...")


def compute(
    work: Work,
    points: Sequence[Point],
    data: Path,
    make: Make,
    *,
    name: str,
    jobs: int = 1,
    scheduler: str | None = None,
    finished: Finished | None = None,
) -> list[Any]:
    """Call `work(*point, data)` for each point, and return the results in the order of `points`.

    Args:
        work: computes a point. On a cluster its result must consist of Python's built-in types.
        points: the parts of each point.
        data: the folder with the data that every point needs.
        make: makes the same data on a worker.
        name: the name of the study, for the progress bar.
        jobs: points at a time on this machine.
        scheduler: address of a Dask scheduler, to use its workers instead of this machine.
        finished: results of points that are not computed again; new results are added to it.

    Raises:
        InputError: a point failed, or there is no scheduler, or it has no workers.
    """
    found = finished.results if finished else {}
    with _cluster(work, data, make, scheduler) if scheduler else _here(work, data, jobs) as submit:
        futures = {submit(point): str(point) for point in points if str(point) not in found}
        try:
            for future in tqdm(as_completed(futures), total=len(futures), desc=name, disable=not on_terminal()):
                found[futures[future]] = future.result()
                if finished:
                    finished.write()
        finally:
            for future in futures:
                future.cancel()
    return [found[str(point)] for point in points]


@contextmanager
def _here(work: Work, data: Path, jobs: int) -> Iterator[Callable[[Point], Any]]:
    with ThreadPoolExecutor(jobs) as pool:  # threads suffice: each waits for the program of a stage
        yield lambda point: pool.submit(work, *point, data)


@contextmanager
def _cluster(work: Work, data: Path, make: Make, scheduler: str) -> Iterator[Callable[[Point], Any]]:
    try:
        from distributed import Client, KilledWorker
    except ImportError:
        hint = "Run `make setup WITH=cluster`, or leave out --scheduler."
        raise InputError("--scheduler", "the package distributed is not installed", hint=hint) from None
    what, hint = f"--scheduler {scheduler}", "Start a scheduler and workers: docs/experiments.md."
    try:
        client = Client(scheduler, timeout=DEADLINE)
    except (OSError, ValueError) as error:
        raise InputError(what, f"no Dask scheduler answers there ({error or 'no answer'})", hint=hint) from None
    with client:
        try:
            client.wait_for_workers(1, timeout=FIRST_WORKER)
        except TimeoutError:
            raise InputError(what, f"it has had no worker for {FIRST_WORKER} s", hint=hint) from None
        pool = client.get_executor(pure=False)  # if a worker dies, Dask gives its point to another worker
        shared = work, make, code(), _hashes(data)
        try:
            yield lambda point: pool.submit(_on_worker, shared, point)
        except _WorkerError as error:
            hint = "Fix it on the worker's machine, and run this again."
            raise InputError("a worker", str(error).rstrip("."), hint=hint) from None
        except (KilledWorker, CancelledError, OSError) as error:
            hint = "See the logs of the workers and of the scheduler, and run this again."
            raise InputError("the workers", f"they died ({type(error).__name__}: {error})", hint=hint) from None


def code(rooms: Sequence[str] = ("bench", "digits", "dvcproof", "exactkeras", "stages")) -> dict[str, str]:
    """Return the hashes of the code, packages and parameters that a point depends on."""
    files = [PARAMS, PACKAGES, *(path for room in rooms for path in Path(room).rglob("*.py"))]
    return {path.as_posix(): file_hash(path) for path in sorted(files)}


def _hashes(folder: Path) -> dict[str, str]:
    return {path.name: file_hash(path) for path in sorted((folder / "prepared").iterdir())}


class _WorkerError(Exception):
    """An error in a worker process. It has only the message of the InputError, which cannot be pickled."""


#: The data that this worker has made, by the hashes of the data; and the lock that is held while it is made.
_HERE: dict[str, Any] = {}
_LOCK = threading.Lock()


def _on_worker(shared: Any, point: Point) -> Any:
    """Compute a point on a worker. The data is made on the first call."""
    work, make, theirs, hashes = shared
    try:
        with _LOCK:
            _require_same("code", theirs, code())  # for each point: somebody may edit the code meanwhile
            if str(hashes) not in _HERE:
                room = tempfile.TemporaryDirectory(prefix="study-")
                data = make(Path(room.name))
                _require_same("data", hashes, _hashes(data))
                _HERE[str(hashes)] = room, data  # the temporary folder is removed when the worker ends
        return work(*point, _HERE[str(hashes)][1])
    except (InputError, OSError) as error:
        raise _WorkerError(str(error)) from None


def _require_same(what: str, theirs: Mapping[str, str], ours: Mapping[str, str]) -> None:
    """Raise InputError if a file of the worker differs from the study's own."""
    for name in sorted({*theirs, *ours}):
        if theirs.get(name) != ours.get(name):
            hint = "Start the worker in a clone of the same commit, with the same changes."
            raise InputError(f"{name} on a worker", f"this {what} differs from that of the study", hint=hint)
