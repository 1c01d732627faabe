"""The settings under which TensorFlow computes the defined arithmetic, whatever the machine and its environment.

Each setting removes one way in which they would affect the result. docs/reproducibility.md says how
each was found and shown. They are set here, by the code, so that nobody's shell can change a result.
"""

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
from exactkeras import startup

#: Read by TensorFlow and Keras while they are imported.
ENVIRONMENT = {
    # oneDNN's graph operations choose their kernels by processor; TensorFlow's own do not.
    "TF_ENABLE_ONEDNN_OPTS": "0",
    # Keras may be configured for another backend.
    "KERAS_BACKEND": "tensorflow",
    # Quiet: TensorFlow reports on start-up what it does not find (CUDA), which is no error here.
    "TF_CPP_MIN_LOG_LEVEL": "3",
}

#: Switches of compilation, mixed precision and kernels that change the bits if they stand in the environment. So do
#: Keras's own, which can cut a training short (KERAS_MAX_EPOCHS): of those, only the ones in KEPT stay.
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
    """Import TensorFlow with the settings of this module. To be called before anything else imports it.

    Args:
        seed: starts Python's, NumPy's and TensorFlow's random generators.
        device: 'cpu', or 'gpu' to let TensorFlow use one.

    Returns:
        Why this machine may give other bits than the committed ones. Empty: the bytes must be equal.

    Raises:
        InputError: the device is 'gpu' and TensorFlow finds none; TensorFlow was imported with other settings; or there
            is too little memory to import it.
    """
    if "tensorflow" not in sys.modules:
        os.environ.update(ENVIRONMENT)
        for name in _harmful():
            del os.environ[name]
    elif _harmful() or any(os.environ.get(name) != value for name, value in ENVIRONMENT.items()):
        raise InputError(
            "TensorFlow",
            expected="to be imported by this project, which sets it up first",
            received="an earlier import with other settings",
            hint="Restart Python (in a notebook, the kernel); do this before `import tensorflow` or `import keras`.",
        )
    startup.require_address_space()
    startup.keep_memory()
    with _quiet_standard_error(), startup.quick_import():
        import keras
        import tensorflow as tf

        tf.config.list_physical_devices()

    if device == "cpu":
        tf.config.set_visible_devices([], "GPU")
    elif not tf.config.list_physical_devices("GPU"):
        raise InputError(
            "parameter 'train.device'",
            expected="'cpu', or a GPU that TensorFlow finds",
            received="'gpu', and it finds none",
            hint="Install tensorflow[and-cuda] of the same version, or set 'train.device' to cpu.",
        )
    else:  # a GPU's threads add in any order; with this, two runs on one GPU are equal (RFC 346 of TensorFlow)
        tf.config.experimental.enable_op_determinism()
    # Several threads would cut one sum into as many parts. Parallel work is between operations, which cut nothing.
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(machine.cores())
    # Otherwise the graph optimizer turns x / sqrt(y) into x * rsqrt(y), which is approximate and differs by CPU maker.
    tf.config.optimizer.set_experimental_options({"arithmetic_optimization": False})
    # A user's ~/.keras/keras.json may hold other values.
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")
    keras.config.set_epsilon(1e-7)
    keras.config.set_image_data_format("channels_last")
    keras.utils.set_random_seed(seed)
    return [] if device == "cpu" else [f"the device is {device}"]


def _harmful() -> list[str]:
    """The variables of the environment that may change the bits."""
    found = [name for name in os.environ if name in REMOVED or (name.startswith("KERAS_") and name not in KEPT)]
    return [name for name in found if name not in ENVIRONMENT]


#: Beside a process that holds back its standard error in the file $1: shows it, and the line $2, if the process ends
#: without a word. No code of a process runs after it is killed, so this is a process of its own.
_WATCHER = 'read -r done || { cat "$1"; rm -f "$1"; echo "$2"; } >&2'

_DIED = (
    "ERROR: TensorFlow: expected it to be imported. Got the end of this process by a signal. "
    "Read its own words above, if there are any. It needs AVX on x86-64, and memory: see `ulimit -v`."
)


@contextmanager
def _quiet_standard_error() -> Iterator[None]:
    """Hold back what TensorFlow's C++ writes before its log level counts (it looks for CUDA); show it if all fails."""
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
    """What a result was computed on: versions, machine, and why the bits may differ from others."""
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
