"""Setting a parameter: the right one of two with one name, and nothing else in the file."""

import shutil
from pathlib import Path

import pytest

from stages.console import InputError
from stages.train import read_settings
from tests.conftest import ROOT
from verify.parameters import set_parameter


@pytest.fixture
def params(tmp_path: Path) -> Path:
    return Path(shutil.copy(ROOT / "params.yaml", tmp_path))


@pytest.mark.parametrize("section", ["train", "convnet"])
@pytest.mark.parametrize("name", ["epochs", "batch_size", "learning_rate"])
def test_only_the_parameter_of_that_section_changes(params: Path, section: str, name: str) -> None:
    before, text = read_settings(params), params.read_text(encoding="utf-8")
    set_parameter(params, f"{section}.{name}", 3)
    after = read_settings(params)
    assert getattr(getattr(after, section), name) == 3
    expected = before._replace(**{section: getattr(before, section).model_copy(update={name: 3})})
    assert after == expected
    pairs = list(zip(text.splitlines(), params.read_text(encoding="utf-8").splitlines(), strict=True))
    assert [new.strip() for old, new in pairs if new != old] == [f"{name}: 3"]


def test_a_value_is_written_as_it_is(params: Path) -> None:
    set_parameter(params, "load.source", r"data/\1 folder.npz")
    assert r"source: data/\1 folder.npz" in params.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["train.filters", "convnet.units", "training.epochs", "epochs", "train.epoch", ""])
def test_a_parameter_that_is_not_there_is_refused(params: Path, name: str) -> None:
    text = params.read_text(encoding="utf-8")
    with pytest.raises(InputError, match=r"params\.yaml: expected a line .* Got none\."):
        set_parameter(params, name, 1)
    assert params.read_text(encoding="utf-8") == text
