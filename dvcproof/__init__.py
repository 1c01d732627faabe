"""Prove, trace, repair and share any DVC pipeline. `dvcproof.runtime` is what runs inside a stage.

First of all, Ctrl-C is to end a program without a traceback.
"""

import signal
import sys

# `-m` stands there while Python looks for the program's module; then `run` in dvcproof/runtime/program.py takes over.
if sys.argv[:1] == ["-m"] and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
