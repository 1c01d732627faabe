"""The processor of this machine, and the cores that this process may use."""

import os
import platform
from pathlib import Path

from dvcproof.runtime.program import InputError

CPUINFO = Path("/proc/cpuinfo")


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def is_x86_64() -> bool:
    """Return whether this is an x86-64 machine."""
    return platform.machine().lower() in ("x86_64", "amd64")


def cpu_name() -> str:
    """Return the processor's name from Linux, or from Python where Linux reports none."""
    return _cpuinfo("model name") or platform.processor()


def kind() -> str:
    """Return the kind of this machine, as 'amd-25-17-2-cores': maker, family and model of the processor, usable cores.

    Machines of the same kind take about the same time for the same work. The text can serve as a file name.
    """
    maker = _cpuinfo("vendor_id") or _cpuinfo("CPU implementer") or platform.machine()
    model = (_cpuinfo("cpu family"), _cpuinfo("model\t")) if _cpuinfo("vendor_id") else (_cpuinfo("CPU part"),)
    known = {"AuthenticAMD": "amd", "GenuineIntel": "intel"}
    return "-".join([known.get(maker, maker.lower()), *filter(None, model), str(cores()), "cores"])


def cpu_flags() -> list[str]:
    """Return the processor's features, sorted, with Linux's names. Empty if Linux reports none."""
    return sorted(_cpuinfo("flags").split())


def require_avx() -> None:
    """Raise InputError for an x86-64 processor without AVX: TensorFlow or NumPy would crash without a message."""
    flags = cpu_flags()
    if flags and is_x86_64() and "avx" not in flags:
        raise InputError(
            "the processor",
            expected="AVX, which the packages of TensorFlow use on x86-64",
            received=f"{cpu_name() or 'one'} without it",
            hint="If it is virtual, give it the host's flags (QEMU: -cpu host); else use another machine.",
        )


def _cpuinfo(field: str) -> str:
    """Return the first value of a field in /proc/cpuinfo, or an empty string."""
    try:
        with CPUINFO.open(encoding="utf-8") as lines:  # stops at the first match: each further core costs time
            return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(field)), "")
    except OSError:
        return ""
