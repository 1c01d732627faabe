"""Measure the cost of several workers on this machine, and check that they change no byte of the model.

python -m bench.workers --workers 1 2 4 --set train.shards=4 --larger dense.units=2048 --data data --out FILE
"""

import itertools
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
from tqdm import tqdm

from bench.measure import this_machine
from bench.study import parse_values, parser_of, save, trained, valid_for
from dvcproof.runtime.files import file_hash
from dvcproof.runtime.program import InputError, on_terminal, run


def _loopback_bytes() -> int:
    """Return the bytes that the processes of this machine have sent each other (Linux)."""
    return int(psutil.net_io_counters(pernic=True)["lo"].bytes_recv)


def train(values: Mapping[str, Any], workers: int, data: Path) -> dict[str, Any]:
    """Train the dense network with these parameters on several workers.

    Returns:
        Seconds from start to end, bytes exchanged over the loopback interface, and SHA-256 of the model.
    """
    launcher, before = [sys.executable, "-m", "digits", "workers", str(workers), "--"], _loopback_bytes()
    with trained({"train.model": "dense", **values}, f"{workers} workers", data, launcher) as network:
        exchanged = _loopback_bytes() - before if workers > 1 else 0
        sha256 = file_hash(network.folder / "model.keras")
    return {"seconds": network.seconds, "exchanged": exchanged, "sha256": sha256}


def study(networks: Sequence[Mapping[str, Any]], counts: Sequence[int], data: Path) -> dict[str, Any]:
    """Train each network on each number of workers.

    Args:
        networks: for each network, parameters that differ from params.yaml, by name.
        counts: numbers of workers.
        data: the pipeline's folder with raw/ and prepared/.

    Raises:
        InputError: workers changed the model, or a training failed.
    """
    conditions, runs = valid_for("dense", scored=False), []
    for values, workers in tqdm([*itertools.product(networks, counts)], desc="workers", disable=not on_terminal()):
        runs.append({"values": dict(values), "workers": workers} | train(values, workers, data))
    for values in networks:
        if len({one["sha256"] for one in runs if one["values"] == values}) > 1:
            hint = "This must not be: report it."
            raise InputError(f"models of {values}", "several workers gave other bytes than one", hint=hint)
    return conditions | {"machine": this_machine(), "runs": runs}


def main() -> None:
    parser = parser_of("bench.workers", __doc__, data=True)
    parser.add_argument("--workers", type=int, nargs="+", required=True, help="numbers of workers")
    parser.add_argument("--set", nargs="+", default=[], help="values for both networks: train.shards=4")
    parser.add_argument("--larger", nargs="+", required=True, help="values of the larger network: dense.units=2048")
    args = parser.parse_args()
    common = parse_values(args.set)
    result = study([common, common | parse_values(args.larger)], args.workers, args.data)
    save(args.out, result)
    sys.stdout.write(f"{len(result['runs'])} trainings, one model for each network\n")


if __name__ == "__main__":
    run(main)
