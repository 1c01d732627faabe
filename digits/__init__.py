"""Handwritten digits. Before all else, check for AVX: without it, NumPy and TensorFlow crash without a message."""

import sys

from dvcproof.runtime.machine import require_avx
from dvcproof.runtime.program import InputError

try:
    require_avx()
except InputError as error:
    sys.exit(f"ERROR: {error}")
