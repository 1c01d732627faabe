"""Measure what several workers cost, and that they change no byte: `train` on 1, 2, 4 of them on this machine.

python -m bench.workers --workers 1 2 4 --set train.shards=4 --larger dense.units=2048 --data data --out FILE
"""

import itertools
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
from tqdm import tqdm

from bench.measure import this_machine
from bench.study import PARAMS, parse_values, parser_of, run_model_stages, save, valid_for
from dvcproof.runtime.files import file_hash
from dvcproof.runtime.program import InputError, on_terminal, run
from dvcproof.values import set_params


def _loopback_bytes() -> int:
    """Return what the processes of this machine have sent each other (Linux)."""
    return int(psutil.net_io_counters(pernic=True)["lo"].bytes_recv)


def train(workers: int, data: Path, folder: Path) -> dict[str, Any]:
    """Train on several workers in a folder that holds params.yaml.

    Returns:
        Seconds from start to end, bytes exchanged over the loopback interface, and SHA-256 of the model.
    """
    launcher = [sys.executable, "-m", "digits", "workers", str(workers), "--"]
    before, start = _loopback_bytes(), time.perf_counter()
    run_model_stages(("train",), f"{workers} workers", data, folder, launcher)
    seconds = time.perf_counter() - start
    exchanged = _loopback_bytes() - before if workers > 1 else 0
    return {"seconds": seconds, "exchanged": exchanged, "sha256": file_hash(folder / "model.keras")}


def study(networks: Sequence[Mapping[str, Any]], counts: Sequence[int], data: Path) -> dict[str, Any]:
    """Train each network on each number of workers.

    Args:
        networks: values that differ from params.yaml, by their names.
        counts: numbers of workers.
        data: the pipeline's folder with raw/ and prepared/.

    Raises:
        InputError: workers changed the model, or a training failed.
    """
    conditions, runs = valid_for("dense", scored=False), []
    for values, workers in tqdm([*itertools.product(networks, counts)], desc="workers", disable=not on_terminal()):
        with tempfile.TemporaryDirectory() as folder:
            set_params(Path(shutil.copy(PARAMS, folder)), {"train.model": "dense", **values})
            runs.append({"values": dict(values), "workers": workers} | train(workers, data, Path(folder)))
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
