"""The measurements of `make bench`: right arithmetic, and a run that did not do its work is no measurement."""

import sys
from pathlib import Path
from typing import Any

import pytest

from bench import speed
from bench.chart import draw
from bench.kinds import TARGETS
from bench.parts import dense_arithmetic, peak_bytes, timed
from digits.params import read_document
from dvcproof.runtime.program import InputError
from dvcproof.values import set_params
from tests.support.project import Arrays, commit, make_project, recipe_params, run_ok
from tests.support.results import speed_results


def test_the_arithmetic_is_that_of_the_layers() -> None:
    first, second = 784 * 512, 512 * 10
    assert dense_arithmetic(images=60000, epochs=5, sizes=[784, 512, 10]) == 300000 * (2 * 2 * first + 3 * 2 * second)


def test_the_arithmetic_agrees_with_tensorflows_own_count(tensorflow: Any) -> None:
    from tensorflow.python.framework import ops

    tf = tensorflow
    x, weights = tf.ones((3, 784)), tf.Variable(tf.ones((784, 16)))

    def forward_and_gradient() -> Any:
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(tf.square(tf.linalg.matmul(x, weights)))
        return tape.gradient(total, weights)

    graph = tf.function(forward_and_gradient).get_concrete_function().graph
    products = [node for node in graph.get_operations() if node.type == "MatMul"]
    counted = sum(int(ops.get_stats_for_node_def(graph, node.node_def, "flops").value) for node in products)
    assert counted == dense_arithmetic(images=3, epochs=1, sizes=[784, 16])


def test_a_stage_is_timed(tmp_path: Path) -> None:
    clock = speed.Clock(tmp_path / "clock")
    assert clock.take() == {}
    code = tmp_path / "stages"
    code.mkdir()
    (code / "load.py").write_text("import time; time.sleep(0.2)")
    speed.execute(["python", "-m", "stages.load"], tmp_path, clock.folder)
    (seconds,) = clock.take().values()
    assert 0.2 <= seconds < 5
    assert clock.take() == {}


def test_processor_time_is_that_of_the_command(tmp_path: Path) -> None:
    busy = "import time\nend = time.process_time() + 0.35\nwhile time.process_time() < end: pass\nprint('done')"
    result = speed.execute([sys.executable, "-c", busy], tmp_path)
    assert result["output"] == "done\n"
    assert result["cpu"] >= 0.3  # the system counts in hundredths
    assert speed.execute([sys.executable, "-c", "import time; time.sleep(0.3)"], tmp_path)["wall"] >= 0.3
    assert timed(lambda: sum(range(10**6)))["cpu"] > 0


def test_a_command_that_fails_is_no_measurement(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected exit status 0\. Got broken"):
        speed.execute([sys.executable, "-c", "raise SystemExit('broken')"], tmp_path)


@pytest.mark.parametrize(
    ("logged", "message"),
    [(["stages.train"], "with nothing to do, a stage was executed"), ([], "must execute train and evaluate")],
)
def test_a_run_that_executed_other_stages_is_no_measurement(
    logged: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = speed.Clock(tmp_path / "clock")
    recipe_params(tmp_path)

    def fake(*_: object) -> dict[str, float]:
        clock.log.write_text("".join(f"1.0 2.0 -m {module}\n" for module in logged))
        return {"wall": 1.0, "cpu": 1.0}

    monkeypatch.setattr(speed, "execute", fake)
    with pytest.raises(RuntimeError, match=message):
        speed.warm_round(tmp_path, clock, {}, seed=9)


def test_a_cold_clone_has_no_results(tmp_path: Path) -> None:
    clone = speed.prepare_clone(tmp_path / "clone")
    assert not (clone / "dvc.lock").exists()
    assert not (clone / "metrics").exists()
    assert not (clone / ".dvc" / "cache").exists()
    assert (clone / "data" / "mnist.npz").exists()


def test_median_spread_and_number() -> None:
    summary = speed.medians({"cold": [{"wall": 3.0, "cpu": 1.0}, {"wall": 1.0, "cpu": 2.0}, {"wall": 2.0, "cpu": 9.0}]})
    assert summary["cold"]["wall"] == {"median": 2.0, "min": 1.0, "max": 3.0, "n": 3}
    assert summary["cold"]["cpu"]["median"] == 2.0


def test_every_target_has_its_ratio_and_every_time_is_drawn(tmp_path: Path) -> None:
    result = speed_results()
    assert set(TARGETS) <= set(result["ratios"])
    draw(result, tmp_path / "chart.png")
    assert (tmp_path / "chart.png").read_bytes()[:4] == b"\x89PNG"


def test_a_slower_run_has_a_greater_ratio() -> None:
    result = speed_results()
    times = result["times"]
    times["cold"]["wall"]["median"] *= 2
    times["train x16"]["wall"]["median"] *= 5
    slower = speed.ratios(times)
    assert slower["cold"] == pytest.approx(2 * result["ratios"]["cold"])
    assert slower["growth_time"] > 2
    assert slower["growth_cpu"] == result["ratios"]["growth_cpu"]


def test_ratios_are_of_medians() -> None:
    times = speed_results()["times"]
    for time in times.values():
        time["wall"]["median"] = time["cpu"]["median"] = 1.0
    for name, median in (("cold", 3.0), ("script", 4.0), ("naive", 6.0), ("fit", 0.5), ("load x4", 2.0)):
        times[name]["wall"]["median"] = median
    times["preprocess x16"]["cpu"]["median"] = 1.5
    times["load x16 memory"]["wall"]["median"] = 7.0
    times["train x16 memory"]["wall"]["median"] = 8.0
    found = speed.ratios(times)
    assert (found["cold"], found["cold against naive"]) == (0.75, 0.5)
    assert (found["fit"], found["nothing"], found["arrays"]) == (0.5, 1.0, 1.0)
    assert (found["growth_time"], found["growth_cpu"]) == (2.0, 1.5)
    assert (found["growth_memory"], found["peak_memory"], found["copies"]) == (7.0, 7.0, 8.0)


def test_no_round_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["speed", "--rounds", "0", "--out", "out"])
    with pytest.raises(InputError, match=r"--rounds: expected at least 1\. Got 0\. 5 take twenty minutes\."):
        speed.main()


def test_the_network_of_the_baselines_is_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, digits: Arrays
) -> None:
    project = make_project(tmp_path / "project", digits)
    set_params(project / "params.yaml", {"train.model": "convnet", "dense.units": 32})
    (project / "metrics").mkdir()
    for path in (project / "dvc.lock", project / "metrics" / "scores.json"):
        path.write_text("{}")
        run_ok("git", "add", "--force", str(path), cwd=project)
    commit(project, "the convnet")
    monkeypatch.setattr(speed, "ROOT", project)
    found = read_document(speed.prepare_clone(tmp_path / "clone") / "params.yaml")
    assert (found["train"]["model"], found["dense"]["units"]) == ("dense", 32)
    speed.make_tiled(1, tmp_path / "tiled")
    assert read_document(tmp_path / "tiled" / "params.yaml")["train"]["model"] == "dense"


def test_this_process_holds_memory() -> None:
    assert peak_bytes() > 10**6
