"""What makes a process start, run and end sooner: that it does, and that it leaves Python as it was."""

import subprocess
import sys

import pytest

from tests.support.project import ROOT
from tests.support.refusal import refused_by


def python(code: str) -> str:
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return result.stdout.strip()


@pytest.mark.slow
def test_keras_skips_matplotlib_and_python_is_as_before() -> None:
    pytest.importorskip("matplotlib")
    code = """
import gc, sys
from exactkeras.startup import quick_import
with quick_import():
    import keras
print("matplotlib" in sys.modules, gc.isenabled(), gc.get_freeze_count() > 100_000)
import matplotlib
print(matplotlib.__name__)
"""
    assert python(code).split() == ["False", "True", "True", "matplotlib"]


@pytest.mark.slow
def test_a_plain_import_of_keras_imports_matplotlib() -> None:
    pytest.importorskip("matplotlib")
    assert python("import sys, keras, gc; print('matplotlib' in sys.modules, gc.get_freeze_count())") == "True 0"


def test_after_an_error_too_python_is_as_before() -> None:
    code = """
import gc, sys
from exactkeras.startup import quick_import
gc.disable()
try:
    with quick_import():
        raise OSError
except OSError:
    print("matplotlib" in sys.modules, gc.isenabled())
"""
    assert python(code) == "False False"


FAULTS = """
import resource, sys
import numpy as np
from exactkeras.startup import keep_memory
if sys.argv[1:] == ["keep"]:
    assert keep_memory()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    kept = [np.ones(2**18, np.float32) for _ in range(20)]
    del kept
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only GNU's C library has the setting")
def test_memory_that_is_kept_is_not_cleared_again() -> None:
    def faults(*arguments: str) -> int:
        command = [sys.executable, "-c", FAULTS, *arguments]
        return int(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)

    assert faults("keep") < 0.2 * faults()


LIMITED = """
import resource
from dvcproof.runtime.program import run
from exactkeras import startup
resource.setrlimit(resource.RLIMIT_AS, (2**31, resource.getrlimit(resource.RLIMIT_AS)[1]))
run(startup.require_address_space)
"""


def test_a_shell_that_limits_memory_is_named() -> None:
    """Otherwise a library ends the process with `pthread_create failed`, or without a word."""
    command = [sys.executable, "-c", LIMITED]
    line = refused_by(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False))
    assert "expected a limit of at least 2621440 (`ulimit -v`). Got 2097152. Run `ulimit -v unlimited`" in line
    free = LIMITED.replace("(2**31,", "(2**33,")
    assert subprocess.run([sys.executable, "-c", free], cwd=ROOT, check=False).returncode == 0
