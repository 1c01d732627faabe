"""The doctor finds and repairs the effects of kills and damaged files; then `dvc repro` gives the right bytes."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
import yaml

from digits.apps import repro
from dvcproof import cache
from dvcproof import doctor as doctor_module
from dvcproof.findings import AT_WORK, FOUND, USAGE
from dvcproof.runtime.watch import RECORDS, fingerprint, identity, sample
from tests.support.arrays import flip
from tests.support.project import ROOT, run, run_ok, stages_run
from tests.support.refusal import one_line
from tests.support.verifying import doctor, doctor_says, dvcproof, fails, passes, run_main, write_toy

STAGES = ["load", "train", "evaluate"]
RESULTS = ("raw/a.npy", "raw/b.npy", "model.npy", "scores.json")


@pytest.fixture(scope="module")
def good_toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    toy = write_toy(tmp_path_factory.mktemp("toy") / "project")
    with (toy / ".gitignore").open("a", encoding="utf-8") as file:
        file.write((ROOT / ".gitignore").read_text(encoding="utf-8"))
    run_ok("git", "commit", "--quiet", "--all", "-m", "ignored", cwd=toy)
    return toy


@pytest.fixture
def toy(good_toy: Path, tmp_path: Path) -> Path:
    return shutil.copytree(good_toy, tmp_path / "toy", symlinks=True)


def refuses(toy: Path, *options: str, status: int = USAGE) -> str:
    result = doctor(toy, *options)
    assert result.status == status, result
    return one_line(result.errors[:-1])


def damage(path: Path, kind: str = "flip") -> None:
    """Damage a file as a disk would: its mode and date stay, and a flip keeps its size, too."""
    before, content = path.stat(), path.read_bytes()
    middle = content.find(b"md5: ") + 5 if b"md5: " in content else len(content) // 2  # in a record: a hash, no size
    path.chmod(0o644)
    path.write_bytes(flip(content, middle) if kind == "flip" else content[: len(content) // 2])
    path.chmod(before.st_mode & 0o777)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    if kind == "gone":
        path.unlink()


def objects(toy: Path) -> list[Path]:
    """Return the objects that are files. The list of a folder is left out: once damaged, its content is unknown."""
    found = (toy / ".dvc" / "cache" / "files" / "md5").rglob("*")
    return [path for path in found if path.is_file() and path.suffix != ".dir"]


def object_of(toy: Path, name: str) -> Path:
    """Return the object with the content of a file."""
    (found,) = (path for path in objects(toy) if path.read_bytes() == (toy / name).read_bytes())
    return found


def records(toy: Path) -> list[Path]:
    return [path for path in (toy / ".dvc" / "cache" / "runs").rglob("*") if path.is_file()]


def results(toy: Path) -> dict[str, bytes]:
    return {name: (toy / name).read_bytes() for name in RESULTS}


def change_train(toy: Path) -> None:
    """Edit the code of a stage, so that it gives another model."""
    text = (toy / "train.py").read_text(encoding="utf-8")
    (toy / "train.py").write_text(text.replace('"raw/b.npy") +', '"raw/b.npy") + 1 +'), encoding="utf-8")


def test_a_good_project_is_left_as_it_is(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [path for path in toy.rglob("*") if path.is_file() and "tmp" not in path.parts[-2:]]
    before = {path: path.stat().st_mtime_ns for path in files}
    assert doctor_says(toy) == ""
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert run_ok("git", "status", "--porcelain", cwd=toy) == ""
    for name in ("md5", "recorded"):  # no file is read again
        monkeypatch.setattr(cache, name, mock.Mock(side_effect=AssertionError, __name__=name))
    assert doctor_says(toy) == ""


def test_all_reads_every_file_again(toy: Path) -> None:
    """A disk error does not change size or date of a file, so only --all finds it."""
    assert doctor_says(toy) == ""
    memory, path = toy / ".dvc" / "tmp" / "doctor.json", toy / "model.npy"
    known = json.loads(memory.read_text())
    path.write_bytes(flip(path.read_bytes(), 3))
    known[str(path)][0] = identity(path.stat())
    memory.write_text(json.dumps(known))
    assert doctor_says(toy) == ""
    assert "model.npy" in doctor_says(toy, "--all")


@pytest.mark.parametrize("content", [b"", b"[]", b'{"a": 1}', b"\xff", None])
def test_a_damaged_memory_is_none(toy: Path, content: bytes | None) -> None:
    """None stands for the memory of another version, in which each entry has one part less."""
    assert doctor_says(toy) == ""
    memory = toy / ".dvc" / "tmp" / "doctor.json"
    before = json.loads(memory.read_text())
    shorter = json.dumps({path: entry[::2] for path, entry in before.items()}).encode()
    memory.write_bytes(shorter if content is None else content)
    assert doctor_says(toy) == ""
    assert json.loads(memory.read_text()) == before


# Objects and outputs


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["flip", "cut", "gone"])
def test_damage_in_each_object_and_output(toy: Path, kind: str) -> None:
    """If both are damaged, no copy of the right bytes is left, so the stages run again."""
    before, names = results(toy), {path.name for path in objects(toy)}
    assert len(names) == 3  # a.npy and b.npy are equal
    for path in (*objects(toy), *(toy / name for name in RESULTS)):
        damage(path, kind)
    assert "3 damaged objects moved to" in doctor_says(toy) or kind == "gone"
    run_ok("dvc", "repro", cwd=toy)
    assert results(toy) == before
    assert {path.name for path in objects(toy)} == names
    assert all(cache.md5(path) == path.parent.name + path.name for path in objects(toy))
    passes(toy, "--only", "check")
    assert run_ok("git", "status", "--porcelain", cwd=toy) == ""


def test_the_control_serves_damaged_bytes(toy: Path) -> None:
    for name in ("model.npy", "scores.json"):
        damage(object_of(toy, name))
        damage(toy / name)
    assert stages_run(run_ok("dvc", "repro", cwd=toy)) == []
    assert "is not the recorded one" in fails(toy, "--only", "check")


@pytest.mark.fast(1)
@pytest.mark.parametrize("kind", ["flip", "gone", "the output"])
def test_a_damaged_object_whose_output_is_good(toy: Path, kind: str) -> None:
    """The object is restored from the working tree, or the output from the object, and no stage runs."""
    before, names, stored = results(toy), {path.name for path in objects(toy)}, object_of(toy, "model.npy")
    if kind == "the output":
        damage(toy / "model.npy")
        assert "different from dvc.lock" in doctor_says(toy)
    else:
        damage(stored, kind)
        doctor_says(toy)
    assert stages_run(run_ok("dvc", "repro", cwd=toy)) == []
    assert (results(toy), {path.name for path in objects(toy)}) == (before, names)
    assert (stored.read_bytes(), stored.stat().st_mode & 0o777) == (before["model.npy"], 0o444)


@pytest.mark.slow
def test_an_object_that_only_another_run_needs(toy: Path) -> None:
    """Returning to an earlier run never restores a damaged object."""
    before, earlier = results(toy), object_of(toy, "model.npy")
    change_train(toy)
    run_ok("dvc", "repro", cwd=toy)
    damage(earlier)
    run_ok("git", "checkout", "--quiet", ".", cwd=toy)
    assert "1 damaged objects" in doctor_says(toy)
    assert stages_run(run_ok("dvc", "repro", cwd=toy)) == ["train"]
    assert results(toy) == before


def test_an_input_is_left_to_dvc_unless_its_date_was_set_back(toy: Path) -> None:
    change_train(toy)
    date = (toy / "train.py").stat().st_mtime_ns
    assert doctor_says(toy) == ""
    assert (toy / "train.py").stat().st_mtime_ns == date
    damage(toy / "evaluate.py")
    assert "evaluate.py" in doctor_says(toy)
    assert "evaluate.py" in run_ok("dvc", "status", cwd=toy)


# Records of runs


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["flip", "gone"])
def test_damage_in_each_record(toy: Path, kind: str) -> None:
    before, names = results(toy), {path.name for path in records(toy)}
    for path in records(toy):
        damage(path, kind)
    assert "3 damaged or missing records of runs" in doctor_says(toy)
    assert records(toy) == []
    (toy / "dvc.lock").unlink()
    assert stages_run(run_ok("dvc", "repro", cwd=toy)) == STAGES
    assert results(toy) == before
    assert {path.name for path in records(toy)} == names


@pytest.mark.parametrize("kind", ["without outputs", "gone"])
def test_the_control_is_stuck_at_a_bad_record(toy: Path, kind: str) -> None:
    """DVC cannot read such a record, and does not replace it either."""
    for path in records(toy):
        text = path.read_text(encoding="utf-8")
        path.write_text(text[: text.index("outs:")], encoding="utf-8")
        if kind == "gone":
            path.unlink()
    (toy / "dvc.lock").unlink()
    assert ("NoneType" if kind == "gone" else "'outs'") in run("dvc", "repro", cwd=toy).stderr
    doctor_says(toy)
    run_ok("dvc", "repro", cwd=toy)


# dvc.lock


@pytest.mark.parametrize("length", [0, 15, 0.3, 0.6, -1])
def test_a_lock_that_was_cut_short(toy: Path, length: float) -> None:
    lock = toy / "dvc.lock"
    whole = lock.read_bytes()
    cut = whole[: round(len(whole) * length) if isinstance(length, float) else length].rstrip(b"\n")
    lock.write_bytes(cut)
    assert "dvc.lock was damaged, and is replaced by that of the last commit" in doctor_says(toy)
    assert lock.read_bytes() == whole
    assert (toy / ".dvc" / "tmp" / "dvc.lock.damaged").read_bytes() == cut
    shutil.rmtree(toy / ".git")
    lock.write_bytes(cut)
    assert "the last commit has no good one" in doctor_says(toy)
    assert not lock.exists()


@pytest.mark.slow
def test_an_uncommitted_record_is_not_lost(toy: Path) -> None:
    """The record is in the run cache, so no stage runs again."""
    change_train(toy)
    run_ok("dvc", "repro", cwd=toy)
    before, lock = results(toy), (toy / "dvc.lock").read_bytes()
    (toy / "dvc.lock").write_bytes(b"")
    assert run("dvc", "repro", cwd=toy).returncode != 0  # the control
    doctor_says(toy)
    assert stages_run(run_ok("dvc", "repro", cwd=toy)) == []
    assert (results(toy), (toy / "dvc.lock").read_bytes()) == (before, lock)


@pytest.mark.parametrize("name", ["dvc.lock", "dvc.yaml", ".dvc/config"])
def test_a_merge_is_not_taken_for_damage(toy: Path, name: str) -> None:
    merged = b"<<<<<<< HEAD\n" + (toy / name).read_bytes()
    (toy / name).write_bytes(merged)
    assert f"{name}: expected a finished merge. Got a file with conflict markers. Keep one side" in refuses(toy)
    assert (toy / name).read_bytes() == merged


# DVC's list of processes that read and write


def holding(toy: Path, pid: int) -> Path:
    """Write DVC's list as if this process were running a stage."""
    path, holder = toy / ".dvc" / "tmp" / "rwlock", {"pid": pid, "cmd": "dvc repro"}
    path.write_text(json.dumps({"write": {str(toy / "model.npy"): holder}, "read": {str(toy / "raw"): [holder]}}))
    return path


@pytest.fixture
def at_work(toy: Path) -> Iterator[int]:
    """Yield a process that looks like a DVC command in this project."""
    command = [sys.executable, "-c", "print(flush=True); input()", "dvc", "repro"]
    with subprocess.Popen(command, cwd=toy, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.communicate("\n")


@pytest.mark.parametrize("content", ["", '{"write": {"a": {"pid"', "[]", '{"read": {"a": {}}}'])
@pytest.mark.parametrize("folder", [".dvc/tmp", ".dvc/tmp/exps"])
def test_a_damaged_list_is_removed(toy: Path, folder: str, content: str) -> None:
    path = toy / folder / "rwlock"
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    assert "with --fix: " in dvcproof(toy, "doctor").output
    assert path.read_text() == content
    assert "rwlock was damaged: removed" in doctor_says(toy)
    assert not path.exists()


def test_the_control_is_stuck_at_an_empty_list(toy: Path) -> None:
    (toy / ".dvc" / "tmp" / "rwlock").write_text("")
    assert run("dvc", "repro", cwd=toy).returncode != 0
    doctor_says(toy)
    run_ok("dvc", "repro", cwd=toy)


@pytest.mark.slow
def test_a_number_that_another_process_has_now(toy: Path, at_work: int) -> None:
    """The listed number is that of the test process; then of a process of DVC that started after the list."""
    path = holding(toy, os.getpid())
    change_train(toy)
    assert "is busy" in run("dvc", "repro", cwd=toy).stderr  # the control
    assert f"named processes that are not DVC: {os.getpid()}" in doctor_says(toy)
    assert not path.exists()
    assert stages_run(run_ok("dvc", "repro", "train", cwd=toy)) == ["train"]
    os.utime(holding(toy, at_work), (0, 0))
    assert f"named processes that are not DVC: {at_work}" in doctor_says(toy)


@pytest.mark.parametrize("is_damaged", [False, True])
def test_who_is_at_work_is_left_alone(toy: Path, at_work: int, is_damaged: bool) -> None:
    path = holding(toy, at_work)
    if is_damaged:
        path.write_text("{")
    before = path.read_text()
    damage(toy / "model.npy")
    damaged = results(toy)
    said = (
        f"Wait until process {at_work} is done" if is_damaged else f"DVC is running here: dvc repro (process {at_work})"
    )
    for words in (("doctor", "--fix"), ("run",), ("push", "--remote", "/nowhere")):
        result = dvcproof(toy, *words)
        assert result.status == AT_WORK, result
        assert said in one_line(result.errors[:-1])
    assert (path.read_text(), results(toy)) == (before, damaged)


@pytest.mark.slow
def test_another_command_holds_the_lock(toy: Path) -> None:
    with (toy / ".dvc" / "tmp" / "lock").open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert "another command of DVC is at work" in refuses(toy, status=AT_WORK)
    assert doctor_says(toy) == ""


# Left-over files, and outputs that a failed stage removes


def test_left_overs_are_cleared(toy: Path) -> None:
    folders = ["", ".dvc/cache/files/md5/", f"{records(toy)[0].parent.relative_to(toy)}/"]
    names = [".writing-0123abcd/model.npy", ".dvc/tmp/exps/standalone/tmpabc/params.yaml"]
    names += [f"{folder}.{'_-' * 11}.tmp" for folder in folders]
    for name in (*names, "notes.tmp"):
        (toy / name).parent.mkdir(parents=True, exist_ok=True)
        (toy / name).write_text("half")
    assert run_ok("git", "status", "--porcelain", cwd=toy) == ""
    assert f"leftovers of killed processes removed: {len(names)}" in doctor_says(toy)
    assert [name for name in (*names, "notes.tmp") if (toy / name).exists()] == ["notes.tmp"]


@pytest.mark.parametrize("hours", [0.5, 1.5])
def test_in_a_shared_cache_only_old_left_overs_are_cleared(toy: Path, tmp_path: Path, hours: float) -> None:
    share_cache(toy, tmp_path / "shared")
    left = tmp_path / "shared" / "files" / "md5" / f".{'z' * 22}.tmp"
    left.touch()
    os.utime(left, (time.time() - 3600 * hours,) * 2)
    doctor_says(toy)
    assert left.exists() == (hours < 1)


def share_cache(toy: Path, shared: Path, name: str = "") -> None:
    """Move the cache of a project to another place, with this name in the configuration, or with a link."""
    shutil.move(toy / ".dvc" / "cache", shared)
    if name == "link":
        (toy / ".dvc" / "cache").symlink_to(shared)
    else:
        (toy / ".dvc" / "config.local").write_text(f"[cache]\n    dir = {name or shared}\n")


@pytest.mark.parametrize("place", ["{}/shared", "{}/toy/../shared", "link"])
def test_in_a_shared_cache_other_commands_and_what_is_being_written_stay(toy: Path, tmp_path: Path, place: str) -> None:
    """A record that another version of DVC has named, and a file that another project writes now."""
    shared = tmp_path / "shared"
    share_cache(toy, shared, place.format(tmp_path))
    record, ours, writing = (shared / "runs" / "ab" / "abc" / name for name in ("def", "ours", f".{'z' * 22}.tmp"))
    record.parent.mkdir(parents=True)
    record.write_text("cmd: another command\nouts: []\n", encoding="utf-8")
    ours.write_text("cmd: python load.py\nouts: []\n", encoding="utf-8")
    writing.touch()
    assert "1 damaged or missing records" in doctor_says(toy)
    assert (record.exists(), ours.exists(), writing.exists()) == (True, False, True)


@pytest.mark.fast(1)
@pytest.mark.parametrize("source", ["cache", "git"])
def test_what_a_failed_stage_took_away_is_put_back(toy: Path, source: str) -> None:
    before = (toy / "scores.json").read_bytes()
    (toy / "evaluate.py").write_text("raise SystemExit(1)\n")
    assert run("dvc", "repro", cwd=toy).returncode != 0
    assert not (toy / "scores.json").exists()  # DVC removes outputs before it runs a stage
    if source == "git":
        shutil.rmtree(toy / ".dvc" / "cache")
    assert "missing outputs, put back: scores.json" in doctor_says(toy)
    assert (toy / "scores.json").read_bytes() == before
    assert run_ok("git", "status", "--porcelain", cwd=toy) == " M evaluate.py\n"


@pytest.mark.parametrize("change", [("/raw\n", ""), ("/raw\n", "/mine\n"), ("*.pyc\n", "")])
def test_a_list_of_what_git_ignores_is_put_back(toy: Path, change: tuple[str, str]) -> None:
    """DVC removes outputs from .gitignore before it runs a stage, and may be killed then. Other edits stay."""
    path = toy / ".gitignore"
    before = path.read_text()
    path.write_text(before.replace(*change))
    cut_short = change == ("/raw\n", "")
    assert (".gitignore files that DVC cut short, put back: .gitignore" in doctor_says(toy)) == cut_short
    assert path.read_text() == (before if cut_short else before.replace(*change))


# Records of DVC that differ from the content that was read


def record(toy: Path, stage: str, seen: dict[str, object]) -> None:
    path = toy / RECORDS / f"{stage}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"params": {}, "files": {}} | seen))


def test_a_stage_that_read_what_is_recorded(toy: Path) -> None:
    record(toy, "train", {"files": {"train.py": fingerprint(toy / "train.py")}})
    record(toy, "unknown", {})
    assert doctor_says(toy, "--after") == ""
    record(toy, "train", {"files": {"train.py": "other"}})
    assert doctor_says(toy) == ""  # the doctor removes the records of an earlier run
    assert doctor_says(toy, "--after") == ""


@pytest.mark.fast(1)
@pytest.mark.parametrize("seen", [{"files": {"train.py": "other"}}, {"files": {"raw/a.npy": "other"}}])
def test_a_stage_that_read_something_else(toy: Path, seen: dict[str, object]) -> None:
    """Cases: a file, and a file in a folder. The run record is removed too, or DVC would restore the result from it."""
    before, lock = results(toy), (toy / "dvc.lock").read_bytes()
    record(toy, "train", seen)
    assert "stage 'train', " in refuses(toy, "--after", status=FOUND)
    assert len(records(toy)) == 2
    assert stages_run(run_ok("dvc", "repro", cwd=toy)) == ["train"]
    assert results(toy) == before
    assert yaml.safe_load((toy / "dvc.lock").read_bytes()) == yaml.safe_load(lock)


@pytest.fixture
def swapped(toy: Path) -> dict[str, bytes]:
    """Replace the new model by an earlier one, as if another DVC command did so just before DVC hashed it."""
    earlier, before = (toy / "model.npy").read_bytes(), (toy / "dvc.lock").read_text()
    change_train(toy)
    run_ok("dvc", "repro", cwd=toy)
    right, lock = results(toy), (toy / "dvc.lock").read_text()
    record(toy, "train", {"outputs": {"model.npy": sample(toy / "model.npy")}})
    digests = [yaml.safe_load(text)["stages"]["train"]["outs"][0]["md5"] for text in (lock, before)]
    (toy / "dvc.lock").write_text(lock.replace(*digests))
    (toy / "model.npy").unlink()
    (toy / "model.npy").write_bytes(earlier)
    assert right != results(toy)
    return right


@pytest.mark.fast(1)
@pytest.mark.parametrize("after", [False, True])
def test_a_result_that_its_stage_did_not_write(toy: Path, swapped: dict[str, bytes], after: bool) -> None:
    said = refuses(toy, "--after", status=FOUND) if after else doctor_says(toy)
    assert ("stage 'train', model.npy: " if after else "model.npy is not what stage 'train' wrote") in said
    run_ok("dvc", "repro", cwd=toy)
    assert results(toy) == swapped


def test_the_control_takes_another_result_for_good(toy: Path, swapped: dict[str, bytes]) -> None:
    assert stages_run(run_ok("dvc", "repro", cwd=toy)) == []
    assert results(toy) != swapped


def test_damage_is_not_taken_for_another_result(toy: Path) -> None:
    before, lock = results(toy), (toy / "dvc.lock").read_bytes()
    record(toy, "train", {"outputs": {"model.npy": sample(toy / "model.npy")}})
    for path in (*objects(toy), toy / "model.npy"):
        damage(path)
    assert "wrote" not in doctor_says(toy)
    run_ok("dvc", "repro", cwd=toy)
    assert (results(toy), (toy / "dvc.lock").read_bytes()) == (before, lock)


def test_a_lock_of_other_inputs_is_not_judged_by_an_earlier_run(toy: Path) -> None:
    """Such a lock is there after `git checkout`."""
    record(toy, "train", {"outputs": {"model.npy": "other"}, "files": {"train.py": "other"}})
    change_train(toy)
    before = (toy / "dvc.lock").read_bytes()
    assert doctor_says(toy) == ""
    assert (toy / "dvc.lock").read_bytes() == before


def test_of_many_names_four_are_shown(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = [(["1", "2", "3", "4"], "{names}"), (["5"] * 6, "{count}: {names}")]
    monkeypatch.setattr(doctor_module, "_steps", lambda *_: steps)
    assert doctor_says(toy) == "1, 2, 3, 4\n6: 5, 5, 5, 5 and 2 more\n"


def test_a_folder_without_a_project(tmp_path: Path) -> None:
    assert "Run it in the folder of a DVC project" in refuses(tmp_path)


def test_a_project_that_dvc_cannot_read(toy: Path) -> None:
    (toy / ".dvc" / "config").write_text("x\n", encoding="utf-8")
    assert "DVC: it cannot read the project: config file error" in refuses(toy)


@pytest.mark.parametrize(("status", "second"), [(0, "check"), (3, "mend")])
def test_repro_calls_it_before_and_after(toy: Path, monkeypatch: pytest.MonkeyPatch, status: int, second: str) -> None:
    """After a failed `dvc repro` the doctor repairs; after a successful one it checks the records."""
    calls: list[object] = []
    monkeypatch.setattr(repro, "require_params", lambda params: calls.append(params.name))
    monkeypatch.setattr(repro, "summarize", lambda _: "the summary")
    monkeypatch.setattr(doctor_module, "examine", lambda _, after=False: calls.append("check" if after else "mend"))
    dvc = mock.Mock(return_value=status)
    monkeypatch.setattr("dvc.cli.main", dvc)
    result = run_main(repro.main, toy, "--force")
    assert (result.status, "the summary" in result.output) == (status, status == 0)
    assert calls == ["params.yaml", "mend", second]
    dvc.assert_called_once_with(["repro", "--force"])
