"""A Keras model in the formats of other programs, and how far the probabilities of each are from its own.

All go through one traced function, from `features` to `probabilities` with a free batch size, so that any layer that
TensorFlow can trace will do, dense or convolutional.
"""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from digits.data.arrays import NpyFile
from dvcproof.runtime.program import InputError

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

#: Greatest allowed difference in a probability. Sums of float32 in another order made 6e-7 with the dense network and
#: 9e-7 with a small convnet; an output bias changed by 1e-4 makes 2.5e-5, on MNIST's 10,000 test images.
TOLERANCE = 1e-5

#: Version of ONNX's operators: the newest that tf2onnx 1.17 is tested with.
OPSET = 18

#: From features, float32 [n, values of an image], to probabilities, float32 [n, classes].
Predict = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def save_saved_model(model: "keras.Model", folder: Path) -> None:
    """Write a model as a SavedModel that TensorFlow opens without Keras.

    Only what prediction needs is in it. Keras 3.15's own `model.export` stores every weight twice.

    Raises:
        OSError: the folder cannot be written.
    """
    import tensorflow as tf

    module = tf.Module()
    module.model_variables = [variable.value for variable in model.variables]
    try:
        tf.saved_model.save(module, str(folder), signatures={"serving_default": _traced(model)})
    except tf.errors.OpError as error:
        raise OSError(error.error_code, error.message, str(folder)) from None


def save_onnx(model: "keras.Model", file: Path, properties: Mapping[str, str]) -> None:
    """Write a model as an ONNX file.

    Args:
        model: from [n, ...] to [n, classes].
        file: the file to write.
        properties: to be written into the file, as its `metadata_props`.

    Raises:
        InputError: the model has an operation that ONNX or the converter does not know.
    """
    import onnx
    import tf2onnx

    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)  # what it would log is in the error
    try:
        proto, _ = tf2onnx.convert.from_function(_traced(model), [_features(model)], opset=OPSET)
        for end in (*proto.graph.input, *proto.graph.output):
            end.type.tensor_type.shape.dim[0].dim_param = "n"  # the converter calls it 'unk__6'
        for key, value in properties.items():
            proto.metadata_props.add(key=key, value=value)
        onnx.checker.check_model(proto, full_check=True)
    except Exception as error:  # the converter raises many kinds
        raise InputError(
            str(file.name),
            expected="a model of operations that ONNX knows",
            received=f"{type(error).__name__}: {error}",
            hint="Nothing was written. Replace the layer, or teach tf2onnx its operation.",
        ) from None
    onnx.save(proto, str(file))


def _features(model: "keras.Model") -> "tf.TensorSpec":
    import tensorflow as tf

    return tf.TensorSpec([None, *model.input_shape[1:]], tf.float32, name="features")


def _traced(model: "keras.Model") -> Any:
    """The model as a function of TensorFlow, with dropout and the like as in prediction."""
    import tensorflow as tf

    def probabilities(features: Any) -> dict[str, Any]:
        return {"probabilities": model(features, training=False)}

    return tf.function(probabilities, input_signature=[_features(model)], autograph=False)


def load_keras(model: "keras.Model") -> Predict:
    """The model itself, as the reference."""
    return lambda features: np.asarray(model(features, training=False).numpy())


def load_saved_model(folder: Path) -> Predict:
    """A SavedModel from disk, as any program with TensorFlow would load it."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder))

    def predict(features: NDArray[np.float32]) -> NDArray[np.float32]:
        result = loaded.signatures["serving_default"](features=tf.constant(features))
        return np.asarray(result["probabilities"].numpy())

    return predict


def load_onnx(file: Path) -> Predict:
    """An ONNX file from disk, as any program with ONNX Runtime would load it."""
    import onnxruntime

    model = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return lambda features: np.asarray(model.run(["probabilities"], {"features": features})[0])


def predict_all(predict: Predict, features: NpyFile, batch_size: int) -> NDArray[np.float32]:
    """The probabilities of every row, [n, classes], the last, shorter batch included."""
    count = len(features)
    batches = (features.rows(start, min(start + batch_size, count)) for start in range(0, count, batch_size))
    return np.concatenate([predict(batch.astype(np.float32, copy=False)) for batch in batches])


def largest_difference(probabilities: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    """Greatest absolute difference of two arrays of probabilities [n, classes]. Infinite if their shapes differ."""
    if probabilities.shape != reference.shape:
        return float("inf")
    return float(np.abs(probabilities - reference).max())


def require_equal(name: str, difference: float) -> None:
    """Refuse a conversion whose predictions differ.

    Raises:
        InputError: the difference is greater than TOLERANCE, or no number.
    """
    if not difference <= TOLERANCE:  # also for NaN
        raise InputError(
            name,
            expected=f"the probabilities of the Keras model within {TOLERANCE:g} on the whole test set",
            received=f"a difference of {difference:.3g}",
            hint="Nothing was written. Find the layer that is converted wrongly.",
        )
