"""The rooms of the library: the contracts of pyproject.toml hold, and an import against them is found."""

import shutil
import tomllib
from pathlib import Path

import pytest

from tests.support.project import ROOT, run, run_ok


def lint(folder: Path) -> str:
    """What import-linter prints of the contracts in a folder; they must hold."""
    return run_ok("lint-imports", "--no-logo", "--no-cache", cwd=folder)


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A copy of the packages and of their contracts, to change."""
    for package in ("bench", "digits", "dvcproof", "exactkeras", "stages"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_contracts_hold(house: Path) -> None:
    output = lint(house)
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    assert f"Contracts: {len(contracts)} kept, 0 broken." in output
    for contract in contracts:
        assert f"{contract['name']} KEPT" in output


@pytest.mark.parametrize(
    ("module", "imports", "contract", "found"),
    [
        (
            "digits/data/wrong.py",
            "digits.apps.summary",
            "rooms of the library",
            "digits.data is not allowed to import digits.apps",
        ),
        (
            "exactkeras/wrong.py",
            "digits.sources.arrays",
            "packages",
            "exactkeras is not allowed to import digits",
        ),
        (
            "dvcproof/runtime/wrong.py",
            "stages.load",
            "packages",
            "dvcproof is not allowed to import stages",
        ),
        (
            "stages/wrong.py",
            "bench.study",
            "packages",
            "stages is not allowed to import bench",
        ),
        (
            "exactkeras/wrong.py",
            "dvcproof.git",
            "stages and exact arithmetic use no more of dvcproof than its runtime",
            "exactkeras is not allowed to import dvcproof.git",
        ),
        (
            "bench/wrong.py",
            "stages.train",
            "nobody imports a stage but the programs that time it and attack it",
            "bench is not allowed to import stages",
        ),
    ],
)
def test_an_import_against_a_contract_is_found(
    house: Path, module: str, imports: str, contract: str, found: str
) -> None:
    (house / module).write_text(f"def later() -> None:\n    import {imports}\n", encoding="utf-8")
    result = run("lint-imports", "--no-logo", "--no-cache", cwd=house)
    assert result.returncode == 1
    assert f"{contract} BROKEN" in result.stdout
    assert found in result.stdout


def test_a_room_outside_the_layers_is_found(house: Path) -> None:
    (house / "digits" / "attic").mkdir()
    (house / "digits" / "attic" / "__init__.py").touch()
    result = run("lint-imports", "--no-logo", "--no-cache", cwd=house)
    assert result.returncode == 1
    assert "digits.attic" in result.stdout


def test_stages_that_import_each_other_are_found(house: Path) -> None:
    with (house / "stages" / "train.py").open("a", encoding="utf-8") as file:
        file.write("from stages import load as load\n")
    result = run("lint-imports", "--no-logo", "--no-cache", cwd=house)
    assert result.returncode == 1
    assert "stages do not import each other BROKEN" in result.stdout
