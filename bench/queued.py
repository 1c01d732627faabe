"""Run the queued experiments of `dvc exp run --queue`, and fail if an experiment fails or its results are lost.

DVC itself only marks such an experiment in its queue.

python -m bench.queued --jobs 2
"""

import argparse
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from dvc.exceptions import DvcException
from dvc.repo import Repo
from tqdm import tqdm

from bench.study import at_least
from dvcproof.git import is_shallow
from dvcproof.runtime.program import InputError, on_terminal, run

#: Seconds between two looks at the queue, and seconds for which a queue with experiments may have no worker.
PAUSE = 1.0
ALONE = 20.0


#: Characters that end or change the path in a URL. DVC builds a URL from the project's folder, to which a worker sends
#: the results of its experiment.
OF_ADDRESSES = re.compile("[#?]|%[0-9A-Fa-f]{2}")


class Ended(NamedTuple):
    """The names of the experiments that ended badly."""

    failed: list[str]
    lost: list[str]  # removed from the queue, or DVC reports success but has no experiment of this name


def require_place(root: Path) -> None:
    """Raise InputError if DVC would lose the results of queued experiments in this project."""
    if is_shallow(root):
        hint = "Run `git fetch --unshallow`, then this command again."
        raise InputError("the queue", "DVC loses the results of queued experiments in a shallow clone", hint=hint)
    if found := OF_ADDRESSES.search(str(root)):
        hint = "Rename the folder, and queue the experiments again."
        raise InputError(str(root), f"DVC loses queued experiments in a path with '{found[0]}'", hint=hint)


def run_queue(root: Path, jobs: int) -> Ended:
    """Start workers, wait until the queued experiments are done, and return those that failed and those that were lost.

    Raises:
        InputError: the queue is empty, or no worker is left.
    """
    command = [sys.executable, "-m", "dvc", "queue", "start", "--jobs", str(jobs)]
    with Repo(str(root)) as repo, tqdm(desc="queue", disable=not on_terminal()) as bar:
        queue = repo.experiments.celery_queue

        def experiments(*status: str) -> dict[str, str]:
            return {one["rev"]: one["name"] or one["rev"][:7] for one in queue.status() if one["status"] in status}

        ours = left = experiments("Queued", "Running")
        if not ours:
            hint = "Queue some, for example `dvc exp run --queue -S dense.units=128,256`."
            raise InputError("the queue", "it has no experiments", hint=hint)
        bar.reset(len(ours))
        starts, seen = 0, float("-inf")
        while left := {rev: left[rev] for rev in left if rev in experiments("Queued", "Running")}:
            bar.update(len(ours) - len(left) - bar.n)
            if any(queue.worker_status().values()):
                seen = time.monotonic()
            elif time.monotonic() - seen > ALONE:  # DVC starts no worker while those of an earlier queue still end
                if starts == 2:
                    hint = "Run `dvc queue status`, then this command again."
                    raise InputError("the queue", f"no worker runs its {len(left)} experiments", hint=hint)
                # The output is not captured: workers would keep the pipe open.
                subprocess.run(command, cwd=root, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                starts, seen = starts + 1, time.monotonic()
            time.sleep(PAUSE)
        kept = {entry.stash_rev for entry, result in queue.iter_success() if repo.scm.get_ref(str(result.ref_info))}
        failed = experiments("Failed")
        return Ended(
            [name for rev, name in failed.items() if rev in ours],
            [name for rev, name in ours.items() if rev not in failed and rev not in kept],
        )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.queued", description=__doc__)
    parser.add_argument("--jobs", type=at_least(1), default=1, help="experiments at a time (default: %(default)s)")
    jobs = parser.parse_args().jobs
    try:
        require_place(Path.cwd())
        failed, lost = run_queue(Path.cwd(), jobs)
    except DvcException as error:
        raise InputError("DVC", f"it cannot read the project: {error}", hint="`dvc status` says more.") from None
    if failed:
        command = [sys.executable, "-m", "dvc", "queue", "logs", failed[0]]
        log = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        problem = next(iter(re.findall(r"^ERROR: (.+?)\.?$", log, re.MULTILINE)), "no error")
        hint = f"`dvc queue logs {failed[0]}` says more."
        raise InputError(f"experiment {', '.join(failed)}", f"failed: {problem}", hint=hint)
    if lost:
        hint = f"Run it with `dvc exp run`, without the queue; `dvc queue logs {lost[0]}` shows what was run."
        raise InputError(
            f"experiment {', '.join(lost)}", "it was removed from the queue, or DVC has lost its result", hint=hint
        )
    sys.stdout.write("queue: all experiments succeeded; `dvc exp show` compares them\n")


if __name__ == "__main__":
    run(main)
