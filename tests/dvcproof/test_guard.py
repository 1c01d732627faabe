"""python -m dvcproof run: a stage whose input changes while it runs is refused; a table shows what each stage did."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dvcproof.__main__ import main
from dvcproof.lockfile import parse_lock_document
from tests.support.project import run_ok
from tests.support.team import make
from tests.support.verifying import Result, run_main

GRAPH = """
stages:
  one:
    cmd: sh one.sh
    deps: [one.sh, a.txt]
    outs: [one.txt]
  two:
    cmd:
      - sort one.txt > two.txt
      - echo end >> two.txt
    deps: [one.txt]
    outs: [two.txt]
"""
READS = "cat a.txt > one.txt\n"


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    return make(tmp_path / "toy", {"dvc.yaml": GRAPH, "one.sh": READS, "a.txt": "b\na\n"}, run=False)


def guarded(toy: Path, *options: str, shell: str = "/bin/sh") -> Result:
    return run_main(main, toy, "run", *options, env={"SHELL": shell})


def table(result: Result) -> dict[str, list[str]]:
    """Return the cells of the table for each stage."""
    lines = [line.split() for line in result.output.splitlines()]
    return {words[0]: words[1:] for words in lines if words and words[0] in ("one", "two")}


def recorded(toy: Path) -> list[str]:
    lock = toy / "dvc.lock"
    return list(parse_lock_document(lock.read_bytes())) if lock.exists() else []


def test_a_stage_whose_input_changes_is_refused(toy: Path) -> None:
    """A background job of the shell changes the input while the stage runs. DVC alone records it: the control."""
    (toy / "one.sh").write_text(f"(sleep 0.1; echo c >> a.txt) &\n{READS}wait\n", encoding="utf-8")
    result = guarded(toy)
    assert result.status != 0
    assert (table(result)["one"][0], table(result)["two"][:2]) == ("refused", ["no", "record"])
    assert "DP205" in result.output
    assert recorded(toy) == []
    assert [path for path in (toy / ".dvc" / "cache").rglob("*") if path.is_file()] == []
    run_ok("dvc", "repro", "--quiet", "one", cwd=toy)
    assert recorded(toy) == ["one"]
    assert (toy / "one.txt").read_bytes() != (toy / "a.txt").read_bytes()


def test_its_twin_runs(toy: Path) -> None:
    """The twin edits a file that is no input, and rewrites an input with the same content."""
    (toy / "one.sh").write_text(f"(echo c >> b.txt; cat one.sh > c; cat c > one.sh) &\n{READS}wait\n", encoding="utf-8")
    result = guarded(toy)
    assert result.status == 0, result
    assert [words[0] for words in table(result).values()] == ["ran", "ran"]
    assert recorded(toy) == ["one", "two"]
    assert (toy / "two.txt").read_text(encoding="utf-8") == "a\nb\nend\n"


def test_a_subfolder_runs_its_own_stages(toy: Path) -> None:
    (toy / "sub").mkdir()
    (toy / "sub" / "dvc.yaml").write_text("stages: {three: {cmd: echo > o.txt, outs: [o.txt]}}\n", encoding="utf-8")
    result = guarded(toy / "sub")
    assert "1 of 3 stages ran: ok" in result.output
    assert (recorded(toy), recorded(toy / "sub")) == ([], ["three"])


@pytest.mark.slow
def test_the_table_says_what_each_stage_did(toy: Path, edit: Callable[[Path, str, str], None]) -> None:
    def words(*options: str) -> list[str]:
        return [" ".join(words) for words in table(guarded(toy, *options)).values()]

    first = words()
    assert [line.split()[:2] for line in first] == [["ran", "one.txt"], ["ran", "two.txt"]]
    assert words() == ["unchanged", "unchanged"]
    edit(toy / "a.txt", "b\n", "c\n")
    assert [line.split()[0] for line in words("one")] == ["ran", "unchanged"]
    edit(toy / "a.txt", "c\n", "b\n")
    assert words() == ["from the cache one.txt", "unchanged"]
    (toy / "one.sh").write_text("kill -9 $$\n", encoding="utf-8")
    failed = guarded(toy)
    assert failed.status == 4
    assert [words[0] for words in table(failed).values()] == ["failed", "unchanged"]


def test_the_shell_is_that_of_the_user(toy: Path) -> None:
    """DVC uses the user's shell too, so a command may be written for bash."""
    shell = shutil.which("bash")
    assert shell
    graph = (toy / "dvc.yaml").read_text(encoding="utf-8")
    bash = "if [[ $SHELL == */bash ]]; then cat <(cat a.txt) > one.txt; fi"
    (toy / "dvc.yaml").write_text(graph.replace("sh one.sh", bash), encoding="utf-8")
    assert table(guarded(toy, "one", shell=shell))["one"][0] == "ran"
    assert (toy / "one.txt").read_bytes() == (toy / "a.txt").read_bytes()
