"""Prove, trace and repair a DVC project: python -m dvcproof VERB, or dvcproof VERB."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from dvcproof.findings import HOLDS, Finding, Report, show
from dvcproof.project import Project
from dvcproof.runtime.program import run
from dvcproof.surroundings import require_surroundings

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
    trace = verb("trace", "say what each stage really reads and writes, and compare it with dvc.yaml")
    trace.add_argument("stages", nargs="*", metavar="STAGE", help="only these stages")
    trace.add_argument("--how", choices=("auto", "strace", "box"), default="auto", help="how (default: %(default)s)")
    trace.add_argument("--patch", action="store_true", help="print the dvc.yaml that would be right, as a diff")
    trace.add_argument("--allow-network", action="store_true", help="stages may use the network")
    vary = verb("vary", "run every stage under other circumstances, and name those that change an output")
    vary.add_argument("stages", nargs="*", metavar="STAGE", help="only these stages")
    vary.add_argument("--only", nargs="+", default=[], metavar="NAME", help="only these circumstances")
    vary.add_argument("--without", nargs="+", default=[], metavar="NAME", help="not these circumstances")
    vary.add_argument("--runs", type=int, default=5, help="how often chance is tried (default: %(default)s)")
    for one in (trace, vary):
        one.add_argument("--timeout", type=float, default=600, metavar="S", help="seconds (default: %(default)s)")
        one.add_argument("--keep", type=Path, metavar="DIR", help="work in this new folder and leave it there")
    run = verb(
        "run", "run `dvc repro`, guarded, between two looks of the doctor; further options are those of `dvc repro`"
    )
    run.add_argument("--no-doctor", action="store_true", help="leave the doctor out")
    doctor = verb("doctor", "find what a kill, a full disk or a damaged file left behind")
    doctor.add_argument("--fix", action="store_true", help="mend it; without, it is only shown")
    doctor.add_argument("--all", action="store_true", help="read files too that have not changed since the last time")
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


def trace(args: argparse.Namespace) -> Report:
    """Run the verb `trace`."""
    from dvcproof.patch import patched
    from dvcproof.trace import trace

    options = {"how": args.how, "timeout": args.timeout, "keep": args.keep, "allow_network": args.allow_network}
    with Project.open(args.folder.resolve()) as project:
        report = trace(project, stages=args.stages, **options)
        if args.patch:
            sys.stdout.write(patched(project, report))
    return report


def vary(args: argparse.Namespace) -> Report:
    """Run the verb `vary`."""
    from dvcproof.vary import vary

    options = {"only": args.only, "without": args.without, "runs": args.runs, "timeout": args.timeout}
    with Project.open(args.folder.resolve()) as project:
        return vary(project, stages=args.stages, keep=args.keep, **options)


def guard(args: argparse.Namespace) -> Report:
    """Run the verb `run`."""
    from dvcproof import doctor
    from dvcproof.guard import guarded

    root = args.folder.resolve()
    if not args.no_doctor:
        doctor.examine(root)
    with Project.open(root) as project:
        report = guarded(project, args.options)
    if not args.no_doctor:
        doctor.examine(root, after=not report.failed)
    return report


def examine(args: argparse.Namespace) -> Report:
    """Run the verb `doctor`."""
    from dvcproof import doctor

    found = doctor.examine(args.folder.resolve(), fix=args.fix, forget=args.all)
    report = Report("doctor", "mended" if args.fix else "nothing was changed; --fix mends")
    report.findings = [Finding("DP501", "note" if args.fix else "error", line) for line in found]
    return report


VERBS: dict[str, Callable[[argparse.Namespace], Report]] = {
    "check": check,
    "verify": verify,
    "trace": trace,
    "vary": vary,
    "run": guard,
    "doctor": examine,
}


def main() -> None:
    args, options = parser().parse_known_args()
    if options and args.verb != "run":
        parser().error(f"unrecognized arguments: {' '.join(options)}")
    args.options = options
    require_surroundings(args.folder)
    report = VERBS[args.verb](args)
    show(report, args.format)
    if report.status() != HOLDS:
        sys.exit(report.status())


if __name__ == "__main__":
    run(main)
