"""The queue of experiments: results that DVC would lose silently are prevented, or noticed as missing."""

import json
import re
import shutil
from pathlib import Path
from unittest import mock

import pytest

from bench import queued
from dvcproof.runtime.program import InputError
from tests.support.project import commit, run_ok
from tests.support.refusal import refusal


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return an empty repository with two commits."""
    path = tmp_path / "project"
    path.mkdir()
    run_ok("git", "init", "--quiet", "--initial-branch", "main", cwd=path)
    for _ in range(2):
        run_ok("git", "commit", "--quiet", "--allow-empty", "--message", "more", cwd=path)
    return path


def test_a_shallow_clone_is_refused_before_anything_is_computed(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clone = project.parent / "clone"
    run_ok("git", "clone", "--quiet", "--depth=1", project.as_uri(), str(clone), cwd=project)
    monkeypatch.chdir(clone)
    line = "ERROR: the queue: DVC loses the results of queued experiments in a shallow clone. "
    assert refusal(queued.main) == f"{line}Run `git fetch --unshallow`, then this command again."
    run_ok("git", "fetch", "--quiet", "--unshallow", cwd=clone)
    queued.require_place(clone)


def test_a_name_that_an_address_misreads_is_refused(project: Path) -> None:
    for name in ("a%2Fb", "a#b", "a?b"):
        with pytest.raises(InputError, match=rf"DVC loses queued experiments in a path with '{re.escape(name[1:-1])}'"):
            queued.require_place(project.rename(project.parent / name))
        (project.parent / name).rename(project)
    for name in ("a%zz", "50% b", "a&b=c"):
        queued.require_place(project.rename(project.parent / name))
        (project.parent / name).rename(project)


@pytest.mark.parametrize("kept", [True, False])
def test_an_experiment_that_was_removed_meanwhile_is_no_success(monkeypatch: pytest.MonkeyPatch, kept: bool) -> None:
    def tasks(status: str, *revs: str) -> list[dict[str, str]]:
        return [{"rev": rev, "name": rev, "status": status} for rev in revs]

    repo = mock.MagicMock()
    queue = repo.__enter__.return_value.experiments.celery_queue
    ended = tasks("Success", "one", *["two"] * kept)
    queue.status.side_effect = [tasks("Queued", "one", "two"), *[ended] * 9]
    queue.iter_success.return_value = [(mock.Mock(stash_rev=task["rev"]), mock.Mock()) for task in ended]
    monkeypatch.setattr(queued, "Repo", lambda _: repo)
    assert queued.run_queue(Path(), 1) == ([], [] if kept else ["two"])


@pytest.mark.slow
@pytest.mark.parametrize("place", ["whole", "shallow", "a%2Fb"])
def test_an_experiment_that_is_not_there_is_no_success(
    project: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """The command fails although DVC reports success."""
    stage = {"cmd": "cp params.yaml out.json", "params": ["x"], "metrics": [{"out.json": {"cache": False}}]}
    (project / "dvc.yaml").write_text(json.dumps({"stages": {"copy": stage}}), encoding="utf-8")
    (project / "params.yaml").write_text("x: 1\n", encoding="utf-8")
    run_ok("dvc", "init", "--quiet", cwd=project)
    run_ok("dvc", "repro", "--quiet", cwd=project)
    commit(project, "run")
    path = project.parent / place
    if place == "shallow":
        run_ok("git", "clone", "--quiet", "--depth=1", project.as_uri(), str(path), cwd=project)
    else:
        shutil.copytree(project, path, symlinks=True)
    monkeypatch.chdir(path)
    run_ok("dvc", "exp", "run", "--quiet", "--queue", "--name", "two", "-S", "x=2", cwd=path)
    assert queued.run_queue(path, 1) == queued.Ended([], [] if place == "whole" else ["two"])
    assert ("two" in run_ok("dvc", "exp", "list", "--name-only", cwd=path)) is (place == "whole")
    if place != "whole":
        monkeypatch.setattr(queued, "require_place", lambda _: None)
        monkeypatch.setattr(queued, "run_queue", lambda *_: queued.Ended([], ["two"]))
        problem = "experiment two: it was removed from the queue, or DVC has lost its result. Run it with"
        assert problem in refusal(queued.main)
    run_ok("dvc", "queue", "stop", "--kill", cwd=path)
