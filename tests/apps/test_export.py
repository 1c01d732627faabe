"""The export: every format gives the Keras model's predictions on all test images, or nothing is written."""

import hashlib
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

from digits.apps import convert
from digits.apps.convert import save_onnx
from digits.apps.export import NAMES, export, main
from digits.networks import Dense
from dvcproof.runtime.program import InputError
from dvcproof.values import set_params
from tests.support.card import SOURCES, front_matter
from tests.support.project import ROOT, Arrays, run_ok
from tests.support.refusal import refusal
from tests.support.verifying import run_main, small_project

if TYPE_CHECKING:
    pass

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("tensorflow")]

SMALL = Dense(optimizer="sgd", learning_rate=0.1, epochs=1, batch_size=1, units=16)
BEFORE = "the export of before"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, digits: Arrays) -> Path:
    """Return a copy of the small project, with 200 test images, and a study over seeds with other parameters."""
    small, project = small_project(tmp_path_factory, digits), tmp_path_factory.mktemp("export") / "project"
    shutil.copytree(small, project, ignore=shutil.ignore_patterns(".dvc", ".git", "train*", "test_images.npy"))
    set_params(project / "params.yaml", {"evaluate.batch_size": 33})  # 200 is not a multiple of 33
    lock = project / "dvc.lock"
    lock.write_text(re.sub("batch_size: [0-9]+\n( +views)", r"batch_size: 33\n\1", lock.read_text()))
    (project / SOURCES.seeds).parent.mkdir(parents=True)
    shutil.copy(ROOT / SOURCES.seeds, project / SOURCES.seeds)
    return project


@pytest.fixture
def project(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working folder: a copy of the project with an earlier export, which a test may change."""
    target = shutil.copytree(built, tmp_path / "project")
    (target / "export").mkdir()
    (target / "export" / "model.onnx").write_text(BEFORE)
    monkeypatch.chdir(target)
    return target


@pytest.fixture(scope="module")
def exported(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Export the project over an earlier export, and yield the export, which is the working folder."""
    out = tmp_path_factory.mktemp("exported") / "export"
    (out / "saved_model" / "old").mkdir(parents=True)
    status, output, errors = run_main(main, built, "--out", str(out))
    assert (status, errors) == (0, "")
    assert [line.partition(":")[0] for line in output.splitlines()] == [f"{out}/saved_model", f"{out}/model.onnx"]
    assert output.count("(allowed 1e-05), 0 images read as another class\n") == 2
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(out)
        yield out


@pytest.fixture(scope="module")
def reference(built: Path) -> NDArray[np.float32]:
    """Return the probabilities that Keras itself predicts for the first 100 test images: [100, 10]."""
    import keras

    model = keras.saving.load_model(built / SOURCES.model, compile=False)
    return np.asarray(model.predict(np.load(built / SOURCES.data / "test_features.npy")[:100], verbose=0))


def test_the_folder_has_the_three_formats_and_the_card(exported: Path, built: Path) -> None:
    import onnxruntime

    assert sorted(path.name for path in exported.iterdir()) == sorted(NAMES)
    assert not (exported / "saved_model" / "old").exists()
    assert (exported / "model.keras").read_bytes() == (built / SOURCES.model).read_bytes()
    text = (exported / "README.md").read_text(encoding="utf-8")
    assert front_matter(text)["library_name"] == "keras"
    rows = re.findall(r"(?m)^\| `(\S+)` \| (\S+) \| 0 of 200 \|$", text)
    assert [name for name, _ in rows] == ["saved_model", "model.onnx"]
    assert all(float(difference) <= convert.TOLERANCE for _, difference in rows)
    files = re.findall(r"(?m)^\| `(\S+)` \| `([0-9a-f]{64})` \|", text)
    model = onnxruntime.InferenceSession(exported / "model.onnx", providers=["CPUExecutionProvider"])
    assert model.get_modelmeta().custom_metadata_map == {"keras_model_sha256": dict(files)["model.keras"]}
    assert {"model.keras", "model.onnx", "saved_model/saved_model.pb"} < {name for name, _ in files}
    for name, sha256 in files:
        assert hashlib.sha256((exported / name).read_bytes()).hexdigest() == sha256
    assert "| hidden (Dense) | n, 16 | 12,560 |" in text


@pytest.mark.parametrize(("block", "without"), [(0, []), (1, ["keras"]), (2, ["keras", "tensorflow"])])
def test_the_code_of_the_card_runs(
    block: int, without: list[str], exported: Path, reference: NDArray[np.float32]
) -> None:
    code = re.findall(r"```python\n(.*?)```", (exported / "README.md").read_text(encoding="utf-8"), re.DOTALL)[block]
    assert code.count("np.zeros((2, 28, 28), np.uint8)") == 1
    with np.load(ROOT / "data" / "mnist.npz", allow_pickle=False) as mnist:
        np.save(exported.parent / "images.npy", mnist["x_test"][:100])
    code = code.replace("np.zeros((2, 28, 28), np.uint8)", 'np.load("../images.npy")')
    missing = f"import sys\nsys.modules.update(dict.fromkeys({without}))\n"  # as if these packages were not installed
    program = f"{missing}{code}np.save('../found.npy', probabilities)\n"
    run_ok(sys.executable, "-c", program, cwd=exported, env={"TF_CPP_MIN_LOG_LEVEL": "3"})
    found = np.load(exported.parent / "found.npy")
    np.testing.assert_allclose(found, reference, rtol=0, atol=convert.TOLERANCE)


@pytest.mark.usefixtures("project")
def test_a_format_with_other_probabilities_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convert, "save_onnx", lambda model, file, _: save_onnx(another_network(model), file, ""))
    message = "model.onnx: expected the probabilities of the Keras model within 1e-05 on the whole test set. Got a"
    with pytest.raises(InputError, match=message):
        export(SOURCES, Path("export"))
    assert [path.name for path in Path("export").iterdir()] == ["model.onnx"]


def another_network(model: Any) -> Any:
    """Return the network with a bias of its output changed by 1e-4."""
    import keras

    other, weights = keras.models.clone_model(model), model.get_weights()
    weights[-1][0] += 1e-4
    other.set_weights(weights)
    return other


def test_differences_that_are_not_finite_are_refused() -> None:
    ones = np.ones((3, 10), np.float32)
    for probabilities in (np.where(np.eye(3, 10) > 0, np.nan, ones), ones[:2], ones[:, :1]):
        with pytest.raises(InputError, match=r"Got a difference of (nan|inf)"):
            convert.compare("model", probabilities.astype(np.float32), ones)
    assert convert.compare("model", ones, ones) == (0, 0)


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    import keras

    layers = [keras.layers.Discretization([0.5]), keras.layers.Rescaling(1.0), keras.layers.Dense(10)]
    with pytest.raises(InputError, match=r"^x\.onnx: the model cannot be converted \(Val.*Bucketize"):
        convert.save_onnx(keras.Sequential([keras.Input((784,)), *layers]), tmp_path / "x.onnx", "")
    (tmp_path / "saved_model").write_text("a file")
    with pytest.raises(OSError, match="saved_model"):
        convert.save_saved_model(SMALL.build((28, 28), 10), tmp_path / "saved_model")


def another_model() -> None:
    from exactkeras import archive

    archive.save(SMALL.build((28, 28), 10), SOURCES.model)


BAD: dict[str, tuple[Callable[[], object], str]] = {
    "no model": (SOURCES.model.unlink, "data/model.keras: "),
    "another model": (another_model, "data/model.keras: expected the file that dvc.lock names"),
    "another parameter": (lambda: set_params(SOURCES.params, {"dense.units": 17}), "'dense.units' in params.yaml: "),
    "something else there": (
        lambda: Path("export/letters.txt").write_text("keep"),
        "export: letters.txt was not written by an export. Choose another folder.",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_and_the_old_export_stays(case: str, project: Path) -> None:
    damage, message = BAD[case]
    damage()
    before = sorted((project / "export").iterdir())
    assert message in refusal(main)
    assert sorted((project / "export").iterdir()) == before
    assert (project / "export" / "model.onnx").read_text() == BEFORE
    (project / "file").write_text("mine")
    assert "file was not written by an export" in refusal(main, "--out", "file")
    assert (project / "file").read_text() == "mine"


def test_both_formats_have_names_and_take_any_number_of_images(exported: Path, tensorflow: Any) -> None:
    import onnxruntime

    predict = tensorflow.saved_model.load(str(exported / "saved_model")).signatures["serving_default"]
    assert predict.structured_input_signature[1]["features"].shape == (None, 784)
    assert predict.structured_outputs["probabilities"].shape == (None, 10)
    model = onnxruntime.InferenceSession(exported / "model.onnx", providers=["CPUExecutionProvider"])
    assert [(value.name, value.shape) for value in model.get_inputs()] == [("features", ["n", 784])]
    assert [(value.name, value.shape) for value in model.get_outputs()] == [("probabilities", ["n", 10])]
    sha256 = hashlib.sha256((exported / "model.keras").read_bytes()).hexdigest()
    assert model.get_modelmeta().custom_metadata_map == {"keras_model_sha256": sha256}
