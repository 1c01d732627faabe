"""Verify that the results in this repository are what its code, data and parameters give.

freshness: dvc.lock describes what is here, found out without running anything.
rerun: the last commit, run again from nothing in a clean clone, gives equal bytes; a second run executes nothing.
"""

import argparse
import logging
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dvc.exceptions import DvcException

from dvcproof.freshness import Report, check
from dvcproof.messages import printable
from dvcproof.rerun import Clone, repeat, rerun
from dvcproof.runtime.program import InputError, run

STEPS = ("freshness", "rerun")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=STEPS, help="do this step alone (default: both)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="make the clone in this new folder and leave it there")
    args = parser.parse_args()
    logging.getLogger("dvc").setLevel(logging.CRITICAL)
    root = Path.cwd()
    try:
        if args.only in (None, "freshness"):
            _show("freshness", check(root))
        if args.only in (None, "rerun"):
            with _folder(args.keep) as folder:
                clone = Clone(root, folder)
                _say("rerun", f"running every stage of commit {clone.commit} in a clean clone")
                _show("rerun", rerun(clone))
                _show("rerun", repeat(clone))
    except DvcException as error:
        raise InputError(
            "DVC",
            expected="a project that it can read",
            received=str(error),
            hint="Correct it: `dvc status` says more.",
        ) from None


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="verify-") as folder:
            yield Path(folder)
        return
    if keep.exists():
        raise InputError(f"--keep {keep}", expected="a new folder", received="one that exists", hint="Name another.")
    keep.mkdir(parents=True)
    yield keep.resolve()


def _show(step: str, report: Report) -> None:
    """Print a report, and exit with status 1 if it has problems."""
    for note in report.notes:
        _say(step, note)
    if report.problems:
        sys.stdout.flush()
        sys.exit("\n".join(f"ERROR: {problem}" for problem in report.problems))
    _say(step, f"ok, {report.summary}")


def _say(step: str, line: str) -> None:
    sys.stdout.write(f"{step}: {printable(line)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    run(main)
