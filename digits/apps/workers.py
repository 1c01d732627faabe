"""Train on several workers of this machine, to the same bytes as in one process.

python -m digits workers 2
python -m digits workers 2 -- python -m stages.train --params params.yaml ...

Without a command it is that of the stage `train` in dvc.yaml. A cluster needs nothing of this: see docs/workers.md.
"""

import ctypes
import json
import os
import queue
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from digits.apps.options import command
from dvcproof.runtime.bounds import YAML_BYTES, read_text, require_small_yaml
from dvcproof.runtime.program import InputError
from exactkeras.cluster import NAME

#: The most workers: there are no more parts of a batch.
MOST = 64

#: An option of Linux's prctl(2): the signal that a process gets when its parent has ended.
PR_SET_PDEATHSIG = 1

#: Seconds that a worker has to end after it was asked to.
GRACE = 3


def free_addresses(count: int) -> list[str]:
    """So many addresses on this machine's loopback interface whose ports nobody uses now."""
    with ExitStack() as opened:
        sockets = [opened.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]


def train_command(graph: Path) -> list[str]:
    """The command of the stage `train`.

    Args:
        graph: dvc.yaml.

    Raises:
        InputError: it has none.
    """
    try:
        text = read_text(graph, YAML_BYTES)
        require_small_yaml(text)
        command = YAML(typ="safe").load(text)["stages"]["train"]["cmd"]
        return shlex.split(command)
    except FileNotFoundError:
        received = "no such file"
    except (AttributeError, KeyError, TypeError, ValueError, YAMLError) as error:
        received = f"none ({type(error).__name__})"
    hint = "Run this in the top folder of the project, or give the command after `--`."
    raise InputError(str(graph), expected="a stage 'train' with a command", received=received, hint=hint)


def start(command: Sequence[str], addresses: Sequence[str], index: int) -> subprocess.Popen[bytes]:
    """Start a worker. Only the first one's standard output is shown: all would say the same."""
    task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
    output = None if index == 0 else subprocess.DEVNULL
    words = [sys.executable, *command[1:]] if command[0] == "python" else command
    environment = os.environ | {NAME: json.dumps(task)}
    return subprocess.Popen(words, env=environment, stdout=output, preexec_fn=_end_with_parent)  # noqa: PLW1509


def _end_with_parent() -> None:
    """Ask Linux to kill this process when the launcher has ended, however that was."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def train_together(command: Sequence[str], count: int) -> int:
    """Run the workers until all have ended, or the first has failed; then end the others.

    Args:
        command: of each worker.
        count: how many.

    Returns:
        The exit status: 0, or the worst of those that failed, as a shell gives it.
    """
    addresses = free_addresses(count)
    ended: queue.SimpleQueue[int] = queue.SimpleQueue()
    workers: list[subprocess.Popen[bytes]] = []
    try:
        for index in range(count):
            workers.append(start(command, addresses, index))  # noqa: PERF401 (if one cannot start, the others are ended)
        for worker in workers:  # after all have started: a process with threads should not be copied
            threading.Thread(target=lambda worker: ended.put(worker.wait()), args=(worker,), daemon=True).start()
        for _ in workers:
            if ended.get():
                return max(_told(index, status) for index, worker in enumerate(workers) if (status := worker.poll()))
        return 0
    finally:
        end(workers)


def _told(index: int, status: int) -> int:
    """The status that a shell gives, and a line for a worker that could not say why it ended."""
    if status > 0:
        return status
    if -status not in (signal.SIGALRM, signal.SIGINT):  # the first it sends itself, with a line of its own
        sys.stderr.write(f"ERROR: worker {index} was ended by {signal.Signals(-status).name}, and so the others are.\n")
    return 128 - status


def end(workers: Sequence[subprocess.Popen[bytes]]) -> None:
    """End the workers that still run: they are asked to, and after GRACE seconds they have to."""
    for worker in workers:
        worker.terminate()  # nothing happens to one that has ended
    for worker in workers:
        try:
            worker.wait(GRACE)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()


def main() -> None:
    parser = command("workers", __doc__)
    parser.add_argument("workers", type=int, help="how many; at most as many as `train.shards` in params.yaml")
    parser.add_argument("command", nargs="*", help="what each of them runs, after `--`")
    args = parser.parse_args()
    if not 1 <= args.workers <= MOST:
        hint = "Give another number."
        raise InputError("workers", expected=f"from 1 to {MOST}", received=str(args.workers), hint=hint)
    status = train_together(args.command or train_command(Path("dvc.yaml")), args.workers)
    if status:
        sys.exit(status)
