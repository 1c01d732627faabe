"""Read params.yaml into frozen, typed sections, every value checked. `digits.param_errors` explains what is wrong."""

from collections.abc import Collection
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from dvcproof.runtime.document import read_mapping
from dvcproof.runtime.watch import see_params

#: The section of each stage, and the values that stages share. Every other section belongs to a network.
SECTIONS = ("load", "preprocess", "train", "evaluate")
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
    document = read_document(path)
    shared = [name for name in SHARED if name in schema.model_fields]
    see_params(path, {name: document.get(name) for name in (section, *shared)}, read_document)
    values = document.get(section)
    names = tuple(name for name in schema.model_fields if name not in SHARED)
    if not isinstance(values, dict):
        from digits.param_errors import no_section

        raise no_section(document, section, names, path)
    _refuse_unknown(values, names, prefix=f"{section}.", path=path)
    try:
        return schema.model_validate({name: document[name] for name in shared if name in document} | values)
    except ValidationError as error:
        from digits.param_errors import wrong_value

        raise wrong_value(error, path, section, schema) from None


def read_document(path: Path) -> dict[str, Any]:
    """Read the whole file, unchecked but for its form: a mapping of sections and shared values.

    Raises:
        InputError: it cannot be read, or holds a value outside the sections that no stage knows.
    """
    document = read_mapping(path)
    values = [name for name, value in document.items() if not isinstance(value, dict)]
    _refuse_unknown(values, (*SECTIONS, *SHARED), prefix="", path=path)
    return document


def require_sections(path: Path, networks: Collection[str]) -> None:
    """Refuse a section that belongs neither to a stage nor to a network.

    Raises:
        InputError: there is one.
    """
    _refuse_unknown(read_document(path), (*SECTIONS, *SHARED, *networks), prefix="", path=path)


def _refuse_unknown(names: Collection[str], known: tuple[str, ...], *, prefix: str, path: Path) -> None:
    unknown = next((name for name in names if name not in known), None)
    if unknown is not None:
        from digits.param_errors import unknown_name

        raise unknown_name(unknown, known, prefix=prefix, path=path)
