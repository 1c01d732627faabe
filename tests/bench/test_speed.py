"""The measurements of `make bench`: the arithmetic is right, and a run that did not do its work is an error."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from bench import speed
from bench.measure import execute, timed
from bench.parts import dense_arithmetic
from dvcproof.runtime.document import read_mapping
from dvcproof.runtime.program import InputError
from dvcproof.values import set_params
from tests.support.project import Arrays, commit, make_project, recipe_params, run_ok
from tests.support.results import speed_results


def test_the_arithmetic_is_that_of_the_layers() -> None:
    first, second = 784 * 512, 512 * 10
    assert dense_arithmetic(images=60000, epochs=5, sizes=[784, 512, 10]) == 300000 * (2 * 2 * first + 3 * 2 * second)


def test_a_stage_is_timed(tmp_path: Path) -> None:
    clock = speed.Clock(tmp_path / "clock")
    assert clock.take() == {}
    code = tmp_path / "stages"
    code.mkdir()
    (code / "load.py").write_text("import time; time.sleep(0.2)")
    execute(["python", "-m", "stages.load"], tmp_path, clock.variables)
    (seconds,) = clock.take("load").values()
    assert 0.2 <= seconds < 5
    assert clock.take() == {}


def test_processor_time_is_that_of_the_command(tmp_path: Path) -> None:
    busy = "import time\nend = time.process_time() + 0.35\nwhile time.process_time() < end: pass\nprint('done')"
    result = execute([sys.executable, "-c", busy], tmp_path)
    assert result["output"] == "done\n"
    assert result["cpu"] >= 0.3  # the system counts in hundredths of a second
    assert execute([sys.executable, "-c", "import time; time.sleep(0.3)"], tmp_path)["wall"] >= 0.3
    assert timed(lambda: sum(range(10**6)))["cpu"] > 0
    with pytest.raises(InputError, match=r"expected exit status 0\. Got exit status 1: broken"):
        execute([sys.executable, "-c", "raise SystemExit('broken')"], tmp_path)


@pytest.mark.parametrize("logged", [["train"], []])
def test_a_run_that_executed_other_stages_is_no_measurement(
    logged: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = speed.Clock(tmp_path / "clock")
    recipe_params(tmp_path)

    def fake(*_: object) -> dict[str, float]:
        clock.log.write_text("".join(f"1.0 2.0 -m stages.{stage}\n" for stage in logged))
        return {"wall": 1.0, "cpu": 1.0}

    monkeypatch.setattr(speed, "execute", fake)
    with pytest.raises(RuntimeError, match=rf"must run here, and \{logged}.* have run"):
        speed.warm_round(tmp_path, clock, {}, seed=9)


def test_the_network_of_the_baselines_is_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, digits: Arrays
) -> None:
    project = make_project(tmp_path / "project", digits)
    set_params(project / "params.yaml", {"train.model": "convnet", "dense.units": 32})
    (project / "metrics").mkdir()
    for name in ("dvc.lock", "metrics/scores.json"):
        (project / name).write_text("{}")
        run_ok("git", "add", "--force", name, cwd=project)
    commit(project, "the convnet")
    monkeypatch.setattr(speed, "ROOT", project)
    clone = speed.prepare_clone(tmp_path / "clone")
    assert not [name for name in ("dvc.lock", "metrics", ".dvc/cache") if (clone / name).exists()]
    assert (clone / "data" / "mnist.npz").exists()
    found = read_mapping(clone / "params.yaml")
    assert (found["train"]["model"], found["dense"]["units"]) == ("dense", 32)
    speed.make_tiled(1, tmp_path / "tiled")
    assert read_mapping(tmp_path / "tiled" / "params.yaml")["train"]["model"] == "dense"


def test_ratios_are_of_medians() -> None:
    times = speed_results()["times"]
    for time in times.values():
        time["wall"]["median"] = time["cpu"]["median"] = 1.0
        if "user" in time:
            time["user"]["median"] = 0.5
    for name, median in (("cold", 3.0), ("script", 4.0), ("naive", 6.0), ("fit", 0.5), ("load x4", 2.0)):
        times[name]["wall"]["median"] = median
    times["train x16"] |= {"user": {"median": 0.8}, "cpu": {"median": 1.8}}
    times["load x16 memory"]["wall"]["median"] = 7.0
    times["train x16 memory"]["wall"]["median"] = 8.0
    found = speed.ratios(times)
    rounds = [{"wall": 3.0}, {"wall": 1.0}, {"wall": 2.0}]
    assert speed.medians({"a": rounds})["a"]["wall"] == {"median": 2.0, "min": 1.0, "max": 3.0, "n": 3}
    assert (found["cold"], found["cold against naive"]) == (0.75, 0.5)
    assert (found["fit"], found["nothing"], found["arrays"]) == (0.5, 1.0, 1.0)
    assert (found["growth_time"], found["growth_user"]) == (2.0, 1.2)
    assert found["growth_system"] == pytest.approx(2.0 / 1.5)
    assert (found["growth_memory"], found["peak_memory"], found["copies"]) == (7.0, 7.0, 8.0)


def test_each_kind_of_machine_has_a_result_of_its_own(tmp_path: Path) -> None:
    def keep(kind: str, cold: float, params: int = 1) -> None:
        found: dict[str, Any] = speed_results() | {"machine": {"kind": kind}, "params": params, "data": 1}
        found["ratios"]["cold"] = cold
        speed.keep(found, tmp_path)

    for kind, cold in (("amd-25-17-2-cores", 0.7), ("amd-26-2-2-cores", 0.9), ("amd-25-17-2-cores", 0.8)):
        keep(kind, cold)
    kept = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in tmp_path.glob("*.json")}
    found = {kind: one["ratios"]["cold"] for kind, one in kept.items()}
    assert found == {"amd-25-17-2-cores": 0.8, "amd-26-2-2-cores": 0.9}
    keep("amd-26-2-2-cores", 0.9, params=2)  # removes the result with other parameters
    assert sorted(path.name for path in tmp_path.iterdir()) == ["amd-26-2-2-cores.json", "amd-26-2-2-cores.png"]
    assert (tmp_path / "amd-26-2-2-cores.png").read_bytes()[:4] == b"\x89PNG"
    assert set(speed.TARGETS) <= set(speed_results()["ratios"])
