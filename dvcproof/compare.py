"""Describe in words where two files first differ and by how much, for several kinds of files."""

import io
import json
import zipfile
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvcproof.values import flatten

if TYPE_CHECKING:
    from numpy.typing import NDArray


def first_difference(name: str, recorded: Path, rerun: Path) -> str:
    """Return one line about the first difference of two versions of a file.

    The suffix of `name` decides how the files are read. Files of other kinds, or files that cannot be read as their
    kind, are compared byte by byte. Example: 'first at [3, 7], 0.25 recorded, 0.26 re-run; 2 of 10 values differ'.
    """
    try:
        if name.endswith(".npy"):
            import numpy as np

            # Memory-mapped, since feature files are large.
            found = arrays_differ(*(np.load(path, mmap_mode="r", allow_pickle=False) for path in (recorded, rerun)))
            return found or _bytes(recorded.read_bytes(), rerun.read_bytes())
    except (ImportError, ValueError, EOFError):
        pass
    return contents_differ(name, recorded.read_bytes(), rerun.read_bytes())


def contents_differ(name: str, recorded: bytes, rerun: bytes) -> str:
    """Return the same line as `first_difference`, for contents in memory."""
    readers = {".keras": _keras, ".h5": _weights, ".json": _json} | dict.fromkeys(
        (".csv", ".tsv", ".txt", ".md"), _lines
    )
    reader = readers.get(Path(name).suffix, _bytes)
    try:
        found = reader(recorded, rerun)
    except (ImportError, ValueError, OSError, KeyError, zipfile.BadZipFile):
        found = ""
    return found or _bytes(recorded, rerun)


def arrays_differ(recorded: "NDArray[Any]", rerun: "NDArray[Any]") -> str:
    """Return a text about the first difference in type, shape or bits of two arrays; empty if they are equal."""
    import numpy as np

    forms = [f"{array.dtype} {list(array.shape)}" for array in (recorded, rerun)]
    if forms[0] != forms[1]:
        return f"{forms[0]} recorded, {forms[1]} re-run"
    old, new = (np.ascontiguousarray(array).reshape(-1) for array in (recorded, rerun))
    if old.dtype.kind == "f":
        where = np.flatnonzero(old.view(f"u{old.itemsize}") != new.view(f"u{new.itemsize}"))  # so that NaN equals NaN
    else:
        where = np.flatnonzero(old != new)
    if not len(where):
        return ""
    index = [int(i) for i in np.unravel_index(where[0], recorded.shape)]
    line = (
        f"first at {index}, {old[where[0]]} recorded, {new[where[0]]} re-run; {len(where)} of {len(old)} values differ"
    )
    if old.dtype.kind in "fiu":
        with np.errstate(invalid="ignore"):
            line += f", by at most {np.abs(old[where].astype('f8') - new[where].astype('f8')).max():.3g}"
    return line


def _bytes(recorded: bytes, rerun: bytes) -> str:
    shorter, block = min(len(recorded), len(rerun)), 2**16
    start = next(
        (at for at in range(0, shorter, block) if recorded[at : at + block] != rerun[at : at + block]), shorter
    )
    first = next((at for at in range(start, min(start + block, shorter)) if recorded[at] != rerun[at]), shorter)
    sizes = "" if len(recorded) == len(rerun) else f"; {len(recorded)} bytes recorded, {len(rerun)} re-run"
    return f"first differing byte at {first}{sizes}"


def _keras(recorded: bytes, rerun: bytes) -> str:
    with zipfile.ZipFile(io.BytesIO(recorded)) as old, zipfile.ZipFile(io.BytesIO(rerun)) as new:
        if old.namelist() != new.namelist():
            return f"entries {', '.join(old.namelist())} recorded, {', '.join(new.namelist())} re-run"
        found = [
            f"{name}: {contents_differ(name, old.read(name), new.read(name))}"
            for name in old.namelist()
            if old.read(name) != new.read(name)
        ]
    return "; ".join(found) or "equal contents in another archive (dates or order of its entries)"


def _weights(recorded: bytes, rerun: bytes) -> str:
    import h5py
    import numpy as np

    with h5py.File(io.BytesIO(recorded)) as old, h5py.File(io.BytesIO(rerun)) as new:
        arrays: dict[str, NDArray[Any]] = {}
        old.visititems(lambda name, item: arrays.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
        found = {
            name: arrays_differ(np.asarray(array), np.asarray(new[name][()])) if name in new else "gone in the re-run"
            for name, array in arrays.items()
        }
    return "; ".join(f"weights {name} {text}" for name, text in found.items() if text)


def _json(recorded: bytes, rerun: bytes) -> str:
    old, new = (flatten(json.loads(content), lists=True) for content in (recorded, rerun))
    shown = [{key: json.dumps(value) for key, value in found.items()} for found in (old, new)]
    differing = [key for key in {**old, **new} if shown[0].get(key) != shown[1].get(key)]
    if not differing:
        return ""
    # Show empty lists and mappings last: if one was filled, its new values tell more.
    key = min(differing, key=lambda key: {**old, **new}[key] in ({}, []))
    return "{}: {} recorded, {} re-run".format(key or "the whole", *(found.get(key, "nothing") for found in shown))


def _lines(recorded: bytes, rerun: bytes) -> str:
    pairs = zip_longest(*(content.decode().splitlines() for content in (recorded, rerun)), fillvalue="nothing")
    for number, (old, new) in enumerate(pairs, start=1):
        if old != new:
            return f"line {number}: {old} recorded, {new} re-run"
    return ""
