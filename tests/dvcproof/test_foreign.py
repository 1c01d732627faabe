"""The doctor in other people's projects: it does not touch good files, nor files that no stage can make again."""

import hashlib
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from dvc.utils.serialize import dumps_yaml
from dvc_data.hashfile.hash import file_md5

from dvcproof.cache import names
from dvcproof.doctor import is_whole
from dvcproof.runtime.bounds import require_small_yaml
from tests.support.arrays import flip
from tests.support.project import commit, run_ok
from tests.support.team import make
from tests.support.verifying import doctor_says
from tests.support.verifying import dvcproof as command

GRAPH = """
stages:
  sort:
    cmd: sort data.csv > sorted.txt
    deps: [data.csv]
    outs: [sorted.txt]
  copy:
    cmd: cat data.csv > copy.txt
    deps: [data.csv]
    outs: [copy.txt]
"""


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project that has run. One object of the cache belongs to both its data and an output."""
    return make(tmp_path_factory.mktemp("good") / "project", {"dvc.yaml": GRAPH, "data.csv": "b\na\n"}, add="data.csv")


@pytest.fixture
def toy(good: Path, tmp_path: Path) -> Path:
    return shutil.copytree(good, tmp_path / "toy", symlinks=True)


def content(folder: Path) -> dict[str, tuple[bytes, int, int]]:
    """Return the bytes, the mode and the date of each file."""
    files = (path for path in folder.rglob("*") if path.is_file() and "tmp" not in path.parts)
    return {str(path): (path.read_bytes(), path.stat().st_mode, path.stat().st_mtime_ns) for path in files}


def stored(toy: Path, text: bytes) -> Path:
    """Return the object of this content in the cache."""
    digest = hashlib.md5(text, usedforsecurity=False).hexdigest()
    return toy / ".dvc" / "cache" / "files" / "md5" / digest[:2] / digest[2:]


def records(toy: Path) -> list[Path]:
    """Return the records of runs in the cache."""
    return [path for path in (toy / ".dvc" / "cache" / "runs").rglob("*") if path.is_file()]


def damage(path: Path) -> bytes:
    """Change one bit of a file, as a disk does, and return the new content."""
    mode = path.stat().st_mode
    path.chmod(0o644)
    path.write_bytes(flip(path.read_bytes(), 0))
    path.chmod(mode)
    return path.read_bytes()


@pytest.mark.parametrize("ending", ["\n", ""])
def test_a_large_lock_stays(toy: Path, ending: str) -> None:
    """A parameter file of this size would be refused. An editor may have removed the last line end."""
    outs = ({"path": f"{number}.txt", "hash": "md5", "md5": f"{number:032x}", "size": 4} for number in range(2000))
    stages = {f"s{out['path']}": {"cmd": "make", "outs": [out]} for out in outs}
    lock = toy / "dvc.lock"
    lock.write_text(dumps_yaml({"schema": "2.0", "stages": stages}).rstrip("\n") + ending, encoding="utf-8")
    commit(toy, "lock")
    before = lock.read_bytes()
    with pytest.raises(ValueError, match=r"10,?000"):  # the control
        require_small_yaml(before.decode())
    doctor_says(toy)
    assert (lock.read_bytes(), is_whole(before)) == (before, bool(ending))


# A cache of DVC 2

TEXT = b"a,b\r\n"


@pytest.fixture
def legacy(tmp_path: Path) -> Path:
    """Return a project in the form of DVC 2, which hashed texts with Unix line ends."""
    graph = "stages: {make: {cmd: cp data.csv o.csv, deps: [data.csv], outs: [o.csv]}}"
    path = make(tmp_path / "legacy", {"dvc.yaml": graph, "data.csv": TEXT.decode()}, run=False)
    item = {"md5": file_md5(str(path / "data.csv"), name="md5-dos2unix"), "size": len(TEXT)}
    record = {"cmd": "cp data.csv o.csv", "deps": [{"path": "data.csv", **item}], "outs": [{"path": "o.csv", **item}]}
    (path / "dvc.lock").write_text(dumps_yaml({"schema": "2.0", "stages": {"make": record}}), encoding="utf-8")
    folder, name = names(record)
    digest = str(item["md5"])
    for place, text in ((f"runs/{folder[:2]}/{folder}/{name}", dumps_yaml(record)), (f"{digest[:2]}/{digest[2:]}", "")):
        (path / ".dvc" / "cache" / place).parent.mkdir(parents=True)
        (path / ".dvc" / "cache" / place).write_bytes(text.encode() or TEXT)
    (path / "o.csv").write_bytes(TEXT)
    commit(path, "as DVC 2 left it")
    return path


def test_a_cache_of_dvc_2_stays(legacy: Path) -> None:
    before = content(legacy)
    assert doctor_says(legacy, "--all") == ""
    assert content(legacy) == before
    (legacy / "o.csv").unlink()
    run_ok("dvc", "checkout", "--quiet", cwd=legacy)
    assert (legacy / "o.csv").read_bytes() == TEXT


def test_the_control_is_an_object_of_dvc_3(legacy: Path) -> None:
    """If the record says that the hash covers all bytes, the same content counts as damaged."""
    lock = (legacy / "dvc.lock").read_text(encoding="utf-8")
    dep, _, out = lock.partition("path: o.csv\n")
    dep = dep.replace("md5: ", "etag: ")
    (legacy / "dvc.lock").write_text(f"{dep}path: o.csv\n      hash: md5\n{out}", encoding="utf-8")
    place = stored(legacy, TEXT.replace(b"\r", b""))
    place.parent.mkdir(parents=True)
    place.write_bytes(TEXT)
    assert "1 damaged objects moved to" in doctor_says(legacy)
    assert not place.exists()


# Damage


def test_data_that_nobody_can_make_again_stays(toy: Path) -> None:
    place = stored(toy, b"b\na\n")
    left = damage(place)
    for name in ("data.csv", "copy.txt"):
        (toy / name).unlink()
    result = command(toy, "doctor", "--fix")
    assert (result.status, "damaged objects" in result.output, "left as it is: " in result.output) == (1, False, True)
    assert place.read_bytes() == left


def test_what_a_stage_made_is_moved_and_not_deleted(toy: Path) -> None:
    place, away = stored(toy, b"a\nb\n"), toy / ".dvc" / "cache" / "damaged"
    left = damage(place)
    (toy / "sorted.txt").unlink()
    for count in (1, 2):  # the earlier damaged object is kept
        place.write_bytes(left)
        assert "1 damaged objects moved to" in doctor_says(toy)
        assert not place.exists()
        assert [path.read_bytes() for path in away.iterdir()] == [left] * count
    run_ok("dvc", "repro", cwd=toy)
    assert (toy / "sorted.txt").read_bytes() == b"a\nb\n"


@pytest.mark.parametrize("kind", ["object", "record", "output"])
def test_a_file_that_cannot_be_read_is_not_called_damaged(
    toy: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Root may read every file, so the system's error is simulated."""
    places = {"object": [stored(toy, b"a\nb\n")], "record": records(toy), "output": [toy / "sorted.txt"]}[kind]
    access = os.access
    for place in places:
        damage(place)
    monkeypatch.setattr(os, "access", lambda path, mode: path not in places and access(path, mode))
    before = {place: place.stat().st_mtime_ns for place in places}
    assert doctor_says(toy) == ""
    assert {place: place.stat().st_mtime_ns for place in places} == before
    monkeypatch.undo()
    assert "damaged" in (said := doctor_says(toy)) or "different from dvc.lock" in said  # the control


BARE = """
stages:
  clock: {cmd: echo > clock.txt, outs: [clock.txt]}
  look: {cmd: cat data.csv, deps: [data.csv]}
  speak: {cmd: echo hello}
"""


@pytest.mark.slow
def test_stages_and_records_without_outputs_or_dependencies(tmp_path: Path) -> None:
    toy = make(tmp_path / "toy", {"dvc.yaml": BARE, "data.csv": ""})
    for record in ({"cmd": "cat data.csv"}, {"cmd": "echo > clock.txt", "outs": [{"path": "clock.txt"}]}):
        folder, name = names(dict(record))
        for runs in (toy / ".dvc" / "cache" / "runs", tmp_path / "store" / "runs"):
            (runs / folder[:2] / folder).mkdir(parents=True)
            (runs / folder[:2] / folder / name).write_text(dumps_yaml(record), encoding="utf-8")
    assert doctor_says(toy) == doctor_says(toy, "--after") == ""
    for verb, *options in (("push",), ("fetch",), ("audit", "--sample", "5")):
        result = command(toy, verb, "--remote", "team", *options)
        assert "Traceback" not in result.errors
        assert result.status == (3 if verb == "audit" else 0), result
    assert "store team has no record of this commit" in result.output


def test_a_cache_that_a_group_shares_gets_the_modes_of_dvc(tmp_path: Path) -> None:
    def modes(place: Path) -> set[tuple[bool, str]]:
        """Return the modes of the folders, of objects and of records."""
        found = ((path, oct(stat.S_IMODE(path.stat().st_mode))) for path in place.rglob("*"))
        return {(path.is_dir(), f"{path.relative_to(place).parts[0]} {mode}") for path, mode in found}

    toy = make(tmp_path / "toy", {"dvc.yaml": GRAPH, "data.csv": "b\na\n"}, run=False)
    run_ok("dvc", "config", "cache.shared", "group", cwd=toy)
    run_ok("dvc", "repro", "--quiet", cwd=toy)
    commit(toy, "run")
    place = toy / ".dvc" / "cache"
    of_dvc = modes(place)
    assert of_dvc >= {(True, "files 0o2775"), (False, "files 0o444"), (False, "runs 0o664")}
    assert command(toy, "push", "--remote", "team").status == 0
    shutil.rmtree(place)
    place.mkdir()
    doctor_says(toy)  # restores the objects that the working tree has
    assert modes(place) == {(is_dir, mode) for is_dir, mode in of_dvc if mode.startswith("files")}
    shutil.rmtree(place)
    place.mkdir()
    damage(toy / "sorted.txt")
    (toy / "dvc.lock").unlink()
    assert "fetched" in command(toy, "fetch", "--remote", "team").output
    assert modes(place) == of_dvc
    damage(records(toy)[0])
    assert "1 damaged or missing records" in doctor_says(toy)
    assert stat.S_IMODE((place / "damaged").stat().st_mode) == 0o2775


def test_without_fix_nothing_is_changed(toy: Path, edit: Callable[[Path, str, str], None]) -> None:
    assert command(toy, "doctor").status == 0
    damage(stored(toy, b"a\nb\n"))
    damage(records(toy)[0])
    (toy / "sorted.txt").unlink()
    edit(toy / ".gitignore", "/sorted.txt\n", "")
    (toy / f"{'a' * 30}.{'b' * 22}.tmp").write_text("left", encoding="utf-8")
    before = content(toy)
    result = command(toy, "doctor")
    assert result.status == 1
    assert result.output.count("error: with --fix: ") == result.output.count("[DP501]") >= 4
    assert content(toy) == before
    assert command(toy, "doctor", "--fix").status == 0
    assert command(toy, "doctor").status == 0
    assert "/sorted.txt\n" in (toy / ".gitignore").read_text(encoding="utf-8")
    assert [path.name for path in toy.iterdir() if path.suffix == ".tmp"] == []
    run_ok("dvc", "repro", cwd=toy)
    assert (toy / "sorted.txt").read_bytes() == b"a\nb\n"
