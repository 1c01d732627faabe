"""Equal results give equal bytes, in a fixed form of JSON and CSV; outputs appear all together or not at all."""

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from dvcproof.runtime.files import clear_rooms, file_hash, read_csv, replacing, require_room, write_csv, write_json
from dvcproof.runtime.program import InputError
from tests.support.arrays import snapshot
from tests.support.namespace import has_namespaces, in_namespace
from tests.support.project import AT_ROOT, ROOT, environment, run_ok


def test_json_has_one_form(tmp_path: Path) -> None:
    content = {"z": 1 / 3, "a": [1, 2.0, (0.1 + 0.2, None)], "nested": {"true": True, "text": "é\n"}}
    write_json(tmp_path / "a.json", content)
    assert (tmp_path / "a.json").read_bytes() == (
        b'{\n  "z": 0.333333,\n  "a": [\n    1,\n    2.0,\n    [\n      0.3,\n      null\n    ]\n  ],\n'
        b'  "nested": {\n    "true": true,\n    "text": "\\u00e9\\n"\n  }\n}\n'
    )


def test_csv_has_one_form(tmp_path: Path) -> None:
    rows = [(0, 2 / 3, "a, b"), (np.int32(1), np.float64(1e-7), 'say "é"')]
    write_csv(tmp_path / "a.csv", ["row", "value", "text"], rows)
    expected = 'row,value,text\n0,0.666667,"a, b"\n1,0.0,"say ""é"""\n'
    assert (tmp_path / "a.csv").read_bytes() == expected.encode()


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.1 + 0.2, "0.3"),
        (0.9999996, "1.0"),
        (0.0000005, "0.0"),
        (0.0000015, "2e-06"),
        (12345678.9, "12345678.9"),
        (7, "7"),
        (-1e-9, "0.0"),
        (-0.0, "0.0"),
    ],
)
def test_floats_are_rounded_to_six_decimals(tmp_path: Path, value: float, shown: str) -> None:
    write_json(tmp_path / "a.json", value)
    write_csv(tmp_path / "a.csv", ["x"], [[value]])
    assert (tmp_path / "a.json").read_text() == f"{shown}\n"
    assert (tmp_path / "a.csv").read_text() == f"x\n{shown}\n"


def test_a_csv_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", ["a", "b"], [(1, "x\ny"), (2.5, "é,")])
    assert read_csv(tmp_path / "a.csv") == [{"a": "1", "b": "x\ny"}, {"a": "2.5", "b": "é,"}]
    write_csv(tmp_path / "a.csv", ["a", "b"], [])
    assert read_csv(tmp_path / "a.csv") == []


@pytest.mark.parametrize(
    "content", [b"a\n\xff\n", b'a\n"never closed\n', b'a\n"x"y\n', b"a,b\n1\n", b"a,b\n1,2,3\n", b"a,a\n1,2\n"]
)
def test_a_damaged_csv_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(
        InputError, match=r"a\.csv: expected a CSV file\. Got a damaged file \(.*\)\. Run `dvc repro`\."
    ):
        read_csv(tmp_path / "a.csv")


def test_the_hash_of_a_file_is_that_of_its_content(tmp_path: Path) -> None:
    content = bytes(range(256)) * 5000  # more bytes than one read takes
    (tmp_path / "a").write_bytes(content)
    assert file_hash(tmp_path / "a") == hashlib.sha256(content).hexdigest()
    assert file_hash(tmp_path / "a", "md5") == hashlib.md5(content, usedforsecurity=False).hexdigest()
    (tmp_path / "a").write_bytes(content[:-1])
    assert file_hash(tmp_path / "a") == hashlib.sha256(content[:-1]).hexdigest()


# All outputs, or no output


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with two earlier outputs; the third does not exist yet."""
    folder = tmp_path / "out"
    folder.mkdir()
    for name in ("a.txt", "b.txt"):
        (folder / name).write_text(f"earlier {name}")
    return folder


NAMES = ("a.txt", "c.txt", "b.txt")  # the new file is between the two, so that renames before and after it fail


def write_all(folder: Path) -> None:
    with replacing(*(folder / name for name in NAMES)) as files:
        for file in files:
            file.write_text("new")


@pytest.mark.parametrize(
    "error", [InputError("a", expected="b", received="c", hint="d"), OSError(28, "full"), SystemExit(1)]
)
def test_an_error_while_writing_changes_nothing(folder: Path, error: BaseException) -> None:
    def write_half() -> None:
        with replacing(*(folder / name for name in NAMES)) as files:
            files[0].write_text("half")
            raise error

    before = snapshot(folder)
    with pytest.raises(type(error), match=re.escape(str(error))):
        write_half()
    assert snapshot(folder) == before


def break_rename(monkeypatch: pytest.MonkeyPatch, number: int, error: BaseException) -> None:
    """Let the rename with this number fail, once."""
    original, calls = Path.replace, iter(range(1, 100))

    def replace(self: Path, target: Path) -> Path:
        if next(calls) == number:
            raise error
        return original(self, target)

    monkeypatch.setattr(Path, "replace", replace)


# There are three renames; five where the disk has no hard links, since two earlier files are moved aside first.
@pytest.mark.parametrize(
    ("number", "links"), [*((number, True) for number in (1, 2, 3)), *((n, False) for n in range(1, 6))]
)
@pytest.mark.parametrize("error", [OSError(5, "Input/output error", "a.txt"), KeyboardInterrupt()])
def test_an_error_while_renaming_changes_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, number: int, error: BaseException, *, links: bool
) -> None:
    before = snapshot(folder)
    if not links:
        monkeypatch.setattr(os, "link", mock.Mock(side_effect=PermissionError(1, "Operation not permitted")))
    break_rename(monkeypatch, number, error)
    with pytest.raises(type(error), match=r"^$|Input/output error"):
        write_all(folder)
    assert snapshot(folder) == before


def test_a_folder_is_replaced_whole_or_not_at_all(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write() -> None:
        with replacing(folder, folders=True) as (written,):
            written.mkdir()
            (written / "new.txt").write_text("new")

    before = snapshot(folder)
    with monkeypatch.context() as patch:
        break_rename(patch, 2, OSError(28, "No space left on device"))
        with pytest.raises(OSError, match="No space left"):
            write()
    assert snapshot(folder) == before
    write()
    assert snapshot(folder) == {"new.txt": b"new"}
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_there_are_no_more_renames_than_were_broken(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    break_rename(monkeypatch, 4, OSError(5, "Input/output error"))
    write_all(folder)
    assert snapshot(folder) == dict.fromkeys(NAMES, b"new")


@pytest.mark.parametrize(
    ("path", "match"),
    [
        ("a.txt/c.txt", r"a\.txt: expected a folder\. Got something else\. Move it away"),
        ("a.txt/deep/c.txt", r"deep: expected a folder\. Got something else\."),
        ("nowhere/c.txt", r"nowhere: expected a folder\. Got something else\."),
        ("folder.txt", r"folder\.txt: expected a file, or nothing yet\. Got a folder\."),
    ],
)
def test_what_stands_in_the_way_is_named_before_the_work_begins(folder: Path, path: str, match: str) -> None:
    (folder / "folder.txt").mkdir()
    (folder / "nowhere").symlink_to(folder / "missing")
    before = snapshot(folder)
    with pytest.raises(InputError, match=match), replacing(folder / "b.txt", folder / path):
        pytest.fail("the block was entered")
    with pytest.raises(InputError, match=match):
        require_room(1, folder / "b.txt", folder / path)
    assert snapshot(folder) == before


@pytest.mark.skipif(not has_namespaces(), reason="only in a mount namespace can a disk be small")
def test_a_disk_that_is_too_small_is_named_before_the_work_begins(tmp_path: Path) -> None:
    program = "from pathlib import Path; from dvcproof.runtime.files import require_room; "
    program += "require_room(2**15, Path('a')); print(*Path().iterdir()); require_room(2**17, Path('a'))"
    command = f'mount -t tmpfs -o size=64k tmpfs {tmp_path} && cd {tmp_path} && exec {sys.executable} -c "{program}"'
    result = in_namespace(command, cwd=tmp_path, env=AT_ROOT)
    assert (result.stdout, result.stderr.splitlines()[-1]) == ("\n", "OSError: [Errno 28] No space left on device: '.'")


def test_a_link_is_put_back_after_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "c.txt").symlink_to("missing")
    break_rename(monkeypatch, 3, OSError(5, "Input/output error"))
    with pytest.raises(OSError, match="Input/output error"):
        write_all(folder)
    assert (folder / "c.txt").readlink() == Path("missing")


@pytest.mark.parametrize("name", [None, "temporary"])
def test_an_error_of_the_disk_does_not_name_a_temporary_file(folder: Path, name: str | None) -> None:
    with pytest.raises(OSError, match="No space left") as caught, replacing(folder / "a.txt") as (file,):
        raise OSError(28, "No space left on device", *([str(file)] if name else []))
    assert caught.value.filename == str(folder)


# Left-over files of killed processes

WRITER = """
import sys
from pathlib import Path
from dvcproof.runtime.files import replacing
with replacing(Path(sys.argv[1])) as (file,):
    file.write_text("half")
    print("writing", flush=True)
    sys.stdin.read()
"""


def writer(path: Path) -> subprocess.Popen[str]:
    """Return a process that is writing `path`."""
    command = [sys.executable, "-c", WRITER, str(path)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment(**AT_ROOT)
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    return process


def rooms(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_dir()]


def test_what_a_killed_writer_left_is_cleared(folder: Path) -> None:
    before = snapshot(folder)
    with writer(folder / "a.txt") as process:
        process.kill()
    assert len(rooms(folder)) == 1
    assert snapshot(folder) == before
    with replacing(folder / "b.txt") as (file,):
        file.write_text("new")
        assert rooms(folder) == [file.parent]
    assert rooms(folder) == []


def test_what_another_process_still_writes_stays(folder: Path) -> None:
    with writer(folder / "a.txt") as process:
        assert clear_rooms(folder) == []
        with replacing(folder / "b.txt") as (file,):
            file.write_text("new")
        assert len(rooms(folder)) == 1
        process.communicate("")
    assert (folder / "a.txt").read_text() == "half"
    assert rooms(folder) == []


def test_only_our_own_folders_are_cleared(folder: Path) -> None:
    for name in (".writing-notes", ".writing-0123456g", "writing-01234567", ".writing-012345678"):
        (folder / name).mkdir()
    (folder / ".writing-01234567").symlink_to(folder / ".writing-notes")
    assert clear_rooms(folder) == []
    assert len(rooms(folder)) == 5


def test_git_does_not_see_what_a_killed_writer_left(tmp_path: Path) -> None:
    run_ok("git", "init", "--quiet", cwd=tmp_path)
    (tmp_path / ".gitignore").write_bytes((ROOT / ".gitignore").read_bytes())
    run_ok("git", "add", ".gitignore", cwd=tmp_path)
    with writer(tmp_path / "a.txt") as process:
        process.kill()
    assert rooms(tmp_path) != []
    assert run_ok("git", "status", "--porcelain", cwd=tmp_path) == "A  .gitignore\n"


def test_an_earlier_file_is_never_gone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill at any rename leaves the old file or the new one."""
    original = Path.replace

    def replace(self: Path, target: Path) -> Path:
        assert all((folder / name).exists() for name in ("a.txt", "b.txt"))
        return original(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    write_all(folder)
    assert snapshot(folder) == dict.fromkeys(NAMES, b"new")
