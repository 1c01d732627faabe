"""Each network builds itself from its section of params.yaml; a section and a class add a third network."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from digits.data.splits import to_features
from digits.networks import Dense, read_network
from dvcproof.runtime.program import InputError
from dvcproof.values import set_params
from exactkeras.augment import RandomAffine
from exactkeras.recipe import Recipe
from tests.support.networks import TRAIN, convnet, dense
from tests.support.project import Arrays, make_project, recipe_params, run, run_ok, stages_run

Edit = Callable[[Path, str, str], None]
SECTIONS = {"dense": dense(), "convnet": convnet()}


@pytest.mark.usefixtures("tensorflow")
def test_the_convnet_sees_the_image(digits: Arrays) -> None:
    images = digits["x_train"][:4].astype(np.uint8)[:, 4:24]  # 20 x 28, so that exchanged height and width are noticed
    image = convnet().build((20, 28), 10).get_layer("image")
    np.testing.assert_array_equal(image(to_features(images))[..., 0], images / np.float32(255))


@pytest.mark.parametrize("name", SECTIONS)
def test_the_recipe_has_every_hyperparameter(name: str) -> None:
    shared: dict[str, Any] = {"optimizer": "sgd", "learning_rate": 0.5, "epochs": 9, "batch_size": 33}
    train = TRAIN.model_copy(update={"seed": 5, "shards": 3})
    expected = Recipe(**shared, shards=3, seed=5)
    if name == "dense":
        assert dense(**shared).recipe(train, (20, 32)) == expected
    else:
        section = convnet(**shared, warmup=0.5, shift=3.0, distortion=0.25)
        augment = RandomAffine(height=20, width=32, shift=3.0, distortion=0.25)
        assert section.recipe(train, (20, 32)) == expected._replace(warmup=0.5, augment=augment)


def test_only_the_section_of_the_network_that_is_trained_is_read(tmp_path: Path) -> None:
    params = recipe_params(tmp_path, dense={"epochs": 3}, convnet={"filters": "many"})
    train, section = read_network(params)
    assert (train.model, type(section), section.epochs) == ("dense", Dense, 3)
    set_params(params, {"train.model": "convnet"})
    with pytest.raises(InputError, match=r"'convnet\.filters' in .*'many'"):
        read_network(params)
    set_params(params, {"train.model": "linear"})
    with pytest.raises(InputError, match=r"'train\.model' in .*'dense', 'convnet'"):
        read_network(params)


LINEAR = '''class Linear(Network):
    """No hidden layer: logistic regression."""

    def build(self, image_shape: Sequence[int], classes: int) -> "keras.Sequential":
        """Build a network."""
        import keras

        last = keras.layers.Dense(classes, activation="softmax", name="probabilities")
        return keras.Sequential([keras.Input((math.prod(image_shape),), name="features"), last], name="digits")


'''
LINEAR_SECTION = "\nlinear:\n  optimizer: adam\n  learning_rate: 0.01\n  epochs: 3\n  batch_size: 32\n"


@pytest.mark.slow
def test_a_third_network_is_a_section_and_a_class(tmp_path: Path, digits: Arrays, edit: Edit) -> None:
    project = make_project(tmp_path / "project", digits)
    params = project / "params.yaml"
    set_params(params, {"train.model": "linear"})
    with params.open("a", encoding="utf-8") as file:
        file.write(LINEAR_SECTION)
    refused = run("dvc", "repro", cwd=project)  # the section alone is not enough
    assert refused.returncode != 0
    assert "Got the unknown name 'linear'" in refused.stderr
    schema = project / "digits" / "params.py"
    edit(schema, '"dense", "convnet"', '"dense", "convnet", "linear"')
    edit(schema, "    convnet: ConvnetParams\n", "    convnet: ConvnetParams\n    linear: NetworkParams\n")
    start = "NETWORKS: Mapping[str, type[Network]] = {"
    edit(project / "digits" / "networks.py", start, f'{LINEAR}{start}"linear": Linear, ')
    assert stages_run(run_ok("dvc", "repro", cwd=project)) == ["load", "preprocess", "train", "evaluate"]
    scores = json.loads((project / "metrics" / "scores.json").read_text(encoding="utf-8"))
    assert scores["test"]["accuracy"] > 0.6
    lock = yaml.safe_load((project / "dvc.lock").read_text(encoding="utf-8"))["stages"]
    assert set(lock["train"]["params"]["params.yaml"]) == {"train", "linear"}
    assert run_ok("dvc", "status", "--json", cwd=project).strip() == "{}"
