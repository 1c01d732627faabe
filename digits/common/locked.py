"""Run a module if the packages are those of a lock file, else refuse: other packages may write other bytes.

What it reads must stay as it is until its results are written.

python -m digits.common.locked requirements.lock stages.load --params params.yaml --out data/raw
"""

import argparse
import json
import os
import runpy
import shlex
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from digits.common import inputs
from digits.common.cli import InputError, run
from digits.common.files import replacing
from digits.common.packages import Fault, find_faults, none_of_them, read_pins

#: The whole virtual environment again.
RENEW = "Run `make clean repro`: it sets up .venv from nothing."


def require_packages(lock: Path, holds: Callable[[str], bool] = none_of_them) -> None:
    """Refuse to go on with other packages than those of a lock file.

    Args:
        lock: the file.
        holds: whether a marker of it holds on this machine.

    Raises:
        InputError: a package is missing, of another version, from elsewhere, or hidden; or the lock is damaged.
    """
    pins = read_pins(lock)
    faults = find_faults(pins, sys.path, holds)
    if faults:
        first = next((fault for fault in faults if fault.place), faults[0])
        place = f" in {first.place}" if first.place else ""
        more = f", and of {len(faults) - 1} more" if len(faults) > 1 else ""
        raise InputError(
            f"package {first.name}{more} for {sys.executable}",
            expected=f"{first.expected}, as in {lock}",
            received=first.received + place,
            hint=_cure(lock, faults, first, foreign=sum(not fault.place for fault in faults) > len(pins) / 2),
        )


def _cure(lock: Path, faults: Sequence[Fault], first: Fault, *, foreign: bool) -> str:
    """The next step. A Python without most of the packages is none that was set up for this."""
    if first.place in map(os.path.abspath, filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))):
        return "Run `unset PYTHONPATH`."
    if first.cure == "move":
        return f"Rename the module in {first.place}."
    if foreign or sys.prefix == sys.base_prefix:
        return "Run `make repro`, which uses the Python in .venv; if this is it, `make clean repro`."
    if any(fault.cure == "renew" for fault in faults) or find_spec("pip") is None:
        return RENEW
    return f"Run `{shlex.quote(sys.executable)} -m pip install --require-hashes -r {shlex.quote(str(lock))}`."


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m digits.common.locked", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("lock", type=Path, help="the list of packages, with versions")
    parser.add_argument("module", help="what to run")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="its own")
    args = parser.parse_args()
    sys.argv[1:] = args.arguments
    with inputs.watch() as seen:
        inputs.see_file(args.lock)
        inputs.see_code(Path(__file__).parents[2], *(name.partition(".")[0] for name in (__package__, args.module)))
        require_packages(args.lock)
        _run(args.module)
    _record(seen)


def _run(module: str) -> None:
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code:
            raise


def _record(seen: inputs.Inputs) -> None:
    """Leave word of what a stage of DVC has read. DVC hashes it only now: `digits.verify.doctor` compares."""
    root, stage = os.environ.get("DVC_ROOT"), os.environ.get("DVC_STAGE")
    if root and stage:
        with replacing(Path(root, inputs.RECORDS, f"{Path(stage).name}.json")) as (file,):
            file.write_text(json.dumps(seen.record(Path(root))), encoding="utf-8")


if __name__ == "__main__":
    run(main)
