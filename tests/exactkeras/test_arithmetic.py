"""Products, folds, exponential, logarithm, loss and dense layer: the defined bits, and the right values."""

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from exactkeras.oracle import SMALLEST, F, chain
from tests.support import reference
from tests.support.bits import assert_same_bits, normal

pytestmark = pytest.mark.usefixtures("tensorflow")
Floats = NDArray[np.float32]

#: Rows, inner dimension and columns, many of them at the edges of some kernel's tiles.
SHAPES = [
    (1, 1, 1),
    (1, 168, 1),
    (2, 3, 500),
    (5, 7, 3),
    (23, 25, 17),
    (44, 96, 24),
    (88, 144, 9),
    (127, 168, 10),
    (128, 112, 512),
    (301, 168, 31),
]


def test_an_inner_dimension_is_cut_as_the_page_says() -> None:
    from exactkeras.arithmetic import LONGEST, lengths

    assert (lengths(784), lengths(512), lengths(169)) == ([168] * 4 + [112], [144] * 3 + [80], [96, 73])
    for count in range(1, 2000):
        cut = lengths(count)
        assert [stop - start for start, stop in reference.cut(count)] == cut
        assert (sum(cut), len(cut)) == (count, math.ceil(count / LONGEST))


@pytest.mark.parametrize("transposed", ["", "a", "b", "ab"])
@pytest.mark.parametrize("shape", SHAPES)
def test_each_element_of_a_short_product_is_a_chain(
    tensorflow: Any, shape: tuple[int, int, int], transposed: str
) -> None:
    from exactkeras.arithmetic import chains

    rows, inner, columns = shape
    a, b = normal(rows, inner), normal(inner, columns, seed=1)
    stored = [tensorflow.constant(x.T.copy() if name in transposed else x) for name, x in (("a", a), ("b", b))]
    found = chains(*stored, transpose_a="a" in transposed, transpose_b="b" in transposed)
    assert_same_bits(found, chain(a, b))


def test_a_sum_in_another_order_has_other_bits() -> None:
    """The negative control of these comparisons: with these numbers, order and rounding matter."""
    a, b = normal(24, 784), normal(784, 16, seed=1)
    expected = reference.product(a, b)
    for other in (
        chain(a, b),
        (a.astype(np.float64) @ b).astype(np.float32),
        reference.product(a, b, reference.cut(784)[::-1]),
        reference.product(a, b, [(start, start + 112) for start in range(0, 784, 112)]),
    ):
        with pytest.raises(AssertionError, match="of 384 values differ"):
            assert_same_bits(other, expected)


@pytest.mark.parametrize("unrolled", [256, 2])
@pytest.mark.parametrize("shape", [(1, 3, 2), (168, 25, 7), (400, 17, 5), (999, 30, 16)])
def test_a_product_over_rows_is_one_whether_in_a_loop_or_not(
    tensorflow: Any, monkeypatch: pytest.MonkeyPatch, unrolled: int, shape: tuple[int, int, int]
) -> None:
    from exactkeras import arithmetic

    monkeypatch.setattr(arithmetic, "UNROLLED", unrolled)
    rows, m, n = shape
    a, b = normal(rows, m), normal(rows, n, seed=1)
    over_rows = tensorflow.function(arithmetic.product_over_rows)
    assert_same_bits(over_rows(tensorflow.constant(a), tensorflow.constant(b)), reference.product(a.T, b))
    loops = "while" in str(over_rows.get_concrete_function(a, b).graph.as_graph_def()).lower()
    assert loops == (len(reference.cut(rows)) > unrolled)


@pytest.mark.parametrize("shape", [(), (2, 3)])
def test_a_fold_adds_the_second_half_to_the_first(tensorflow: Any, shape: tuple[int, ...]) -> None:
    from exactkeras.arithmetic import fold

    for rows in (*range(1, 20), 100, 129):
        values = normal(rows, *shape)
        assert_same_bits(fold(tensorflow.constant(values)), reference.fold(values))
    a, b, c, d, e = values[:5]
    assert_same_bits(fold(tensorflow.constant(values[:5])), ((a + d) + c) + (b + e))


def beside(*values: float) -> Floats:
    """Return numbers and their neighbours."""
    numbers = np.array(values, np.float32)
    return np.concatenate([numbers, np.nextafter(numbers, F(np.inf)), np.nextafter(numbers, F(-np.inf))])


HALVES, POWERS = -math.log(2) * np.arange(0.5, 126), 2.0 ** np.arange(-125, 127)
EDGES = np.array([0, -1e-30, -1e-7, -86.9, -(2.0**-40)])
SIZES = 2.0 ** np.random.default_rng(0).uniform(-126, 127.99, 100_000)
ENDS = np.array([SMALLEST, np.finfo(np.float32).max])
CURVES = {
    "exponential": ((EDGES, beside(*HALVES), np.linspace(-87, 0, 200_000)), np.exp, 1.5),
    "logarithm": (
        (ENDS, beside(*POWERS), beside(*(math.sqrt(0.5) * POWERS)), np.linspace(0.5, 2, 99_999), SIZES),
        np.log,
        3,
    ),
}


@pytest.mark.parametrize("name", CURVES)
def test_a_curve_is_right_and_the_defined_one(tensorflow: Any, name: str) -> None:
    from exactkeras import arithmetic

    values, exact, units = CURVES[name]
    x = np.concatenate(values).astype(np.float32)
    found = getattr(arithmetic, name)(tensorflow.constant(x)).numpy()
    assert_same_bits(found, getattr(reference, name)(x))
    right = exact(x.astype(np.float64))
    assert (np.abs(found - right) <= units * np.spacing(np.abs(right).astype(np.float32))).all()  # in the last place


def test_the_exponential_of_less_is_zero(tensorflow: Any) -> None:
    from exactkeras.arithmetic import exponential

    x = np.array([np.nextafter(F(-87), F(-88)), -88, -1000, -3e38, -np.inf], np.float32)
    assert not np.any(exponential(tensorflow.constant(x)))
    assert exponential(tensorflow.constant([-87.0])).numpy()[0] > SMALLEST


@pytest.mark.parametrize("scale", [1, 5, 60])
@pytest.mark.parametrize(("rows", "classes"), [(3, 2), (50, 10), (37, 47)])
def test_the_cross_entropy_is_right_and_the_defined_one(tensorflow: Any, rows: int, classes: int, scale: float) -> None:
    from exactkeras.arithmetic import cross_entropy, log_softmax

    logits = normal(rows, classes) * np.float32(scale)
    labels = np.random.default_rng(2).integers(0, classes, rows).astype(np.int32)
    weights = np.full(rows, np.float32(1) / np.float32(max(1, rows - 2)))
    weights[-2:] = 0  # fillers
    given = [tensorflow.constant(array) for array in (logits, labels, weights)]
    losses, gradient = cross_entropy(*given)
    expected = reference.loss(logits, labels, weights)
    assert_same_bits(losses, expected[0])
    assert_same_bits(gradient, expected[1])
    assert_same_bits(tensorflow.transpose(log_softmax(given[0])[0]), reference.log_probabilities(logits))
    assert not np.any(losses[-2:])
    assert not np.any(gradient[-2:])
    with tensorflow.GradientTape() as tape:
        tape.watch(given[0])
        theirs = tensorflow.nn.sparse_softmax_cross_entropy_with_logits(given[1], given[0]) * given[2]
    np.testing.assert_allclose(losses, theirs, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(gradient, tape.gradient(theirs, given[0]), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(("rows", "features", "units"), [(1, 1, 1), (5, 169, 3), (30, 784, 10), (171, 50, 170)])
def test_a_dense_layer_and_its_gradients(tensorflow: Any, rows: int, features: int, units: int) -> None:
    from exactkeras.arithmetic import dense, lengths

    inputs, kernel, bias = normal(rows, features), normal(features, units, seed=1), normal(units, seed=2)
    upstream = normal(rows, units, seed=3)
    watched = [tensorflow.constant(array) for array in (inputs, kernel, bias)]
    with tensorflow.GradientTape(persistent=True) as tape:
        tape.watch(watched)
        found = dense(watched[0], watched[2], *tensorflow.split(watched[1], lengths(features)))
        theirs = watched[0] @ watched[1] + watched[2]
    layer = reference.Dense(kernel, bias, relu=False)
    outputs = layer.forward(inputs)
    to_inputs, to_weights = layer.backward(upstream)
    gradients = [tape.gradient(out, watched, output_gradients=tensorflow.constant(upstream)) for out in (found, theirs)]
    expected = (outputs, to_inputs, *to_weights)
    for own, other, defined in zip((found, *gradients[0]), (theirs, *gradients[1]), expected, strict=True):
        assert_same_bits(own, defined)
        np.testing.assert_allclose(own, other, rtol=1e-3, atol=1e-4)
