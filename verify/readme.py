"""The figures of the two READMEs and of docs/convnet.md, written from committed files so that they cannot drift.

python -m verify.readme README.md README.vi.md docs/convnet.md            writes them
python -m verify.readme --check README.md README.vi.md docs/convnet.md    fails if they are not as the files say
"""

import argparse
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.convnet import EXAMPLE
from bench.seeds import settings
from bench.sweep import shared
from stages.console import InputError, run
from stages.tables import read_csv

#: Words of the tables, by the language of the document.
WORDS = {
    "en": {
        "test": "test accuracy",
        "train": "training accuracy",
        "last": "training accuracy as Keras prints it, in the last epoch",
        "gap": "gap: training minus test, the overfitting",
        "first": "first ten test images right",
        "first image": "the first: a {label}, read as {predicted} with probability",
        "seeds": "this run | mean of {n} seeds | spread (standard deviation) | min | max",
        "published": "published",
        "processors": "processor | L1 data cache | threads | SHA-256 of the dense network | of the convnet",
        "convnet": "test accuracy of the last epoch, {n} seeds each | mean | standard deviation | min | max | training",
        "example": "Keras's example, 15 epochs",
        "sweep": "validation accuracy, mean of {n} seeds | standard deviation | against the best",
        "best": "the best",
        "noise": "inside the noise",
        "worse": "worse",
        "epochs": "this convnet, {epochs} epochs",
        "native": "natively, on the machine that wrote this table",
        "own": "its own",
        "emulated": "emulated",
        "speed": "median of {n} rounds in turns | this pipeline | baseline | ratio | target",
        "cold": "cold `dvc repro`, four stages; baseline: the recipe as one script",
        "cold against naive": "the same; baseline: a plain four-stage DVC pipeline",
        "cold held to AVX2": "the same; baseline: the script, held to the instruction set of this pipeline, AVX2",
        "fit": "training alone; baseline: `model.fit` on NumPy arrays",
        "fit held to AVX2": "the same; baseline held to the instruction set of this pipeline, AVX2",
        "efficiency": "arithmetic that training needs, against large matrix products in the same time",
        "nothing": "`dvc repro` with nothing to do; baseline: `dvc status`",
        "parameter": "another seed: time beyond the stages `train` and `evaluate`",
        "arrays": "load, preprocess, hash; baseline: copying the same bytes",
        "growth_time": "1, 4 and 16 times the images: seconds an image, the greatest growth from fewer to more",
        "growth_cpu": "the same: processor time an image",
        "growth_memory": "the same: peak memory of load and preprocess",
        "peak_memory": "the same: greatest peak memory of load and preprocess",
        "copies": "16 times the images: memory of training, in copies of the features",
        "machine": "Measured on: {cpu}, {cores} cores, {vector}, Python {python}.",
    },
    "vi": {
        "test": "độ chính xác trên tập kiểm tra",
        "train": "độ chính xác trên tập huấn luyện",
        "last": "độ chính xác huấn luyện do Keras in ra ở epoch cuối",
        "gap": "khoảng cách: huấn luyện trừ kiểm tra, tức là mức quá khớp",
        "first": "đoán đúng trong mười ảnh kiểm tra đầu tiên",
        "first image": "ảnh đầu tiên: số {label}, đọc là {predicted} với xác suất",
        "seeds": "lần chạy này | trung bình của {n} seed | độ lệch chuẩn | nhỏ nhất | lớn nhất",
        "published": "đã công bố",
        "processors": "bộ xử lý | bộ nhớ đệm L1 dữ liệu | số luồng | SHA-256 của mạng dense | của convnet",
        "convnet": "độ chính xác kiểm tra ở epoch cuối, {n} seed | trung bình | độ lệch chuẩn | nhỏ nhất | lớn nhất "
        "| huấn luyện",
        "example": "ví dụ của Keras, 15 epoch",
        "sweep": "độ chính xác thẩm định, trung bình của {n} seed | độ lệch chuẩn | so với điểm tốt nhất",
        "best": "tốt nhất",
        "noise": "trong khoảng nhiễu",
        "worse": "kém hơn",
        "epochs": "convnet này, {epochs} epoch",
        "native": "chạy trực tiếp, trên máy đã ghi bảng này",
        "own": "của chính nó",
        "emulated": "giả lập",
        "speed": "trung vị của {n} vòng xen kẽ | pipeline này | mốc so sánh | tỉ lệ | mục tiêu",
        "cold": "`dvc repro` từ đầu, bốn bước; mốc: công thức viết thành một script",
        "cold against naive": "như trên; mốc: một pipeline DVC bốn bước đơn giản",
        "cold held to AVX2": "như trên; mốc: script bị giới hạn ở tập lệnh của pipeline này, AVX2",
        "fit": "riêng phần huấn luyện; mốc: `model.fit` trên mảng NumPy",
        "fit held to AVX2": "như trên; mốc cũng bị giới hạn ở tập lệnh của pipeline này, AVX2",
        "efficiency": "số phép tính mà huấn luyện cần, so với nhân ma trận lớn trong cùng thời gian",
        "nothing": "`dvc repro` khi không có gì để làm; mốc: `dvc status`",
        "parameter": "đổi seed: thời gian ngoài hai bước `train` và `evaluate`",
        "arrays": "đọc, tiền xử lý, băm; mốc: chép cùng số byte",
        "growth_time": "1, 4 và 16 lần số ảnh: số giây mỗi ảnh, mức tăng lớn nhất từ ít ảnh sang nhiều ảnh",
        "growth_cpu": "như trên: thời gian bộ xử lý mỗi ảnh",
        "growth_memory": "như trên: bộ nhớ đỉnh của load và preprocess",
        "peak_memory": "như trên: bộ nhớ đỉnh lớn nhất của load và preprocess",
        "copies": "16 lần số ảnh: bộ nhớ của huấn luyện, tính bằng số bản sao của đặc trưng",
        "machine": "Đo trên: {cpu}, {cores} nhân, {vector}, Python {python}.",
    },
}


#: Makes a table from the committed files below a folder, in the words of a language.
Table = Callable[[Path, dict[str, str]], str]


def table(header: str, rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [f"| {header} |", "|" + "---|" * (header.count("|") + 1), *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines)


def results(root: Path, words: dict[str, str]) -> str:
    """The committed run beside the study over seeds and the published figures of the recipe."""
    scores, history, seeds = (
        _read(root / name) for name in ("metrics/scores.json", "metrics/history.json", "bench/results/seeds.json")
    )
    if seeds["params"] != settings():
        raise InputError(
            "bench/results/seeds.json",
            expected=f"the spread over seeds with params.yaml as it is, {settings()}",
            received=f"one with {seeds['params']}",
            hint="Run `make seeds`.",
        )
    #: published: F. Chollet, Deep Learning with Python (2017), section 2.1
    figures = [
        ("test", scores["test"]["accuracy"], "test_accuracy", "97.85 %"),
        ("last", history["last_epoch"]["accuracy"], "last_epoch_accuracy", "98.9 %"),
        ("train", scores["train"]["accuracy"], "train_accuracy", ""),
        ("gap", scores["gap"]["accuracy"], "gap", ""),
    ]
    rows = []
    for name, value, measured, published in figures:
        spread = seeds[measured]
        numbers = [value, *(spread[key] for key in ("mean", "std", "min", "max"))]
        rows.append([words[name], *(f"{100 * number:.2f} %" for number in numbers), published])
    first = read_csv(root / "metrics" / "first_ten.csv")
    right = sum(row["label"] == row["predicted"] for row in first)
    rows.append([words["first"], f"{right} / {len(first)}", "", "", "", "", ""])
    rows.append([words["first image"].format(**first[0]), f"{float(first[0]['probability']):.4f}", "", "", "", "", ""])
    header = f" | {words['seeds'].format(n=seeds['test_accuracy']['n'])} | {words['published']}"
    return table(header, rows)


def processors(root: Path, words: dict[str, str]) -> str:
    """The proof across processors: one row for each, with the hashes of its models."""
    proof = _read(root / "bench" / "results" / "processors.json")
    rows = []
    for dense, convnet in zip(proof["dense"]["runs"], proof["convnet"]["runs"], strict=True):
        name = words["native"] if dense["model"] is None else f"{dense['name']} ({words['emulated']})"
        cache = f"{dense['l1_kib']} KiB" if dense["l1_kib"] else words["own"]
        hashes = [f"`{entry['sha256']['data/model.keras'][:16]}…`" for entry in (dense, convnet)]
        rows.append([name, cache, str(dense["threads"]), *hashes])
    return table(words["processors"], rows)


def convnet(root: Path, words: dict[str, str]) -> str:
    """The convnet beside Keras's example: test accuracy over seeds, and the time that training takes."""
    study = _read(root / "bench" / "results" / "convnet.json")
    if study["params"] != settings("convnet"):
        raise InputError(
            "bench/results/convnet.json",
            expected=f"a study of the convnet with params.yaml as it is, {settings('convnet')}",
            received=f"one with {study['params']}",
            hint="Run `make convnet`.",
        )
    rows = []
    for name, found in study["contestants"].items():
        accuracy, seconds = found["test_accuracy"], found["seconds"]
        numbers = [f"{100 * accuracy[key]:.2f} %" for key in ("mean", "std", "min", "max")]
        label = words[EXAMPLE] if name == EXAMPLE else words["epochs"].format(epochs=name)
        rows.append([label, *numbers, f"{seconds['mean']:.0f} s"])
    n = next(iter(study["contestants"].values()))["test_accuracy"]["n"]
    return f"{table(words['convnet'].format(n=n), rows)}\n\n{words['machine'].format(**study['machine'])}"


def sweep(root: Path, words: dict[str, str], name: str = "sweep.json") -> str:
    """Every point of a sweep, the best first, and what is to be said of it."""
    study = _read(root / "bench" / "results" / name)
    points, rows = study["points"], []
    expected = shared(points[0]["values"], study["params"]["preprocess"]["validation_size"])
    if study["params"] != expected:
        raise InputError(
            f"bench/results/{name}",
            expected=f"a sweep with params.yaml as it is, {expected}",
            received=f"one with {study['params']}",
            hint="Run `make sweep`, with the options that docs/ names.",
        )
    for index, point in enumerate(points):
        found = point["validation_accuracy"]
        verdict = words["noise" if point["noise"] else "worse"] if index else words["best"]
        numbers = [f"{100 * found[key]:.2f} %" for key in ("mean", "std")]
        rows.append([*point["values"].values(), *numbers, verdict])
    names = " | ".join(f"`{name}`" if "." in name else f"`train.{name}`" for name in points[0]["values"])
    return table(f"{names} | {words['sweep'].format(n=points[0]['validation_accuracy']['n'])}", rows)


def convnet_sweep(root: Path, words: dict[str, str]) -> str:
    """The same of the convnet's sweep."""
    return sweep(root, words, "convnet_sweep.json")


#: Each ratio of bench/results/speed.json, with what was measured and its baseline.
SPEED = {
    "cold": ("cold", "script"),
    "cold against naive": ("cold", "naive"),
    "cold held to AVX2": ("cold", "script held to AVX2"),
    "fit": ("fit", "script fit"),
    "fit held to AVX2": ("fit", "script fit held to AVX2"),
    "efficiency": (),
    "nothing": ("nothing", "status"),
    "parameter": (),
    "arrays": ("arrays", "arrays copy"),
    "growth_time": (),
    "growth_cpu": (),
    "growth_memory": (),
    "peak_memory": (),
    "copies": (),
}

UNITS = {"parameter": " s", "peak_memory": " MB"}


def speed(root: Path, words: dict[str, str]) -> str:
    """What `make bench` measured: seconds, ratio and target."""
    measured = _read(root / "bench" / "results" / "speed.json")
    rows = []
    for name, pair in SPEED.items():
        seconds = [f"{measured['times'][part]['wall']['median']:.2f} s" for part in pair] or ["", ""]
        unit, target = UNITS.get(name, ""), measured["targets"].get(name)
        bound = "" if target is None else f"{'≥' if name == 'efficiency' else '≤'} {target:g}{unit}"
        rows.append([words[name], *seconds, f"{measured['ratios'][name]:.2f}{unit}", bound])
    header = words["speed"].format(n=measured["times"]["cold"]["wall"]["n"])
    return f"{table(header, rows)}\n\n{words['machine'].format(**measured['machine'])}"


#: The tables of a README, and of the other documents that have one.
README_TABLES = (results, sweep, convnet, processors, speed)
OTHER_TABLES = {"convnet.md": (convnet_sweep,)}


def fill(text: str, root: Path, words: dict[str, str], tables: Sequence[Table] = README_TABLES) -> str:
    """Replace what stands between `<!-- name -->` and `<!-- /name -->` by the table of that name."""
    for make in tables:
        name = make.__name__
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if not pattern.search(text):
            raise InputError(name, expected=f"a place <!-- {name} -->", received="none", hint="Add it to the README.")
        content = make(root, words)
        text = pattern.sub(lambda match, content=content: f"{match[1]}{content}\n{match[2]}", text)  # type: ignore[misc]
    return text


def _read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m verify.readme", description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="change nothing, and fail if a figure is not as it should be"
    )
    parser.add_argument("documents", type=Path, nargs="+", help="README.md, README.vi.md, docs/convnet.md")
    args = parser.parse_args()
    for document in args.documents:
        text = document.read_text(encoding="utf-8")
        words = WORDS["vi" if document.stem.endswith(".vi") else "en"]
        filled = fill(text, Path.cwd(), words, OTHER_TABLES.get(document.name, README_TABLES))
        if not args.check:
            document.write_text(filled, encoding="utf-8")
        elif filled != text:
            raise InputError(
                str(document),
                expected="the figures of the committed files",
                received="others",
                hint="Run `make readme`.",
            )


if __name__ == "__main__":
    run(main)
