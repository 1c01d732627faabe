"""TF_CONFIG: the list of workers, in the forms that clouds write; and refused values."""

import json
from typing import Any

import pytest

from dvcproof.runtime.program import InputError
from exactkeras.tf_config import Cluster, read_cluster, require_enough_shards

TWO = ["a.example:2222", "10.0.0.2:2222"]


def config(cluster: Any, kind: str = "worker", index: int = 0, **more: Any) -> dict[str, str]:
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}, **more})}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"TF_CONFIG": ""}, None),
        (config({"worker": TWO[:1]}), None),  # a cloud sets it for one machine too
        (config({"chief": TWO[:1]}, "chief"), None),
        (config({"worker": TWO}, index=1, environment="cloud", rpc_layer="grpc"), 1),
        (config({"worker": TWO[1:], "chief": TWO[:1], "evaluator": ["c:1"]}, "chief"), 0),
        (config({"worker": TWO[1:], "chief": TWO[:1]}), 1),  # a chief is the first worker
    ],
)
def test_the_workers_are_read_in_order(environment: dict[str, str], expected: int | None) -> None:
    assert read_cluster(environment) == (None if expected is None else Cluster(tuple(TWO), expected))


def test_neighbours_share_a_machine() -> None:
    addresses = ("a:1", "a:2", "b:1", "[::1]:1", "[::1]:2", "a:3")
    assert [Cluster(addresses, number).neighbours for number in range(6)] == [3, 3, 1, 2, 2, 3]
    assert Cluster(addresses, 2).name == "worker 2 of 6 (b:1)"


@pytest.mark.parametrize(
    ("environment", "problem"),
    [
        ({"TF_CONFIG": "{"}, "invalid JSON"),
        ({"TF_CONFIG": "[" * 100_000}, "invalid JSON (nested too deeply)"),
        (config({"worker": ["a:65536", "b:65535"]}), "invalid at 'cluster.worker.0'"),
        (config({"worker": ["a:1\n", "b:1"]}), "invalid at 'cluster.worker.0'"),
        ({"TF_CONFIG": json.dumps({"cluster": {"worker": TWO}})}, "the task is missing"),
        (config({"worker": TWO}, index=2), "the task is not one of the workers"),
        (config({"worker": TWO}, index=-1), "invalid at 'task.index'"),
        (config({"worker": TWO, "evaluator": ["c:1"]}, "evaluator"), "the task is not one of the workers"),
        (config({"worker": ["a:1", "a:1"]}), "two workers have the same address"),
    ],
)
def test_another_form_is_refused(environment: dict[str, str], problem: str) -> None:
    with pytest.raises(InputError, match=r'^TF_CONFIG: .* Set it to {"cluster": .*, or run `unset TF_CONFIG`') as error:
        read_cluster(environment)
    assert problem in str(error.value)


def test_each_worker_needs_a_part_of_the_batch() -> None:
    require_enough_shards(Cluster(("a:1", "b:1"), 0), 2)
    with pytest.raises(InputError, match=r"workers: expected at most 2, .*\. Got 3\. Start 2 workers"):
        require_enough_shards(Cluster(("a:1", "b:1", "c:1"), 0), 2)
