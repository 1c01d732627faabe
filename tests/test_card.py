"""The model card: its figures are those of the run, its front matter is Hugging Face's, and it claims nothing else."""

import hashlib
import json
import re
import shutil
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from apps import card
from apps.runs import flat, of_the_model
from stages.console import InputError
from stages.load import LoadParams, load
from stages.tables import read_csv
from tests.conftest import ROOT, run
from verify.parameters import set_parameter

SOURCES = card.Sources(
    *map(Path, ("params.yaml", "dvc.lock", "metrics", "data/model.keras", "bench/results/seeds.json"))
)
COMMITTED = ROOT / "docs" / "model-card.md"


class Part(BaseModel):
    """A mapping of Hugging Face's specification (github.com/huggingface/hub-docs, modelcard.md): nothing unknown."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Task(Part):
    type: Literal["image-classification"]
    name: str = ""


class DataSet(Part):
    type: str = Field(pattern=r"^[\w.-]+(/[\w.-]+)?$")
    name: str = Field(min_length=1)
    split: str = ""


class Metric(Part):
    type: str = Field(pattern=r"^[a-z_]+$")
    value: float
    name: str = ""


class Result(Part):
    task: Task
    dataset: DataSet
    metrics: list[Metric] = Field(min_length=1)


class Model(Part):
    name: str = Field(min_length=1)
    results: list[Result] = Field(min_length=1)


class FrontMatter(Part):
    license: str = Field(pattern=r"^[a-z0-9.-]+$")
    library_name: Literal["keras"]
    pipeline_tag: Literal["image-classification"]
    tags: list[str]
    datasets: list[str] = Field(default=[], min_length=1)
    metrics: list[str] = Field(min_length=1)
    model_index: list[Model] = Field(alias="model-index", min_length=1, max_length=1)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the files that the card is made from, to change; also the working folder."""
    for name in ("params.yaml", "dvc.lock"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "metrics", tmp_path / "metrics")
    (tmp_path / "bench" / "results").mkdir(parents=True)
    shutil.copy(ROOT / SOURCES.seeds, tmp_path / SOURCES.seeds)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make() -> str:
    """The card of the files in the working folder."""
    return card.write_card(SOURCES, card.read_record(SOURCES))


def matter(text: str) -> dict[str, Any]:
    """The front matter of a card."""
    match = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    assert match is not None
    return dict(yaml.safe_load(match[1]))


def edit_lock(change: Callable[[Any], object]) -> None:
    """Change the stages of dvc.lock."""
    document = yaml.safe_load(Path("dvc.lock").read_text(encoding="utf-8"))
    change(document["stages"])
    Path("dvc.lock").write_text(yaml.safe_dump(document), encoding="utf-8")


def set_md5(path: str, md5: str) -> None:
    """Give a file another hash in dvc.lock, wherever it stands there."""

    def change(stages: Any) -> None:
        items = [item for entry in stages.values() for item in entry["deps"] + entry["outs"] if item["path"] == path]
        assert items
        for item in items:
            item["md5"] = md5

    edit_lock(change)


def set_everywhere(section: str, name: str, value: object) -> None:
    """Give a parameter another value in params.yaml and dvc.lock, as a run with it would."""
    set_parameter(Path("params.yaml"), f"{section}.{name}", value)

    def change(stages: Any) -> None:
        stages[section]["params"]["params.yaml"][section][name] = value

    edit_lock(change)


def write_scores(scores: dict[str, Any]) -> None:
    """Write other scores, and their hash into dvc.lock."""
    Path("metrics/scores.json").write_text(json.dumps(scores), encoding="utf-8")
    md5 = hashlib.md5(Path("metrics/scores.json").read_bytes(), usedforsecurity=False).hexdigest()
    set_md5("metrics/scores.json", md5)


def test_the_committed_card_is_that_of_the_committed_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert COMMITTED.read_text(encoding="utf-8") == make(), "run `make card`"


def test_a_run_with_other_scores_makes_the_committed_card_stale(folder: Path) -> None:
    assert folder == Path.cwd()
    before = make()
    scores = json.loads(Path("metrics/scores.json").read_text())
    scores["test"]["accuracy"] = 0.4242
    write_scores(scores)
    after = make()
    assert after != before
    assert "It reads 42.42 % of the" in after
    assert matter(after)["model-index"][0]["results"][0]["metrics"][0]["value"] == 0.4242


def test_every_figure_is_that_of_the_files(folder: Path) -> None:
    text = make()
    scores = json.loads((folder / "metrics" / "scores.json").read_text())
    for split in ("test", "train"):
        assert f"| {split} | {scores[split]['accuracy']:.2%} | {scores[split]['loss']:.4f} |".replace("%", " %") in text
    assert f"overfitting: {100 * scores['gap']['accuracy']:.2f} %." in text
    classes = read_csv(folder / "metrics" / "per_class.csv")
    for row in classes:
        assert f"| {100 * float(row['recall']):.2f} % | {int(row['images']):,} |" in text
    lowest = sorted(classes, key=lambda row: float(row["recall"]))[0]["label"]
    assert f"The lowest recall is that of {lowest}." in text
    stages = yaml.safe_load((folder / "dvc.lock").read_text())["stages"]
    (model,) = (item for item in stages["train"]["outs"] if item["path"] == "data/model.keras")
    assert f"| `data/model.keras` | `{model['md5']}` | {model['size']:,} |" in text
    parameters = of_the_model(flat(stages["train"]["params"]["params.yaml"]))
    assert len(parameters) > 8
    for name, value in parameters.items():
        assert f"| `{name}` | {value} |" in text


@pytest.mark.parametrize("source", ["data/mnist.npz", "data/letters"])
def test_the_front_matter_is_as_hugging_face_specifies(folder: Path, source: str) -> None:
    assert folder == Path.cwd()
    set_everywhere("load", "source", source)
    if source == "data/letters":
        set_md5("data/raw/train_images.npy", "0" * 32)
    checked = FrontMatter.model_validate(matter(make()))
    scores = json.loads(Path("metrics/scores.json").read_text())["test"]
    (result,) = checked.model_index[0].results
    assert [metric.type for metric in result.metrics] == ["accuracy", "loss"]
    assert all(metric.value == scores[metric.type] for metric in result.metrics)
    assert result.dataset.type == {"data/mnist.npz": "ylecun/mnist", "data/letters": "letters"}[source]
    assert checked.datasets == {"data/mnist.npz": ["ylecun/mnist"], "data/letters": []}[source]


@pytest.mark.parametrize(
    "missing",
    [
        "license",
        "library_name",
        "metrics",
        "model-index",
        "model-index.0.name",
        "model-index.0.results",
        "model-index.0.results.0.task.type",
        "model-index.0.results.0.dataset.type",
        "model-index.0.results.0.dataset.name",
        "model-index.0.results.0.metrics.0.type",
        "model-index.0.results.0.metrics.0.value",
    ],
)
def test_the_specification_finds_what_is_missing(missing: str) -> None:
    front: Any = matter(COMMITTED.read_text(encoding="utf-8"))
    *way, last = [int(key) if key.isdigit() else key for key in missing.split(".")]
    inner = front
    for key in way:
        inner = inner[key]
    del inner[last]
    with pytest.raises(ValidationError, match="Field required"):
        FrontMatter.model_validate(front)


def test_mnist_is_known_by_what_load_writes_of_it(tmp_path: Path) -> None:
    load(LoadParams(class_names=None, source=str(ROOT / "data" / "mnist.npz")), tmp_path)
    found = {
        path.name: hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() for path in tmp_path.iterdir()
    }
    assert found == card.MNIST


@pytest.mark.parametrize("source", ["data/letters", "data/mnist.npz"])
def test_other_data_is_not_called_mnist_whatever_its_file_is_called(folder: Path, source: str) -> None:
    assert folder == Path.cwd()
    set_everywhere("load", "source", source)
    assert "MNIST" in make()  # the same arrays from another place
    set_md5("data/raw/test_labels.npy", "0" * 32)
    text = make()
    assert f"# A Keras network trained on the data set `{source}`" in text
    assert "MNIST" not in text
    assert "digit" not in text
    assert "Creative Commons" not in text


def test_names_of_classes_are_shown_as_they_are(folder: Path) -> None:
    assert folder == Path.cwd()
    set_everywhere("load", "source", "data/letters")
    set_md5("data/raw/test_labels.npy", "0" * 32)
    text = Path("metrics/per_class.csv").read_text(encoding="utf-8").replace("\n3,", "\n<b>a|b_c*,")
    Path("metrics/per_class.csv").write_text(text, encoding="utf-8")
    set_md5("metrics/per_class.csv", hashlib.md5(text.encode(), usedforsecurity=False).hexdigest())
    card_text = make()
    assert r"of each of 10 classes, in this" in card_text
    assert r"order: 0, 1, 2, \<b\>a\|b\_c\*, 4, 5, 6, 7, 8, 9." in card_text
    assert re.search(r"^\| \\<b\\>a\\\|b\\_c\\\* \| \d", card_text, re.MULTILINE)


def test_an_address_is_named_without_its_hash(folder: Path) -> None:
    assert folder == Path.cwd()
    data = card.DataSet("https://localhost/sets/Kuzushiji-49.npz#sha256=00", is_mnist=False)
    assert (data.name, data.slug) == ("https://localhost/sets/Kuzushiji-49.npz", "kuzushiji-49")


def test_the_spread_over_seeds_is_shown_only_where_it_belongs(folder: Path) -> None:
    study = json.loads((folder / SOURCES.seeds).read_text())
    spread = study["test_accuracy"]
    row = f"| test accuracy | {100 * spread['mean']:.2f} % | {100 * spread['std']:.2f} % |"
    assert f"With {spread['n']} seeds" in make()
    assert row in make()
    set_everywhere("train", "shards", 64)
    assert row not in make()
    assert "How much these figures depend on the seed was not measured" in make()


def test_only_parameters_of_the_trained_network_are_shown(folder: Path) -> None:
    assert folder == Path.cwd()
    set_everywhere("train", "model", "dense")
    assert "| `train.units` | 512 |" in make()
    assert "| `train.epochs` | 5 |" in make()
    assert "convnet.epochs" not in make()
    assert "training image was moved" not in make()
    set_everywhere("train", "model", "convnet")
    assert "| `convnet.epochs` |" in make()
    assert "every training image was moved, turned, slanted and scaled anew" in make()
    assert "| `train.shards` |" in make()
    assert "train.units" not in make()
    assert "train.epochs" not in make()


def test_a_validation_split_is_shown(folder: Path) -> None:
    set_everywhere("preprocess", "validation_size", 0)
    assert "kept back for validation" not in make()
    set_everywhere("preprocess", "validation_size", 12345)
    scores = json.loads((folder / "metrics" / "scores.json").read_text())
    write_scores(scores | {"validation": {"accuracy": 0.9321, "loss": 0.1}})
    assert "The last 12,345 training images were kept back for validation." in make()
    assert "| validation | 93.21 % | 0.1000 |" in make()
    set_md5("data/prepared/train_labels.npy", "0" * 32)  # shorter now, under the name of the whole
    assert "# Handwritten digits: a Keras network trained on MNIST" in make()


def test_it_stands_in_two_places_and_so_links_to_no_file() -> None:
    links = re.findall(r"\]\(([^)]+)\)", COMMITTED.read_text(encoding="utf-8"))
    assert links
    assert all(link.startswith("https://") for link in links)


def test_the_licence_is_unknown_as_long_as_the_repository_states_none() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    stated = "license" in project or any(ROOT.glob("LICEN[CS]E*"))
    assert stated == (card.LICENSE != "unknown")


def add_parameter(section: str, line: str) -> None:
    text = Path("params.yaml").read_text(encoding="utf-8")
    Path("params.yaml").write_text(text.replace(f"\n{section}:\n", f"\n{section}:\n  {line}\n"), encoding="utf-8")


def drop_train(stages: Any) -> None:
    del stages["train"]


BAD: dict[str, tuple[Callable[[], object], str]] = {
    "other parameter": (
        lambda: set_parameter(Path("params.yaml"), "train.epochs", 9999),
        "parameter 'train.epochs' in dvc.lock: expected 9999, as in params.yaml. Got ",
    ),
    "new parameter": (
        lambda: add_parameter("train", "dropout: 0.5"),
        "parameter 'train.dropout' in dvc.lock: expected 0.5, as in params.yaml. Got nothing. Run `dvc repro`.",
    ),
    "other scores": (
        lambda: Path("metrics/scores.json").write_text("{}"),
        "metrics/scores.json: expected the file that dvc.lock names, ",
    ),
    "no scores": (lambda: Path("metrics/per_class.csv").unlink(), "metrics/per_class.csv: expected to read or write"),
    "no lock": (lambda: Path("dvc.lock").unlink(), "dvc.lock: expected a YAML file of DVC. Got no such file."),
    "empty lock": (lambda: Path("dvc.lock").write_text(""), "dvc.lock: expected a YAML file of DVC. Got something"),
    "conflict": (lambda: Path("dvc.lock").write_text("<<<<<<< a\n"), "dvc.lock: expected a YAML file of DVC. Got"),
    "another lock": (lambda: Path("dvc.lock").write_text("stages: {train: 5}"), "expected a dvc.lock. Got a damaged"),
    "nothing run": (lambda: edit_lock(dict.clear), "Got the stages of no run. Run `dvc repro`."),
    "no training": (lambda: edit_lock(drop_train), "expected stages that write data/model.keras and from it metrics/"),
    "seeds": (lambda: SOURCES.seeds.write_text("[]"), "seeds.json: expected a study over seeds. Got a damaged file"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_in_one_line_and_the_old_card_stays(case: str, folder: Path) -> None:
    damage, message = BAD[case]
    damage()
    (folder / "card.md").write_text("the card of before")
    result = command("card.md", folder)
    assert result[0] == 1
    assert result[1].startswith("ERROR: ")
    assert message in result[1]
    assert result[1].count("\n") == 1
    assert (folder / "card.md").read_text() == "the card of before"
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def command(out: str, folder: Path) -> tuple[int, str]:
    """Run the command; give back its exit status and what it wrote on standard error."""
    options = [part for name, path in SOURCES._asdict().items() for part in (f"--{name}", str(path))]
    result = run(sys.executable, "-m", "apps.card", *options, "--out", out, cwd=folder, env={"PYTHONPATH": str(ROOT)})
    return result.returncode, result.stderr


def test_the_command_writes_the_card(folder: Path) -> None:
    assert command("docs/card.md", folder) == (0, "")
    assert (folder / "docs" / "card.md").read_text(encoding="utf-8") == make()


def test_metrics_of_another_model_are_refused(folder: Path) -> None:
    assert folder == Path.cwd()
    with pytest.raises(InputError, match=r"expected stages that write data/another\.keras"):
        card.read_record(SOURCES._replace(model=Path("data/another.keras")))
