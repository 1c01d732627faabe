"""Error messages for params.yaml. No stage depends on this module."""

import difflib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from digits.params import Params
from dvcproof.runtime.program import InputError
from dvcproof.values import shown

#: Pydantic's kinds of errors for an unknown name: the first for a text, the second for anything else.
UNKNOWN = ("extra_forbidden", "invalid_key")


def refusal(error: ValidationError, path: Path) -> InputError:
    """Return the error to raise: for the first unknown name, or, if all names are known, for the first wrong value.

    Unknown names come first, since a name that seems to be missing may only be misspelled.
    """
    errors = error.errors()
    first = next((found for found in errors if found["type"] in UNKNOWN), errors[0])
    section, *inner = map(str, first["loc"])
    model = Params.model_fields[section].annotation if section in Params.model_fields else None
    own = model if isinstance(model, type) and issubclass(model, BaseModel) else None  # None: a value, not a section
    full = ".".join([section, *inner[:1]]) if own else section
    if first["type"] in UNKNOWN:
        name, prefix = (inner[0], f"{section}.") if own else (section, "")
        return _unknown_name(name, prefix, [*(own or Params).model_fields], path)
    missing = first["type"] == "missing" or first["input"] is None
    received = "nothing" if missing else shown(first["input"])
    if own and not inner:
        names, hint = ", ".join(own.model_fields), f"Add the section '{section}:' with its parameters."
        return InputError(f"section '{full}' in {path}", expected=f"a mapping of {names}", received=received, hint=hint)
    if first["type"] == "value_error":  # raised by `digits.params`, with a text of its own
        received = str(first["ctx"]["error"])
    return InputError(
        f"parameter '{full}' in {path}",
        expected=allowed(own, inner[0]) if own else allowed(Params, section),
        received=received,
        hint=f"Give '{full}' a value." if missing else f"Change '{full}'.",
    )


def _unknown_name(name: str, prefix: str, known: list[str], path: Path) -> InputError:
    near = difflib.get_close_matches(name, known, n=1)
    return InputError(
        f"parameter '{prefix}{name}' in {path}",
        expected="one of " + ", ".join(known),
        received=f"the unknown name '{name}'",
        hint=f"Did you mean '{prefix}{near[0]}'?" if near else "Remove it or correct its name.",
    )


def allowed(model: type[BaseModel], name: str) -> str:
    """Describe in words which values a parameter may have: 'an integer in [1, 1000]'."""
    rule: dict[str, Any] = model.model_json_schema()["properties"][name]
    if "description" in rule:
        return str(rule["description"])
    if "enum" in rule:
        return "one of " + ", ".join(repr(value) for value in rule["enum"])
    if rule["type"] == "string":
        return "a text" if not rule.get("minLength") else "a text that is not empty"
    kind = {"integer": "an integer", "number": "a number"}[rule["type"]]
    low = f"[{rule['minimum']:g}" if "minimum" in rule else f"({rule.get('exclusiveMinimum', float('-inf')):g}"
    high = f"{rule['maximum']}]" if "maximum" in rule else f"{rule.get('exclusiveMaximum', 'inf')})"
    return f"{kind} in {low}, {high}"
