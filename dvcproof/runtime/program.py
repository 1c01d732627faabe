"""Run a program: exit with a status and, if something given from outside is wrong, with one line.

The wording of errors is in `dvcproof.messages`, which is imported only once there is one: no stage depends on it.
"""

import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from dvcproof.runtime import streams


class InputError(Exception):
    """Something given from outside is wrong. Its text is one line for the user: `THING: sentence. Next step.`

    Args:
        what: the thing at fault, by the name that the user knows (a path, a parameter).
        sentence: what is wrong, without a full stop. Leave it out where two values are compared.
        expected: what is allowed.
        received: what was found instead.
        hint: the next step.
    """

    def __init__(self, what: str, sentence: str = "", *, expected: str = "", received: str = "", hint: str) -> None:
        super().__init__(what)
        self.what, self.sentence, self.expected, self.received, self.hint = what, sentence, expected, received, hint

    @property
    def problem(self) -> str:
        """Return what is wrong, without the next step."""
        from dvcproof import messages

        return messages.problem(self)

    def __str__(self) -> str:
        from dvcproof import messages

        return messages.line(self)


def run(main: Callable[[], None], *, output_is_log: bool = False) -> NoReturn:
    """Run a program's `main` and exit: 0, or 1 with one line on standard error for an error of input or disk.

    With `output_is_log` the program's results are files, so that it does not fail if only its standard output cannot
    be written.
    """
    streams.prepare()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that `finally` tidies up
    interrupt = signal.getsignal(signal.SIGINT)
    if interrupt is signal.SIG_DFL:  # set while the program was imported: see digits/__init__.py
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        main()
        try:
            streams.finish()
        except OSError as error:
            if not output_is_log:
                raise
            sys.stderr.write(f"WARNING: {error.filename} is not whole: {error.strerror}\n")
    except InputError as error:
        sys.exit(f"ERROR: {error}")
    except OSError as error:
        from dvcproof.messages import system_error

        sys.exit(f"ERROR: {system_error(error)}")
    except Warning as warning:  # which Python raises only if it is asked to
        from dvcproof.messages import warning_error

        sys.exit(f"ERROR: {warning_error(warning)}")
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, interrupt)
    sys.exit(0)


def on_terminal() -> bool:
    """Return whether a person is watching: a progress bar is for them, plain lines are for a log."""
    return sys.stdout.isatty() and not os.environ.get("CI")
