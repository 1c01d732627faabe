"""Verify that the code, data and parameters of this repository give its results.

check: dvc.lock is not stale: `dvc repro` would not change it. No stage is run for this.
verify: a re-run of all stages of the last commit, in a clean clone, gives the same bytes.
"""

import sys
from pathlib import Path

from digits.apps.options import command
from digits.params import read_params
from dvcproof.findings import HOLDS, Report, show
from dvcproof.project import Project


def main() -> None:
    parser = command("verify", __doc__)
    parser.add_argument("--only", choices=("check", "verify"), help="do only this (default: both)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="make the clone in this new folder, and keep it")
    args = parser.parse_args()
    params, lock = Path("params.yaml"), Path("requirements.lock")
    if params.is_file():
        read_params(params)
    with Project.open(Path.cwd()) as project:
        if args.only != "verify":
            from dvcproof.check import check

            _show(check(project, packages=lock if lock.is_file() else None))
        if args.only != "check":
            from dvcproof.verify import verify

            sys.stdout.write("verify: running every stage in a clean clone of the last commit\n")
            sys.stdout.flush()
            _show(verify(project, keep=args.keep))


def _show(report: Report) -> None:
    """Print a report, and exit with its status if it is not 0."""
    show(report)
    if report.status() != HOLDS:
        sys.exit(report.status())
