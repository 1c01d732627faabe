"""What several workers cost, and that they change no byte: `train` on 1, 2, 4 of them on this machine.

python -m bench.workers --workers 1 2 4 --set train.shards=4 --larger dense.units=2048 --data data --out FILE
"""

import argparse
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

from bench.speed import this_machine
from bench.study import PARAMS, data_hashes, parse_values, run_model_stages
from digits.study import study_params
from dvcproof.runtime.files import file_hash, replacing, write_json
from dvcproof.runtime.program import InputError, on_terminal, run
from dvcproof.values import set_params

#: Where Linux counts what the processes of one machine tell each other.
LOOPBACK = "lo"


def train(workers: int, data: Path, folder: Path) -> dict[str, Any]:
    """Train on so many workers: seconds from start to end, bytes through the loopback interface, hash of the model.

    Args:
        workers: how many.
        data: the pipeline's folder with raw/ and prepared/.
        folder: holds params.yaml, and takes the model.

    Raises:
        InputError: it failed.
    """
    launcher = [sys.executable, "-m", "digits", "workers", str(workers), "--"]
    before, start = _loopback_bytes(), time.perf_counter()
    run_model_stages(("train",), f"{workers} workers", data, folder, launcher)
    seconds = time.perf_counter() - start
    exchanged = _loopback_bytes() - before if workers > 1 else 0
    return {"seconds": seconds, "exchanged": exchanged, "sha256": file_hash(folder / "model.keras")}


def _loopback_bytes() -> int:
    return int(psutil.net_io_counters(pernic=True)[LOOPBACK].bytes_recv)


def study(networks: Sequence[Mapping[str, Any]], counts: Sequence[int], data: Path) -> dict[str, Any]:
    """Train each network on each number of workers.

    Args:
        networks: other values than those of params.yaml, by their names.
        counts: numbers of workers.
        data: the pipeline's folder with raw/ and prepared/.

    Raises:
        InputError: workers changed the model, or a training failed.
    """
    valid_for = {"params": study_params(PARAMS, "dense", scored=False), "data": data_hashes()}  # first: it can fail
    runs = []
    for values, workers in tqdm([*itertools.product(networks, counts)], desc="workers", disable=not on_terminal()):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            params = Path(shutil.copy(PARAMS, folder))
            set_params(params, {"train.model": "dense", **values})
            found = train(workers, data, folder)
        runs.append({"values": dict(values), "workers": workers} | found)
    for values in networks:
        if len({one["sha256"] for one in runs if one["values"] == values}) > 1:
            hint = "This must not be: report it."
            raise InputError(f"models of {values}", expected="equal bytes", received="others", hint=hint)
    return valid_for | {"machine": this_machine(), "runs": runs}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.workers", description=__doc__)
    parser.add_argument("--workers", type=int, nargs="+", required=True, help="numbers of workers")
    parser.add_argument("--set", nargs="+", default=[], help="values for both networks: train.shards=4")
    parser.add_argument("--larger", nargs="+", required=True, help="those of the larger network: dense.units=2048")
    parser.add_argument("--data", type=Path, required=True, help="the pipeline's folder with raw/ and prepared/")
    parser.add_argument("--out", type=Path, required=True, help="the JSON to write")
    args = parser.parse_args()
    shared = parse_values(args.set)
    result = study([shared, shared | parse_values(args.larger)], args.workers, args.data)
    with replacing(args.out) as (file,):
        write_json(file, result)
    sys.stdout.write(f"{len(result['runs'])} trainings, one model for each network\n")


if __name__ == "__main__":
    run(main)
