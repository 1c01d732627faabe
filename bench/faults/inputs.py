"""Give damaged and hostile inputs to every reader, and check that each is read correctly or refused in one line.

Child processes read the inputs, with limits of memory and time. If a child dies, its parent counts that as wrong.
"""

import json
import resource
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

#: The number of inputs that a child reads, and the seconds after which it is killed: many inputs may be slow.
BATCH = 500
PATIENCE = 1200


def inject(count: int, processes: int = 2) -> dict[str, Counter[str]]:
    """Give `count` inputs to the readers, with several children at a time.

    Returns:
        For each kind of reader, the number of inputs and the number of each Outcome.
    """
    counts = {kind: Counter(dict.fromkeys(("injected", *Outcome), 0)) for kind in KINDS}
    batches: list[tuple[str, int, int]] = [
        (kind, start, min(BATCH, total - start))
        for kind, (_, _, percent) in KINDS.items()
        for total in [max(1, round(count * percent / 100))]
        for start in range(0, total, BATCH)
    ]
    with ThreadPoolExecutor(processes) as pool:
        for (kind, *_), outcomes in zip(batches, pool.map(_batch, batches), strict=True):
            counts[kind].update([*outcomes, *["injected"] * len(outcomes)])
    return counts


def _batch(batch: tuple[str, int, int]) -> list[str]:
    """Let a child read inputs, and return the outcomes.

    If the child dies or hangs, the input that it was reading is the last to count.
    """
    kind, seed, count = batch
    end = None
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "bench.faults.inputs", kind, str(seed), str(count), folder]
        try:
            child = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=False)
            output = child.stdout
            if child.returncode:
                end = Outcome.WRONG, f"the child died with exit status {child.returncode}: {child.stderr[-500:]!r}"
        except subprocess.TimeoutExpired as error:
            output, end = error.stdout or b"", (Outcome.STUCK, f"the child runs for more than {PATIENCE} s")
    verdicts = [*map(json.loads, output.splitlines()), *([end] if end else [])]
    for outcome, problem in verdicts:
        if outcome in BAD:
            sys.stderr.write(f"{kind}, seed {seed}: {outcome}: {problem}\n")
    return [outcome for outcome, _ in verdicts]


def main() -> None:
    """Generate inputs and read them; print a line of JSON for each."""
    from bench.faults.readers import reader

    kind, seed, count, folder = sys.argv[1:]
    read = reader(kind)
    limit = peak_bytes(field="VmData") + 3 * MEGABYTES * 2**20  # only protects the machine: `attempt` measures the peak
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))

    phases, checks = [hypothesis.Phase.generate], list(hypothesis.HealthCheck)
    settings = hypothesis.settings(database=None, deadline=None, phases=phases, suppress_health_check=checks)

    @hypothesis.settings(settings, max_examples=int(count))
    @hypothesis.seed(int(seed))
    @hypothesis.given(inputs(kind))
    def one(files: Files) -> None:
        outcome, problem = attempt(read, write(Path(folder, "case"), files))
        print(json.dumps([outcome, problem[:2000]]), flush=True)

    one()


if __name__ == "__main__":
    main()
