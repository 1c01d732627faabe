"""The state of a training after its last whole epoch, in one file: a killed training goes on from there.

It goes on to the bytes of a training that was never killed, or not at all: the file says which parameters, code and
data it belongs to, and is not used with others.
"""

import hashlib
import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from dvcproof.runtime.bounds import TEXT_BYTES, read_bytes
from dvcproof.runtime.files import replacing
from dvcproof.runtime.program import InputError
from dvcproof.runtime.watch import code_fingerprint
from exactkeras.batches import Features, Stored

DIGEST = hashlib.sha256().digest_size


class Fingerprint(NamedTuple):
    """What a training belongs to: SHA-256, in hexadecimal, of each of these."""

    parameters: str
    code: str
    data: str


def fingerprint(parameters: Any, code: Iterable[Path], data: Iterable[Features]) -> Fingerprint:
    """The fingerprint of a training.

    Args:
        parameters: all that is set, for JSON.
        code: the files of code that decide a result, beside this package's.
        data: the arrays, [n, ...] each.
    """
    files = [*sorted(Path(__file__).parent.rglob("*.py")), *code]
    versions = [tf.__version__, keras.__version__, np.__version__]
    sums = hashlib.sha256()
    for array in data:
        sums.update(f"{array.dtype.name} {array.shape}".encode())
        for rows in array.file.blocks() if isinstance(array, Stored) else filter(len, [array]):
            sums.update(tf.fingerprint(rows).numpy())  # 64 bits a row: a seventh of the time of SHA-256 over all
    return Fingerprint(
        parameters=_digest(parameters),
        code=_digest(versions + [[path.name, code_fingerprint(path)] for path in files]),
        data=sums.hexdigest(),
    )


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


class Checkpoint:
    """The file: SHA-256 of the rest; JSON in one line, with fingerprint and history; the bytes of each variable."""

    def __init__(self, path: Path, belongs_to: Fingerprint) -> None:
        """Take the file's path, whether it is there or not, and the training's fingerprint."""
        self.path, self.belongs_to = path, belongs_to

    def restore(self, state: Sequence[tf.Variable]) -> dict[str, list[float]]:
        """Set the variables to what the file holds, if it is there and belongs to this training; say so.

        Args:
            state: the variables of the model and its optimizer.

        Returns:
            The history so far, a value per epoch of each metric. Empty: the training starts from nothing.
        """
        try:
            history, values = self._read(sum(_size(variable) for variable in state))
            done = len(history["loss"])
        except FileNotFoundError:
            return {}
        except (InputError, OSError, ValueError) as error:
            reason = str(error)
        except (KeyError, RecursionError, TypeError):
            reason = "it is damaged"
        else:
            set_values(state, values)
            sys.stdout.write(f"{self.path}: the training goes on after epoch {done}\n")
            return history
        sys.stdout.write(f"{self.path}: not used, and the training starts from nothing: {reason}\n")
        return {}

    def _read(self, size: int) -> tuple[dict[str, list[float]], bytes]:
        content = read_bytes(self.path, size + TEXT_BYTES)
        if hashlib.sha256(memoryview(content)[DIGEST:]).digest() != content[:DIGEST]:
            raise ValueError("it is damaged")
        line, _, values = content[DIGEST:].partition(b"\n")
        head = json.loads(line)
        for name, ours in self.belongs_to._asdict().items():
            if head["fingerprint"][name] != ours:
                raise ValueError(f"it belongs to other {name}")
        if len(values) != size:
            raise ValueError("it belongs to another network")
        return head["history"], values

    def write(self, state: Sequence[tf.Variable], history: Mapping[str, Sequence[float]]) -> None:
        """Replace the file by one with these variables and this history; if that fails, say so, and go on without."""
        head = json.dumps({"fingerprint": self.belongs_to._asdict(), "history": history})
        content = head.encode() + b"\n" + values_of(state)
        try:
            with replacing(self.path, results=False) as (path,), path.open("wb") as file:
                file.writelines([hashlib.sha256(content).digest(), content])
        except (InputError, OSError) as error:
            sys.stderr.write(f"WARNING: no checkpoint, so a killed training would start from nothing: {error}\n")

    def remove(self) -> None:
        """Remove the file, if it is one: the training is done."""
        with suppress(OSError):
            self.path.unlink()


def values_of(state: Sequence[tf.Variable]) -> bytes:
    """The values of variables, one after the other."""
    return b"".join(np.ascontiguousarray(variable.numpy()).tobytes() for variable in state)


def set_values(state: Sequence[tf.Variable], values: bytes) -> None:
    """The reverse of `values_of`."""
    start = 0
    for variable in state:
        end = start + _size(variable)
        variable.assign(np.frombuffer(values[start:end], _dtype(variable)).reshape(variable.shape))
        start = end


def _dtype(variable: tf.Variable) -> np.dtype[Any]:
    return np.dtype(tf.as_dtype(variable.dtype).as_numpy_dtype)


def _size(variable: tf.Variable) -> int:
    return math.prod(variable.shape) * _dtype(variable).itemsize
