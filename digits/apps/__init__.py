"""The verbs of `python -m digits`. They raise InputError for a file that is missing, damaged or from another run."""
