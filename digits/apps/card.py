"""Write the model card: what the model is for, how it was made, how good it is. Its figures come from the run's files.

python -m digits card --out docs/model-card.md

Its form is Hugging Face's (https://github.com/huggingface/hub-docs/blob/main/modelcard.md): data for programs in front,
then the sections of M. Mitchell et al., Model Cards for Model Reporting (2019).
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import yaml
from jinja2 import Environment, StrictUndefined, select_autoescape

from digits.apps.convert import TOLERANCE
from digits.apps.options import Files, add_files, command, given_files
from digits.apps.results import Seeds, parse_rows, parse_scores, read
from digits.data.dataset import read_dataset
from digits.study import study_params
from dvcproof.lockfile import REDO, Lock, read_lock, require_recorded, require_same_params
from dvcproof.runtime.files import replacing
from dvcproof.runtime.program import InputError

#: MD5 of the arrays that the stage `load` writes for MNIST, whatever format it reads.
MNIST = {
    "train_images.npy": "6e5236d1fa7110b7d4c75d3822137908",
    "train_labels.npy": "40b22dba779a1dffd8089edc7991f797",
    "test_images.npy": "7942b66f2197f22a8ed486c6bc205255",
    "test_labels.npy": "3deb6f9de60479b947785b62051694b8",
}

#: The oldest Keras that tests open the saved model in, and the newest before that of the lock file.
OLDER_KERAS = ("3.3.3", "3.14.1")


class Record(NamedTuple):
    """What dvc.lock records of a model and its scores."""

    lock: Lock  # the stages that lead to the scores
    parameters: Mapping[str, Any]  # of the stages that lead to the model: 'train.seed' to 8


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
    def slug(self) -> str:
        """The name for programs: 'fashion-mnist' for `data/fashion-mnist`."""
        stem = PurePosixPath(self.name).name.split(".")[0].lower()
        return re.sub(r"[^a-z0-9]+", "-", stem).strip("-") or "data"


def read_record(files: Files) -> Record:
    """Read what dvc.lock records of the model, and refuse other parameters and metrics of another model."""
    lock, scores = read_lock(files.lock), (files.metrics / "scores.json").as_posix()
    to_model, to_scores = lock.upstream(files.model.as_posix()), lock.upstream(scores)
    if not to_model or not set(to_model) < set(to_scores):
        raise InputError(str(files.lock), f"no stages write {files.model} and from it {scores}", hint=REDO)
    run = lock.only(to_scores)
    require_same_params(run, files.params)
    return Record(run, lock.only(to_model).params())


def data_set(files: Files, record: Record) -> DataSet:
    """Return what the model was trained on. It is MNIST only if a folder holds MNIST's arrays, to the last bit."""
    md5 = {PurePosixPath(path): file.md5 for path, file in record.lock.files().items()}
    source = str(record.parameters.get("load.source", "unknown"))
    if any(all(md5.get(folder / name) == known for name, known in MNIST.items()) for folder in {p.parent for p in md5}):
        return DataSet(source, is_mnist=True)
    name = next((path for path in md5 if path.name == "dataset.json"), PurePosixPath("dataset.json"))
    dataset = read_dataset(files.lock.parent / name)
    require_recorded(files.lock.parent / name, record.lock, str(name))
    return DataSet(source, False, dataset.image_shape, dataset.ink == "dark", dataset.transposed)


def write_card(files: Files, export: Mapping[str, Any] | None = None) -> str:
    """Return the text of the card.

    Args:
        files: the files of the run. The model itself need not be there.
        export: what the card of an export adds: `checks`, `files`, `layers`, `versions` and `opset`.
    """
    record = read_record(files)
    scores_file, classes_file = files.metrics / "scores.json", files.metrics / "per_class.csv"
    scores, classes = read(scores_file, parse_scores), read(classes_file, parse_rows)
    for path in (scores_file, classes_file):
        require_recorded(path, record.lock)
    recorded, data = record.lock.files(), data_set(files, record)
    shown = (record.parameters.get("load.source"), "requirements.lock", files.model.as_posix(), scores_file.as_posix())
    template = _environment().from_string(Path(__file__).with_name("card.md.j2").read_text(encoding="utf-8"))
    return template.render(
        data=data,
        features=math.prod(data.image_shape),
        classes=classes,
        images=sum(int(row["images"]) for row in classes),
        splits=scores,
        lowest=min(classes, key=lambda row: float(row["recall"])),
        spread=read_seeds(files),
        parameters=record.parameters,
        views=int(record.lock.params().get("evaluate.views", 1)),
        files={name: recorded[name] for name in shown if name in recorded},
        tolerance=f"{TOLERANCE:g}",
        older_keras=OLDER_KERAS,
        export=export,
    )


def _environment() -> Environment:
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
    environment.filters["yaml"] = lambda value: yaml.safe_dump(value, width=math.inf).splitlines()[0]
    return environment


def _plain(value: object) -> str:
    """Escape Markdown's special characters: the user chose the names of the classes."""
    text = ", ".join(value) if isinstance(value, list) else str(value)
    return re.sub(r"([\\`*_\[\]<>#|&~])", r"\\\1", text)


def read_seeds(files: Files) -> Seeds | None:
    """Read the study over seeds. None: it was made with other parameters."""
    study = read(files.seeds, Seeds.model_validate_json, hint="Run `make study NAME=seeds`.")
    return study if study.params == study_params(files.params) else None


def main() -> None:
    parser = command("card", __doc__)
    add_files(parser, "params", "lock", "metrics", "model", "seeds")
    help_ = "the card to write (default: %(default)s)"
    parser.add_argument("--out", type=Path, default=Path("docs/model-card.md"), metavar="PATH", help=help_)
    args = parser.parse_args()
    text = write_card(given_files(args))
    with replacing(args.out) as (file,):
        file.write_text(text, encoding="utf-8")
