"""Programs run as a user runs them, and projects to run them in, whatever the committed parameters are."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dvcproof.values import set_params

ROOT = Path(__file__).resolve().parents[2]
Arrays = dict[str, NDArray[np.generic]]

#: Programs run elsewhere than in the repository, so that none can touch it; they find its packages all the same.
AT_ROOT = {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}

#: The parameters of every project that a test makes: those of the recipe. A user's own must not turn a test red.
RECIPE = {
    "class_names": [str(label) for label in range(10)],
    "load.source": "data/mnist.npz",
    "load.test_size": 0,
    "load.transpose": "auto",
    "preprocess.validation_size": 0,
    "train.model": "dense",
    "train.seed": 7,
    "train.shards": 2,
    "train.device": "cpu",
    "dense.optimizer": "rmsprop",
    "dense.learning_rate": 0.001,
    "dense.epochs": 5,
    "dense.batch_size": 128,
    "dense.units": 512,
    "convnet.optimizer": "adam",
    "convnet.learning_rate": 0.005,
    "convnet.epochs": 7,
    "convnet.batch_size": 128,
    "convnet.filters": 24,
    "convnet.warmup": 0.15,
    "convnet.shift": 1.0,
    "convnet.distortion": 0.15,
    "evaluate.batch_size": 1000,
    "evaluate.views": 1,
    "evaluate.worst": 25,
}


def recipe_params(folder: Path, **sections: Mapping[str, object]) -> Path:
    """The project's params.yaml with the parameters of the recipe, and others: dense={"units": 16}."""
    path = Path(shutil.copy(ROOT / "params.yaml", folder))
    others = {f"{section}.{name}": value for section, values in sections.items() for name, value in values.items()}
    set_params(path, RECIPE | others)
    return path


def environment(**extra: str) -> dict[str, str]:
    """The environment that tests run programs in: this interpreter's programs first, and no one's Git configuration."""
    foreign = ("DVC_", "GIT_", "PYTEST", "MAKE", "MFLAGS")  # the last two: of the `make test` that runs the tests
    keep = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
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


def start(*command: str, cwd: Path) -> subprocess.Popen[str]:
    """Start a program, to be used as a context. SIGINT reaches it, whatever the parent of the tests has set.

    A script's `make test &` ignores SIGINT, and a program inherits that; but a handler never outlives the start.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(
            command, cwd=cwd, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    finally:
        signal.signal(signal.SIGINT, before)


def make_project(path: Path, digits: Arrays) -> Path:
    """Make a Git and DVC repository with this project's graph and code, on the small sample, with nothing run yet."""
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


def commit(path: Path, message: str) -> None:
    """Commit everything in the repository at `path`."""
    run_ok("git", "add", "--all", cwd=path)
    run_ok("git", "commit", "--quiet", "--message", message, cwd=path)


def stages_run(output: str) -> list[str]:
    """The stages that a `dvc repro` with this output executed."""
    return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage '")]
