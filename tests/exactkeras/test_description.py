"""What a .keras file says of its network: checked before anything is made of it."""

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dvcproof.runtime.program import InputError

pytestmark = pytest.mark.usefixtures("tensorflow")

Members = dict[str, bytes]


@pytest.fixture
def members(tensorflow: Any) -> Members:
    """The members of the file of a small dense network."""
    from bench.faults.models import sound

    assert tensorflow
    return dict(sound()[0])


def refusal_of(path: Path, content: bytes) -> str:
    from exactkeras import archive

    path.write_bytes(content)
    with pytest.raises(InputError, match=r"expected a Keras model from .*Got .*Run `make repro`") as error:
        archive.load(path)
    return str(error.value)


def layer(**changes: Any) -> Callable[[Any], Any]:
    """Other settings of the hidden layer."""
    return lambda document: document["config"]["layers"][1]["config"].update(changes)


CHANGES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "three million units": (layer(units=3_000_000), r"a file of \d+ bytes for 2385000010 weights"),
    "units without end": (layer(units=10**18), r"bytes for \d+ weights"),
    "a regularizer of its own": (
        layer(kernel_regularizer={"class_name": "x"}),
        "with a layer with a kernel_regul",
    ),
    "an activation that is called": (
        layer(activation={"class_name": "function"}),
        "with a layer with a activation",
    ),
    "no units": (layer(units=0), "a damaged file"),
    "another class": (
        lambda document: document["config"]["layers"][1].update(class_name="Lambda"),
        "one with a layer of the kind Lambda",
    ),
    "a functional model": (
        lambda document: document.update(class_name="Functional"),
        "a Functional model",
    ),
    "no input": (lambda document: document["config"]["layers"].pop(0), "a Sequential model without an Input"),
    "very many layers": (
        lambda document: document["config"]["layers"].extend([{"class_name": "Flatten", "config": {}}] * 100),
        "one of 103 layers",
    ),
    "no layers": (lambda document: document["config"].pop("layers"), r"a damaged file \(KeyError: 'layers'\)"),
    "a name that is none": (lambda document: document["config"].update(name=[{}]), "one with a layer with a name"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_another_description_is_refused(tmp_path: Path, members: Members, case: str) -> None:
    from bench.faults.models import packed

    change, received = CHANGES[case]
    document = json.loads(members["config.json"])
    change(document)
    line = refusal_of(tmp_path / "m.keras", packed(members | {"config.json": json.dumps(document).encode()}))
    assert len(line) < 1000
    assert re.search(f"Got .*{received}", line), line


def test_the_weights_of_every_network_are_counted(tensorflow: Any) -> None:
    from bench.faults.models import sound
    from exactkeras.description import rebuild

    assert tensorflow
    for files in sound():
        document = json.loads(files["config.json"])
        size = 4 * rebuild(document, 10**9).count_params()
        assert rebuild(document, size).count_params() * 4 == size
        with pytest.raises(ValueError, match=f"a file of {size - 1} bytes for {size // 4} weights"):
            rebuild(document, size - 1)


def test_the_largest_networks_are_within_the_bounds(tensorflow: Any) -> None:
    """What params.yaml allows, `evaluate` must read."""
    from exactkeras import description
    from tests.support.networks import convnet, dense

    assert tensorflow
    costs = []
    for network, classes in ((dense(units=64), 256), (convnet(filters=8), 256)):
        layers = network.build((28, 28), classes).layers
        import keras

        found = list(description._costs([keras.layers.InputLayer(batch_shape=(None, 784)), *layers]))
        costs.append((max(cost.values for cost in found), sum(cost.products for cost in found)))
    assert costs[0][1] * 1024 < description.MOST_PRODUCTS  # 65,536 units
    assert costs[1][0] * 128 < description.MOST_VALUES  # 1,024 filters
    assert costs[1][1] * 128**2 < description.MOST_PRODUCTS


def test_a_layer_that_takes_much_without_weights_is_refused(tmp_path: Path, tensorflow: Any) -> None:
    import keras

    from exactkeras import archive

    assert tensorflow
    network = keras.Sequential(
        [
            keras.Input((784,)),
            keras.layers.Reshape((28, 28, 1)),
            keras.layers.Conv2D(5000, 1),
            keras.layers.Conv2D(1, 28),
            keras.layers.Flatten(),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    archive.save(network, tmp_path / "m.keras")
    line = refusal_of(tmp_path / "n.keras", (tmp_path / "m.keras").read_bytes())
    assert "Got a network that takes 7840010 multiplications for an image" in line


Weights = Callable[[Any, str, Any], object]
WEIGHTS: dict[str, tuple[Weights, str]] = {
    "no number": (lambda file, name, array: file.__setitem__(name, array * np.nan), "no finite numbers"),
    "endless": (lambda file, name, array: file.__setitem__(name, array + np.inf), "no finite numbers"),
    "of 8 bytes": (lambda file, name, array: file.__setitem__(name, array.astype("f8")), "not plain float32"),
    "packed": (
        lambda file, name, _: file.create_dataset(name, (784, 10**7), "f4", chunks=(1, 1), compression="gzip"),
        "not plain float32",
    ),
    "elsewhere": (
        lambda file, name, array: file.create_dataset(name, array.shape, "f4", external=[("/dev/zero", 0, 10**6)]),
        "not plain float32",
    ),
    "missing": (lambda *_: None, "a damaged file"),
}


@pytest.mark.parametrize("case", WEIGHTS)
def test_other_weights_are_refused(tmp_path: Path, members: Members, case: str) -> None:
    import h5py

    from bench.faults.models import packed

    change, received = WEIGHTS[case]
    file = io.BytesIO(members["model.weights.h5"])
    with h5py.File(file, "a") as weights:
        array = weights["layers/dense/vars/0"][()]
        del weights["layers/dense/vars/0"]
        change(weights, "layers/dense/vars/0", array)
    line = refusal_of(tmp_path / "m.keras", packed(members | {"model.weights.h5": file.getvalue()}))
    assert received in line


def test_a_flipped_bit_of_the_weights_is_noticed(tmp_path: Path, members: Members) -> None:
    from bench.faults.models import packed

    content = packed(members)
    place = content.index(members["model.weights.h5"][-2000:]) + 1000
    damaged = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
    assert "Bad CRC-32 for file 'model.weights.h5'" in refusal_of(tmp_path / "m.keras", damaged)


def test_other_models_are_refused_by_what_they_are(tmp_path: Path, tensorflow: Any) -> None:
    from bench.faults.models import foreign

    assert tensorflow
    lines = [refusal_of(tmp_path / "m.keras", content) for content in foreign()[:3]]
    for line, received in zip(
        lines,
        ("a Functional model instead of", "a Sequential model without an Input", "a layer of the kind Dropout"),
        strict=True,
    ):
        assert received in line


def test_weights_that_overflow_give_no_prediction(tmp_path: Path, tensorflow: Any) -> None:
    from digits.apps.reading import open_classifier
    from exactkeras import archive
    from tests.support.networks import dense

    assert tensorflow
    network = dense().build((28, 28), 10)
    network.set_weights([np.full_like(weight, 3e38) for weight in network.get_weights()])
    archive.save(network, tmp_path / "m.keras")
    classifier = open_classifier(tmp_path / "m.keras")
    with pytest.raises(InputError, match=r"the model: expected probabilities that are numbers\. Got others"):
        classifier.probabilities(np.full((1, 28, 28), 255, np.uint8))
