"""The project with its real stages, on a small sample of the data."""

import shutil
from pathlib import Path

from bench.faults.toy import ROOT
from bench.processors import make_sample


def write(path: Path) -> None:
    """Write the files of the project; nothing has run yet."""
    make_sample(ROOT, path)
    for name in (".gitignore", ".dvcignore", "data/.gitignore", "data/raw/.gitignore", "data/prepared/.gitignore"):
        (path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, path / name)
    for package in ("stages", "digits", "exactkeras", "dvcproof"):
        shutil.copytree(ROOT / package, path / package, ignore=shutil.ignore_patterns("__pycache__"))
