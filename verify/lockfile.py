"""dvc.lock as facts that can be compared one by one: what it records of each stage's command, inputs and outputs."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

#: The section `stages` of a dvc.lock: name of a stage to its cmd, deps, params and outs.
Stages = Mapping[str, Mapping[str, Any]]


class Fact(NamedTuple):
    """What a record is about."""

    stage: str
    kind: Literal["command", "dependency", "parameter", "output"]
    name: str  # a path, 'train.seed in params.yaml', or nothing for the command

    def __str__(self) -> str:
        return f"stage '{self.stage}', {self.kind} {self.name}".rstrip()


class Change(NamedTuple):
    """A fact of which two records disagree. None: that record does not have it."""

    fact: Fact
    recorded: str | None
    found: str | None


def facts(stages: Stages) -> dict[Fact, str]:
    """Take a lock apart: every fact with what is recorded of it, as text. 1, 1.0 and true are different texts."""
    found = {}
    for stage, entry in stages.items():
        found[Fact(stage, "command", "")] = str(entry["cmd"])
        for item in entry.get("deps", []):
            found[Fact(stage, "dependency", item["path"])] = _content(item)
        for item in entry.get("outs", []):
            found[Fact(stage, "output", item["path"])] = _content(item)
        for file, values in entry.get("params", {}).items():
            for name, value in _leaves(values):
                found[Fact(stage, "parameter", f"{name} in {file}")] = value
    return found


def changes(recorded: Stages, found: Stages) -> list[Change]:
    """The facts of which two locks disagree, in the order of `recorded`, of stages that are in both."""
    old = facts({name: entry for name, entry in recorded.items() if name in found})
    new = facts({name: entry for name, entry in found.items() if name in recorded})
    return [Change(fact, old.get(fact), new.get(fact)) for fact in {**old, **new} if old.get(fact) != new.get(fact)]


def causes(found: list[Change]) -> list[Change]:
    """Changes without the dependencies that differ only because the output that they are does."""
    outputs = {change.fact.name for change in found if change.fact.kind == "output"}
    return [change for change in found if change.fact.kind != "dependency" or change.fact.name not in outputs]


def _content(item: Mapping[str, Any]) -> str:
    """The record of a file or folder: 'md5 0cc1…, size 128'."""
    return ", ".join(f"{key} {value}" for key, value in item.items() if key not in ("path", "hash"))


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _leaves(inner, f"{name}.{key}" if name else str(key))
    else:
        yield name, json.dumps(value, default=str)
