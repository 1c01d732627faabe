"""The licences of the direct dependencies, as a table in docs/dependencies.md: `make study NAME=dependencies`."""

import argparse
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from email.message import Message
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import cast

from packaging.requirements import Requirement

from bench.tables import table
from dvcproof.runtime.files import replacing
from dvcproof.runtime.program import InputError, run

TEXT = """# Dependencies

`make study NAME=dependencies` writes this page, and `sbom.cdx.json`: every package of `requirements.lock`, with its
version and hashes, in the form of CycloneDX. `make setup` refuses a package with another hash.

Known vulnerabilities: `pipx run pip-audit --strict --require-hashes --disable-pip -r requirements.lock`. It asks PyPI,
or with `-s osv` another database. Without `--strict`, a package that the database could not be asked about is skipped,
and the exit status is 0 all the same. Where this page was written, the database could not be reached: no package has
been audited yet.

"""

#: The arguments of the program that lists every package of the lock.
SBOM = (
    "requirements",
    "--pyproject",
    "pyproject.toml",
    "--output-reproducible",
    "-o",
    "sbom.cdx.json",
    "requirements.lock",
)

#: The groups in pyproject.toml that are installed one by one, by what they are for.
OPTIONAL = {"parquet": "Parquet", "s3": "a shared store", "cluster": "sweeps on a cluster"}


def licences(names: list[str]) -> Iterator[tuple[str, str]]:
    """The packages and their licences, as each package itself says.

    Raises:
        InputError: one is not installed, or names no licence.
    """
    for name in sorted(names, key=str.lower):
        try:
            found = licence(cast(Message, metadata(name)))
        except PackageNotFoundError:
            found = ""
        if not found:
            hint = "Run `make test`, which installs them."
            raise InputError(name, expected="an installed package that names its licence", received="none", hint=hint)
        yield name, found


def licence(about: Message) -> str:
    """An SPDX expression, or the classifiers, or the first line of the text that older packages have instead."""
    classifiers = [value for value in about.get_all("Classifier", []) if value.startswith("License :: ")]
    named = ", ".join(value.rpartition(" :: ")[2] for value in classifiers)
    return about.get("License-Expression") or named or about.get("License", "").strip().partition("\n")[0]


def page(pyproject: Path) -> str:
    """The text of docs/dependencies.md."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))
    developing = [line for line in project["dependency-groups"]["dev"] if isinstance(line, str)]  # else another group
    optional = {of: project["dependency-groups"][group] for group, of in OPTIONAL.items()}
    groups = {"runtime": project["project"]["dependencies"], **optional, "development": developing}
    rows = [
        [f"`{name}`", group, found]
        for group, lines in groups.items()
        for name, found in licences([Requirement(line).name for line in lines])
    ]
    return TEXT + table("direct dependency | for | licence", rows) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.dependencies", description=__doc__)
    parser.add_argument("--pyproject", type=Path, default=Path("pyproject.toml"), help="names them")
    parser.add_argument("--out", type=Path, required=True, help="the document to write")
    args = parser.parse_args()
    text = page(args.pyproject)
    with replacing(args.out) as (file,):
        file.write_text(text, encoding="utf-8")
    subprocess.run([sys.executable, "-W", "ignore::UserWarning", "-m", "cyclonedx_py", *SBOM], check=True)


if __name__ == "__main__":
    run(main)
