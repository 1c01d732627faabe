"""A small data set in every form that people have: what `load` accepts, converts and refuses, and with which words.

The table in docs/data.md is made of these.
"""

import csv
import gzip
import io
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from digits.sources.arrays import IDX_NAMES, NPZ_NAMES
from tests.support.arrays import idx_bytes, saved
from tests.support.project import Arrays

Array = NDArray[Any]
Make = Callable[[Path, Arrays], Path]


class Form(NamedTuple):
    """A form of a data set."""

    title: str  # in Markdown
    make: Make  # writes it into a folder, and gives its path
    said: str = ""  # what `load` says of it
    refused: bool = False
    test_size: int = 0


def few(digits: Arrays) -> Arrays:
    """The images of one data set, as few as still have all ten classes in both sets."""
    return {key: array[: 120 if "train" in key else 40] for key, array in digits.items()}


# Arrays


def npz(names: Sequence[str] = NPZ_NAMES, **change: Callable[[Array], Array]) -> Make:
    """A .npz under these names; `x` changes the images, `y` the labels."""

    def make(folder: Path, digits: Arrays) -> Path:
        arrays = [change.get(key[0], np.asarray)(digits[key]) for key in NPZ_NAMES]
        np.savez(folder / "data.npz", **dict(zip(names, arrays, strict=False)))
        return folder / "data.npz"

    return make


def files(content: Callable[[Arrays], Mapping[str, bytes]]) -> Make:
    """A folder with these files."""

    def make(folder: Path, digits: Arrays) -> Path:
        for name, each in content(digits).items():
            (folder / "data" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "data" / name).write_bytes(each)
        return folder / "data"

    return make


def idx(name: Callable[[str], str] = str, *, packed: bool = False, y: Callable[[Array], bytes] = idx_bytes) -> Make:
    """The four IDX files under other names."""

    def content(digits: Arrays) -> dict[str, bytes]:
        every = {
            name(file): (y if key[0] == "y" else idx_bytes)(digits[key])
            for key, file in zip(NPZ_NAMES, IDX_NAMES, strict=True)
        }
        return {file: gzip.compress(each, 1) if packed else each for file, each in every.items()}

    return files(content)


def idx_of(array: Array, code: int, dtype: str) -> bytes:
    """An IDX file of another type."""
    head = struct.pack(f">{1 + array.ndim}I", code << 8 | array.ndim, *array.shape)
    return head + array.astype(dtype).tobytes()


def qmnist(labels: Array) -> bytes:
    """Labels as QMNIST has them: the digit, and seven columns of where it came from."""
    columns = np.zeros((len(labels), 8), np.int64)
    columns[:, 0], columns[:, 5] = labels, np.arange(len(labels))
    return idx_of(columns, 0x0C, ">i4")


def only(make: Make, *names: str) -> Make:
    """What another form makes, with only some of its files."""

    def made(folder: Path, digits: Arrays) -> Path:
        source = make(folder, digits)
        for path in [path for path in source.iterdir() if path.name not in names]:
            path.unlink()
        return source

    return made


def one_file(name: str, content: Callable[[Arrays], bytes]) -> Make:
    """A file."""

    def make(folder: Path, digits: Arrays) -> Path:
        (folder / name).write_bytes(content(digits))
        return folder / name

    return make


# Archives


def zipped(inner: Make) -> Make:
    """A .zip of what another form makes."""

    def make(folder: Path, digits: Arrays) -> Path:
        source = inner(folder, digits)
        with zipfile.ZipFile(folder / "data.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for path in _files(source):
                archive.write(path, path.relative_to(folder))
        return folder / "data.zip"

    return make


def taped(inner: Make) -> Make:
    """A .tar.gz of it."""

    def make(folder: Path, digits: Arrays) -> Path:
        source = inner(folder, digits)
        with tarfile.open(folder / "data.tar.gz", "w:gz") as archive:
            archive.add(source, source.name)
        return folder / "data.tar.gz"

    return make


def _files(source: Path) -> list[Path]:
    return sorted(path for path in source.rglob("*") if path.is_file()) if source.is_dir() else [source]


# Tables


def table(
    images: Array,
    labels: Array | None,
    header: Sequence[str] | None,
    *,
    last: bool = False,
    text: Callable[[Any], str] = str,
) -> bytes:
    """A CSV file; `last` puts the labels behind the pixels."""
    file = io.StringIO()
    writer = csv.writer(file)
    if header:
        writer.writerow(header)
    for place, image in enumerate(images.reshape(len(images), -1).tolist()):
        pixels = [*map(text, image)]
        label = [] if labels is None else [labels[place]]
        writer.writerow([*pixels, *label] if last else [*label, *pixels])
    return file.getvalue().encode()


PIXELS = [f"pixel{number}" for number in range(784)]
LABELLED = ["label", *PIXELS]


def tables(header: Sequence[str] | None, *, test_labels: bool = True, packed: bool = False, **options: Any) -> Make:
    """A folder with train.csv and test.csv."""

    def content(digits: Arrays) -> dict[str, bytes]:
        test = digits["y_test"] if test_labels else None
        test_header = header if test_labels or not header else PIXELS
        every = {
            "train.csv": table(digits["x_train"], digits["y_train"], header, **options),
            "test.csv": table(digits["x_test"], test, test_header, **options),
        }
        return {f"{name}.gz": gzip.compress(each, 1) for name, each in every.items()} if packed else every

    return files(content)


def kaggle(digits: Arrays) -> dict[str, bytes]:
    """The Digit Recognizer competition."""
    return {
        "train.csv": table(digits["x_train"], digits["y_train"], LABELLED),
        "test.csv": table(digits["x_test"], None, PIXELS),
        "sample_submission.csv": b"ImageId,Label\n" + b"".join(b"%d,0\n" % number for number in range(1, 41)),
    }


def parquet(digits: Arrays, parts: int = 1) -> dict[str, bytes]:
    """The Hugging Face hub's form."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    found, kind = {}, pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    for split in ("train", "test"):
        images, labels = digits[f"x_{split}"], digits[f"y_{split}"].astype(np.int64)
        for part, rows in enumerate(np.array_split(np.arange(len(images)), parts)):
            cells = [{"bytes": picture(images[row]), "path": None} for row in rows]
            file = io.BytesIO()
            columns = {"image": pa.array(cells, kind), "label": pa.array(labels[rows])}
            pq.write_table(pa.table(columns), file, row_group_size=50)
            found[f"data/{split}-{part:05}-of-{parts:05}.parquet"] = file.getvalue()
    return found


# Pictures


def picture(image: Array, kind: str = "PNG", mode: str | None = None) -> bytes:
    """An image as a file."""
    file = io.BytesIO()
    made = Image.fromarray(image)
    (made.convert(mode) if mode else made).save(file, kind)
    return file.getvalue()


def pictures(
    sets: Mapping[str, str], name: Callable[[int], str] = str, *, ending: str = "png", **options: Any
) -> Callable[[Arrays], dict[str, bytes]]:
    """A folder for each class; `sets` are the folders of the sets, by the keys of `digits`."""

    def content(digits: Arrays) -> dict[str, bytes]:
        return {
            f"{folder}{name(int(label))}/{place}.{ending}": picture(image, **options)
            for key, folder in sets.items()
            for place, (image, label) in enumerate(zip(digits[f"x_{key}"], digits[f"y_{key}"], strict=True))
        }

    return content


BOTH = {"train": "train/", "test": "test/"}
WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def one_hot(labels: Array) -> Array:
    return np.eye(10, dtype=np.float32)[labels]


def unit(images: Array) -> Array:
    return (images / 255).astype(np.float32)


PAGE = b"<!DOCTYPE html>\n<html><head><title>403 Forbidden</title></head></html>\n"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 11490434\n"

TRAIN_IMAGES = ("train_images", "train_labels", "test_images", "test_labels")


def validated(folder: Path, digits: Arrays) -> Path:
    """As MedMNIST: with a validation set, and labels [n, 1]."""
    sets = {"train": digits["x_train"], "test": digits["x_test"], "val": digits["x_test"]}
    labels = {"train": digits["y_train"], "test": digits["y_test"], "val": digits["y_test"]}
    arrays = {f"{name}_images": images for name, images in sets.items()}
    arrays |= {f"{name}_labels": values[:, None] for name, values in labels.items()}
    np.savez(folder / "data.npz", **arrays)  # type: ignore[arg-type]
    return folder / "data.npz"


def damaged(make: Make, name: str, change: Callable[[bytes], bytes]) -> Make:
    """What another form makes, with one file changed."""

    def made(folder: Path, digits: Arrays) -> Path:
        source = make(folder, digits)
        (source / name).write_bytes(change((source / name).read_bytes()))
        return source

    return made


def each(content: Callable[[str, Array], tuple[str, bytes]]) -> Make:
    """A folder with a file for each array."""
    return files(lambda digits: dict(content(key, digits[key]) for key in NPZ_NAMES))


def saved_as_npz(key: str, array: Array) -> tuple[str, bytes]:
    file = io.BytesIO()
    np.savez_compressed(file, array)
    what = "imgs" if key[0] == "x" else "labels"
    return f"kmnist-{key[2:]}-{what}.npz", file.getvalue()


def pairs(folder: Path, digits: Arrays) -> Path:
    (folder / "data").mkdir()
    for split in ("train", "test"):
        np.savez(folder / "data" / f"{split}.npz", X=digits[f"x_{split}"], y=digits[f"y_{split}"])
    return folder / "data"


def texts(labels: Array) -> Array:
    return np.array([WORDS[label] for label in labels.tolist()])


IDX = idx()
FOLDERS = files(pictures(BOTH))
ONE_SET = files(pictures({"train": ""}))
RANGE = [str(number) for number in range(785)]

#: The forms, in the order of the table.
FORMS = (
    Form("four IDX files, as MNIST, Fashion-MNIST and KMNIST are published", idx(packed=True)),
    Form(
        "… under other names: `.idx3-`, ` (1)`, `qmnist-`, `test-`",
        idx(lambda n: f"qmnist-{n.replace('t10k', 'test')} (1).gz", packed=True),
    ),
    Form(
        "… as EMNIST, whose images are transposed",
        idx(lambda n: f"emnist-digits-{n.replace('t10k', 'test')}.gz", packed=True),
        "images: height and width exchanged, as EMNIST needs it",
    ),
    Form(
        "… one level down, or in folders of the same names", idx(lambda n: f"MNIST/raw/{n}/{n.replace('-idx', '.idx')}")
    ),
    Form("… with other endings than their bytes: packed without `.gz`, plain with it", idx(packed=True)),
    Form(
        "… of wider integers, as QMNIST's labels",
        idx(y=qmnist),
        "train-labels-idx1-ubyte: >i4 to uint8, the first of 8 columns, as in QMNIST",
    ),
    Form("… in a `.zip`", zipped(IDX)),
    Form("… in a `.tar.gz`", taped(idx(lambda n: f"MNIST/raw/{n}.gz", packed=True))),
    Form(
        "… with a file missing",
        only(IDX, *IDX_NAMES[:3]),
        "data: expected the labels of the test set. Got t10k-images-idx3-ubyte",
        refused=True,
    ),
    Form(
        "… with a file cut short",
        damaged(idx(packed=True), IDX_NAMES[0], lambda c: c[:-50]),
        "Got a damaged file (Compressed file ended before",
        refused=True,
    ),
    Form("`.npz` with `x_train`, `y_train`, `x_test`, `y_test`", npz()),
    Form("… with `train_images`, `train_labels`, … or `X_train`, …", npz(TRAIN_IMAGES)),
    Form(
        "… with `arr_0` to `arr_3`, in the order of Keras or of scikit-learn", npz(("arr_0", "arr_1", "arr_2", "arr_3"))
    ),
    Form("… with a validation set, as MedMNIST", validated, "val_images in data.npz: not used"),
    Form(
        "… with `x_train` and `y_train` alone",
        npz(NPZ_NAMES[:2]),
        "Got no test set, and `load.test_size` is 0. To test on 20 of the 120 images instead, set `load.test_size`",
        refused=True,
    ),
    Form(
        "… the same, and `load.test_size: 20`",
        npz(NPZ_NAMES[:2]),
        "test set: 20 of the 120 images, spread evenly over each class",
        test_size=20,
    ),
    Form("`.npz` files of one array each, as KMNIST", each(saved_as_npz)),
    Form("`train.npz` and `test.npz` with `X` and `y`", pairs),
    Form("a folder of `.npy` files", each(lambda key, array: (f"{key}.npy", saved(array)))),
    Form("labels of any type of integer", npz(y=lambda y: y.astype(np.int64)), "y_train in data.npz: int64 to uint8"),
    Form(
        "labels as floats that are whole",
        npz(y=lambda y: y.astype(np.float64)),
        "y_train in data.npz: float64 to uint8",
    ),
    Form("labels [n, 1]", npz(y=lambda y: y[:, None])),
    Form(
        "labels one-hot [n, 10]", npz(y=one_hot), "y_train in data.npz: one-hot float32 [n, 10] to the place of the one"
    ),
    Form(
        "labels as texts that are numbers, as OpenML",
        npz(y=lambda y: y.astype(str)),
        "y_train in data.npz: texts to whole numbers",
    ),
    Form(
        "labels as other texts",
        npz(y=texts),
        "labels: eight, five, four, nine, one, seven, six, three, two, zero numbered from 0 to 9",
    ),
    Form(
        "labels as floats that are not whole",
        npz(y=lambda y: y + 0.5),
        "y_train in data.npz: expected labels that are whole numbers of at most nine digits. Got 5.5 at position 0.",
        refused=True,
    ),
    Form("images from 0 to 1", npz(x=unit), "x_train in data.npz: float32 to uint8, 1 to 255"),
    Form(
        "images as floats from 0 to 255", npz(x=lambda x: x.astype(np.float64)), "x_train in data.npz: float64 to uint8"
    ),
    Form("images of true and false", npz(x=lambda x: x > 127), "x_train in data.npz: bool to uint8, 1 to 255"),
    Form("images [n, 784]", npz(x=lambda x: x.reshape(-1, 784)), "x_train in data.npz: [n, 784] to [n, 28, 28]"),
    Form(
        "images [n, 28, 28, 1] or [n, 1, 28, 28]",
        npz(x=lambda x: x[:, None]),
        "x_train in data.npz: [n, 1, 28, 28] to [n, 28, 28]",
    ),
    Form("images in Fortran order", npz(x=np.asfortranarray), "x_train in data.npz: from Fortran order"),
    Form(
        "images with three equal colours",
        npz(x=lambda x: np.stack([x] * 3, axis=3)),
        "x_train in data.npz: three equal colours to one grey",
    ),
    Form(
        "images normalized to a mean of 0",
        npz(x=lambda x: (x / 255 - 0.13) / 0.3),
        "Got -0.433333 in image 0, row 0, column 0. Save the images as they were before they were normalized",
        refused=True,
    ),
    Form(
        "images that are no fractions of 255",
        npz(x=lambda x: x / 256),
        "expected fractions of 255, as dividing uint8 by 255 gives them. Got 0.0117188 in image 0",
        refused=True,
    ),
    Form(
        "arrays of Python objects",
        npz(y=lambda y: y.astype(str).astype(object)),
        "Got pickled Python objects, which are never opened.",
        refused=True,
    ),
    Form(
        "CSV with a header line, the column of labels called `label`, `class`, `target` or `y`",
        tables(LABELLED),
        "train.csv: [n, 784] to [n, 28, 28]",
    ),
    Form("… without a header line", tables(None), "train.csv: [n, 784] to [n, 28, 28]"),
    Form("… with the labels last", tables([*PIXELS, "class"], last=True)),
    Form("… packed with gzip", tables(LABELLED, packed=True)),
    Form(
        "… with fractions from 0 to 1",
        tables(LABELLED, text=lambda value: f"{value / 255:.6f}"),
        "train.csv: float32 to uint8, 1 to 255",
    ),
    Form(
        "Kaggle's Digit Recognizer",
        files(kaggle),
        "Got data/test.csv without labels, and `load.test_size` is 0. To test on 20 of the 120 images",
        refused=True,
    ),
    Form(
        "… the same, and `load.test_size: 20`",
        files(kaggle),
        "data/test.csv: not used, since it has no labels",
        test_size=20,
    ),
    Form(
        "CSV with a value that is no pixel",
        damaged(tables(LABELLED), "train.csv", lambda c: c.replace(b",253,", b",353,", 1)),
        "Got '353' in line",
        refused=True,
    ),
    Form("Parquet, as the Hugging Face hub has it, in one part or several", files(lambda digits: parquet(digits, 2))),
    Form("pictures in `train/CLASS/` and `test/CLASS/`", FOLDERS),
    Form(
        "… with classes by name",
        files(pictures(BOTH, WORDS.__getitem__)),
        "labels: eight, five, four, nine, one, seven, six, three, two, zero numbered",
    ),
    Form(
        "… in `CLASS/`, and `load.test_size: 20`",
        ONE_SET,
        "test set: 20 of the 120 images, spread evenly over each class",
        test_size=20,
    ),
    Form("… in colour, with no colour in them", files(pictures(BOTH, mode="RGB"))),
    Form(
        "… of several sizes",
        damaged(FOLDERS, "train/5/0.png", lambda _: picture(np.zeros((20, 20), np.uint8))),
        "data/train/5/0.png: expected 28 x 28 pixels, as data/train/1/3.png. Got 20 x 20. Bring all pictures to one",
        refused=True,
    ),
    Form(
        "… without folders of classes",
        files(lambda digits: {f"train/{k}.png": picture(image) for k, image in enumerate(digits["x_train"])}),
        "Got a picture beside them.",
        refused=True,
    ),
    Form(
        "a web page in place of a file",
        one_file("data.npz", lambda _: PAGE),
        "Got a web page. Open the address in a browser",
        refused=True,
    ),
    Form(
        "a Git LFS pointer",
        one_file("data.npz", lambda _: POINTER),
        "Got a Git LFS pointer. Run `git lfs pull`",
        refused=True,
    ),
    Form(
        "a pickle, as `mnist.pkl.gz`",
        one_file("mnist.pkl.gz", lambda digits: gzip.compress(pickle.dumps(digits))),
        "Got a pickle, which is a program and is never opened.",
        refused=True,
    ),
    Form(
        "MATLAB, HDF5, Arrow, SQLite, JSON",
        one_file("data.h5", lambda _: b"\x89HDF\r\n\x1a\n" + bytes(600)),
        "Got an HDF5 file. Save the arrays with NumPy:",
        refused=True,
    ),
    Form(
        "ARFF",
        one_file("mnist_784.arff", lambda _: b"% MNIST\n@RELATION mnist_784\n"),
        "Got an ARFF file. Save it as CSV",
        refused=True,
    ),
    Form(
        "an archive of 7z, RAR, xz or bzip2",
        one_file("data.tar.xz", lambda _: b"\xfd7zXZ\0" + bytes(600)),
        "Unpack it, and set `load.source` to the folder.",
        refused=True,
    ),
)


def row(form: Form) -> str:
    """A row of the table."""
    outcome = "refused" if form.refused else "converted" if form.said else "accepted"
    return f"| {form.title} | {outcome} | {form.said.replace('|', chr(92) + '|')} |"
