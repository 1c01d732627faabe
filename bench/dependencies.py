"""Write the licences of the direct dependencies as a table: `make study NAME=dependencies`."""

import subprocess
import sys
import tomllib
from email.message import Message
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import cast

from packaging.requirements import Requirement

from bench.study import parser_of
from digits.runtime.files import replacing
from digits.runtime.program import InputError, run

TEXT = """# Dependencies

`make study NAME=dependencies` writes this page, and `sbom.cdx.json`: every package of `requirements.lock`, with its
version and hashes, in the form of CycloneDX. `make setup` refuses a package with another hash.

Known vulnerabilities: `pipx run pip-audit --strict --require-hashes --disable-pip -r requirements.lock`. It asks PyPI,
or with `-s osv` another database. Without `--strict`, a package that the database could not be asked about is skipped,
and the exit status is 0 all the same. Where this page was written, the database could not be reached: no package has
been audited yet.

| direct dependency | for | licence |
|---|---|---|
"""

#: Lists every package of the lock.
SBOM = "requirements --pyproject pyproject.toml --output-reproducible -o sbom.cdx.json requirements.lock"

#: The groups in pyproject.toml, by what they are for.
GROUPS = {"parquet": "Parquet", "s3": "a shared store", "cluster": "sweeps on a cluster", "dev": "development"}


def licence(about: Message) -> str:
    """Return an SPDX expression, or the classifiers, or the first line of the text that older packages have instead."""
    classifiers = [value for value in about.get_all("Classifier", []) if value.startswith("License :: ")]
    named = ", ".join(value.rpartition(" :: ")[2] for value in classifiers)
    return about.get("License-Expression") or named or about.get("License", "").strip().partition("\n")[0]


def licence_of(name: str) -> str:
    """Return the licence that an installed package names.

    Raises:
        InputError: it is not installed, or names none.
    """
    try:
        found = licence(cast(Message, metadata(name)))
    except PackageNotFoundError:
        found = ""
    if not found:
        raise InputError(name, "it is not installed, or names no licence", hint="Run `make setup WITH=dev`.")
    return found


def page(pyproject: Path) -> str:
    """Return the text of docs/dependencies.md."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))
    groups = {"runtime": project["project"]["dependencies"]}
    groups |= {GROUPS[name]: lines for name, lines in project["dependency-groups"].items()}
    text = TEXT
    for group, lines in groups.items():
        names = [Requirement(line).name for line in lines if isinstance(line, str)]  # else it includes another group
        text += "".join(f"| `{name}` | {group} | {licence_of(name)} |\n" for name in sorted(names, key=str.lower))
    return text


def main() -> None:
    args = parser_of("bench.dependencies", __doc__).parse_args()
    text = page(Path("pyproject.toml"))
    with replacing(args.out) as (file,):
        file.write_text(text, encoding="utf-8")
    command = [sys.executable, "-W", "ignore::UserWarning", "-m", "cyclonedx_py", *SBOM.split()]
    subprocess.run(command, check=True)


if __name__ == "__main__":
    run(main)
