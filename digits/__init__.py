"""The library. First of all, Ctrl-C is to end a program without a traceback, and the processor is looked at.

On a processor that they are not made for, NumPy and TensorFlow just die.
"""

import signal
import sys

# `-m` stands there while Python looks for the program's module; then `run` in digits/runtime/program.py takes over.
if sys.argv[:1] == ["-m"] and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from digits.runtime.machine import require_avx
from digits.runtime.program import InputError

try:
    require_avx()
except InputError as error:
    sys.exit(f"ERROR: {error}")
