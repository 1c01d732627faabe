"""Explain which packages differ from the lock file, and how to repair that. No stage depends on this module."""

import os
import shlex
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from dvcproof.runtime.packages import Fault
from dvcproof.runtime.program import InputError

#: The next step if the whole virtual environment must be made again.
RENEW = "Run `make clean repro`: it sets up .venv from nothing."


def other_packages(lock: Path, faults: Sequence[Fault], pins: int) -> InputError:
    """Return the InputError for a Python whose packages differ from a lock file.

    Args:
        pins: the number of packages in the lock file.
    """
    first = next((fault for fault in faults if fault.place), faults[0])
    place = f" in {first.place}" if first.place else ""
    more = f", and of {len(faults) - 1} more" if len(faults) > 1 else ""
    foreign = sum(not fault.place for fault in faults) > pins / 2  # a Python that was not set up for this project
    return InputError(
        f"package {first.name}{more} for {sys.executable}",
        expected=f"{first.expected}, as in {lock}",
        received=first.received + place,
        hint=_cure(lock, faults, first, foreign=foreign),
    )


def _cure(lock: Path, faults: Sequence[Fault], first: Fault, *, foreign: bool) -> str:
    if first.place in map(os.path.abspath, filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))):
        return "Run `unset PYTHONPATH`."
    if first.cure == "move":
        return f"Rename the module in {first.place}."
    if foreign or sys.prefix == sys.base_prefix:
        return "Run `make repro`, which uses the Python in .venv. If this is that Python, run `make clean repro`."
    if any(fault.cure == "renew" for fault in faults) or find_spec("pip") is None:
        return RENEW
    return f"Run `{shlex.quote(sys.executable)} -m pip install --require-hashes -r {shlex.quote(str(lock))}`."
