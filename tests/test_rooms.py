"""The contracts between packages: import-linter, which `make test` runs, finds forbidden imports."""

import shutil
from pathlib import Path

import pytest

from tests.support.project import ROOT, run

#: Modules, each with a forbidden import, the broken contract and import-linter's message.
WRONG = {
    "digits/data/wrong.py": (
        "digits.apps.summary",
        "rooms of the library",
        "digits.data is not allowed to import digits.apps",
    ),
    "exactkeras/wrong.py": ("digits.sources.arrays", "packages", "exactkeras is not allowed to import digits"),
    "dvcproof/runtime/wrong.py": ("stages.load", "packages", "dvcproof is not allowed to import stages"),
    "stages/wrong.py": ("bench.study", "packages", "stages is not allowed to import bench"),
    "exactkeras/more.py": (
        "dvcproof.git",
        "stages and exact arithmetic use no more of dvcproof than its runtime",
        "exactkeras is not allowed to import dvcproof.git",
    ),
    "bench/wrong.py": (
        "stages.train",
        "nobody imports a stage but the programs that time it and attack it",
        "bench is not allowed to import stages",
    ),
    "stages/train.py": ("stages.load", "stages do not import each other", "stages.train -> stages.load"),
}


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """Return a copy of the packages and of their contracts, which a test may change."""
    for package in ("bench", "digits", "dvcproof", "exactkeras", "stages"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def lint(house: Path) -> tuple[int, str]:
    result = run("lint-imports", "--no-logo", "--no-cache", cwd=house)
    return result.returncode, result.stdout


def test_imports_against_the_contracts_are_found(house: Path) -> None:
    status, said = lint(house)
    assert (status, ", 0 broken." in said) == (0, True), said
    for module, (imports, _, _) in WRONG.items():
        with (house / module).open("a", encoding="utf-8") as file:
            file.write(f"\n\ndef later() -> None:\n    import {imports}\n")
    status, said = lint(house)
    assert status == 1
    for _, contract, words in WRONG.values():
        assert f"{contract} BROKEN" in said
        assert words in said


def test_a_room_outside_the_layers_is_found(house: Path) -> None:
    (house / "digits" / "attic").mkdir()
    (house / "digits" / "attic" / "__init__.py").touch()
    status, said = lint(house)
    assert (status, "digits.attic" in said) == (1, True)
