"""Inputs for each kind of reader, by hypothesis: sound files, and such with damage, lies and bombs in them."""

import functools
import gzip
import io
import json
import math
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import yaml
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from bench.faults.files import Content, Files, Special
from digits.sources.arrays import IDX_MAGIC, IDX_NAMES, NPZ_NAMES

Draw = Callable[[st.SearchStrategy[Any]], Any]

#: Numbers on which programs stumble.
NUMBERS = (0, 1, 2, 27, 28, 255, 256, 784, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**64 - 1)

#: Values of a field in a text file.
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from(
        [*NUMBERS, -1, 10**400, float("nan"), float("inf"), -0.0, 1e-320, 0.1, "", "adam", "dense", "\x00"]
    ),
    st.floats(),
    st.text(max_size=20),
    st.text("01\n:{}[]&*!#'\"|>-,", max_size=20),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)

SECTIONS: dict[str, Any] = {
    "class_names": None,
    "load": {"source": "data.npz", "test_size": 0, "transpose": "auto"},
    "preprocess": {"validation_size": 0},
    "train": {"model": "dense", "seed": 7, "shards": 2, "device": "cpu"},
    "dense": {"optimizer": "rmsprop", "learning_rate": 0.001, "epochs": 5, "batch_size": 128, "units": 512},
    "convnet": {
        "optimizer": "adam",
        "learning_rate": 0.005,
        "epochs": 7,
        "batch_size": 128,
        "filters": 24,
        "warmup": 0.15,
        "shift": 1.0,
        "distortion": 0.15,
    },
    "evaluate": {"batch_size": 1000, "views": 1, "worst": 25},
}

LOCK: dict[str, Any] = {
    "schema": "2.0",
    "stages": {
        name: {
            "cmd": f"python -m {name}",
            "deps": [{"path": before, "hash": "md5", "md5": "0" * 32, "size": 3}],
            "params": {"params.yaml": {"train": SECTIONS["train"], "evaluate": SECTIONS["evaluate"]}},
            "outs": [{"path": after, "hash": "md5", "md5": "1" * 32, "size": 4}],
        }
        for name, before, after in (
            ("load", "data.npz", "raw"),
            ("train", "raw", "model"),
            ("evaluate", "model", "metrics"),
        )
    },
}

#: Texts that a reader of YAML or JSON may choke on.
TEXT_BOMBS = (
    "[" * 60_000,
    "{a: " * 30_000,
    "- " * 60_000,
    "a: &a [x, x]\n"
    + "".join(f"a{k}: &b{k} [{', '.join([f'*b{k - 1}'] * 9)}]\n" for k in range(1, 30)).replace("*b0", "*a"),
    "train: &t\n  seed: *t\n",
    "a: &a {x: 1}\nb: &b {<<: [*a, *a]}\n"
    + "".join(f"c{k}: &c{k} {{<<: [{', '.join([f'*c{k - 1}' if k else '*b'] * 9)}]}}\n" for k in range(12)),
    "train: {seed: 0x" + "f" * 50_000 + "}\n",
    "train: {seed: " + "9" * 50_000 + "}\n",
    "train: !!set {a, b}\n",
    "!!set {train, dense}\n",
    "? [a, b]\n: 1\n",
    "train: !!binary ////\nload: !!omap [a: 1]\n",
    "train: &a {seed: 1}\ntrain: *a\n",
    "train: {model: dense, model: convnet}\n",
    '"' + "\\U0001F600" * 9_000 + '"',
    "a" * 130_000,
    "".join(f"a{k}: {{}}\n" for k in range(12_000)),
    "%YAML 9.9\n---\ntrain: {}\n",
    "\ufeff" * 3,
)


@st.composite
def damaged(draw: Draw, whole: bytes, most: int = 4) -> bytes:
    """Bytes with up to `most` faults in them."""
    content = bytearray(whole)
    for _ in range(draw(st.integers(0, most))):
        place = draw(st.integers(0, max(0, len(content) - 1)))
        if draw(st.booleans()):
            place = max(0, len(content) - 1 - place)  # as often near the end as near the beginning
        match draw(st.integers(0, 6)):
            case 0 if content:
                content[place] ^= 1 << draw(st.integers(0, 7))
            case 1 if content:
                content[place] = draw(st.integers(0, 255))
            case 2:
                number, size = draw(st.sampled_from(NUMBERS)), draw(st.sampled_from((2, 4, 8)))
                order = draw(st.sampled_from(("little", "big")))
                content[place : place + size] = (number % 256**size).to_bytes(size, order)
            case 3:
                del content[place:]
            case 4:
                del content[place : place + draw(st.integers(1, 64))]
            case 5:
                content[place:place] = content[place : place + draw(st.integers(1, 512))] * draw(st.integers(1, 3))
            case _:
                content[place:place] = draw(st.binary(max_size=8))
    return bytes(content)


def rarely_special(content: st.SearchStrategy[bytes]) -> st.SearchStrategy[Content]:
    """A file, or now and then something else in its place."""
    special = st.sampled_from(list(Special))
    return st.integers(0, 60).flatmap(lambda number: special if number == 7 else content)


@st.composite
def documents(draw: Draw, sound: Mapping[str, Any]) -> Any:
    """A nested document with up to three changes."""
    document = json.loads(json.dumps(sound))
    for _ in range(draw(st.integers(0, 3))):
        place = document
        while True:
            keys = list(range(len(place))) if isinstance(place, list) else list(place)
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if not isinstance(place[key], dict | list) or draw(st.integers(0, 3)) == 0:
                match draw(st.integers(0, 5)):
                    case 0:
                        del place[key]
                    case 1 if isinstance(place, dict):
                        place[draw(st.text(max_size=8))] = draw(VALUES)
                    case _:
                        place[key] = draw(VALUES)
                break
            place = place[key]
    return document


def yaml_texts(sound: Mapping[str, Any]) -> st.SearchStrategy[bytes]:
    """YAML: sound, changed, damaged, or made to choke on."""
    written = documents(sound).map(
        lambda document: yaml.safe_dump(document, sort_keys=False, allow_unicode=True).encode("utf-8", "replace")
    )
    bombs = st.sampled_from([text.encode() for text in TEXT_BOMBS])
    return st.one_of(written, written, damaged(yaml.safe_dump(sound, sort_keys=False).encode()), bombs)


@st.composite
def params(draw: Draw) -> Files:
    return {"params.yaml": draw(rarely_special(yaml_texts(SECTIONS)))}


@st.composite
def lock(draw: Draw) -> Files:
    return {
        "dvc.lock": draw(rarely_special(yaml_texts(LOCK))),
        "params.yaml": yaml.safe_dump(SECTIONS).encode(),
    }


# Data sets


def arrays(train: int = 6, test: int = 3, classes: int = 3) -> dict[str, NDArray[np.uint8]]:
    """A small data set."""
    random = np.random.default_rng(0)
    images = [random.integers(0, 256, (count, 28, 28), np.uint8) for count in (train, test)]
    labels = [np.arange(count, dtype=np.uint8) % classes for count in (train, test)]
    return dict(zip(NPZ_NAMES, (images[0], labels[0], images[1], labels[1]), strict=True))


@st.composite
def npy(draw: Draw, array: NDArray[Any], often: int = 9) -> bytes:
    """A .npy file, whose head may lie; of `often` + 1, some three do not hold the array."""
    match draw(st.integers(0, often)):
        case 0:
            return draw(damaged(saved(array)))
        case 1:
            lengths = draw(st.lists(st.sampled_from([*NUMBERS, -1, 10**30, 6, 3]), max_size=4))
            kind = draw(
                st.sampled_from(("|u1", "<f4", "|V0", "|O", "<U9", "|V1000000000", "<M8[s]", "nonsense", "|S1"))
            )
            shape = draw(st.sampled_from((tuple(lengths), array.shape, (1.5,), "abc", None)))
            order = draw(st.sampled_from((True, False, 0, None)))
            head = repr({"descr": kind, "fortran_order": order, "shape": shape}).encode()
        case 2:
            head = draw(
                st.sampled_from(
                    (
                        b"(" * 5000,
                        b"{" * 500,
                        b"1" * 60_000,
                        b"__import__('os').abort()",
                        b"{'a': 1if 1else 2}",
                        b"-" * 9000 + b"1",
                    )
                )
            )
        case 3:
            changed = draw(
                st.sampled_from(
                    (
                        array[:0],
                        array[:-1],
                        array.astype("<f4"),
                        np.asfortranarray(array),
                        array[..., None],
                        array * 0,
                        array + 250,
                    )
                )
            )
            return saved(changed)
        case _:
            return saved(array)
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + array.tobytes()


def saved(array: NDArray[Any]) -> bytes:
    """The bytes of a .npy file."""
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@st.composite
def npz(draw: Draw) -> Files:
    names = draw(st.permutations(NPZ_NAMES)) if draw(st.integers(0, 9)) == 0 else NPZ_NAMES
    members = [(f"{name}.npy", draw(npy(arrays()[key]))) for name, key in zip(names, NPZ_NAMES, strict=True)]
    members = members[draw(st.integers(0, 20)) == 1 :]
    if draw(st.integers(0, 9)) == 0:
        members.append(draw(st.sampled_from(members)))
    compression = draw(
        st.sampled_from((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2))
    )
    content = archive(members, compression)
    match draw(st.integers(0, 9)):
        case 0 | 1 | 2:
            content = draw(damaged(content))
        case 3 | 4:
            content = draw(lying(content))
        case 5:
            content = draw(st.sampled_from(npz_bombs()))
    return {"data.npz": draw(rarely_special(st.just(content)))}


def archive(members: list[tuple[str, bytes]], compression: int) -> bytes:
    """A zip archive."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression, compresslevel=1) as target:
        for name, content in members:
            target.writestr(zipfile.ZipInfo(name), content, compression)
    return file.getvalue()


@st.composite
def lying(draw: Draw, content: bytes) -> bytes:
    """An archive whose directory has other sizes and places for its members."""
    changed = bytearray(content)
    place = changed.find(b"PK\x01\x02")
    while place >= 0:
        if draw(st.booleans()):
            field = draw(st.sampled_from((10, 16, 20, 24, 42)))  # method, sum, packed size, size, place
            struct.pack_into("<I", changed, place + field, draw(st.sampled_from(NUMBERS)) % 2**32)
        place = changed.find(b"PK\x01\x02", place + 4)
    return bytes(changed)


def inflated(members: Mapping[str, bytes], zeros: Mapping[str, int]) -> bytes:
    """A packed archive in which so many zeros follow the content of some members."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as target:
        for name, content in members.items():
            with target.open(name, "w") as member:
                member.write(content)
                for left in range(zeros.get(name, 0), 0, -(2**20)):
                    member.write(bytes(min(left, 2**20)))
    return file.getvalue()


@functools.cache
def npz_bombs() -> list[bytes]:
    """Small archives that unpack to much: in the labels, in the images, in the directory."""
    much = 6 * 10**8
    head = b"\x93NUMPY\x01\x00" + struct.pack("<H", 100)
    labels = head + f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({much},)}}".ljust(100).encode()
    images = head + f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({much // 784}, 28, 28)}}".ljust(100).encode()
    sound = {f"{name}.npy": saved(array) for name, array in arrays().items()}
    claimed = head + f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({much}, 28, 28)}}".ljust(100).encode()
    few = head + f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({much // 784},)}}".ljust(100).encode()
    bombs = [
        inflated(sound | {"y_train.npy": labels}, {"y_train.npy": much}),
        inflated(sound | {"x_train.npy": claimed, "y_train.npy": labels}, {"y_train.npy": much}),
        inflated(
            sound | {"x_train.npy": images, "y_train.npy": few},
            {"x_train.npy": much // 784 * 784, "y_train.npy": much // 784},
        ),
    ]
    bombs.append(archive([*sound.items(), *((f"{number:07}", b"") for number in range(30_000))], zipfile.ZIP_STORED))
    return bombs


@st.composite
def idx(draw: Draw) -> Files:
    files: dict[str, Content] = {}
    for array, name, magic in zip(arrays().values(), IDX_NAMES, IDX_MAGIC, strict=True):
        head = [magic, *array.shape]
        if draw(st.integers(0, 9)) == 0:
            head[draw(st.integers(0, len(head) - 1))] = draw(st.sampled_from(NUMBERS)) % 2**32
        content = struct.pack(f">{len(head)}I", *head) + array.tobytes()
        if draw(st.integers(0, 7)) == 0:
            content = draw(damaged(content))
        packed = draw(st.booleans())
        if packed:
            content = gzip.compress(content, 1)
            content = draw(damaged(content)) if draw(st.integers(0, 7)) == 0 else content
            if draw(st.integers(0, 60)) == 0:
                content = draw(st.sampled_from(gzip_bombs()))
        files[f"data/{name}{'.gz' if packed else ''}"] = draw(rarely_special(st.just(content)))
    return files


@functools.cache
def gzip_bombs() -> list[bytes]:
    """Small files that unpack to 600 MB, and many members of nothing."""
    much = 6 * 10**8
    file = io.BytesIO()
    with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=1) as target:
        target.write(struct.pack(">II", 0x801, much))
        for _ in range(much // 10**6):
            target.write(bytes(10**6))
    return [
        file.getvalue(),
        gzip.compress(b"") * 20_000,
        b"\x1f\x8b\x08\x08" + bytes(6) + b"a" * 10**6,
    ]


@st.composite
def prepared(draw: Draw) -> Files:
    """What `preprocess` writes, and what `load` writes, with damage."""
    files: dict[str, Content] = {}
    for split, key in (("train", "train"), ("test", "test"), ("validation", "test")):
        images, labels = arrays()[f"x_{key}"], arrays()[f"y_{key}"]
        features = images.reshape(len(images), 784).astype(np.float32) / np.float32(255)
        if draw(st.integers(0, 9)) == 0:
            features[-1, -1] = draw(st.sampled_from((math.nan, math.inf, -1e-9, 1.0000001, -0.0)))
        files[f"{split}_features.npy"] = draw(rarely_special(npy(features, 60)))
        files[f"{split}_labels.npy"] = draw(rarely_special(npy(labels, 60)))
        if split != "validation":
            files[f"{split}_images.npy"] = draw(rarely_special(npy(images, 60)))
    files["dataset.json"] = draw(rarely_special(json_texts(DATASET)))
    return files


DATASET = {
    "image_shape": [28, 28],
    "classes": ["0", "1", "2"],
    "images": {"train": [2, 2, 2], "test": [1, 1, 1]},
    "ink": "light",
}


def json_texts(sound: Mapping[str, Any]) -> st.SearchStrategy[bytes]:
    """JSON: mostly sound, else changed, damaged, or made to choke on."""
    whole = json.dumps(sound).encode()
    bombs = st.sampled_from(
        [b"[" * 10**6, b'{"a":' * 10**5, b"[]," * 10**6, b"9" * 10**5, b"1e999", b"NaN", bytes(5 * 2**20)]
    )
    changed = documents(sound).map(lambda document: json.dumps(document).encode())
    return st.one_of(st.just(whole), st.just(whole), changed, damaged(whole), bombs)


SCORES = {name: {"accuracy": 0.9, "loss": 0.3} for name in ("test", "train", "gap")}
HISTORY = {
    "last_epoch": {"loss": 0.5, "accuracy": 0.8},
    "epochs": [{"val_loss": None, "val_accuracy": None, "epoch": 1, "loss": 0.5, "accuracy": 0.8}],
}
TABLES = {
    "history.csv": "epoch,loss,accuracy\n1,0.5,0.8\n2,0.4,0.9\n",
    "first_ten.csv": "image,label,predicted,probability\n0,1,1,0.9\n1,2,0,0.5\n",
    "per_class.csv": "label,precision,recall,images\n0,1.0,0.5,2\n1,0.5,1.0,2\n2,0.9,0.9,2\n",
    "confusion.csv": "label,predicted\n0,0\n1,2\n2,2\n",
}


@st.composite
def tables(draw: Draw, sound: str) -> bytes:
    """A CSV file: mostly sound, else with other cells, damaged, or made to choke on."""
    match draw(st.integers(0, 5)):
        case 0:
            return draw(damaged(sound.encode()))
        case 1:
            rows = [line.split(",") for line in sound.splitlines()]
            row = draw(st.sampled_from(rows))
            row[draw(st.integers(0, len(row) - 1))] = draw(SCALARS.map(str))
            return "\n".join(",".join(row) for row in rows).encode("utf-8", "replace")
        case 2:
            wide = ",".join(f"c{number}" for number in range(10_000)).encode()
            bombs = (
                wide + b"\n1" * 10_000,
                b"a\n" + b"1\n" * 10**6,
                b'"' + b"a" * 10**6,
                b"\n" * 10**6,
                b"a," * 10**6,
                b"\0" * 1000,
            )
            return draw(st.sampled_from(bombs))
        case _:
            return sound.encode()


@st.composite
def metrics(draw: Draw) -> Files:
    files: dict[str, Content] = {name: draw(rarely_special(tables(text))) for name, text in TABLES.items()}
    files["scores.json"] = draw(rarely_special(json_texts(SCORES)))
    files["history.json"] = draw(rarely_special(json_texts(HISTORY)))
    files["platform.json"] = draw(rarely_special(json_texts({"model_sha256": "0" * 64, "cpu_flags": ["avx2"]})))
    files["dvc.lock"] = yaml.safe_dump(LOCK).encode()
    return files


# Pictures


@functools.cache
def drawings() -> list[bytes]:
    """A stroke in every format and mode."""
    stroke = Image.new("L", (40, 40), 255)
    stroke.paste(0, (18, 5, 22, 35))
    found = []
    for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"):
        for mode in ("1", "L", "P", "RGB", "RGBA", "I;16", "CMYK", "F"):
            for options in ({}, {"progressive": True}, {"compression": "tiff_lzw"}, {"compression": "group4"}):
                file = io.BytesIO()
                try:
                    stroke.convert(mode).save(file, kind, **options)
                except (OSError, ValueError, KeyError):
                    continue
                found.append(file.getvalue())
    return list(dict.fromkeys(found))


def chunk(name: bytes, content: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


@functools.cache
def picture_bombs() -> list[bytes]:
    """Small pictures that take much, and files of very many parts."""

    def file(mode: str, size: tuple[int, int], kind: str, **options: Any) -> bytes:
        target = io.BytesIO()
        Image.new(mode, size).save(target, kind, **options)
        return target.getvalue()

    png, jpeg = file("L", (28, 28), "PNG"), file("L", (4000, 3900), "JPEG", progressive=True)
    scan = jpeg[jpeg.rindex(b"\xff\xda") : -2]
    return [
        file("L", (7000, 7000), "PNG"),
        *(file(mode, (4000, 4000), "PNG") for mode in ("RGBA", "P", "I;16", "LA")),
        *(file("F", (4000, 4000), "TIFF", compression=name) for name in ("tiff_lzw", "tiff_adobe_deflate")),
        file("RGB", (7000, 7000), "JPEG"),
        file("RGB", (65000, 760), "JPEG", progressive=True),
        file("RGB", (4000, 4000), "WEBP"),
        jpeg[: -2 - len(scan)] + scan * 5000 + jpeg[-2:],
        png[:33] + chunk(b"tEXt", b"a\0x") * 10**6 + png[33:],
        png[:33] + chunk(b"IDAT", b"") * 10**6 + png[33:],
        png[:33] + chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(10**8))) + png[33:],
        b"P6 4000 2600 254\n" + bytes(3 * 4000 * 2600),
        b"P3 4000 4000 255\n" + b"1 " * 15 * 10**6,
        b"P5" + b" " * 30 * 10**6,
        b"\xff\xd8" + b"\xff\xfe\x00\x02" * 8 * 10**6,
    ]


@st.composite
def pictures(draw: Draw) -> Files:
    whole = draw(st.sampled_from(drawings()))
    if draw(st.integers(0, 19)) == 0:
        return {"picture": draw(st.sampled_from(picture_bombs()))}
    return {"picture": draw(rarely_special(damaged(whole, most=6)))}


def generator(kind: str) -> st.SearchStrategy[Files]:
    """The inputs of a kind in `inputs.SHARES`."""
    if kind == "models":
        from bench.faults.models import models  # imports TensorFlow

        return models()
    strategies = {
        "params": params,
        "lock": lock,
        "npz": npz,
        "idx": idx,
        "npy": prepared,
        "metrics": metrics,
        "pictures": pictures,
    }
    return strategies[kind]()
