"""Run the stages that have changed, and print the result.

This checks params.yaml, then runs `doctor`, `dvc repro` and `doctor` again. It also takes the options of `dvc repro`.
"""

import sys
from contextlib import suppress
from pathlib import Path

from digits.apps.options import command
from digits.apps.summary import summarize
from digits.networks import read_network
from digits.params import read_params
from digits.sources.source import require_readable
from dvcproof import doctor
from dvcproof.findings import BusyError, show


def main() -> None:
    parser = command("repro", __doc__, "params", "metrics")
    parser.add_argument("--remote", help="copy the runs of others from this remote of DVC: docs/sharing.md")
    args, options = parser.parse_known_args()
    root = Path.cwd()
    require_params(args.params)
    examine(root)
    if args.remote:
        from dvcproof import share

        show(share.exchange("fetch", root, args.remote))
    from dvc.cli import main as dvc  # in this process, since the start of another process would take most of the time

    sys.stdout.flush()
    status = dvc(["repro", *options])
    sys.stdout.flush()
    examine(root, after=not status)
    if status:
        sys.exit(status)
    sys.stdout.write(summarize(args.metrics) + "\n")


def examine(root: Path, *, after: bool = False) -> None:
    """Let the doctor repair or check the project. Do nothing while DVC works there: DVC reports that itself."""
    with suppress(BusyError):
        doctor.examine(root, after=after)


def require_params(path: Path) -> None:
    """Check the parameters of all stages before the first stage runs. A stage itself checks only its own section.

    Raise InputError if a value or a name is not allowed, or if the data set contains a pipe, socket or device.
    """
    read_network(path)
    params = read_params(path, "load", "preprocess", "evaluate", "class_names")
    require_readable(params.load.source)
