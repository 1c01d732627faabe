"""The licences of the direct dependencies, as the installed packages name them."""

import tomllib
from email.message import Message

import pytest

from bench.dependencies import OPTIONAL, licence, licences, page
from dvcproof.runtime.program import InputError
from tests.support.project import ROOT


def about(*fields: tuple[str, str]) -> Message:
    message = Message()
    for name, value in fields:
        message[name] = value
    return message


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            [("License-Expression", "MIT OR Zlib"), ("Classifier", "License :: OSI Approved :: BSD License")],
            "MIT OR Zlib",
        ),
        ([("Classifier", "License :: OSI Approved :: BSD License"), ("License", "BSD")], "BSD License"),
        ([("License", "MIT\nCopyright (c)"), ("Classifier", "Topic :: Software")], "MIT"),
        ([], ""),
    ],
)
def test_a_licence_is_what_the_package_says(fields: list[tuple[str, str]], expected: str) -> None:
    assert licence(about(*fields)) == expected


def test_a_package_without_a_licence_is_refused() -> None:
    with pytest.raises(InputError, match=r"no-such-package: expected an installed package that names its licence"):
        list(licences(["no-such-package"]))


def test_the_page_names_every_direct_dependency() -> None:
    text = page(ROOT / "pyproject.toml")
    assert "| `tensorflow` | runtime | Apache" in text
    assert "| `pytest` | development | MIT |" in text
    assert "| `dvc-s3` | a shared store | Apache-2.0 |" in text


def test_the_committed_page_names_them_all() -> None:
    assert (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8") == page(ROOT / "pyproject.toml")


def test_every_group_is_on_the_page() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert pyproject["dependency-groups"].keys() == {*OPTIONAL, "dev"}
