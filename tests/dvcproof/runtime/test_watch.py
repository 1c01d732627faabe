"""An input that changes during a run is refused before any output is written; harmless changes are accepted."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from digits.params import read_params
from dvcproof.runtime import watch as inputs
from dvcproof.runtime.files import replacing
from dvcproof.runtime.program import InputError
from tests.support.arrays import snapshot

LARGE = b"x" * (inputs.SMALL + 1)
PARAMS = "load:\n  source: here\n  test_size: 0\n  transpose: auto\ntrain:\n  model: dense\nclass_names: null\n"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return a folder with inputs, and an output folder with an earlier output."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "result").write_text("earlier")
    (tmp_path / "small").write_bytes(b"content")
    (tmp_path / "large").write_bytes(LARGE)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a").touch()
    (tmp_path / "params.yaml").write_text(PARAMS)
    return tmp_path


def work(place: Path, during: Callable[[Path], object]) -> None:
    """Read all inputs, call `during`, and write a result."""
    with inputs.watch():
        for name in ("small", "large", "folder", "absent"):
            inputs.see_file(place / name)
        read_params(place / "params.yaml", "load", "class_names")
        with replacing(place / "out" / "result") as (file,):
            file.write_text("new")
            during(place)


def rewrite(path: Path, content: bytes) -> None:
    """Edit a file in place and set its date back."""
    before = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace(path: Path, content: bytes) -> None:
    """Put another file of the same date in its place."""
    other = path.with_name("other")
    other.write_bytes(content)
    shutil.copystat(path, other)
    other.replace(path)


def edit_params(place: Path, old: str, new: str) -> None:
    path = place / "params.yaml"
    path.write_text(PARAMS.replace(old, new))


CHANGES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "a byte of a small file, its date set back": ("small", lambda place: rewrite(place / "small", b"Content")),
    "another small file of the same size": ("small", lambda place: replace(place / "small", b"Content")),
    "a small file is gone": ("small", lambda place: (place / "small").unlink()),
    "a byte of a large file, its date set back": ("large", lambda place: rewrite(place / "large", b"y" + LARGE[1:])),
    "another large file of the same size": ("large", lambda place: replace(place / "large", b"y" + LARGE[1:])),
    "a large file is cut short": ("large", lambda place: os.truncate(place / "large", 5)),
    "a large file becomes a small one": ("large", lambda place: replace(place / "large", b"small")),
    "a new name in a folder": ("folder", lambda place: (place / "folder" / "b").touch()),
    "a file that was not there": ("absent", lambda place: (place / "absent").touch()),
    "a parameter": ("'load' in ", lambda place: edit_params(place, "here", "there")),
    "a value that sections share": ("'class_names' in ", lambda place: edit_params(place, "null", "[a]")),
    "a section is gone": ("'load' in ", lambda place: edit_params(place, PARAMS[: PARAMS.index("train")], "")),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_refused_and_nothing_written(place: Path, change: str) -> None:
    name, during = CHANGES[change]
    with pytest.raises(
        InputError, match=r"expected no change while it is used\. Got a change, so nothing was"
    ) as caught:
        work(place, during)
    assert name in str(caught.value).partition(":")[0]
    assert snapshot(place / "out") == {"result": b"earlier"}
    assert [path.name for path in (place / "out").iterdir()] == ["result"]


HARMLESS: dict[str, Callable[[Path], object]] = {
    "nothing": lambda place: place,
    "a small file written again": lambda place: (place / "small").write_bytes(b"content"),
    "a file that nobody reads": lambda place: (place / "other").touch(),
    "another section": lambda place: edit_params(place, "dense", "convnet"),
    "a comment among the parameters": lambda place: edit_params(place, "train:", "# why\ntrain:"),
}


@pytest.mark.parametrize("change", HARMLESS)
def test_what_does_not_matter_is_no_change(place: Path, change: str) -> None:
    work(place, HARMLESS[change])
    assert snapshot(place / "out") == {"result": b"new"}


def test_the_first_sight_counts(place: Path) -> None:
    """A file that is opened again after a change differs from the file that was read first."""

    def again(place: Path) -> None:
        edit_params(place, "here", "there")
        rewrite(place / "large", b"y" + LARGE[1:])
        inputs.see_file(place / "large")
        read_params(place / "params.yaml", "load", "class_names")

    with pytest.raises(InputError, match=r"large: expected no change"):
        work(place, again)


def test_without_a_watch_nothing_is_refused(place: Path) -> None:
    inputs.see_file(place / "small")
    read_params(place / "params.yaml", "load", "class_names")
    with replacing(place / "out" / "result") as (file,):
        file.write_text("new")
        rewrite(place / "small", b"Content")
    assert snapshot(place / "out") == {"result": b"new"}


# Code


@pytest.mark.parametrize("imported", ["before", "after", "never"])
def test_code_counts_if_it_is_imported(place: Path, monkeypatch: pytest.MonkeyPatch, imported: str) -> None:
    """Some modules are imported late, so that an edit before the import counts too."""
    module = place / "package" / "late.py"
    module.parent.mkdir()
    (module.parent / "__init__.py").touch()
    module.write_text("A = 1\n")
    loaded = ModuleType("late")
    loaded.__file__ = str(module)
    with inputs.watch():
        inputs.see_code(place)
        if imported == "before":
            monkeypatch.setitem(sys.modules, "late", loaded)
        module.write_text("A = 2\n")
        if imported == "after":
            monkeypatch.setitem(sys.modules, "late", loaded)
        if imported == "never":
            inputs.require_unchanged()
        else:
            with pytest.raises(InputError, match=r"late\.py: expected no change"):
                inputs.require_unchanged()


def test_code_counts_by_whatever_link_it_is_imported(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = place / "package" / "module.py"
    module.parent.mkdir()
    (module.parent / "__init__.py").touch()
    module.write_text("A = 1\n")
    (place / "link").symlink_to(module.parent)
    loaded = ModuleType("module")
    loaded.__file__ = str(place / "link" / "module.py")
    monkeypatch.setitem(sys.modules, "module", loaded)
    with inputs.watch() as seen:
        inputs.see_code(place)
        assert seen.imported() == {str(module): inputs.identity(module.stat())}
