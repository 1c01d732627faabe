"""Where the points of a study are computed: here, several at a time, or on the workers of a Dask scheduler.

Equal bytes make points from unlike machines comparable. So that they are equal, a worker refuses other code, packages
or parameters than this project has, makes the data itself, and compares it with the data here.
"""

import argparse
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from bench.study import PACKAGES, PARAMS
from dvcproof.runtime.files import file_hash
from dvcproof.runtime.program import InputError, on_terminal

#: Seconds within which a scheduler must answer, and have a worker: one that was killed needs some to start again.
DEADLINE = 5
FIRST_WORKER = 30

#: Computes a point from its parts and the folder with the data. Its result is of Python's own types.
Work = Callable[..., Any]

#: Makes the data in an empty folder and gives the folder.
Make = Callable[[Path], Path]


class Where(NamedTuple):
    """Where points are computed."""

    jobs: int = 1  # at a time, here
    scheduler: str | None = None  # the address of a Dask scheduler, instead


class Data(NamedTuple):
    """The data of a study: where it is, and how a worker makes it."""

    folder: Path
    make: Make


def add_options(parser: argparse.ArgumentParser) -> None:
    """Let the user say where points are computed."""
    parser.add_argument("--jobs", type=int, default=1, help="points at a time, on this machine (default: %(default)s)")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="compute on its workers: a Dask scheduler, tcp://...")


def where(args: argparse.Namespace) -> Where:
    """What the user said of it.

    Raises:
        InputError: no job at a time.
    """
    if args.jobs < 1:
        raise InputError("--jobs", expected="at least 1", received=str(args.jobs), hint="Try one for each two cores.")
    return Where(args.jobs, args.scheduler)


def compute(work: Work, points: Sequence[tuple[Any, ...]], data: Data, where: Where, name: str) -> list[Any]:
    """Call `work(*point, folder)` for each point.

    Args:
        work: computes a point.
        points: the parts of each.
        data: what all of them need.
        where: here or elsewhere: it does not change the results.
        name: of the study, for the progress bar.

    Returns:
        The results in the order of `points`, in whatever order they came.

    Raises:
        InputError: a point failed, or there is no scheduler, or it has no workers.
    """
    run = _elsewhere if where.scheduler else _here
    found = dict(tqdm(run(work, points, data, where), total=len(points), desc=name, disable=not on_terminal()))
    return [found[index] for index in range(len(points))]


def _here(work: Work, points: Sequence[tuple[Any, ...]], data: Data, where: Where) -> Iterator[tuple[int, Any]]:
    pool = ThreadPoolExecutor(where.jobs)  # of threads: each waits for the program of a stage
    try:
        futures = {pool.submit(work, *point, data.folder): index for index, point in enumerate(points)}
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _elsewhere(work: Work, points: Sequence[tuple[Any, ...]], data: Data, where: Where) -> Iterator[tuple[int, Any]]:
    with _client(str(where.scheduler)) as client:
        from distributed import KilledWorker
        from distributed import as_completed as as_they_come

        # A worker that dies loses its point to another: that is Dask's own doing.
        shared = work, data.make, code(), _hashes(data.folder)
        futures = {client.submit(_on_worker, shared, point, pure=False): index for index, point in enumerate(points)}
        try:
            for future in as_they_come(futures):
                result, problem = future.result()
                if problem:
                    hint = "Mend it there, and run this again."
                    raise InputError("a worker", expected="a result", received=problem, hint=hint)
                yield futures[future], result
        except (KilledWorker, CancelledError, OSError) as error:
            hint = "See the logs of the workers and of the scheduler, and run this again."
            raise InputError(
                "the workers", expected="to stay alive", received=f"{type(error).__name__}: {error}", hint=hint
            ) from None


def _client(address: str) -> Any:
    try:
        from distributed import Client
    except ImportError:
        hint = "Run `make setup WITH=cluster`, which installs it, or leave out --scheduler."
        raise InputError("--scheduler", expected="the package distributed", received="none", hint=hint) from None
    hint = "Start a scheduler and workers: docs/experiments.md."
    try:
        client = Client(address, timeout=DEADLINE)
    except (OSError, ValueError) as error:
        raise InputError(
            f"--scheduler {address}", expected="a Dask scheduler", received=str(error) or "no answer", hint=hint
        ) from None
    try:
        client.wait_for_workers(1, timeout=FIRST_WORKER)
    except TimeoutError:
        client.close()
        expected = f"one with a worker within {FIRST_WORKER} s"
        raise InputError(f"--scheduler {address}", expected=expected, received="none", hint=hint) from None
    return client


def code(rooms: Sequence[str] = ("bench", "digits", "dvcproof", "exactkeras", "stages")) -> dict[str, str]:
    """The hashes of all that a point depends on beside the data: code, packages, parameters."""
    files = [PARAMS, PACKAGES, *(path for room in rooms for path in Path(room).rglob("*.py"))]
    return {path.as_posix(): file_hash(path) for path in sorted(files)}


def _hashes(folder: Path) -> dict[str, str]:
    """The hashes of the data that points read."""
    return {path.name: file_hash(path) for path in sorted((folder / "prepared").iterdir())}


#: The data that this worker made, by what it was to be.
_HERE: dict[str, Any] = {}
_LOCK = threading.Lock()


def _on_worker(shared: Any, point: tuple[Any, ...]) -> tuple[Any, str]:
    """Compute a point on a worker. Gives its result and what was wrong, since an InputError cannot be sent."""
    work, make, theirs, hashes = shared
    try:
        with _LOCK:
            _require_same("this code", theirs, code())  # each time: somebody may edit it, and stages are new processes
            data = _data(make, hashes)
        return work(*point, data), ""
    except InputError as error:
        return None, str(error)
    except OSError as error:
        return None, f"{type(error).__name__}: {error}"


def _data(make: Make, hashes: Mapping[str, str]) -> Path:
    """The data, made once in the life of a worker."""
    key = repr(sorted(hashes.items()))
    if key not in _HERE:
        room = tempfile.TemporaryDirectory(prefix="study-")
        data = make(Path(room.name))
        _require_same("this data", hashes, _hashes(data))
        _HERE[key] = room, data  # the room is removed with the worker
    return Path(_HERE[key][1])


def _require_same(what: str, theirs: Mapping[str, str], ours: Mapping[str, str]) -> None:
    """Refuse to compute with something else than who asks.

    Raises:
        InputError: a file is another.
    """
    for name in sorted({*theirs, *ours}):
        if theirs.get(name) != ours.get(name):
            hint = "Start the worker in a clone of the same commit, with the same changes."
            received = "another file" if name in ours and name in theirs else "a file that one of both lacks"
            raise InputError(f"{name} on a worker", expected=what, received=received, hint=hint)
