"""Read a YAML file of parameters as DVC reads it."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from dvcproof.runtime.bounds import YAML_BYTES, read_text, require_small_yaml
from dvcproof.runtime.program import InputError


def read_mapping(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping. Raise InputError if it is missing, not YAML, or holds something else."""
    text = ""
    try:
        text = read_text(path, YAML_BYTES)
        with suppress(YAMLError):
            require_small_yaml(text)
        # DVC's own reader: with another, 010 or `yes` would mean one value in dvc.lock and a second one here. DVC takes
        # its parser in C, to the same values where both read it; the one in Python says better what is wrong.
        document = YAML(typ="safe", pure=True).load(text)
    except FileNotFoundError:
        raise InputError(str(path), "there is no such file", hint="Restore it from Git.") from None
    except (OSError, InputError):
        raise
    except Exception as error:  # the reader raises many kinds: KeyError for `!!bool 5`
        if any(line.startswith("<<<<<<< ") for line in text.splitlines()):
            hint = "Keep one side, and remove them."
            raise InputError(str(path), "a merge left conflict markers", hint=hint) from None
        raise InputError(str(path), f"it is not YAML: {_problem(error)}", hint="Correct the syntax.") from None
    if not isinstance(document, dict):
        sentence = f"it must be a mapping of sections, and is {type(document).__name__}"
        raise InputError(str(path), sentence, hint="Restore it from Git.")
    return document


def _problem(error: Exception) -> str:
    if isinstance(error, MarkedYAMLError) and error.problem_mark is not None:
        return f"{error.problem} in line {error.problem_mark.line + 1}"
    return str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}"
