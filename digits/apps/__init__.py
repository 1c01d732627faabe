"""The verbs of `python -m digits`. A file that is missing, damaged or of another run is refused with InputError."""
