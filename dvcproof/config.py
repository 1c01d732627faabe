"""Read the settings of a project: the table [tool.dvcproof] in its pyproject.toml. Each part is optional.

[tool.dvcproof]
install = "Run `make setup WITH={}`."   # shown if packages for a kind of remote are missing; {}: the kind
renew = "Run `make clean repro`."       # shown if the virtual environment must be made again
python = "Run `make repro`."            # shown if another Python was used than that of the virtual environment

[tool.dvcproof.tolerance]               # used on a machine where results differ in bits
record = "data/platform.json"           # JSON of a stage; `may_differ_in_bits_because` lists reasons
metric = "test.accuracy"                # the compared value, in a JSON file that Git tracks
runs = "bench/results/seeds.json"       # JSON: `runs` is a list of objects; each has the metric as `key`
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
    renew: str = ""
    python: str = ""
    tolerance: ToleranceConfig | None = None


def read_config(root: Path) -> Config:
    """Return the configuration of the project in a folder, or the defaults. Raise InputError if it is not valid."""
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
