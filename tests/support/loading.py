"""The stage `load`, run in this process: what it writes, and that a refusal changes nothing."""

from pathlib import Path

from digits.sources.arrays import NPZ_NAMES
from digits.sources.rows import NAMES
from stages import load
from tests.support.arrays import snapshot, write_load_params
from tests.support.refusal import refusal

#: The arrays that `load` writes, each with Keras's name for it.
KEYS = dict(zip(NAMES, NPZ_NAMES, strict=True))

#: All that `load` writes.
OUTPUTS = {*(f"{name}.npy" for name in NAMES), "dataset.json"}


def run_load(folder: Path, source: str | Path) -> dict[str, bytes]:
    """Load a data set, and give back the files that are written."""
    load.load(str(source), folder / "out", test_size=0)
    return snapshot(folder / "out")


def refused(folder: Path, source: str | Path) -> str:
    """Refuse a data set, and leave earlier outputs as they are and nothing else behind. Gives back the line."""
    out = folder / "out"
    out.mkdir()
    earlier = {name: f"earlier {name}".encode() for name in OUTPUTS}
    for name, content in earlier.items():
        (out / name).write_bytes(content)
    line = refusal(load.main, "--params", write_load_params(folder, source), "--out", out)
    assert snapshot(out) == earlier
    return line
