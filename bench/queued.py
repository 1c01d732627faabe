"""Run the experiments that `dvc exp run --queue` has queued, and fail if one fails, which DVC only marks.

python -m bench.queued --jobs 2
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dvc.exceptions import DvcException
from dvc.repo import Repo
from tqdm import tqdm

from dvcproof.runtime.program import InputError, on_terminal, run

#: Seconds between two looks at the queue, and for which it may have work and no worker.
PAUSE = 1.0
ALONE = 20.0

#: Experiments that are not done.
WAITING = ("Queued", "Running")


def names(entries: list[dict[str, Any]]) -> dict[str, str]:
    """The experiments of a queue by their commits, as users name them."""
    return {entry["rev"]: entry["name"] or entry["rev"][:7] for entry in entries}


def run_queue(root: Path, jobs: int) -> list[tuple[str, str]]:
    """Start workers, and wait until the experiments that are in the queue now are done.

    Returns:
        Those that failed: the name of each, and the last error in its log.

    Raises:
        InputError: there are no experiments in the queue, or no worker is left.
    """
    with Repo(str(root)) as repo:
        queue = repo.experiments.celery_queue
        ours = names([entry for entry in queue.status() if entry["status"] in WAITING])
        if not ours:
            hint = "Put some there: `dvc exp run --queue -S dense.units=128,256`."
            raise InputError("the queue", expected="experiments", received="none", hint=hint)
        _start(root, jobs)
        with tqdm(total=len(ours), desc="queue", disable=not on_terminal()) as bar:
            for done in _progress(queue, set(ours), lambda: _start(root, jobs)):
                bar.update(done - bar.n)
        failed = [entry["rev"] for entry in queue.status() if entry["rev"] in ours and entry["status"] == "Failed"]
    return [(ours[rev], _last_error(root, ours[rev])) for rev in failed]


def _start(root: Path, jobs: int) -> None:
    """Start workers. Their output is not captured: they would keep the pipe open."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    command = [sys.executable, "-m", "dvc", "queue", "start", "--jobs", str(jobs)]
    subprocess.run(command, cwd=root, check=True, **quiet)  # type: ignore[call-overload]


def _progress(queue: Any, ours: set[str], start: Callable[[], None]) -> Iterator[int]:
    """Yield how many are done, again and again until all are; `start` starts workers where none is left."""
    seen, again = time.monotonic(), True
    while True:
        left = sum(entry["rev"] in ours and entry["status"] in WAITING for entry in queue.status())
        yield len(ours) - left
        if not left:
            return
        if any(queue.worker_status().values()):
            seen = time.monotonic()
        if time.monotonic() - seen > ALONE and again:  # DVC starts none while those of an earlier queue still end
            start()
            seen, again = time.monotonic(), False
        elif time.monotonic() - seen > ALONE:
            hint = "Run `dvc queue status`, and this again."
            raise InputError("the queue", expected=f"a worker for {left} experiments", received="none", hint=hint)
        time.sleep(PAUSE)


def _last_error(root: Path, name: str) -> str:
    result = subprocess.run(
        [sys.executable, "-m", "dvc", "queue", "logs", name], cwd=root, capture_output=True, text=True, check=False
    )
    lines = [line.removeprefix("ERROR: ") for line in result.stdout.splitlines() if line.startswith("ERROR: ")]
    return lines[0] if lines else "no error in its log"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.queued", description=__doc__)
    parser.add_argument("--jobs", type=int, default=1, help="experiments at a time (default: %(default)s)")
    args = parser.parse_args()
    if args.jobs < 1:
        raise InputError("--jobs", expected="at least 1", received=str(args.jobs), hint="Try one for each two cores.")
    try:
        failed = run_queue(Path.cwd(), args.jobs)
    except DvcException as error:
        hint = "Correct it: `dvc status` says more."
        raise InputError("DVC", expected="a project that it can read", received=str(error), hint=hint) from None
    if failed:
        name, problem = failed[0]
        raise InputError(
            f"experiment{'s' if len(failed) > 1 else ''} {', '.join(name for name, _ in failed)}",
            expected="success",
            received=problem,
            hint=f"`dvc queue logs {name}` says more.",
        )
    sys.stdout.write("queue: all experiments succeeded; `dvc exp show` compares them\n")


if __name__ == "__main__":
    run(main)
