"""Read a YAML file of parameters in the same way as DVC."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from dvcproof.runtime.bounds import YAML_BYTES, read_text, require_small_yaml
from dvcproof.runtime.program import InputError


def read_mapping(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file.

    Raise InputError if the file is missing, is not YAML, or holds something other than a mapping.
    """
    text = ""
    try:
        text = read_text(path, YAML_BYTES)
        with suppress(YAMLError):
            require_small_yaml(text)
        # The library that DVC uses: another one might read `010` or `yes` as a different value than dvc.lock has. DVC
        # uses the library's C parser. The Python parser (pure=True) gives the same values and better error messages.
        document = YAML(typ="safe", pure=True).load(text)
    except FileNotFoundError:
        hint = "Check the path, or restore the file from Git."
        raise InputError(str(path), "there is no such file", hint=hint) from None
    except (OSError, InputError):
        raise
    except Exception as error:  # the parser raises many types, as KeyError for `!!bool 5`
        if any(line.startswith("<<<<<<< ") for line in text.splitlines()):
            hint = "Keep one side, and remove the markers."
            raise InputError(str(path), "a merge left conflict markers", hint=hint) from None
        raise InputError(str(path), f"it is not YAML: {_problem(error)}", hint="Correct the syntax.") from None
    if not isinstance(document, dict):
        sentence = f"it must be a mapping of sections, but it is {type(document).__name__}"
        raise InputError(str(path), sentence, hint="Restore it from Git.")
    return document


def _problem(error: Exception) -> str:
    if isinstance(error, MarkedYAMLError) and error.problem_mark is not None:
        return f"{error.problem} in line {error.problem_mark.line + 1}"
    return str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}"
