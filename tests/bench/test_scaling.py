"""The arithmetic of docs/scaling.md, and the simulated exchange against a simulation of single messages."""

from collections import Counter

import pytest

from bench import scaling
from bench.scaling import Links
from tests.support.networks import convnet, dense
from tests.support.results import speed_results

#: Rates that give each link another time, and a latency that shows in its own digit.
LINKS = Links(workers=2, inside=10.0, outside=2.0, latency=1000.0)


def by_hand(rounds: list[list[tuple[int, int]]], size: float) -> float:
    """Return the seconds of rounds of messages, each from one worker to another."""
    total = 0.0
    for messages in rounds:
        busy: Counter[tuple[str, int]] = Counter()
        for sender, receiver in messages:
            machines = sender // LINKS.workers, receiver // LINKS.workers
            if machines[0] == machines[1]:
                busy["inside", machines[0]] += size / LINKS.inside  # type: ignore[assignment]
            else:
                busy["out of", machines[0]] += size / LINKS.outside  # type: ignore[assignment]
                busy["into", machines[1]] += size / LINKS.outside  # type: ignore[assignment]
        total += LINKS.latency + max(busy.values())
    return total


@pytest.mark.parametrize("workers", [2, 4, 6, 10])
def test_a_flat_exchange_is_one_of_single_messages(workers: int) -> None:
    weights = 7 * 100
    rounds = [[(own, (own + shift) % workers) for own in range(workers)] for shift in range(1, workers)]
    assert scaling.flat(workers, weights, LINKS) == pytest.approx(2 * by_hand(rounds, 4 * weights / workers))


def test_a_hierarchy_exchanges_inside_first() -> None:
    """Four workers in two machines: 0 and 1, 2 and 3."""
    near, far = [(0, 1), (1, 0), (2, 3), (3, 2)], [(0, 2), (1, 3), (2, 0), (3, 1)]
    expected = 2 * (by_hand([near], 4 * 100 / 2) + by_hand([far], 4 * 100 / 4))
    assert scaling.hierarchical(4, 100, LINKS) == pytest.approx(expected)
    assert scaling.hierarchical(2, 100, LINKS) == scaling.flat(2, 100, LINKS)


def test_rates_are_those_of_the_largest_set() -> None:
    speed = speed_results()
    times = {name: found["wall"]["median"] for name, found in speed["times"].items()}
    params = {"convnet": {"epochs": 7, "filters": 4}, "preprocess": {"validation_size": 10_000}}
    found = scaling.rates(speed, {"params": params, "contestants": {"7": {"seconds": {"mean": 70.0}}}})
    assert found["load"] == times["load x16"] / 1e6
    assert found["dense"] == times["train x16"] / 1e6
    assert found["hash"] == times["arrays hash"] / 70_000
    assert found["convnet"] == pytest.approx(70 / (7 * 50_000))


def test_rows_compare_with_one_worker() -> None:
    assert scaling.epoch(1281, 2, 0.5, 10) == pytest.approx(6 * (64 + 10))  # the last step has fewer images
    alone, two, *_, most = scaling.by_workers({"dense": 1e-4, "convnet": 1e-3}, {"dense": 400_000, "convnet": 100_000})
    assert (alone.workers, alone.flat, alone.quicker) == (1, 0, (1, 1))
    assert alone.epochs == pytest.approx([1e5, 1e6])
    assert two.flat == two.hierarchical  # on one machine both exchanges are the same
    assert most.hierarchical < most.flat
    assert most.quicker[1] == alone.epochs[1] / most.epochs[1] > most.quicker[0]


@pytest.mark.usefixtures("tensorflow")
def test_weights_are_those_of_the_networks() -> None:
    found = scaling.weights({"params": {"dense": {"units": 16}}}, {"params": {"convnet": {"filters": 4}}})
    built = {"dense": dense(units=16), "convnet": convnet(filters=4)}
    assert found == {name: network.build((28, 28), 10).count_params() for name, network in built.items()}
