"""Run a program so that an error of the user's input ends the program with one line and an exit status.

The wording of errors is in `dvcproof.messages`. Only a failing program imports that module, so no stage depends on it.
"""

import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from dvcproof.runtime import streams


class InputError(Exception):
    """An error of the user's input. Its text is one line for the user: `THING: sentence. Next step.`

    Args:
        what: the thing at fault, under the name that the user knows (a path, a parameter).
        sentence: the fault, without a full stop. Leave it out if `expected` and `received` are given.
        expected: the allowed value.
        received: the actual value.
        hint: the next step.
    """

    def __init__(self, what: str, sentence: str = "", *, expected: str = "", received: str = "", hint: str) -> None:
        super().__init__(what)
        self.what, self.sentence, self.expected, self.received, self.hint = what, sentence, expected, received, hint

    @property
    def problem(self) -> str:
        """The message without the next step."""
        from dvcproof import messages

        return messages.problem(self)

    def __str__(self) -> str:
        from dvcproof import messages

        return messages.line(self)


def run(main: Callable[[], None], *, output_is_log: bool = False) -> NoReturn:
    """Run a program's `main`, and exit with status 0, or with 1 and one line on standard error.

    Errors of input or disk, and warnings that Python was asked to raise, exit with 1. Interrupts exit with 128 plus the
    number of the signal.

    Args:
        output_is_log: whether standard output is only a log. If so, the program succeeds even if its output cannot be
            written.
    """
    streams.prepare()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that `finally` blocks run
    interrupt = signal.getsignal(signal.SIGINT)
    if interrupt is signal.SIG_DFL:  # digits/__init__.py sets it during the import
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        main()
        try:
            streams.finish()
        except OSError as error:
            if not output_is_log:
                raise
            sys.stderr.write(f"WARNING: {error.filename} is incomplete: {error.strerror}\n")
    except InputError as error:
        sys.exit(f"ERROR: {error}")
    except OSError as error:
        from dvcproof.messages import system_error

        sys.exit(f"ERROR: {system_error(error)}")
    except Warning as warning:  # Python raises warnings only with `-W error`
        from dvcproof.messages import warning_error

        sys.exit(f"ERROR: {warning_error(warning)}")
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, interrupt)
    sys.exit(0)


def on_terminal() -> bool:
    """Return whether standard output is a terminal outside of CI, so that progress bars are useful."""
    return sys.stdout.isatty() and not os.environ.get("CI")
