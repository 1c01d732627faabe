"""params.yaml to a frozen, typed object: every value checked, nothing unknown let through."""

import difflib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError

from stages.console import InputError

#: Everything that may stand at the top of params.yaml: a section for each stage, one for the network that `train` may
#: train instead, and values that stages share.
SECTIONS = ("load", "preprocess", "train", "convnet", "evaluate")
SHARED = ("class_names",)


class Params(BaseModel):
    """Base of each section's schema: frozen, no unknown names, no conversion of types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


Schema = TypeVar("Schema", bound=Params)


def read_params(path: Path, section: str, schema: type[Schema]) -> Schema:
    """Read one section.

    Args:
        path: the YAML file, a mapping of sections and of shared values.
        section: its name.
        schema: what the section may hold. A field named like a shared value takes that value.

    Raises:
        InputError: the file cannot be read, or a name or a value in it is not allowed.
    """
    document = _read_yaml(path)
    _refuse_unknown(document, (*SECTIONS, *SHARED), prefix="", path=path)
    names = tuple(name for name in schema.model_fields if name not in SHARED)
    values = document.get(section)
    if not isinstance(values, dict):
        raise InputError(
            f"section '{section}' in {path}",
            expected="a mapping of " + ", ".join(names),
            received=_shown(values),
            hint=f"Add the section '{section}:' with its parameters.",
        )
    _refuse_unknown(values, names, prefix=f"{section}.", path=path)
    shared = {name: document[name] for name in SHARED if name in schema.model_fields and name in document}
    try:
        return schema.model_validate(shared | values)
    except ValidationError as error:
        raise _explain(error, path, section, schema) from None


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        # DVC's own reader: with another, 010 or `yes` would mean one value in dvc.lock and a second one here. DVC takes
        # its parser in C, to the same values where both read it; the one in Python says better what is wrong.
        document = YAML(typ="safe", pure=True).load(text)
    except FileNotFoundError:
        raise InputError(
            str(path), expected="a YAML file of parameters", received="no such file", hint="Restore it from Git."
        ) from None
    except OSError:
        raise
    except Exception as error:  # the reader raises many kinds: KeyError for `!!bool 5`
        raise InputError(
            str(path), expected="YAML", received=f"an error: {_problem(error)}", hint="Correct the syntax."
        ) from None
    if not isinstance(document, dict):
        raise InputError(
            str(path), expected="a mapping of sections", received=_shown(document), hint="Restore it from Git."
        )
    return document


def _problem(error: Exception) -> str:
    if isinstance(error, MarkedYAMLError) and error.problem_mark is not None:
        return f"{error.problem} in line {error.problem_mark.line + 1}"
    return f"{type(error).__name__}: {error}"


def _shown(value: Any) -> str:
    if isinstance(value, dict | list | set):  # not its text: a few aliases can stand for gigabytes
        return "a list" if isinstance(value, list) else "a mapping"
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 100 else f"{text[:100]}..."


def _refuse_unknown(values: dict[str, Any], known: tuple[str, ...], *, prefix: str, path: Path) -> None:
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            raise InputError(
                f"parameter '{prefix}{name}' in {path}",
                expected="one of " + ", ".join(known),
                received=f"the unknown name '{name}'",
                hint=f"Did you mean '{prefix}{near[0]}'?" if near else "Remove it or correct its name.",
            )


def _explain(error: ValidationError, path: Path, section: str, schema: type[Params]) -> InputError:
    first = error.errors()[0]
    name = str(first["loc"][0])
    full = name if name in SHARED else f"{section}.{name}"
    missing = first["type"] == "missing" or first["input"] is None
    own = first["type"] == "value_error"  # a rule of ours, which says what is wrong
    return InputError(
        f"parameter '{full}' in {path}",
        expected=allowed(schema, name),
        received="nothing" if missing else str(first["ctx"]["error"]) if own else _shown(first["input"]),
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
