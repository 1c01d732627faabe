"""Checkpoints: one file with the state of a training after its last whole epoch. A killed training continues from it.

The result has the same bytes as a training that was never killed. The file has a fingerprint of the parameters, code
and data; a training with another fingerprint ignores the file and starts from the beginning.
"""

import hashlib
import json
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
    """Three SHA-256 in hexadecimal. Together they cover everything that decides the bytes of a training."""

    parameters: str
    code: str
    data: str


def fingerprint(parameters: Any, code: Iterable[Path], data: Iterable[Features]) -> Fingerprint:
    """Return the fingerprint of a training.

    Args:
        parameters: any value that JSON can represent.
        code: files of code outside of this package, whose own files are always added.
        data: features and labels.
    """
    files = [*sorted(Path(__file__).parent.rglob("*.py")), *code]
    versions = [tf.__version__, keras.__version__, np.__version__]
    sums = hashlib.sha256()
    for array in data:
        sums.update(f"{array.dtype.name} {array.shape}".encode())
        for rows in array.file.blocks() if isinstance(array, Stored) else filter(len, [array]):
            sums.update(tf.fingerprint(rows).numpy())  # 64 bits a row: seven times as fast as SHA-256 of all bytes
    return Fingerprint(
        parameters=_digest(parameters),
        code=_digest(versions + [[path.name, code_fingerprint(path)] for path in files]),
        data=sums.hexdigest(),
    )


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


class Checkpoint:
    """A checkpoint file: the SHA-256 of the rest, a line of JSON (fingerprint, history), the bytes of the variables."""

    def __init__(self, path: Path, belongs_to: Fingerprint) -> None:
        self.path, self.belongs_to = path, belongs_to

    def restore(self, state: Sequence[tf.Variable]) -> dict[str, list[float]]:
        """Set the variables of the model and its optimizer from the file, if the file belongs to this training.

        Print a line that says so, or why not. Return the history so far; empty: the training starts from the beginning.
        """
        try:
            history, values = self._read(sum(variable.numpy().nbytes for variable in state))
            done = len(history["loss"])
        except FileNotFoundError:
            return {}
        except (InputError, KeyError, OSError, RecursionError, TypeError, ValueError) as error:
            reason = error if isinstance(error, InputError | OSError | ValueError) else "it is damaged"
            sys.stdout.write(f"{self.path}: not used, the training starts from the beginning: {reason}\n")
            return {}
        set_values(state, values)
        sys.stdout.write(f"{self.path}: continuing the training after epoch {done}\n")
        return history

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
        """Write these variables and this history to the file. On failure, print a warning; the training continues."""
        head = json.dumps({"fingerprint": self.belongs_to._asdict(), "history": history})
        content = head.encode() + b"\n" + values_of(state)
        try:
            with replacing(self.path, results=False) as (path,), path.open("wb") as file:
                file.writelines([hashlib.sha256(content).digest(), content])
        except (InputError, OSError) as error:
            sys.stderr.write(f"WARNING: no checkpoint; a killed training would start from the beginning: {error}\n")

    def remove(self) -> None:
        """Remove the file, if there is one, after the training."""
        with suppress(OSError):
            self.path.unlink()


def values_of(state: Sequence[tf.Variable]) -> bytes:
    """Return the bytes of the values of variables, one variable after the other."""
    return b"".join(variable.numpy().tobytes() for variable in state)


def set_values(state: Sequence[tf.Variable], values: bytes) -> None:
    """Set variables from the bytes that `values_of` returned."""
    start = 0
    for variable in state:
        before = variable.numpy()
        end = start + before.nbytes
        variable.assign(np.frombuffer(values[start:end], before.dtype).reshape(before.shape))
        start = end
