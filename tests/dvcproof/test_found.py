"""Regression tests for faults found with public and made-up projects, each with a control."""

import hashlib
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dvcproof.__main__ import main
from dvcproof.check import check
from dvcproof.findings import Finding
from dvcproof.project import Project
from tests.support.project import commit, run_ok
from tests.support.team import make
from tests.support.verifying import Result, run_main

# DVC itself causes this warning, with its prefix-tree library.
pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning")

GRAPH = "stages:\n  go:\n    cmd: cp i.txt o.txt\n    deps: [i.txt]\n    outs: [o.txt]\n"


def start(path: Path, graph: str = GRAPH, *, run: bool = True) -> Path:
    """Make a project with one input, `i.txt`."""
    return make(path, {"dvc.yaml": graph, "i.txt": "a\nb\n"}, run=run)


def checked(path: Path) -> list[Finding]:
    with Project.open(path) as project:
        return [finding for finding in check(project, linting=False).findings if finding.level == "error"]


def digest(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def test_line_ends_of_windows(tmp_path: Path) -> None:
    """DVC 2 recorded the hash of the text with Unix line ends and its size as it was; DVC 3 hashes all bytes."""
    path = start(tmp_path / "project")
    lock = path / "dvc.lock"
    text = lock.read_text(encoding="utf-8").replace("size: 4", "size: 6")
    lock.write_text(text.replace("      hash: md5\n", ""), encoding="utf-8")
    assert checked(path) == []
    lock.write_text(text, encoding="utf-8")  # the control: in DVC 3 the size is that of the hashed bytes
    assert [finding.rule for finding in checked(path)] == ["DP104", "DP106"]
    assert not any("line ends" in finding.message for finding in checked(path))
    lock.write_text(text.replace(digest(b"a\nb\n"), digest(b"a\r\nb\r\n")), encoding="utf-8")
    assert all("line ends" in finding.message and "-text" in finding.fix for finding in checked(path))
    (path / "i.txt").write_bytes(b"a\nc\n")
    assert ["line ends" in finding.message for finding in checked(path)] == [False, True]


def test_a_command_that_differs_by_spaces(tmp_path: Path, edit: Callable[[Path, str, str], None]) -> None:
    path = start(tmp_path / "project")
    edit(path / "dvc.yaml", "cp i.txt", "cp  i.txt")
    (finding,) = checked(path)
    assert finding.evidence == "recorded: 'cp i.txt o.txt'\nhere:     'cp  i.txt o.txt'"


@pytest.fixture(scope="module")
def nested_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project whose only dvc.yaml is in a folder, with parameters in TOML, added data, and a store."""
    graph = GRAPH.replace("    outs:", "    params: [{p.toml: [k]}]\n    outs:")
    files = {"models/p.toml": "k = 1\n", "models/i.txt": "a\nb\n", "models/dvc.yaml": graph}
    return make(tmp_path_factory.mktemp("nested") / "project", files, add="models/i.txt")


@pytest.fixture
def path(nested_once: Path, tmp_path: Path) -> Path:
    return shutil.copytree(nested_once, tmp_path / "project", symlinks=True)


def command(path: Path, *options: str) -> Result:
    """Run `python -m dvcproof` in a project."""
    return run_main(main, path, *options)


def test_only_a_folder_has_a_dvc_yaml(path: Path) -> None:
    """Every verb finds the dvc.yaml, from the root and from below; the doctor repairs files in the folder."""
    for verb in ("doctor", "push", "fetch", "audit", "run"):
        options = ("--remote", "team") if verb in ("push", "fetch", "audit") else ()
        for folder in (path, path / "models"):
            result = command(folder, verb, *options)
            assert result.status == 0, (verb, result)
    assert "1 of 1" in command(path, "run", "--all-pipelines", "--force").output
    shutil.rmtree(path / ".dvc" / "cache" / "runs")
    shutil.rmtree(path / ".dvc" / "cache" / "files" / "md5" / digest(b"a\nb\n")[:2])
    (path / "models" / "o.txt").unlink()
    assert "stage 'models/dvc.yaml:go': 1 object fetched" in command(path, "fetch", "--remote", "team").output
    lock = path / "models" / "dvc.lock"
    whole = lock.read_bytes()
    lock.write_bytes(whole[:50])
    assert "models/dvc.lock was damaged" in command(path, "doctor").output
    assert command(path, "doctor", "--fix").status == 0
    assert lock.read_bytes() == whole


@pytest.mark.parametrize("text", ["schema: '2.0'\nstages: {}\n", "schema: '2.0'\n", ""])
def test_an_empty_lock(tmp_path: Path, text: str) -> None:
    """A lock that says that it has no stages is complete; a lock that was cut short before them is not."""
    path = start(tmp_path / "project", run=False)
    (path / "dvc.lock").write_text(text, encoding="utf-8")
    assert ("damaged" in command(path, "doctor").output) == ("stages" not in text)
    result = command(path, "check")
    assert ("dvc.lock: it is empty" in result.output) == (not text)
    assert result.status == 1


def test_a_lock_in_a_folder_that_dvc_ignores(tmp_path: Path) -> None:
    path = start(tmp_path / "project")
    for name in ("sample", ".venv", "nested"):
        (path / name).mkdir()
        (path / name / "dvc.lock").write_text("schema: '2.0'\nstages:\n  other:\n    cmd: x\n", encoding="utf-8")
    (path / "nested" / ".dvc").mkdir()  # a project of its own
    assert [finding.stage for finding in checked(path)] == ["other"]  # the control
    (path / ".dvcignore").write_text("sample\n", encoding="utf-8")
    assert checked(path) == []


def test_records_of_dvc_2(tmp_path: Path) -> None:
    """`check` writes nothing to the cache, and reports no objects that a store cannot have."""
    graph = GRAPH.replace("[i.txt]", "[i.txt, d]")
    path = make(tmp_path / "project", {"dvc.yaml": graph, "i.txt": "a\nb\n", "d/x.txt": "1\r\n"})
    lock = path / "dvc.lock"
    listed = b'[{"md5": "%s", "relpath": "x.txt"}]' % digest(b"1\n").encode()
    new = digest(b'[{"md5": "%s", "relpath": "x.txt"}]' % digest(b"1\r\n").encode())
    text = lock.read_text(encoding="utf-8").replace("      hash: md5\n", "")
    assert text.count(new) == 1
    lock.write_text(text.replace(new, digest(listed)), encoding="utf-8")
    shutil.rmtree(path / ".dvc" / "cache" / "files")
    commit(path, "as DVC 2 left it")
    assert checked(path) == []
    assert not (path / ".dvc" / "cache" / "files").exists()
    assert "missing" not in command(path, "fetch", "--remote", "team").output
    (path / "d" / "x.txt").write_bytes(b"2\r\n")  # the control
    assert [finding.rule for finding in checked(path)] == ["DP104"]


def test_when_a_stage_without_dependencies_runs(tmp_path: Path) -> None:
    """DVC runs such a stage each time only if it has no outputs either, or has `always_changed`."""
    graph = "stages:\n  one:\n    cmd: echo > o.txt\n    outs: [o.txt]\n  two:\n    cmd: echo\n"
    graph += "  three:\n    cmd: echo\n    always_changed: true\n"
    path = start(tmp_path / "project", graph, run=False)
    assert [line.split(" so that ")[1] for line in command(path, "check").output.splitlines() if "DP406" in line] == [
        "it runs once only. [DP406]",
        "it runs each time. [DP406]",
    ]
    for expected in (3, 2):
        assert f"{expected} of 3 stages ran: ok" in command(path, "run").output
    (path / "dvc.yaml").write_text("stages:\n  one:\n    cmd: exit 3\n", encoding="utf-8")
    result = command(path, "run")
    assert (result.status, "1 of 1 stages ran: a stage failed" in result.output) == (4, True)


def test_data_that_is_damaged_in_the_cache(path: Path) -> None:
    """No stage is blamed for the effects, and the doctor reports the damage, although it cannot repair it."""
    assert command(path, "doctor").status == command(path, "verify").status == 0  # the control
    (path / "models" / "i.txt").unlink()
    (path / "models" / "o.txt").unlink()
    name = digest(b"a\nb\n")
    place = path / ".dvc" / "cache" / "files" / "md5" / name[:2] / name[2:]
    place.chmod(0o644)
    place.write_bytes(b"a\nc\n")
    place.chmod(0o444)
    result = command(path, "verify")
    assert (result.status, f"{place} is damaged" in result.output, "DP70" in result.output) == (3, True, False)
    for options in ([], ["--fix"]):
        result = command(path, "doctor", *options)
        assert result.status == 1
        assert "made by no stage: models/i.txt" in result.output
        assert place.read_bytes() == b"a\nc\n"
    place.unlink()
    result = command(path, "verify")
    assert result.status == 3
    assert "cannot tell: i.txt is in neither cache nor work tree" in result.output


def test_what_dvc_and_python_keep_for_themselves(tmp_path: Path, edit: Callable[[Path, str, str], None]) -> None:
    """No stage is blamed for such files, even if .gitignore does not name them or Git tracks them."""
    path = start(tmp_path / "project")
    (path / ".dvc" / ".gitignore").unlink()
    commit(path, "all")
    assert command(path, "verify").status == 0
    (path / "helper.py").touch()
    edit(path / "dvc.yaml", "cp i.txt o.txt", "cp i.txt o.txt && python -c 'import helper'")
    run_ok("dvc", "repro", "--quiet", cwd=path)
    shutil.rmtree(path / "__pycache__", ignore_errors=True)
    commit(path, "Python")
    assert command(path, "verify").status == 0
    edit(path / "dvc.yaml", "python -c 'import helper'", "echo >> left.txt")
    run_ok("dvc", "repro", "--quiet", cwd=path)
    (path / "left.txt").unlink()
    commit(path, "the control")
    assert "the run leaves left.txt" in command(path, "verify").output


def test_data_that_dvc_cannot_check_out(path: Path) -> None:
    """For example, the program for the remote is missing. No stage is blamed, and DVC's message is shown."""
    run_ok("dvc", "remote", "add", "--default", "far", "gdrive://nothing", cwd=path)
    commit(path, "a remote of a kind that is not installed")
    result = command(path, "verify")
    assert (result.status, "DP70" in result.output) == (3, False)
    assert re.search(r"cannot tell: `dvc checkout` fails: ERROR: .*gdrive", result.output)


def test_a_folder_that_an_output_in_git_keeps(tmp_path: Path) -> None:
    """The stage does not make the folder: `vary` leaves it there, as a clone has it."""
    graph = GRAPH.replace("cp i.txt o.txt", "date +%N > d/o.txt").replace("[o.txt]", "[{d/o.txt: {cache: false}}]")
    path = start(tmp_path / "project", graph, run=False)
    (path / "d").mkdir()
    run_ok("dvc", "repro", "--quiet", cwd=path)
    commit(path, "run")
    result = command(path, "vary", "--only", "umask")
    assert (result.status, "DP301" in result.output, "DP303" in result.output) == (1, True, False)
