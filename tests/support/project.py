"""Run programs as a user does, in projects that do not depend on the committed parameters."""

import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.measure import NOBODY
from bench.measure import environment as plain_environment
from dvcproof.values import set_params

ROOT = Path(__file__).resolve().parents[2]
Arrays = dict[str, NDArray[np.generic]]

#: Environment variables for programs that use the repository's packages but run outside of it, so that they cannot
#: change it.
AT_ROOT = {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}

#: The parameters of every project that a test makes. A user's own parameters must not break a test.
SECTIONS: dict[str, dict[str, object]] = {
    "load": {"source": "data/mnist.npz", "test_size": 0, "transpose": "auto"},
    "preprocess": {"validation_size": 0},
    "train": {"model": "dense", "seed": 7, "shards": 2, "device": "cpu"},
    "dense": {"optimizer": "rmsprop", "learning_rate": 0.001, "epochs": 5, "batch_size": 128, "units": 512},
    "convnet": {"optimizer": "adam", "learning_rate": 0.005, "epochs": 7, "batch_size": 128, "filters": 24}
    | {"warmup": 0.15, "shift": 1.0, "distortion": 0.15},
    "evaluate": {"batch_size": 1000, "views": 1, "worst": 25},
}


def dotted(sections: Mapping[str, Mapping[str, object]]) -> dict[str, object]:
    """Return parameters by their full names: `dense.units`."""
    return {f"{section}.{name}": value for section, values in sections.items() for name, value in values.items()}


RECIPE: dict[str, Any] = {"class_names": [str(label) for label in range(10)], **dotted(SECTIONS)}


def environment(**extra: str) -> dict[str, str]:
    """Return variables for a program: this interpreter first on the path, no user settings of Git and DVC."""
    keep = {name: value for name, value in plain_environment().items() if not name.startswith("GIT_")}
    return keep | NOBODY | extra


def recipe_params(folder: Path, **sections: Mapping[str, object]) -> Path:
    """Write the project's params.yaml with the parameters in SECTIONS, changed by `sections`: dense={"units": 16}."""
    path = Path(shutil.copy(ROOT / "params.yaml", folder))
    set_params(path, RECIPE | dotted(sections))
    return path


def run(*command: str, cwd: Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program, and return its exit status and output. Any exit status is accepted."""
    return subprocess.run(
        command, cwd=cwd, env=environment() | dict(env or {}), capture_output=True, text=True, check=False
    )


def run_ok(*command: str, cwd: Path, env: Mapping[str, str] | None = None) -> str:
    """Run a program that must succeed, and return its standard output and error."""
    result = run(*command, cwd=cwd, env=env)
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result.stdout + result.stderr


def start(*command: str, cwd: Path) -> subprocess.Popen[str]:
    """Start a program that SIGINT can end, as a context manager.

    If the tests are a background job of a shell, they ignore SIGINT, and a program would inherit that. A handler is not
    inherited.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(
            command, cwd=cwd, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    finally:
        signal.signal(signal.SIGINT, before)


def make_project(path: Path, digits: Arrays) -> Path:
    """Make a Git and DVC repository with this project's graph and code and the small sample. Nothing has run yet."""
    path.mkdir()
    for name in ("dvc.yaml", "requirements.lock", ".gitignore", ".dvcignore"):
        shutil.copy(ROOT / name, path / name)
    recipe_params(path)
    for package in ("stages", "digits", "exactkeras", "dvcproof"):
        shutil.copytree(ROOT / package, path / package, ignore=shutil.ignore_patterns("__pycache__"))
    (path / "data").mkdir()
    np.savez_compressed(path / "data" / "mnist.npz", **digits)  # type: ignore[arg-type]
    run_ok("git", "init", "--quiet", "--initial-branch", "main", cwd=path)
    run_ok("dvc", "init", "--quiet", cwd=path)
    commit(path, "start")
    return path


def run_pipeline(path: Path, files: Mapping[str, str]) -> Path:
    """Make a DVC project with these files and without this project's code, run it and commit it."""
    path.mkdir()
    for name, text in files.items():
        (path / name).write_text(text, encoding="utf-8")
    run_ok("git", "init", "--quiet", cwd=path)
    run_ok("dvc", "init", "--quiet", cwd=path)
    run_ok("dvc", "repro", "--quiet", cwd=path)
    commit(path, "run")
    return path


def commit(path: Path, message: str) -> None:
    """Commit everything in the repository at `path`."""
    run_ok("git", "add", "--all", cwd=path)
    run_ok("git", "commit", "--quiet", "--message", message, cwd=path)


def stages_run(output: str) -> list[str]:
    """Return the stages that were executed according to this output of `dvc repro`."""
    return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage '")]
