"""Check params.yaml as a whole before anything runs: each stage checks its own section, and DVC skips stages."""

from pathlib import Path

from digits.networks import read_network
from digits.params import SECTIONS, read_document, read_params
from digits.scoring.params import EvaluateParams
from digits.sources.source import require_readable
from dvcproof.runtime.program import InputError


def require_params(path: Path) -> None:
    """Refuse a file with an unknown or missing section, or with a wrong value in a section that many programs read.

    Raises:
        InputError: the file has one.
    """
    read_network(path)
    read_params(path, "evaluate", EvaluateParams)
    document = read_document(path)
    source = document.get("load", {}).get("source") if isinstance(document.get("load"), dict) else None
    if isinstance(source, str):
        require_readable(source)
    for section in SECTIONS:
        if section not in document:
            hint = f"Add the section '{section}:' with its parameters."
            raise InputError(f"section '{section}' in {path}", expected="a mapping", received="nothing", hint=hint)
