"""The model card: what the model is for, how it was made, how good it is. Every figure comes from the pipeline's files.

python -m apps.card --params params.yaml --lock dvc.lock --metrics metrics --model data/model.keras \
    --seeds bench/results/seeds.json --out docs/model-card.md

Its form is Hugging Face's (https://github.com/huggingface/hub-docs/blob/main/modelcard.md): data for programs in front,
then the sections of M. Mitchell et al., Model Cards for Model Reporting (2019).
"""

import argparse
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import yaml
from jinja2 import Environment, StrictUndefined, Template, select_autoescape
from ruamel.yaml import YAML

from apps.convert import TOLERANCE
from apps.runs import flat, of_the_model
from bench.seeds import settings
from stages.arrays import replacing
from stages.console import InputError, run
from stages.tables import read_csv
from verify.hashes import file_hash
from verify.lockfile import Stages, facts

#: Hugging Face's word for a licence that is not stated: this repository states none for code or model.
LICENSE = "unknown"

#: MD5 of what the stage `load` writes of MNIST, whatever form and place it comes from.
MNIST = {
    "train_images.npy": "6e5236d1fa7110b7d4c75d3822137908",
    "train_labels.npy": "40b22dba779a1dffd8089edc7991f797",
    "test_images.npy": "7942b66f2197f22a8ed486c6bc205255",
    "test_labels.npy": "3deb6f9de60479b947785b62051694b8",
}


#: The identifier of MNIST among Hugging Face's data sets.
MNIST_ON_THE_HUB = "ylecun/mnist"


class Sources(NamedTuple):
    """The files that a card is made from."""

    params: Path
    lock: Path
    metrics: Path
    model: Path  # its name in dvc.lock; the file need not be there
    seeds: Path


class Record(NamedTuple):
    """What dvc.lock says of a model."""

    files: Mapping[str, Mapping[str, Any]]  # path of every input and output to its md5 and size
    parameters: Mapping[str, Any]  # of the stages that lead to the model: 'train.seed' to 8


class DataSet(NamedTuple):
    """What the model was trained on."""

    source: str  # as `load.source` names it
    is_mnist: bool

    @property
    def name(self) -> str:
        """What people call it: only MNIST is known by its content."""
        return "MNIST" if self.is_mnist else self.source.partition("#")[0]

    @property
    def slug(self) -> str:
        """The name for programs: 'fashion-mnist' for `data/fashion-mnist`."""
        stem = PurePosixPath(self.name).name.split(".")[0].lower()
        return re.sub(r"[^a-z0-9]+", "-", stem).strip("-") or "data"


def read_record(sources: Sources) -> Record:
    """Read what dvc.lock says of the model.

    Raises:
        InputError: a file is missing or damaged, no stage writes the model, the metrics are not of this model, or
            dvc.lock was written with other parameters.
    """
    stages = _read_lock(sources.lock)
    to_model = upstream(stages, sources.model.as_posix())
    to_scores = upstream(stages, (sources.metrics / "scores.json").as_posix())
    if not to_model or not set(to_model) < set(to_scores):
        raise InputError(
            str(sources.lock),
            expected=f"stages that write {sources.model} and from it {sources.metrics}/scores.json",
            received=f"the stages {', '.join(stages) or 'of no run'}",
            hint="Run `dvc repro`.",
        )
    _require_parameters(_read_yaml(sources.params), _parameters(stages, to_scores), sources)
    items = [item for name in to_scores for kind in ("deps", "outs") for item in stages[name].get(kind, [])]
    return Record({item["path"]: item for item in items}, flat(_parameters(stages, to_model)))


def upstream(stages: Stages, path: str) -> list[str]:
    """Names of the stages that lead to a file, the first ones first. Empty: no stage writes it."""
    for name, entry in stages.items():
        if path in (item["path"] for item in entry.get("outs", [])):
            earlier = [stage for item in entry.get("deps", []) for stage in upstream(stages, item["path"])]
            return list(dict.fromkeys([*earlier, name]))
    return []


def _parameters(stages: Stages, names: Iterable[str]) -> dict[str, Any]:
    """What dvc.lock records of the parameters of some stages: by section, as dvc.yaml names them."""
    files = [values for name in names for values in stages[name].get("params", {}).values()]
    return {key: value for values in files for key, value in values.items()}


def _require_parameters(document: Mapping[str, Any], recorded: Mapping[str, Any], sources: Sources) -> None:
    old, new = flat(recorded), flat({key: value for key, value in document.items() if key in recorded})
    for name in {**old, **new}:
        if old.get(name) != new.get(name):
            raise InputError(
                f"parameter '{name}' in {sources.lock}",
                expected=f"{new.get(name, 'nothing')}, as in {sources.params}",
                received=str(old.get(name, "nothing")),
                hint="Run `dvc repro`.",
            )


def require_recorded(path: Path, record: Record) -> None:
    """Refuse a file that is not the one that dvc.lock names.

    Raises:
        InputError: its MD5 is another, or dvc.lock does not name it.
        FileNotFoundError: there is no such file.
    """
    hint = "Run `dvc repro`."
    if path.as_posix() not in record.files:
        raise InputError(str(path), expected="a file that dvc.lock names", received="one that it does not", hint=hint)
    recorded = record.files[path.as_posix()].get("md5")
    found = file_hash(path, "md5")
    if found != recorded:
        raise InputError(
            str(path), expected=f"the file that dvc.lock names, MD5 {recorded}", received=f"MD5 {found}", hint=hint
        )


def data_set(record: Record) -> DataSet:
    """What the model was trained on: MNIST only if a folder holds MNIST's arrays, to the last bit."""

    def md5(path: PurePosixPath) -> Any:
        return record.files.get(path.as_posix(), {}).get("md5")

    folders = {PurePosixPath(path).parent for path in record.files}
    is_mnist = any(all(md5(folder / name) == known for name, known in MNIST.items()) for folder in folders)
    return DataSet(str(record.parameters.get("load.source", "unknown")), is_mnist)


def front_matter(data: DataSet, scores: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """The part for programs, in the order of Hugging Face's specification."""
    result = {
        "task": {"type": "image-classification", "name": "Image Classification"},
        "dataset": {"type": MNIST_ON_THE_HUB if data.is_mnist else data.slug, "name": data.name, "split": "test"},
        "metrics": [
            {"type": "accuracy", "value": scores["test"]["accuracy"], "name": "Test accuracy"},
            {"type": "loss", "value": scores["test"]["loss"], "name": "Test loss (mean cross-entropy, nats)"},
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


def write_card(sources: Sources, record: Record, export: Mapping[str, Any] | None = None) -> str:
    """The text of the card.

    Args:
        sources: where the metrics and the study over seeds are.
        record: what `read_record` read.
        export: what an export adds about itself: `checks`, `files`, `layers` and `versions`.

    Raises:
        InputError: the metrics are not those of dvc.lock, or the study over seeds is damaged.
    """
    for name in ("scores.json", "per_class.csv"):
        require_recorded(sources.metrics / name, record)
    scores = json.loads((sources.metrics / "scores.json").read_text(encoding="utf-8"))
    classes = read_csv(sources.metrics / "per_class.csv")
    data = data_set(record)
    return _template().render(
        front_matter=yaml.safe_dump(front_matter(data, scores), sort_keys=False),
        data=data,
        license=LICENSE,
        classes=len(classes),
        images=sum(int(row["images"]) for row in classes),
        test=scores["test"],
        splits={name: score for name, score in scores.items() if name != "gap"},
        gap=scores["gap"]["accuracy"],
        per_class=classes,
        lowest=min(classes, key=lambda row: float(row["recall"])),
        spread=read_spread(sources.seeds),
        parameters=of_the_model(record.parameters),
        files={path: record.files[path] for path in _shown(sources, record)},
        tolerance=f"{TOLERANCE:g}",
        export=export,
    )


def _template() -> Template:
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
    """A text whose signs mean nothing to Markdown: the user chose the names of the classes."""
    text = ", ".join(value) if isinstance(value, list) else str(value)
    return re.sub(r"([\\`*_\[\]<>#|&~])", r"\\\1", text)


def _shown(sources: Sources, record: Record) -> list[str]:
    """The files whose hashes the card shows: what the model was made from, the model, and its scores."""
    source = str(record.parameters.get("load.source"))
    names = (source, "requirements.lock", sources.model.as_posix(), (sources.metrics / "scores.json").as_posix())
    return [name for name in names if name in record.files]


def read_spread(path: Path) -> dict[str, Any] | None:
    """The study over seeds, if it was made with the parameters that params.yaml has now.

    Raises:
        InputError: the file is damaged.
    """
    try:
        study: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return study if study["params"] == settings() else None
    except (LookupError, TypeError, ValueError) as error:
        received = f"a damaged file ({type(error).__name__}: {error})"
    raise InputError(str(path), expected="a study over seeds", received=received, hint="Run `make seeds`.")


def _read_lock(path: Path) -> Stages:
    stages: Stages = _read_yaml(path).get("stages", {})
    try:
        facts(stages)
    except (AttributeError, LookupError, TypeError) as error:
        received = f"a damaged one ({type(error).__name__}: {error})"
        raise InputError(str(path), expected="a dvc.lock", received=received, hint="Restore it from Git.") from None
    return stages


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        document = YAML(typ="safe").load(path.read_text(encoding="utf-8"))  # DVC's own reader
    except FileNotFoundError:
        document, received = None, "no such file"
    except Exception as error:  # the reader raises many kinds
        document, received = None, f"a damaged file ({type(error).__name__})"
    else:
        received = "something else"
    if isinstance(document, dict):
        return document
    raise InputError(str(path), expected="a YAML file of DVC", received=received, hint="Restore it from Git.")


def add_sources(parser: argparse.ArgumentParser) -> None:
    """Add the options that name a card's sources."""
    parser.add_argument("--params", type=Path, required=True, help="params.yaml")
    parser.add_argument("--lock", type=Path, required=True, help="dvc.lock")
    parser.add_argument("--metrics", type=Path, required=True, help="folder that `evaluate` wrote")
    parser.add_argument("--model", type=Path, required=True, help="the model that `train` wrote")
    parser.add_argument("--seeds", type=Path, required=True, help="the study over seeds, .json")


def given_sources(args: argparse.Namespace) -> Sources:
    """The options that `add_sources` added, as they were given."""
    return Sources(*(getattr(args, name) for name in Sources._fields))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m apps.card", description=__doc__)
    add_sources(parser)
    parser.add_argument("--out", type=Path, required=True, help="the card to write, .md")
    args = parser.parse_args()
    sources = given_sources(args)
    text = write_card(sources, read_record(sources))
    with replacing(args.out) as (file,):
        file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    run(main)
