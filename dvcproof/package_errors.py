"""Explain which packages differ from the lock file, and how to repair that. No stage depends on this module."""

import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from dvcproof.runtime.packages import Fault
from dvcproof.runtime.program import InputError


def other_packages(lock: Path, faults: Sequence[Fault], pins: int) -> InputError:
    """Return the InputError for a Python whose packages differ from a lock file.

    Args:
        pins: the number of packages in the lock file.
    """
    first = next((fault for fault in faults if fault.place), faults[0])
    more = f" and {len(faults) - 1} more" if len(faults) > 1 else ""
    foreign = sum(not fault.place for fault in faults) > pins / 2  # a Python that was not set up for this project
    return InputError(
        f"package {first.name}{more} for {sys.executable}",
        expected=f"{first.expected}, as in {lock}",
        received=first.received + (f" in {first.place}" if first.place else ""),
        hint=_cure(lock, faults, first, foreign=foreign),
    )


def _cure(lock: Path, faults: Sequence[Fault], first: Fault, *, foreign: bool) -> str:
    install = f"-m pip install --require-hashes -r {shlex.quote(str(lock))}`."
    if first.place in map(os.path.abspath, filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))):
        return "Run `unset PYTHONPATH`."
    if first.cure == "move":
        return f"Rename the module in {first.place}."
    if foreign or sys.prefix == sys.base_prefix:
        return _setting(lock, "python") or f"Activate the project's virtual environment, or run `python {install}"
    if any(fault.cure == "renew" for fault in faults) or find_spec("pip") is None:
        return _setting(lock, "renew") or f"Make a new virtual environment, and in it run `python {install}"
    return f"Run `{shlex.quote(sys.executable)} {install}"


def _setting(lock: Path, name: str) -> str:
    """Return a hint from the table [tool.dvcproof] beside the lock file; '' without one. Read it without packages."""
    with suppress(ImportError, OSError, ValueError, LookupError, TypeError):
        import tomllib

        text = lock.with_name("pyproject.toml").read_text(encoding="utf-8")
        return str(tomllib.loads(text)["tool"]["dvcproof"][name])
    return ""
