"""Prove, trace and repair a DVC project: python -m dvcproof VERB, or dvcproof VERB."""

import argparse
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import NoReturn

from dvcproof.findings import HOLDS, USAGE, BusyError, Finding, Report, show
from dvcproof.project import Project
from dvcproof.runtime.program import InputError, run
from dvcproof.surroundings import require_surroundings
from dvcproof.version import VERSION

EPILOG = "exit status: 0 it holds, 1 found, 2 usage, 3 cannot tell, 4 a stage failed, 5 something is at work here"


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(prog="dvcproof", description=__doc__, epilog=EPILOG)
    parser.add_argument("--version", action="version", version=f"%(prog)s {VERSION}")
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
    _add_sharing(verb)
    _add_proofs(verb)
    return parser


def _add_sharing(verb: Callable[[str, str], argparse.ArgumentParser]) -> None:
    """Add the verbs that use a store."""
    push = verb("push", "send the runs in DVC's cache to a store, and replace what is damaged there")
    fetch = verb("fetch", "take the runs of others from a store, for this code, these parameters and this data")
    audit = verb("audit", "run again a sample of the runs in a store, and name those that do not come out")
    for one in (push, fetch, audit):
        one.add_argument("--remote", required=True, help="a remote of DVC, or an address as s3://bucket/folder")
    for one in (push, fetch):
        one.add_argument("--patience", type=float, default=4.0, metavar="S", help="wait so long (default: %(default)s)")
    audit.add_argument("--sample", type=int, default=1, metavar="N", help="how many to run (default: %(default)s)")
    audit.add_argument("--record", metavar="NAME", help="this record, and no other")
    audit.add_argument("--remove", action="store_true", help="remove the records that are named")


def _add_proofs(verb: Callable[[str, str], argparse.ArgumentParser]) -> None:
    """Add the verbs that judge a commit."""
    gate = verb("gate", "fail if a metric is worse than that of another commit")
    gate.add_argument("--against", required=True, metavar="REV", help="the commit that must not be better")
    gate.add_argument("--metric", action="append", default=[], metavar="FILE:KEY", help="only this; may be repeated")
    gate.add_argument("--worse-by", type=float, default=0.0, metavar="X", help="what is allowed (default: %(default)s)")
    gate.add_argument("--lower", action="store_true", help="lower is better; else only of names with loss or error")
    attest = verb("attest", "check and verify the last commit, and write the result as an in-toto statement")
    attest.add_argument("--out", type=Path, required=True, metavar="FILE", help="the JSON file to write")
    attest.add_argument("--packages", type=Path, metavar="FILE", help="a lock file of pip, for the statement to list")
    attest.add_argument("--timeout", type=float, metavar="S", help="seconds for all stages together")


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
        _require_rest(doctor.examine(root))
    with Project.open(root) as project:
        report = guarded(project, args.options)
    if not args.no_doctor:
        doctor.examine(root, after=not report.failed)
    return report


def examine(args: argparse.Namespace) -> Report:
    """Run the verb `doctor`."""
    from dvcproof import doctor

    found = doctor.examine(args.folder.resolve(), fix=args.fix, forget=args.all)
    _require_rest(found)
    report = Report("doctor", "mended" if args.fix else "nothing was changed; --fix mends")
    left = [line for line in found if not args.fix or line.startswith(doctor.LEFT)]
    report.findings = [Finding("DP501", "error" if line in left else "note", line) for line in found]
    return report


def _require_rest(said: list[str]) -> None:
    """Refuse to go on where the doctor found another process at work."""
    from dvcproof.doctor import BUSY

    if said and said[0].startswith(BUSY):
        raise BusyError("the project", said[0], hint="Wait for it, and run this again.")


def exchange(args: argparse.Namespace) -> Report:
    """Run the verb `push` or `fetch`."""
    from dvcproof.share import exchange

    said: list[str] = []
    answered = exchange(args.verb, args.folder.resolve(), args.remote, args.patience, said.append)
    report = Report(args.verb, args.remote)
    if not answered:
        report.unknown.append(said.pop())
    report.findings = [Finding("DP601", "note", line) for line in said]
    return report


def audit(args: argparse.Namespace) -> Report:
    """Run the verb `audit`."""
    from dvcproof.audit import audited

    return audited(args.folder.resolve(), args.remote, args.sample, args.record, remove=args.remove)


def gate(args: argparse.Namespace) -> Report:
    """Run the verb `gate`."""
    from dvcproof.gate import gate

    options = {"metrics": args.metric, "worse_by": args.worse_by, "lower": args.lower}
    with Project.open(args.folder.resolve()) as project:
        return gate(project, against=args.against, **options)


def attest(args: argparse.Namespace) -> Report:
    """Run the verb `attest`."""
    from dvcproof.attest import attest

    with Project.open(args.folder.resolve()) as project:
        return attest(project, out=args.out, packages=args.packages, timeout=args.timeout)


VERBS: dict[str, Callable[[argparse.Namespace], Report]] = {
    "check": check,
    "verify": verify,
    "trace": trace,
    "vary": vary,
    "run": guard,
    "doctor": examine,
    "push": exchange,
    "fetch": exchange,
    "audit": audit,
    "gate": gate,
    "attest": attest,
}


def main() -> None:
    args, options = parser().parse_known_args()
    if options and args.verb != "run":
        parser().error(f"unrecognized arguments: {' '.join(options)}")
    args.options = options
    try:
        require_surroundings(args.folder)
        with redirect_stdout(sys.stdout if args.format == "text" else sys.stderr):
            report = VERBS[args.verb](args)
    except InputError as error:
        sys.stderr.write(f"ERROR: {error}\n")
        sys.exit(getattr(error, "status", USAGE))
    show(report, args.format)
    if report.status() != HOLDS:
        sys.exit(report.status())


def cli() -> NoReturn:
    """Run the command `dvcproof`."""
    run(main)


if __name__ == "__main__":
    run(main)
