"""The machine that runs this: its processor and the cores that this process may use."""

import os
import platform
from pathlib import Path


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def is_x86_64() -> bool:
    """Whether this is an x86-64 machine."""
    return platform.machine().lower() in ("x86_64", "amd64")


def cpu_name() -> str:
    """The processor's name as Linux reports it, else as Python does."""
    return _cpuinfo("model name") or platform.processor()


def cpu_flags() -> list[str]:
    """The processor's features as Linux names them, sorted. Empty where Linux does not report them."""
    return sorted(_cpuinfo("flags").split())


def _cpuinfo(field: str) -> str:
    """The first value of a field in /proc/cpuinfo, or nothing."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(field)), "")
