"""Small results as text: JSON and CSV in one fixed form, so that equal results are equal bytes."""

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from stages.console import InputError


def write_json(path: Path, content: Any) -> None:
    """Write JSON, two spaces deep, in the order given. Floats are rounded to six decimals."""
    path.write_text(json.dumps(_rounded(content), indent=2) + "\n", encoding="utf-8")


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV with a header line and Unix line ends. Floats are rounded to six decimals."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows([_rounded(value) for value in row] for row in rows)


def read_csv(path: Path) -> list[dict[str, str]]:
    """Read a CSV with a header line: one mapping per row.

    Raises:
        InputError: the file is no text in UTF-8, or no CSV.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file, strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            str(path), expected="a CSV file", received=f"a damaged file ({error})", hint="Run `dvc repro`."
        ) from None


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 6) + 0.0  # -0.0 becomes 0.0: the sign of next to nothing is noise
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value
