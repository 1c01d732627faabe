"""Prove, trace and repair a DVC project: python -m dvcproof VERB, or dvcproof VERB."""

import argparse
import importlib
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NoReturn

from dvcproof.findings import HOLDS, USAGE, Report, show
from dvcproof.project import Project
from dvcproof.runtime.program import InputError, run
from dvcproof.surroundings import require_surroundings
from dvcproof.version import VERSION

EPILOG = "exit status: 0 no errors, 1 errors, 2 wrong usage, 3 unknown, 4 a stage failed, 5 another process is at work"

#: The verbs, each with its purpose.
VERBS = {
    "check": "check that each dvc.lock is what `dvc repro` would write now; nothing is run",
    "verify": "run every stage in a clean clone of the last commit, and compare the outputs",
    "trace": "find out what each stage really reads and writes, and compare it with dvc.yaml",
    "vary": "run every stage under other circumstances, and name those that change an output",
    "run": "run `dvc repro` with its options, but record no stage whose inputs change while it runs",
    "doctor": "find what a kill, a full disk or a damaged file left behind",
    "push": "send the runs in DVC's cache to a store, and replace what is damaged there",
    "fetch": "copy the runs of others from a store, for this code, these parameters and this data",
    "audit": "re-run a random sample of the runs in a store, and name those that are not reproduced",
    "gate": "fail if a metric is worse than that of another commit",
    "attest": "check and verify the last commit, and write the result as an in-toto statement",
}


def parser() -> argparse.ArgumentParser:
    """Return the command line. The options of a verb have the names of the arguments of its function."""
    name = sys.argv[0] if sys.argv[0].startswith("python -m ") else "dvcproof"  # of a program that has such verbs
    parser = argparse.ArgumentParser(prog=name, description=__doc__, epilog=EPILOG)
    parser.add_argument("--version", action="version", version=f"%(prog)s {VERSION}")
    subparsers = parser.add_subparsers(title="verbs", dest="verb", required=True, metavar="VERB")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("-C", dest="folder", type=Path, default=Path(), metavar="DIR", help="the project's folder")
    common.add_argument("--format", choices=("text", "json", "github", "markdown"), default="text")
    settings: dict[str, Any] = {"parents": [common], "epilog": EPILOG}
    verbs = {name: subparsers.add_parser(name, help=what, description=what, **settings) for name, what in VERBS.items()}

    def option(names: str, *words: str, **settings: Any) -> None:
        """Add an option to some verbs."""
        for name in names.split():
            verbs[name].add_argument(*words, **settings)

    seconds: dict[str, Any] = {"type": float, "metavar": "S"}
    option("check verify trace vary", "stages", nargs="*", metavar="STAGE", help="only these stages; see the README")
    option("check", "--no-lint", dest="linting", action="store_false", help="do not check dvc.yaml itself")
    lock_help = "a lock file of pip to compare the installed packages with; a statement lists its pins"
    option("check attest", "--packages", type=Path, metavar="FILE", help=lock_help)
    option("verify attest", "--timeout", **seconds, help="time limit in seconds for all stages together")
    option("trace vary", "--timeout", **seconds, default=600, help="time limit in seconds (default: %(default)s)")
    option("verify trace vary", "--keep", type=Path, metavar="DIR", help="make clones in this new folder, and keep it")
    option("trace", "--how", choices=("auto", "strace", "box"), default="auto", help="method (default: %(default)s)")
    option("trace", "--patch", action="store_true", help="print corrections of dvc.yaml as a diff")
    option("trace", "--allow-network", action="store_true", help="stages may use the network")
    option("vary", "--only", nargs="+", default=[], metavar="NAME", help="vary only these circumstances")
    option("vary", "--without", nargs="+", default=[], metavar="NAME", help="do not vary these circumstances")
    option("vary", "--runs", type=int, default=5, help="equal runs that rule out chance (default: %(default)s)")
    option("doctor", "--fix", action="store_true", help="repair the damage; without this option, only show it")
    option("doctor", "--all", action="store_true", help="read unchanged files again, too")
    option("doctor", "--after", action="store_true", help="check what the last `dvc repro` recorded")
    option("push fetch audit", "--remote", required=True, help="a remote of DVC, or an address: s3://bucket/folder")
    option("push fetch", "--patience", **seconds, default=4.0, help="seconds to wait (default: %(default)s)")
    option("audit", "--sample", type=int, default=1, metavar="N", help="records to re-run (default: %(default)s)")
    option("audit", "--record", metavar="NAME", help="re-run only this record")
    option("audit", "--remove", action="store_true", help="remove the records that are not reproduced")
    option("gate", "--against", required=True, metavar="REV", help="the branch or commit to compare with")
    one_metric = "compare only this metric; may be repeated"
    option("gate", "--metric", dest="metrics", action="append", default=[], metavar="FILE:KEY", help=one_metric)
    option("gate", "--worse-by", type=float, default=0.0, metavar="X", help="tolerance (default: %(default)s)")
    option("gate", "--lower", action="store_true", help="lower is better, even without loss or error in the name")
    option("attest", "--out", type=Path, required=True, metavar="FILE", help="the JSON file to write")
    return parser


def call(verb: str, folder: Path, options: dict[str, Any]) -> Report:
    """Call the function of a verb, which has its name. It takes a folder, or a project that is open."""
    if verb in ("push", "fetch"):
        return importlib.import_module("dvcproof.share").exchange(verb, folder, **options)
    function = getattr(importlib.import_module(f"dvcproof.{'guard' if verb == 'run' else verb}"), verb)
    if verb in ("run", "doctor", "audit"):
        return function(folder, **options)
    with Project.open(folder) as project:
        report: Report = function(project, **options)
    return report


def main() -> None:
    args, words = parser().parse_known_args()
    if words and args.verb != "run":
        parser().error(f"unrecognized arguments: {' '.join(words)}")
    options = {name: value for name, value in vars(args).items() if name not in ("verb", "folder", "format")}
    if args.verb == "run":
        options["words"] = words
    try:
        require_surroundings(args.folder)
        with redirect_stdout(sys.stdout if args.format == "text" else sys.stderr):
            report = call(args.verb, args.folder.resolve(), options)
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
