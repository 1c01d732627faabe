"""Give generated inputs, damaged and hostile, to every reader: each is read correctly or refused in one line.

python -m bench.faults.inputs --count 20000

Child processes read them, with limits of memory and time. If one dies, its parent counts that.
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import hypothesis

from bench.faults.files import Files, write
from bench.faults.generate import KINDS, inputs
from bench.faults.judge import BAD, MEGABYTES, Outcome, attempt
from bench.measure import peak_bytes

#: Inputs that a child reads, and seconds after which it is killed. Many of its inputs may be slow.
BATCH = 500
PATIENCE = 1200


def inject(count: int, *, seed: int = 0, processes: int = 2, keep: Path | None = None) -> dict[str, Counter[str]]:
    """Give `count` inputs to the readers. Returns by kind how many were injected, and how many had each Outcome.

    Args:
        count: number of inputs, over all kinds.
        seed: seed of their generation.
        processes: number of children at a time.
        keep: a folder for the inputs that were not treated correctly; without it they are removed.
    """
    counts = {kind: Counter(dict.fromkeys(("injected", *Outcome), 0)) for kind in KINDS}
    batches: list[tuple[str, int, int]] = [
        (kind, seed * 10**6 + start, min(BATCH, total - start))
        for kind, (_, _, percent) in KINDS.items()
        for total in [max(1, round(count * percent / 100))]
        for start in range(0, total, BATCH)
    ]
    with ThreadPoolExecutor(processes) as pool, tempfile.TemporaryDirectory() as temporary:
        folder = keep or Path(temporary)
        found = pool.map(lambda batch: _batch(batch, folder), batches)
        for (kind, *_), outcomes in zip(batches, found, strict=True):
            counts[kind].update([*outcomes, *["injected"] * len(outcomes)])
    return counts


def _batch(batch: tuple[str, int, int], folder: Path) -> list[str]:
    """Let a child read inputs. If it dies or hangs, the input at which it did is the last one that counts."""
    kind, seed, count = batch
    command = [sys.executable, "-m", "bench.faults.inputs", "--child", kind, str(seed), str(count)]
    end = None
    try:
        child = subprocess.run(
            [*command, str(folder / f"{kind}-{seed}")], capture_output=True, timeout=PATIENCE, check=False
        )
        output = child.stdout
        if child.returncode:
            end = Outcome.WRONG, f"the child died with exit status {child.returncode}: {child.stderr[-500:]!r}"
    except subprocess.TimeoutExpired as error:
        output, end = error.stdout or b"", (Outcome.STUCK, f"the child runs for more than {PATIENCE} s")
    verdicts = [*map(json.loads, output.splitlines()), *([end] if end else [])]
    for outcome, problem in verdicts:
        if outcome in BAD:
            sys.stderr.write(f"{kind}: {outcome}: {problem}\n")
    return [outcome for outcome, _ in verdicts]


def child(kind: str, seed: int, count: int, folder: Path) -> None:
    """Generate inputs and read them; print a line of JSON for each. In `folder` only bad inputs are left."""
    from bench.faults.readers import reader

    read = reader(kind)
    limit = peak_bytes(field="VmData") + 3 * MEGABYTES * 2**20  # protects the machine; the peak is measured besides
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))

    phases, checks = [hypothesis.Phase.generate], list(hypothesis.HealthCheck)
    settings = hypothesis.settings(database=None, deadline=None, phases=phases, suppress_health_check=checks)

    @hypothesis.settings(settings, max_examples=count)
    @hypothesis.seed(seed)
    @hypothesis.given(inputs(kind))
    def one(files: Files) -> None:
        case = write(folder / "case", files)
        outcome, problem = attempt(read, case)
        if outcome in BAD:
            case.rename(folder / f"{outcome}-{len(list(folder.iterdir()))}")
        print(json.dumps([outcome, problem[:2000]]), flush=True)

    one()
    shutil.rmtree(folder / "case", ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.faults.inputs", description=__doc__)
    parser.add_argument("--count", type=int, default=20000, help="number of inputs, over all kinds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for the inputs that were not treated correctly")
    parser.add_argument("--child", nargs=4, metavar=("KIND", "SEED", "COUNT", "FOLDER"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        kind, seed, count, folder = args.child
        child(kind, int(seed), int(count), Path(folder))
    else:
        print(json.dumps(inject(args.count, seed=args.seed, keep=args.keep), indent=2))


if __name__ == "__main__":
    main()
