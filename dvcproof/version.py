"""The version of this distribution, as its pyproject.toml has it."""

VERSION = "0.1.0"
