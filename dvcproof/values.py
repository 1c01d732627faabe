"""Flatten parameters, format a parameter for a message, parse one from text, and change parameters in their file."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from dvcproof.runtime.document import read_mapping
from dvcproof.runtime.program import InputError


def flatten(values: Any, prefix: str = "", *, lists: bool = False) -> dict[str, Any]:
    """Flatten nested mappings into one, with keys joined by dots: 'train.seed'.

    Args:
        values: a mapping. Any other value is returned as {prefix: value}.
        prefix: the beginning of all keys.
        lists: whether to flatten lists too, with positions as keys.
    """
    inner = dict(enumerate(values)) if lists and isinstance(values, list) else values
    result: dict[str, Any] = {}
    for key, value in inner.items() if isinstance(inner, Mapping) else ():
        result |= flatten(value, f"{prefix}.{key}" if prefix else str(key), lists=lists)
    return result or {prefix: values}


def set_params(path: Path, values: Mapping[str, Any]) -> None:
    """Change parameters in a YAML file, and keep its comments.

    Args:
        values: full names and new values, as {'train.seed': 8}.

    Raise InputError if the file cannot be read, or lacks a parameter.
    """
    read_mapping(path)
    yaml = preserving()
    document = yaml.load(path.read_text(encoding="utf-8"))
    for name, value in values.items():
        section, _, key = name.rpartition(".")
        place = document.get(section) if section else document
        if not isinstance(place, dict) or key not in place or isinstance(place[key], dict):
            raise InputError(
                str(path), expected=f"the parameter '{name}'", received="none", hint="Restore the file from Git."
            )
        place[key] = value
    with path.open("w", encoding="utf-8") as file:
        yaml.dump(document, file)


def preserving() -> YAML:
    """Return a YAML reader and writer that keeps comments, quotes and long lines."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = sys.maxsize
    return yaml


def parse_value(text: str) -> Any:
    """Parse a value as DVC would in params.yaml: '1e-3' is a number."""
    return YAML(typ="safe").load(text)


def shown(value: Any) -> str:
    """Format a value of params.yaml for a message: as text, cut after 100 characters, or the kind of a container."""
    for kind, name in ((dict, "a mapping"), (list, "a list"), (set, "a set")):
        if isinstance(value, kind):
            return name
    try:
        text = "nothing" if value is None else repr(value)
    except ValueError:  # Python refuses to print numbers of more than some thousand digits
        text = "a number of too many digits"
    return text if len(text) <= 100 else f"{text[:100]}..."
