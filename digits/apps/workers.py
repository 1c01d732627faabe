"""Train on several workers of this machine, to the same bytes as in one process.

python -m digits workers 2
python -m digits workers 2 -- python -m stages.train --params params.yaml ...

Without a command, the command of the stage `train` in dvc.yaml is run. A cluster does not need this: docs/workers.md.
"""

import ctypes
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from ruamel.yaml import YAML

from digits.apps.options import command
from digits.apps.results import read
from dvcproof.runtime.bounds import require_small_yaml
from dvcproof.runtime.program import InputError
from exactkeras.tf_config import NAME

#: The most workers, since a batch has at most this many shards.
MOST = 64

#: An option of Linux's prctl(2). It sets the signal that a process receives when its parent has ended.
PR_SET_PDEATHSIG = 1

#: Seconds after SIGTERM within which a worker must end, and seconds between two checks of the workers.
GRACE, INTERVAL = 3, 0.05


def free_addresses(count: int) -> list[str]:
    """Return addresses with free ports on this machine's loopback interface."""
    with ExitStack() as opened:
        sockets = [opened.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]


def train_command(graph: Path) -> list[str]:
    """Return the command of the stage `train` in dvc.yaml."""

    def parse(text: str) -> list[str]:
        require_small_yaml(text)
        return shlex.split(YAML(typ="safe").load(text)["stages"]["train"]["cmd"])

    return read(graph, parse, "Run this in the top folder of the project, or give the command after `--`.")


def start(command: Sequence[str], addresses: Sequence[str], index: int) -> subprocess.Popen[bytes]:
    """Start a worker. Only the standard output of the first worker is shown, since all workers print the same."""
    task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
    output = None if index == 0 else subprocess.DEVNULL
    words = [sys.executable, *command[1:]] if command[0] == "python" else command
    environment = os.environ | {NAME: json.dumps(task)}
    return subprocess.Popen(words, env=environment, stdout=output, preexec_fn=_end_with_parent)  # noqa: PLW1509


def _end_with_parent() -> None:
    """Let Linux kill this process when its parent process has ended, even if the parent was killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def train_together(command: Sequence[str], count: int) -> int:
    """Run workers until all have ended or one has failed. After a failure, end the other workers.

    Returns the exit status as a shell gives it: 0, or the highest status of the workers that failed.
    """
    addresses = free_addresses(count)
    workers: list[subprocess.Popen[bytes]] = []
    try:
        for index in range(count):
            workers.append(start(command, addresses, index))  # noqa: PERF401 (if one cannot start, the others are ended)
        statuses = [worker.poll() for worker in workers]
        while None in statuses and not any(statuses):
            time.sleep(INTERVAL)
            statuses = [worker.poll() for worker in workers]
        failed = {index: status for index, status in enumerate(statuses) if status}
    finally:
        end(workers)
    for index, status in failed.items():
        if status < 0 and -status not in (signal.SIGALRM, signal.SIGINT):  # it reports these itself
            name = signal.Signals(-status).name
            sys.stderr.write(f"ERROR: worker {index} was killed by {name}; stopping the other workers.\n")
    return max((status if status > 0 else 128 - status for status in failed.values()), default=0)


def end(workers: Sequence[subprocess.Popen[bytes]]) -> None:
    """End the workers that still run with SIGTERM, and after GRACE seconds with SIGKILL."""
    for worker in workers:
        worker.terminate()  # does nothing if the worker has ended
    for worker in workers:
        try:
            worker.wait(GRACE)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()


def main() -> None:
    parser = command("workers", __doc__, usage="%(prog)s [-h] N [-- COMMAND ...]")
    parser.add_argument(
        "workers", metavar="N", type=int, help="number of workers, at most `train.shards` in params.yaml"
    )
    parser.add_argument("command", metavar="COMMAND", nargs="*", help="the command that each worker runs")
    args = parser.parse_args()
    if not 1 <= args.workers <= MOST:
        hint = "Give another number."
        raise InputError("workers", expected=f"from 1 to {MOST}", received=str(args.workers), hint=hint)
    status = train_together(args.command or train_command(Path("dvc.yaml")), args.workers)
    if status:
        sys.exit(status)
