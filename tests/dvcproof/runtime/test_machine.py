"""The machine: the cores that a process may use, and the processor as the system reports it."""

import platform
import shutil
import signal
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from dvcproof.runtime import machine
from dvcproof.runtime.program import InputError
from tests.support.project import AT_ROOT, run
from tests.support.refusal import one_line

CPUINFO = """processor\t: 0
model name\t: A Processor: 2.0 GHz
flags\t\t: sse2 fma avx2

processor\t: 1
model name\t: Another
flags\t\t: none
"""


@pytest.fixture
def cpuinfo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a path that replaces /proc/cpuinfo; no file is there yet."""
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "cpuinfo")
    return machine.CPUINFO


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("vendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\n", "amd-25-17"),
        ("vendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 143\nmodel name\t: Xeon\n", "intel-6-143"),
        ("processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n", "0x41-0xd0c"),
        ("", platform.machine().lower()),
    ],
)
def test_machines_of_a_kind_have_one_name(cpuinfo: Path, text: str, kind: str) -> None:
    cpuinfo.write_text(text)
    assert machine.kind() == f"{kind}-{machine.cores()}-cores"


@pytest.mark.parametrize("text", [None, "", "processor : 0\n"])
def test_a_system_that_reports_nothing_has_no_flags(
    cpuinfo: Path, monkeypatch: pytest.MonkeyPatch, text: str | None
) -> None:
    if text is not None:
        cpuinfo.write_text(text)
    monkeypatch.setattr("platform.processor", lambda: "as Python names it")
    assert machine.cpu_flags() == []
    assert machine.cpu_name() == "as Python names it"
    machine.require_avx()  # a system that reports no flags may have AVX


@pytest.mark.parametrize(("name", "refused"), [("x86_64", True), ("aarch64", False)])
def test_only_x86_64_needs_avx(cpuinfo: Path, monkeypatch: pytest.MonkeyPatch, *, name: str, refused: bool) -> None:
    monkeypatch.setattr("platform.machine", lambda: name)
    cpuinfo.write_text(CPUINFO.replace("avx2", "avx avx2"))
    machine.require_avx()
    assert machine.cpu_flags() == ["avx", "avx2", "fma", "sse2"]
    cpuinfo.write_text(CPUINFO.replace(" avx2", ""))
    with pytest.raises(InputError, match=r"AVX, .* Got A Processor") if refused else nullcontext():
        machine.require_avx()


EVERY_ROOM = ["stages.load", "stages.train", "digits predict", "digits.params"]


@pytest.mark.fast(2)
@pytest.mark.skipif(not machine.is_x86_64(), reason="this processor is not of x86-64")
@pytest.mark.parametrize("program", EVERY_ROOM)
def test_without_avx_every_program_says_it(tmp_path: Path, program: str) -> None:
    """In a namespace, /proc/cpuinfo has no AVX. Programs must check this before they import NumPy."""
    if run("unshare", "-rm", "mount", "--bind", "/proc/version", "/proc/cpuinfo", cwd=tmp_path).returncode:
        pytest.skip("no namespace of its own is allowed here")
    (tmp_path / "cpuinfo").write_text(CPUINFO.replace(" avx2", ""))
    emulator = shutil.which("qemu-x86_64")
    # kvm64 is the default of some hypervisors; NumPy crashes on it. Without the emulator, only the message is tested.
    python = f"{emulator} -cpu kvm64 {sys.executable}" if emulator else sys.executable
    shell = f"mount --bind cpuinfo /proc/cpuinfo && exec {python} -m {program} --help"
    result = run("unshare", "-rm", "sh", "-c", shell, cwd=tmp_path, env=AT_ROOT)
    line = [line for line in result.stderr.splitlines() if not line.startswith("qemu-x86_64: warning: ")]
    assert (result.returncode, result.stdout) == (1, "")
    assert one_line("\n".join(line)).startswith("ERROR: the processor: expected AVX")


@pytest.mark.skipif(shutil.which("qemu-x86_64") is None, reason="qemu-user is not installed")
@pytest.mark.skipif(not machine.is_x86_64(), reason="this processor is not of x86-64")
def test_numpy_dies_on_a_processor_without_ssse3(tmp_path: Path) -> None:
    """The negative control: the reason why each package checks the processor first."""
    result = run("qemu-x86_64", "-cpu", "kvm64", sys.executable, "-c", "import numpy", cwd=tmp_path)
    assert result.returncode == -signal.SIGILL
