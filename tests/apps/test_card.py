"""The model card shows the figures of the run, and its front matter follows Hugging Face's specification."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from digits.apps import card
from digits.apps.results import study_params
from dvcproof.runtime.files import file_hash, read_csv
from dvcproof.values import flatten, set_params
from stages.load import load
from tests.support.card import SOURCES, front_matter
from tests.support.project import ROOT, Arrays
from tests.support.refusal import refusal
from tests.support.verifying import run_main, small_project

SCORES = SOURCES.metrics / "scores.json"


@pytest.fixture(autouse=True)
def folder(
    tmp_path_factory: pytest.TempPathFactory, digits: Arrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Return the working folder: a copy of the files that the card is made from, with MNIST's hashes."""
    built = small_project(tmp_path_factory, digits)
    for name in ("params.yaml", "dvc.lock", "metrics/scores.json", "metrics/per_class.csv", "data/raw/dataset.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(built / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    for name, md5 in card.MNIST.items():
        set_md5(f"data/raw/{name}", md5)
    spread = {"mean": 0.9798, "std": 0.001776, "n": 10, "min": 0.9764, "max": 0.9824}
    study = {"params": study_params(SOURCES.params), "test_accuracy": spread, "train_accuracy": spread}
    SOURCES.seeds.parent.mkdir(parents=True)
    SOURCES.seeds.write_text(json.dumps(study), encoding="utf-8")
    return tmp_path


def edit_lock(old: str, new: str) -> None:
    """Replace a pattern in dvc.lock, wherever it occurs."""
    text, count = re.subn(old, new, SOURCES.lock.read_text(encoding="utf-8"))
    assert count
    SOURCES.lock.write_text(text, encoding="utf-8")


def set_md5(path: str, md5: str) -> None:
    """Give a file another hash in dvc.lock."""
    edit_lock(rf"(path: {path}\n +hash: md5\n +md5:) \S+", rf"\1 '{md5}'")


def write(path: Path, text: str) -> None:
    """Write a file, and record its hash in dvc.lock."""
    path.write_text(text, encoding="utf-8")
    set_md5(path.as_posix(), file_hash(path, "md5"))


def set_everywhere(name: str, value: object) -> None:
    """Set a parameter in params.yaml and in dvc.lock, as a run with this value would."""
    set_params(SOURCES.params, {name: value})
    edit_lock(rf"\n( +{name.partition('.')[2]}:) .*", rf"\n\1 {value}")


def another_set(source: str = "data/letters", md5: str = "", **facts: object) -> None:
    """Describe another data set by these facts; `md5` is a wrong hash of the description for dvc.lock."""
    set_everywhere("load.source", source)
    set_md5("data/raw/test_labels.npy", "0" * 32)
    path = Path("data/raw/dataset.json")
    write(path, json.dumps(json.loads(path.read_text(encoding="utf-8")) | facts))
    if md5:
        set_md5(path.as_posix(), md5)


def scores() -> dict[str, Any]:
    return dict(json.loads(SCORES.read_text()))


def test_every_figure_is_that_of_the_files() -> None:
    text = card.write_card(SOURCES)
    for split in ("test", "train"):
        accuracy, loss = scores()[split].values()
        assert f"| {split} | {100 * accuracy:.2f} % | {loss:.4f} |" in text
    assert f"overfitting: {100 * scores()['gap']['accuracy']:.2f} %." in text
    classes = read_csv(SOURCES.metrics / "per_class.csv")
    for row in classes:
        figures = f"{100 * float(row['precision']):.2f} % | {100 * float(row['recall']):.2f} % | {int(row['images']):,}"
        assert f"| {row['label']} | {figures} |" in text
    lowest = sorted(classes, key=lambda row: float(row["recall"]))[0]["label"]
    assert f"The lowest recall is that of {lowest}." in text
    train = yaml.safe_load(SOURCES.lock.read_text())["stages"]["train"]
    (model,) = (item for item in train["outs"] if item["path"] == "data/model.keras")
    assert f"| `data/model.keras` | `{model['md5']}` | {model['size']:,} |" in text
    parameters = re.findall(r"\| `([a-z_]+\.[a-z_]+)` \| .* \|", text)
    assert {*flatten(train["params"]["params.yaml"])} < {*parameters}
    assert not any(name.startswith("convnet.") for name in parameters)  # the network that is not trained
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert all(link.startswith("https://") for link in links)  # the card is in two folders


def test_other_scores_make_another_card() -> None:
    found = scores() | {"validation": {"accuracy": 0.9321, "loss": 0.1}, "f1": 0.5}
    found["test"]["accuracy"] = 0.4242
    write(SCORES, json.dumps(found))
    set_everywhere("preprocess.validation_size", 12345)
    set_md5("data/prepared/train_labels.npy", "0" * 32)  # a shorter file under the same name
    text = card.write_card(SOURCES)
    assert "It classifies 42.42 % of the" in text
    assert front_matter(text)["model-index"][0]["results"][0]["metrics"][0]["value"] == 0.4242
    assert "\n12,345 training images were kept back for validation." in text
    assert "| validation | 93.21 % | 0.1000 |" in text
    assert "\n`f1`: 0.5000\n" in text  # a metric that a user has added
    assert "# Handwritten digits: a Keras network trained on MNIST" in text


URL = "https://localhost/sets/Kuzushiji-49.npz"


@pytest.mark.parametrize(
    ("source", "kind", "name"),
    [
        ("data/letters", "letters", "data/letters"),
        (f"{URL}#sha256=00", "kuzushiji-49", URL),
        ("data/mnist.npz", "mnist", "data/mnist.npz"),  # MNIST is known by its arrays, not by a name
        (None, "ylecun/mnist", "MNIST"),
    ],
)
def test_the_front_matter_is_as_hugging_face_specifies(source: str | None, kind: str, name: str) -> None:
    if source:
        another_set(source)
    text = card.write_card(SOURCES)
    found = front_matter(text)
    (result,) = found["model-index"][0]["results"]
    assert result["task"]["type"] == found["pipeline_tag"] == "image-classification"
    assert {metric["type"]: metric["value"] for metric in result["metrics"]} == scores()["test"]
    assert (result["dataset"]["type"], result["dataset"]["name"]) == (kind, name)
    assert found.get("datasets", []) == ([] if source else ["ylecun/mnist"])
    assert bool(re.search("MNIST|digit|Creative Commons", text)) == (source is None)


def test_names_of_classes_are_shown_as_they_are() -> None:
    another_set()
    path = SOURCES.metrics / "per_class.csv"
    write(path, path.read_text(encoding="utf-8").replace("\n3,", "\n<b>a|b_c*,"))
    text = card.write_card(SOURCES)
    assert r"order: 0, 1, 2, \<b\>a\|b\_c\*, 4, 5, 6, 7, 8, 9." in text
    assert re.search(r"^\| \\<b\\>a\\\|b\\_c\\\* \| \d", text, re.MULTILINE)


@pytest.mark.parametrize(
    ("facts", "size", "values", "noted"),
    [
        ({"image_shape": [8, 16], "ink": "dark", "transposed": True}, "grey images, 8 x 16 pixels", 128, True),
        ({"image_shape": [32, 16, 3], "ink": None, "transposed": False}, "RGB images, 32 x 16 pixels", 1536, False),
    ],
)
def test_the_card_describes_the_images(facts: dict[str, Any], size: str, values: int, noted: bool) -> None:
    another_set(**facts)
    text = card.write_card(SOURCES)
    assert f"It takes {size}, and gives" in text
    zeros = f"np.zeros((2, {', '.join(map(str, facts['image_shape']))}), np.uint8)"
    assert text.count(zeros) == text.count(f"images.reshape(-1, {values})") == 3
    assert ("The data set has dark ink on a light background" in text) == noted
    assert ("with height and width exchanged." in text) == noted


def test_the_spread_over_seeds_is_shown_only_where_it_belongs() -> None:
    spread = "| test accuracy | 97.98 % | 0.18 % | 97.64 % | 98.24 % |"
    set_everywhere("train.seed", 3)  # the study over seeds varies this parameter
    assert spread in card.write_card(SOURCES)
    set_everywhere("train.shards", 64)
    text = card.write_card(SOURCES)
    assert spread not in text
    assert "How much these figures depend on the seed was not measured" in text


def test_views_that_the_model_does_not_take_are_said() -> None:
    assert "views" not in card.write_card(SOURCES)
    set_everywhere("evaluate.views", 11)
    text = card.write_card(SOURCES)
    assert re.search(r"test images correctly, from 11 views of each\.", text)
    (result,) = front_matter(text)["model-index"][0]["results"]
    assert all(metric["name"].endswith(", mean over 11 views of each image") for metric in result["metrics"])


NO_STAGES = "dvc.lock: no stages write data/model.keras and from it metrics/scores.json"
BAD: dict[str, tuple[Callable[[], object], str]] = {
    "other parameter": (lambda: set_params(SOURCES.params, {"dense.epochs": 9999}), "'dense.epochs' in params.yaml: "),
    "other network": (lambda: set_params(SOURCES.params, {"train.model": "convnet"}), "'train.model' in params.yaml"),
    "other scores": (lambda: SCORES.write_text(json.dumps(scores())), "scores.json: expected the file that dvc.lock"),
    "no lock": (SOURCES.lock.unlink, "dvc.lock: "),
    "no training": (lambda: edit_lock("path: data/model.keras", "path: data/other.keras"), NO_STAGES),
    "no seeds": (SOURCES.seeds.unlink, "there is no such file. Run `make study NAME=seeds`."),
    "another description": (lambda: another_set(md5="1" * 32), "dataset.json: expected the file that dvc.lock names"),
}


@pytest.mark.parametrize(("damage", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_refused(folder: Path, damage: Callable[[], object], message: str) -> None:
    damage()
    assert message in refusal(card.main, "--out", "card.md")
    assert not (folder / "card.md").exists()


def test_the_command_writes_the_card_of_the_files_that_are_named(folder: Path) -> None:
    (folder / "named").mkdir()
    shutil.copy(SOURCES.params, "named")
    set_params(SOURCES.params, {"dense.units": 99})
    assert run_main(card.main, folder, "--params", "named/params.yaml", "--out", "docs/card.md") == (0, "", "")
    text = card.write_card(SOURCES._replace(params=Path("named/params.yaml")))
    assert (folder / "docs" / "card.md").read_text(encoding="utf-8") == text


def test_mnist_is_known_by_what_load_writes_of_it(tmp_path: Path) -> None:
    load(str(ROOT / "data" / "mnist.npz"), tmp_path / "raw", test_size=0)
    assert {path.name: file_hash(path, "md5") for path in (tmp_path / "raw").glob("*.npy")} == card.MNIST
    set_everywhere("load.source", "data/letters")  # the same arrays from another place
    assert "# Handwritten digits: a Keras network trained on MNIST" in card.write_card(SOURCES)
