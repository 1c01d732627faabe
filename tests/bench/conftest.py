"""The small project with a result of every study, which the tests of tables and of stale figures share."""

import contextlib
import shutil
import warnings
from pathlib import Path

import pytest
from dvc.repo import Repo

from tests.support.project import ROOT, Arrays, commit
from tests.support.results import write_documents, write_results
from tests.support.verifying import small_project


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, digits: Arrays) -> Path:
    """Return the small project with valid results and documents: no figure is stale. Do not change it."""
    project = shutil.copytree(small_project(tmp_path_factory, digits), tmp_path_factory.mktemp("figures") / "project")
    (project / "bench").mkdir()
    for name in ("dvc.yaml", ".dvcignore", "prover.yaml"):
        shutil.copy(ROOT / "bench" / name, project / "bench")
    shutil.copytree(ROOT / "bench" / ".dvc", project / "bench" / ".dvc", ignore=shutil.ignore_patterns("tmp", "cache"))
    write_results(project)
    write_documents(project)
    with contextlib.chdir(project), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # from DVC, about its own packages
        with Repo("bench") as found:
            found.commit(force=True)
    commit(project, "figures")
    return project
