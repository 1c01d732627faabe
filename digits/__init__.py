"""The library. It looks at the processor first: on one that they are not made for, NumPy and TensorFlow just die."""

import sys

from digits.common.cli import InputError
from digits.common.machine import require_avx

try:
    require_avx()
except InputError as error:
    sys.exit(f"ERROR: {error}")
