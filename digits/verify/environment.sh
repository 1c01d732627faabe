#!/bin/sh
# Ask the virtual environment whether it was made here and holds the packages of a lock file. If not, set it up or mend it.
# digits/verify/environment.sh .venv python3 requirements.lock .venv/runtime.stamp
venv=$1 python=$2 lock=$3 stamp=$4
"$venv/bin/python" -I digits/verify/installed.py "$lock" "$stamp" 2>/dev/null && exit
supported='import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))'
# What was set up with one Python is mended with it.
"$venv/bin/python" -I -c "$supported" 2>/dev/null && python=$venv/bin/python
if ! "$python" -I -c "$supported" 2>/dev/null; then
  echo "ERROR: $python: expected Python 3.11 to 3.13, for which TensorFlow has packages." \
    "Got $("$python" -V 2>&1). Run make PYTHON=python3.12." >&2
  exit 1
fi
exec "$python" -E -m digits.verify.environment --venv "$venv" --lock "$lock" --stamp "$stamp"
