"""The model card: what the model is for, how it was made, how good it is. Its figures come from the pipeline's files.

python -m digits card --params params.yaml --lock dvc.lock --metrics metrics --model data/model.keras \
    --seeds bench/results/seeds.json --out docs/model-card.md

Its form is Hugging Face's (https://github.com/huggingface/hub-docs/blob/main/modelcard.md): data for programs in front,
then the sections of M. Mitchell et al., Model Cards for Model Reporting (2019).
"""

import argparse
import math
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from digits.apps.convert import TOLERANCE
from digits.apps.options import add_files, command
from digits.data.dataset import read_dataset
from digits.study import study_params
from dvcproof.lockfile import REDO, File, Lock, read_lock, require_recorded, require_same_params
from dvcproof.runtime.bounds import parse_json, read_text
from dvcproof.runtime.files import read_csv, replacing
from dvcproof.runtime.program import InputError

if TYPE_CHECKING:
    from jinja2 import Template

#: The licence of code and model, by its SPDX identifier in lower case, as Hugging Face writes it. LICENSE has its text.
LICENSE = "mit"

#: MD5 of what the stage `load` writes of MNIST, whatever form and place it comes from.
MNIST = {
    "train_images.npy": "6e5236d1fa7110b7d4c75d3822137908",
    "train_labels.npy": "40b22dba779a1dffd8089edc7991f797",
    "test_images.npy": "7942b66f2197f22a8ed486c6bc205255",
    "test_labels.npy": "3deb6f9de60479b947785b62051694b8",
}

#: The oldest Keras that tests open the saved model in, and the newest before that of the lock file.
OLDER_KERAS = ("3.3.3", "3.14.1")

#: The identifier of MNIST among Hugging Face's data sets.
MNIST_ON_THE_HUB = "ylecun/mnist"


class CardFiles(NamedTuple):
    """The files that a card is made from."""

    params: Path
    lock: Path
    metrics: Path
    model: Path  # its name in dvc.lock; the file need not be there
    seeds: Path


class Record(NamedTuple):
    """What dvc.lock records of a model and its scores."""

    lock: Lock  # the stages that lead to the scores
    parameters: Mapping[str, Any]  # of the stages that lead to the model: 'train.seed' to 8

    @property
    def views(self) -> int:
        """Of each image, over which its scores are taken: the model's files take one."""
        return int(self.lock.params().get("evaluate.views", 1))


class DataSet(NamedTuple):
    """What the model was trained on."""

    source: str  # as `load.source` names it
    is_mnist: bool
    image_shape: tuple[int, ...] = (28, 28)  # height and width, and 3 if the images are RGB
    inverted: bool = False  # whether its dark ink was made light
    transposed: bool = False

    @property
    def name(self) -> str:
        """What people call it: only MNIST is known by its content."""
        return "MNIST" if self.is_mnist else self.source.partition("#")[0]

    @property
    def features(self) -> int:
        """Values of an image."""
        return math.prod(self.image_shape)

    @property
    def size(self) -> str:
        """Height and width of an image, in words."""
        return " x ".join(map(str, self.image_shape[:2]))

    @property
    def slug(self) -> str:
        """The name for programs: 'fashion-mnist' for `data/fashion-mnist`."""
        stem = PurePosixPath(self.name).name.split(".")[0].lower()
        return re.sub(r"[^a-z0-9]+", "-", stem).strip("-") or "data"


def read_record(sources: CardFiles) -> Record:
    """Read what dvc.lock records of the model.

    Raises:
        InputError: a file is missing or damaged, no stage writes the model, the metrics are not of this model, or
            dvc.lock was written with other parameters.
    """
    lock = read_lock(sources.lock)
    to_model = lock.upstream(sources.model.as_posix())
    to_scores = lock.upstream((sources.metrics / "scores.json").as_posix())
    if not to_model or not set(to_model) < set(to_scores):
        raise InputError(
            str(sources.lock),
            expected=f"stages that write {sources.model} and from it {sources.metrics}/scores.json",
            received=f"the stages {', '.join(lock.stages) or 'of no run'}",
            hint=REDO,
        )
    run = lock.only(to_scores)
    require_same_params(run, sources.params)
    return Record(run, lock.only(to_model).params())


def data_set(sources: CardFiles, record: Record) -> DataSet:
    """What the model was trained on: MNIST only if a folder holds MNIST's arrays, to the last bit.

    Of another set, the description that `load` wrote must be there.

    Raises:
        InputError: it is missing or damaged, or not the one that dvc.lock names.
    """

    def md5(path: PurePosixPath) -> Any:
        return files[path.as_posix()].md5 if path.as_posix() in files else None

    files = record.lock.files()
    folders = {PurePosixPath(path).parent for path in files}
    is_mnist = any(all(md5(folder / name) == known for name, known in MNIST.items()) for folder in folders)
    source = str(record.parameters.get("load.source", "unknown"))
    if is_mnist:
        return DataSet(source, is_mnist)
    name = next((path for path in files if PurePosixPath(path).name == "dataset.json"), "dataset.json")
    dataset = read_dataset(sources.lock.parent / name)
    require_recorded(sources.lock.parent / name, record.lock, name)
    return DataSet(source, is_mnist, dataset.image_shape, dataset.ink == "dark", dataset.transposed)


def front_matter(data: DataSet, scores: Mapping[str, Mapping[str, float]], views: int = 1) -> dict[str, Any]:
    """The part for programs, in the order of Hugging Face's specification."""
    seen = f", mean over {views} views of each image" if views > 1 else ""
    result = {
        "task": {"type": "image-classification", "name": "Image Classification"},
        "dataset": {"type": MNIST_ON_THE_HUB if data.is_mnist else data.slug, "name": data.name, "split": "test"},
        "metrics": [
            {"type": "accuracy", "value": scores["test"]["accuracy"], "name": f"Test accuracy{seen}"},
            {"type": "loss", "value": scores["test"]["loss"], "name": f"Test loss (mean cross-entropy, nats){seen}"},
        ],
    }
    return {
        "license": LICENSE,
        "library_name": "keras",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", data.slug, "tensorflow", "onnx", "dvc"],
        **({"datasets": [MNIST_ON_THE_HUB]} if data.is_mnist else {}),
        "metrics": ["accuracy"],
        "model-index": [{"name": f"{data.slug}-keras", "results": [result]}],
    }


def write_card(sources: CardFiles, record: Record, export: Mapping[str, Any] | None = None) -> str:
    """The text of the card.

    Args:
        sources: where the metrics and the study over seeds are.
        record: what `read_record` read.
        export: what an export adds: `checks`, `files`, `layers` and `versions`.

    Raises:
        InputError: the metrics are not those of dvc.lock, or the study over seeds is damaged.
    """
    for name in ("scores.json", "per_class.csv"):
        require_recorded(sources.metrics / name, record.lock)
    scores = parse_json(read_text(sources.metrics / "scores.json"))
    classes = read_csv(sources.metrics / "per_class.csv")
    data = data_set(sources, record)
    return _template().render(
        front_matter=yaml.safe_dump(front_matter(data, scores, record.views), sort_keys=False),
        data=data,
        license=LICENSE,
        classes=len(classes),
        images=sum(int(row["images"]) for row in classes),
        test=scores["test"],
        splits={name: score for name, score in scores.items() if name != "gap"},
        gap=scores["gap"]["accuracy"],
        per_class=classes,
        lowest=min(classes, key=lambda row: float(row["recall"])),
        spread=read_spread(sources),
        parameters=record.parameters,
        views=record.views,
        files=_shown(sources, record),
        tolerance=f"{TOLERANCE:g}",
        older_keras=OLDER_KERAS,
        export=export,
    )


def _template() -> "Template":
    from jinja2 import Environment, StrictUndefined, select_autoescape

    environment = Environment(
        undefined=StrictUndefined,
        autoescape=select_autoescape(default_for_string=False),  # Markdown, not HTML
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["percent"] = lambda value: f"{100 * value:.2f} %"
    environment.filters["count"] = lambda value: f"{value:,}"
    environment.filters["plain"] = _plain
    return environment.from_string(Path(__file__).with_name("card.md.j2").read_text(encoding="utf-8"))


def _plain(value: object) -> str:
    """Escape Markdown's special characters: the user chose the names of the classes."""
    text = ", ".join(value) if isinstance(value, list) else str(value)
    return re.sub(r"([\\`*_\[\]<>#|&~])", r"\\\1", text)


def _shown(sources: CardFiles, record: Record) -> dict[str, File]:
    """The files whose hashes the card shows: what the model was made from, the model, and its scores."""
    source, files = str(record.parameters.get("load.source")), record.lock.files()
    names = (source, "requirements.lock", sources.model.as_posix(), (sources.metrics / "scores.json").as_posix())
    return {name: files[name] for name in names if name in files}


def read_spread(sources: CardFiles) -> dict[str, Any] | None:
    """The study over seeds, if it was made with the parameters of the card.

    Raises:
        InputError: the file is damaged.
    """
    try:
        study: dict[str, Any] = parse_json(read_text(sources.seeds))
        if study["params"] != study_params(sources.params):
            return None
        for name in ("test_accuracy", "train_accuracy"):
            for key in ("mean", "std", "n", "min", "max"):
                float(study[name][key])
        return study
    except (LookupError, TypeError, ValueError) as error:
        received = f"a damaged file ({type(error).__name__}: {error})"
    raise InputError(
        str(sources.seeds), expected="a study over seeds", received=received, hint="Run `make study NAME=seeds`."
    )


def given_sources(args: argparse.Namespace) -> CardFiles:
    """Return the files that the options named."""
    return CardFiles(*(getattr(args, name) for name in CardFiles._fields))


def main() -> None:
    parser = command("card", __doc__)
    add_files(parser, *CardFiles._fields)
    parser.add_argument(
        "--out", type=Path, default=Path("docs/model-card.md"), help="the card to write (default: %(default)s)"
    )
    args = parser.parse_args()
    sources = given_sources(args)
    text = write_card(sources, read_record(sources))
    with replacing(args.out) as (file,):
        file.write_text(text, encoding="utf-8")
