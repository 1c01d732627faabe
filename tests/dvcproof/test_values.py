"""Setting parameters keeps everything else in their file; nested parameters become names with dots."""

import re
from pathlib import Path

import pytest
from dvc.utils.serialize import load_yaml

from dvcproof.runtime.document import read_mapping
from dvcproof.runtime.program import InputError
from dvcproof.values import flatten, set_params
from tests.support.project import recipe_params


@pytest.fixture
def params(tmp_path: Path) -> Path:
    """Return a file with the parameters of the tests."""
    return recipe_params(tmp_path)


TEXT = """# The first comment.
names: ["0", '1', zero, "a name", 'another name', "a third name", "a fourth name", "a fifth name", "a sixth name"]

train: # Behind the section.
  # Of the parameter.
  seed: 7 # Behind the parameter.

  rate: 1e-3
  octal: 0o10
  text: "quoted"
# The last comment.
"""


def test_all_else_in_the_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(TEXT)
    set_params(path, {"train.seed": 7, "train.rate": 0.001, "train.text": "quoted"})
    assert path.read_text() == TEXT.replace("1e-3", "0.001")
    set_params(path, {"train.seed": 8, "train.text": "plain"})
    assert path.read_text() == TEXT.replace("1e-3", "0.001").replace("seed: 7", "seed: 8").replace("quoted", "plain")


VALUES = [1e-5, 1e22, -1, True, None, "010", "yes", "", " a: b # c", r"ß\1", "x y" * 90, ["0"]]


@pytest.mark.parametrize("value", VALUES)
def test_a_value_is_read_as_it_was_set(params: Path, value: object) -> None:
    expected = flatten(load_yaml(params)) | {"class_names": value, "load.source": value}
    set_params(params, {"class_names": value, "load.source": value})
    for found in (flatten(load_yaml(params)), flatten(read_mapping(params))):
        assert found == expected
        assert type(found["load.source"]) is type(value)


@pytest.mark.parametrize("name", ["train.units", "dense", "class_names.0", ""])
def test_a_parameter_that_is_not_there_is_refused(params: Path, name: str) -> None:
    text = params.read_text(encoding="utf-8")
    line = rf"params\.yaml: expected the parameter '{re.escape(name)}'\. Got none\. Restore the file from Git\.$"
    with pytest.raises(InputError, match=line):
        set_params(params, {"train.seed": 8, name: 1})
    assert params.read_text(encoding="utf-8") == text


def test_nested_values_get_names_with_dots() -> None:
    assert flatten({"z": 1, "b": {"c": 2, "d": {1: None}}}) == {"z": 1, "b.c": 2, "b.d.1": None}
    assert flatten({"a": [1, {"b": 2}], "c": {}}, "x") == {"x.a": [1, {"b": 2}], "x.c": {}}
    assert flatten({"a": [1, {"b": [2]}], "c": []}, lists=True) == {"a.0": 1, "a.1.b.0": 2, "c": []}
    assert (flatten(5), flatten({}, "x")) == ({"": 5}, {"x": {}})
