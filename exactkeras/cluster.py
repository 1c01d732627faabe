"""The machines, or processes, that train one model together: as the variable TF_CONFIG names them.

Kubernetes operators and the trainers of clouds set it, and so does `python -m digits workers`, for this machine.
"""

from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, Field, ValidationError

from dvcproof.runtime.bounds import parse_json
from dvcproof.runtime.program import InputError

#: The variable of the environment.
NAME = "TF_CONFIG"

#: Kinds of processes that train, in the order of their numbers. Others only watch, or hold weights for many.
KINDS = ("chief", "worker")

#: A port is a number up to 65535.
_PORT = r"(?:[1-9]\d{0,3}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d{2}|655[0-2]\d|6553[0-5])"
Address = Annotated[str, Field(pattern=rf"^[\w.:\[\]-]+:{_PORT}$", max_length=300)]


class _Task(BaseModel):
    type: str
    index: int = Field(ge=0)


class _Config(BaseModel):
    """What is read of TF_CONFIG; clouds add more."""

    cluster: dict[str, list[Address]] = Field(default={}, max_length=8)
    task: _Task | None = None


class Cluster(NamedTuple):
    """Who trains, and which of them this process is."""

    addresses: tuple[str, ...]  # host:port of each worker
    number: int  # of this one, from 0

    @property
    def name(self) -> str:
        """This worker in messages."""
        return f"worker {self.number} of {len(self.addresses)} ({self.addresses[self.number]})"

    @property
    def neighbours(self) -> int:
        """Workers on the machine of this one, with it."""
        hosts = [address.rpartition(":")[0] for address in self.addresses]
        return hosts.count(hosts[self.number])


def read_cluster(environment: Mapping[str, str]) -> Cluster | None:
    """The cluster that this process belongs to; None if it trains alone.

    Args:
        environment: of the process.

    Raises:
        InputError: TF_CONFIG is there and is not what it should be.
    """
    text = environment.get(NAME, "")
    if not text.strip():
        return None
    try:
        config = _Config.model_validate(parse_json(text))
    except ValidationError as error:
        raise _refusal(_explained(error.errors()[0])) from None
    except ValueError as error:
        raise _refusal(f"no JSON ({error})") from None
    addresses = [address for kind in KINDS for address in config.cluster.get(kind, [])]
    if len(addresses) < 2:
        return None
    task = config.task
    if task is None or task.type not in KINDS or task.index >= len(config.cluster.get(task.type, [])):
        raise _refusal("a task that is none of them" if task else "no task")
    if len(set(addresses)) < len(addresses):
        raise _refusal("one address for two workers")
    before = len(config.cluster.get("chief", [])) if task.type == "worker" else 0
    return Cluster(tuple(addresses), before + task.index)


def _explained(error: Any) -> str:
    return f"at '{'.'.join(map(str, error['loc']))}' one of which is said: {error['msg']}"


def _refusal(received: str) -> InputError:
    return InputError(
        NAME,
        expected='{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}',
        received=received,
        hint=f"Correct it, or run `unset {NAME}` to train in this process alone.",
    )


def require_enough_shards(cluster: Cluster, shards: int) -> None:
    """Refuse workers that would have no part of a batch.

    Args:
        cluster: the workers.
        shards: parts of a batch.

    Raises:
        InputError: there are more workers than parts.
    """
    if len(cluster.addresses) > shards:
        raise InputError(
            f"{len(cluster.addresses)} workers",
            expected=f"at most {shards}, one for each part of a batch ('train.shards' in params.yaml)",
            received=str(len(cluster.addresses)),
            hint=f"Start {shards}; or raise 'train.shards' first, which trains another model.",
        )
