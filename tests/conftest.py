"""What several test files share: a small sample of the real digits, and a copy of the project to run."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from verify.parameters import set_parameter

ROOT = Path(__file__).resolve().parents[1]
Arrays = dict[str, NDArray[np.generic]]


@pytest.fixture(scope="session")
def digits() -> Arrays:
    """The first 600 training and 200 test images of the real MNIST, with their labels, under Keras's names."""
    with np.load(ROOT / "data" / "mnist.npz", allow_pickle=False) as mnist:
        return {name: mnist[name][: 600 if "train" in name else 200] for name in mnist.files}


@pytest.fixture
def small_npz(tmp_path: Path, digits: Arrays) -> Path:
    """A .npz of the small sample."""
    path = tmp_path / "small.npz"
    np.savez_compressed(path, **digits)  # type: ignore[arg-type]
    return path


def environment(**extra: str) -> dict[str, str]:
    """The environment that tests run programs in: this interpreter's programs first, and no one's Git configuration."""
    keep = {name: value for name, value in os.environ.items() if not name.startswith(("DVC_", "GIT_", "PYTEST"))}
    keep["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{keep['PATH']}"
    author = {
        f"GIT_{role}_{field}": "test@localhost" for role in ("AUTHOR", "COMMITTER") for field in ("NAME", "EMAIL")
    }
    return keep | author | {"GIT_CONFIG_GLOBAL": os.devnull, "DVC_NO_ANALYTICS": "1"} | extra


def run(*command: str, cwd: Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program and give back its exit status and output, whatever they are."""
    return subprocess.run(
        command, cwd=cwd, env=environment() | dict(env or {}), capture_output=True, text=True, check=False
    )


def run_ok(*command: str, cwd: Path, env: Mapping[str, str] | None = None) -> str:
    """Run a program that must succeed, and give back its standard output and error."""
    result = run(*command, cwd=cwd, env=env)
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result.stdout + result.stderr


def make_project(path: Path, digits: Arrays) -> Path:
    """Make a Git and DVC repository with this project's graph and code, on the small sample, with nothing run yet.

    Its network is the dense one, whatever the committed parameters say.
    """
    path.mkdir()
    for name in ("dvc.yaml", "params.yaml", "requirements.lock", ".gitignore", ".dvcignore"):
        shutil.copy(ROOT / name, path / name)
    set_parameter(path / "params.yaml", "train.model", "dense")
    shutil.copytree(ROOT / "stages", path / "stages", ignore=shutil.ignore_patterns("__pycache__"))
    (path / "data").mkdir()
    np.savez_compressed(path / "data" / "mnist.npz", **digits)  # type: ignore[arg-type]
    run_ok("git", "init", "--quiet", "--initial-branch", "main", cwd=path)
    run_ok("dvc", "init", "--quiet", cwd=path)
    commit(path, "start")
    return path


def commit(path: Path, message: str) -> None:
    """Commit everything in the repository at `path`."""
    run_ok("git", "add", "--all", cwd=path)
    run_ok("git", "commit", "--quiet", "--message", message, cwd=path)


def stages_run(output: str) -> list[str]:
    """The stages that a `dvc repro` with this output executed."""
    return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage '")]


@pytest.fixture
def edit() -> Callable[[Path, str, str], None]:
    """Replace a text that stands once in a file."""

    def replace(path: Path, old: str, new: str) -> None:
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {path}"
        path.write_text(text.replace(old, new), encoding="utf-8")

    return replace
