"""The parameters that a study is valid for."""

from pathlib import Path
from typing import Any

from digits.params import read_document
from dvcproof.runtime.program import InputError
from dvcproof.values import shown


def study_params(path: Path, model: str | None = None, *, scored: bool = True) -> dict[str, Any]:
    """The parameters that a study over seeds is valid for: what can change a score, but for the seed itself.

    Args:
        path: params.yaml.
        model: a value of `train.model`; None for the one in the file.
        scored: whether it runs `evaluate`.

    Raises:
        InputError: the file cannot be read, or a section is missing.
    """
    document = read_document(path)
    train = document.get("train")
    chosen = model or (train.get("model") if isinstance(train, dict) else None)
    sections = ("load", "preprocess", str(chosen))
    for name in ("train", "evaluate", *sections):
        if not isinstance(document.get(name), dict):
            hint = "Restore the file from Git."
            raise InputError(str(path), expected=f"the section '{name}'", received=shown(document.get(name)), hint=hint)
    common = {name: value for name, value in document["train"].items() if name != "seed"}
    found = {name: document[name] for name in sections} | {"train": common | {"model": chosen}}
    return found | ({"evaluate": {"views": document["evaluate"].get("views")}} if scored else {})
