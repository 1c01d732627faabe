"""Faults of each kind end in the right bytes or in an error message, and the controls do not."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.faults.judge import Outcome
from bench.faults.project import Scene, judge
from tests.support.project import ROOT, commit, run_ok

COUNTS = {"kills": 8, "moments": 2, "interrupts": 2, "full": 4, "places": 3, "changes": 6, "damages": 6, "pairs": 2}
OTHERS = "--real 0 --inputs 0 --processes 2 --minutes 30"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("faults") / "faults.json"
    counts = " ".join(f"--{name} {count}" for name, count in COUNTS.items())
    # Run a separate process: this one may have threads and TensorFlow.
    run_ok(sys.executable, "-m", "bench.faults", *f"{counts} {OTHERS} --out".split(), str(out), cwd=ROOT)
    return dict(json.loads(out.read_text(encoding="utf-8")))


@pytest.mark.slow
def test_no_fault_ends_stuck_or_wrong(found: dict[str, Any]) -> None:
    faults = found["faults"]
    assert {kind: one for kind, one in faults.items() if one["stuck"] or one["wrong"]} == {}
    assert sum(one["injected"] for one in faults.values()) == sum(COUNTS.values())
    assert faults["kill at a change of a file"]["right"] == COUNTS["kills"]
    changes = [one for kind, one in faults.items() if kind.startswith("input ")]
    assert sum(one["line"] for one in changes) == COUNTS["changes"]


@pytest.mark.slow
def test_the_control_ends_stuck_and_wrong(found: dict[str, Any]) -> None:
    control = found["control"]
    assert any(one["stuck"] for kind, one in control.items() if kind.startswith("kill "))
    for kind in ("input changes", "object of the cache"):
        found_bad = [one["wrong"] for name, one in control.items() if name.startswith(kind)]
        assert any(found_bad), kind


@pytest.mark.parametrize("name", [".model.keras.checkpoint", ".writing-0a1b2c3d/model.keras", "dvc.lock.tmp"])
def test_what_a_kill_leaves_must_be_gone_in_the_end(tmp_path: Path, name: str) -> None:
    (tmp_path / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    shutil.copy(ROOT / ".gitignore", tmp_path)
    run_ok("git", "init", "--quiet", cwd=tmp_path)
    commit(tmp_path, "run")
    scene = Scene(tmp_path, tmp_path, "dvc repro")
    assert judge(scene, tmp_path, 0, "").outcome is Outcome.RIGHT
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    verdict = judge(scene, tmp_path, 0, "")
    assert verdict.outcome is Outcome.WRONG
    assert verdict.problem.startswith("left over: ")
