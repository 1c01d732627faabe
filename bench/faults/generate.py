"""Hypothesis strategies for the files of the readers: sound, damaged, with false sizes, or bombs."""

import copy
import functools
import gzip
import io
import json
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from numpy.typing import NDArray
from PIL import Image

from bench.faults.files import Content, Files, Special, archive, idx_bytes, image_file, saved, with_head
from bench.faults.toy import ROOT
from digits.networks import Convnet, Dense
from digits.sources.arrays import IDX_NAMES, NPZ_NAMES

Bytes = st.SearchStrategy[bytes]

#: Numbers that often break programs, used as values, as bytes and as digits.
NUMBERS = (0, 1, 2, 27, 28, 255, 256, 784, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**64 - 1)
PACKED = [struct.pack(form, n % 256 ** struct.calcsize(form)) for n in NUMBERS for form in ("<H", "<I", ">I", "<Q")]
PACKED += [str(number).encode() for number in NUMBERS]

#: Values of a field in a text file.
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.text("01\n:{}[]&*!#'\"|>-,a\x00", max_size=20)
    # what some reader may expect, and what breaks it
    | st.sampled_from([*NUMBERS, -1, 10**400, 1e-320, "", "adam", "dense", "gelu", "l2", "Orthogonal"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def choice(*options: tuple[int, st.SearchStrategy[Any]]) -> st.SearchStrategy[Any]:
    """Draw from one of several strategies, each with its weight."""
    strategies = [strategy for weight, strategy in options for _ in range(weight)]
    return st.integers(0, len(strategies) - 1).flatmap(strategies.__getitem__)


def case(files: Mapping[str, bytes], sound: int) -> st.SearchStrategy[Files]:
    """Draw the files of one input. Each file is sound with `sound` percent, and a special file with one percent."""

    def content(name: str, whole: bytes) -> st.SearchStrategy[Content]:
        special = st.sampled_from(list(Special))
        return choice((sound, st.just(whole)), (99 - sound, spoiled(name, whole)), (1, special))

    return st.fixed_dictionaries({name: content(name, whole) for name, whole in files.items()})


@functools.cache
def spoiled(name: str, content: bytes) -> Bytes:
    """Draw a damaged or hostile version of a file; its name tells its form."""
    form = name.rpartition(".")[2].replace("lock", "yaml")
    ways: list[tuple[int, Bytes]] = [(20 if form == "picture" else 2, damaged(content))]
    if form in BOMBS:
        ways += [(1, st.deferred(lambda: st.sampled_from(BOMBS[form]())))]
    match form:
        case "yaml":
            ways += [(3, changes(yaml.safe_load(content)).map(yaml_bytes))]
        case "json":
            ways += [(2, changes(json.loads(content)).map(lambda value: json.dumps(value).encode()))]
        case "npy":
            ways += [(2, other_arrays(content))]
        case "npz" | "keras":
            ways += [(2, zipped(content))]
        case "gz":
            inner = spoiled(name.removesuffix(".gz"), gzip.decompress(content))
            ways += [(1, inner.map(lambda plain: gzip.compress(plain, 1, mtime=0)))]
    return choice(*ways)


def yaml_bytes(value: Any) -> bytes:
    """Dump a document as YAML."""
    return str(yaml.dump(value, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True)).encode()


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """Change, remove, repeat or insert bytes in up to four places."""
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, min(300, len(content))) | st.integers(0, len(content)))
        place = draw(st.sampled_from((place, len(content) - place)))  # as often near the end as near the beginning
        new = draw(st.binary(max_size=8) | st.sampled_from(PACKED) | st.just(content[place : place + 512] * 2))
        removed = draw(st.sampled_from((0, 1, len(new), len(new), 64, len(content))))
        content = content[:place] + new + content[place + removed :]
    return content


def changes(document: Any) -> st.SearchStrategy[Any]:
    """Draw a nested document with one or two changes."""
    return changed(document) | changed(document).flatmap(changed)


@st.composite
def changed(draw: st.DrawFn, value: Any) -> Any:
    """Replace, remove or add a value somewhere in a nested document."""
    if not isinstance(value, dict | list) or not value or draw(st.integers(0, 7)) == 0:
        return draw(VALUES)
    value = copy.copy(value)
    key = draw(st.sampled_from(list(value) if isinstance(value, dict) else range(len(value))))
    match draw(st.integers(0, 7)):
        case 0:
            del value[key]
        case 1 if isinstance(value, dict):
            value[draw(st.text(max_size=8))] = draw(VALUES)
        case _:
            value[key] = draw(changed(value[key]))
    return value


def other_arrays(content: bytes) -> Bytes:
    """Draw a .npy file of another array, or with a false header for this array."""
    array = np.load(io.BytesIO(content))
    kinds = st.sampled_from([array.dtype.str, "|V0", "|O", "<U9", "|V1000000000", "<M8[s]", "nonsense", "|S1"])
    shapes = st.lists(st.sampled_from([*NUMBERS, -1, 10**30, 6, 3]), max_size=4).map(tuple)
    shapes |= st.sampled_from((array.shape, (1.5,), "abc", None))
    heads = st.builds(npy_head, kinds, shapes, st.sampled_from((True, False, 0, None)))
    heads |= st.sampled_from(("(" * 5000, "{" * 500, "1" * 60_000, "__import__('os').abort()", "-" * 9000 + "1"))
    odd = [array[:0], array[:-1], array.astype("<f4"), np.asfortranarray(array), array[..., None]]
    if array.dtype == np.float32:
        odd += [np.where(array == array.max(), np.float32(value), array) for value in (np.nan, np.inf, 1.0000001, -0.0)]
    others = st.sampled_from(odd) | st_numpy.arrays(st_numpy.scalar_dtypes(), st_numpy.array_shapes(max_side=6))
    return heads.map(lambda head: with_head(head, content[-array.nbytes :])) | others.map(saved)


def npy_head(kind: Any, shape: Any, order: Any = False) -> str:
    """Return the header of a .npy file as text."""
    return repr({"descr": kind, "fortran_order": order, "shape": shape}).ljust(100)


@st.composite
def zipped(draw: st.DrawFn, content: bytes) -> bytes:
    """Spoil, exchange, repeat or remove members of a zip archive, and pack it in other ways."""
    members = members_of(content)
    chosen = draw(st.integers(0, len(members) - 1))
    name, one = members[chosen]
    match draw(st.integers(0, 9)):
        case 0:
            members.append(members[chosen])
        case 1:
            del members[chosen]
        case 2:
            members = list(zip(dict(members), draw(st.permutations(list(dict(members).values()))), strict=True))
        case _:
            members[chosen] = name, draw(spoiled(name, one))
    return archive(members, draw(st.sampled_from((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2))))


# Bombs: small files that take much time or memory to read, or that a careless reader misunderstands


def nested(first: str, entry: str, levels: int) -> str:
    """Return YAML in which each level refers nine times to the level before."""
    names = [", ".join([f"*b{level}"] * 9) for level in range(levels)]
    return f"b0: &b0 {first}\n" + "".join(f"b{k}: &b{k} {entry % name}\n" for k, name in enumerate(names, 1))


def yaml_bombs() -> list[bytes]:
    """Return deep and long documents, aliases, and types that params.yaml does not have."""
    deep = ("[" * 60_000, "{a: " * 30_000, "- " * 60_000, "a" * 130_000, '"' + "\\U0001F600" * 9_000 + '"')
    aliases = (nested("[x, x]", "[%s]", 29), nested("{x: 1}", "{<<: [%s]}", 12), "train: &t\n  seed: *t\n")
    others = ("? [a, b]\n: 1\n", "%YAML 9.9\n---\ntrain: {}\n", "train: !!set {a, b}\n", "train: !!binary ////\n")
    return [text.encode() for text in (*deep, *aliases, *others, "train: {seed: 0x" + "f" * 50_000 + "}\n")]


def json_bombs() -> list[bytes]:
    """Return deep and long documents, and numbers that JSON does not have."""
    return [b"[" * 10**6, b'{"a":' * 10**5, b"[]," * 10**6, b"9" * 10**5, b"1e999", b"NaN", b"\0" * 5 * 2**20]


def csv_bombs() -> list[bytes]:
    """Return tables with very many rows or columns."""
    wide = ",".join(f"c{number}" for number in range(10_000)).encode()
    return [wide + b"\n" + b"1\n" * 10_000, b"a\n" + b"1\n" * 10**6, b'"' + b"a" * 10**6, b"\n" * 10**6, b"\0"]


def gzip_bombs() -> list[bytes]:
    """Return files that unpack to 600 MB or to many empty members, or have a very long name in their header."""
    images = gzip.compress(struct.pack(">II", 0x801, 6 * 10**8), mtime=0) + gzip.compress(bytes(10**6), mtime=0) * 600
    return [images, gzip.compress(b"", mtime=0) * 20_000, b"\x1f\x8b\x08\x08" + bytes(6) + b"a" * 10**6]


@functools.cache
def npz_bombs(size: int = 6 * 10**8) -> list[bytes]:
    """Return archives that unpack to `size` bytes of labels or images, or have a very long directory."""

    def bomb(**shapes: tuple[int, ...]) -> bytes:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as target:
            for name, array in arrays().items():
                with target.open(f"{name}.npy", "w") as member:
                    member.write(with_head(npy_head("|u1", shapes[name])) if name in shapes else saved(array))
                    for _ in range(size if name in shapes else 0, 0, -(2**20)):
                        member.write(bytes(2**20))
        return file.getvalue()

    few, many = (size // 784, 28, 28), [(f"{number:07}", b"") for number in range(30_000)]
    return [
        bomb(y_train=(size,)),
        bomb(x_train=(size, 28, 28), y_train=(size,)),
        bomb(x_train=few, y_train=few),
        archive([*members_of(npz_file()["data.npz"]), *many]),
    ]


@functools.cache
def picture_bombs() -> list[bytes]:
    """Return pictures that take much memory or time to decode, and files with very many parts."""

    def black(mode: str, width: int, height: int, kind: str = "PNG", **options: Any) -> bytes:
        return image_file(Image.new(mode, (width, height)), kind, **options)

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    png, jpeg = black("L", 28, 28), black("L", 4000, 3900, "JPEG", progressive=True)
    scan = jpeg[jpeg.rindex(b"\xff\xda") : -2]
    return [
        *(black(mode, 4000, 4000) for mode in ("RGBA", "I;16")),
        black("F", 4000, 4000, "TIFF", compression="tiff_lzw"),
        black("RGB", 65000, 760, "JPEG", progressive=True),
        black("RGB", 4000, 4000, "WEBP"),
        jpeg[: -2 - len(scan)] + scan * 5000 + jpeg[-2:],
        png[:33] + chunk(b"tEXt", b"a\0x") * 10**6 + png[33:],
        png[:33] + chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(10**8))) + png[33:],
        b"P3 4000 4000 255\n" + b"1 " * 15 * 10**6,
    ]


BOMBS: dict[str, Callable[[], list[bytes]]] = {
    "yaml": yaml_bombs,
    "json": json_bombs,
    "csv": csv_bombs,
    "gz": gzip_bombs,
    "npz": npz_bombs,
    "picture": picture_bombs,
}


# Sound files, by kind of reader


def arrays() -> dict[str, NDArray[np.uint8]]:
    """Return a small data set: six training and three test images of three classes."""
    images = np.random.default_rng(0).integers(0, 256, (9, 28, 28), np.uint8)
    labels = np.arange(9, dtype=np.uint8) % 3
    return dict(zip(NPZ_NAMES, (images[:6], labels[:6], images[6:], labels[6:]), strict=True))


def npz_file() -> dict[str, bytes]:
    """Return a data set as an archive of NumPy."""
    return {"data.npz": archive((f"{name}.npy", saved(array)) for name, array in arrays().items())}


def idx_files() -> list[dict[str, bytes]]:
    """Return a data set as IDX files, uncompressed and compressed."""
    plain = {f"data/{name}": idx_bytes(array) for name, array in zip(IDX_NAMES, arrays().values(), strict=True)}
    return [plain, {f"{name}.gz": gzip.compress(content, mtime=0) for name, content in plain.items()}]


def prepared() -> dict[str, bytes]:
    """Return the files that `load` and `preprocess` write."""
    counts = {"train": [2, 2, 2], "test": [1, 1, 1]}
    dataset = {"image_shape": [28, 28], "classes": ["0", "1", "2"], "images": counts, "ink": "light"}
    files = {"dataset.json": json.dumps(dataset).encode()}
    for split, key in (("train", "train"), ("test", "test"), ("validation", "test")):
        images, labels = arrays()[f"x_{key}"], arrays()[f"y_{key}"]
        features = images.reshape(len(images), 784).astype(np.float32) / np.float32(255)
        for name, array in (("images", images), ("labels", labels), ("features", features)):
            files[f"{split}_{name}.npy"] = saved(array)
    return files


METRICS = {
    "scores.json": json.dumps({name: {"accuracy": 0.9, "loss": 0.3} for name in ("test", "train", "gap")}).encode(),
    "history.json": b'{"last_epoch": {"loss": 0.5, "accuracy": 0.8}, "epochs": [{"val_loss": null, '
    b'"val_accuracy": null, "epoch": 1, "loss": 0.5, "accuracy": 0.8}]}',
    "platform.json": json.dumps({"model_sha256": "0" * 64, "cpu_flags": ["avx2"]}).encode(),
    "history.csv": b"epoch,loss,accuracy\n1,0.5,0.8\n2,0.4,0.9\n",
    "first_ten.csv": b"image,label,predicted,probability\n0,1,1,0.9\n1,2,0,0.5\n",
    "per_class.csv": b"label,precision,recall,images\n0,1.0,0.5,2\n1,0.5,1.0,2\n2,0.9,0.9,2\n",
    "confusion.csv": b"label,predicted\n0,0\n1,2\n2,2\n",
}


@functools.cache
def drawings() -> list[dict[str, bytes]]:
    """Return a stroke in many formats and modes."""
    stroke = Image.new("L", (40, 40), 255)
    stroke.paste(0, (18, 5, 22, 35))
    forms = ("PNG 1", "PNG P", "PNG RGBA", "PNG I;16", "JPEG L", "JPEG CMYK", "GIF P", "BMP RGB", "TIFF F", "WEBP RGB")
    found = [image_file(stroke.convert(form.split()[1]), form.split()[0]) for form in (*forms, "PPM L")]
    found += [image_file(stroke, "JPEG", progressive=True), image_file(stroke, "TIFF", compression="tiff_lzw")]
    return [{"picture": content} for content in found]


def lock() -> dict[str, bytes]:
    """Return the project's dvc.lock, and a params.yaml with the parameters recorded in it."""
    content = (ROOT / "dvc.lock").read_bytes()
    sections = [stage.get("params", {}).get("params.yaml", {}) for stage in yaml.safe_load(content)["stages"].values()]
    params = {name: value for section in sections for name, value in section.items()}
    return {"dvc.lock": content, "params.yaml": yaml_bytes(params)}


@functools.cache
def models() -> list[dict[str, bytes]]:
    """Return the files of two small networks. This imports TensorFlow."""
    from exactkeras import archive as model_file

    common: dict[str, Any] = {"learning_rate": 0.001, "epochs": 1, "batch_size": 128}
    dense = Dense(optimizer="rmsprop", units=4, **common)
    convnet = Convnet(optimizer="adam", filters=1, warmup=0.25, shift=1.0, distortion=0.125, **common)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for network in (dense, convnet):
            path = Path(folder) / "model.keras"
            model_file.save(network.build((28, 28), 10), path)
            found.append({"model.keras": archive(members_of(path.read_bytes()))})
    return found


def members_of(content: bytes) -> list[tuple[str, bytes]]:
    """Return the members of a zip archive."""
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        return [(name, file.read(name)) for name in file.namelist()]


class Kind(NamedTuple):
    """The sound files of a kind of reader in `bench.faults.readers`, in each form that it reads.

    `sound` is the percentage of files left undamaged, higher for readers of many files. `share` is the percentage of
    inputs of this kind; it is low for `models`, where an input takes a tenth of a second.
    """

    files: Callable[[], Sequence[Mapping[str, bytes]]]
    sound: int
    share: int


KINDS = {
    "params": Kind(lambda: [{"params.yaml": (ROOT / "params.yaml").read_bytes()}], sound=20, share=20),
    "lock": Kind(lambda: [lock()], sound=40, share=10),
    "npz": Kind(lambda: [npz_file()], sound=15, share=20),
    "idx": Kind(idx_files, sound=60, share=16),
    "npy": Kind(lambda: [prepared()], sound=85, share=16),
    "metrics": Kind(lambda: [lock() | METRICS], sound=85, share=10),
    "pictures": Kind(drawings, sound=5, share=5),
    "models": Kind(models, sound=10, share=3),
}


def inputs(kind: str) -> st.SearchStrategy[Files]:
    """Draw inputs for a kind of reader."""
    files, sound, _ = KINDS[kind]
    return st.sampled_from(files()).flatmap(lambda chosen: case(chosen, sound))
