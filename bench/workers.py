"""Measure the cost of several workers on this machine, and check that they change no byte of the model.

python -m bench.workers --workers 1 2 4 --set train.shards=4 --larger dense.units=2048 --data data --out FILE
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
from tqdm import tqdm

from bench.measure import this_machine
from bench.study import parameter, parser_of, save, trained, valid_for
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


def main() -> None:
    parser = parser_of("bench.workers", __doc__, data=True)
    parser.add_argument("--workers", type=int, nargs="+", required=True, help="numbers of workers")
    parser.add_argument("--set", nargs="+", type=parameter, default=[], help="for both networks: train.shards=4")
    parser.add_argument("--larger", nargs="+", type=parameter, required=True, help="for the larger: dense.units=2048")
    args = parser.parse_args()
    conditions, runs = valid_for("dense", scored=False), []
    steps = [(dict([*args.set, *more]), workers) for more in (args.set, args.larger) for workers in args.workers]
    for values, workers in tqdm(steps, desc="workers", disable=not on_terminal()):
        runs.append({"values": values, "workers": workers} | train(values, workers, args.data))
        models = {one["sha256"] for one in runs if one["values"] == values}
        if len(models) > 1:
            hint = "This should never happen: report it."
            raise InputError(f"models of {values}", "their bytes depend on the number of workers", hint=hint)
    save(args.out, conditions | {"machine": this_machine(), "runs": runs})
    sys.stdout.write(f"{len(runs)} trainings, one model for each network\n")


if __name__ == "__main__":
    run(main)
