"""The arithmetic of training and evaluation: every sum has a stated order, so that every processor gives the same bits.

Only these operations of IEEE 754 are used, in float32, each rounded to nearest by itself: add, subtract, multiply,
divide, square root, maximum, comparison, conversion between integers and floats. Only a chain fuses multiply and add.
There are three kinds of sums:

- A **chain** gives one element of a short matrix product: acc = fma(a, b, acc) over the inner dimension in order, from
  zero. For the shapes used here, TensorFlow's kernels compute chains (oneDNN's for AVX2 and AVX-512, Eigen's for NEON).
- A **product** of longer matrices adds chains in order: `lengths` cuts the inner dimension into them.
- A **fold** is any other sum: the second half is added to the first, until one row is left.

docs/reproducibility.md has the whole definition.
"""

import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

#: The longest chain, a multiple of CUT. Kernels cut a longer inner dimension at a length that depends on the L1 data
#: cache. The shortest lengths measured: 192 (cache of 16 KiB, under qemu-aarch64) and 196 (AVX2, cache of 32 KiB).
LONGEST = 168

#: The length of every chain but the last is a multiple of this.
CUT = 24

#: The AVX2 kernel computes tiles of 6 rows by 16 columns; the NEON kernel computes tiles of 8 rows. In an incomplete
#: tile, elements may not be chains (on AVX2, if 1 or 2 rows are left over). So matrices are padded with zeros. FEW_ROWS
#: are the small numbers of rows that are safe. Larger numbers are padded to a multiple of 24, since kernels may halve
#: the rows first. `probe` reports a machine on which this is not enough.
FEW_ROWS, COLUMNS = (16, 24, 40, 48, 64), 16

#: The most chains that are unrolled in TensorFlow's graph. Huge batches have more, which are computed in a loop.
UNROLLED = 256


def lengths(count: int) -> list[int]:
    """Return the lengths of as few chains as possible for an inner dimension: equal multiples of CUT, and a rest."""
    chains = -(-count // LONGEST)
    length = rounded_up(-(-count // chains), CUT)
    return [min(length, count - start) for start in range(0, count, length)]


def rounded_up(count: int, multiple: int) -> int:
    """Round up to a multiple."""
    return -(-count // multiple) * multiple


def whole_rows(count: int) -> int:
    """Round up to a number of rows that every kernel computes as chains."""
    return next((rows for rows in FEW_ROWS if rows >= count), rounded_up(count, 24))


def whole_columns(count: int) -> int:
    """Round up to a number of columns that every kernel computes as chains."""
    return rounded_up(count, COLUMNS)


def padded(tensor: tf.Tensor, axis: int, size: int) -> tf.Tensor:
    """Pad an axis of a matrix with zeros at its end, up to a size."""
    missing = size - tensor.shape[axis]
    if not missing:
        return tensor
    return tf.pad(tensor, [[0, missing], [0, 0]] if axis == 0 else [[0, 0], [0, missing]])


def chains(a: tf.Tensor, b: tf.Tensor, *, transpose_a: bool = False, transpose_b: bool = False) -> tf.Tensor:
    """Multiply [m, k] and [k, n], k <= LONGEST, so that each element is a chain. Either may be stored transposed."""
    rows, columns = a.shape[1 if transpose_a else 0], b.shape[0 if transpose_b else 1]
    a = padded(a, 1 if transpose_a else 0, whole_rows(rows))
    b = padded(b, 0 if transpose_b else 1, whole_columns(columns))
    whole = tf.linalg.matmul(a, b, transpose_a=transpose_a, transpose_b=transpose_b)
    if whole.shape[1] != columns:
        return whole[:rows, :columns]
    return whole[:rows] if whole.shape[0] != rows else whole  # a slice of the first rows needs no copy


def in_order(terms: Sequence[tf.Tensor]) -> tf.Tensor:
    """Add tensors one after the other."""
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def product(a: Sequence[tf.Tensor], b: Sequence[tf.Tensor], *, transpose_b: bool = False) -> tf.Tensor:
    """Multiply [m, k] and [k, n]. Both are given in pieces, cut along k."""
    return in_order([chains(left, right, transpose_b=transpose_b) for left, right in zip(a, b, strict=True)])


def product_over_rows(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Multiply the transpose of a, [r, m], with b, [r, n], to [m, n]: the rows are the inner dimension."""
    cut = lengths(a.shape[0])
    if len(cut) > UNROLLED:
        return _product_over_rows_in_loop(a, b, cut)
    parts = zip(tf.split(a, cut), tf.split(b, cut), strict=True)
    return in_order([chains(left, right, transpose_a=True) for left, right in parts])


def _product_over_rows_in_loop(a: tf.Tensor, b: tf.Tensor, cut: list[int]) -> tf.Tensor:
    """Compute `product_over_rows` in a loop. Zeros make the last chain as long as the others; they change no sum."""
    a, b = (padded(whole, 0, rounded_up(whole.shape[0], cut[0])) for whole in (a, b))

    def term(start: tf.Tensor) -> tf.Tensor:
        left, right = (tf.ensure_shape(whole[start : start + cut[0]], (cut[0], whole.shape[1])) for whole in (a, b))
        return chains(left, right, transpose_a=True)

    def add(start: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return start + cut[0], total + term(start)

    start = tf.constant(cut[0])
    return tf.while_loop(lambda start, _: start < a.shape[0], add, (start, term(tf.constant(0))))[1]


def fold(rows: tf.Tensor) -> tf.Tensor:
    """Sum over the first axis, [r, ...] to [...]: add the second half to the first until one row is left.

    If the number of rows is odd, the middle row stays as it is until the next round.
    """
    while (count := rows.shape[0]) > 1:
        first, *middle, second = tf.split(rows, [count // 2, 1, count // 2] if count % 2 else 2)
        rows = tf.concat([first + second, *middle], 0) if middle else first + second
    return tf.reshape(rows, rows.shape[1:])


@tf.custom_gradient
def dense(inputs: tf.Tensor, bias: tf.Tensor, *kernels: tf.Tensor) -> Any:
    """Compute a dense layer before its activation: [n, features] to [n, units].

    The kernels are the weights, [features, units], cut into pieces of rows with `lengths`.
    """
    cut = [kernel.shape[0] for kernel in kernels]
    count = inputs.shape[0]
    parts = tf.split(padded(inputs, 0, whole_rows(count)), cut, axis=1)

    def gradients(upstream: tf.Tensor) -> Any:
        by_units = tf.split(upstream, lengths(upstream.shape[1]), axis=1)
        to_inputs = [
            product(by_units, tf.split(kernel, lengths(upstream.shape[1]), axis=1), transpose_b=True)
            for kernel in kernels
        ]
        to_kernels = [product_over_rows(part[:count], upstream) for part in parts]
        return tf.concat(to_inputs, 1), fold(upstream), *to_kernels

    return product(parts, kernels)[:count] + bias, gradients


#: log(2) as the sum of two numbers. The first has 9 significant bits, so its product with an integer below 2**15 is
#: exact (W. J. Cody and W. Waite, Software Manual for the Elementary Functions, 1980).
LOG_2_HIGH = 355 / 512
LOG_2_LOW = math.log(2) - LOG_2_HIGH

#: For a smaller exponent the exponential is zero: it would be below the smallest normal number, which TensorFlow
#: flushes to zero.
LEAST_EXPONENT = -87.0

#: Coefficients of two Taylor series, highest power first. EXPONENTIAL is used for |x| <= log(2) / 2, AREA_TANGENT for
#: |x| <= 3 - 2 sqrt(2). There the first omitted term is below half a unit in the last place.
EXPONENTIAL = tuple(1 / math.factorial(power) for power in range(7, -1, -1))
AREA_TANGENT = tuple(2 / power for power in range(9, 0, -2))


def horner(coefficients: Sequence[float], x: tf.Tensor) -> tf.Tensor:
    """Evaluate a polynomial from its coefficients, highest power first."""
    value = coefficients[0] * x + coefficients[1]
    for coefficient in coefficients[2:]:
        value = value * x + coefficient
    return value


def exponential(x: tf.Tensor) -> tf.Tensor:
    """Compute e**x for x <= 0 as 2**n e**rest. A Taylor polynomial gives e**rest, |rest| <= log(2) / 2."""
    x = tf.maximum(x, LEAST_EXPONENT - 1)
    n = tf.floor(x * (1 / math.log(2)) + 0.5)
    rest = (x - n * LOG_2_HIGH) - n * LOG_2_LOW
    power = tf.bitcast((tf.cast(n, tf.int32) + 127) * 2**23, tf.float32)  # 2**n: n is written into the exponent bits
    return tf.where(x < LEAST_EXPONENT, 0.0, horner(EXPONENTIAL, rest) * power)


def logarithm(x: tf.Tensor) -> tf.Tensor:
    """Compute log(x) for normal x > 0 as n log(2) + 2 artanh((m - 1) / (m + 1)), m near 1."""
    bits = tf.bitcast(x, tf.int32)
    # 0x3F3504F3 are the bits of sqrt(1/2): m lies between sqrt(1/2) and sqrt(2).
    n = tf.bitwise.right_shift(bits - 0x3F3504F3, 23)
    m = tf.bitcast(bits - n * 2**23, tf.float32)
    n, t = tf.cast(n, tf.float32), (m - 1) / (m + 1)
    return n * LOG_2_HIGH + (horner(AREA_TANGENT, t * t) * t + n * LOG_2_LOW)


def log_softmax(logits: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return log-probabilities and probabilities, both [classes, n], for logits [n, classes]."""
    scores = tf.transpose(logits)
    scores = scores - tf.reduce_max(scores, axis=0)
    powers = exponential(scores)
    total = fold(powers)
    return scores - logarithm(total), powers / total


def cross_entropy(logits: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the weighted losses, [n], and their gradient, (probability - target) * weight, [n, classes]."""
    log_probabilities, probabilities = log_softmax(logits)
    targets = tf.one_hot(labels, logits.shape[1], axis=0)
    losses = -fold(log_probabilities * targets)  # exact: only one term is not zero
    return losses * weights, tf.transpose((probabilities - targets) * weights)
