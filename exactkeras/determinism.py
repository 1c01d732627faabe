"""Import TensorFlow with the settings that the defined arithmetic needs, whatever the machine and its environment.

Each setting removes one thing that would affect the result: see docs/reproducibility.md. The settings are made in code,
so no environment variable of a shell can change a result.
"""

import gc
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from dvcproof.runtime import machine
from dvcproof.runtime.program import InputError
from exactkeras import memory

#: Environment variables that TensorFlow and Keras read while they are imported.
ENVIRONMENT = {
    # oneDNN's graph operations choose kernels by processor; TensorFlow's own operations do not.
    "TF_ENABLE_ONEDNN_OPTS": "0",
    # Keras may be configured for another backend.
    "KERAS_BACKEND": "tensorflow",
    # Silence messages at start-up about parts that are not installed (CUDA).
    "TF_CPP_MIN_LOG_LEVEL": "3",
}

#: Variables that change the bits: they switch compilation, mixed precision or kernels. Variables of Keras can also
#: shorten a training (KERAS_MAX_EPOCHS); of these, only KEPT stay.
REMOVED = (
    "DNNL_MAX_CPU_ISA",
    "ONEDNN_MAX_CPU_ISA",
    "TF_XLA_FLAGS",
    "TF_ENABLE_AUTO_MIXED_PRECISION",
    "TF_USE_CUSTOM_CONTRACTION_KERNEL",
    "TENSORFLOW_USE_CUSTOM_CONTRACTION_KERNEL",
)
KEPT = ("KERAS_BACKEND", "KERAS_HOME")


def configure(*, seed: int, device: str = "cpu") -> list[str]:
    """Import TensorFlow and Keras and configure them. Call this function before anything else imports them.

    Args:
        seed: for the random generators of Python, NumPy and TensorFlow.
        device: 'cpu', or 'gpu' to let TensorFlow use a GPU.

    Returns:
        The reasons why this machine may give other bits than the definition; empty: none is known.

    Raises:
        InputError: TensorFlow finds no GPU, was already imported with other settings, or may use too little memory.
    """
    if "tensorflow" not in sys.modules:
        os.environ.update(ENVIRONMENT)
        for name in _harmful():
            del os.environ[name]
    elif _harmful() or any(os.environ.get(name) != value for name, value in ENVIRONMENT.items()):
        hint = "Restart Python (in a notebook, the kernel); do this before `import tensorflow` or `import keras`."
        raise InputError("TensorFlow", "it was imported before it was configured", hint=hint)
    memory.require_address_space()
    memory.keep_memory()
    with _quiet_standard_error(), quick_import():
        import keras
        import tensorflow as tf

        tf.config.list_physical_devices()

    if device == "cpu":
        tf.config.set_visible_devices([], "GPU")
    elif not tf.config.list_physical_devices("GPU"):
        hint = "Install tensorflow[and-cuda] of the same version, or choose the device 'cpu'."
        raise InputError(f"device '{device}'", "TensorFlow finds no GPU", hint=hint)
    else:  # a GPU's threads add in any order, but not with this setting (RFC 346 of TensorFlow): two runs are equal
        tf.config.experimental.enable_op_determinism()
    # Several threads in one operation would cut a sum into as many parts. Several operations in parallel cut no sum.
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(machine.cores())
    # Otherwise the graph optimizer turns x / sqrt(y) into x * rsqrt(y): an approximation that depends on the processor.
    tf.config.optimizer.set_experimental_options({"arithmetic_optimization": False})
    # A user's ~/.keras/keras.json may have other values.
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")
    keras.config.set_epsilon(1e-7)
    keras.config.set_image_data_format("channels_last")
    keras.utils.set_random_seed(seed)
    return [] if device == "cpu" else [f"the device is {device}"]


def _harmful() -> list[str]:
    """Return the names of environment variables that may change the bits."""
    found = [name for name in os.environ if name in REMOVED or (name.startswith("KERAS_") and name not in KEPT)]
    return [name for name in found if name not in ENVIRONMENT]


@contextmanager
def quick_import() -> Iterator[None]:
    """Let imports of TensorFlow and Keras inside this block take two thirds of their time, and speed up the exit.

    Python's garbage collector is off: it would search hundreds of thousands of new objects again and again. matplotlib,
    which Keras imports to draw models, is hidden.
    """
    collecting, hidden = gc.isenabled(), "matplotlib" not in sys.modules
    gc.disable()
    if hidden:
        sys.modules["matplotlib"] = None  # type: ignore[assignment] # Python then refuses to import it
    try:
        yield
    finally:
        if hidden:
            del sys.modules["matplotlib"]
        gc.freeze()
        if collecting:
            gc.enable()


#: A killed process cannot report anything. So another process waits for it, and prints the file $1, which holds its
#: standard error, and the line $2.
_WATCHER = 'read -r done || { cat "$1"; rm -f "$1"; echo "$2"; } >&2'

_DIED = (
    "ERROR: TensorFlow: its import was killed by a signal. "
    "Read its own message above, if there is one. It needs AVX on x86-64, and memory: see `ulimit -v`."
)


@contextmanager
def _quiet_standard_error() -> Iterator[None]:
    """Hold standard error back inside this block, and print it only on failure.

    TensorFlow's C++ looks for CUDA and writes messages before it reads its log level.
    """
    sys.stderr.flush()
    with tempfile.NamedTemporaryFile() as held:
        command = ["sh", "-c", _WATCHER, "sh", held.name, _DIED]
        watcher = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        kept = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(kept, held.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            watcher.communicate(b"done\n")


def platform_record(deviations: list[str]) -> dict[str, Any]:
    """Return the software versions, the machine, and the reasons why results of this machine may have other bits."""
    import keras
    import tensorflow as tf

    return {
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
        "system": platform.platform(),
        "machine": platform.machine(),
        "cpu": machine.cpu_name(),
        "cpu_flags": machine.cpu_flags(),
        "cores": machine.cores(),
        "may_differ_in_bits_because": deviations,
    }
