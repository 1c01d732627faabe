"""Prove, trace and repair a DVC project: python -m dvcproof VERB, or dvcproof VERB."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from dvcproof.findings import HOLDS, Report, show
from dvcproof.project import Project
from dvcproof.runtime.program import run

EPILOG = "exit status: 0 it holds, 1 found, 2 usage, 3 cannot tell, 4 a stage failed, 5 something is at work here"


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(prog="dvcproof", description=__doc__, epilog=EPILOG)
    verbs = parser.add_subparsers(title="verbs", dest="verb", required=True, metavar="VERB")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("-C", dest="folder", type=Path, default=Path(), metavar="DIR", help="the project's folder")
    common.add_argument("--format", choices=("text", "json", "github", "markdown"), default="text")

    def verb(name: str, help_: str) -> argparse.ArgumentParser:
        return verbs.add_parser(name, help=help_, description=help_, parents=[common], epilog=EPILOG)

    check = verb("check", "check that each dvc.lock is what `dvc repro` would write now; nothing is run")
    check.add_argument("stages", nargs="*", metavar="STAGE", help="only these stages")
    check.add_argument("--no-lint", action="store_true", help="leave out what dvc.yaml alone says")
    check.add_argument("--packages", type=Path, metavar="FILE", help="a lock file of pip to compare the packages with")
    verify = verb("verify", "run every stage in a clean clone of the last commit, and compare the outputs")
    verify.add_argument("stages", nargs="*", metavar="STAGE", help="only these stages, and those that they depend on")
    verify.add_argument("--keep", type=Path, metavar="DIR", help="make the clone in this new folder and leave it there")
    verify.add_argument("--timeout", type=float, metavar="S", help="seconds for all stages together")
    return parser


def check(args: argparse.Namespace) -> Report:
    """Run the verb `check`."""
    from dvcproof.check import check

    with Project.open(args.folder.resolve()) as project:
        return check(project, stages=args.stages, linting=not args.no_lint, packages=args.packages)


def verify(args: argparse.Namespace) -> Report:
    """Run the verb `verify`."""
    from dvcproof.verify import verify

    with Project.open(args.folder.resolve()) as project:
        return verify(project, stages=args.stages, keep=args.keep, timeout=args.timeout)


VERBS: dict[str, Callable[[argparse.Namespace], Report]] = {"check": check, "verify": verify}


def main() -> None:
    args = parser().parse_args()
    report = VERBS[args.verb](args)
    show(report, args.format)
    if report.status() != HOLDS:
        sys.exit(report.status())


if __name__ == "__main__":
    run(main)
