"""Share a project through a store, between clones with separate caches, which are empty at first."""

import contextlib
import logging
import os
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from unittest import mock

from dvc.repo import Repo
from ruamel.yaml import YAML

from dvcproof.cache import names
from tests.support.project import commit, environment, run_ok, stages_run
from tests.support.s3 import S3
from tests.support.verifying import Result, dvcproof, notes, rebuild, write_toy

#: The outputs of the toy.
RESULTS = ("raw/a.npy", "raw/b.npy", "model.npy", "scores.json")

#: Options that wait long for a first answer, since a busy machine is not an error.
PATIENCE = ("--patience", "60")


def make(path: Path, files: Mapping[str, str], *, add: str = "", run: bool = True) -> Path:
    """Make a DVC project with these files and a remote `team` beside it.

    Give the file `add` to `dvc add`, run the stages with `run`, and commit everything.
    """
    for name, text in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(text.encode())
    run_ok("git", "init", "--quiet", "--initial-branch", "main", cwd=path)
    run_ok("dvc", "init", "--quiet", cwd=path)
    run_ok("dvc", "remote", "add", "team", str(path.with_name("store")), cwd=path)
    if add:
        run_ok("dvc", "add", "--quiet", add, cwd=path)
    if run:
        run_ok("dvc", "repro", "--quiet", "--all-pipelines", cwd=path)
    commit(path, "run")
    return path


def write_team(path: Path, remote: str, endpoint: str) -> Path:
    """Write the toy with a parameter and a remote `team`, run it and commit it."""
    write_toy(path)
    graph = (path / "dvc.yaml").read_text(encoding="utf-8")
    graph = graph.replace("deps: [raw, train.py]", "deps: [raw, train.py]\n    params: [train.shift]")
    (path / "dvc.yaml").write_text(graph, encoding="utf-8")
    (path / "params.yaml").write_text("train:\n  shift: 0.0\n", encoding="utf-8")
    program = (path / "train.py").read_text(encoding="utf-8")
    shift = 'float(open("params.yaml").read().split()[-1])'
    program = program.replace('float(os.environ.get("SHIFT", 0))', f'{shift} + float(os.environ.get("SHIFT", 0))')
    (path / "train.py").write_text(program, encoding="utf-8")
    run_ok("dvc", "remote", "add", "--default", "team", remote, cwd=path)
    run_ok("dvc", "remote", "modify", "team", "endpointurl", endpoint, cwd=path)
    rebuild(path)
    return path


def clone(project: Path, path: Path) -> Path:
    """Clone the last commit, as a colleague does."""
    run_ok("git", "clone", "--quiet", str(project), str(path), cwd=path.parent)
    return path


def set_shift(project: Path, value: float) -> None:
    (project / "params.yaml").write_text(f"train:\n  shift: {value}\n", encoding="utf-8")


def fetch(project: Path, s3: S3, *options: str, remote: str = "team") -> str:
    """Run `fetch`, which must succeed, and return its notes."""
    s3.look_again()
    result = dvcproof(project, "fetch", "--remote", remote, *(options or PATIENCE), env=s3.env)
    assert (result.status, result.errors) == (0, ""), result
    return notes(result)


def push(project: Path, s3: S3) -> str:
    """Run `push`, which must succeed, and return its notes."""
    s3.look_again()
    result = dvcproof(project, "push", "--remote", "team", env=s3.env)
    assert (result.status, result.errors) == (0, ""), result
    return notes(result)


def audit(project: Path, s3: S3, *options: str) -> Result:
    """Run the audit."""
    s3.look_again()
    return dvcproof(project, "audit", "--remote", "team", *options, env=s3.env)


def executed(project: Path) -> list[str]:
    """Run `dvc repro` in this process, since starting DVC takes longest, and return the stages that it executes."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("dvc.stage.run")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        with (
            contextlib.chdir(project),
            mock.patch.dict(os.environ, environment(), clear=True),
            warnings.catch_warnings(action="ignore", category=DeprecationWarning),  # from DVC, about its own packages
            Repo() as repo,
        ):
            repo.reproduce()
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    return stages_run("\n".join(lines))


def results(project: Path) -> dict[str, bytes]:
    return {name: (project / name).read_bytes() for name in RESULTS}


def objects(s3: S3) -> list[Path]:
    """Return the objects in the store, as files of the server."""
    return sorted(path for path in (s3.folder / "team" / "digits" / "files").rglob("*") if path.is_file())


def records(s3: S3) -> list[Path]:
    """Return the run records in the store, as files of the server."""
    return sorted(path for path in (s3.folder / "team" / "digits" / "runs").rglob("*") if path.is_file())


def empty(s3: S3) -> None:
    """Empty the store."""
    shutil.rmtree(s3.folder / "team")
    (s3.folder / "team").mkdir()
    s3.look_again()


def record_of(s3: S3, *texts: str) -> Path:
    """Return the record in the store that contains these texts."""
    (found,) = (path for path in records(s3) if all(text in path.read_text(encoding="utf-8") for text in texts))
    return found


def write_record(record: Path, old: str, new: str) -> Path:
    """Write a copy of a record with a text replaced, under the name where DVC looks for this content."""
    text = record.read_text(encoding="utf-8")
    assert old in text
    folder, name = names(YAML(typ="safe").load(text.replace(old, new)))
    path = record.parents[2] / folder[:2] / folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.replace(old, new), encoding="utf-8")
    return path
