"""The settings that fix the bits: code sets them in any environment, without output, and imports faster."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dvcproof.runtime import machine
from dvcproof.runtime.program import InputError
from exactkeras import determinism, memory
from tests.support.hostile import HOSTILE
from tests.support.project import ROOT, environment, run
from tests.support.refusal import one_line, refused_by

CONFIGURE = "from exactkeras import determinism\nreasons = determinism.configure(seed=0)\n"


def python(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return run(sys.executable, "-c", code, cwd=ROOT, env=environment(**variables))


def test_settings_win_over_environment_and_keras_file(tmp_path: Path) -> None:
    (tmp_path / "keras.json").write_text('{"floatx": "float16", "epsilon": 0.1, "image_data_format": "channels_first"}')
    show = """
import json, os, keras, tensorflow as tf
print(json.dumps([
    {name: os.environ.get(name) for name in (*determinism.ENVIRONMENT, *determinism.REMOVED)}, sorted(os.environ),
    keras.backend.backend(), keras.config.floatx(), keras.config.epsilon(), keras.config.image_data_format(),
    tf.config.threading.get_intra_op_parallelism_threads(), tf.config.optimizer.get_experimental_options(),
]))
"""
    result = python(CONFIGURE + show, **HOSTILE, KERAS_HOME=str(tmp_path))
    assert result.returncode == 0, result.stderr
    names, variables, *keras_settings, threads, options = json.loads(result.stdout)
    assert [name for name in variables if name.startswith("KERAS_")] == ["KERAS_BACKEND", "KERAS_HOME"]
    assert names == determinism.ENVIRONMENT | dict.fromkeys(determinism.REMOVED)
    assert keras_settings == ["tensorflow", "float32", 1e-7, "channels_last"]
    assert threads == 1
    assert options["arithmetic_optimization"] is False


@pytest.mark.slow
def test_it_is_silent_skips_matplotlib_and_leaves_python_as_it_was() -> None:
    pytest.importorskip("matplotlib")
    show = (
        "import gc, sys\nprint(reasons, 'matplotlib' in sys.modules, gc.isenabled(), gc.get_freeze_count() > 10**5)\n"
    )
    result = python(f"{CONFIGURE}{show}import matplotlib\nprint(matplotlib.__name__)")
    assert (result.returncode, result.stdout, result.stderr) == (0, "[] False True True\nmatplotlib\n", "")


def test_a_plain_import_of_keras_imports_matplotlib() -> None:
    pytest.importorskip("matplotlib")
    assert (
        python("import sys, keras, gc; print('matplotlib' in sys.modules, gc.get_freeze_count())").stdout == "True 0\n"
    )


@pytest.mark.parametrize(
    ("end", "status"), [("os.kill(os.getpid(), signal.SIGILL)", -signal.SIGILL), ("raise OSError", 1)]
)
def test_an_import_that_fails_shows_what_was_held_back(end: str, status: int, tmp_path: Path) -> None:
    code = f"""
import os, signal
from exactkeras import determinism
with determinism._quiet_standard_error(), determinism.quick_import():
    os.write(2, b"what the library said\\n")
    {end}
"""
    result = python(code, TMPDIR=str(tmp_path))
    assert result.returncode == status
    if status == 1:
        assert result.stderr.startswith("what the library said\nTraceback")
        return
    said, error = result.stderr.splitlines()
    assert said == "what the library said"
    assert one_line(error).startswith("ERROR: TensorFlow: its import was killed by a signal. Read its own")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("qemu-x86_64") is None, reason="qemu-user is not installed")
@pytest.mark.skipif("avx" not in machine.cpu_flags(), reason="the processor is refused before")
def test_tensorflow_that_dies_is_named() -> None:
    """The processor lacks AVX but reports it: qemu-user shows the host's /proc/cpuinfo."""
    result = run("qemu-x86_64", "-cpu", "Denverton", sys.executable, "-c", CONFIGURE, cwd=ROOT)
    assert result.returncode == -signal.SIGILL
    assert "\nERROR: TensorFlow: its import was killed by a signal" in result.stderr


REFUSED = """
from dvcproof.runtime.program import run
from exactkeras import determinism
run(lambda: determinism.configure(seed=0, device="{}"))
"""


@pytest.mark.slow
def test_configuring_after_tensorflow_is_refused() -> None:
    line = python("import tensorflow" + REFUSED.format("cpu"), TF_ENABLE_ONEDNN_OPTS="1").stderr.splitlines()[-1]
    assert "TensorFlow: it was imported before it was configured. Restart Python (in a notebook, the" in one_line(line)


def test_a_gpu_that_is_not_there_is_refused() -> None:
    line = refused_by(python(REFUSED.format("gpu"), CUDA_VISIBLE_DEVICES="-1"))
    assert line.startswith("ERROR: device 'gpu': TensorFlow finds no GPU. Install tensorflow[and-cuda] of the same")


@pytest.mark.slow
def test_a_gpu_that_is_there_may_give_other_bits() -> None:
    code = """
import os
from exactkeras import determinism
os.environ.update(determinism.ENVIRONMENT)
import tensorflow as tf
tf.config.list_physical_devices = lambda *_: ["a GPU"]
print(determinism.configure(seed=0, device="gpu"))
"""
    assert python(code).stdout == "['the device is gpu']\n"


@pytest.mark.usefixtures("tensorflow")
def test_configuring_looks_at_the_memory_first(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise InputError("memory", "there is little", hint="Run `ulimit -v unlimited`.")

    monkeypatch.setattr(memory, "require_address_space", refuse)
    with pytest.raises(InputError, match="there is little"):
        determinism.configure(seed=0)
