"""Read what a project says of itself: the table [tool.dvcproof] of its pyproject.toml. All of it may be left out.

[tool.dvcproof]
install = "Run `make setup WITH={}`."   # the next step where packages for a kind of remote, as s3, are missing

[tool.dvcproof.tolerance]               # what is compared where a machine cannot give equal bytes
record = "data/platform.json"           # JSON that a stage writes; `may_differ_in_bits_because` lists the reasons
metric = "test.accuracy"                # of the JSON files that Git holds
runs = "bench/results/seeds.json"       # JSON: `runs`, a list of objects with the metric under the name `key`
key = "test_accuracy"
measure = "make study NAME=seeds"       # the command that writes `runs`
"""

import sys
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from dvcproof.runtime.program import InputError

if sys.version_info >= (3, 11):  # noqa: UP036 # dvcproof alone runs on Python 3.10 too
    import tomllib
else:
    import tomli as tomllib


class ToleranceConfig(BaseModel):
    """The table [tool.dvcproof.tolerance]."""

    model_config = ConfigDict(extra="forbid")

    record: str = ""
    metric: str = ""
    runs: Path
    key: str
    measure: str


class Config(BaseModel):
    """The table [tool.dvcproof]."""

    model_config = ConfigDict(extra="forbid")

    install: str = "Install the packages of `dvc[{}]`."
    tolerance: ToleranceConfig | None = None


def read_config(root: Path) -> Config:
    """Read the configuration of the project in a folder; defaults if it has none. Raise InputError if it is wrong."""
    path = root / "pyproject.toml"
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        return Config.model_validate(document.get("tool", {}).get("dvcproof", {}))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, ("tool.dvcproof", *first["loc"])))
        raise InputError(f"{path}, {name}", first["msg"], hint="Correct it.") from None
    except ValueError as error:
        raise InputError(str(path), f"it is not TOML: {error}", hint="Correct the syntax.") from None
