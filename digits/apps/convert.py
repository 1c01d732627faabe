"""Convert a Keras model to a SavedModel and an ONNX file, and compare their predictions with those of the model.

Both are made from a traced function from `features` to `probabilities`, which accepts any batch size. So every layer
can be converted that TensorFlow can trace.
"""

import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from digits.data.npy import NpyFile
from dvcproof.runtime.program import InputError

if TYPE_CHECKING:
    import keras

#: The greatest allowed difference in a probability. Measured differences on MNIST's 10,000 test images: 6e-7 for the
#: dense network and 9e-7 for a small convnet if float32 is summed in another order; 2.5e-5 if an output bias is changed
#: by 1e-4.
TOLERANCE = 1e-5

#: The version of ONNX's operators: the newest version with which tf2onnx 1.17 is tested.
OPSET = 18

#: A function from features, float32 [n, values of an image], to probabilities, float32 [n, classes].
Predict = Callable[[NDArray[np.float32]], Any]


class Check(NamedTuple):
    """Differences between a format and the Keras model on the whole test set."""

    difference: float  # greatest absolute difference in a probability
    changed: int  # images whose most probable class differs


def convert(model: "keras.Model", features: NpyFile, batch_size: int, folder: Path, sha256: str) -> dict[str, Check]:
    """Write `saved_model` and `model.onnx` into a folder, read them back, and compare their predictions.

    `sha256` is the hash of the Keras file. It is written into the ONNX file.
    """
    import onnxruntime
    import tensorflow as tf

    def all_of(predict: Predict) -> NDArray[np.float32]:
        """Return the probabilities of every row, [n, classes]. The last batch may be shorter."""
        starts = range(0, len(features), batch_size)
        batches = (features.rows(start, min(start + batch_size, len(features))) for start in starts)
        return np.concatenate([predict(batch.astype(np.float32, copy=False)) for batch in batches])

    save_saved_model(model, folder / "saved_model")
    save_onnx(model, folder / "model.onnx", sha256)
    saved = tf.saved_model.load(str(folder / "saved_model"))
    onnx = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    formats: dict[str, Predict] = {
        "saved_model": lambda rows: saved.signatures["serving_default"](features=tf.constant(rows))["probabilities"],
        "model.onnx": lambda rows: onnx.run(["probabilities"], {"features": rows})[0],
    }
    reference = all_of(lambda rows: model(rows, training=False))
    return {name: compare(name, all_of(predict), reference) for name, predict in formats.items()}


def save_saved_model(model: "keras.Model", folder: Path) -> None:
    """Write a model as a SavedModel for prediction, which TensorFlow opens without Keras.

    `model.export` of Keras 3.15 is not used, since it stores every weight twice.
    """
    import tensorflow as tf

    module = tf.Module()
    module.model_variables = [variable.value for variable in model.variables]
    try:
        tf.saved_model.save(module, str(folder), signatures={"serving_default": _traced(model)})
    except tf.errors.OpError as error:
        raise OSError(error.error_code, error.message, str(folder)) from None


def save_onnx(model: "keras.Model", file: Path, sha256: str) -> None:
    """Write a model as an ONNX file. Raise InputError if ONNX or the converter does not support a layer."""
    import onnx
    import tf2onnx

    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)  # the error has the same text
    traced = _traced(model)
    try:
        proto, _ = tf2onnx.convert.from_function(traced, traced.input_signature, opset=OPSET)
        for end in (*proto.graph.input, *proto.graph.output):
            end.type.tensor_type.shape.dim[0].dim_param = "n"  # the converter calls it 'unk__6'
        proto.metadata_props.add(key="keras_model_sha256", value=sha256)
        onnx.checker.check_model(proto, full_check=True)
    except Exception as error:  # the converter raises many kinds of errors
        problem = f"the model cannot be converted ({type(error).__name__}: {error})"
        raise InputError(file.name, problem, hint="Replace the layer, or teach tf2onnx its operation.") from None
    onnx.save(proto, str(file))


def _traced(model: "keras.Model") -> Any:
    """Return the model as a TensorFlow function for prediction, in which layers such as dropout are off."""
    import tensorflow as tf

    def probabilities(features: Any) -> dict[str, Any]:
        return {"probabilities": model(features, training=False)}

    features = tf.TensorSpec([None, *model.input_shape[1:]], tf.float32, name="features")
    return tf.function(probabilities, input_signature=[features], autograph=False)


def compare(name: str, probabilities: NDArray[np.float32], reference: NDArray[np.float32]) -> Check:
    """Compare the probabilities of a format, [n, classes], with those of the Keras model.

    Raise InputError if they differ by more than TOLERANCE.
    """
    same_shape = probabilities.shape == reference.shape
    difference = float(np.abs(probabilities - reference).max()) if same_shape else math.inf
    if not difference <= TOLERANCE:  # also for NaN
        raise InputError(
            name,
            expected=f"the probabilities of the Keras model within {TOLERANCE:g} on the whole test set",
            received=f"a difference of {difference:.3g}",
            hint="Nothing was written. Find the layer that is converted wrongly.",
        )
    return Check(difference, int((probabilities.argmax(axis=1) != reference.argmax(axis=1)).sum()))
