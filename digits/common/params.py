"""Explain what is wrong in params.yaml, and change or summarize the file. No stage depends on this module."""

import difflib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML

from digits.runtime.params import SECTIONS, SHARED, Params, read_document
from digits.runtime.program import InputError


def flatten(values: Any, prefix: str = "", *, lists: bool = False) -> dict[str, Any]:
    """Nested mappings as one, with names joined by dots: 'train.seed'.

    Args:
        values: a mapping; anything else is one value under the name `prefix`.
        prefix: stands before each name.
        lists: whether to take lists apart too, by position; else a list is one value.
    """
    inner = dict(enumerate(values)) if lists and isinstance(values, list) else values
    result: dict[str, Any] = {}
    for key, value in inner.items() if isinstance(inner, Mapping) else ():
        result |= flatten(value, f"{prefix}.{key}" if prefix else str(key), lists=lists)
    return result or {prefix: values}


def set_params(path: Path, values: Mapping[str, Any]) -> None:
    """Change parameters in the file, and keep its comments.

    Args:
        path: params.yaml.
        values: new values by their whole names: {'train.seed': 8}.

    Raises:
        InputError: the file cannot be read, or there is no such parameter.
    """
    read_document(path)
    yaml = YAML()  # keeps comments
    yaml.preserve_quotes = True
    yaml.width = sys.maxsize  # else it would break other long lines
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


def parse_value(text: str) -> Any:
    """A value as it would be written in params.yaml: '1e-3' is a number, as DVC reads it."""
    return YAML(typ="safe").load(text)


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


def no_section(document: Mapping[str, Any], section: str, names: Sequence[str], path: Path) -> InputError:
    """Return the refusal of a file without a section that is needed."""
    near = difflib.get_close_matches(section, [str(name) for name in document if name not in SECTIONS], n=1)
    add = f"Add the section '{section}:' with its parameters."
    hint = f"Did you mean '{section}:' by '{near[0]}:'?" if near else add
    expected = "a mapping of " + ", ".join(names)
    received = shown(document.get(section))
    return InputError(f"section '{section}' in {path}", expected=expected, received=received, hint=hint)


def unknown_name(name: str, known: Sequence[str], *, prefix: str, path: Path) -> InputError:
    """Return the refusal of a name that no stage knows."""
    near = difflib.get_close_matches(str(name), known, n=1)
    return InputError(
        f"parameter '{prefix}{name}' in {path}",
        expected="one of " + ", ".join(known),
        received=f"the unknown name '{name}'",
        hint=f"Did you mean '{prefix}{near[0]}'?" if near else "Remove it or correct its name.",
    )


def wrong_value(error: ValidationError, path: Path, section: str, schema: type[Params]) -> InputError:
    """Return the refusal of the first value that is not allowed."""
    first = error.errors()[0]
    name = str(first["loc"][0])
    full = name if name in SHARED else f"{section}.{name}"
    missing = first["type"] == "missing" or first["input"] is None
    own = first["type"] == "value_error"  # a rule of ours, which says what is wrong
    return InputError(
        f"parameter '{full}' in {path}",
        expected=allowed(schema, name),
        received="nothing" if missing else str(first["ctx"]["error"]) if own else shown(first["input"]),
        hint=f"Give '{full}' a value." if missing else f"Change '{full}'.",
    )


def shown(value: Any) -> str:
    """A value of params.yaml for a message: its text if it is short, else its kind."""
    for kind, name in ((dict, "a mapping"), (list, "a list"), (set, "a set")):
        if isinstance(value, kind):
            return name
    try:
        text = "nothing" if value is None else repr(value)
    except ValueError:  # Python writes no number of more than some thousand digits
        text = "a number of too many digits"
    return text if len(text) <= 100 else f"{text[:100]}..."


def allowed(schema: type[Params], name: str) -> str:
    """What a parameter may be, in words, from the schema itself: 'an integer in [1, 1000]'."""
    rule: dict[str, Any] = schema.model_json_schema()["properties"][name]
    if "description" in rule:
        return str(rule["description"])
    if "enum" in rule:
        return "one of " + ", ".join(repr(value) for value in rule["enum"])
    if "const" in rule:
        return repr(rule["const"])
    if rule["type"] == "string":
        return "a text" if not rule.get("minLength") else "a text that is not empty"
    kind = {"integer": "an integer", "number": "a number"}[rule["type"]]
    low = f"[{rule['minimum']:g}" if "minimum" in rule else f"({rule.get('exclusiveMinimum', float('-inf')):g}"
    high = f"{rule['maximum']}]" if "maximum" in rule else f"{rule.get('exclusiveMaximum', 'inf')})"
    return f"{kind} in {low}, {high}"
