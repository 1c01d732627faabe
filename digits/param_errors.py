"""Explain what is wrong in params.yaml. No stage depends on this module."""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from digits.params import SECTIONS, SHARED, Params
from dvcproof.runtime.program import InputError
from dvcproof.values import shown


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
