"""Handwritten digits. First of all, the processor is looked at: on one without AVX, NumPy and TensorFlow just die."""

import sys

from dvcproof.runtime.machine import require_avx
from dvcproof.runtime.program import InputError

try:
    require_avx()
except InputError as error:
    sys.exit(f"ERROR: {error}")
