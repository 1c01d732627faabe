"""The study of images beyond the memory: its data set, its limit of memory, and its refusals."""

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import large
from bench.large import Prefix, limited_to, repeat, run_limited, study
from bench.processors import STAGES
from dvcproof.runtime.document import read_mapping
from dvcproof.runtime.program import InputError
from exactkeras import memory
from tests.support.memory import linux_only
from tests.support.project import Arrays, recipe_params

#: A program that takes the given MiB of memory, and holds them until its peak is measured.
HOLD = "import sys, time; held = b'x' * (int(sys.argv[1]) * 2**20); time.sleep(0.3)"


def test_the_training_set_is_repeated(digits: Arrays, tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "small.npz", **digits)  # type: ignore[arg-type] # of NumPy's own option
    assert repeat(tmp_path / "small.npz", 3, tmp_path / "large.npz") == 3 * len(digits["x_train"])
    with np.load(tmp_path / "large.npz") as made:
        assert sorted(made.files) == sorted(digits)
        for name, values in digits.items():
            expected = np.concatenate([values] * 3) if "train" in name else values
            np.testing.assert_array_equal(made[name], expected, strict=True)


@linux_only
@pytest.mark.parametrize("groups", [True, False])
def test_a_program_is_limited(groups: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not groups:
        monkeypatch.setattr(memory, "own_groups", list)
    with limited_to(200 * 2**20) as (name, way):
        if groups and name != "a control group":
            pytest.skip("no control group can be made here")
        assert name == ("a control group" if groups else "`ulimit -d`")
        assert run_limited(way, [sys.executable, "-c", HOLD, "50"], tmp_path)["memory"] > 50
        with pytest.raises(InputError, match=r"expected exit status 0\. Got exit status .* Give it more with --memory"):
            run_limited(way, [sys.executable, "-c", HOLD, "300"], tmp_path)
    assert not [path for group, _ in memory.own_groups() for path in group.glob(f"digits-{os.getpid()}")]


def test_swap_is_limited_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits are written into the files of a control group, of either version."""
    monkeypatch.setattr(Path, "rmdir", shutil.rmtree)  # removing a control group also removes its files
    for name, swap, most in (
        ("memory.max", "memory.swap.max", "0"),
        ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "100"),
    ):
        monkeypatch.setattr(memory, "own_groups", lambda name=name: [(tmp_path, name)])
        with limited_to(100):
            assert {path.name: path.read_text() for path in tmp_path.glob("*/*")} == {name: "100", swap: most}


def test_every_stage_is_run_in_each_way_to_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, str, Any]] = []

    def run(prefix: Prefix, command: list[str], room: Path) -> dict[str, float]:
        stage = next(word.removeprefix("stages.") for word in command if word.startswith("stages."))
        asked.append((prefix, stage, read_mapping(room / "params.yaml")["load"]["source"]))
        (room / "data" / "model.keras").write_text("other" if "other" in prefix else "model", encoding="utf-8")
        return {"wall": 1.0, "cpu": 1.0, "memory": 1.0}

    monkeypatch.setattr(large, "run_limited", run)
    params, source = recipe_params(tmp_path), tmp_path / "large.npz"
    found = study(source, params, {"free": ("a",), "held": ("b",)}, tmp_path)
    assert asked == [((word,), stage, str(source)) for word in "ab" for stage in STAGES]
    assert {stage: [*one] for stage, one in found["stages"].items()} == {stage: ["free", "held"] for stage in STAGES}
    assert [*found["sha256"]] == ["data/model.keras"]
    assert not (tmp_path / "free").exists()
    with pytest.raises(InputError, match=r"data/model\.keras: its bytes differ between the ways free, held"):
        study(source, params, {"free": ("a",), "held": ("other",)}, tmp_path)
