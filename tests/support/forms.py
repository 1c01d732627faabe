"""A small data set in every supported form. The table in docs/data.md has a row for each form, in the same order."""

import csv
import gzip
import io
import pickle
import shutil
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from digits.sources.arrays import IDX_NAMES, NPZ_NAMES
from tests.support.arrays import idx_bytes, saved
from tests.support.project import ROOT, Arrays

Array = NDArray[Any]
Files = Mapping[str, bytes]
Make = Callable[[Path, Arrays], Path]  # writes a data set into a folder, and returns its path


def few(digits: Arrays) -> Arrays:
    """Return the fewest images of a data set that still have all ten classes in both sets."""
    return {key: array[: 120 if "train" in key else 40] for key, array in digits.items()}


def files(content: Callable[[Arrays], Files]) -> Make:
    """Return a function that makes a folder with these files."""

    def make(folder: Path, digits: Arrays) -> Path:
        for name, each in content(digits).items():
            (folder / "data" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "data" / name).write_bytes(each)
        return folder / "data"

    return make


def one_file(name: str, content: bytes | Callable[[Arrays], bytes]) -> Make:
    def make(folder: Path, digits: Arrays) -> Path:
        (folder / name).write_bytes(content if isinstance(content, bytes) else content(digits))
        return folder / name

    return make


def damaged(make: Make, name: str, change: Callable[[bytes], bytes] | None = None) -> Make:
    """Return a function that makes a form with one file changed, or removed."""

    def made(folder: Path, digits: Arrays) -> Path:
        path = make(folder, digits) / name
        if change:
            path.write_bytes(change(path.read_bytes()))
        else:
            path.unlink()
        return folder / "data"

    return made


# Arrays


def npz(names: Sequence[str] = NPZ_NAMES, **change: Callable[[Array], Array]) -> Make:
    """Return a function that makes a .npz with arrays of these names; `x` changes the images, `y` the labels."""
    return one_file(
        "data.npz",
        lambda digits: npz_bytes(
            {name: change.get(key[0], np.asarray)(digits[key]) for name, key in zip(names, NPZ_NAMES, strict=False)}
        ),
    )


def npz_bytes(arrays: Mapping[str, Array]) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def validated(digits: Arrays) -> bytes:
    """Return a .npz in the form of MedMNIST: with a validation set, and labels [n, 1]."""
    arrays = {f"{key[2:]}_{'images' if key[0] == 'x' else 'labels'}": digits[key] for key in NPZ_NAMES}
    arrays |= {"val_images": arrays["test_images"], "val_labels": arrays["test_labels"]}
    return npz_bytes({name: values[:, None] if "labels" in name else values for name, values in arrays.items()})


def idx(name: Callable[[str], str] = str, *, packed: bool = False, y: Callable[[Array], bytes] = idx_bytes) -> Make:
    """Return a function that makes the four IDX files under other names."""

    def content(digits: Arrays) -> Files:
        every = {
            name(file): (y if key[0] == "y" else idx_bytes)(digits[key])
            for key, file in zip(NPZ_NAMES, IDX_NAMES, strict=True)
        }
        return {file: gzip.compress(each, 1) if packed else each for file, each in every.items()}

    return files(content)


def qmnist(labels: Array) -> bytes:
    """Return labels in the form of QMNIST: the digit, and seven columns about its origin."""
    columns = np.zeros((len(labels), 8), ">i4")
    columns[:, 0], columns[:, 5] = labels, np.arange(len(labels))
    return struct.pack(">3I", 0x0C02, *columns.shape) + columns.tobytes()


# Archives


def archive(inner: Make, kind: str) -> Make:
    """Return a function that packs a form into an archive; `kind` is a format of `shutil.make_archive`."""

    def make(folder: Path, digits: Arrays) -> Path:
        source = inner(folder, digits)
        return Path(shutil.make_archive(str(folder / "packed"), kind, folder, source.name))

    return make


def zipped(inner: Make) -> Make:
    return archive(inner, "zip")


def taped(inner: Make) -> Make:
    return archive(inner, "gztar")


# Tables

PIXELS = [f"pixel{number}" for number in range(784)]
LABELLED = ["label", *PIXELS]


def table(images: Array, labels: Array | None, header: Sequence[str] | None, **options: Any) -> bytes:
    """Return a CSV file; `last=True` puts the labels after the pixels, `text` formats the pixels."""
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerows([header] if header else [])
    for place, image in enumerate(images.reshape(len(images), -1).tolist()):
        pixels, label = [*map(options.get("text", str), image)], [] if labels is None else [labels[place]]
        writer.writerow([*pixels, *label] if options.get("last") else [*label, *pixels])
    return file.getvalue().encode()


def tables(header: Sequence[str] | None, *, packed: bool = False, **options: Any) -> Make:
    """Return a function that makes a folder with train.csv and test.csv."""

    def content(digits: Arrays) -> Files:
        sets = {name: (digits[f"x_{name}"], digits[f"y_{name}"]) for name in ("train", "test")}
        every = {f"{name}.csv": table(*arrays, header, **options) for name, arrays in sets.items()}
        return {f"{name}.gz": gzip.compress(each, 1) for name, each in every.items()} if packed else every

    return files(content)


def kaggle(digits: Arrays) -> Files:
    """Return the files of the Digit Recognizer competition."""
    return {
        "train.csv": table(digits["x_train"], digits["y_train"], LABELLED),
        "test.csv": table(digits["x_test"], None, PIXELS),
        "sample_submission.csv": b"ImageId,Label\n" + b"".join(b"%d,0\n" % number for number in range(1, 41)),
    }


def parquet(digits: Arrays) -> Files:
    """Return Parquet files as on the Hugging Face hub, each set in two parts."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    found, kind = {}, pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    for split in ("train", "test"):
        images, labels = digits[f"x_{split}"], digits[f"y_{split}"].astype(np.int64)
        for part, rows in enumerate(np.array_split(np.arange(len(images)), 2)):
            cells, file = [{"bytes": picture(images[row]), "path": None} for row in rows], io.BytesIO()
            columns = {"image": pa.array(cells, kind), "label": pa.array(labels[rows])}
            pq.write_table(pa.table(columns), file, row_group_size=50)
            found[f"data/{split}-{part:05}-of-00002.parquet"] = file.getvalue()
    return found


# Pictures

BOTH = {"train": "train/", "test": "test/"}
WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def picture(image: Array, kind: str = "PNG", mode: str | None = None) -> bytes:
    """Return the bytes of an image file."""
    file = io.BytesIO()
    made = Image.fromarray(image)
    (made.convert(mode) if mode else made).save(file, kind)
    return file.getvalue()


def pictures(sets: Mapping[str, str], name: Callable[[int], str] = str, mode: str | None = None) -> Make:
    """Return a function that makes a folder of pictures for each class; `sets` maps sets to their folders."""
    return files(
        lambda digits: {
            f"{folder}{name(int(label))}/{place}.png": picture(image, mode=mode)
            for key, folder in sets.items()
            for place, (image, label) in enumerate(zip(digits[f"x_{key}"], digits[f"y_{key}"], strict=True))
        }
    )


IDX, FOLDERS, GZIPPED = idx(), pictures(BOTH), idx(packed=True)
PAGE = b"<!DOCTYPE html>\n<html><head><title>403 Forbidden</title></head></html>\n"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 11490434\n"

#: The functions that make the forms, in the order of the table.
MAKERS: tuple[Make, ...] = (
    GZIPPED,
    idx(lambda name: f"qmnist-{name.replace('t10k', 'test')} (1).gz", packed=True),
    idx(lambda name: f"emnist-digits-{name.replace('t10k', 'test')}.gz", packed=True),
    idx(lambda name: f"MNIST/raw/{name}/{name.replace('-idx', '.idx')}"),
    GZIPPED,
    idx(y=qmnist),
    zipped(IDX),
    taped(idx(lambda name: f"MNIST/raw/{name}.gz", packed=True)),
    damaged(IDX, IDX_NAMES[3]),
    damaged(GZIPPED, IDX_NAMES[0], lambda content: content[:-50]),
    npz(),
    npz(("train_images", "train_labels", "test_images", "test_labels")),
    npz(("arr_0", "arr_1", "arr_2", "arr_3")),
    one_file("data.npz", validated),
    npz(NPZ_NAMES[:2]),
    npz(NPZ_NAMES[:2]),
    files(
        lambda d: {f"kmnist-{k[2:]}-{'imgs' if k[0] == 'x' else 'labels'}.npz": npz_bytes({"arr_0": d[k]}) for k in d}
    ),
    files(lambda d: {f"{s}.npz": npz_bytes({"X": d[f"x_{s}"], "y": d[f"y_{s}"]}) for s in BOTH}),
    files(lambda digits: {f"{key}.npy": saved(array) for key, array in digits.items()}),
    npz(y=lambda y: y.astype(np.int64)),
    npz(y=lambda y: y.astype(np.float64)),
    npz(y=lambda y: y[:, None]),
    npz(y=lambda y: np.eye(10, dtype=np.float32)[y]),
    npz(y=lambda y: y.astype(str)),
    npz(y=lambda y: np.array(WORDS)[y]),
    npz(y=lambda y: y + 0.5),
    npz(x=lambda x: (x / 255).astype(np.float32)),
    npz(x=lambda x: x.astype(np.float64)),
    npz(x=lambda x: x > 127),
    npz(x=lambda x: x.reshape(-1, 784)),
    npz(x=lambda x: x[:, None]),
    npz(x=np.asfortranarray),
    npz(x=lambda x: np.stack([x] * 3, axis=3)),
    npz(x=lambda x: (x / 255 - 0.13) / 0.3),
    npz(x=lambda x: x / 256),
    npz(y=lambda y: y.astype(str).astype(object)),
    tables(LABELLED),
    tables(None),
    tables([*PIXELS, "class"], last=True),
    tables(LABELLED, packed=True),
    tables(LABELLED, text=lambda value: f"{value / 255:.6f}"),
    files(kaggle),
    files(kaggle),
    damaged(tables(LABELLED), "train.csv", lambda content: content.replace(b",253,", b",353,", 1)),
    files(parquet),
    FOLDERS,
    pictures(BOTH, WORDS.__getitem__),
    pictures({"train": ""}),
    pictures(BOTH, mode="RGB"),
    damaged(FOLDERS, "train/5/0.png", lambda _: picture(np.zeros((20, 20), np.uint8))),
    files(lambda digits: {f"train/{k}.png": picture(image) for k, image in enumerate(digits["x_train"])}),
    one_file("data.npz", PAGE),
    one_file("data.npz", POINTER),
    one_file("mnist.pkl.gz", lambda digits: gzip.compress(pickle.dumps(digits))),
    one_file("data.h5", b"\x89HDF\r\n\x1a\n" + bytes(600)),
    one_file("mnist_784.arff", b"% MNIST\n@RELATION mnist_784\n"),
    one_file("data.tar.xz", b"\xfd7zXZ\0" + bytes(600)),
)


class Form(NamedTuple):
    """A form of a data set, and its row in the table."""

    title: str  # the name of the form, in Markdown
    outcome: str  # accepted, converted or refused
    said: str  # the message of `load`
    make: Make

    @property
    def test_size(self) -> int:
        """Return the parameter `load.test_size` for which the row holds."""
        return 20 if "`load.test_size: 20`" in self.title else 0


_TABLE = (
    (ROOT / "docs" / "data.md").read_text(encoding="utf-8").split("<!-- forms -->\n")[1].split("<!-- /forms -->")[0]
)
_ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in _TABLE.splitlines()[2:]]
FORMS = tuple(Form(title, outcome, said, make) for (title, outcome, said), make in zip(_ROWS, MAKERS, strict=True))
