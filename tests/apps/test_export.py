"""The export: every format predicts what the Keras model predicts, on all 10,000 test images, or nothing is written."""

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
from digits.apps.export import NAMES, convert_and_check, export, replacing_folder
from digits.data.arrays import NpyFile
from digits.data.splits import Split, to_features
from digits.networks import Dense
from dvcproof.runtime.program import InputError
from dvcproof.values import set_params
from tests.support.card import SOURCES, FrontMatter, front_matter, options
from tests.support.pipeline import run_pipeline
from tests.support.project import AT_ROOT, ROOT, Arrays, make_project, run, run_ok

if TYPE_CHECKING:
    import keras

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("tensorflow")]

DATASET, DATA = Path("data/raw/dataset.json"), Path("data/prepared")

SMALL = Dense(optimizer="sgd", learning_rate=0.1, epochs=1, batch_size=1, units=16)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, digits: Arrays, tensorflow: Any) -> Path:
    """A project in which a small network was trained on 600 images and evaluated on all 10,000 test images."""
    assert tensorflow
    with np.load(ROOT / "data" / "mnist.npz", allow_pickle=False) as mnist:
        arrays = digits | {name: mnist[name] for name in ("x_test", "y_test")}
    project = make_project(tmp_path_factory.mktemp("export") / "project", arrays)
    batches = {"dense.batch_size": 33, "evaluate.batch_size": 33}  # 10,000 is no multiple of it
    set_params(project / "params.yaml", {"dense.units": 16, "dense.epochs": 1} | batches)
    (project / SOURCES.seeds).parent.mkdir(parents=True)
    (project / SOURCES.seeds).write_text('{"params": {}}', encoding="utf-8")  # a study with other parameters
    run_pipeline(project)
    return project


@pytest.fixture
def project(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: a copy of the project without DVC's cache, to change."""
    target = tmp_path / "project"
    shutil.copytree(built, target, symlinks=True, ignore=shutil.ignore_patterns(".dvc", ".git", "raw"))
    (target / "data" / "raw").mkdir()
    shutil.copy(built / DATASET, target / DATASET)
    monkeypatch.chdir(target)
    return target


@pytest.fixture(scope="module")
def exported(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The export of the project, by the command. It is the working folder."""
    out = tmp_path_factory.mktemp("exported") / "export"
    result = run(*command(out), cwd=built, env=AT_ROOT)
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert [line.partition(":")[0] for line in lines] == [str(out / "saved_model"), str(out / "model.onnx")]
    assert all(line.endswith("(allowed 1e-05), 0 images read as another class") for line in lines)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(out)
        yield out


def command(out: Path) -> list[str]:
    data = ("--dataset", str(DATASET), "--data", str(DATA))
    return [sys.executable, "-m", "digits", "export", *options(SOURCES), *data, "--out", str(out)]


@pytest.fixture(scope="module")
def features(built: Path) -> NDArray[np.float32]:
    """All test images: [10000, 784]."""
    array: NDArray[np.float32] = np.load(built / DATA / "test_features.npy")
    assert len(array) == 10000
    return array


@pytest.fixture(scope="module")
def reference(built: Path, features: NDArray[np.float32]) -> NDArray[np.float32]:
    """The probabilities that Keras itself gives them: [10000, 10]."""
    import keras

    model = keras.saving.load_model(built / SOURCES.model, compile=False)
    return np.asarray(model.predict(features, verbose=0))


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".export")]


@pytest.mark.slow
def test_the_folder_has_the_three_formats_and_the_card(exported: Path, built: Path) -> None:
    assert sorted(path.name for path in exported.iterdir()) == sorted(NAMES)
    assert (exported / "model.keras").read_bytes() == (built / SOURCES.model).read_bytes()
    assert not hidden(exported.parent)


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 7, 10000])
def test_plain_tensorflow_predicts_the_same_in_any_batches(
    batch_size: int, exported: Path, features: NDArray[np.float32], reference: NDArray[np.float32], tensorflow: Any
) -> None:
    loaded = tensorflow.saved_model.load(str(exported / "saved_model"))
    predict = loaded.signatures["serving_default"]
    assert predict.structured_input_signature[1]["features"].shape == (None, 784)
    assert predict.structured_outputs["probabilities"].shape == (None, 10)
    found = predict(features=tensorflow.constant(features[:batch_size]))["probabilities"].numpy()
    np.testing.assert_allclose(found, reference[:batch_size], rtol=0, atol=convert.TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 7, 10000])
def test_onnx_runtime_predicts_the_same_in_any_batches(
    batch_size: int, exported: Path, features: NDArray[np.float32], reference: NDArray[np.float32]
) -> None:
    import onnxruntime

    model = onnxruntime.InferenceSession(exported / "model.onnx", providers=["CPUExecutionProvider"])
    assert [(value.name, value.shape) for value in model.get_inputs()] == [("features", ["n", 784])]
    assert [(value.name, value.shape) for value in model.get_outputs()] == [("probabilities", ["n", 10])]
    (found,) = model.run(["probabilities"], {"features": features[:batch_size]})
    np.testing.assert_allclose(found, reference[:batch_size], rtol=0, atol=convert.TOLERANCE)


@pytest.mark.slow
def test_the_onnx_file_names_its_source(exported: Path) -> None:
    import onnxruntime

    model = onnxruntime.InferenceSession(exported / "model.onnx", providers=["CPUExecutionProvider"])
    sha256 = hashlib.sha256((exported / "model.keras").read_bytes()).hexdigest()
    assert model.get_modelmeta().custom_metadata_map == {"keras_model_sha256": sha256}


def test_the_card_shows_what_was_measured(exported: Path) -> None:
    text = (exported / "README.md").read_text(encoding="utf-8")
    FrontMatter.model_validate(front_matter(text))
    rows = re.findall(r"(?m)^\| `(\S+)` \| (\S+) \| 0 of 10,000 \|$", text)
    assert [name for name, _ in rows] == ["saved_model", "model.onnx"]
    assert all(float(difference) <= convert.TOLERANCE for _, difference in rows)
    files = re.findall(r"(?m)^\| `(\S+)` \| `([0-9a-f]{64})` \|", text)
    assert {"model.keras", "model.onnx", "saved_model/saved_model.pb"} < {name for name, _ in files}
    for name, sha256 in files:
        assert hashlib.sha256((exported / name).read_bytes()).hexdigest() == sha256
    assert "| hidden (Dense) | n, 16 | 12,560 |" in text


@pytest.mark.slow
@pytest.mark.parametrize(("block", "without"), [(0, []), (1, ["keras"]), (2, ["keras", "tensorflow"])])
def test_the_code_of_the_card_runs(
    block: int, without: list[str], exported: Path, reference: NDArray[np.float32]
) -> None:
    code = re.findall(r"```python\n(.*?)```", (exported / "README.md").read_text(encoding="utf-8"), re.DOTALL)[block]
    assert code.count("np.zeros((2, 28, 28), np.uint8)") == 1
    with np.load(ROOT / "data" / "mnist.npz", allow_pickle=False) as mnist:
        np.save(exported.parent / "images.npy", mnist["x_test"][:100])
    code = code.replace("np.zeros((2, 28, 28), np.uint8)", 'np.load("../images.npy")')
    missing = f"import sys\nsys.modules.update(dict.fromkeys({without}))\n"  # as where it is not installed
    program = f"{missing}{code}np.save('../found.npy', probabilities)\n"
    run_ok(sys.executable, "-c", program, cwd=exported, env={"TF_CPP_MIN_LOG_LEVEL": "3"})
    found = np.load(exported.parent / "found.npy")
    np.testing.assert_allclose(found, reference[:100], rtol=0, atol=convert.TOLERANCE)


def convnet() -> "keras.Sequential":
    """A small network of the kinds of layers that convolutional networks of digits are made of."""
    import keras

    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((784,), name="features"),
            layers.Reshape((28, 28, 1)),
            layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.DepthwiseConv2D(3, padding="same"),
            layers.MaxPooling2D(),
            layers.SeparableConv2D(12, 3, activation="relu"),
            layers.Dropout(0.25),
            layers.GlobalAveragePooling2D(),
            layers.Dense(10, activation="softmax"),
        ]
    )


@pytest.mark.slow
def test_a_convnet_can_be_taken_away_too(
    built: Path, features: NDArray[np.float32], tmp_path: Path, digits: Arrays, tensorflow: Any
) -> None:
    import keras

    keras.utils.set_random_seed(7)
    model = convnet()
    images = tensorflow.constant(to_features(digits["x_train"].astype(np.uint8)))
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", jit_compile=False)
    model.fit(images, digits["y_train"], epochs=5, verbose=0)  # so that the normalization's averages move
    file = NpyFile(built / DATA / "test_features.npy", dtype="float32", shape=(None, 784))
    test = Split(file, np.zeros(0, np.int32))
    checks = convert_and_check(model, test, 1000, tmp_path, "")
    assert set(checks) == {"saved_model", "model.onnx"}
    assert all(check.difference <= convert.TOLERANCE for check in checks.values())
    assert np.ptp(model(features[:100]).numpy(), axis=0).max() > 0.1  # its predictions differ between images
    found = convert.load_onnx(tmp_path / "model.onnx")(features[:3])
    np.testing.assert_allclose(found, model(features[:3]).numpy(), rtol=0, atol=convert.TOLERANCE)


def perturbed(save: Callable[..., None]) -> Callable[..., None]:
    """The same conversion, with one weight of the model changed by 0.0001."""

    def save_another(model: "keras.Model", *args: Any) -> None:
        import keras

        weights = model.get_weights()
        weights[-1][0] += 1e-4
        other = keras.models.clone_model(model)
        other.set_weights(weights)
        save(other, *args)

    return save_another


@pytest.mark.slow
@pytest.mark.parametrize(("function", "name"), [("save_saved_model", "saved_model"), ("save_onnx", "model.onnx")])
def test_a_format_with_another_weight_is_refused(
    function: str, name: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convert, function, perturbed(getattr(convert, function)))
    message = f"{name}: expected the probabilities of the Keras model within 1e-05 on the whole test set. Got a differ"
    with pytest.raises(InputError, match=message):
        export(SOURCES, DATASET, DATA, Path("export"))
    assert not (project / "export").exists()
    assert not hidden(project)


def test_differences_that_are_no_numbers_are_refused() -> None:
    ones = np.ones((3, 10), np.float32)
    broken = ones.copy()
    broken[1, 2] = np.nan
    for probabilities in (broken, ones[:2], ones[:, :1]):
        with pytest.raises(InputError, match=r"Got a difference of (nan|inf)"):
            convert.require_equal("model", convert.largest_difference(probabilities, ones))
    convert.require_equal("model", convert.largest_difference(ones, ones))


def test_an_operation_that_onnx_does_not_know_is_refused(tmp_path: Path) -> None:
    import keras

    layers = [keras.layers.Discretization([0.5]), keras.layers.Rescaling(1.0), keras.layers.Dense(10)]
    with pytest.raises(
        InputError, match=r"^x\.onnx: expected a model of operations that ONNX knows\. Got Val.*Bucketize"
    ):
        convert.save_onnx(keras.Sequential([keras.Input((784,)), *layers]), tmp_path / "x.onnx", {})
    assert not list(tmp_path.iterdir())


def test_a_folder_that_tensorflow_cannot_write_is_a_disk_error(tmp_path: Path) -> None:
    (tmp_path / "saved_model").write_text("a file")
    with pytest.raises(OSError, match="saved_model"):
        convert.save_saved_model(SMALL.build((28, 28), 10), tmp_path / "saved_model")


def test_a_model_that_is_not_the_one_of_dvc_lock_is_refused(project: Path) -> None:
    from exactkeras import archive

    archive.save(SMALL.build((28, 28), 10), SOURCES.model)
    with pytest.raises(
        InputError, match=r"data/model\.keras: expected the file that dvc\.lock names, MD5 [0-9a-f]{32}\. Got"
    ):
        export(SOURCES, DATASET, DATA, project / "export")
    assert not (project / "export").exists()


def test_test_images_that_are_not_those_of_dvc_lock_are_refused(project: Path, features: NDArray[np.float32]) -> None:
    np.save(DATA / "test_features.npy", features[::-1])
    with pytest.raises(InputError, match=r"test_features\.npy: expected the file that dvc\.lock names"):
        export(SOURCES, DATASET, DATA, project / "export")


BAD: dict[str, tuple[Callable[[], object], str]] = {
    "no model": (SOURCES.model.unlink, "a Keras model from [n, 784] to [n, 10]. Got no such file"),
    "no description of the data": (DATASET.unlink, "data/raw/dataset.json: expected "),
    "no test set": ((DATA / "test_labels.npy").unlink, "no such file"),
    "another parameter": (
        lambda: set_params(SOURCES.params, {"dense.units": 17}),
        "'dense.units' in params.yaml: expected 16, as in dvc.lock. Got 17.",
    ),
    "something else there": (
        lambda: Path("export/letters.txt").write_text("keep"),
        "expected a new folder, or one that an export wrote. Got one with letters.txt. Choose another folder.",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_and_the_old_export_stays(case: str, project: Path) -> None:
    damage, message = BAD[case]
    (project / "export").mkdir()
    (project / "export" / "model.onnx").write_text("the export of before")
    damage()
    before = sorted((project / "export").iterdir())
    with pytest.raises(InputError, match=re.escape(message)):
        export(SOURCES, DATASET, DATA, Path("export"))
    assert sorted((project / "export").iterdir()) == before
    assert (project / "export" / "model.onnx").read_text() == "the export of before"
    assert not hidden(project)


def test_an_export_replaces_an_earlier_one_whole(tmp_path: Path) -> None:
    for name in ("model.onnx", "README.md"):
        with replacing_folder(tmp_path / "export") as folder:
            (folder / name).write_text(name)
    assert [path.name for path in (tmp_path / "export").iterdir()] == ["README.md"]
    assert not hidden(tmp_path)


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "export").write_text("mine")
    with pytest.raises(InputError, match="Got a file"), replacing_folder(tmp_path / "export"):
        pytest.fail("it began to write")
    assert (tmp_path / "export").read_text() == "mine"


def test_after_a_failed_rename_the_earlier_export_is_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "model.onnx").write_text("the export of before")
    rename = Path.rename

    def fail_once_moved(self: Path, target: Path) -> Path:
        if target.name == "export" and not self.name.endswith(".old"):
            raise OSError(28, "No space left on device", str(self))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_once_moved)
    with pytest.raises(OSError, match="No space left") as caught, replacing_folder(tmp_path / "export") as folder:
        (folder / "model.onnx").write_text("the new one")
    assert caught.value.filename == str(tmp_path / "export")
    assert (tmp_path / "export" / "model.onnx").read_text() == "the export of before"
    assert not hidden(tmp_path)
