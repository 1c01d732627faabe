"""Products, folds, exponential, logarithm and loss: bit for bit what the definition says, and right."""

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from exactkeras.chain import SMALLEST, chain
from tests.support import reference
from tests.support.bits import assert_same_bits, normal

pytestmark = pytest.mark.usefixtures("tensorflow")
Floats = NDArray[np.float32]

#: Rows, inner dimension and columns, many of them at the edges of some kernel's tiles.
SHAPES = [
    (1, 1, 1),
    (1, 168, 1),
    (1, 24, 16),
    (2, 3, 500),
    (5, 7, 3),
    (23, 25, 17),
    (24, 168, 16),
    (44, 96, 24),
    (88, 144, 9),
    (127, 168, 10),
    (128, 112, 512),
    (301, 168, 31),
]


def test_an_inner_dimension_is_cut_as_the_page_says() -> None:
    from exactkeras.arithmetic import lengths

    assert lengths(784) == [168, 168, 168, 168, 112]
    assert lengths(512) == [144, 144, 144, 80]
    assert lengths(1) == [1]
    assert lengths(168) == [168]
    assert lengths(169) == [96, 73]


def test_lengths_are_few_equal_and_short_enough() -> None:
    from exactkeras.arithmetic import LONGEST, ROWS, lengths

    for count in range(1, 2000):
        cut = lengths(count)
        assert sum(cut) == count
        assert len(cut) == math.ceil(count / LONGEST)
        assert 0 < cut[-1] <= cut[0] <= LONGEST
        if len(cut) > 1:
            assert set(cut[:-1]) == {cut[0]}
            assert cut[0] % ROWS == 0
        assert [stop - start for start, stop in reference.cut(count)] == cut


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
    """The negative control of the comparisons here: the numbers are such that order and rounding count."""
    a, b = normal(24, 784), normal(784, 16, seed=1)
    expected = reference.product(a, b)
    backwards = [(start, stop) for start, stop in reference.cut(784)][::-1]
    for other in (
        chain(a, b),
        (a.astype(np.float64) @ b).astype(np.float32),
        reference.product(a, b, backwards),
        reference.product(a, b, [(start, start + 112) for start in range(0, 784, 112)]),
    ):
        with pytest.raises(AssertionError, match="of 384 values differ"):
            assert_same_bits(other, expected)


@pytest.mark.parametrize(("rows", "inner", "columns"), [(7, 784, 10), (30, 169, 5), (1, 512, 33)])
@pytest.mark.parametrize("transpose_b", [False, True])
def test_a_longer_product_is_a_sum_of_chains(
    tensorflow: Any, rows: int, inner: int, columns: int, transpose_b: bool
) -> None:
    from exactkeras.arithmetic import lengths, product

    a, b = normal(rows, inner), normal(inner, columns, seed=1)
    left = tensorflow.split(tensorflow.constant(a), lengths(inner), axis=1)
    right = tensorflow.split(
        tensorflow.constant(b.T if transpose_b else b), lengths(inner), axis=1 if transpose_b else 0
    )
    assert_same_bits(product(left, right, transpose_b=transpose_b), reference.product(a, b))


@pytest.mark.parametrize("unrolled", [256, 2])
@pytest.mark.parametrize("in_graph", [False, True])
@pytest.mark.parametrize("shape", [(1, 3, 2), (168, 25, 7), (400, 17, 5), (999, 30, 16)])
def test_a_product_over_rows_is_one_whether_in_a_loop_or_not(
    tensorflow: Any, monkeypatch: pytest.MonkeyPatch, unrolled: int, in_graph: bool, shape: tuple[int, int, int]
) -> None:
    from exactkeras import arithmetic

    looped, in_loop = [], arithmetic._product_over_rows_in_loop

    def noted(a: Any, b: Any, cut: list[int]) -> Any:
        looped.append(cut)
        return in_loop(a, b, cut)

    monkeypatch.setattr(arithmetic, "UNROLLED", unrolled)
    monkeypatch.setattr(arithmetic, "_product_over_rows_in_loop", noted)
    rows, m, n = shape
    a, b = normal(rows, m), normal(rows, n, seed=1)
    over_rows = tensorflow.function(arithmetic.product_over_rows) if in_graph else arithmetic.product_over_rows
    assert_same_bits(over_rows(tensorflow.constant(a), tensorflow.constant(b)), reference.product(a.T, b))
    assert len(looped) == (len(reference.cut(rows)) > unrolled)


@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_a_fold_adds_the_second_half_to_the_first(tensorflow: Any, shape: tuple[int, ...]) -> None:
    from exactkeras.arithmetic import fold

    for rows in (*range(1, 20), 100, 129):
        values = normal(rows, *shape)
        assert_same_bits(fold(tensorflow.constant(values)), reference.fold(values))
    a, b, c, d, e = values[:5]
    assert_same_bits(fold(tensorflow.constant(values[:5])), ((a + d) + c) + (b + e))


def beside(*values: float) -> Floats:
    """Numbers and their neighbours."""
    numbers = np.array(values, np.float32)
    return np.concatenate(
        [numbers, np.nextafter(numbers, np.float32(np.inf)), np.nextafter(numbers, np.float32(-np.inf))]
    )


def units_off(found: Floats, exact: NDArray[np.float64]) -> float:
    """The largest error, in units in the last place."""
    return float((np.abs(found - exact) / np.spacing(np.abs(exact).astype(np.float32))).max())


def exponents() -> Floats:
    """Numbers up to 0: the edges of the range, where the whole number in it changes, powers of two, many others."""
    edges = np.array([0, -1e-30, -1e-7, -1000, -np.inf, -3e38])
    halves = -math.log(2) * np.arange(0.5, 126)
    values = [edges, beside(-87, -88), beside(*halves), -(2.0 ** np.arange(-40, 7)), np.linspace(-90, 0, 200_000)]
    return np.concatenate(values).astype(np.float32)


def test_the_exponential_is_right_and_the_defined_one(tensorflow: Any) -> None:
    from exactkeras.arithmetic import exponential

    x = exponents()
    found = exponential(tensorflow.constant(x)).numpy()
    assert_same_bits(found, reference.exponential(x))
    above = x >= -87
    assert units_off(found[above], np.exp(x[above].astype(np.float64))) < 1.5
    assert found[above].min() > SMALLEST
    assert (found[~above] == 0).all()
    assert (found[x == 0] == 1).all()


def positive() -> Floats:
    """Normal numbers: powers of two, where the exponent in them changes, the edges of the range, many others."""
    powers, random = 2.0 ** np.arange(-125, 127), np.random.default_rng(0)
    every_size = 2.0 ** random.uniform(-126, 127.99, 100_000)
    values = [beside(*powers), beside(*(math.sqrt(0.5) * powers)), np.linspace(0.5, 2, 100_000), every_size]
    return np.concatenate([*values, [SMALLEST, np.finfo(np.float32).max]]).astype(np.float32)


def test_the_logarithm_is_right_and_the_defined_one(tensorflow: Any) -> None:
    from exactkeras.arithmetic import logarithm

    x = positive()
    found = logarithm(tensorflow.constant(x)).numpy()
    assert_same_bits(found, reference.logarithm(x))
    other = x != 1
    assert units_off(found[other], np.log(x[other].astype(np.float64))) < 3
    assert (found[~other] == 0).all()


def random_loss(rows: int, classes: int, scale: float = 5) -> tuple[Floats, NDArray[np.int32], Floats]:
    """Logits, labels and weights, of which the last two are those of fillers."""
    labels = np.random.default_rng(2).integers(0, classes, rows).astype(np.int32)
    weights = np.full(rows, np.float32(1) / np.float32(max(1, rows - 2)))
    weights[-2:] = 0
    return normal(rows, classes) * np.float32(scale), labels, weights


@pytest.mark.parametrize("scale", [1, 5, 60])
@pytest.mark.parametrize(("rows", "classes"), [(3, 2), (50, 10), (37, 47)])
def test_the_cross_entropy_is_the_defined_one(tensorflow: Any, rows: int, classes: int, scale: float) -> None:
    from exactkeras.arithmetic import cross_entropy, log_softmax

    logits, labels, weights = random_loss(rows, classes, scale)
    losses, gradient = cross_entropy(*map(tensorflow.constant, (logits, labels, weights)))
    expected = reference.loss(logits, labels, weights)
    assert_same_bits(losses, expected[0])
    assert_same_bits(gradient, expected[1])
    assert_same_bits(
        tensorflow.transpose(log_softmax(tensorflow.constant(logits))[0]), reference.log_probabilities(logits)
    )
    for filler in (losses[-2:], gradient[-2:]):
        assert (filler.numpy() == 0).all()


def test_the_cross_entropy_agrees_with_tensorflow(tensorflow: Any) -> None:
    from exactkeras.arithmetic import cross_entropy

    logits, labels, weights = map(tensorflow.constant, random_loss(50, 10))
    with tensorflow.GradientTape() as tape:
        tape.watch(logits)
        theirs = tensorflow.nn.sparse_softmax_cross_entropy_with_logits(labels, logits) * weights
    losses, gradient = cross_entropy(logits, labels, weights)
    np.testing.assert_allclose(losses, theirs, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(gradient, tape.gradient(theirs, logits), rtol=1e-4, atol=1e-7)


def test_a_certain_wrong_answer_has_a_large_finite_loss(tensorflow: Any) -> None:
    from exactkeras.arithmetic import cross_entropy

    logits = tensorflow.constant([[0.0, 500.0], [-1e30, 1e30]])
    losses, gradient = cross_entropy(logits, tensorflow.constant([0, 1]), tensorflow.ones(2))
    assert losses.numpy().tolist() == [500, 0]
    assert gradient.numpy().tolist() == [[-1, 1], [0, 0]]


@pytest.mark.parametrize(("rows", "features", "units"), [(1, 1, 1), (5, 169, 3), (30, 784, 10), (171, 50, 170)])
def test_a_dense_layer_and_its_gradients(tensorflow: Any, rows: int, features: int, units: int) -> None:
    from exactkeras.arithmetic import dense, lengths

    arrays = (
        normal(rows, features),
        normal(features, units, seed=1),
        normal(units, seed=2),
        normal(rows, units, seed=3),
    )
    inputs, kernel, bias, upstream = map(tensorflow.constant, arrays)

    def gradients(layer: Any) -> Any:
        with tensorflow.GradientTape() as tape:
            tape.watch([inputs, kernel, bias])
            outputs = layer()
        return outputs, *tape.gradient(outputs, [inputs, kernel, bias], output_gradients=upstream)

    found = gradients(lambda: dense(inputs, bias, *tensorflow.split(kernel, lengths(features))))
    theirs = gradients(lambda: inputs @ kernel + bias)
    layer = reference.Dense(arrays[1], arrays[2], relu=False)
    outputs = layer.forward(arrays[0])
    to_inputs, to_weights = layer.backward(arrays[3])
    for own, other, expected in zip(found, theirs, (outputs, to_inputs, *to_weights), strict=True):
        assert_same_bits(own, expected)
        np.testing.assert_allclose(own, other, rtol=1e-3, atol=1e-4)
