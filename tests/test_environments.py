"""Every row of docs/environments.md names tests that exist."""

import ast
import re

import pytest

from tests.support.project import ROOT

PAGES = sorted((ROOT / "docs").glob("environments*.md"))
ROW = re.compile(r"^\| (?!---|what you have)(.+) \|$", re.MULTILINE)
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def named_tests(row: str) -> list[tuple[str, str]]:
    """Return the tests that a row of a table names in its last cell, as file and name."""
    return TEST.findall(row.rsplit(" | ", 1)[1])


def missing(tests: list[tuple[str, str]]) -> list[str]:
    """Return the tests that do not exist."""
    absent = []
    for file, name in tests:
        path = ROOT / file
        tree = ast.parse(path.read_text(encoding="utf-8")) if path.is_file() else ast.Module([], [])
        if name not in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}:
            absent.append(f"{file}::{name}")
    return absent


@pytest.mark.parametrize("page", [path.name for path in PAGES])
def test_every_row_names_tests_that_exist(page: str) -> None:
    rows = ROW.findall((ROOT / "docs" / page).read_text(encoding="utf-8"))
    assert rows
    for row in rows:
        assert named_tests(row), row
        assert missing(named_tests(row)) == [], row


def test_a_test_that_is_not_there_is_found() -> None:
    named = named_tests("case | what | `tests/test_environments.py::test_nothing`, `tests/none.py::test_a`")
    assert missing(named) == ["tests/test_environments.py::test_nothing", "tests/none.py::test_a"]
