"""The memory and the multiplications that a network needs, computed from its settings without building it."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras

from dvcproof.runtime.program import InputError

#: Bounds of a network that is trained or read, both for one image: the values that a layer works on at a time, and the
#: multiplications of all layers together.
MOST_VALUES = 2**21
MOST_PRODUCTS = 2**34


class Cost(NamedTuple):
    """The cost of a layer."""

    weights: int
    values: int = 0  # the values that the layer works on at a time, for one image
    products: int = 0  # multiplications, for one image


def costs_of(layers: Sequence[keras.layers.Layer], shape: Any) -> list[Cost]:
    """Return the cost of inputs of this shape, then the cost of each layer. The layers need not be built."""
    costs = [Cost(0, math.prod(shape[1:]))]
    for layer in layers:
        before, shape = shape, layer.compute_output_shape(shape)
        if isinstance(layer, keras.layers.Dense | keras.layers.Conv2D):
            inner = before[-1] * math.prod(getattr(layer, "kernel_size", ()))
            places, outer = math.prod(shape[1:-1]), shape[-1]
            costs.append(Cost(inner * outer + outer, places * max(inner, outer), places * inner * outer))
        else:
            costs.append(Cost(0, math.prod(shape[1:])))
    return costs


def excess(costs: Sequence[Cost]) -> str:
    """Describe how a network exceeds the bounds. Return an empty string if it does not."""
    products, values = sum(cost.products for cost in costs), max(cost.values for cost in costs)
    large = products > MOST_PRODUCTS or values > MOST_VALUES
    return f"an image takes {products} multiplications, and a layer {values} values, which is too many" if large else ""


def require_moderate(network: keras.Sequential) -> None:
    """Raise InputError if a network is too large: `archive.load` would refuse its file after the training."""
    if problem := excess(costs_of(network.layers, network.input_shape)):
        raise InputError(f"network '{network.name}'", problem, hint="Make it narrower, or the images smaller.")
