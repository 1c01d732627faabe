"""Another value in params.yaml, with its comments and all else as they are."""

import re
from pathlib import Path

from stages.console import InputError


def set_parameter(file: Path, name: str, value: object) -> None:
    """Give another value to a parameter whose name stands once among the sections.

    Args:
        file: params.yaml.
        name: without its section.
        value: written as it prints.

    Raises:
        InputError: no parameter has this name, or several.
    """
    text, count = re.subn(rf"(?m)^  {name}: \S+", f"  {name}: {value}", file.read_text(encoding="utf-8"))
    if count != 1:
        raise InputError(str(file), expected=f"one line '{name}:'", received=str(count), hint="Restore it from Git.")
    file.write_text(text, encoding="utf-8")
