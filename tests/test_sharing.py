"""Every command of docs/sharing.md, run as written, against a real S3 server in place of the team's."""

import re
import shutil
from pathlib import Path

import pytest

from tests.support.project import ROOT, Arrays, run, run_ok, stages_run
from tests.support.s3 import S3
from tests.support.verifying import small_project

PAGE = ROOT / "docs" / "sharing.md"

#: The addresses and keys in the page, which the test replaces.
THEIRS = ("https://s3.example.org", "https://git.example.org/digits.git", "KEY", "SECRET")


def blocks() -> list[str]:
    """Return the blocks of commands in the page."""
    return re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def commands(block: str, s3: S3, origin: Path) -> list[str]:
    ours = (s3.address, f"file://{origin}", "team", "secret")
    for their, our in zip(THEIRS, ours, strict=True):
        block = block.replace(their, our)
    # `make` sets up no environment here: that of the tests is active.
    return [re.sub(r"^make ", "make SETUP=: RUN= ", line) for line in block.splitlines() if line]


@pytest.mark.slow
def test_every_command_of_the_page(
    tmp_path_factory: pytest.TempPathFactory, digits: Arrays, tmp_path: Path, s3: S3
) -> None:
    once, keys, daily, release, elsewhere, audit = blocks()
    first, origin = tmp_path / "first", tmp_path / "digits.git"
    shutil.copytree(small_project(tmp_path_factory, digits), first, symlinks=True)
    for name in ("Makefile", "requirements-dev.lock"):
        shutil.copy(ROOT / name, first)
    graph = (first / "dvc.yaml").read_text(encoding="utf-8")
    assert "artifacts:\n  digits:\n    path: data/model.keras\n" in graph
    run_ok("git", "add", "--all", cwd=first)
    run_ok("git", "commit", "--quiet", "-m", "all", cwd=first)
    run_ok("git", "init", "--quiet", "--bare", "--initial-branch", "main", str(origin), cwd=tmp_path)
    run_ok("git", "remote", "add", "origin", str(origin), cwd=first)

    def do(block: str, folder: Path) -> str:
        return "".join(
            run_ok("sh", "-c", line, cwd=folder, env=s3.without_keys) for line in commands(block, s3, origin)
        )

    do(once + keys, first)
    assert run_ok("git", "status", "--porcelain", cwd=first) == ""  # no key is in Git
    said = do(daily, first)
    assert re.search(r"note: \d+ objects and \d records of runs added", said)
    do(release, first)
    second, guest = tmp_path / "second", tmp_path / "guest"
    run_ok("git", "clone", "--quiet", str(origin), str(second), cwd=tmp_path)
    do(keys, second)
    said = do(daily.splitlines()[0], second)
    assert stages_run(said) == []
    assert "objects fetched" in said
    model = (first / "data" / "model.keras").read_bytes()
    assert (second / "data" / "model.keras").read_bytes() == model
    guest.mkdir()
    for line in commands(elsewhere, s3, origin):
        run_ok("sh", "-c", line, cwd=guest, env=s3.env)
    assert (guest / "model.keras").read_bytes() == (guest / "digits.keras").read_bytes() == model
    lines = commands(audit, s3, origin)
    assert "records reproduced" in run_ok("sh", "-c", lines[0], cwd=second, env=s3.env)
    assert run("sh", "-c", lines[0].replace("team", "nobody"), cwd=second, env=s3.env).returncode != 0
