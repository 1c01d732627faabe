"""The audit of a store: false records are named, true records pass, and no command of a record is run."""

import shutil
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.support import team
from tests.support.project import run_ok
from tests.support.s3 import S3


@pytest.fixture(scope="module")
def committed(tmp_path_factory: pytest.TempPathFactory, s3: S3) -> Path:
    """Return the committed project. It was also run with another setting, and the store holds both runs."""
    path = team.write_team(tmp_path_factory.mktemp("team") / "project", "s3://team/digits", s3.address)
    team.set_shift(path, 1.5)
    team.executed(path)
    run_ok("git", "checkout", "--quiet", ".", cwd=path)
    return path


@pytest.fixture
def project(committed: Path, s3: S3) -> Path:
    """Return the project; the store holds all of its runs."""
    team.empty(s3)
    team.push(committed, s3)
    return committed


def test_honest_records_come_out(project: Path, s3: S3) -> None:
    """The record of an earlier commit, whose stage train had no parameter, is not judged."""
    assert len(team.records(s3)) == 6
    result = team.audit(project, s3, "--sample", "10")
    assert (result.status, result.errors) == (0, "")
    assert "5 records reproduced" in result.output


def poison(s3: S3, stage: str) -> Path:
    """Change the record of a stage so that it names the result of another setting, which is in the store."""
    honest, other = team.record_of(s3, stage, "shift: 0.0"), team.record_of(s3, stage, "shift: 1.5")
    results = [YAML(typ="safe").load(path.read_text())["outs"][0]["md5"] for path in (honest, other)]
    return team.write_record(honest, *results)


def test_a_record_that_lies_is_named_and_removed(project: Path, s3: S3) -> None:
    """The true record beside it stays, also because rclone takes a minute to remove the last file of a folder."""
    lie = poison(s3, "cmd: python train.py")
    result = team.audit(project, s3, "--sample", "10")
    assert result.status == 1
    assert "5 records reproduced" in result.output
    line, _ = result.output.splitlines()
    assert line.startswith(f"error: record {lie.name}: model.npy: expected md5 ")
    command = line.split("`")[1].split()
    assert "It was removed." in team.audit(project, s3, *command[command.index("--record") :]).output
    assert lie not in team.records(s3)
    assert len(team.records(s3)) == 6


@pytest.mark.slow
def test_a_record_that_cannot_run_is_named_beside_a_lie(project: Path, s3: S3) -> None:
    lie = poison(s3, "cmd: python train.py")
    honest = team.record_of(s3, "cmd: python train.py", "shift: 1.5")
    broken = team.write_record(honest, "shift: 1.5", "shift: nonsense")
    result = team.audit(project, s3, "--sample", "100", "--remove")
    assert result.status == 1
    found, unknown, _ = result.output.splitlines()
    assert found.startswith(f"error: record {lie.name}: ")
    assert unknown.startswith(f"cannot tell: record {broken.name}: it could not be run here: ")  # perhaps the machine
    assert ": stage 'train': it fails in a clean clone: " in unknown
    assert [path in team.records(s3) for path in (lie, broken)] == [False, True]


def test_a_damaged_record_is_named(project: Path, s3: S3) -> None:
    path = team.record_of(s3, "shift: 0.0")
    path.write_text(path.read_text()[:-20])
    said = team.audit(project, s3, "--sample", "10").output
    assert f"error: record {path.name}: it is damaged: its name is not the hash of its content." in said


def test_no_command_of_a_record_is_run(project: Path, s3: S3, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    path = team.record_of(s3, "shift: 0.0")
    for record in team.records(s3):
        if record != path:
            record.unlink()
    hostile = team.write_record(path, "python train.py", f"touch {trace}; python train.py")
    path.unlink()
    result = team.audit(project, s3, "--sample", "10")
    assert hostile in team.records(s3)
    assert not trace.exists()
    assert "has no record of this commit" in result.output


def test_a_record_whose_inputs_are_gone_is_left_out(project: Path, s3: S3) -> None:
    for path in (s3.folder / "team" / "digits" / "files").rglob("*.dir"):
        path.unlink()
    assert "3 records reproduced" in team.audit(project, s3, "--sample", "10").output


def test_a_sample_is_so_many(project: Path, s3: S3, tmp_path: Path) -> None:
    """The audit also works in a clone without a cache."""
    other = team.clone(project, tmp_path / "clone")
    assert "2 records reproduced" in team.audit(other, s3, "--sample", "2").output
    assert "--sample: expected at least 1. Got 0." in team.audit(other, s3, "--sample", "0").errors
    shutil.rmtree(s3.folder / "team" / "digits")
    assert "has no record of this commit" in team.audit(other, s3).output
