"""Take the model away: as Keras file, SavedModel and ONNX file, with its model card, in one folder.

python -m digits export --params params.yaml --lock dvc.lock --metrics metrics --model data/model.keras \
    --seeds bench/results/seeds.json --dataset data/raw/dataset.json --data data/prepared --out export

Each format is read back from disk and must give the Keras model's probabilities on every test image. Otherwise nothing
is written.
"""

import math
import secrets
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from digits.apps import convert
from digits.apps.card import CardFiles, given_sources, read_record, write_card
from digits.apps.options import add_files, command
from digits.data.dataset import read_dataset
from digits.data.splits import Split, open_split
from digits.params import read_params
from digits.scoring.params import EvaluateParams
from dvcproof.lockfile import require_recorded
from dvcproof.runtime.files import file_hash
from dvcproof.runtime.program import InputError
from exactkeras import determinism

if TYPE_CHECKING:
    import keras

#: All that an export is.
NAMES = ("README.md", "model.keras", "model.onnx", "saved_model")


class Check(NamedTuple):
    """How a format compares with the Keras model on the whole test set."""

    difference: float  # greatest absolute difference in a probability
    changed: int  # images whose most probable class differs


def convert_and_check(
    model: "keras.Model", test: Split, batch_size: int, folder: Path, sha256: str
) -> dict[str, Check]:
    """Write `saved_model` and `model.onnx` into a folder, read them back, and compare their predictions.

    Args:
        model: from [n, features] to [n, classes].
        test: the images to compare on.
        batch_size: images per call.
        folder: where to write.
        sha256: of the Keras file, to be written into the ONNX file.

    Raises:
        InputError: a layer cannot be converted, or the predictions of a format differ.
    """
    reference = convert.predict_all(convert.load_keras(model), test.features, batch_size)
    convert.save_saved_model(model, folder / "saved_model")
    convert.save_onnx(model, folder / "model.onnx", {"keras_model_sha256": sha256})
    formats = {
        "saved_model": convert.load_saved_model(folder / "saved_model"),
        "model.onnx": convert.load_onnx(folder / "model.onnx"),
    }
    checks = {}
    for name, predict in formats.items():
        probabilities = convert.predict_all(predict, test.features, batch_size)
        difference = convert.largest_difference(probabilities, reference)
        convert.require_equal(name, difference)
        checks[name] = Check(difference, int((probabilities.argmax(axis=1) != reference.argmax(axis=1)).sum()))
    return checks


def export(sources: CardFiles, dataset_file: Path, data: Path, out: Path) -> dict[str, Check]:
    """Write an export of the model into the folder `out`, in place of an earlier one.

    Raises:
        InputError: a file is missing, damaged, or not the one that dvc.lock names; a format's predictions differ; or
            `out` holds something that no export writes.
    """
    record, params = read_record(sources), read_params(sources.params, "evaluate", EvaluateParams)
    dataset = read_dataset(dataset_file)
    test = open_split(data, "test", dataset)
    with replacing_folder(out) as folder:
        determinism.configure(seed=0)
        from exactkeras import archive

        model = archive.load(sources.model, features=math.prod(dataset.image_shape), classes=len(dataset.classes))
        for path in (sources.model, test.features.path):
            require_recorded(path, record.lock)
        shutil.copyfile(sources.model, folder / "model.keras")
        known = {"model.keras": file_hash(sources.model)}
        checks = convert_and_check(model, test, params.batch_size, folder, known["model.keras"])
        about = {"checks": checks, "files": _files(folder, known), "layers": _layers(model), "versions": _versions()}
        (folder / "README.md").write_text(write_card(sources, record, about), encoding="utf-8")
    return checks


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Give a new folder beside `path`, and rename it to `path` once the block has succeeded.

    After an error `path` is as before, and nothing is left beside it.

    Raises:
        InputError: what stands at `path` is not an earlier export, and so not ours to remove.
    """
    path = path.resolve()
    if path.exists():
        _require_export(path)
    written = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        written.mkdir(parents=True)
        yield written
        _exchange(written, path)
    except OSError as error:
        if error.filename and Path(error.filename).is_relative_to(written):
            error.filename = str(path)  # the user does not know the temporary name
        raise
    finally:
        shutil.rmtree(written, ignore_errors=True)


def _exchange(written: Path, path: Path) -> None:
    """Rename a folder into place; after an error, put back what was there."""
    earlier = written.with_name(f"{written.name}.old")
    if path.exists():
        path.rename(earlier)
    try:
        written.rename(path)
    except BaseException:
        if earlier.exists():
            earlier.rename(path)
        raise
    shutil.rmtree(earlier, ignore_errors=True)


def _require_export(path: Path) -> None:
    foreign = (
        sorted(entry.name for entry in path.iterdir() if entry.name not in NAMES) if path.is_dir() else [path.name]
    )
    if foreign:
        raise InputError(
            str(path),
            expected="a new folder, or one that an export wrote",
            received=f"one with {foreign[0]}" if path.is_dir() else "a file",
            hint="Choose another folder.",
        )


def _files(folder: Path, known: Mapping[str, str]) -> dict[str, Mapping[str, Any]]:
    """SHA-256 and size of every file in a folder; `known` has the hashes that need not be computed again."""
    paths = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {
        name: {"sha256": known.get(name) or file_hash(path), "size": path.stat().st_size}
        for name, path in paths.items()
    }


def _layers(model: "keras.Model") -> list[Mapping[str, Any]]:
    return [
        {
            "name": layer.name,
            "kind": type(layer).__name__,
            "shape": ", ".join(str(length or "n") for length in layer.output.shape),
            "weights": layer.count_params(),
        }
        for layer in model.layers
    ]


def _versions() -> str:
    packages = ", ".join(
        f"{name} {version(name)}" for name in ("keras", "tensorflow", "tf2onnx", "onnx", "onnxruntime")
    )
    return f"{packages}; version {convert.OPSET} of ONNX's operators"


def main() -> None:
    parser = command("export", __doc__)
    add_files(parser, *CardFiles._fields, "dataset", "data")
    parser.add_argument("--out", type=Path, default=Path("export"), help="the folder to write (default: %(default)s)")
    args = parser.parse_args()
    for name, check in export(given_sources(args), args.dataset, args.data, args.out).items():
        sys.stdout.write(
            f"{args.out / name}: largest difference {check.difference:.2g} (allowed {convert.TOLERANCE:g}), "
            f"{check.changed} images read as another class\n"
        )
