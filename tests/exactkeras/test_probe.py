"""The probe before a training: it finds no deviation on this machine, and detects other arithmetic."""

import json
import subprocess
import sys
from typing import Any

import pytest

from dvcproof.runtime import machine
from tests.support.networks import TRAIN, convnet, dense
from tests.support.project import ROOT, environment

pytestmark = pytest.mark.usefixtures("tensorflow")
on_x86_64 = pytest.mark.skipif(not machine.is_x86_64(), reason="oneDNN has these instruction sets on x86-64 alone")

#: The two networks as large as those of the recipe.
SECTIONS = {"dense": dense(units=512), "convnet": convnet(filters=24, batch_size=128)}


def deviations(section: Any, images: int = 60000, shape: tuple[int, int] = (28, 28)) -> list[str]:
    from exactkeras import probe

    return probe.deviations(section.build(shape, 10), section.recipe(TRAIN, shape), images)


@pytest.mark.parametrize("name", SECTIONS)
def test_this_machine_gives_the_defined_bits(name: str) -> None:
    assert deviations(SECTIONS[name]) == []
    assert deviations(dense(optimizer="sgd"), 5, (5, 7)) == []  # a small set


def test_a_longer_chain_in_a_network_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    from exactkeras import arithmetic

    monkeypatch.setattr(arithmetic, "LONGEST", 792)
    (reason,) = [line for line in deviations(SECTIONS["dense"]) if "(64, 784, 512)" in line]
    assert reason.endswith("elements of a product (64, 784, 512) are not the defined chain")


@pytest.mark.parametrize(("name", "kernel"), [("rmsprop", "ResourceApplyRMSProp"), ("adam", "ResourceApplyAdam")])
def test_a_broken_kernel_of_an_optimizer_is_caught(
    tensorflow: Any, monkeypatch: pytest.MonkeyPatch, name: str, kernel: str
) -> None:
    step = getattr(tensorflow.raw_ops, kernel)
    monkeypatch.setattr(tensorflow.raw_ops, kernel, lambda **given: step(**given | {"epsilon": 1.1e-7}))
    (reason,) = deviations(dense(optimizer=name), 5, (5, 7))
    assert reason.endswith(f"of 1003 weights after a step of {name} are not the defined ones")


def products_of_a_training(tf: Any, monkeypatch: pytest.MonkeyPatch, section: Any, images: int) -> set[Any]:
    """Return the shapes of all products that a training computes."""
    from exactkeras import arithmetic
    from exactkeras.fit import fit
    from exactkeras.probe import Shape

    seen, chains = set(), arithmetic.chains

    def noted(a: Any, b: Any, *, transpose_a: bool = False, transpose_b: bool = False) -> Any:
        rows, inner = a.shape[::-1] if transpose_a else a.shape
        seen.add(Shape(rows, inner, b.shape[0 if transpose_b else 1], transpose_a, transpose_b))
        return chains(a, b, transpose_a=transpose_a, transpose_b=transpose_b)

    monkeypatch.setattr(arithmetic, "chains", noted)
    data = tf.zeros((images, 13 * 17)), tf.range(images) % 3
    fit(section.build((13, 17), 3), data, None, section.recipe(TRAIN, (13, 17)), verbose=0)
    return seen


@pytest.mark.fast(1)
@pytest.mark.parametrize("network", [dense, convnet])
def test_every_product_of_a_training_is_probed(tensorflow: Any, monkeypatch: pytest.MonkeyPatch, network: Any) -> None:
    from exactkeras.arithmetic import whole_columns, whole_rows
    from exactkeras.probe import Shape, shapes

    def padded(shape: Shape) -> Shape:  # some callers pad rows or columns themselves
        return shape._replace(rows=whole_rows(shape.rows), columns=whole_columns(shape.columns))

    section = network(batch_size=16)
    seen = products_of_a_training(tensorflow, monkeypatch, section, images=20)
    assert {padded(shape) for shape in seen} <= {padded(shape) for shape in shapes(section.build((13, 17), 3), rows=8)}
    assert len(seen) > 5


CODE = """
import json, sys
from exactkeras import determinism
determinism.ENVIRONMENT["ONEDNN_MAX_CPU_ISA"] = sys.argv[1]
determinism.configure(seed=0)
from exactkeras import arithmetic
from exactkeras.probe import Shape, deviation
found = []
rows, columns, bare = arithmetic.whole_rows, arithmetic.whole_columns, int
for arithmetic.whole_rows, arithmetic.whole_columns in ((rows, columns), (bare, columns), (rows, bare)):
    found.append([deviation(Shape(*shape)) for shape in ((128, 144, 32), (96, 144, 5), (96, 144, 32))])
print(json.dumps(found))
"""


def found_with(instructions: str) -> list[list[str]]:
    """Probe with at most these instructions of oneDNN: an edge of rows, an edge of columns, and neither.

    First with padding, then without padded rows, then without padded columns.
    """
    command = [sys.executable, "-c", CODE, instructions]
    result = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=True)
    return list(json.loads(result.stdout))


@on_x86_64
def test_kernels_for_avx2_need_padding_and_are_caught_without() -> None:
    padded, bare_rows, bare_columns = found_with("AVX2")
    assert padded == ["", "", ""]
    assert "product (128, 144, 32) are not the defined chain" in bare_rows[0]
    assert bare_rows[1:] == ["", ""]
    assert "product (96, 144, 5) are not the defined chain" in bare_columns[1]
    assert bare_columns[::2] == ["", ""]


@on_x86_64
def test_kernels_without_a_fused_operation_are_caught() -> None:
    assert all("are not the defined chain" in reason for reason in found_with("AVX")[0])
