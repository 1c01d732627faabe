"""params.yaml to a frozen, typed object: every value checked, nothing unknown let through."""

import difflib
import re
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from stages.console import InputError

#: Everything that may stand at the top of params.yaml: a section for each stage, and values that stages share.
SECTIONS = ("load", "preprocess", "train", "evaluate")
SHARED = ("classes",)


class Params(BaseModel):
    """Base of each stage's schema: frozen, no unknown names, no conversion of types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


Schema = TypeVar("Schema", bound=Params)


class _Loader(yaml.SafeLoader):
    """YAML as DVC reads it: 1e-3 is a number (PyYAML alone gives a string) and a key may stand only once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"the key '{key}' stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$"),
    list("-+.0123456789"),
)


def read_params(path: Path, section: str, schema: type[Schema]) -> Schema:
    """Read one stage's parameters.

    Args:
        path: the YAML file, a mapping of sections and of shared values.
        section: the stage's section.
        schema: what the section may hold. A field named like a shared value takes that value.

    Raises:
        InputError: the file cannot be read, or a name or a value in it is not allowed.
    """
    document = _read_yaml(path)
    _refuse_unknown(document, (*SECTIONS, *SHARED), prefix="", path=path)
    values = document.get(section)
    if not isinstance(values, dict):
        raise InputError(
            f"section '{section}' in {path}",
            expected="a mapping of " + ", ".join(schema.model_fields),
            received="nothing" if values is None else repr(values),
            hint=f"Add the section '{section}:' with its parameters.",
        )
    _refuse_unknown(values, tuple(schema.model_fields), prefix=f"{section}.", path=path)
    shared = {name: document[name] for name in SHARED if name in schema.model_fields and name in document}
    try:
        return schema.model_validate(shared | values)
    except ValidationError as error:
        raise _explain(error, path, section, schema) from None


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 (a SafeLoader)
    except FileNotFoundError:
        raise InputError(
            str(path), expected="a YAML file of parameters", received="no such file", hint="Restore it from Git."
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(str(path), expected="YAML", received=str(error), hint="Correct the syntax.") from None
    if not isinstance(document, dict):
        raise InputError(
            str(path), expected="a mapping of sections", received=repr(document), hint="Restore it from Git."
        )
    return document


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
    missing = first["type"] == "missing"
    return InputError(
        f"parameter '{full}' in {path}",
        expected=allowed(schema, name),
        received="nothing" if missing else f"{first['input']!r}",
        hint=f"Add '{name}'." if missing else f"Change '{full}'.",
    )


def allowed(schema: type[Params], name: str) -> str:
    """What a parameter may be, in words, from the schema itself: 'an integer in [1, 1000]'."""
    rule: dict[str, Any] = schema.model_json_schema()["properties"][name]
    if "enum" in rule:
        return "one of " + ", ".join(repr(value) for value in rule["enum"])
    if "const" in rule:
        return repr(rule["const"])
    kind = {"integer": "an integer", "number": "a number", "string": "a text"}[rule["type"]]
    if rule["type"] == "string":
        return kind
    low = f"[{rule['minimum']:g}" if "minimum" in rule else f"({rule.get('exclusiveMinimum', float('-inf')):g}"
    high = f"{rule['maximum']}]" if "maximum" in rule else f"{rule.get('exclusiveMaximum', 'inf')})"
    return f"{kind} in {low}, {high}"
