"""Results of speed: each kind of machine keeps its own, beside its own targets."""

import json
from pathlib import Path
from typing import Any

from bench import kinds
from tests.support.results import speed_results


def result_of(kind: str, *, params: int = 1, cold: float = 0.8) -> dict[str, Any]:
    """A result as it is kept, with made-up parameters."""
    found: dict[str, Any] = {"machine": {"kind": kind}, "params": params, "data": 1, "targets": kinds.targets(kind)}
    found |= speed_results()
    found["ratios"]["cold"] = cold
    return found


def test_each_kind_of_machine_has_a_result_of_its_own(tmp_path: Path) -> None:
    for kind, cold in (("amd-25-17-2-cores", 0.7), ("amd-26-2-2-cores", 0.9), ("amd-25-17-2-cores", 0.8)):
        kinds.keep(result_of(kind, cold=cold), tmp_path)
    kept = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in tmp_path.glob("*.json")}
    assert {kind: one["ratios"]["cold"] for kind, one in kept.items()} == {
        "amd-25-17-2-cores": 0.8,
        "amd-26-2-2-cores": 0.9,
    }
    assert {path.stem for path in tmp_path.glob("*.png")} == set(kept)


def test_results_of_other_parameters_do_not_stay(tmp_path: Path) -> None:
    kinds.keep(result_of("amd-26-2-2-cores"), tmp_path)
    kinds.keep(result_of("amd-25-17-2-cores", params=2), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["amd-25-17-2-cores.json", "amd-25-17-2-cores.png"]


def test_a_result_stands_beside_the_last_of_its_kind() -> None:
    now, before = result_of("amd-25-17-2-cores", cold=0.72), result_of("amd-25-17-2-cores", cold=0.81)
    (line,) = (line for line in kinds.compare(now, before).splitlines() if line.startswith("cold  "))
    assert line.split() == ["cold", "0.72", "0.81", "0.75"]
    (line,) = (line for line in kinds.compare(now, None).splitlines() if line.startswith("cold  "))
    assert line.split() == ["cold", "0.72", "0.75"]


def test_targets_are_those_of_the_kind_of_machine() -> None:
    assert (kinds.targets("amd-25-17-2-cores")["cold"], kinds.targets("amd-26-2-2-cores")["cold"]) == (0.75, 0.85)
    assert set(kinds.targets("amd-26-2-2-cores")) == set(kinds.TARGETS)
