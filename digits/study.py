"""The parameters that a study is valid for."""

from pathlib import Path
from typing import Any

from digits.params import read_params


def study_params(path: Path, model: str | None = None, *, scored: bool = True) -> dict[str, Any]:
    """The parameters that a study over seeds is valid for: what can change a score, but for the seed itself.

    Args:
        path: params.yaml.
        model: a value of `train.model`; None for the one in the file.
        scored: whether it runs `evaluate`.

    Raises:
        InputError: the file cannot be read, or a section is missing or wrong.
    """
    chosen = model or read_params(path, "train").train.model
    params = read_params(path, "load", "preprocess", "train", "evaluate", chosen)
    found = params.model_dump(include={"load", "preprocess", "train", chosen}, exclude={"train": {"seed"}})
    found["train"]["model"] = chosen
    return found | ({"evaluate": {"views": params.evaluate.views}} if scored else {})
