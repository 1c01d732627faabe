"""Check that the machine has what DVC assumes: a home folder, and a writable folder for DVC's site cache."""

import os
from pathlib import Path

from dvcproof.runtime.program import InputError

#: The default folder of DVC's site cache: notes on files that DVC has read.
NOTES = Path("/var/tmp/dvc")  # noqa: S108 # DVC's default


def require_surroundings(root: Path) -> None:
    """Raise InputError if there is no home folder, or DVC's site cache is not writable."""
    try:
        home = Path.home()
    except RuntimeError:
        hint = 'Run `export HOME="$PWD/.venv"`, or use `make`, which does.'
        raise InputError("HOME", "it is not set, and the system lists no home for this user", hint=hint) from None
    named = os.environ.get("DVC_SITE_CACHE_DIR")
    notes = Path(named or NOTES)
    above = next(path for path in (notes, *notes.absolute().parents) if path.exists())
    settings = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config", "dvc", "config")
    files = [] if named else [root / ".dvc" / "config", root / ".dvc" / "config.local", settings]
    configured = any("site_cache_dir" in path.read_text(errors="replace") for path in files if path.is_file())
    if not os.access(above, os.W_OK) and not configured:
        hint = 'Name another folder: `export DVC_SITE_CACHE_DIR="$PWD/.dvc/tmp/site"`.'
        raise InputError(str(above), "DVC keeps notes there, but cannot write to it", hint=hint)
