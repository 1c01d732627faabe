"""Train on several workers, or on several devices of one machine, to the same bytes as in one process.

A batch is cut into shards, and the gradients of the shards are added in order. Each replica computes some shards. Then
all replicas have the same sums and take the same step. TensorFlow only transfers the terms: it adds nothing.
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
from exactkeras.tf_config import Cluster

#: Within this many seconds, all workers must have started and found each other.
DEADLINE = 120

#: The errors that TensorFlow raises within seconds after another worker, or its machine, has stopped.
LOST = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
    tf.errors.UnavailableError,
    tf.errors.UnknownError,
)

#: TensorFlow's number for the group of replicas that exchange slices. TensorFlow's own groups have small numbers.
GROUP_KEY = 2**20

#: A function that computes a shard. It returns two results: tensors that are joined over all shards, and tensors that
#: are added over all shards.
Part = Callable[..., tuple[Any, Any]]


def compute(part: Part, pieces: Sequence[Any]) -> tuple[Any, Any]:
    """Call `part(*piece)` for all pieces. Join the first results and add the second, in the order of the pieces."""
    joined, added = zip(*(part(*piece) for piece in pieces), strict=True)
    return _each(lambda parts: tf.concat(parts, 0), joined), _each(in_order, added)


def _each(function: Callable[[Sequence[tf.Tensor]], tf.Tensor], parts: Sequence[Any]) -> Any:
    return tf.nest.map_structure(lambda *tensors: function(tensors), *parts)


class Replicas:
    """The replicas that share the shards of each batch. Each process has one such object."""

    def __init__(self, strategy: tf.distribute.Strategy, worker: int = 0) -> None:
        """Take TensorFlow's strategy, for several processes or for several devices, and the number of this worker."""
        self.strategy, self.worker, self.count = strategy, worker, strategy.num_replicas_in_sync
        self._gathered = tf.function(self._gather, autograph=False)
        self._exchanges = itertools.count(1)  # a number for each place in a program where slices are exchanged

    def compute(self, part: Part, pieces: Sequence[Any]) -> tuple[Any, Any]:
        """Return the same as the function `compute`, but let each replica compute its share. Call it in a tf.function.

        There must be at least one piece for each replica, and `part` must return float32 tensors of known shapes.
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
        """Add the vectors of all replicas in order. `own` are the vectors of this replica, [count, n]."""
        context, rows = tf.distribute.get_replica_context(), -(-parts // self.count)
        processes = isinstance(self.strategy, tf.distribute.MultiWorkerMirroredStrategy)
        if not processes or rows + 1 >= parts:
            return in_order(tf.unstack(context.all_gather(own, axis=0), parts))
        # To send fewer bytes: each replica receives one slice of all vectors, and adds these slices.
        missing = [[0, rows - own.shape[0]], [0, -own.shape[1] % self.count]]
        slices = tf.transpose(tf.reshape(tf.pad(own, missing), [rows, self.count, -1]), [1, 0, 2])
        exchanged = tf.raw_ops.CollectiveAllToAllV2(
            input=slices,
            group_size=self.count,
            group_key=GROUP_KEY,
            instance_key=next(self._exchanges),
            ordering_token=[],
        )  # [replicas, rows, n / replicas]
        shares = [share(parts, self.count, index) for index in range(self.count)]
        terms = [exchanged[index, row] for index, (start, stop) in enumerate(shares) for row in range(stop - start)]
        return context.all_gather(in_order(terms), axis=0)[: own.shape[1]]

    def gather(self, value: Any) -> NDArray[Any]:
        """Gather a value of each replica: [...] to [replicas, ...]."""
        return self._gathered(tf.constant(value)).numpy()

    def _gather(self, own: tf.Tensor) -> tf.Tensor:
        def replica() -> tf.Tensor:
            # Without `identity` TensorFlow does not know the device of the value.
            return tf.distribute.get_replica_context().all_gather(tf.identity(own)[tf.newaxis], axis=0)

        return self._first(self.strategy.run(replica))

    def start_alike(self, state: Sequence[tf.Variable], done: int) -> int:
        """Copy variables, of 4 or 8 bytes per value, from the first replica. Return its number of finished epochs."""
        values = self.gather(np.frombuffer(values_of(state), np.int32))[0]
        set_values(state, values.tobytes())
        return int(self.gather(done)[0])

    def require_same(self, fingerprint: Fingerprint) -> None:
        """Raise InputError if a worker has other parameters, code or data."""
        digests = self.gather(np.frombuffer(bytes.fromhex("".join(fingerprint)), np.int32))
        for index, row in enumerate(np.split(digests, len(fingerprint), axis=1)):
            if others := np.flatnonzero((row != row[0]).any(axis=1)).tolist():
                raise InputError(
                    f"{self.count} workers",
                    f"worker {others[0]} has other {fingerprint._fields[index]} than worker 0",
                    hint="Use the same commit and the same prepared data on each.",
                )

    def deviating(self, reasons: Sequence[str]) -> list[str]:
        """Return a line for each other worker that has deviations. `reasons` are the deviations of this worker."""
        counts = self.gather(len(reasons))
        return [f"worker {index} reports deviations" for index in np.flatnonzero(counts) if index != self.worker]

    def _first(self, values: Any) -> tf.Tensor:
        return self.strategy.experimental_local_results(values)[0]


def share(parts: int, replicas: int, index: int) -> tuple[int, int]:
    """Return the range of a replica's parts, (start, stop). Shares are as equal as possible, larger shares first."""
    each, more = divmod(parts, replicas)
    start = index * each + min(index, more)
    return start, start + each + (index < more)


def packed(result: Any) -> tf.Tensor:
    """Pack nested tensors into a vector."""
    return tf.concat([tf.reshape(tensor, [-1]) for tensor in tf.nest.flatten(result)], 0)


def unpacked(vector: tf.Tensor, form: Any) -> Any:
    """Unpack a vector into nested tensors of the shapes in `form`."""
    tensors = tf.nest.flatten(form)
    pieces = tf.split(tf.reshape(vector, [-1]), [tensor.shape.num_elements() for tensor in tensors])
    shaped = [tf.reshape(piece, tensor.shape) for piece, tensor in zip(pieces, tensors, strict=True)]
    return tf.nest.pack_sequence_as(form, shaped)


@contextmanager
def together(cluster: Cluster | None, shards: int) -> Iterator[Replicas | None]:
    """Share batches inside this block among the workers of a cluster, or among several GPUs. Yield None for one device.

    Enter the block before TensorFlow's first operation.

    Raises:
        InputError: a worker did not start before DEADLINE, or was lost.
    """
    if cluster is not None:
        with _joined(cluster) as replicas:
            yield replicas
    elif len(gpus := [device.name for device in tf.config.list_logical_devices("GPU")][:shards]) > 1:
        yield Replicas(tf.distribute.MirroredStrategy(gpus))
    else:
        yield None


@contextmanager
def _joined(cluster: Cluster) -> Iterator[Replicas]:
    with _death_by_signal():
        try:
            with _deadline(cluster):
                spec = tf.train.ClusterSpec({"worker": cluster.addresses})
                resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
                    spec, task_type="worker", task_id=cluster.number, rpc_layer="grpc"
                )
                replicas = Replicas(tf.distribute.MultiWorkerMirroredStrategy(resolver), cluster.number)
                replicas.gather(0)
            with _death_by_signal():  # the strategy has made this process ignore SIGTERM
                yield replicas
        except LOST as error:
            if "Could not start gRPC server" in error.message:
                hint = "Give this worker another port, in the addresses of all workers."
                raise InputError(cluster.name, "another program uses this port", hint=hint) from None
            hint = (
                "Read the output of the other workers, and start all again: they continue after the last whole epoch."
            )
            raise InputError(cluster.name, f"another worker was lost ({_reason(error.message)})", hint=hint) from None


def _reason(message: str) -> str:
    """Return TensorFlow's reason for a lost worker, without the place in the graph."""
    found = re.findall(r"aborted by: (?!Collective ops)(.*)", message)
    return (found or message.splitlines() or ["no reason given"])[0]


#: This process may wait in C++, where no Python runs. So another process prints $2 after $1 seconds, then ends process
#: $3.
_WATCHER = 'timeout "$1" cat >&2; [ $? -ne 124 ] || { echo "$2" >&2; kill -s ALRM "$3"; }'


@contextmanager
def _deadline(cluster: Cluster) -> Iterator[None]:
    """Print one line and end this process if the block takes longer than DEADLINE."""
    start = f"Start each of {', '.join(cluster.addresses)}; a firewall must let them reach each other."
    line = InputError(cluster.name, f"not all workers started within {DEADLINE} s", hint=start)
    command = ["sh", "-c", _WATCHER, "sh", str(DEADLINE), f"ERROR: {line}", str(os.getpid())]
    watcher = subprocess.Popen(command, stdin=subprocess.PIPE)
    try:
        yield
    finally:
        watcher.communicate()


@contextmanager
def _death_by_signal() -> Iterator[None]:
    """Let SIGTERM and Ctrl-C end this process at once, also while it waits in C++ for another process."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
