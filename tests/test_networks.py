"""The networks: each builds itself from its section of params.yaml, and a third one is a class and a section."""

import ast
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from digits.data.splits import to_features
from digits.networks import NETWORKS, Convnet, Dense, Network, Train, read_network
from dvcproof.runtime.program import InputError
from dvcproof.values import set_params
from exactkeras.recipe import Recipe
from exactkeras.warp import Warp
from tests.support.networks import TRAIN, convnet, dense
from tests.support.project import ROOT, Arrays, make_project, recipe_params, run, run_ok, stages_run

Edit = Callable[[Path, str, str], None]
SECTIONS = {"dense": dense(), "convnet": convnet()}


@pytest.mark.usefixtures("tensorflow")
def test_the_dense_network_of_the_recipe(tmp_path: Path) -> None:
    import keras

    model = read_network(recipe_params(tmp_path))[1].build((28, 28), 10)
    assert [type(layer) for layer in model.layers] == [keras.layers.Dense] * 2
    assert [layer.units for layer in model.layers] == [512, 10]
    assert [layer.activation for layer in model.layers] == [keras.activations.relu, keras.activations.softmax]
    assert model.count_params() == 407_050


@pytest.mark.usefixtures("tensorflow")
def test_the_convnet_has_filters_in_steps() -> None:
    model = convnet(filters=5).build((28, 28), 10)
    assert [layer.filters for layer in model.layers if hasattr(layer, "filters")] == [5, 10, 15, 20]


@pytest.mark.usefixtures("tensorflow")
@pytest.mark.parametrize("classes", [2, 10, 47])
@pytest.mark.parametrize("image_shape", [(28, 28), (20, 32), (64, 13)])
@pytest.mark.parametrize("name", SECTIONS)
def test_a_network_fits_the_data_set(name: str, image_shape: tuple[int, int], classes: int) -> None:
    model = SECTIONS[name].build(image_shape, classes)
    width = image_shape[0] * image_shape[1]
    assert (model.input_shape, model.output_shape) == ((None, width), (None, classes))
    features = np.random.default_rng(0).random((3, width), np.float32)
    np.testing.assert_allclose(np.sum(model(features), axis=1), 1, atol=1e-5)
    assert SECTIONS[name].build(image_shape, classes + 1).count_params() > model.count_params()


@pytest.mark.usefixtures("tensorflow")
def test_the_convnet_sees_the_image(digits: Arrays) -> None:
    images = digits["x_train"][:4].astype(np.uint8)[:, 4:24]  # 20 x 28: height and width exchanged would be noticed
    image = convnet().build((20, 28), 10).get_layer("image")
    np.testing.assert_array_equal(image(to_features(images))[..., 0], images / np.float32(255))


def test_the_recipe_of_the_dense_network() -> None:
    section = dense(optimizer="sgd", learning_rate=0.5, epochs=9, batch_size=33)
    train = TRAIN.model_copy(update={"seed": 5, "shards": 3})
    assert section.recipe(train, (28, 28)) == Recipe(
        optimizer="sgd", learning_rate=0.5, epochs=9, batch_size=33, shards=3, seed=5, warmup=None, warp=None
    )


def test_the_recipe_of_the_convnet() -> None:
    section = convnet(
        optimizer="sgd", learning_rate=0.5, epochs=9, batch_size=33, warmup=0.5, shift=3.0, distortion=0.25
    )
    assert section.recipe(TRAIN.model_copy(update={"seed": 5, "shards": 3}), (20, 32)) == Recipe(
        optimizer="sgd",
        learning_rate=0.5,
        epochs=9,
        batch_size=33,
        shards=3,
        seed=5,
        warmup=0.5,
        warp=Warp(height=20, width=32, shift=3.0, distortion=0.25),
    )


OTHER = {
    "optimizer": "sgd",
    "learning_rate": 0.5,
    "epochs": 9,
    "batch_size": 9,
    "units": 99,
    "filters": 9,
    "warmup": 0.5,
    "shift": 9.0,
    "distortion": 0.5,
}


@pytest.mark.usefixtures("tensorflow")
@pytest.mark.parametrize("name", SECTIONS)
def test_each_parameter_counts(name: str) -> None:
    """A value that nothing reads would be a parameter without effect."""

    def effect(section: Network, train: Train = TRAIN) -> tuple[object, ...]:
        return section.recipe(train, (28, 28)), section.build((28, 28), 10).count_params()

    for parameter in type(SECTIONS[name]).model_fields:
        changed = SECTIONS[name].model_copy(update={parameter: OTHER[parameter]})
        assert effect(changed) != effect(SECTIONS[name]), parameter
    for parameter in ("seed", "shards"):
        assert effect(SECTIONS[name], TRAIN.model_copy(update={parameter: 9})) != effect(SECTIONS[name]), parameter


@pytest.mark.parametrize(("model", "network"), [("dense", Dense), ("convnet", Convnet)])
def test_params_name_the_network_that_is_read(tmp_path: Path, model: str, network: type[Network]) -> None:
    params = recipe_params(tmp_path, train={"model": model}, dense={"epochs": 3}, convnet={"epochs": 4})
    train, section = read_network(params)
    assert type(section) is network is NETWORKS[model]
    assert (train.model, section.epochs) == (model, {"dense": 3, "convnet": 4}[model])


def test_the_section_of_another_network_is_not_read(tmp_path: Path) -> None:
    params = recipe_params(tmp_path, convnet={"filters": "many"})
    assert type(read_network(params)[1]) is Dense
    set_params(params, {"train.model": "convnet"})
    with pytest.raises(InputError, match=r"'convnet\.filters' in .*: expected an integer in \[1, 1024\]\. Got 'many'"):
        read_network(params)


@pytest.mark.parametrize("model", ["linear", "Dense", "", "train", None, 3])
def test_an_unknown_network_is_refused(tmp_path: Path, model: object) -> None:
    params = recipe_params(tmp_path, train={"model": model})
    with pytest.raises(InputError, match=r"'train\.model' in .*: expected one of 'dense', 'convnet'\. Got "):
        read_network(params)


def test_a_section_of_no_network_is_refused(tmp_path: Path, edit: Edit) -> None:
    params = recipe_params(tmp_path)
    edit(params, "\nconvnet:\n", "\nconvnte:\n")
    with pytest.raises(
        InputError, match=r"expected one of .*dense, convnet\. Got the unknown .*Did you mean 'convnet'"
    ):
        read_network(params)


def test_a_network_without_a_section_is_refused(tmp_path: Path, edit: Edit) -> None:
    params = recipe_params(tmp_path, train={"model": "convnet"})
    text = params.read_text(encoding="utf-8")
    section = re.search(r"\nconvnet:\n(?:(?: .*)?\n)*", text)
    assert section
    edit(params, section[0], "\n")
    with pytest.raises(InputError, match=r"section 'convnet' in .*Got nothing\. Add the section 'convnet:'"):
        read_network(params)


def test_every_network_has_a_section_of_its_own() -> None:
    document = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    for name, network in NETWORKS.items():
        assert set(document[name]) == set(network.model_fields), name


#: Studies of one network each, and the documents that show them.
STUDIES = {
    f"bench/{name}.py"
    for name in (
        "__main__",
        "convnet",
        "faults/generate",
        "figures",
        "large",
        "scaling",
        "speed",
        "tables",
        "waits",
        "whole",
        "workers",
    )
}


def naming_a_network() -> set[str]:
    """The files of code with a text that is a network's name, or a parameter of its section."""
    found = set()
    for path in (
        path
        for folder in ("bench", "digits", "dvcproof", "exactkeras", "stages")
        for path in (ROOT / folder).rglob("*.py")
    ):
        texts = [
            node.value
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Constant)
        ]
        if any(isinstance(text, str) and text.split(".")[0] in NETWORKS and " " not in text for text in texts):
            found.add(path.relative_to(ROOT).as_posix())
    return found


def test_only_networks_and_the_sample_know_the_networks() -> None:
    assert naming_a_network() - STUDIES == {"digits/networks.py", "bench/processors.py"}


LINEAR = '''class Linear(Network):
    """No hidden layer: logistic regression."""

    def build(self, image_shape: Sequence[int], classes: int) -> "keras.Sequential":
        """A new network; see `Network.build`."""
        import keras

        return keras.Sequential(
            [
                keras.Input((math.prod(image_shape),), name="features"),
                keras.layers.Dense(classes, activation="softmax", name="probabilities"),
            ],
            name="digits",
        )


'''
LINEAR_SECTION = """
linear:
  optimizer: adam
  learning_rate: 0.01
  epochs: 3
  batch_size: 32
"""


@pytest.mark.slow
def test_a_third_network_is_a_class_and_a_section(tmp_path: Path, digits: Arrays, edit: Edit) -> None:
    project = make_project(tmp_path / "project", digits)
    params = project / "params.yaml"
    set_params(params, {"train.model": "linear"})
    with params.open("a", encoding="utf-8") as file:
        file.write(LINEAR_SECTION)
    refused = run("dvc", "repro", cwd=project)  # the section alone is not enough
    assert refused.returncode != 0
    assert "expected one of load, preprocess, train, evaluate, class_names, dense, convnet. Got " in refused.stderr
    start = "NETWORKS: Mapping[str, type[Network]] = {"
    edit(project / "digits" / "networks.py", start, f'{LINEAR}{start}"linear": Linear, ')
    assert stages_run(run_ok("dvc", "repro", cwd=project)) == ["train", "evaluate"]
    scores = json.loads((project / "metrics" / "scores.json").read_text(encoding="utf-8"))
    assert scores["test"]["accuracy"] > 0.6
    history = json.loads((project / "metrics" / "history.json").read_text(encoding="utf-8"))
    assert [epoch["epoch"] for epoch in history["epochs"]] == [1, 2, 3]
    lock = yaml.safe_load((project / "dvc.lock").read_text(encoding="utf-8"))["stages"]
    recorded: dict[str, Any] = lock["train"]["params"]["params.yaml"]
    assert set(recorded) == {"train", "linear"}
    assert run_ok("dvc", "status", "--json", cwd=project).strip() == "{}"
