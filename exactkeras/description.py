"""What a .keras file says of its network, checked before anything of that size is made.

Only layers with a defined arithmetic are built, from plain settings alone: nothing that a file names is called.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import h5py
import keras

#: The layers of a network, by the names that files have for them.
LAYERS: Mapping[str, type[keras.layers.Layer]] = {
    layer.__name__: layer
    for layer in (
        keras.layers.InputLayer,
        keras.layers.Dense,
        keras.layers.Conv2D,
        keras.layers.Reshape,
        keras.layers.Flatten,
    )
}

#: Settings that do not count: the weights are in the file, and the type is float32.
LEFT_OUT = ("dtype", "kernel_initializer", "bias_initializer")

#: More than the largest network that params.yaml can ask for: layers, and for one image the values that a layer works
#: on and the multiplications of all.
MOST_LAYERS = 100
MOST_VALUES = 2**21
MOST_PRODUCTS = 2**34

#: Groups and arrays in a file of weights.
MOST_OBJECTS = 1000


class UnsuitableError(ValueError):
    """The file describes a model that is not of the kind that the pipeline trains. Its text says which."""


class Cost(NamedTuple):
    """What a layer takes."""

    weights: int
    values: int = 0  # that it works on at a time, for one image
    products: int = 0  # multiplications for one image


def rebuild(description: Mapping[str, Any], stored: int) -> keras.Sequential:
    """Build the network of a file, with any weights.

    Args:
        description: the file's config.json.
        stored: bytes of the weights in the file.

    Raises:
        UnsuitableError: it is no sequence of LAYERS after an InputLayer, or takes more than the bounds allow.
        Exception: it is damaged; Keras raises many kinds.
    """
    kind = description["class_name"]
    if kind != "Sequential":
        raise UnsuitableError(f"a {kind} model instead of a Sequential one")
    entries = description["config"]["layers"]
    if len(entries) > MOST_LAYERS:
        raise UnsuitableError(f"one of {len(entries)} layers")
    layers = [_layer(entry) for entry in entries]
    if not layers or not isinstance(layers[0], keras.layers.InputLayer):
        raise UnsuitableError("a Sequential model without an Input")
    costs = list(_costs(layers))
    weights = sum(cost.weights for cost in costs)
    if 4 * weights > stored:
        raise UnsuitableError(f"a file of {stored} bytes for {weights} weights")
    require_moderate(costs)
    return keras.Sequential(layers, name=_plain("name", description["config"]["name"]))


def require_moderate(costs: list[Cost]) -> None:
    """Refuse a network that takes more than the bounds allow, before it is read, or trained.

    Raises:
        UnsuitableError: it does.
    """
    products = sum(cost.products for cost in costs)
    if max(cost.values for cost in costs) > MOST_VALUES or products > MOST_PRODUCTS:
        raise UnsuitableError(f"a network that takes {products} multiplications for an image")


def costs_of(network: keras.Sequential) -> list[Cost]:
    """What each layer of a network takes."""
    return list(_costs([keras.layers.InputLayer(batch_shape=network.input_shape), *network.layers]))


def _layer(entry: Mapping[str, Any]) -> keras.layers.Layer:
    if entry["class_name"] not in LAYERS:
        raise UnsuitableError(f"one with a layer of the kind {entry['class_name']}")
    settings = {key: _plain(key, value) for key, value in entry["config"].items() if key not in LEFT_OUT}
    return LAYERS[entry["class_name"]](**settings)


def _plain(key: str, value: Any) -> Any:
    """A setting that is a number, a short text, nothing, or a list of numbers."""
    if isinstance(value, list) and len(value) <= 8 and all(item is None or type(item) is int for item in value):
        return tuple(value)
    if value is None or isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) <= 100):
        return value
    raise UnsuitableError(f"one with a layer with a {key} of its own")


def _costs(layers: list[keras.layers.Layer]) -> Iterator[Cost]:
    """What each layer takes, from its settings alone."""
    shape = layers[0].batch_shape
    for layer in layers:
        before, shape = shape, layer.compute_output_shape(shape) if layer is not layers[0] else shape
        if isinstance(layer, keras.layers.Dense | keras.layers.Conv2D):
            convolution = isinstance(layer, keras.layers.Conv2D)
            inner = before[-1] * (math.prod(layer.kernel_size) if convolution else 1)
            places, outer = math.prod(shape[1:-1]), shape[-1]
            yield Cost(inner * outer + outer, places * max(inner, outer), places * inner * outer)
        else:
            yield Cost(0, math.prod(shape[1:]))


def require_plain_weights(file: h5py.File, stored: int) -> None:
    """Refuse weights that take more memory than they take in the file, or lie elsewhere.

    Args:
        file: the weights as Keras writes them.
        stored: bytes of the file.

    Raises:
        ValueError: an array is packed, virtual, in another file or not of float32, or there are too many.
    """
    objects = size = 0

    def look(name: str, item: h5py.Group | h5py.Dataset) -> None:
        nonlocal objects, size
        objects += 1
        if objects > MOST_OBJECTS:
            raise ValueError(f"more than {MOST_OBJECTS} arrays")
        if isinstance(item, h5py.Dataset):
            own = math.prod(item.shape) * item.dtype.itemsize
            size += own
            if item.dtype != "float32" or item.external or item.is_virtual or item.id.get_storage_size() != own:
                raise ValueError(f"weights {name} that are not plain float32")

    file.visititems(look)
    if size > stored:
        raise ValueError(f"{size} bytes of weights in {stored}")
