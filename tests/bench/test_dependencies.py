"""The licences of the direct dependencies, as the installed packages name them."""

from email.message import Message

import pytest

from bench.dependencies import licence, licence_of, page
from digits.runtime.program import InputError
from tests.support.project import ROOT

BSD, TOPIC = ("Classifier", "License :: OSI Approved :: BSD License"), ("Classifier", "Topic :: Software")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([("License-Expression", "MIT OR Zlib"), BSD], "MIT OR Zlib"),
        ([BSD, ("License", "BSD")], "BSD License"),
        ([("License", "MIT\nCopyright (c)"), TOPIC], "MIT"),
        ([], ""),
    ],
)
def test_a_licence_is_what_the_package_says(fields: list[tuple[str, str]], expected: str) -> None:
    message = Message()
    for name, value in fields:
        message[name] = value
    assert licence(message) == expected


def test_a_package_without_a_licence_is_refused() -> None:
    with pytest.raises(InputError, match=r"^no-such-package: it is not installed, or names no licence\. Run"):
        licence_of("no-such-package")


def test_the_committed_page_names_every_direct_dependency() -> None:
    text = page(ROOT / "pyproject.toml")
    for row in (
        "`tensorflow` | runtime | Apache",
        "`pytest` | development | MIT |",
        "`dvc-s3` | a shared store | Apache",
    ):
        assert f"| {row}" in text
    assert (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8") == text
