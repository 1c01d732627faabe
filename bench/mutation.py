"""Put each fault of a list into a copy of the project, and check whether the tests named for it then fail.

python -m bench mutation --out results.json --select "not slow"

A fault is an object of the JSON list: `name`, `kind`, `edits` (`old`, which stands once in `file`, becomes `new`) and
the `tests` that should find it. An object without edits is a control, whose tests break something themselves: it is
killed if each of its tests runs and passes. `--out` is written after each fault. Faults that already have a result
there are not run again, except those that ended in an error.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from dvcproof.runtime.program import run

SECONDS = 300  # time limit for the tests of one fault
PASSED, NO_TESTS = 0, 5  # exit statuses of pytest


class Outcome(NamedTuple):
    """The result of a run of tests."""

    status: int | None  # exit status of pytest; None: it ran out of time
    seconds: float
    passed: int
    failed: str | None  # the first test that failed


@contextmanager
def copied(project: Path) -> Iterator[Path]:
    """Clone the project's last commit into a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        copy = Path(folder, "project")
        subprocess.run(["git", "clone", "--quiet", str(project.resolve()), str(copy)], check=True)
        yield copy


@contextmanager
def edited(root: Path, edits: Sequence[dict[str, str]]) -> Iterator[None]:
    """Make a fault's edits, and undo them at the end of the block.

    Raises:
        ValueError: a text to replace does not stand exactly once in its file.
    """
    before: dict[Path, str] = {}
    try:
        for edit in edits:
            path = root / edit["file"]
            text = path.read_text(encoding="utf-8")
            if (times := text.count(edit["old"])) != 1:
                raise ValueError(f"{edit['old']!r} stands {times} times in {edit['file']}")
            before.setdefault(path, text)
            path.write_text(text.replace(edit["old"], edit["new"]), encoding="utf-8")
        yield
    finally:
        for path, text in before.items():
            path.write_text(text, encoding="utf-8")


def run_tests(python: Path, root: Path, tests: Sequence[str], select: str | None) -> Outcome:
    """Run tests in the virtual environment of `python`, up to the first failure."""
    options = ("-o", "addopts=", "-o", f"cache_dir={root.parent / 'cache'}", *(("-m", select) if select else ()))
    command = [str(python), "-m", "pytest", "-x", "-q", "--tb=no", "-rfE", *options, *tests]
    variables = os.environ | {"PATH": f"{python.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
    start = time.monotonic()
    with tempfile.TemporaryFile("w+", errors="replace") as out:  # processes that are left over would keep a pipe open
        process = subprocess.Popen(command, cwd=root, env=variables, stdout=out, stderr=out, start_new_session=True)
        try:
            process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            pass
        finally:
            status = process.poll()
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # also ends processes that the tests have started
            process.wait()
        out.seek(0)
        text = out.read()
    passed = re.search(r"\b(\d+) passed", text)
    failed = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", text, re.MULTILINE)
    seconds = round(time.monotonic() - start, 1)
    return Outcome(status, seconds, int(passed[1]) if passed else 0, failed[1] if failed else None)


def judge(fault: dict[str, Any], unedited: Outcome, python: Path, root: Path, select: str | None) -> dict[str, Any]:
    """Return whether the tests of a fault find it, given their outcome on the unedited project."""
    found, killed, error = unedited, False, ""
    if unedited.status not in (PASSED, NO_TESTS):
        error = f"its tests fail without the fault: {unedited.failed or f'status {unedited.status}'}"
    elif not fault["edits"]:
        killed = unedited.passed >= len(fault["tests"])
    elif unedited.passed:
        try:
            with edited(root, fault["edits"]):
                found = run_tests(python, root, fault["tests"], select)
            killed = found.status not in (PASSED, NO_TESTS)
        except (OSError, ValueError) as problem:
            error = str(problem)
    result = {"name": fault["name"], "kind": fault["kind"], "killed": killed, "seconds": found.seconds}
    return result | {"first failing test": found.failed} | ({"error": error} if error else {})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=Path, required=True, help="the list of faults, JSON")
    parser.add_argument("--project", type=Path, default=Path(), help="the repository whose last commit is tested")
    parser.add_argument("--python", type=Path, default=Path(sys.executable), help="has the packages of the tests")
    parser.add_argument("--select", metavar="MARKEXPR", help="run only these tests, as with pytest's -m")
    parser.add_argument("--kinds", nargs="+", help="only faults of these kinds")
    parser.add_argument("--out", type=Path, required=True, help="JSON file for the results, an object a fault")
    args = parser.parse_args()
    faults = [fault for fault in json.loads(args.faults.read_text()) if not args.kinds or fault["kind"] in args.kinds]
    results = [one for one in json.loads(args.out.read_text()) if "error" not in one] if args.out.exists() else []
    known, unedited = {one["name"] for one in results}, dict[tuple[str, ...], Outcome]()
    python = args.python.absolute()  # not resolved: the symlink lies in its virtual environment
    with copied(args.project) as root:
        for fault in (fault for fault in faults if fault["name"] not in known):
            tests = tuple(fault["tests"])
            if tests not in unedited:
                unedited[tests] = run_tests(python, root, tests, args.select)
            results.append(judge(fault, unedited[tests], python, root, args.select))
            args.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
            print(json.dumps(results[-1]), flush=True)
    if any("error" in one for one in results):
        sys.exit("some faults could not be judged: see `error` in the results")


if __name__ == "__main__":
    run(main)
