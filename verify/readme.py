"""The figures of the two READMEs, written from committed files so that they cannot drift.

python -m verify.readme README.md README.vi.md            writes them
python -m verify.readme --check README.md README.vi.md    fails if they are not as the files say
"""

import argparse
import json
import re
from pathlib import Path
from typing import Any

from bench.seeds import settings
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
        "processors": "processor | L1 data cache | threads | SHA-256 of the model",
        "native": "natively, on the machine that wrote this table",
        "own": "its own",
        "emulated": "emulated",
        "speed": "median of {n} rounds in turns | this pipeline | baseline | ratio | target",
        "cold": "cold `dvc repro`, four stages; baseline: the recipe as one script",
        "cold against naive": "the same; baseline: a plain four-stage DVC pipeline",
        "fit": "training alone; baseline: `model.fit` on NumPy arrays",
        "fit held to AVX2": "the same; baseline held to the instruction set of this pipeline, AVX2",
        "efficiency": "arithmetic that training needs, against large matrix products in the same time",
        "nothing": "`dvc repro` with nothing to do; baseline: `dvc status`",
        "parameter": "another seed: time beyond the stages `train` and `evaluate`",
        "arrays": "load, preprocess, hash; baseline: copying the same bytes",
        "growth_time": "1, 4 and 16 times the images: seconds an image, greatest against least",
        "growth_cpu": "the same: processor time an image, greatest against least",
        "growth_memory": "the same: peak memory of load and preprocess, greatest against least",
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
        "processors": "bộ xử lý | bộ nhớ đệm L1 dữ liệu | số luồng | SHA-256 của mô hình",
        "native": "chạy trực tiếp, trên máy đã ghi bảng này",
        "own": "của chính nó",
        "emulated": "giả lập",
        "speed": "trung vị của {n} vòng xen kẽ | pipeline này | mốc so sánh | tỉ lệ | mục tiêu",
        "cold": "`dvc repro` từ đầu, bốn bước; mốc: công thức viết thành một script",
        "cold against naive": "như trên; mốc: một pipeline DVC bốn bước đơn giản",
        "fit": "riêng phần huấn luyện; mốc: `model.fit` trên mảng NumPy",
        "fit held to AVX2": "như trên; mốc cũng bị giới hạn ở tập lệnh của pipeline này, AVX2",
        "efficiency": "số phép tính mà huấn luyện cần, so với nhân ma trận lớn trong cùng thời gian",
        "nothing": "`dvc repro` khi không có gì để làm; mốc: `dvc status`",
        "parameter": "đổi seed: thời gian ngoài hai bước `train` và `evaluate`",
        "arrays": "đọc, tiền xử lý, băm; mốc: chép cùng số byte",
        "growth_time": "1, 4 và 16 lần số ảnh: số giây mỗi ảnh, lớn nhất so với nhỏ nhất",
        "growth_cpu": "như trên: thời gian bộ xử lý mỗi ảnh, lớn nhất so với nhỏ nhất",
        "growth_memory": "như trên: bộ nhớ đỉnh của load và preprocess, lớn nhất so với nhỏ nhất",
        "peak_memory": "như trên: bộ nhớ đỉnh lớn nhất của load và preprocess",
        "copies": "16 lần số ảnh: bộ nhớ của huấn luyện, tính bằng số bản sao của đặc trưng",
        "machine": "Đo trên: {cpu}, {cores} nhân, {vector}, Python {python}.",
    },
}


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
    """The proof across processors: one row for each, with the hash of its model."""
    rows = []
    for entry in _read(root / "bench" / "results" / "processors.json")["runs"]:
        name = words["native"] if entry["model"] is None else f"{entry['name']} ({words['emulated']})"
        cache = f"{entry['l1_kib']} KiB" if entry["l1_kib"] else words["own"]
        rows.append([name, cache, str(entry["threads"]), f"`{entry['sha256']['data/model.keras'][:16]}…`"])
    return table(words["processors"], rows)


#: Each ratio of bench/results/speed.json, with what was measured and its baseline.
SPEED = {
    "cold": ("cold", "script"),
    "cold against naive": ("cold", "naive"),
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


def fill(text: str, root: Path, words: dict[str, str]) -> str:
    """Replace what stands between `<!-- name -->` and `<!-- /name -->` by the table of that name."""
    for make in (results, processors, speed):
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
    parser.add_argument("documents", type=Path, nargs="+", help="README.md, README.vi.md")
    args = parser.parse_args()
    for document in args.documents:
        text = document.read_text(encoding="utf-8")
        filled = fill(text, Path.cwd(), WORDS["vi" if document.stem.endswith(".vi") else "en"])
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
