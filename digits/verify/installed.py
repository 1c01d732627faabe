"""Does a virtual environment hold the packages of a lock file, and was it made where it is? Its own Python answers.

.venv/bin/python -I digits/verify/installed.py requirements.lock .venv/runtime.stamp [--write]

The stamp is what this wrote after an installation: the place, the interpreter, and of each package whether it is there.
All of it is found out again and compared. Every `make` asks, so nothing is imported that takes long.
"""

import os
import re
import sys
from pathlib import Path


def pins(lock: str) -> list[tuple[str, str, bool]]:
    """Name, version, and whether it is pinned on some systems only, of each package in the text of a lock file."""
    found = re.findall(r"^([A-Za-z0-9._-]+)==(\S+)( *;)?", lock, re.MULTILINE)
    return [(_normal(name), version, bool(marker)) for name, version, marker in found]


def installed() -> set[tuple[str, str]]:
    """Name and version of each package in this environment, and in no other folder that Python looks into."""
    folder = Path(sys.prefix, "lib", "python{}.{}".format(*sys.version_info), "site-packages")
    parts = (path.name.removesuffix(".dist-info").partition("-") for path in folder.glob("*.dist-info"))
    return {(_normal(name), version) for name, _, version in parts}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def record(lock: str) -> str:
    """What the stamp holds if all is well."""
    here = installed()
    packages = [
        f"{name}=={version} {'here' if (name, version) in here else 'not here'}" for name, version, _ in pins(lock)
    ]
    return "\n".join([os.path.realpath(sys.prefix), str(sys.implementation.cache_tag), *packages, ""])


def missing(lock: str) -> list[str]:
    """The packages that are not here, without those that are for some systems only."""
    here = installed()
    return [f"{name}=={version}" for name, version, some in pins(lock) if not some and (name, version) not in here]


def main() -> None:
    lock_path, stamp_path, *options = sys.argv[1:]
    lock, stamp = Path(lock_path).read_text(encoding="utf-8"), Path(stamp_path)
    absent = missing(lock)
    if absent:
        sys.exit(f"one without {', '.join(absent)}")
    if options == ["--write"]:
        stamp.write_text(record(lock), encoding="utf-8")
    elif not stamp.exists() or stamp.read_text(encoding="utf-8") != record(lock):
        sys.exit(f"{stamp} is not of this environment")


if __name__ == "__main__":
    main()
