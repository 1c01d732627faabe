"""Compare the packages that Python would import with those in a lock file.

This module imports only the standard library, since all other packages are under test. It lists the folders on Python's
search path, in order. It reads files of a package only if a module's name occurs twice on the path.
"""

import os
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from dvcproof.runtime.program import InputError

#: A line of the lock file that names a package: name, version and an optional marker.
_PIN = re.compile(r"([A-Za-z0-9][\w.-]*)==([^\s;\\]+)(?:\s*;\s*([^\\]*[^\\\s]))?")

#: A folder that names an installed version: 'numpy-2.4.2.dist-info', or 'numpy-2.4.2-py3.11.egg-info' from older tools.
_INSTALLED = re.compile(r"(.+?)-(\d[^-]*)(?:-py\d.*)?\.(?:dist|egg)-info")


class Pin(NamedTuple):
    """A package in the lock file."""

    version: str
    marker: str  # the machines that need the package, as "sys_platform == 'win32'". Empty: all machines


class Package(NamedTuple):
    """A package that Python would import."""

    versions: Mapping[str, Path]  # version -> its .dist-info folder. More than one: an installation was interrupted
    place: str  # the folder that the package would be imported from


class Fault(NamedTuple):
    """A package that is not as in the lock file."""

    name: str
    expected: str
    received: str
    place: str  # the folder that the package would be imported from. Empty: the package is not installed
    # install: install the lock file; renew: make a new environment; move: rename the module that hides the package
    cure: Literal["install", "renew", "move"]


def read_pins(lock: Path) -> dict[str, list[Pin]]:
    """Return the packages of a lock file by normalized name. A package may have several pins, with different markers.

    Raise InputError if the lock file cannot be read, or names no package.
    """
    try:
        lines = lock.read_text(encoding="utf-8").splitlines()
        received = "none"
    except (FileNotFoundError, UnicodeDecodeError) as error:
        lines, received = [], "no such file" if isinstance(error, FileNotFoundError) else "no text"
    pins: dict[str, list[Pin]] = {}
    for line in lines:
        if line[:1].isalnum() and (match := _PIN.match(line)):  # most lines are hashes
            pins.setdefault(_normalized(match[1]), []).append(Pin(match[2], match[3] or ""))
        elif line.startswith("<<<<<<< "):
            pins, received = {}, "conflict markers of a merge"
            break
    if not pins:
        hint = f"Run `git checkout HEAD -- {shlex.quote(str(lock))}`."
        raise InputError(str(lock), expected="packages, such as numpy==2.4.2", received=received, hint=hint)
    return pins


def find_packages(names: Mapping[str, object], path: Sequence[str]) -> dict[str, Package]:
    """Return the installed packages among `names`, each from the first folder of `path` that has the package."""
    found: dict[str, Package] = {}
    for place in map(os.path.abspath, path):
        here: dict[str, dict[str, Path]] = {}
        for entry in _entries(place):
            if entry.endswith("-info") and (match := _INSTALLED.fullmatch(entry)):
                here.setdefault(_normalized(match[1]), {})[match[2]] = Path(place, entry)
        found |= {name: Package(here[name], place) for name in here if name in names and name not in found}
    return found


def none_of_them(_marker: str) -> bool:
    """Return False: assume that no marker holds. To evaluate markers takes a library and thirty times as long."""
    return False


def find_faults(
    pins: Mapping[str, list[Pin]], path: Sequence[str], holds: Callable[[str], bool] = none_of_them
) -> list[Fault]:
    """Compare the packages that Python would import with a lock file. Return the faults, hidden packages first.

    Args:
        path: the folders that Python imports from, in order.
        holds: a function that returns whether a marker holds on this machine. A package that only other machines need
            may be absent. If it is present, its version must be the one in the lock file.
    """
    found = find_packages(pins, path)
    faults = list(_hidden(found, path))
    for name, choices in pins.items():
        wanted = [pin.version for pin in choices if not pin.marker or holds(pin.marker)]
        expected = " or ".join(wanted or [pin.version for pin in choices])
        package = found.get(name)
        if package is None:
            faults += [Fault(name, expected, "none", "", "install")] if wanted else []
        elif {*map(_plain, package.versions)} - {*map(_plain, expected.split(" or "))}:
            broken = len(package.versions) > 1
            received = " and ".join(package.versions)
            faults.append(Fault(name, expected, received, package.place, "renew" if broken else "install"))
        elif any((info / "direct_url.json").exists() for info in package.versions.values()):
            # The packages of a lock file come from an index. This one comes from elsewhere, so its content may differ.
            faults.append(Fault(name, expected, "a copy from a folder or URL", package.place, "renew"))
    return faults


def _hidden(found: Mapping[str, Package], path: Sequence[str]) -> Iterator[Fault]:
    """Find packages that a module of the same name hides: a file keras.py in this folder, or a folder on PYTHONPATH."""
    places = list(dict.fromkeys(map(os.path.abspath, path)))
    for place in {package.place for package in found.values()}:
        theirs = _modules(place)
        for earlier in places[: places.index(place)]:
            for module in sorted(theirs & _modules(earlier)) if earlier not in _OWN else ():
                for name, package in found.items():
                    if package.place == place and _has(package, module):
                        yield Fault(name, " or ".join(package.versions), f"another module '{module}'", earlier, "move")


#: The folders of the standard library.
_OWN = [str(Path(os.__file__).parent / name) for name in (".", "lib-dynload")]


def _modules(place: str) -> set[str]:
    """Return the names of the modules in a folder. A subfolder without __init__.py does not count: it hides nothing."""
    found = set()
    for entry in _entries(place):
        stem, dot, ending = entry.partition(".")
        if ending.endswith(("py", "pyc", "so")) if dot else Path(place, entry, "__init__.py").exists():
            found.add(stem)
    return found


def _has(package: Package, module: str) -> bool:
    """Return whether a module is among the files of a package."""
    records = [info / "RECORD" for info in package.versions.values()]
    line = re.compile(rb"^%b[/.]" % re.escape(module).encode(), re.MULTILINE)
    return any(line.search(record.read_bytes()) for record in records if record.exists())


def _entries(place: str) -> list[str]:
    try:
        with os.scandir(place) as entries:
            return [entry.name for entry in entries]
    except OSError:  # a missing folder, or a zip archive: skip it
        return []


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _plain(version: str) -> str:
    """Return a version without leading zeros in its numbers: '2026.01.04' becomes '2026.1.4'."""
    return re.sub(r"(?<![0-9A-Za-z])0+(?=\d)", "", version.lower())
