"""Installation with pip, which many people try first; `make` does not need it."""

import shutil
import sys
from pathlib import Path

import pytest

from tests.support.project import ROOT, commit, run_ok

PACKAGES = ("bench", "digits", "dvcproof", "exactkeras", "stages")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return a repository with the packages and the top-level files; all other files are empty."""
    path = tmp_path / "source"
    for name in run_ok("git", "ls-files", cwd=ROOT).splitlines():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        if "/" not in name or name.split("/")[0] in PACKAGES:
            shutil.copy(ROOT / name, path / name)
        else:
            (path / name).touch()
    run_ok("git", "init", "--quiet", cwd=path)
    commit(path, "start")
    return path


@pytest.mark.fast(1)
@pytest.mark.parametrize("option", [["--editable"], []], ids=["editable", "copied"])
def test_pip_installs_every_package_with_its_templates(source: Path, option: list[str]) -> None:
    command = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--no-build-isolation",
        "--prefix",
        "prefix",
    ]
    run_ok(sys.executable, *command, *option, "./source", cwd=source.parent)
    assert run_ok("git", "status", "--porcelain", cwd=source) == ""
    (site,) = source.parent.glob("prefix/lib/python*/site-packages")
    program = f"import site; site.addsitedir({str(site)!r}); import {', '.join(PACKAGES)}; "
    program += f"print(*(package.__path__[0] for package in [{', '.join(PACKAGES)}]))"
    places = run_ok(sys.executable, "-c", program, cwd=source.parent).split()
    assert places == [str((source if option else site) / name) for name in PACKAGES]
    templates = run_ok("git", "ls-files", "*.html", "*.j2", cwd=ROOT).split()
    assert templates
    assert [name for name in templates if not (Path(places[0]).parent / name).exists()] == []
