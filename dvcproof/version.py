"""The version of this distribution, equal to the one in its pyproject.toml."""

VERSION = "0.1.0"
