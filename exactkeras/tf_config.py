"""The workers that train one model together. The environment variable TF_CONFIG names them; clouds usually set it."""

from collections.abc import Mapping
from typing import Annotated, NamedTuple

from pydantic import BaseModel, Field, ValidationError

from dvcproof.runtime.bounds import parse_json
from dvcproof.runtime.program import InputError

NAME = "TF_CONFIG"

#: The kinds of processes that train, in the order of their numbers.
KINDS = ("chief", "worker")

#: A port is a number up to 65535.
_PORT = r"(?:[1-9]\d{0,3}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d{2}|655[0-2]\d|6553[0-5])"
Address = Annotated[str, Field(pattern=rf"^[\w.:\[\]-]+:{_PORT}$", max_length=300)]


class _Task(BaseModel):
    type: str
    index: int = Field(ge=0)


class _Config(BaseModel):  # clouds add more fields, which are ignored
    cluster: dict[str, list[Address]] = Field(default={}, max_length=8)
    task: _Task | None = None


class Cluster(NamedTuple):
    """The workers, and the number of this worker."""

    addresses: tuple[str, ...]  # host:port of each worker
    number: int  # of this worker, from 0

    @property
    def name(self) -> str:
        return f"worker {self.number} of {len(self.addresses)} ({self.addresses[self.number]})"

    @property
    def neighbours(self) -> int:
        """Return the number of workers on this machine, including this one."""
        hosts = [address.rpartition(":")[0] for address in self.addresses]
        return hosts.count(hosts[self.number])


def read_cluster(environment: Mapping[str, str]) -> Cluster | None:
    """Read the cluster of this process from TF_CONFIG. Return None if the process trains alone.

    Raise InputError if TF_CONFIG is invalid.
    """
    text = environment.get(NAME, "")
    if not text.strip():
        return None
    try:
        config = _Config.model_validate(parse_json(text))
    except ValidationError as error:
        first = error.errors()[0]
        raise _invalid(f"invalid at '{'.'.join(map(str, first['loc']))}': {first['msg']}") from None
    except ValueError as error:
        raise _invalid(f"invalid JSON ({error})") from None
    addresses = [address for kind in KINDS for address in config.cluster.get(kind, [])]
    task = config.task
    if len(addresses) < 2:
        return None
    if task is None:
        raise _invalid("the task is missing")
    if task.type not in KINDS or task.index >= len(config.cluster.get(task.type, [])):
        raise _invalid("the task is not one of the workers")
    if len(set(addresses)) < len(addresses):
        raise _invalid("two workers have the same address")
    before = len(config.cluster.get("chief", [])) if task.type == "worker" else 0
    return Cluster(tuple(addresses), before + task.index)


def _invalid(problem: str) -> InputError:
    form = '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}'
    return InputError(NAME, problem, hint=f"Set it to {form}, or run `unset {NAME}` to train in this process alone.")


def require_enough_shards(cluster: Cluster, shards: int) -> None:
    """Raise InputError if there are more workers than shards: a worker would have no part of a batch."""
    if len(cluster.addresses) > shards:
        raise InputError(
            "number of workers",
            expected=f"at most {shards}, one for each of the shards of a batch",
            received=str(len(cluster.addresses)),
            hint=f"Start {shards} workers; or set more shards, which trains another model.",
        )
