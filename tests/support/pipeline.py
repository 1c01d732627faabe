"""The pipeline run in this process: TensorFlow is loaded once, and not by each of four programs."""

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
    """Run the four commands of the project's dvc.yaml here, and let DVC record what they wrote, as `dvc repro` does."""
    stages = yaml.safe_load((project / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    for stage, entry in stages.items():
        _python, _m, module, *arguments = shlex.split(entry["cmd"])
        assert module == f"stages.{stage}"
        with (
            contextlib.chdir(project),
            mock.patch.object(sys, "argv", [module, *arguments]),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            importlib.import_module(module).main()
    run_ok("dvc", "commit", "--force", "--quiet", cwd=project)
