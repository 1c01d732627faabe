"""The doctor in other people's projects: it does not touch good files, nor files that no stage can make again."""

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dvc.utils.serialize import dumps_yaml
from dvc_data.hashfile.hash import file_md5

from dvcproof.cache import names
from dvcproof.runtime.bounds import require_small_yaml
from dvcproof.doctor import is_whole
from tests.support.arrays import flip
from tests.support.project import commit, run_ok
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


def start(path: Path, graph: str) -> Path:
    """Make a project whose stages have not run."""
    path.mkdir(parents=True)
    (path / "dvc.yaml").write_text(graph, encoding="utf-8")
    run_ok("git", "init", "--quiet", cwd=path)
    run_ok("dvc", "init", "--quiet", cwd=path)
    return path


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project that has run. One object of the cache belongs to both its data and an output."""
    path = start(tmp_path_factory.mktemp("good") / "project", GRAPH)
    (path / "data.csv").write_text("b\na\n", encoding="utf-8")
    run_ok("dvc", "add", "--quiet", "data.csv", cwd=path)
    run_ok("dvc", "repro", "--quiet", cwd=path)
    commit(path, "run")
    return path


@pytest.fixture
def toy(good: Path, tmp_path: Path) -> Path:
    return shutil.copytree(good, tmp_path / "toy", symlinks=True)


def content(folder: Path) -> dict[str, tuple[bytes, int, int]]:
    """Return the bytes, the mode and the date of each file."""
    files = (path for path in folder.rglob("*") if path.is_file() and "tmp" not in path.parts)
    return {str(path): (path.read_bytes(), path.stat().st_mode, path.stat().st_mtime_ns) for path in files}


def stored(folder: Path, text: bytes) -> Path:
    """Return the object of this content in a cache."""
    digest = hashlib.md5(text, usedforsecurity=False).hexdigest()
    return folder / "files" / "md5" / digest[:2] / digest[2:]


def damage(path: Path) -> bytes:
    """Change one bit of a file, as a disk does, and return the new content."""
    mode = path.stat().st_mode
    path.chmod(0o644)
    path.write_bytes(flip(path.read_bytes(), 0))
    path.chmod(mode)
    return path.read_bytes()


# dvc.lock


def entry(command: str, digest: str, path: str) -> dict[str, Any]:
    out = {"path": path, "hash": "md5", "md5": digest, "size": 4}
    return {"cmd": command, "deps": [{**out, "path": f"{path}.in"}], "outs": [out]}


LOCKS = {
    "large": {f"s{number}": entry(f"make {number}", f"{number:032x}", f"{number}.txt") for number in range(1000)},
    "digits": {"one": entry("make", "1" * 32, "one.txt"), "two": entry("make", "123e" + "4" * 28, "two.txt")},
}


@pytest.mark.parametrize(("name", "ending"), [("digits", "\n"), ("digits", ""), ("large", "\n")])
def test_a_valid_lock_stays(toy: Path, name: str, ending: str) -> None:
    lock = toy / "dvc.lock"
    lock.write_text(dumps_yaml({"schema": "2.0", "stages": LOCKS[name]}).rstrip("\n") + ending, encoding="utf-8")
    commit(toy, "lock")
    before = lock.read_bytes()
    if name == "large":  # the control: such a large parameter file would be refused
        with pytest.raises(ValueError, match=r"10,?000"):
            require_small_yaml(before.decode())
    doctor_says(toy)
    assert lock.read_bytes() == before
    assert is_whole(before) == bool(ending)
    if name == "digits":  # the control: a lock that is cut short is not accepted
        lock.write_bytes(before[: len(before) // 2].rstrip())
        assert "dvc.lock was damaged" in doctor_says(toy)


# Caches of earlier versions of DVC

TEXT = b"a,b\r\n"


def write_legacy(path: Path, place: Path) -> Path:
    """Write a project in the form of DVC 2, with its cache in the folder `place`."""
    start(path, 'stages:\n  make:\n    cmd: cp in.txt "out.csv"\n    deps: [in.txt]\n    outs: [out.csv]\n')
    (path / "in.txt").write_bytes(TEXT)
    digest = file_md5(str(path / "in.txt"), name="md5-dos2unix")
    assert digest != hashlib.md5(TEXT, usedforsecurity=False).hexdigest()
    item = {"md5": digest, "size": len(TEXT)}
    record = {
        "cmd": 'cp in.txt "out.csv"',
        "deps": [{"path": "in.txt", **item}],
        "outs": [{"path": "out.csv", **item}],
    }
    (path / "dvc.lock").write_text(dumps_yaml({"schema": "2.0", "stages": {"make": record}}), encoding="utf-8")
    folder, name = names(record)
    (place / "runs" / folder[:2] / folder).mkdir(parents=True)
    (place / "runs" / folder[:2] / folder / name).write_text(dumps_yaml(record), encoding="utf-8")
    (place / digest[:2]).mkdir()
    stored = place / digest[:2] / digest[2:]
    stored.write_bytes(TEXT)
    stored.chmod(0o444)
    (path / "out.csv").write_bytes(TEXT)
    run_ok("dvc", "config", "cache.dir", str(place), cwd=path)
    commit(path, "as DVC 2 left it")
    return path


def checkout(path: Path) -> None:
    """Have DVC put back the output from the cache."""
    (path / "out.csv").unlink()
    run_ok("dvc", "checkout", "--quiet", cwd=path)
    assert (path / "out.csv").read_bytes() == TEXT


def test_a_cache_of_dvc_2_stays(tmp_path: Path) -> None:
    path = write_legacy(tmp_path / "legacy", tmp_path / "legacy" / ".dvc" / "cache")
    before = content(path)
    assert doctor_says(path, "--all") == ""
    assert content(path) == before
    checkout(path)


def test_a_cache_that_is_shared_with_dvc_2_stays(toy: Path, tmp_path: Path) -> None:
    place = tmp_path / "shared"
    shutil.copytree(toy / ".dvc" / "cache", place)
    path = write_legacy(tmp_path / "legacy", place)
    run_ok("dvc", "config", "cache.dir", str(place), cwd=toy)
    graph = (toy / "dvc.yaml").read_text(encoding="utf-8")
    graph = graph.replace("cat data.csv > copy.txt", 'cp in.txt "out.csv"')  # the same command
    (toy / "dvc.yaml").write_text(graph, encoding="utf-8")
    lock = (toy / "dvc.lock").read_text(encoding="utf-8")
    (toy / "dvc.lock").write_text(lock.replace("cat data.csv > copy.txt", 'cp in.txt "out.csv"'), encoding="utf-8")
    before = content(place)
    assert doctor_says(toy) == ""
    assert content(place) == before
    checkout(path)


def test_the_control_is_an_object_of_dvc_3(tmp_path: Path) -> None:
    """If the record says that the hash covers all bytes, the same content counts as damaged."""
    path = write_legacy(tmp_path / "legacy", tmp_path / "legacy" / ".dvc" / "cache")
    lock = (path / "dvc.lock").read_text(encoding="utf-8")
    (path / "dvc.lock").write_text(lock.replace("path: out.csv\n", "path: out.csv\n      hash: md5\n"))
    digest = file_md5(str(path / "in.txt"), name="md5-dos2unix")
    place = path / ".dvc" / "cache" / "files" / "md5" / digest[:2] / digest[2:]
    place.parent.mkdir(parents=True)
    place.write_bytes(TEXT)
    (path / "dvc.lock").write_text(
        (path / "dvc.lock")
        .read_text(encoding="utf-8")
        .replace(f"- path: in.txt\n      md5: {digest}", "- path: in.txt")
    )
    assert "1 damaged objects moved to" in doctor_says(path)
    assert not place.exists()


# Damage


def test_data_that_nobody_can_make_again_stays(toy: Path) -> None:
    place = stored(toy / ".dvc" / "cache", b"b\na\n")
    left = damage(place)
    for name in ("data.csv", "copy.txt"):
        (toy / name).unlink()
    result = command(toy, "doctor", "--fix")
    assert (result.status, "damaged objects" in result.output, "left as it is: " in result.output) == (1, False, True)
    assert place.read_bytes() == left


def test_what_a_stage_made_is_moved_and_not_deleted(toy: Path) -> None:
    place = stored(toy / ".dvc" / "cache", b"a\nb\n")
    left = damage(place)
    (toy / "sorted.txt").unlink()
    assert "1 damaged objects moved to" in doctor_says(toy)
    assert not place.exists()
    (kept,) = (toy / ".dvc" / "cache" / "damaged").iterdir()
    assert kept.read_bytes() == left
    place.write_bytes(left)
    assert "1 damaged objects moved to" in doctor_says(toy)
    assert {path.read_bytes() for path in (toy / ".dvc" / "cache" / "damaged").iterdir()} == {left}
    assert len([*(toy / ".dvc" / "cache" / "damaged").iterdir()]) == 2  # the earlier damaged object is kept
    run_ok("dvc", "repro", cwd=toy)
    assert (toy / "sorted.txt").read_bytes() == b"a\nb\n"


@pytest.mark.parametrize("kind", ["object", "record", "output"])
def test_a_file_that_cannot_be_read_is_not_called_damaged(
    toy: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Root may read every file, so the system's error is simulated."""
    places = {
        "object": [stored(toy / ".dvc" / "cache", b"a\nb\n")],
        "record": [path for path in (toy / ".dvc" / "cache" / "runs").rglob("*") if path.is_file()],
        "output": [toy / "sorted.txt"],
    }[kind]
    access = os.access
    for place in places:
        damage(place)
        place.chmod(0)
    monkeypatch.setattr(os, "access", lambda path, mode: path not in places and access(path, mode))
    before = {place: place.stat().st_mtime_ns for place in places}
    assert doctor_says(toy) == ""
    assert {place: place.stat().st_mtime_ns for place in places} == before
    monkeypatch.undo()
    for place in places:
        place.chmod(0o444)
    assert "damaged" in (said := doctor_says(toy)) or "not what dvc.lock names" in said  # the control


# Stages without dependencies or outputs

BARE = """
stages:
  clock:
    cmd: echo > clock.txt
    outs: [clock.txt]
  look:
    cmd: cat data.csv
    deps: [data.csv]
  speak:
    cmd: echo hello
"""


@pytest.mark.slow
def test_stages_and_records_without_outputs_or_dependencies(tmp_path: Path) -> None:
    toy = start(tmp_path / "toy", BARE)
    (toy / "data.csv").write_text("b\n", encoding="utf-8")
    run_ok("dvc", "remote", "add", "--default", "team", str(tmp_path / "store"), cwd=toy)
    run_ok("dvc", "repro", "--quiet", cwd=toy)
    for record in ({"cmd": "cat data.csv"}, {"cmd": "echo > clock.txt", "outs": [{"path": "clock.txt"}]}):
        folder, name = names(dict(record))
        place = toy / ".dvc" / "cache" / "runs" / folder[:2] / folder / name
        place.parent.mkdir(parents=True)
        place.write_text(dumps_yaml(record), encoding="utf-8")
        shutil.copytree(place.parent, tmp_path / "store" / "runs" / folder[:2] / folder)
    commit(toy, "run")
    assert doctor_says(toy) == doctor_says(toy, "--after") == ""
    for verb, *options in (("push",), ("fetch",), ("audit", "--sample", "5")):
        result = command(toy, verb, "--remote", "team", *options)
        assert "Traceback" not in result.errors
        assert result.status == (3 if verb == "audit" else 0), result
    assert "store team has no record of this commit" in result.output


# A cache that a group shares


def modes(folder: Path, *, folders: bool) -> set[int]:
    """Return the modes of the folders, or of the files, in a folder."""
    return {stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*") if path.is_dir() == folders}


def test_a_cache_that_a_group_shares_gets_the_modes_of_dvc(toy: Path, tmp_path: Path) -> None:
    run_ok("dvc", "config", "cache.shared", "group", cwd=toy)
    run_ok("dvc", "remote", "add", "--default", "team", str(tmp_path / "store"), cwd=toy)
    place = toy / ".dvc" / "cache"
    commit(toy, "shared")
    assert command(toy, "push", "--remote", "team").status == 0

    shutil.rmtree(place)
    place.mkdir()
    doctor_says(toy)  # restores the objects that the working tree has
    assert modes(place, folders=True) == {0o2775}
    assert modes(place, folders=False) == {0o444}

    shutil.rmtree(place)
    place.mkdir()
    damage(toy / "sorted.txt")
    (toy / "dvc.lock").unlink()
    assert "fetched" in command(toy, "fetch", "--remote", "team").output
    assert modes(place / "files", folders=True) == modes(place / "runs", folders=True) == {0o2775}
    assert (modes(place / "files", folders=False), modes(place / "runs", folders=False)) == ({0o444}, {0o664})
    damage(next(path for path in (place / "runs").rglob("*") if path.is_file()))
    assert "1 damaged or missing records" in doctor_says(toy)
    assert stat.S_IMODE((place / "damaged").stat().st_mode) == 0o2775


def test_the_modes_are_those_that_dvc_gives(tmp_path: Path) -> None:
    toy = start(tmp_path / "toy", GRAPH)
    run_ok("dvc", "config", "cache.shared", "group", cwd=toy)
    (toy / "data.csv").write_text("b\na\n", encoding="utf-8")
    run_ok("dvc", "repro", "--quiet", cwd=toy)
    place = toy / ".dvc" / "cache"
    assert modes(place / "files", folders=False) == {0o444}
    assert modes(place / "runs", folders=False) == {0o664}
    assert modes(place, folders=True) == {0o2775}


# The command


def test_without_fix_nothing_is_changed(toy: Path, edit: Callable[[Path, str, str], None]) -> None:
    assert command(toy, "doctor").status == 0
    place = stored(toy / ".dvc" / "cache", b"a\nb\n")
    damage(place)
    (record, *_) = (path for path in (toy / ".dvc" / "cache" / "runs").rglob("*") if path.is_file())
    damage(record)
    (toy / "sorted.txt").unlink()
    edit(toy / ".gitignore", "/sorted.txt\n", "")
    (toy / f"{'a' * 30}.{'b' * 22}.tmp").write_text("left", encoding="utf-8")
    before = content(toy)
    result = command(toy, "doctor")
    assert result.status == 1
    assert result.output.count("[DP501]") >= 4
    assert content(toy) == before
    assert command(toy, "doctor", "--fix").status == 0
    assert command(toy, "doctor").status == 0
    assert "/sorted.txt\n" in (toy / ".gitignore").read_text(encoding="utf-8")
    assert [path.name for path in toy.iterdir() if path.suffix == ".tmp"] == []
    run_ok("dvc", "repro", cwd=toy)
    assert (toy / "sorted.txt").read_bytes() == b"a\nb\n"


@pytest.mark.slow
def test_a_record_that_cannot_run_here_is_not_accused(
    toy: Path, tmp_path: Path, edit: Callable[[Path, str, str], None]
) -> None:
    """The program that the record needs is not installed."""
    store, program = tmp_path / "store", tmp_path / "program"
    program.write_text("#!/bin/sh\nsort data.csv\n", encoding="utf-8")
    program.chmod(0o755)
    edit(toy / "dvc.yaml", "sort data.csv >", f"{program} >")
    run_ok("dvc", "remote", "add", "--default", "team", str(store), cwd=toy)
    run_ok("dvc", "repro", "--quiet", "sort", cwd=toy)
    commit(toy, "run")
    assert command(toy, "push", "--remote", "team").status == 0
    run_ok("dvc", "push", "--quiet", cwd=toy)
    records = [path for path in (store / "runs").rglob("*") if path.is_file()]
    (record,) = (path for path in records if str(program) in path.read_text(encoding="utf-8"))
    options = ("--remote", "team", "--record", record.name, "--remove")
    assert command(toy, "audit", *options).status == 0  # the control
    program.unlink()
    result = command(toy, "audit", *options)
    assert result.status == 3
    assert result.output.startswith(f"cannot tell: record {record.name}: it could not be run here: ")
    assert [path for path in (store / "runs").rglob("*") if path.is_file()] == records


def test_json_of_the_doctor(toy: Path) -> None:
    damage(stored(toy / ".dvc" / "cache", b"a\nb\n"))
    (finding,) = json.loads(command(toy, "doctor", "--format", "json").output)["findings"]
    assert finding["rule"] == "DP501"
