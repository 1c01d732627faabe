"""Write the tables in the documents from the committed results: `make study NAME=tables`.

A table stands between `<!-- NAME -->` and `<!-- /NAME -->`; NAME is a macro in tables.md.j2.
"""

import argparse
import re
import tomllib
from collections.abc import Iterator, Mapping
from email.message import Message
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any, cast

from jinja2 import Environment, StrictUndefined, TemplateError
from packaging.requirements import Requirement

from bench import scaling
from bench.study import read_result
from digits.apps.summary import summarize
from dvcproof.runtime.files import replacing
from dvcproof.runtime.program import InputError, run

#: Units of time with the seconds of each, and units of bytes.
TIMES = {"d": 86400.0, "h": 3600.0, "min": 60.0, "s": 1.0, "ms": 1e-3, "µs": 1e-6}
SIZES = {"PB": 1e15, "TB": 1e12, "GB": 1e9, "MB": 1e6, "kB": 1e3}

#: Kinds of pictures that do not show exactly one digit, so that the sums leave them out.
NOT_ONE = ("several digits", "no digit")


#: The purpose of each group of dependencies in pyproject.toml.
GROUPS = {"parquet": "Parquet", "s3": "a shared store", "cluster": "sweeps on a cluster", "dev": "development"}


def in_units(value: float, units: Mapping[str, float]) -> str:
    """Write a value in the largest unit that is not larger than the value, with two digits or as a whole number."""
    if not value:
        return ""
    unit = next((name for name, size in units.items() if value >= size), [*units][-1])
    number = value / units[unit]
    return f"{number:.1f} {unit}" if number < 9.95 else f"{number:.0f} {unit}"


def one_digit(group: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    """Add up the counts of all kinds of pictures of one digit."""
    counted = [one for kind, one in group.items() if kind not in NOT_ONE]
    return {name: sum(one[name] for one in counted) for name in ("pictures", "right", "unsure", "sure_and_wrong")}


def licence(name: str) -> str:
    """Return the licence of an installed package: its SPDX expression, else classifiers, else the text's first line.

    Raises:
        InputError: the package is not installed, or names no licence.
    """
    try:
        about = cast(Message, metadata(name))
    except PackageNotFoundError:
        about = Message()
    named = [one.rpartition(" :: ")[2] for one in about.get_all("Classifier", []) if one.startswith("License :: ")]
    found = about.get("License-Expression") or ", ".join(named) or about.get("License", "").strip().partition("\n")[0]
    if not found:
        raise InputError(name, "it is not installed, or names no licence", hint="Run `make setup WITH=dev`.")
    return str(found)


def licences(pyproject: Path) -> Iterator[tuple[str, str, str]]:
    """Yield the name, purpose and licence of each direct dependency."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))
    groups = {"runtime": project["project"]["dependencies"]}
    for group, lines in {**groups, **project["dependency-groups"]}.items():
        names = [Requirement(line).name for line in lines if isinstance(line, str)]  # others include another group
        for name in sorted(names, key=str.lower):
            yield name, GROUPS.get(group, group), licence(name)


def tables(root: Path, language: str = "en") -> Any:
    """Return the macros of tables.md.j2 for the results below the folder `root`, as attributes of a module."""
    results = root / "bench" / "results"

    def read(name: str) -> dict[str, Any]:
        return read_result(results / name)

    def every_speed() -> dict[str, dict[str, Any]]:
        """Return the results of `make bench`, by kind of machine."""
        return {path.stem: read(f"speed/{path.name}") for path in sorted((results / "speed").glob("*.json"))}

    def rated() -> tuple[dict[str, Any], dict[str, Any]]:
        """Return a result of `make bench` and the study of the convnet.

        Both are from the same kind of machine if there is such a result; otherwise the first result is returned.
        """
        convnet, speeds = read("convnet.json"), every_speed()
        return speeds.get(convnet["machine"]["kind"]) or next(iter(speeds.values())), convnet

    environment = Environment(undefined=StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True)  # noqa: S701 (Markdown, not HTML)
    environment.filters |= {
        "percent": lambda value: f"{100 * value:.2f} %",
        "short": lambda sha256: f"`{sha256[:16]}…`",
        "size": lambda value: in_units(value, SIZES),
        "duration": lambda value: in_units(value, TIMES),
        "extract": lambda key, mapping: mapping[key],
    }
    environment.globals |= {
        "language": language,
        "read": read,
        "every_speed": every_speed,
        "rated": rated,
        "one_digit": one_digit,
        "scaling": scaling,
        "printed_summary": lambda: summarize(root / "metrics").replace(f"{root}/", ""),
        "licences": lambda: licences(root / "pyproject.toml"),
    }
    return environment.from_string(Path(__file__).with_name("tables.md.j2").read_text(encoding="utf-8")).module


def documents(root: Path) -> list[Path]:
    """Return the documents that may hold tables."""
    return [root / "README.md", *sorted((root / "docs").glob("*.md"))]


def filled(document: Path, root: Path) -> str:
    """Return the text of a document with tables that show the committed results.

    Raises:
        InputError: a result is damaged.
    """
    made = tables(root, "vi" if document.name.endswith(".vi.md") else "en")

    def fill(match: re.Match[str]) -> str:
        return f"{match[1]}{getattr(made, match[2])()}{match[3]}" if hasattr(made, match[2]) else match[0]

    pattern = re.compile(r"(^<!-- (\w+) -->\n).*?(^<!-- /\2 -->$)", re.DOTALL | re.MULTILINE)
    try:
        return pattern.sub(fill, document.read_text(encoding="utf-8"))
    except (ValueError, KeyError, TypeError, TemplateError) as error:
        what = f"a result that it shows is damaged ({type(error).__name__}: {error})"
        raise InputError(str(document), what, hint="`make check` names the result.") from None


def main() -> None:
    argparse.ArgumentParser(prog="python -m bench.tables", description=__doc__).parse_args()
    for document in documents(Path.cwd()):
        text = filled(document, Path.cwd())
        if text != document.read_text(encoding="utf-8"):
            with replacing(document) as (file,):
                file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    run(main)
