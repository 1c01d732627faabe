"""The table [tool.dvcproof] of a project's pyproject.toml."""

from pathlib import Path

import pytest

from dvcproof.config import Config, read_config
from dvcproof.runtime.program import InputError
from tests.support.project import ROOT


def test_nothing_is_needed_and_this_project_names_its_own_files(tmp_path: Path) -> None:
    assert read_config(tmp_path) == Config()
    tolerance = read_config(ROOT).tolerance
    assert tolerance is not None
    assert (ROOT / tolerance.runs).is_file()
    assert tolerance.record in (ROOT / "dvc.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[tool.dvcproof\n", "it is not TOML: .* Correct the syntax."),
        ("[tool.dvcproof]\ninstal = 'x'\n", "tool.dvcproof.instal: Extra inputs are not permitted. Correct it."),
        ("[tool.dvcproof.tolerance]\nkey = 'x'\n", "tool.dvcproof.tolerance.runs: Field required. Correct it."),
    ],
)
def test_a_wrong_table_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    with pytest.raises(InputError, match=message):
        read_config(tmp_path)
