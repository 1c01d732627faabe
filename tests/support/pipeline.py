"""Run the pipeline in this process, so that TensorFlow is loaded once and not in each of four processes."""

import contextlib
import importlib
import io
import shlex
import sys
from pathlib import Path
from unittest import mock

import yaml

from tests.support.project import run_ok


def run_pipeline(project: Path) -> None:
    """Run the four commands of the project's dvc.yaml in this process, and let DVC record the outputs."""
    stages = yaml.safe_load((project / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    for stage, entry in stages.items():
        *runner, _lock, module, options = entry["cmd"].split(maxsplit=5)
        assert runner == ["python", "-m", "dvcproof.runtime.run"]
        assert module == f"stages.{stage}"
        with (
            contextlib.chdir(project),
            mock.patch.object(sys, "argv", [module, *shlex.split(options)]),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            importlib.import_module(module).main()
    run_ok("dvc", "commit", "--force", "--quiet", cwd=project)
