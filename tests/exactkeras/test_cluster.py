"""TF_CONFIG: who trains together, in the forms that clouds write it in; and what is refused."""

import json
from typing import Any

import pytest

from dvcproof.runtime.program import InputError
from exactkeras.cluster import Cluster, read_cluster, require_enough_shards

TWO = ["a.example:2222", "10.0.0.2:2222"]


def config(cluster: Any, task: Any = None, **more: Any) -> dict[str, str]:
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": task, **more})}


def worker(index: Any, kind: str = "worker") -> dict[str, Any]:
    return {"type": kind, "index": index}


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"TF_CONFIG": ""},
        {"TF_CONFIG": "{}"},
        config({"worker": TWO[:1]}, worker(0)),  # what a cloud sets for one machine
        config({"chief": TWO[:1]}, worker(0, "chief")),
        config({}, {"type": "worker", "index": 0}),
    ],
)
def test_one_process_trains_alone(environment: dict[str, str]) -> None:
    assert read_cluster(environment) is None


def test_workers_are_numbered_in_order() -> None:
    for index in (0, 1):
        found = read_cluster(config({"worker": TWO}, worker(index), environment="cloud", rpc_layer="grpc"))
        assert found == Cluster(tuple(TWO), index)
        assert found.name == f"worker {index} of 2 ({TWO[index]})"


def test_a_chief_is_the_first_worker() -> None:
    cluster = {"worker": TWO[1:], "chief": TWO[:1], "evaluator": ["c:1"]}
    assert read_cluster(config(cluster, worker(0, "chief"))) == Cluster(tuple(TWO), 0)
    assert read_cluster(config(cluster, worker(0))) == Cluster(tuple(TWO), 1)


def test_neighbours_share_a_machine() -> None:
    addresses = ("a:1", "a:2", "b:1", "[::1]:1", "[::1]:2", "a:3")
    assert [Cluster(addresses, number).neighbours for number in range(6)] == [3, 3, 1, 2, 2, 3]


REFUSED = {
    "no JSON": ({"TF_CONFIG": "{"}, "no JSON"),
    "deep": ({"TF_CONFIG": "[" * 100_000}, "no JSON (nested too deeply)"),
    "a list": ({"TF_CONFIG": "[]"}, "valid dictionary"),
    "a port beyond the last": (config({"worker": ["a:65536", "b:65535"]}, worker(0)), "at 'cluster.worker.0'"),
    "no port": (config({"worker": ["a", "b:1"]}, worker(0)), "at 'cluster.worker.0'"),
    "a line in an address": (config({"worker": ["a:1\n", "b:1"]}, worker(0)), "at 'cluster.worker.0'"),
    "no task": (config({"worker": TWO}), "no task"),
    "beyond the workers": (config({"worker": TWO}, worker(2)), "a task that is none of them"),
    "before the workers": (config({"worker": TWO}, worker(-1)), "at 'task.index'"),
    "an evaluator": (config({"worker": TWO, "evaluator": ["c:1"]}, worker(0, "evaluator")), "none of them"),
    "one address twice": (config({"worker": ["a:1", "a:1"]}, worker(0)), "one address for two workers"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_another_form_is_refused(case: str) -> None:
    environment, received = REFUSED[case]
    with pytest.raises(InputError, match=r'TF_CONFIG: expected {"cluster": .* Got .* run `unset TF_CONFIG`') as error:
        read_cluster(environment)
    assert received in str(error.value)


def test_each_worker_needs_a_part_of_the_batch() -> None:
    require_enough_shards(Cluster(("a:1", "b:1"), 0), 2)
    message = r"3 workers: expected at most 2, .*'train\.shards'.* Got 3\. Start 2; or raise 'train\.shards'"
    with pytest.raises(InputError, match=message):
        require_enough_shards(Cluster(("a:1", "b:1", "c:1"), 0), 2)
