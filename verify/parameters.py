"""Another value in params.yaml, with its comments and all else as they are."""

import re
from pathlib import Path

from stages.console import InputError


def set_parameter(file: Path, name: str, value: object) -> None:
    """Give another value to a parameter.

    Args:
        file: params.yaml.
        name: with its section: 'train.seed'.
        value: written as it prints.

    Raises:
        InputError: there is no such parameter.
    """
    section, _, key = name.partition(".")
    pattern = rf"(?m)(^{section}:\n(?:(?: .*)?\n)*?  {key}:) \S+"
    text, count = re.subn(pattern, lambda match: f"{match[1]} {value}", file.read_text(encoding="utf-8"))
    if count != 1:
        raise InputError(str(file), expected=f"a line '{key}:' in '{section}:'", received="none", hint="Restore it.")
    file.write_text(text, encoding="utf-8")
