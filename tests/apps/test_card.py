"""The model card: its figures are those of the run, its front matter is Hugging Face's, and it claims nothing else."""

import hashlib
import json
import re
import shutil
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from digits.apps import card
from digits.study import study_params
from dvcproof.runtime.files import file_hash, read_csv
from dvcproof.runtime.program import InputError
from dvcproof.values import flatten, set_params
from stages.load import load
from tests.support.card import SOURCES, FrontMatter, front_matter, options
from tests.support.project import AT_ROOT, ROOT, Arrays, run
from tests.support.verifying import small_project


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, digits: Arrays) -> Path:
    """A project with a run on the small sample. To be copied, not changed."""
    return small_project(tmp_path_factory, digits)


@pytest.fixture
def folder(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the files that the card is made from, to change, with MNIST's hashes; also the working folder."""
    for name in ("params.yaml", "dvc.lock"):
        shutil.copy(built / name, tmp_path)
    shutil.copytree(built / "metrics", tmp_path / "metrics")
    (tmp_path / "data" / "raw").mkdir(parents=True)
    shutil.copy(built / "data" / "raw" / "dataset.json", tmp_path / "data" / "raw")
    monkeypatch.chdir(tmp_path)
    for name, md5 in card.MNIST.items():
        set_md5(f"data/raw/{name}", md5)
    write_study(SOURCES.params)
    return tmp_path


def write_study(params: Path) -> None:
    """A study over seeds that was made with these parameters."""
    spread = {"mean": 0.9798, "std": 0.001776, "n": 10, "min": 0.9764, "max": 0.9824}
    study = {"params": study_params(params), "test_accuracy": spread, "train_accuracy": spread | {"mean": 0.9928}}
    SOURCES.seeds.parent.mkdir(parents=True, exist_ok=True)
    SOURCES.seeds.write_text(json.dumps(study), encoding="utf-8")


def make() -> str:
    """The card of the files in the working folder."""
    return card.write_card(SOURCES, card.read_record(SOURCES))


def edit_lock(change: Callable[[Any], object]) -> None:
    """Change the stages of dvc.lock."""
    document = yaml.safe_load(SOURCES.lock.read_text(encoding="utf-8"))
    change(document["stages"])
    SOURCES.lock.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")


def set_md5(path: str, md5: str) -> None:
    """Give a file another hash in dvc.lock, wherever it stands there."""

    def change(stages: Any) -> None:
        items = [item for entry in stages.values() for item in entry["deps"] + entry["outs"] if item["path"] == path]
        assert items
        for item in items:
            item["md5"] = md5

    edit_lock(change)


def set_everywhere(name: str, value: object) -> None:
    """Give a parameter another value in params.yaml and dvc.lock, as a run with it would."""
    set_params(SOURCES.params, {name: value})
    section, _, key = name.partition(".")

    def change(stages: Any) -> None:
        recorded = [entry["params"]["params.yaml"] for entry in stages.values()]
        (owner,) = (sections for sections in recorded if section in sections)
        owner[section][key] = value

    edit_lock(change)


def choose_network(name: str) -> None:
    """Train this network, in params.yaml and in dvc.lock, which records the section of no other."""
    set_params(SOURCES.params, {"train.model": name})
    document = yaml.safe_load(SOURCES.params.read_text(encoding="utf-8"))
    sections = {section: document[section] for section in ("train", name)}
    edit_lock(lambda stages: stages["train"]["params"].update({"params.yaml": sections}))


def write_scores(scores: dict[str, Any]) -> None:
    """Write other scores, and their hash into dvc.lock."""
    path = SOURCES.metrics / "scores.json"
    path.write_text(json.dumps(scores), encoding="utf-8")
    set_md5(path.as_posix(), file_hash(path, "md5"))


def test_other_scores_make_another_card(folder: Path) -> None:
    before = make()
    scores = json.loads((folder / "metrics" / "scores.json").read_text())
    scores["test"]["accuracy"] = 0.4242
    write_scores(scores)
    after = make()
    assert after != before
    assert "It classifies 42.42 % of the" in after
    assert front_matter(after)["model-index"][0]["results"][0]["metrics"][0]["value"] == 0.4242


def test_every_figure_is_that_of_the_files(folder: Path) -> None:
    text = make()
    scores = json.loads((folder / "metrics" / "scores.json").read_text())
    for split in ("test", "train"):
        assert f"| {split} | {scores[split]['accuracy']:.2%} | {scores[split]['loss']:.4f} |".replace("%", " %") in text
    assert f"overfitting: {100 * scores['gap']['accuracy']:.2f} %." in text
    classes = read_csv(folder / "metrics" / "per_class.csv")
    for row in classes:
        shown = f"{100 * float(row['precision']):.2f} % | {100 * float(row['recall']):.2f} % | {int(row['images']):,}"
        assert f"| {row['label']} | {shown} |" in text
    lowest = sorted(classes, key=lambda row: float(row["recall"]))[0]["label"]
    assert f"The lowest recall is that of {lowest}." in text
    stages = yaml.safe_load((folder / "dvc.lock").read_text())["stages"]
    (model,) = (item for item in stages["train"]["outs"] if item["path"] == "data/model.keras")
    assert f"| `data/model.keras` | `{model['md5']}` | {model['size']:,} |" in text
    parameters = flatten(stages["train"]["params"]["params.yaml"])
    assert len(parameters) > 8
    for name, value in parameters.items():
        assert f"| `{name}` | {value} |" in text


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("source", ["data/mnist.npz", "data/letters"])
def test_the_front_matter_is_as_hugging_face_specifies(source: str) -> None:
    set_everywhere("load.source", source)
    if source == "data/letters":
        set_md5("data/raw/train_images.npy", "0" * 32)
    checked = FrontMatter.model_validate(front_matter(make()))
    scores = json.loads(Path("metrics/scores.json").read_text())["test"]
    (result,) = checked.model_index[0].results
    assert [metric.type for metric in result.metrics] == ["accuracy", "loss"]
    assert all(metric.value == scores[metric.type] for metric in result.metrics)
    assert result.dataset.type == {"data/mnist.npz": "ylecun/mnist", "data/letters": "letters"}[source]
    assert checked.datasets == {"data/mnist.npz": ["ylecun/mnist"], "data/letters": []}[source]


def test_mnist_is_known_by_what_load_writes_of_it(tmp_path: Path) -> None:
    load(str(ROOT / "data" / "mnist.npz"), tmp_path, test_size=0)
    assert {path.name: file_hash(path, "md5") for path in tmp_path.glob("*.npy")} == card.MNIST


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("source", ["data/letters", "data/mnist.npz"])
def test_other_data_is_not_called_mnist(source: str) -> None:
    """Whatever its file is called."""
    set_everywhere("load.source", source)
    assert "MNIST" in make()  # the same arrays from another place
    set_md5("data/raw/test_labels.npy", "0" * 32)
    text = make()
    assert f"# A Keras network trained on the data set `{source}`" in text
    assert "MNIST" not in text
    assert "digit" not in text
    assert "Creative Commons" not in text
    assert "| licence | MIT for the code and the model; the data set has its own |" in text


@pytest.mark.usefixtures("folder")
def test_names_of_classes_are_shown_as_they_are() -> None:
    set_everywhere("load.source", "data/letters")
    set_md5("data/raw/test_labels.npy", "0" * 32)
    text = Path("metrics/per_class.csv").read_text(encoding="utf-8").replace("\n3,", "\n<b>a|b_c*,")
    Path("metrics/per_class.csv").write_text(text, encoding="utf-8")
    set_md5("metrics/per_class.csv", hashlib.md5(text.encode(), usedforsecurity=False).hexdigest())
    card_text = make()
    assert r"of each of 10 classes, in this" in card_text
    assert r"order: 0, 1, 2, \<b\>a\|b\_c\*, 4, 5, 6, 7, 8, 9." in card_text
    assert re.search(r"^\| \\<b\\>a\\\|b\\_c\\\* \| \d", card_text, re.MULTILINE)


def set_facts(**changes: object) -> None:
    """Describe another data set, as `load` would have."""
    path = Path("data/raw/dataset.json")
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")
    set_md5(path.as_posix(), file_hash(path, "md5"))
    set_md5("data/raw/test_labels.npy", "0" * 32)


@pytest.mark.usefixtures("folder")
def test_the_card_says_what_images_the_model_takes() -> None:
    set_facts(image_shape=[8, 16], ink="dark", transposed=True)
    text = make()
    assert "It takes grey images, 8 x 16 pixels, and gives" in text
    assert "| input | `features`, float32 [n, 128]:" in text
    assert text.count("np.zeros((2, 8, 16), np.uint8)") == text.count("images.reshape(-1, 128)") == 3
    assert "The data set has dark ink on a light background" in text
    assert "with height and width exchanged." in text
    set_facts(image_shape=[32, 16, 3], ink=None, transposed=False)
    text = make()
    assert "It takes RGB images, 32 x 16 pixels, and gives" in text
    assert text.count("np.zeros((2, 32, 16, 3), np.uint8)") == text.count("images.reshape(-1, 1536)") == 3
    assert "dark ink" not in text
    assert "exchanged" not in text


@pytest.mark.usefixtures("folder")
def test_another_data_set_needs_its_description() -> None:
    set_facts()
    set_md5("data/raw/dataset.json", "1" * 32)
    with pytest.raises(InputError, match=r"dataset\.json: expected the file that dvc\.lock names, MD5 1{32}\. Got"):
        make()
    Path("data/raw/dataset.json").unlink()
    with pytest.raises(
        InputError, match=r"dataset\.json: expected the description .* Got no such file\. Run `dvc repro`"
    ):
        make()


def test_an_address_is_named_without_its_hash() -> None:
    data = card.DataSet("https://localhost/sets/Kuzushiji-49.npz#sha256=00", is_mnist=False)
    assert (data.name, data.slug) == ("https://localhost/sets/Kuzushiji-49.npz", "kuzushiji-49")


SPREAD = "| test accuracy | 97.98 % | 0.18 % | 97.64 % | 98.24 % |"


@pytest.mark.usefixtures("folder")
def test_the_spread_over_seeds_is_shown_only_where_it_belongs() -> None:
    assert "With 10 seeds" in make()
    assert SPREAD in make()
    set_everywhere("train.seed", 3)  # which the study varies
    assert SPREAD in make()
    set_everywhere("train.shards", 64)
    assert SPREAD not in make()
    assert "How much these figures depend on the seed was not measured" in make()


def test_the_study_is_compared_with_the_parameters_named(folder: Path) -> None:
    """And not with ./params.yaml, which may hold others."""
    (folder / "named").mkdir()
    shutil.copy(SOURCES.params, "named")
    here = SOURCES._replace(params=Path("named/params.yaml"))
    set_params(SOURCES.params, {"dense.units": 99})
    assert command("card.md", folder, here) == (0, "")
    assert SPREAD in (folder / "card.md").read_text(encoding="utf-8")
    write_study(SOURCES.params)
    assert command("card.md", folder, here) == (0, "")
    assert SPREAD not in (folder / "card.md").read_text(encoding="utf-8")


@pytest.mark.usefixtures("folder")
def test_only_parameters_of_the_trained_network_are_shown() -> None:
    assert "| `dense.units` | 16 |" in make()
    assert "| `dense.epochs` | 1 |" in make()
    assert "convnet.epochs" not in make()
    assert "augmented differently" not in make()
    choose_network("convnet")
    assert "| `convnet.epochs` | 7 |" in make()
    assert "In every epoch each training image was augmented differently" in make()
    assert "| `train.shards` | 2 |" in make()
    assert "dense.units" not in make()
    assert "dense.epochs" not in make()


@pytest.mark.usefixtures("folder")
def test_parameters_of_another_network_may_change() -> None:
    before = make()
    set_params(SOURCES.params, {"convnet.epochs": 9999})
    assert make() == before


def test_a_validation_split_is_shown(folder: Path) -> None:
    assert "kept back for validation" not in make()
    set_everywhere("preprocess.validation_size", 12345)
    scores = json.loads((folder / "metrics" / "scores.json").read_text())
    write_scores(scores | {"validation": {"accuracy": 0.9321, "loss": 0.1}})
    assert "The last 12,345 training images were kept back for validation." in make()
    assert "| validation | 93.21 % | 0.1000 |" in make()
    set_md5("data/prepared/train_labels.npy", "0" * 32)  # shorter now, under the name of the whole
    assert "# Handwritten digits: a Keras network trained on MNIST" in make()


@pytest.mark.usefixtures("folder")
def test_views_that_the_model_does_not_take_are_said() -> None:
    one = make()
    set_everywhere("evaluate.views", 11)
    eleven = make()
    assert "views" not in one
    assert re.search(r"test images correctly, from 11 views of each\.", eleven)
    assert "mean of the model's logits over 11 views of it" in eleven
    (result,) = front_matter(eleven)["model-index"][0]["results"]
    assert all(metric["name"].endswith(", mean over 11 views of each image") for metric in result["metrics"])


@pytest.mark.usefixtures("folder")
def test_it_stands_in_two_places_and_so_links_to_no_file() -> None:
    links = re.findall(r"\]\(([^)]+)\)", make())
    assert links
    assert all(link.startswith("https://") for link in links)


@pytest.mark.usefixtures("folder")
def test_the_licence_is_that_of_the_repository() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["license"] == "MIT"
    assert project["license-files"] == ["LICENSE"]
    assert (ROOT / "LICENSE").read_text(encoding="utf-8").startswith("MIT License\n")
    assert front_matter(make())["license"] == "mit"
    assert "| licence | MIT for the code and the model; the MNIST data keep CC BY-SA 3.0 |" in make()


def add_parameter(section: str, line: str) -> None:
    text = SOURCES.params.read_text(encoding="utf-8")
    assert f"\n{section}:\n" in text
    SOURCES.params.write_text(text.replace(f"\n{section}:\n", f"\n{section}:\n  {line}\n"), encoding="utf-8")


def drop_train(stages: Any) -> None:
    del stages["train"]


def overwrite(path: Path, text: str) -> Callable[[], object]:
    return lambda: path.write_text(text, encoding="utf-8")


BAD: dict[str, tuple[Callable[[], object], str]] = {
    "other parameter": (
        lambda: set_params(SOURCES.params, {"dense.epochs": 9999}),
        "parameter 'dense.epochs' in params.yaml: expected 1, as in dvc.lock. Got 9999. Run `dvc repro`.",
    ),
    "new parameter": (
        lambda: add_parameter("train", "dropout: 0.5"),
        "parameter 'train.dropout' in params.yaml: expected none, as in dvc.lock. Got 0.5. Run `dvc repro`.",
    ),
    "other network": (
        lambda: set_params(SOURCES.params, {"train.model": "convnet"}),
        "parameter 'train.model' in params.yaml: expected 'dense', as in dvc.lock. Got 'convnet'. Run `dvc repro`.",
    ),
    "other scores": (
        overwrite(SOURCES.metrics / "scores.json", "{}"),
        "metrics/scores.json: expected the file that dvc.lock names, ",
    ),
    "no scores": (lambda: Path("metrics/per_class.csv").unlink(), "metrics/per_class.csv: expected to read or write"),
    "no lock": (SOURCES.lock.unlink, "dvc.lock: expected a dvc.lock. Got no such file. Run `dvc repro`."),
    "empty lock": (overwrite(SOURCES.lock, ""), "dvc.lock: expected a dvc.lock. Got a damaged file (the whole: "),
    "conflict": (overwrite(SOURCES.lock, "<<<<<<< a\n"), "dvc.lock: expected a dvc.lock. Got a damaged file ("),
    "another lock": (overwrite(SOURCES.lock, "stages: {train: 5}"), "Got a damaged file (stages.train: "),
    "nothing run": (lambda: edit_lock(dict.clear), "Got the stages of no run. Run `dvc repro`."),
    "no training": (lambda: edit_lock(drop_train), "expected stages that write data/model.keras and from it metrics/"),
    "half of the seeds": (
        lambda: SOURCES.seeds.write_text(
            json.dumps({"params": study_params(SOURCES.params), "test_accuracy": {"mean": 1}})
        ),
        "seeds.json: expected a study over seeds. Got a damaged file (KeyError: 'std')",
    ),
    "seeds": (overwrite(SOURCES.seeds, "[]"), "seeds.json: expected a study over seeds. Got a damaged file"),
}


@pytest.mark.fast(2)
@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_and_the_old_card_stays(case: str, folder: Path) -> None:
    damage, message = BAD[case]
    damage()
    (folder / "card.md").write_text("the card of before")
    status, errors = command("card.md", folder)
    assert status == 1
    assert errors.startswith("ERROR: ")
    assert message in errors
    assert errors.count("\n") == 1
    assert (folder / "card.md").read_text() == "the card of before"
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def command(out: str, folder: Path, sources: card.CardFiles = SOURCES) -> tuple[int, str]:
    """Run the command; give back its exit status and what it wrote on standard error."""
    result = run(sys.executable, "-m", "digits", "card", *options(sources), "--out", out, cwd=folder, env=AT_ROOT)
    return result.returncode, result.stderr


def test_the_command_writes_the_card(folder: Path) -> None:
    assert command("docs/card.md", folder) == (0, "")
    assert (folder / "docs" / "card.md").read_text(encoding="utf-8") == make()


@pytest.mark.usefixtures("folder")
def test_metrics_of_another_model_are_refused() -> None:
    with pytest.raises(InputError, match=r"expected stages that write data/another\.keras"):
        card.read_record(SOURCES._replace(model=Path("data/another.keras")))
