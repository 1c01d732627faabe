"""Projects to verify: the real graph on the small sample, built once, and a toy whose stages can be made to fail.

Commands run in this process, since starting DVC takes longer than most checks.
"""

import contextlib
import fcntl
import io
import os
import re
import shutil
import signal
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import pytest

from digits.apps.verify import main
from dvcproof.__main__ import main as dvcproof_main
from dvcproof.runtime import program
from dvcproof.values import set_params
from tests.support.project import Arrays, commit, environment, make_project, run_ok

#: The files of the toy. Environment variables make its stages err, so that a good commit can meet a bad machine.
TOY = {
    "dvc.yaml": """
stages:
  load:
    cmd: python load.py
    deps: [load.py]
    outs: [raw]
  train:
    cmd: python train.py --platform platform.json
    deps: [raw, train.py]
    outs: [model.npy]
  evaluate:
    cmd: python evaluate.py
    deps: [evaluate.py, model.npy]
    metrics: [scores.json: {cache: false}]
""",
    "load.py": """
import os, pathlib, numpy
pathlib.Path("raw").mkdir()
numpy.save("raw/a.npy", numpy.arange(6))
numpy.save("raw/b.npy", numpy.arange(6) + int(os.environ.get("LOAD", 0)) * (numpy.arange(6) > 3))
""",
    "train.py": """
import json, os, numpy
numpy.save("model.npy", numpy.load("raw/b.npy") + float(os.environ.get("SHIFT", 0)))
json.dump({"may_differ_in_bits_because": os.environ.get("BECAUSE", "").split()}, open("platform.json", "w"))
""",
    "evaluate.py": """
import json, os, numpy
json.dump({"test": {"accuracy": 0.9 + numpy.load("model.npy")[0]}}, open("scores.json", "w"))
if "STRAY" in os.environ:
    open("stray.txt", "w").write("hello")
""",
    ".gitignore": "platform.json\n",
    "pyproject.toml": """[tool.dvcproof.tolerance]
record = "platform.json"
metric = "test.accuracy"
runs = "seeds.json"
key = "test_accuracy"
measure = "make seeds"
""",
    "seeds.json": '{"runs": [' + ", ".join(f'{{"test_accuracy": {0.88 + step / 100}}}' for step in range(5)) + "]}",
}


def write_toy(path: Path, *, subfolder: bool = False) -> Path:
    """Make a repository with the toy at `path`, or add the toy to the repository above `path`; run and commit it."""
    path.mkdir(parents=True)
    for name, text in TOY.items():
        (path / name).write_text(text, encoding="utf-8")
    if not subfolder:
        run_ok("git", "init", "--quiet", "--initial-branch", "main", cwd=path)
    run_ok("dvc", "init", "--quiet", *(["--subdir"] if subfolder else []), cwd=path)
    rebuild(path)
    return path


def rebuild(path: Path, env: Mapping[str, str] | None = None) -> None:
    """Run the pipeline at `path` and commit everything."""
    run_ok("dvc", "repro", "--quiet", cwd=path, env=env)
    commit(path, "run")


#: Code that Python imports at its start. When a stage ends, the code writes the names of all imported modules.
SITE = """
import atexit, os, pathlib, sys
if name := os.environ.get("DVC_STAGE"):
    atexit.register(lambda: pathlib.Path(__file__).with_name(name).write_text("\\n".join(sys.modules)))
"""
#: The folder of these lists in the project of `build_small`.
IMPORTED = ".dvc/tmp/imported"


def build_small(path: Path, digits: Arrays) -> Path:
    """Make, run and commit the project of `make_project` at `path`, with even less training."""
    make_project(path, digits)
    set_params(path / "params.yaml", {"dense.epochs": 1, "dense.units": 16, "train.seed": 0})
    (path / IMPORTED).mkdir(parents=True)
    (path / IMPORTED / "sitecustomize.py").write_text(SITE, encoding="utf-8")
    rebuild(path, {"PYTHONPATH": str(path / IMPORTED)})
    return path


def small_project(factory: pytest.TempPathFactory, digits: Arrays) -> Path:
    """Return the project of `build_small`, built once for all test processes. Copy the project, do not change it."""
    base = factory.getbasetemp()
    path = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "small-project"
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            build_small(path.with_name("small-project-unfinished"), digits).rename(path)
    return path


def branched_project(factory: pytest.TempPathFactory, digits: Arrays) -> Path:
    """Return the small project with two branches beside `main`: `seed` and `worst`, which each change one parameter."""
    path = factory.getbasetemp() / "branched-project"
    if not path.exists():
        unfinished = path.with_name("branched-project-unfinished")
        shutil.copytree(small_project(factory, digits), unfinished)
        for branch, name, value in (("seed", "train.seed", 1), ("worst", "evaluate.worst", 20)):
            run_ok("git", "checkout", "--quiet", "-b", branch, "main", cwd=unfinished)
            run_ok("dvc", "checkout", "--quiet", cwd=unfinished)
            set_params(unfinished / "params.yaml", {name: value})
            rebuild(unfinished)
        unfinished.rename(path)
    return path


class Result(NamedTuple):
    """The exit status and output of a command."""

    status: int
    output: str
    errors: str


def verify(path: Path, *options: str, env: Mapping[str, str] | None = None) -> Result:
    """Run `python -m digits verify` in the folder `path`."""
    return run_main(main, path, *options, env=env)


def dvcproof(path: Path, *words: str, env: Mapping[str, str] | None = None) -> Result:
    """Run `python -m dvcproof` in the folder `path`."""
    return run_main(dvcproof_main, path, *words, env=env)


def doctor(path: Path, *options: str) -> Result:
    """Run `python -m dvcproof doctor --fix` in the folder `path`."""
    return dvcproof(path, "doctor", "--fix", *options)


def doctor_says(path: Path, *options: str) -> str:
    """Run the doctor with repairs, which must succeed, and return its notes."""
    result = doctor(path, *options)
    assert (result.status, result.errors) == (0, ""), result
    return notes(result)


def notes(result: Result) -> str:
    """Return the notes in an output, one a line."""
    lines = re.findall(r"^note: (.*)\. \[DP\d+\]$", result.output, re.MULTILINE)
    return "".join(f"{line}\n" for line in lines)


def run_main(main: Callable[[], None], path: Path, *options: str, env: Mapping[str, str] | None = None) -> Result:
    """Run a program's `main` in the folder `path`."""
    output, errors = io.StringIO(), io.StringIO()
    handler = signal.getsignal(signal.SIGTERM)
    with (
        contextlib.chdir(path),
        mock.patch.dict(os.environ, environment(**(env or {})), clear=True),
        mock.patch.object(sys, "argv", ["verify", *options]),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(errors),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", DeprecationWarning)  # from DVC, about its own packages
        try:
            program.run(main)
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
            errors.write("" if isinstance(end.code, int) else f"{end.code}\n")
        finally:
            signal.signal(signal.SIGTERM, handler)
    return Result(status, output.getvalue(), errors.getvalue())


def fails(path: Path, *options: str, env: Mapping[str, str] | None = None) -> str:
    """Run verify, which must fail with findings or with one error line, and return its output."""
    result = verify(path, *options, env=env)
    assert result.status in (1, 4), result
    assert all(line.startswith("ERROR: ") for line in result.errors.splitlines()), result.errors
    return result.errors or result.output


def passes(path: Path, *options: str, env: Mapping[str, str] | None = None) -> str:
    """Run verify, which must succeed with nothing on standard error, and return its output."""
    result = verify(path, *options, env=env)
    assert result.status == 0, result
    assert not result.errors
    return result.output


def assert_match(pattern: str, text: str) -> None:
    """Check that the text contains the pattern, as `match=` of pytest.raises does."""
    assert re.search(pattern, text), f"{pattern!r} is not in\n{text}"
