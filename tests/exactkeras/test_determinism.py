"""The settings that fix the bits: set by the code whatever the environment holds, and each with an effect."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dvcproof.runtime import machine
from dvcproof.runtime.program import InputError
from exactkeras import determinism, startup
from tests.support.hostile import HOSTILE
from tests.support.project import ROOT, environment, run
from tests.support.refusal import one_line


def python(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment(**variables),
        capture_output=True,
        text=True,
        check=False,
    )


def test_settings_win_over_environment_and_keras_file(tmp_path: Path) -> None:
    (tmp_path / "keras.json").write_text('{"floatx": "float16", "epsilon": 0.1, "image_data_format": "channels_first"}')
    code = """
import json, os
from exactkeras import determinism
determinism.configure(seed=0)
import keras, tensorflow as tf
print(json.dumps([
    {name: os.environ.get(name) for name in (*determinism.ENVIRONMENT, *determinism.REMOVED)}, sorted(os.environ),
    keras.backend.backend(), keras.config.floatx(), keras.config.epsilon(), keras.config.image_data_format(),
    tf.config.threading.get_intra_op_parallelism_threads(), tf.config.optimizer.get_experimental_options(),
]))
"""
    result = python(code, **HOSTILE, KERAS_HOME=str(tmp_path))
    assert result.returncode == 0, result.stderr
    names, variables, *rest = json.loads(result.stdout)
    assert [name for name in variables if name.startswith("KERAS_")] == ["KERAS_BACKEND", "KERAS_HOME"]
    assert names == determinism.ENVIRONMENT | dict.fromkeys(determinism.REMOVED)
    *keras_settings, threads, options = rest
    assert keras_settings == ["tensorflow", "float32", 1e-7, "channels_last"]
    assert threads == 1
    assert options["arithmetic_optimization"] is False


@pytest.mark.slow
def test_tensorflow_says_nothing_on_start_up() -> None:
    result = python("from exactkeras import determinism; determinism.configure(seed=0)")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_an_error_of_the_import_shows_what_was_held_back() -> None:
    code = """
import os, sys
from exactkeras import determinism
with determinism._quiet_standard_error():
    os.write(2, b"what the library said\\n")
    raise SystemExit(3)
"""
    result = python(code)
    assert result.returncode == 3
    assert "what the library said" in result.stderr


@pytest.mark.parametrize("number", ["SIGILL", "SIGABRT", "SIGKILL"])
def test_a_process_that_dies_shows_what_was_held_back(number: str, tmp_path: Path) -> None:
    code = f"""
import os, signal
from exactkeras import determinism
with determinism._quiet_standard_error():
    os.write(2, b"what the library said\\n")
    os.kill(os.getpid(), signal.{number})
"""
    result = python(code, TMPDIR=str(tmp_path))
    assert result.returncode == -signal.Signals[number]
    said, error = result.stderr.splitlines()
    assert said == "what the library said"
    assert one_line(error).startswith("ERROR: TensorFlow: expected it to be imported. Got the end of this process")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("qemu-x86_64") is None, reason="qemu-user is not installed")
@pytest.mark.skipif("avx" not in machine.cpu_flags(), reason="the processor is refused before")
def test_tensorflow_that_dies_is_named() -> None:
    """On a processor without AVX whose system says that it has it: qemu-user shows its host's /proc/cpuinfo."""
    command = ["qemu-x86_64", "-cpu", "Denverton", sys.executable, "-c"]
    configure = "from exactkeras import determinism; determinism.configure(seed=0)"
    result = run(*command, configure, cwd=ROOT)
    assert result.returncode == -signal.SIGILL
    assert "\nERROR: TensorFlow: expected it to be imported. Got the end of this process" in result.stderr


@pytest.mark.slow
def test_configuring_after_tensorflow_is_refused() -> None:
    result = python(
        "import tensorflow\nfrom dvcproof.runtime.program import run\nfrom exactkeras import determinism\n"
        "run(lambda: determinism.configure(seed=0))",
        TF_ENABLE_ONEDNN_OPTS="1",
    )
    line = result.stderr.splitlines()[-1]  # after what TensorFlow says by itself
    assert "TensorFlow: expected to be imported by this project, which sets it up first. Got an earlier" in line
    assert "Restart Python (in a notebook, the kernel); do this before `import tensorflow`" in one_line(line)


def test_a_gpu_that_is_not_there_is_refused() -> None:
    code = """
from exactkeras import determinism
from dvcproof.runtime.program import run
run(lambda: determinism.configure(seed=0, device="gpu"))
"""
    result = python(code, CUDA_VISIBLE_DEVICES="-1")
    assert result.returncode == 1
    assert result.stderr.startswith("ERROR: parameter 'train.device': expected 'cpu', or a GPU that TensorFlow finds.")
    assert result.stderr.count("\n") == 1


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


@pytest.mark.slow
def test_a_cpu_has_no_reason_to_give_other_bits() -> None:
    code = "from exactkeras import determinism\nprint(determinism.configure(seed=0))"
    assert python(code).stdout == "[]\n"


@pytest.mark.usefixtures("tensorflow")
def test_the_record_of_a_platform_holds_the_reasons() -> None:
    record = determinism.platform_record(["a product is another"])
    assert record["may_differ_in_bits_because"] == ["a product is another"]
    assert record["cpu_flags"] == machine.cpu_flags()
    assert record["cores"] == machine.cores()


@pytest.mark.usefixtures("tensorflow")
def test_configuring_looks_at_the_memory_first(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise InputError("memory", expected="more", received="little", hint="Run `ulimit -v unlimited`.")

    monkeypatch.setattr(startup, "require_address_space", refuse)
    with pytest.raises(InputError, match="Got little"):
        determinism.configure(seed=0)
