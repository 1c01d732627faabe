"""Run a module if the installed packages are those of a lock file. Other packages may give other bytes.

The module's inputs must not change until its results are written.

python -m dvcproof.runtime.run requirements.lock stages.load --params params.yaml --out data/raw
"""

import argparse
import json
import os
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

from dvcproof.runtime import watch
from dvcproof.runtime.files import replacing
from dvcproof.runtime.packages import find_faults, none_of_them, read_pins
from dvcproof.runtime.program import run


def require_packages(lock: Path, holds: Callable[[str], bool] = none_of_them) -> None:
    """Raise InputError if a package of a lock file is missing, has another version or source, or is hidden.

    Args:
        holds: a function that returns whether a marker in the lock file holds on this machine.
    """
    pins = read_pins(lock)
    faults = find_faults(pins, sys.path, holds)
    if faults:
        from dvcproof.package_errors import other_packages

        raise other_packages(lock, faults, len(pins))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m dvcproof.runtime.run", description=__doc__)
    parser.add_argument("lock", type=Path, help="the lock file: packages with versions")
    parser.add_argument("module", help="the module to run")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="the arguments of the module")
    args = parser.parse_args()
    sys.argv[1:] = args.arguments
    with watch.watch() as seen:
        watch.see_file(args.lock)
        watch.see_code(Path(__file__).parents[2])
        require_packages(args.lock)
        try:
            runpy.run_module(args.module, run_name="__main__", alter_sys=True)
        except SystemExit as end:
            if end.code:
                raise
    # Note what this stage has read. DVC hashes the inputs only after the stage; `dvcproof.doctor` compares both.
    root, stage = os.environ.get("DVC_ROOT"), os.environ.get("DVC_STAGE")
    if root and stage:
        with replacing(Path(root, watch.RECORDS, f"{Path(stage).name}.json")) as (file,):
            file.write_text(json.dumps(seen.record(Path(root))), encoding="utf-8")


if __name__ == "__main__":
    run(main)
