"""What more images and more workers would take: arithmetic from measured rates, and a simulated exchange.

Measured: seconds an image, on the machine of the studies. Simulated: how long workers exchange their gradients, on a
network that is assumed. docs/scaling.md says which is which.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

#: Bytes of an image as the stages write it: uint8 and float32 pixels, and a label twice.
BYTES = 28 * 28 * (1 + 4) + 2

#: Images of the training set in the study of the convnet, of which some may be kept back.
TRAINING = 60_000

#: Images that each worker computes between two exchanges: the batch of the published recipe.
ROWS = 128


class Links(NamedTuple):
    """A network: what is assumed of it."""

    workers: int = 8  # in one machine
    inside: float = 10e9  # bytes a second between the workers of one machine, all together
    outside: float = 25e9 / 8  # bytes a second into a machine, and as many out of it
    latency: float = 50e-6  # seconds from the end of a message to the start of the next one


#: Machines of eight workers with 25 Gbit/s each, as clouds let them.
LINKS = Links()


def round_seconds(receivers: NDArray[np.int64], size: float, links: Links) -> float:
    """How long it takes if each worker sends one message at the same time.

    Args:
        receivers: of the message of each worker, [workers].
        size: bytes of a message.
        links: the network.
    """
    senders = np.arange(len(receivers)) // links.workers  # their machines
    machines = receivers // links.workers
    within = senders == machines
    inside = np.bincount(senders[within]).max(initial=0) / links.inside
    outside = max(np.bincount(side[~within]).max(initial=0) for side in (senders, machines)) / links.outside
    return float(links.latency + size * max(inside, outside))


def flat(workers: int, weights: int, links: Links) -> float:
    """Seconds of an exchange in slices, each worker with each: of all gradients, and then of their sums.

    In every round each worker sends to the one that is so many places after it. It is what this project does.
    """
    own = np.arange(workers)
    size = 4 * weights / workers
    return 2 * sum(round_seconds((own + shift) % workers, size, links) for shift in range(1, workers))


def hierarchical(workers: int, weights: int, links: Links) -> float:
    """Seconds if the workers of a machine add first, and each then exchanges its slice with those in its place.

    This is another order of adding: the parts of a machine, and then the machines.
    """
    inside = min(workers, links.workers)
    own, machine = np.arange(workers), np.arange(workers) // inside * inside
    near = [machine + (own + shift) % inside for shift in range(1, inside)]
    far = [(own + shift) % workers for shift in range(inside, workers, inside)]
    rounds = [(near, 4 * weights / inside), (far, 4 * weights / workers)]
    return 2 * sum(round_seconds(receivers, size, links) for every, size in rounds for receivers in every)


def rates(speed: Mapping[str, Any], convnet: Mapping[str, Any]) -> dict[str, float]:
    """Seconds an image: to load, preprocess, hash, and train each network for one epoch, on one worker.

    Args:
        speed: the study of speed, of the largest set that it measured.
        convnet: the study of the convnet.
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
    """Weights of each network for images of 28 x 28 pixels in ten classes, from its width."""
    units, filters = speed["params"]["dense"]["units"], convnet["params"]["convnet"]["filters"]
    layers = [(25, 1), (9 * filters, 2), (9 * 2 * filters, 3), (9 * 3 * filters, 4)]
    convolutions = sum((inputs + 1) * times * filters for inputs, times in layers)
    return {"dense": 785 * units + 10 * (units + 1), "convnet": convolutions + 10 * (4 * 4 * 4 * filters + 1)}


def epoch(images: int, workers: int, image: float, exchange: float) -> float:
    """Seconds of an epoch if each worker computes ROWS images between two exchanges.

    Args:
        images: of the training set.
        workers: how many.
        image: seconds that one image takes on one worker.
        exchange: seconds of an exchange.
    """
    return math.ceil(images / (ROWS * workers)) * (ROWS * image + exchange)


def loopback(runs: list[dict[str, Any]]) -> dict[str, float]:
    """Of the training of the first network on most workers: what they exchanged, and took more than one."""
    first = [one for one in runs if one["values"] == runs[0]["values"]]
    alone, most = min(first, key=lambda one: one["workers"]), max(first, key=lambda one: one["workers"])
    return {
        "workers": most["workers"],
        "gigabytes": most["exchanged"] / 1e9,
        "seconds": most["seconds"] - alone["seconds"],
    }
