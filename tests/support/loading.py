"""Run the stage `load` in this process, and check that a refusal changes nothing."""

from pathlib import Path

from digits.sources.arrays import NPZ_NAMES
from stages import load
from stages.load import NAMES
from tests.support.arrays import snapshot, write_load_params
from tests.support.refusal import refusal

#: The arrays that `load` writes, with Keras's names for them.
KEYS = dict(zip(NAMES, NPZ_NAMES, strict=True))

#: The files that `load` writes.
OUTPUTS = {*(f"{name}.npy" for name in NAMES), "dataset.json"}


def run_load(folder: Path, source: str | Path) -> dict[str, bytes]:
    """Load a data set, and return the written files."""
    load.load(str(source), folder / "out", test_size=0)
    return snapshot(folder / "out")


def refused(folder: Path, source: str | Path) -> str:
    """Check that a data set is refused and earlier outputs stay unchanged, and return the error line."""
    out = folder / "out"
    out.mkdir()
    earlier = {name: f"earlier {name}".encode() for name in OUTPUTS}
    for name, content in earlier.items():
        (out / name).write_bytes(content)
    line = refusal(load.main, "--params", write_load_params(folder, source), "--out", out)
    assert snapshot(out) == earlier
    return line
