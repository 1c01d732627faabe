"""The settings that make a training give the same bytes on every x86-64 machine with AVX2.

Each setting removes one way in which a machine or its environment affects the result. docs/reproducibility.md says how
each was found and shown. They are set here, by the code, so that nobody's shell can change a result.
"""

import ctypes
import mmap
import os
import platform
import struct
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from digits.common.cli import InputError
from digits.model import machine, startup

#: Read by TensorFlow and Keras while they are imported.
ENVIRONMENT = {
    # oneDNN's graph operations choose their kernels by processor; TensorFlow's own do not.
    "TF_ENABLE_ONEDNN_OPTS": "0",
    # Matrix products are still multiplied by oneDNN's kernel. SSE4.1, AVX, AVX2 and AVX-512 each round differently.
    "DNNL_MAX_CPU_ISA": "AVX2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    # Keras may be configured for another backend.
    "KERAS_BACKEND": "tensorflow",
    # XLA compiles the optimizer's update. Its simplifier would turn x / sqrt(y) into x * rsqrt(y), which is approximate
    # and differs by CPU maker. Its AVX2 code for one of the emulated processors gave NaN; its AVX code is equal on all.
    # The last flag changes no bit: it spares a copy of each weight's average, which took a third of the update's time.
    "XLA_FLAGS": "--xla_disable_hlo_passes=algsimp --xla_cpu_max_isa=AVX "
    "--xla_cpu_copy_insertion_use_region_analysis=true",
    # Quiet: TensorFlow reports on start-up what it does not find (CUDA), which is no error here.
    "TF_CPP_MIN_LOG_LEVEL": "3",
}

#: Switches of compilation, mixed precision and kernels that change the bits if they stand in the environment. So do
#: Keras's own, which can cut a training short (KERAS_MAX_EPOCHS): of those, only the ones in KEPT stay.
REMOVED = (
    "TF_XLA_FLAGS",
    "TF_ENABLE_AUTO_MIXED_PRECISION",
    "TF_USE_CUSTOM_CONTRACTION_KERNEL",
    "TENSORFLOW_USE_CUSTOM_CONTRACTION_KERNEL",
)

KEPT = ("KERAS_BACKEND", "KERAS_HOME")

#: Bytes of the L1, L2 and L3 data caches that Eigen shall plan its matrix products for. It cuts a sum into parts that
#: fit the L1 cache: 32 KiB on older Intel and on AMD Zen 1 to 4, but 48 KiB from Intel's Ice Lake and AMD's Zen 5 on.
EIGEN_CACHE_SIZES = (32 * 2**10, 512 * 2**10, 32 * 2**20)

_CACHE_SIZES_SYMBOL = b"\0_ZZN5Eigen8internal20manage_caching_sizesENS_6ActionEPlS2_S2_E12m_cacheSizes\0"


def configure(*, seed: int, device: str = "cpu") -> list[str]:
    """Import TensorFlow with the settings of this module. To be called before anything else imports it.

    Args:
        seed: starts Python's, NumPy's and TensorFlow's random generators.
        device: 'cpu', or 'gpu' to let TensorFlow use one.

    Returns:
        Why this machine may give other bits than the committed ones. Empty: the bytes must be equal.

    Raises:
        InputError: the device is 'gpu' and TensorFlow finds none.
    """
    if "tensorflow" not in sys.modules:
        os.environ.update(ENVIRONMENT)
        for name in _harmful():
            del os.environ[name]
    elif _harmful() or any(os.environ.get(name) != value for name, value in ENVIRONMENT.items()):
        raise RuntimeError("determinism.configure() must run before TensorFlow is imported")
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
    # Several threads would cut one sum into as many parts. Parallel work is between operations, which cut nothing.
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(machine.cores())
    # Otherwise the graph optimizer turns x / sqrt(y) into x * rsqrt(y), which is approximate and differs by CPU maker.
    tf.config.optimizer.set_experimental_options({"arithmetic_optimization": False})
    tf.config.experimental.enable_op_determinism()
    # A user's ~/.keras/keras.json may hold other values.
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")
    keras.config.set_epsilon(1e-7)
    keras.config.set_image_data_format("channels_last")
    keras.utils.set_random_seed(seed)
    return deviations(device=device, pinned=pin_eigen_cache_sizes(EIGEN_CACHE_SIZES))


def deviations(*, device: str, pinned: bool) -> list[str]:
    """Say why this machine may give other bits than the committed ones. Empty: the bytes must be equal.

    Args:
        device: 'cpu' or 'gpu'.
        pinned: whether Eigen's cache sizes could be pinned.
    """
    reasons = [] if device == "cpu" else [f"the device is {device}"]
    if not machine.is_x86_64():
        reasons.append(f"the architecture is {platform.machine()}, not x86-64")
    elif not {"avx2", "fma"} <= set(machine.cpu_flags()):
        reasons.append("the processor has no AVX2 and FMA, or does not report them")
    if not pinned:
        reasons.append("Eigen's cache sizes cannot be pinned in this package of TensorFlow")
    return reasons


def _harmful() -> list[str]:
    """The variables of the environment that may change the bits."""
    return [name for name in os.environ if name in REMOVED or (name.startswith("KERAS_") and name not in KEPT)]


@contextmanager
def _quiet_standard_error() -> Iterator[None]:
    """Hold back what TensorFlow's C++ writes before its log level counts (it looks for CUDA); show it if all fails."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
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


def pin_eigen_cache_sizes(sizes: tuple[int, int, int]) -> bool:
    """Make Eigen, inside TensorFlow, plan for caches of the given sizes instead of asking the processor.

    Eigen asks once and keeps the answer in a static variable, for which TensorFlow has no setter. The variable is found
    by its name in the library's own symbol table.

    Args:
        sizes: bytes of the L1, L2 and L3 data caches.

    Returns:
        Whether it was possible: only for TensorFlow's x86-64 Linux packages.
    """
    import tensorflow as tf

    library = Path(tf.__file__).with_name("libtensorflow_cc.so.2")
    if not (machine.is_x86_64() and sys.platform == "linux" and library.exists()):
        return False
    offset, base = _symbol_offset(library, _CACHE_SIZES_SYMBOL), _load_address(library)
    if offset is None or base is None:
        return False
    tf.linalg.matmul(tf.ones((64, 64)), tf.ones((64, 64)))  # makes Eigen ask, so that it will not ask later
    held = (ctypes.c_long * 3).from_address(base + offset)
    if not all(0 < size < 2**36 for size in held):
        return False
    held[:] = list(sizes)
    return True


def _symbol_offset(library: Path, symbol: bytes) -> int | None:
    """Offset of a local symbol in a 64-bit ELF library (System V ABI, chapter 4), or None if it is not in the table.

    Args:
        library: the file.
        symbol: the mangled name, between two zero bytes.
    """
    entry = np.dtype(
        [("name", "<u4"), ("info", "u1"), ("other", "u1"), ("index", "<u2"), ("value", "<u8"), ("size", "<u8")]
    )
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as elf:
        if elf[:5] != b"\x7fELF\x02":
            return None
        (table,) = struct.unpack_from("<Q", elf, 0x28)
        size, count = struct.unpack_from("<HH", elf, 0x3A)
        sections = [struct.unpack_from("<IIQQQQII", elf, table + index * size) for index in range(count)]
        symbols = next((section for section in sections if section[1] == 2), None)  # 2: SHT_SYMTAB
        if symbols is None:
            return None
        strings = sections[symbols[6]]
        found = elf.find(symbol, strings[4], strings[4] + strings[5])
        if found < 0:
            return None
        entries = np.frombuffer(elf, entry, count=symbols[5] // entry.itemsize, offset=symbols[4])
        values = entries["value"][entries["name"] == found + 1 - strings[4]].tolist()
        del entries  # a mapping with a view on it cannot be closed
    return values[0] if values else None


def _load_address(library: Path) -> int | None:
    """Where a library was loaded into this process."""
    with Path("/proc/self/maps").open(encoding="utf-8") as maps:
        for line in maps:
            if line.rstrip().endswith(library.name):
                return int(line.split("-", 1)[0], 16)
    return None


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
