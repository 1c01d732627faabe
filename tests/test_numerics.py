"""The numeric settings: set by the code whatever the shell says, and each with an effect."""

import ctypes
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stages import numerics
from tests.conftest import ROOT, environment

HOSTILE = {
    "TF_ENABLE_ONEDNN_OPTS": "1",
    "DNNL_MAX_CPU_ISA": "SSE41",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "KERAS_BACKEND": "jax",
    "TF_XLA_FLAGS": "--tf_xla_auto_jit=2 --tf_xla_cpu_global_jit",
    "TF_NUM_INTRAOP_THREADS": "2",
    "TF_NUM_INTEROP_THREADS": "1",
    "OMP_NUM_THREADS": "3",
    "TF_DETERMINISTIC_OPS": "0",
    "KERAS_MAX_EPOCHS": "1",
    "KERAS_MAX_STEPS_PER_EPOCH": "1",
    "KERAS_NNX_ENABLED": "1",
}


def python(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment(**variables),
        capture_output=True,
        text=True,
        check=False,
    )


def test_settings_win_over_the_environment_and_over_the_users_keras_file(tmp_path: Path) -> None:
    (tmp_path / "keras.json").write_text('{"floatx": "float16", "epsilon": 0.1, "image_data_format": "channels_first"}')
    code = """
import json, os
from stages import numerics
numerics.configure(seed=0)
import keras, tensorflow as tf
print(json.dumps([
    {name: os.environ.get(name) for name in (*numerics.ENVIRONMENT, *numerics.REMOVED)}, sorted(os.environ),
    keras.backend.backend(), keras.config.floatx(), keras.config.epsilon(), keras.config.image_data_format(),
    tf.config.threading.get_intra_op_parallelism_threads(), tf.config.optimizer.get_experimental_options(),
]))
"""
    result = python(code, **HOSTILE, KERAS_HOME=str(tmp_path))
    assert result.returncode == 0, result.stderr
    names, variables, *rest = json.loads(result.stdout)
    assert [name for name in variables if name.startswith("KERAS_")] == ["KERAS_BACKEND", "KERAS_HOME"]
    assert names == numerics.ENVIRONMENT | dict.fromkeys(numerics.REMOVED)
    *keras_settings, threads, options = rest
    assert keras_settings == ["tensorflow", "float32", 1e-7, "channels_last"]
    assert threads == 1
    assert options["arithmetic_optimization"] is False


def test_tensorflow_says_nothing_on_start_up() -> None:
    result = python("from stages import numerics; numerics.configure(seed=0)")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_an_error_during_the_import_still_shows_what_was_held_back() -> None:
    code = """
import os, sys
from stages import numerics
with numerics._quiet_standard_error():
    os.write(2, b"what the library said\\n")
    raise SystemExit(3)
"""
    result = python(code)
    assert result.returncode == 3
    assert "what the library said" in result.stderr


def test_configuring_after_tensorflow_was_imported_otherwise_is_refused() -> None:
    result = python(
        "import tensorflow\nfrom stages import numerics\nnumerics.configure(seed=0)", TF_ENABLE_ONEDNN_OPTS="1"
    )
    assert "RuntimeError: numerics.configure() must run before TensorFlow is imported" in result.stderr


def test_a_gpu_that_is_not_there_is_refused() -> None:
    code = """
from stages import numerics
from stages.console import run
run(lambda: numerics.configure(seed=0, device="gpu"))
"""
    result = python(code, CUDA_VISIBLE_DEVICES="-1")
    assert result.returncode == 1
    assert result.stderr.startswith("ERROR: parameter 'train.device': expected 'cpu', or a GPU that TensorFlow finds.")
    assert result.stderr.count("\n") == 1


def test_cores_are_those_that_the_process_may_use() -> None:
    code = """
import os
from stages import numerics
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
print(numerics.cores())
"""
    assert python(code).stdout == "1\n"


def test_eigen_plans_for_the_sizes_that_it_is_given() -> None:
    code = """
import ctypes, hashlib, numpy as np
from pathlib import Path
from stages import numerics
reasons = numerics.configure(seed=0)
import tensorflow as tf
random = np.random.default_rng(0)
left, right = (tf.constant(random.standard_normal(shape, dtype=np.float32)) for shape in ((32, 1024), (1024, 64)))
def product():
    return hashlib.sha256(tf.matmul(left, right).numpy().tobytes()).hexdigest()
pinned = product()
numerics.pin_eigen_cache_sizes((48 * 2**10, 512 * 2**10, 32 * 2**20))
other = product()
numerics.pin_eigen_cache_sizes(numerics.EIGEN_CACHE_SIZES)
print(reasons, pinned == other, pinned == product())
"""
    # 48 KiB gives other bits: that is what a processor of this kind would do without the setting
    assert python(code).stdout == "[] False True\n"


def test_a_library_without_the_symbol_is_left_alone() -> None:
    library = next(Path(np.__file__).parent.rglob("*.so"))
    for file in (library, ctypes.__file__):  # a shared library, and a file that is none
        assert numerics._symbol_offset(Path(file), b"\0no_such_symbol\0") is None


def test_deviations_name_what_may_change_the_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numerics, "cpu_flags", list)
    monkeypatch.setattr(numerics, "is_x86_64", lambda: False)
    assert any("architecture" in reason for reason in numerics.deviations(device="cpu", pinned=True))
    monkeypatch.setattr(numerics, "is_x86_64", lambda: True)
    assert any("AVX2" in reason for reason in numerics.deviations(device="cpu", pinned=True))
    monkeypatch.setattr(numerics, "cpu_flags", lambda: ["avx2", "fma"])
    assert numerics.deviations(device="cpu", pinned=True) == []
    assert any("device is gpu" in reason for reason in numerics.deviations(device="gpu", pinned=True))
    assert any("cache sizes" in reason for reason in numerics.deviations(device="cpu", pinned=False))
