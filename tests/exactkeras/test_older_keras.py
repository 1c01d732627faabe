"""The saved model opens in older versions of Keras, with the same predictions."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from digits.apps.card import OLDER_KERAS
from digits.data.splits import to_features
from tests.support.networks import convnet, dense
from tests.support.project import Arrays, run_ok

NETWORKS = {"dense": dense, "convnet": convnet}
LOCKS = {path.stem.removeprefix("keras-"): path for path in Path(__file__).parent.glob("keras-*.lock")}

#: Opens each model of a folder as a user of Keras alone does, and writes what it predicts, or why it does not open.
PROGRAM = """
import sys
from pathlib import Path
import keras
import numpy as np

assert keras.__version__ == sys.argv[2], keras.__version__
features = np.load(f"{sys.argv[1]}/features.npy")
for path in Path(sys.argv[1]).glob("*.keras"):
    try:
        model = keras.models.load_model(path)
    except Exception as error:
        path.with_suffix(".txt").write_text(f"{type(error).__name__}: {error}")
    else:
        np.save(path.with_suffix(".npy"), model.predict(features, verbose=0))
"""


def installed(version: str, cache: Path) -> Path:
    """Install this Keras alone into a folder, once; its dependencies are those of this environment."""
    folder = cache / version
    if not folder.exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
        unfinished = cache / f"{version}.unfinished"
        run_ok(*pip, "--upgrade", "--target", str(unfinished), "-r", str(LOCKS[version]), cwd=cache)
        unfinished.rename(folder)
    return folder


@pytest.fixture(scope="module", params=sorted(LOCKS))
def opened(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    digits: Arrays,
    tensorflow: Any,  # noqa: ARG001 (it sets TensorFlow up)
    pytestconfig: pytest.Config,
) -> tuple[str, Path]:
    """Return a version of Keras, and the folder in which it opened both networks and one that Keras itself saved."""
    from exactkeras import archive

    assert pytestconfig.cache is not None
    keras = installed(request.param, Path(pytestconfig.cache.mkdir("older-keras")))
    folder, features = tmp_path_factory.mktemp("models"), to_features(digits["x_test"].astype(np.uint8))
    np.save(folder / "features.npy", features)
    for name, network in NETWORKS.items():
        model = network().build((28, 28), 10)
        archive.save(model, folder / f"{name}.keras")
        np.save(folder / f"{name}.expected.npy", model.predict(features, verbose=0))
    NETWORKS["dense"]().build((28, 28), 10).save(folder / "dense-by-keras.keras")
    variables = {"PYTHONPATH": str(keras), "TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0"}
    run_ok(sys.executable, "-c", PROGRAM, str(folder), request.param, cwd=folder, env=variables)
    return request.param, folder


def test_the_card_names_the_versions_of_these_tests() -> None:
    assert set(OLDER_KERAS) == set(LOCKS)
    for version, lock in LOCKS.items():
        assert lock.read_text(encoding="utf-8").startswith(f"keras=={version} \\\n    --hash=sha256:")


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
def test_an_older_keras_predicts_the_same(opened: tuple[str, Path], network: str) -> None:
    _version, folder = opened
    assert not (folder / f"{network}.txt").exists(), (folder / f"{network}.txt").read_text()
    found, expected = np.load(folder / f"{network}.npy"), np.load(folder / f"{network}.expected.npy")
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(found.argmax(axis=1), expected.argmax(axis=1))


@pytest.mark.slow
def test_what_keras_writes_does_not_open_in_the_oldest(opened: tuple[str, Path]) -> None:
    """The negative control. A newer one may know the settings."""
    version, folder = opened
    assert (folder / "dense-by-keras.txt").exists() or version != OLDER_KERAS[0]
