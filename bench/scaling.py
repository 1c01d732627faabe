"""Compute the seconds of training with more images and more workers, from measured rates and a simulated exchange.

Measured: seconds per image, on the machine of the studies. Simulated: how long workers exchange their gradients, on an
assumed network. docs/scaling.md says which is which.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

#: Bytes of an image in the files of the stages: pixels as uint8 and as float32, and the label twice.
BYTES = 28 * 28 * (1 + 4) + 2

#: Images of the training set in the study of the convnet. Some of them may be kept back.
TRAINING = 60_000

#: Images that each worker computes between two exchanges: the batch of the published recipe.
ROWS = 128


class Links(NamedTuple):
    """The computer network that is assumed."""

    workers: int = 8  # workers in one machine
    inside: float = 10e9  # bytes a second between the workers of one machine, all together
    outside: float = 25e9 / 8  # bytes a second into a machine, and the same rate out of it
    latency: float = 50e-6  # seconds from the end of a message to the start of the next one


#: Machines of eight workers and 25 Gbit/s each, as cloud providers offer them.
LINKS = Links()


def round_seconds(workers: int, leaving: int, size: float, links: Links) -> float:
    """Return the seconds of a round in which each worker sends `size` bytes at the same time.

    Of the workers of each machine, `leaving` send to another machine, and as many messages come from others.
    """
    staying = min(workers, links.workers) - leaving
    return links.latency + size * max(staying / links.inside, leaving / links.outside)


def flat(workers: int, weights: int, links: Links) -> float:
    """Return the seconds of an exchange in slices between all workers: gradients first, then their sums.

    The project does this: in round i, each worker sends to the worker i places after it. All machines are full, or
    there is only one.
    """
    most = links.workers if workers > links.workers else 0
    leaving = (min(shift, workers - shift, most) for shift in range(1, workers))
    return 2 * sum(round_seconds(workers, one, 4 * weights / workers, links) for one in leaving)


def hierarchical(workers: int, weights: int, links: Links) -> float:
    """Return the seconds if the workers of each machine add up first, then machines exchange slices.

    The order of addition differs from that of `flat`, so the model would differ, too.
    """
    inside = min(workers, links.workers)
    near = (inside - 1) * round_seconds(workers, 0, 4 * weights / inside, links)
    far = (workers // inside - 1) * round_seconds(workers, inside, 4 * weights / workers, links)
    return 2 * (near + far)


def rates(speed: Mapping[str, Any], convnet: Mapping[str, Any]) -> dict[str, float]:
    """Return the seconds per image to load, preprocess, hash, and train each network for one epoch on one worker.

    The rates come from the largest data set in the study of speed, and from the study of the convnet.
    """
    times = {name: found["wall"]["median"] for name, found in speed["times"].items()}
    largest = max(
        int(name.removeprefix("train x")) for name in times if name.startswith("train x") and name[7:].isdigit()
    )
    params = convnet["params"]
    trained = params["convnet"]["epochs"] * (TRAINING - params["preprocess"]["validation_size"])
    found = {part: times[f"{part} x{largest}"] / 1e6 for part in ("load", "preprocess")}
    found["hash"] = times["arrays hash"] / 70_000
    found["dense"] = times[f"train x{largest}"] / 1e6
    found["convnet"] = convnet["contestants"][str(params["convnet"]["epochs"])]["seconds"]["mean"] / trained
    return found


def weights(speed: Mapping[str, Any], convnet: Mapping[str, Any]) -> dict[str, int]:
    """Return the number of weights of each network for images of 28 x 28 pixels in ten classes."""
    units, filters = speed["params"]["dense"]["units"], convnet["params"]["convnet"]["filters"]
    layers = [(25, 1), (9 * filters, 2), (9 * 2 * filters, 3), (9 * 3 * filters, 4)]
    convolutions = sum((inputs + 1) * times * filters for inputs, times in layers)
    return {"dense": 785 * units + 10 * (units + 1), "convnet": convolutions + 10 * (4 * 4 * 4 * filters + 1)}


def epoch(images: int, workers: int, image: float, exchange: float) -> float:
    """Return the seconds of an epoch in which each worker computes ROWS images between two exchanges.

    `image` is the seconds of one image on one worker, `exchange` the seconds of one exchange.
    """
    return math.ceil(images / (ROWS * workers)) * (ROWS * image + exchange)


class Row(NamedTuple):
    """The times on some workers: seconds of an exchange of the dense network, and of an epoch of each network."""

    workers: int
    flat: float
    hierarchical: float
    epochs: list[float]
    quicker: tuple[float, ...]  # how many times as fast as one worker, for each network


def by_workers(rates: Mapping[str, float], weights: Mapping[str, int], images: int = 10**9) -> list[Row]:
    """Compute the times of an epoch on 1 to 1000 workers, from the results of `rates` and `weights`."""
    rows: list[Row] = []
    for count in (1, 2, 8, 64, 1000):
        epochs = [epoch(images, count, rates[name], flat(count, size, LINKS)) for name, size in weights.items()]
        quicker = tuple(one / many for one, many in zip(rows[0].epochs if rows else epochs, epochs, strict=True))
        in_slices, in_a_hierarchy = (find(count, weights["dense"], LINKS) for find in (flat, hierarchical))
        rows.append(Row(count, in_slices, in_a_hierarchy, epochs, quicker))
    return rows


def loopback(runs: list[dict[str, Any]]) -> dict[str, float]:
    """Return, for the first network and the most workers, the bytes exchanged and the extra time against one worker."""
    first = [one for one in runs if one["values"] == runs[0]["values"]]
    alone, most = min(first, key=lambda one: one["workers"]), max(first, key=lambda one: one["workers"])
    return {
        "workers": most["workers"],
        "gigabytes": most["exchanged"] / 1e9,
        "seconds": most["seconds"] - alone["seconds"],
    }
