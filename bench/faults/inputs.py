"""Generated inputs, damaged and hostile, to every reader of the pipeline: each is read rightly or refused in one line.

python -m bench.faults.inputs --count 20000

Child processes read them, one at a time, with limits of memory and time. What a child does not survive is counted by
its parent, which starts another.
"""

import argparse
import json
import resource
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.faults.files import Files, write
from bench.faults.judge import MEGABYTES, OUTCOMES, RIGHT, attempt, memory

#: The fraction of the inputs that each kind of reader gets. Those of models take a tenth of a second each.
SHARES = {
    "params": 0.2,
    "lock": 0.1,
    "npz": 0.2,
    "idx": 0.16,
    "npy": 0.16,
    "metrics": 0.1,
    "pictures": 0.05,
    "models": 0.03,
}

#: Inputs that a child reads before another takes its place, and seconds until a silent child is killed.
BATCH = 500
SILENCE = 60


def inject(count: int, *, seed: int = 0, processes: int = 2, keep: Path | None = None) -> dict[str, dict[str, int]]:
    """Give so many inputs to the readers, and count what becomes of them.

    Args:
        count: of inputs, over all kinds.
        seed: of their generation.
        processes: that read them.
        keep: a folder for the inputs that were not treated rightly, if they are to be kept.

    Returns:
        For each kind of SHARES, how many inputs had each of OUTCOMES.
    """
    counts = {kind: Counter(dict.fromkeys(OUTCOMES, 0)) for kind in SHARES}
    batches = [
        (kind, seed * 10**6 + start, min(BATCH, total - start))
        for kind, share in SHARES.items()
        for total in [max(1, round(count * share))]
        for start in range(0, total, BATCH)
    ]
    with ThreadPoolExecutor(processes) as pool:
        for (kind, *_), found in zip(batches, pool.map(lambda batch: _batch(*batch, keep=keep), batches), strict=True):
            counts[kind].update(found)
    return {kind: dict(found) for kind, found in counts.items()}


def _batch(kind: str, seed: int, count: int, *, keep: Path | None) -> Counter[str]:
    """Have a child read so many inputs, and others go on where it ends."""
    found: Counter[str] = Counter()
    while (left := count - found.total()) > 0:
        with tempfile.TemporaryDirectory() as folder:
            started = found.total()
            for outcome, problem in _child(kind, seed + started, left, Path(folder)):
                found[outcome] += 1
                if outcome not in RIGHT:
                    _report(kind, outcome, problem, Path(folder), keep)
                if found.total() == count:
                    break
            if found.total() == started:
                raise RuntimeError(f"the child for {kind} reads nothing")
    return found


def _child(kind: str, seed: int, count: int, folder: Path) -> Iterator[tuple[str, str]]:
    """What a child makes of its inputs: a pair of outcome and problem for each, as they come."""
    command = [sys.executable, "-m", "bench.faults.inputs", "--child", kind, str(seed), str(count), str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout  # noqa: S101 (for mypy)
        while True:
            silent = not select.select([child.stdout], [], [], SILENCE)[0]
            line = b"" if silent else child.stdout.readline()
            if not line:
                break
            yield tuple(json.loads(line))
        if silent:
            child.kill()
        noise = child.stderr.read().decode(errors="replace") if child.stderr else ""
    if silent:
        yield "slow", f"nothing for {SILENCE} s"
    elif child.returncode:
        yield "died", f"exit status {child.returncode}: {noise[-500:]}"


def _report(kind: str, outcome: str, problem: str, folder: Path, keep: Path | None) -> None:
    sys.stderr.write(f"{kind}: {outcome}: {problem}\n")
    if keep:
        target = keep / f"{kind}-{outcome}-{time.time_ns()}"
        case = folder / "failed" if (folder / "failed").exists() else folder / "case"
        shutil.copytree(case, target, symlinks=True, copy_function=_copy)


def _copy(source: str, target: str) -> None:
    if Path(source).is_file():
        shutil.copyfile(source, target)


def child(kind: str, seed: int, count: int, folder: Path) -> None:
    """Generate inputs and read them; a line of JSON on standard output for each."""
    import hypothesis

    from bench.faults.generate import generator
    from bench.faults.readers import READERS

    read = READERS[kind]()
    limit = (memory("VmData") + 3 * MEGABYTES) * 2**20  # for the machine's sake; the peak is measured besides
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    sys.stdout.flush()

    @hypothesis.settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.seed(seed)
    @hypothesis.given(generator(kind))
    def one(files: Files) -> None:
        shutil.rmtree(folder / "failed", ignore_errors=True)
        case = write(folder / "case", files)
        outcome, problem = attempt(read, case)
        if outcome not in RIGHT:
            case.rename(folder / "failed")
        sys.stdout.write(json.dumps([outcome, problem[:2000]]) + "\n")
        sys.stdout.flush()

    one()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.faults.inputs", description=__doc__)
    parser.add_argument("--count", type=int, default=20000, help="inputs, over all kinds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for the inputs that were not treated rightly")
    parser.add_argument("--child", nargs=4, metavar=("KIND", "SEED", "COUNT", "FOLDER"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        kind, seed, count, folder = args.child
        child(kind, int(seed), int(count), Path(folder))
    else:
        print(json.dumps(inject(args.count, seed=args.seed, keep=args.keep), indent=2))


if __name__ == "__main__":
    main()
