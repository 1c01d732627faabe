"""Run the stages that have changed, and print the result.

`dvc repro`, after a check of params.yaml and with `doctor` before and after it. Options of `dvc repro` are handed on.
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
    parser.add_argument("--remote", help="take the runs of others from this remote of DVC: docs/sharing.md")
    args, options = parser.parse_known_args()
    root = Path.cwd()
    require_params(args.params)
    examine(root)
    if args.remote:
        from dvcproof import share

        show(share.exchange("fetch", root, args.remote))
    from dvc.cli import main as dvc  # in this process: the start of another one takes longer than all else

    sys.stdout.flush()
    status = dvc(["repro", *options])
    sys.stdout.flush()
    examine(root, after=not status)
    if status:
        sys.exit(status)
    sys.stdout.write(summarize(args.metrics) + "\n")


def examine(root: Path, *, after: bool = False) -> None:
    """Let the doctor mend the project, or check it; not while DVC is at work there: DVC says that itself."""
    with suppress(BusyError):
        doctor.examine(root, after=after)


def require_params(path: Path) -> None:
    """Check every value that a stage will read, before the first one runs: each stage checks its own section alone.

    Raises:
        InputError: a value or a name is not allowed, or the kind of the data set is unknown.
    """
    read_network(path)
    params = read_params(path, "load", "preprocess", "evaluate", "class_names")
    require_readable(params.load.source)
