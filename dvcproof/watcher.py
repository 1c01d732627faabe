"""Run one command of a stage, and fail if a declared input of the stage changes meanwhile. DVC uses this as its shell.

watcher.py FOLDER SHELL [OPTION ...] -c COMMAND

DVC hashes the dependencies only after a stage has ended, so it records a file that changed during the run as if the
stage had read the new content (treeverse/dvc#11058). DVC records nothing for a stage that fails.
"""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

#: The exit status of a stage whose inputs changed.
CHANGED = 97


def state(path: str) -> Any:
    """Return a value that changes when a file, or any file in a folder, changes."""
    from dvcproof.runtime.watch import fingerprint

    if not os.path.isdir(path):  # noqa: PTH112
        return fingerprint(Path(path))
    files = sorted(file for file in Path(path).rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    return [[str(file), fingerprint(file)] for file in files]


def main() -> int:
    folder, stage = Path(sys.argv[1]), os.environ.get("DVC_STAGE", "")
    inputs = json.loads((folder / "plan.json").read_text(encoding="utf-8")).get(stage, [])
    first = folder / f"{hashlib.sha256(stage.encode()).hexdigest()[:16]}.before"
    if not first.exists():  # only before the stage's first command
        first.write_text(json.dumps({path: state(path) for path in inputs}), encoding="utf-8")
    before = json.loads(first.read_text(encoding="utf-8"))
    status = subprocess.call(sys.argv[2:])
    if status != 0:
        return status if status > 0 else 128 - status
    changed = next((path for path in inputs if state(path) != before[path]), None)
    if changed:
        sys.stderr.write(f"ERROR: stage '{stage}': {changed} changed while it ran: not recorded. Run it again.\n")
    return CHANGED if changed else 0


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    sys.exit(main())
