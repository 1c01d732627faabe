"""Equal results are equal bytes: one fixed form for JSON and CSV."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.console import InputError
from stages.tables import read_csv, write_csv, write_json


def test_json_has_one_form(tmp_path: Path) -> None:
    content = {"z": 1 / 3, "a": [1, 2.0, (0.1 + 0.2, None)], "nested": {"true": True, "text": "é\n"}}
    write_json(tmp_path / "a.json", content)
    assert (tmp_path / "a.json").read_bytes() == (
        b'{\n  "z": 0.333333,\n  "a": [\n    1,\n    2.0,\n    [\n      0.3,\n      null\n    ]\n  ],\n'
        b'  "nested": {\n    "true": true,\n    "text": "\\u00e9\\n"\n  }\n}\n'
    )


def test_csv_has_one_form(tmp_path: Path) -> None:
    rows = [(0, 2 / 3, "a, b"), (np.int32(1), np.float64(1e-7), 'say "é"')]
    write_csv(tmp_path / "a.csv", ["row", "value", "text"], rows)
    expected = 'row,value,text\n0,0.666667,"a, b"\n1,0.0,"say ""é"""\n'
    assert (tmp_path / "a.csv").read_bytes() == expected.encode()


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.1 + 0.2, "0.3"),
        (0.9999996, "1.0"),
        (0.0000005, "0.0"),
        (0.0000015, "2e-06"),
        (12345678.9, "12345678.9"),
        (7, "7"),
    ],
)
def test_floats_are_rounded_to_six_decimals(tmp_path: Path, value: float, shown: str) -> None:
    write_json(tmp_path / "a.json", value)
    write_csv(tmp_path / "a.csv", ["x"], [[value]])
    assert (tmp_path / "a.json").read_text() == f"{shown}\n"
    assert (tmp_path / "a.csv").read_text() == f"x\n{shown}\n"


def test_values_that_differ_by_less_than_the_rounding_are_equal_bytes(tmp_path: Path) -> None:
    for name, value in (("a", 0.123456), ("b", 0.123456 + 1e-12), ("c", 0.123457)):
        write_json(tmp_path / name, {"value": value})
    first, second, third = ((tmp_path / name).read_bytes() for name in "abc")
    assert first == second != third


def test_no_negative_zero(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", [-1e-9, -0.0, 0.0])
    assert json.loads((tmp_path / "a.json").read_text()) == [0, 0, 0]
    assert "-" not in (tmp_path / "a.json").read_text()


def test_writing_does_not_change_what_is_written(tmp_path: Path) -> None:
    content: dict[str, Any] = {"value": [1 / 3]}
    write_json(tmp_path / "a.json", content)
    assert content == {"value": [1 / 3]}


def test_a_csv_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", ["a", "b"], [(1, "x\ny"), (2.5, "é,")])
    assert read_csv(tmp_path / "a.csv") == [{"a": "1", "b": "x\ny"}, {"a": "2.5", "b": "é,"}]
    write_csv(tmp_path / "a.csv", ["a", "b"], [])
    assert read_csv(tmp_path / "a.csv") == []


@pytest.mark.parametrize("content", [b"a,b\n\xff\xfe,1\n", b'a,b\n"never closed,1\n', b'a,b\n"x"y,1\n'])
def test_a_damaged_csv_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(
        InputError, match=r"a\.csv: expected a CSV file\. Got a damaged file \(.*\)\. Run `dvc repro`\."
    ):
        read_csv(tmp_path / "a.csv")


def test_a_missing_csv_is_an_error_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"a\.csv"):
        read_csv(tmp_path / "a.csv")
