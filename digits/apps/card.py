"""Write the model card: purpose, training and accuracy of the model. Its figures come from the files of the run.

python -m digits card --out docs/model-card.md

The card has the form of Hugging Face (https://github.com/huggingface/hub-docs/blob/main/modelcard.md): first metadata
for programs, then the sections of M. Mitchell et al., Model Cards for Model Reporting (2019).
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import yaml
from jinja2 import Environment, StrictUndefined, select_autoescape

from digits.apps.convert import TOLERANCE
from digits.apps.options import Files, command, given_files
from digits.apps.results import added, parse_rows, parse_scores, read, study_params
from digits.data.dataset import read_dataset
from dvcproof.lockfile import REDO, Lock, read_lock, require_recorded, require_same_params
from dvcproof.runtime.bounds import parse_json
from dvcproof.runtime.files import replacing
from dvcproof.runtime.program import InputError

#: MD5 of the arrays that the stage `load` writes for MNIST. They are the same for every format of the source.
MNIST = {
    "train_images.npy": "6e5236d1fa7110b7d4c75d3822137908",
    "train_labels.npy": "40b22dba779a1dffd8089edc7991f797",
    "test_images.npy": "7942b66f2197f22a8ed486c6bc205255",
    "test_labels.npy": "3deb6f9de60479b947785b62051694b8",
}

#: The oldest version of Keras in which tests open the saved model, and the newest before the version in the lock file.
OLDER_KERAS = ("3.3.3", "3.14.1")


def read_record(files: Files) -> tuple[Lock, Mapping[str, Any]]:
    """Return from dvc.lock the stages that lead to the scores, and the parameters of those that lead to the model.

    Raise InputError if params.yaml has other parameters, or if dvc.lock has no such stages.
    """
    lock, scores = read_lock(files.lock), (files.metrics / "scores.json").as_posix()
    to_model, to_scores = lock.upstream(files.model.as_posix()), lock.upstream(scores)
    if not to_model or not set(to_model) < set(to_scores):
        raise InputError(str(files.lock), f"no stages write {files.model} and from it {scores}", hint=REDO)
    run = lock.only(to_scores)
    require_same_params(run, files.params)
    return run, lock.only(to_model).params()


def is_mnist(lock: Lock) -> bool:
    """Return whether one folder in a lock has exactly the arrays of MNIST."""
    md5 = {PurePosixPath(path): file.md5 for path, file in lock.files().items()}
    return any(all(md5.get(one / name) == MNIST[name] for name in MNIST) for one in {path.parent for path in md5})


def write_card(files: Files, export: Mapping[str, Any] | None = None) -> str:
    """Return the text of the card. The model file of the run may be missing.

    `export` are variables for the card of an export: `checks`, `files`, `layers`, `versions` and `opset`.
    """
    lock, parameters = read_record(files)
    scores_file, classes_file = files.metrics / "scores.json", files.metrics / "per_class.csv"
    scores, classes = read(scores_file, parse_scores), read(classes_file, parse_rows)
    dataset = None if is_mnist(lock) else read_dataset(files.dataset)
    image_shape = dataset.image_shape if dataset else (28, 28)
    for path in (scores_file, classes_file, *([files.dataset] if dataset else [])):
        require_recorded(path, lock)
    recorded, source = lock.files(), str(parameters.get("load.source", "unknown"))
    shown = (source, "requirements.lock", files.model.as_posix(), scores_file.as_posix())
    study = read(files.seeds, lambda text: dict(parse_json(text)), "Run `make study NAME=seeds`.")
    name = source.partition("#")[0] if dataset else "MNIST"
    slug = re.sub(r"[^a-z0-9]+", "-", PurePosixPath(name).name.split(".")[0].lower()).strip("-")
    template = _environment().from_string(Path(__file__).with_name("card.md.j2").read_text(encoding="utf-8"))
    return template.render(
        source=source,
        name=name,
        slug=slug or "data",  # the name for programs: 'fashion-mnist' for `data/fashion-mnist`
        dataset=dataset,
        image_shape=image_shape,
        features=math.prod(image_shape),
        classes=classes,
        images=sum(int(row["images"]) for row in classes),
        scores=scores,
        added=added(scores),
        lowest=min(classes, key=lambda row: float(row["recall"])),
        spread=study if study.get("params") == study_params(files.params) else None,
        parameters=parameters,
        views=int(lock.params().get("evaluate.views", 1)),
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
    environment.filters |= {
        "percent": lambda value: f"{100 * value:.2f} %",
        "count": lambda value: f"{value:,}",
        "plain": _plain,
        "yaml": lambda value: yaml.safe_dump(value, width=math.inf).splitlines()[0],
    }
    return environment


def _plain(value: object) -> str:
    """Escape Markdown's special characters, which the user's names of classes may contain."""
    text = ", ".join(value) if isinstance(value, list) else str(value)
    return re.sub(r"([\\`*_\[\]<>#|&~])", r"\\\1", text)


def main() -> None:
    parser = command("card", __doc__, "params", "lock", "metrics", "model", "seeds", "dataset")
    help_ = "the card to write (default: %(default)s)"
    parser.add_argument("--out", type=Path, default=Path("docs/model-card.md"), metavar="PATH", help=help_)
    args = parser.parse_args()
    text = write_card(given_files(args))
    with replacing(args.out) as (file,):
        file.write_text(text, encoding="utf-8")
