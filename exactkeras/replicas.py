"""One training on several workers, or on several devices of one: the same bytes as in one process.

`train.shards` cuts a batch into parts, whose gradients are added in the order of the parts. Who computes a part changes
no bit; so each replica computes some of them, the sums are made in that order, and all take the same step. TensorFlow
carries the terms, unchanged: nothing is added on the way.
"""

import itertools
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from dvcproof.runtime.program import InputError
from exactkeras.arithmetic import in_order
from exactkeras.checkpoint import Fingerprint, set_values, values_of
from exactkeras.cluster import Cluster

#: Seconds in which all workers must have started and found each other.
DEADLINE = 120

#: What TensorFlow raises within seconds when another worker, or its machine, has ended.
LOST = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
    tf.errors.UnavailableError,
    tf.errors.UnknownError,
)

#: TensorFlow's number for the replicas when they exchange slices: far from those that its strategies give.
GROUP_KEY = 2**20

#: Computes a part of a batch: tensors to be joined with those of the other parts, and tensors to be added to theirs.
Part = Callable[..., tuple[Any, Any]]


def compute(part: Part, pieces: Sequence[Any]) -> tuple[Any, Any]:
    """What `part(*piece)` gives for all pieces, joined and added in the order of the pieces."""
    joined, added = zip(*(part(*piece) for piece in pieces), strict=True)
    return _each(lambda parts: tf.concat(parts, 0), joined), _each(in_order, added)


def _each(function: Callable[[Sequence[tf.Tensor]], tf.Tensor], parts: Sequence[Any]) -> Any:
    """A function of the tensors that have the same place in each part."""
    return tf.nest.map_structure(lambda *tensors: function(tensors), *parts)


class Replicas:
    """Those that share the parts of each batch. In each process there is the same object."""

    def __init__(self, strategy: tf.distribute.Strategy, worker: int = 0) -> None:
        """Take the strategy that connects them, and which worker this is of those that it connects.

        It is a MultiWorkerMirroredStrategy of several processes, or a MirroredStrategy of several devices in one.
        """
        self.strategy, self.worker, self.count = strategy, worker, strategy.num_replicas_in_sync
        self._gathered = tf.function(self._gather, autograph=False)
        self._exchanges = itertools.count(1)  # a number for each place in a program where slices are exchanged

    def compute(self, part: Part, pieces: Sequence[Any]) -> tuple[Any, Any]:
        """As the function `compute`, but each replica computes its share. For a tf.function.

        Args:
            part: gives tensors of known shapes, float32.
            pieces: at least one for each replica.
        """
        forms: list[Any] = []

        def replica() -> tuple[tf.Tensor, tf.Tensor]:
            context = tf.distribute.get_replica_context()
            index = int(tf.get_static_value(context.replica_id_in_sync_group))
            start, stop = share(len(pieces), self.count, index)
            results = [part(*piece) for piece in pieces[start:stop]]
            forms.append(results[0])
            joined, added = (tf.stack([packed(tensors) for tensors in kind]) for kind in zip(*results, strict=True))
            return context.all_gather(joined, axis=0), self._added(added, len(pieces))

        joined, added = map(self._first, self.strategy.run(replica))
        parts = [unpacked(row, forms[0][0]) for row in tf.unstack(joined, len(pieces))]
        return _each(lambda parts: tf.concat(parts, 0), parts), unpacked(added, forms[0][1])

    def _added(self, own: tf.Tensor, parts: int) -> tf.Tensor:
        """The sum of vectors, in their order: those of this replica, [own, n], and of the others. In each replica."""
        context, rows = tf.distribute.get_replica_context(), -(-parts // self.count)
        processes = isinstance(self.strategy, tf.distribute.MultiWorkerMirroredStrategy)
        if not processes or rows + 1 >= parts:
            return in_order(tf.unstack(context.all_gather(own, axis=0), parts))
        # Fewer bytes: each replica gets its slice of all vectors, and adds it.
        missing = [[0, rows - own.shape[0]], [0, -own.shape[1] % self.count]]
        slices = tf.transpose(tf.reshape(tf.pad(own, missing), [rows, self.count, -1]), [1, 0, 2])
        exchanged = tf.raw_ops.CollectiveAllToAllV2(
            input=slices,
            group_size=self.count,
            group_key=GROUP_KEY,
            instance_key=next(self._exchanges),
            ordering_token=[],
        )  # of each replica its rows, [replicas, rows, n / replicas]
        shares = [share(parts, self.count, index) for index in range(self.count)]
        terms = [exchanged[index, row] for index, (start, stop) in enumerate(shares) for row in range(stop - start)]
        return context.all_gather(in_order(terms), axis=0)[: own.shape[1]]

    def gather(self, value: Any) -> NDArray[Any]:
        """A value of each replica, one after the other: [...] to [replicas, ...]."""
        return self._gathered(tf.constant(value)).numpy()

    def _gather(self, own: tf.Tensor) -> tf.Tensor:
        def replica() -> tf.Tensor:
            # Without `identity` TensorFlow does not know the device of the value.
            return tf.distribute.get_replica_context().all_gather(tf.identity(own)[tf.newaxis], axis=0)

        return self._first(self.strategy.run(replica))

    def start_alike(self, state: Sequence[tf.Variable], done: int) -> int:
        """Set variables to what they are in the first replica.

        Args:
            state: the variables, each of 4 or 8 bytes a value.
            done: a number that goes with them.

        Returns:
            The number of the first replica.
        """
        values = self.gather(np.frombuffer(values_of(state), np.int32))[0]
        set_values(state, values.tobytes())
        return int(self.gather(done)[0])

    def require_same(self, fingerprint: Fingerprint) -> None:
        """Refuse to train together what is not the same.

        Raises:
            InputError: a replica has another fingerprint.
        """
        digests = self.gather(np.frombuffer(bytes.fromhex("".join(fingerprint)), np.int32))
        for index, row in enumerate(np.split(digests, len(fingerprint), axis=1)):
            if others := np.flatnonzero((row != row[0]).any(axis=1)).tolist():
                raise InputError(
                    f"{self.count} workers",
                    expected="the same parameters, code and data on each",
                    received=f"other {fingerprint._fields[index]} on worker {others[0]} than on worker 0",
                    hint="Check out the same commit on each, and run `dvc repro preprocess` there.",
                )

    def deviating(self, reasons: Sequence[str]) -> list[str]:
        """Why another worker may give other bits: that it says so itself. `reasons` are those of this one."""
        counts = self.gather(len(reasons))
        return [f"worker {index} says so" for index in np.flatnonzero(counts).tolist() if index != self.worker]

    def _first(self, values: Any) -> tf.Tensor:
        return self.strategy.experimental_local_results(values)[0]


def share(parts: int, replicas: int, index: int) -> tuple[int, int]:
    """First part of a replica, and the end: as equal shares as there can be, the larger ones first."""
    each, more = divmod(parts, replicas)
    start = index * each + min(index, more)
    return start, start + each + (index < more)


def packed(result: Any) -> tf.Tensor:
    """Tensors in one: a vector."""
    return tf.concat([tf.reshape(tensor, [-1]) for tensor in tf.nest.flatten(result)], 0)


def unpacked(vector: tf.Tensor, form: Any) -> Any:
    """The reverse of `packed`, for tensors of the shapes in `form`."""
    tensors = tf.nest.flatten(form)
    pieces = tf.split(tf.reshape(vector, [-1]), [tensor.shape.num_elements() for tensor in tensors])
    shaped = [tf.reshape(piece, tensor.shape) for piece, tensor in zip(pieces, tensors, strict=True)]
    return tf.nest.pack_sequence_as(form, shaped)


@contextmanager
def together(cluster: Cluster | None, shards: int) -> Iterator[Replicas | None]:
    """Those that compute the parts of a batch inside this: the workers of a cluster, several GPUs, or no more than one.

    To be called before TensorFlow's first operation.

    Args:
        cluster: None if there is one process.
        shards: parts of a batch.

    Raises:
        InputError: as `joined` does.
    """
    gpus = [device.name for device in tf.config.list_logical_devices("GPU")][:shards] if cluster is None else []
    if cluster is not None:
        with joined(cluster) as replicas:
            yield replicas
    elif len(gpus) > 1:
        yield Replicas(tf.distribute.MirroredStrategy(gpus))
    else:
        yield None


@contextmanager
def joined(cluster: Cluster) -> Iterator[Replicas]:
    """Join the other workers, and be one of them inside this. To be called before TensorFlow's first operation.

    Raises:
        InputError: not all of them came before DEADLINE, or one was lost.
    """
    with _death_by_signal():
        try:
            with _deadline(cluster):
                spec = tf.train.ClusterSpec({"worker": cluster.addresses})
                resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
                    spec, task_type="worker", task_id=cluster.number, rpc_layer="grpc"
                )
                replicas = Replicas(tf.distribute.MultiWorkerMirroredStrategy(resolver), cluster.number)
                replicas.gather(0)
            with _death_by_signal():  # the strategy has made this process deaf to SIGTERM
                yield replicas
        except LOST as error:
            if "Could not start gRPC server" in error.message:
                raise InputError(
                    cluster.name,
                    expected="a port that is free",
                    received="one at which another program listens",
                    hint="Give this worker another port, in the addresses of all.",
                ) from None
            raise InputError(
                cluster.name,
                expected="the other workers until the end",
                received=f"the loss of one ({_reason(error.message)})",
                hint="See what the others printed, and start all again: they go on after the last whole epoch.",
            ) from None


def _reason(message: str) -> str:
    """What TensorFlow says of a lost worker, without where in the graph it was missed."""
    found = re.findall(r"aborted by: (?!Collective ops)(.*)", message)
    return (found or message.splitlines() or ["no word"])[0]


#: Beside a process that waits in C++, where no Python runs: ends it after $1 seconds with the line $2.
_WATCHER = 'timeout "$1" cat >&2; [ $? -ne 124 ] || { echo "$2" >&2; kill -s ALRM "$3"; }'


@contextmanager
def _deadline(cluster: Cluster) -> Iterator[None]:
    """End this process with one line if the block takes longer than DEADLINE."""
    line = InputError(
        cluster.name,
        expected=f"all workers within {DEADLINE} s",
        received="not all of them",
        hint=f"Start each of {', '.join(cluster.addresses)}; a firewall must let them reach each other.",
    )
    command = ["sh", "-c", _WATCHER, "sh", str(DEADLINE), f"ERROR: {line}", str(os.getpid())]
    watcher = subprocess.Popen(command, stdin=subprocess.PIPE)
    try:
        yield
    finally:
        watcher.communicate()


@contextmanager
def _death_by_signal() -> Iterator[None]:
    """Let SIGTERM and Ctrl-C end this process at once, also while it waits in C++ for another one."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
