"""The study of images beyond the memory: what it makes, how it holds a program down, what it refuses."""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import large
from bench.large import Way, execute, held_to, require_disk, study
from bench.processors import STAGES
from bench.speed import repeat
from digits.params import read_document
from dvcproof.runtime.program import InputError
from exactkeras import memory
from tests.support.memory import linux_only
from tests.support.project import Arrays, recipe_params

#: Takes as many MiB as it is asked for, and holds them until its peak was looked at.
HOLD = "import sys, time; held = b'x' * (int(sys.argv[1]) * 2**20); time.sleep(0.3)"


def hold(mebibytes: int) -> list[str]:
    return [sys.executable, "-c", HOLD, str(mebibytes)]


def test_the_training_set_is_repeated(digits: Arrays, tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "small.npz", **digits)  # type: ignore[arg-type] # of NumPy's own option
    count = len(digits["x_train"])
    assert repeat(tmp_path / "small.npz", 3, tmp_path / "large.npz") == 3 * count
    with np.load(tmp_path / "large.npz") as made:
        assert sorted(made.files) == sorted(digits)
        for name, values in digits.items():
            expected = np.concatenate([values] * 3) if "train" in name else values
            assert made[name].dtype == values.dtype
            np.testing.assert_array_equal(made[name], expected)


@linux_only
def test_time_and_memory_of_a_program_are_its_own(tmp_path: Path) -> None:
    small, big = (execute(Way("free"), hold(mebibytes), tmp_path) for mebibytes in (1, 300))
    assert small["memory"] < 100
    assert 300 < big["memory"] < 400
    assert min(small["wall"], big["wall"]) > 0.3
    assert 0 < big["cpu"] < big["wall"]


@linux_only
@pytest.mark.parametrize("groups", [True, False])
def test_a_program_is_held_down(groups: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not groups:
        monkeypatch.setattr(memory, "own_groups", list)
    with held_to(200 * 2**20) as way:
        if groups and way.name != "a control group":
            pytest.skip("no control group can be made here")
        assert way.name == ("a control group" if groups else "`ulimit -d`")
        assert execute(way, hold(50), tmp_path)["memory"] > 50
        with pytest.raises(InputError, match=r"expected exit status 0\. Got exit status .* Give it more with --memory"):
            execute(way, hold(300), tmp_path)
    assert not [path for group, _ in memory.own_groups() for path in group.glob(f"digits-{os.getpid()}")]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, Any]]:
    """The way, the stage and the source of each stage that is asked for. The model is called after the way's name."""
    seen = []

    def run(way: Way, command: list[str], room: Path) -> dict[str, float]:
        stage = next(word.removeprefix("stages.") for word in command if word.startswith("stages."))
        seen.append((way.name, stage, read_document(room / "params.yaml")["load"]["source"]))
        (room / "data" / "model.keras").write_text(way.name.strip("0123456789"), encoding="utf-8")
        return {"wall": 1.0, "cpu": 1.0, "memory": 1.0}

    monkeypatch.setattr(large, "execute", run)
    return seen


def test_every_stage_is_run_in_each_way(asked: list[tuple[str, str, Any]], tmp_path: Path) -> None:
    params = recipe_params(tmp_path)
    ways = {"free": Way("a1"), "held": Way("a2")}
    found = study(tmp_path / "large.npz", params, ways, tmp_path)
    assert asked == [(name, stage, str(tmp_path / "large.npz")) for name in ("a1", "a2") for stage in STAGES]
    assert {stage: [*one] for stage, one in found["stages"].items()} == {stage: ["free", "held"] for stage in STAGES}
    assert [*found["sha256"]] == ["data/model.keras"]
    assert not (tmp_path / "free").exists()


@pytest.mark.usefixtures("asked")
def test_other_bytes_are_refused(tmp_path: Path) -> None:
    params = recipe_params(tmp_path)
    with pytest.raises(InputError, match=r"data/model\.keras made held: expected the bytes of free\. Got others"):
        study(tmp_path / "large.npz", params, {"free": Way("a"), "held": Way("b")}, tmp_path)


def test_a_disk_that_is_too_small_is_refused_first(tmp_path: Path) -> None:
    require_disk(tmp_path, 1)
    with pytest.raises(InputError, match=r"MiB free\. Got \d+\. Set TMPDIR to a folder on a larger disk"):
        require_disk(tmp_path, 2**60)
