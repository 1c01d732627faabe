"""The check before a training: no reason on this machine, and what would be another arithmetic is caught."""

import json
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pytest

from dvcproof.runtime import machine
from tests.support.networks import TRAIN, convnet, dense
from tests.support.project import ROOT, environment

pytestmark = pytest.mark.usefixtures("tensorflow")
on_x86_64 = pytest.mark.skipif(not machine.is_x86_64(), reason="oneDNN has these instruction sets on x86-64 alone")

#: The two networks as large as those of the recipe.
SECTIONS = {
    "dense": dense(units=512),
    "convnet": convnet(filters=24, batch_size=128),
}


def deviations(name: str, images: int = 60000) -> list[str]:
    from exactkeras import check

    section = SECTIONS[name]
    return check.deviations(section.build((28, 28), 10), section.recipe(TRAIN, (28, 28)), images)


@pytest.mark.parametrize("name", SECTIONS)
def test_this_machine_gives_the_defined_bits_in_no_time(name: str) -> None:
    start = time.process_time()
    assert deviations(name) == []
    seconds = time.process_time() - start
    assert seconds < 2, f"{seconds:.2f} s of processor time"


@pytest.mark.parametrize("optimizer", ["rmsprop", "adam", "sgd"])
@pytest.mark.parametrize("images", [1, 5, 130])
def test_small_sets_and_every_optimizer_are_checked_too(optimizer: str, images: int) -> None:
    from exactkeras import check

    section = dense(optimizer=optimizer)
    assert check.deviations(section.build((5, 7), 3), section.recipe(TRAIN, (5, 7)), images) == []


def test_an_inner_dimension_in_one_chain_is_caught() -> None:
    from exactkeras.check import Shape, deviation

    reason = deviation(Shape(128, 784, 512))
    assert reason.endswith("elements of a product (128, 784, 512) are not the defined chain")
    assert deviation(Shape(128, 168, 512)) == ""


def test_a_longer_chain_in_a_network_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    from exactkeras import arithmetic

    monkeypatch.setattr(arithmetic, "LONGEST", 792)
    (reason,) = [line for line in deviations("dense") if "(64, 784, 512)" in line]
    assert "are not the defined chain" in reason


@pytest.mark.parametrize("name", ["rmsprop", "adam"])
def test_a_broken_kernel_of_an_optimizer_is_caught(tensorflow: Any, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    from exactkeras.check import optimizer_deviation

    kernel = {"rmsprop": "ResourceApplyRMSProp", "adam": "ResourceApplyAdam"}[name]
    step = getattr(tensorflow.raw_ops, kernel)
    monkeypatch.setattr(tensorflow.raw_ops, kernel, lambda **given: step(**given | {"epsilon": 1.1e-7}))
    assert optimizer_deviation(name).endswith(f"of 1003 weights after a step of {name} are not the defined ones")
    monkeypatch.undo()
    assert optimizer_deviation(name) == ""


def products_of_a_training(tf: Any, monkeypatch: pytest.MonkeyPatch, section: Any, images: int) -> set[Any]:
    """The shapes of all products that a training asks TensorFlow for, as `Shape` names them."""
    from exactkeras import arithmetic
    from exactkeras.check import Shape
    from exactkeras.fit import fit

    seen, chains = set(), arithmetic.chains

    def noted(a: Any, b: Any, *, transpose_a: bool = False, transpose_b: bool = False) -> Any:
        rows, inner = a.shape[::-1] if transpose_a else a.shape
        columns = b.shape[0] if transpose_b else b.shape[1]
        seen.add(Shape(rows, inner, columns, transpose_a, transpose_b))
        return chains(a, b, transpose_a=transpose_a, transpose_b=transpose_b)

    monkeypatch.setattr(arithmetic, "chains", noted)
    monkeypatch.setattr("exactkeras.convolution.chains", noted)
    data = tf.zeros((images, 13 * 17)), tf.range(images) % 3
    fit(section.build((13, 17), 3), data, None, section.recipe(TRAIN, (13, 17)), verbose=0)
    return seen


@pytest.mark.fast(1)
@pytest.mark.parametrize("network", [dense, convnet])
def test_every_product_of_a_training_is_checked(tensorflow: Any, monkeypatch: pytest.MonkeyPatch, network: Any) -> None:
    from exactkeras.arithmetic import COLUMNS, ROWS, rounded_up
    from exactkeras.check import Shape, shapes

    def whole(shape: Shape) -> Shape:
        """As it is computed, with all zeros: some callers fill rows or columns up themselves."""
        return shape._replace(rows=rounded_up(shape.rows, ROWS), columns=rounded_up(shape.columns, COLUMNS))

    section = network(batch_size=16)
    seen = products_of_a_training(tensorflow, monkeypatch, section, images=20)
    checked = {whole(shape) for shape in shapes(section.build((13, 17), 3), rows=8)}
    assert {whole(shape) for shape in seen} <= checked
    assert len(seen) > 5


def test_a_prediction_has_the_forward_products_alone() -> None:
    from exactkeras.check import Shape, shapes

    network = dense(units=16).build((28, 28), 10)
    found = set(shapes(network, 1000, forward_only=True))
    assert found == {Shape(1000, 168, 16), Shape(1000, 112, 16), Shape(1000, 16, 10)}


def test_edges_and_a_sample_of_the_middle_are_looked_at() -> None:
    from exactkeras.check import EDGE, looked_at

    random = np.random.default_rng(0)
    for count in (1, EDGE, 3 * EDGE):
        assert looked_at(count, random).tolist() == list(range(count))
    found = looked_at(1000, random).tolist()
    assert found[:EDGE] == list(range(EDGE))
    assert found[-EDGE:] == list(range(1000 - EDGE, 1000))
    assert len(set(found)) == len(found) == 3 * EDGE
    assert found == sorted(found)


CODE = """
import json, sys
from exactkeras import determinism
determinism.ENVIRONMENT["ONEDNN_MAX_CPU_ISA"] = sys.argv[1]
determinism.configure(seed=0)
from exactkeras import arithmetic
from exactkeras.check import Shape, deviation
found = []
for arithmetic.ROWS, arithmetic.COLUMNS in ((24, 16), (1, 16), (24, 1)):
    found.append([deviation(Shape(*shape)) for shape in ((128, 144, 32), (96, 144, 5), (96, 144, 32))])
print(json.dumps(found))
"""


def found_with(instructions: str) -> list[list[str]]:
    """What the check finds if oneDNN may use no wider instructions: at an edge of rows, of columns, and at none.

    First with zeros at the edges, then without them at those of rows, then at those of columns.
    """
    command = [sys.executable, "-c", CODE, instructions]
    result = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=True)
    return list(json.loads(result.stdout))


@on_x86_64
def test_kernels_for_avx2_need_zeros_at_the_edges_and_are_caught() -> None:
    filled, bare_rows, bare_columns = found_with("AVX2")
    assert filled == ["", "", ""]
    assert "product (128, 144, 32) are not the defined chain" in bare_rows[0]
    assert bare_rows[1:] == ["", ""]
    assert "product (96, 144, 5) are not the defined chain" in bare_columns[1]
    assert bare_columns[::2] == ["", ""]


@pytest.mark.slow
@on_x86_64
def test_kernels_without_a_fused_operation_are_caught() -> None:
    for reason in found_with("AVX")[0]:
        assert "are not the defined chain" in reason
