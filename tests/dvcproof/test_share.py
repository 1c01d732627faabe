"""A shared store on a real S3 server: runs of others are reused, and damaged objects are not."""

import hashlib
import json
import shutil
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import mock

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from dvc.repo import Repo
from ruamel.yaml import YAML

from dvcproof.cache import names, read_entry
from dvcproof.findings import CANNOT_TELL, USAGE
from dvcproof.store import DEADLINE, Store, StoreError
from tests.support import team
from tests.support.arrays import flip
from tests.support.moto import serve_moto
from tests.support.project import ROOT, run_ok
from tests.support.refusal import one_line
from tests.support.s3 import S3
from tests.support.verifying import Result, dvcproof


@pytest.fixture(scope="module")
def committed(tmp_path_factory: pytest.TempPathFactory, s3: S3) -> Path:
    """Return the committed project."""
    return team.write_team(tmp_path_factory.mktemp("team") / "project", "s3://team/digits", s3.address)


@pytest.fixture
def first(committed: Path, s3: S3, tmp_path: Path) -> Path:
    """Return the clone in which the project was run, with a full cache. The store is empty."""
    team.empty(s3)
    return shutil.copytree(committed, tmp_path / "first", symlinks=True)


@pytest.fixture
def second(committed: Path, tmp_path: Path) -> Path:
    """Return the clone of a colleague, with an empty cache."""
    return team.clone(committed, tmp_path / "second")


def test_the_same_commit_executes_nothing(first: Path, second: Path, s3: S3) -> None:
    assert team.push(first, s3) == "4 objects and 4 records of runs added\n"
    assert team.push(first, s3) == "0 objects and 0 records of runs added\n"
    said = team.fetch(second, s3)
    assert said == "stage 'load': 2 objects fetched\nstage 'train': 1 object fetched\n"
    assert team.executed(second) == []
    assert team.results(second) == team.results(first)
    assert run_ok("git", "status", "--porcelain", cwd=second) == ""
    assert team.fetch(second, s3) == ""


def test_what_was_fetched_is_not_sent_again(first: Path, second: Path, s3: S3) -> None:
    """After an audit removed a record, a clone that only fetched it does not push it; the clone that ran it does."""
    team.set_shift(first, 1.5)
    assert team.executed(first) == ["train", "evaluate"]
    team.push(first, s3)
    team.set_shift(second, 1.5)
    assert "stage 'train': 1 object fetched" in team.fetch(second, s3)
    gone = team.record_of(s3, "cmd: python train.py", "shift: 1.5")
    gone.unlink()
    assert team.push(second, s3) == "0 objects and 0 records of runs added\n"
    assert not gone.exists()
    assert team.push(first, s3) == "0 objects and 1 record of runs added\n"


def test_what_was_run_and_not_committed_is_not_trained(first: Path, second: Path, s3: S3) -> None:
    """Two settings were run. dvc.lock holds only the last, and DVC itself would push only its objects."""
    for shift in (1.5, 2.5):
        team.set_shift(first, shift)
        assert team.executed(first) == ["train", "evaluate"]
    team.push(first, s3)
    for shift in (1.5, 2.5):
        team.set_shift(second, shift)
        team.fetch(second, s3)
        assert team.executed(second) == []
    assert team.results(second) == team.results(first)


def damage(path: Path, kind: str) -> None:
    content = path.read_bytes()
    path.unlink()
    if kind != "gone":
        path.write_bytes(flip(content, len(content) // 2) if kind == "flip" else content[:9])


@pytest.mark.parametrize("kind", ["flip", "cut", "gone"])
def test_a_damaged_object_is_refused_and_mended(first: Path, second: Path, s3: S3, tmp_path: Path, kind: str) -> None:
    team.push(first, s3)
    good = (first / "model.npy").read_bytes()
    (path,) = (path for path in team.objects(s3) if path.read_bytes() == good)
    damage(path, kind)
    state = "missing" if kind == "gone" else "damaged"
    assert f"stage 'train': 1 object {state} in the store, so it runs here\n" in team.fetch(second, s3)
    assert team.executed(second) == ["train"]
    assert team.results(second) == team.results(first)
    if kind == "flip":  # DVC sees an object of this name, and does not replace it
        run_ok("dvc", "push", cwd=second, env=s3.env)
        assert path.read_bytes() != good
    said = team.push(second, s3)
    assert ("1 damaged objects replaced" in said) == (kind != "gone")
    assert path.read_bytes() == good
    third = team.clone(first, tmp_path / "third")
    team.fetch(third, s3)
    assert team.executed(third) == []


def test_a_damaged_record_is_refused_and_mended(first: Path, second: Path, s3: S3) -> None:
    team.set_shift(first, 1.5)
    team.executed(first)
    team.push(first, s3)
    before = {path: path.read_bytes() for path in team.records(s3)}
    for path in before:
        damage(path, "flip")
    team.set_shift(second, 1.5)
    assert "stage 'train': not used: 1 damaged record in the store\n" in team.fetch(second, s3)
    assert team.executed(second) == ["train", "evaluate"]
    assert team.results(second) == team.results(first)
    assert "damaged records replaced" in team.push(first, s3)
    assert {path: path.read_bytes() for path in team.records(s3)} == before


def test_records_that_contradict_each_other_are_not_used(first: Path, second: Path, s3: S3) -> None:
    team.set_shift(first, 1.5)
    team.executed(first)
    team.push(first, s3)
    record = team.record_of(s3, "shift: 1.5")
    model = hashlib.md5((first / "model.npy").read_bytes(), usedforsecurity=False).hexdigest()
    team.write_record(record, model, "0" * 32)
    team.set_shift(second, 1.5)
    assert "stage 'train': 2 records in the store contradict each other, so it runs here\n" in team.fetch(second, s3)
    assert team.executed(second) == ["train", "evaluate"]


def test_a_record_leads_to_no_other_path(first: Path, s3: S3) -> None:
    """The record's folder is also a hash of the paths. DVC alone would write to any path in the record."""
    team.push(first, s3)
    path = team.record_of(s3, "shift: 0.0")
    text = path.read_text().replace("path: model.npy", "path: ../model.npy")
    entry = YAML(typ="safe").load(text)
    assert read_entry(path.read_text(), path.parent.name, path.name)
    assert names(entry)[0] != path.parent.name
    assert read_entry(text, path.parent.name, names(entry)[1]) is None


@pytest.mark.fast(1)
@pytest.mark.parametrize("path", ["inside/../../outside", "/outside"])
def test_a_folder_holds_no_file_that_lies_outside(tmp_path: Path, path: str) -> None:
    """The store is a folder, one of DVC's many kinds."""
    project = team.make(tmp_path / "project", {"dvc.yaml": "stages: {}\n"}, run=False)
    with Repo(str(project)) as repo:
        store = Store.open(repo, (tmp_path / "store").as_uri())
    content = json.dumps([{"md5": "0" * 32, "relpath": path}]).encode()
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest() + ".dir"
    (tmp_path / "source").write_bytes(content)
    store.put(digest, tmp_path / "source")
    assert store.state(digest, len(content)) == "good"
    assert store.fetch(digest, tmp_path / "target") == "damaged"
    assert not (tmp_path / "target").exists()


# A store that does not answer


@pytest.fixture
def silent() -> Iterator[str]:
    """Yield the address of a server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("kind", ["silent", "closed", "keys"])
def test_a_store_that_cannot_be_read_costs_one_line(first: Path, s3: S3, silent: str, kind: str) -> None:
    env = s3.env | {"silent": {"AWS_ENDPOINT_URL": silent}, "closed": {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}}.get(
        kind, {"AWS_ACCESS_KEY_ID": "another"}
    )
    shutil.rmtree(first / ".dvc" / "cache")
    remote = "s3://team/digits"
    result = dvcproof(first, "fetch", "--remote", remote, "--patience", "2", env=env)
    assert (result.status, result.errors) == (CANNOT_TELL, ""), result
    line, _, summary = result.output.removesuffix("\n").partition("\n")
    assert line.isprintable()
    assert line.startswith(f"cannot tell: {remote} cannot be read, so that `dvc repro` runs the missing stages here: ")
    assert summary == f"fetch: {remote}: cannot tell"
    result = dvcproof(first, "push", "--remote", remote, env=env | {"AWS_MAX_ATTEMPTS": "1"})
    assert (result.status, team.objects(s3)) == (CANNOT_TELL, [])


@contextmanager
def signed_late(times: int) -> Iterator[None]:
    """Yield the first `times` requests are signed by a clock that is an hour slow."""
    sign, seen = SigV4Auth.add_auth, Counter[tuple[str, str]]()

    def add_auth(self: SigV4Auth, request: AWSRequest) -> None:
        seen[request.method, request.url] += 1
        now = datetime.now(UTC) - timedelta(hours=seen[request.method, request.url] <= times)
        with mock.patch("botocore.auth.get_current_datetime", return_value=now):
            sign(self, request)

    with mock.patch.object(SigV4Auth, "add_auth", add_auth):
        yield
    assert seen


@pytest.mark.fast(1)
def test_requests_that_slept_are_sent_again(first: Path, second: Path, s3: S3) -> None:
    with signed_late(1):
        assert team.push(first, s3) == "4 objects and 4 records of runs added\n"
        assert "2 objects fetched" in team.fetch(second, s3)
    assert team.executed(second) == []
    assert team.results(second) == team.results(first)


def test_a_wrong_clock_is_one_line(first: Path, s3: S3) -> None:
    with signed_late(1000):
        result = dvcproof(first, "push", "--remote", "team", env=s3.env)
    assert (result.status, result.output) == (CANNOT_TELL, "")
    line = one_line(result.errors.removesuffix("\n"))
    assert line.startswith("ERROR: store team: expected an answer. Got The difference between the request time and ")
    assert "this machine's clock" in line
    assert not team.objects(s3)


def test_the_answer_is_awaited_so_long_and_no_longer(first: Path, silent: str) -> None:
    assert DEADLINE < 5
    with Repo(str(first)) as repo:
        repo.config["remote"]["team"]["endpointurl"] = silent
        repo.config["remote"]["team"] |= {"access_key_id": "a", "secret_access_key": "b"}
        store = Store.open(repo, "team")
        start = time.monotonic()
        with pytest.raises(StoreError, match=r"no answer in 0\.5 s"):
            store.ask(0.5)
        assert time.monotonic() - start < 30


# Keys


def test_keys_that_git_would_hold_are_refused(first: Path, s3: S3) -> None:
    key = "session_token"
    run_ok("dvc", "remote", "modify", "team", key, "abc", cwd=first)
    result = dvcproof(first, "fetch", "--remote", "team", env=s3.env)
    line = one_line(result.errors.removesuffix("\n"))
    assert f"{key} of remote team: expected no key in .dvc/config. Got one. Run `" in line
    for command in line.split("`")[1::2]:
        run_ok(*command.split(), cwd=first)
    assert "abc" not in (first / ".dvc" / "config").read_text()


def test_a_remote_that_is_not_there(first: Path, s3: S3) -> None:
    result = dvcproof(first, "fetch", "--remote", "nobody", env=s3.env)
    assert result.status == USAGE
    assert "--remote 'nobody': there is no such remote. Name" in one_line(result.errors.removesuffix("\n"))


def test_packages_for_s3_that_are_missing_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DVC raises an ImportError if it knows the missing package."""
    project = team.make(tmp_path / "project", {"dvc.yaml": "stages: {}\n"}, run=False)
    monkeypatch.setitem(sys.modules, "dvc_s3", None)
    result = dvcproof(project, "push", "--remote", "s3://team/digits")
    assert result.status == USAGE
    assert result.errors.endswith("Install the packages of `dvc[s3]`.\n")
    shutil.copy(ROOT / "pyproject.toml", project)  # names this project's command for it
    assert dvcproof(project, "push", "--remote", "s3://team/digits").errors.endswith("Run `make setup WITH=s3`.\n")


@pytest.mark.slow
def test_a_key_that_may_only_read_writes_nothing(tmp_path: Path) -> None:
    """The key fetches the runs of the main branch. New runs stay local, and a push is refused with one line.

    This server checks the rights of keys.
    """

    def share(project: Path, env: dict[str, str], *words: str) -> Result:
        return dvcproof(project, *words, "--remote", "team", env=env)

    with serve_moto(tmp_path) as keys:
        main = team.write_team(tmp_path / "main", "s3://team/digits", keys.address)
        pull = team.clone(main, tmp_path / "pull")
        assert "4 objects and 4 records of runs added" in share(main, keys.writer, "push").output
        there = keys.names()
        for shift, stages in ((None, []), (1.5, ["train", "evaluate"])):
            if shift:
                team.set_shift(pull, shift)
            fetched = share(pull, keys.reader, "fetch", *team.PATIENCE)
            assert (fetched.status, "objects fetched" in fetched.output) == (0, not shift), fetched
            assert team.executed(pull) == stages
        ours = team.results(pull)
        refused = share(pull, keys.reader, "push")
        assert (refused.status, refused.output) == (CANNOT_TELL, "")
        line = one_line(refused.errors.removesuffix("\n"))
        assert line.startswith("ERROR: store team: expected an answer. Got ")
        assert "AccessDenied" in line or "Access Denied" in line or "not authorized" in line
        assert keys.names() == there
        assert (team.executed(pull), team.results(pull)) == ([], ours)
