"""Export the model into a folder: as Keras file, SavedModel and ONNX file, with its model card.

python -m digits export --out export

Each format is read back from disk, and must give the probabilities of the Keras model on every test image. Otherwise
nothing is written.
"""

import errno
import shutil
import sys
from importlib.metadata import version
from pathlib import Path

from digits.apps.card import read_record, write_card
from digits.apps.convert import OPSET, TOLERANCE, Check, convert
from digits.apps.options import Files, command, given_files
from digits.data.dataset import read_dataset
from digits.data.splits import open_split
from digits.params import read_params
from digits.scoring.predictions import open_model
from dvcproof.lockfile import require_recorded
from dvcproof.runtime.files import file_hash, replacing
from dvcproof.runtime.program import InputError

#: The contents of an export.
NAMES = ("README.md", "model.keras", "model.onnx", "saved_model")

#: The packages whose versions the card lists.
PACKAGES = ("keras", "tensorflow", "tf2onnx", "onnx", "onnxruntime")


def export(files: Files, out: Path) -> dict[str, Check]:
    """Write an export of the model into the folder `out`. An earlier export there is replaced."""
    require_export(out)
    (lock, _), params = read_record(files), read_params(files.params, "evaluate")
    dataset = read_dataset(files.dataset)
    test = open_split(files.data, "test", dataset)
    model = open_model(files.model, dataset)
    for path in (files.model, test.features.path):
        require_recorded(path, lock)
    make_movable(out)
    with replacing(out, folders=True) as (folder,):
        folder.mkdir()
        shutil.copyfile(files.model, folder / "model.keras")
        sha256 = file_hash(folder / "model.keras")
        checks = convert(model, test.features, params.evaluate.batch_size, folder, sha256)
        written = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        about = {
            "checks": checks,
            "files": [(path.relative_to(folder).as_posix(), file_hash(path), path.stat().st_size) for path in written],
            "layers": model.layers,
            "versions": [f"{name} {version(name)}" for name in PACKAGES],
            "opset": OPSET,
        }
        (folder / "README.md").write_text(write_card(files, about), encoding="utf-8")
    return checks


def require_export(path: Path) -> None:
    """Raise InputError if a path exists and is not an earlier export."""
    foreign = sorted({one.name for one in path.iterdir()} - {*NAMES}) if path.is_dir() else [path.name]
    if path.exists() and foreign:
        raise InputError(str(path), f"{foreign[0]} was not written by an export", hint="Choose another folder.")


def make_movable(folder: Path) -> None:
    """Replace a folder by a copy of itself if it cannot be renamed.

    In a container, overlayfs cannot rename a folder that comes from a layer of the image.
    """
    if folder.is_dir() and not folder.is_symlink():
        moved = folder.with_name(f".{folder.name}-moved")
        shutil.rmtree(moved, ignore_errors=True)  # a killed run may have left it
        try:
            folder.rename(moved)
        except OSError as error:
            if error.errno == errno.EBUSY:
                hint = f"Name a folder in it: `--out {folder / 'model'}`."
                raise InputError(str(folder), "this is a mount, which cannot be replaced", hint=hint) from None
            shutil.move(folder, moved)
        moved.rename(folder)


def main() -> None:
    parser = command("export", __doc__, "params", "lock", "metrics", "model", "seeds", "dataset", "data")
    help_ = "the folder to write (default: %(default)s)"
    parser.add_argument("--out", type=Path, default=Path("export"), metavar="PATH", help=help_)
    args = parser.parse_args()
    for name, check in export(given_files(args), args.out).items():
        sys.stdout.write(
            f"{args.out / name}: largest difference {check.difference:.2g} (allowed {TOLERANCE:g}), "
            f"{check.changed} images read as another class\n"
        )
