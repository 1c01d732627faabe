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
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from dvcproof.runtime.program import run

SECONDS = 300  # time limit for the tests of one fault
PASSED, NO_TESTS = 0, 5  # exit statuses of pytest


def run_tests(root: Path, tests: tuple[str, ...], select: str) -> tuple[int | None, int, str]:
    """Run tests up to the first failure. Return status (None: too slow), passed tests, and what failed."""
    options = ("-o", "addopts=", "-o", f"cache_dir={root.parent / 'cache'}", "-m", select)
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--tb=no", "-rfE", *options, *tests]
    variables = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    with tempfile.TemporaryFile("w+", errors="replace") as out:  # processes that are left over would keep a pipe open
        process = subprocess.Popen(command, cwd=root, env=variables, stdout=out, stderr=out, start_new_session=True)
        with suppress(subprocess.TimeoutExpired):
            process.wait(SECONDS)
        status = process.poll()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # also ends processes that the tests have started
        process.wait()
        out.seek(0)
        text = out.read()
    passed = re.search(r"\b(\d+) passed", text)
    failed = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", text, re.MULTILINE)
    return status, int(passed[1]) if passed else 0, failed[1] if failed else ""


def edited(root: Path, edits: list[dict[str, str]]) -> str:
    """Make a fault's edits, and return what is wrong with them: a text to replace must stand once in its file."""
    for edit in edits:
        path = root / edit["file"]
        text = path.read_text(encoding="utf-8")
        if text.count(edit["old"]) != 1:
            return f"{edit['old']!r} stands {text.count(edit['old'])} times in {edit['file']}"
        path.write_text(text.replace(edit["old"], edit["new"]), encoding="utf-8")
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=Path, required=True, help="the list of faults, JSON")
    parser.add_argument("--project", type=Path, default=Path(), help="the repository whose last commit is tested")
    parser.add_argument("--select", metavar="MARKEXPR", default="", help="run only these tests, as with pytest's -m")
    parser.add_argument("--out", type=Path, required=True, help="JSON file for the results, an object a fault")
    args = parser.parse_args()
    results = [one for one in json.loads(args.out.read_text()) if "error" not in one] if args.out.exists() else []
    known = {one["name"] for one in results}
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        root = Path(folder, "project")
        subprocess.run(["git", "clone", "--quiet", str(args.project.resolve()), str(root)], check=True)
        unedited = cache(lambda tests: run_tests(root, tests, args.select))
        for fault in (one for one in json.loads(args.faults.read_text()) if one["name"] not in known):
            tests = tuple(fault["tests"])
            status, passed, failed = unedited(tests)
            result: dict[str, Any] = {"name": fault["name"], "kind": fault["kind"], "killed": False}
            if status not in (PASSED, NO_TESTS):
                result["error"] = f"its tests fail without the fault: {failed or f'status {status}'}"
            elif not fault["edits"]:
                result["killed"] = passed >= len(tests)
            elif passed and not (error := edited(root, fault["edits"])):
                status, _, failed = run_tests(root, tests, args.select)
                result |= {"killed": status not in (PASSED, NO_TESTS), "first failing test": failed}
            elif passed:
                result["error"] = error
            subprocess.run(["git", "checkout", "--quiet", "."], cwd=root, check=True)
            results.append(result)
            args.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
            print(json.dumps(result), flush=True)
    if any("error" in one for one in results):
        sys.exit("some faults could not be judged: see `error` in the results")


if __name__ == "__main__":
    run(main)
