"""dvcproof.runtime.packages: the packages that Python would import, compared with a lock, in made-up folders."""

import sys
from pathlib import Path

import pytest

from dvcproof.runtime.packages import Fault, find_faults, read_pins
from dvcproof.runtime.program import InputError
from tests.support.project import ROOT

LOCK = """\
# A comment.
keras==3.15.1 \\
    --hash=sha256:0000 \\
    --hash=sha256:1111
zc.lockfile==3.0.1 \\
    --hash=sha256:2222
pywin32==312 ; sys_platform == 'win32' \\
    --hash=sha256:3333
orjson==3.13.0 ; implementation_name == 'cpython' \\
    --hash=sha256:4444
"""


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    path = tmp_path / "requirements.lock"
    path.write_text(LOCK, encoding="utf-8")
    return path


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Return a folder with the packages of the lock."""
    path = tmp_path / "site"
    for name, module, version in (
        ("keras", "keras", "3.15.1"),
        ("zc.lockfile", "zc/lockfile", "3.0.1"),
        ("orjson", "orjson", "3.13.0"),
    ):
        install(path, name, version, module)
    return path


def install(site: Path, name: str, version: str, module: str = "") -> Path:
    """Install a package into a folder as pip does; without a module, write only its metadata."""
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    if module:
        (site / module).mkdir(parents=True)
        (site / module / "__init__.py").touch()
        (info / "RECORD").write_text(f"{module}/__init__.py,,\n", encoding="utf-8")
    return info


def found(lock: Path, *path: Path) -> list[Fault]:
    return find_faults(read_pins(lock), [str(folder) for folder in path])


LOCKS = sorted(path.name for path in ROOT.glob("requirements*.lock"))


def test_no_two_locks_contradict_each_other() -> None:
    """All locks are installed into one environment, where two versions of a package would replace each other."""
    assert len(LOCKS) > 1
    found: dict[str, set[str]] = {}
    for name in LOCKS:
        for package, pins in read_pins(ROOT / name).items():
            versions = {pin.version for pin in pins}
            assert found.setdefault(package, versions) == versions, (package, name)


@pytest.mark.parametrize(
    ("content", "received"),
    [
        (None, "no such file"),
        (b"\xff", "no text"),
        (b"# nothing\n", "none"),
        (b"a==1\n<<<<<<< HEAD\n", "conflict markers"),
    ],
)
def test_a_damaged_lock_is_refused(lock: Path, content: bytes | None, received: str) -> None:
    lock.unlink()
    if content is not None:
        lock.write_bytes(content)
    with pytest.raises(
        InputError, match=f"expected packages, .* Got {received}.*\\. Run `git checkout HEAD -- /.*lock`"
    ):
        read_pins(lock)


def test_equal_packages_have_no_fault(lock: Path, site: Path) -> None:
    install(site, "extra-tool", "1.0", "extra")  # a package that the lock does not name
    assert found(lock, site) == []


def test_the_packages_of_this_python_are_the_locks() -> None:
    assert find_faults(read_pins(ROOT / "requirements.lock"), sys.path) == []


def test_a_marker_counts_where_it_is_asked(lock: Path, site: Path) -> None:
    """A package that only other machines need may be absent; if it is there, it must have the version of the lock."""
    (missing,) = find_faults(read_pins(lock), [str(site)], lambda marker: "win32" in marker)
    assert (missing.name, missing.received) == ("pywin32", "none")
    (site / "orjson-3.13.0.dist-info").rename(site / "orjson-3.12.0.dist-info")
    assert found(lock, site) == [Fault("orjson", "3.13.0", "3.12.0", str(site), "install")]


def test_one_package_in_two_versions(lock: Path, site: Path) -> None:
    """A lock may name a version for each Python; without evaluating markers, either version is right."""
    old, new = "python_version < '3.12'", "python_version >= '3.12'"
    lock.write_text(f"keras==3.14.0 ; {old} \\\nkeras==3.15.1 ; {new} \\\n", encoding="utf-8")
    assert found(lock, site) == []
    (fault,) = find_faults(read_pins(lock), [str(site)], lambda marker: marker == old)
    assert (fault.expected, fault.received) == ("3.14.0", "3.15.1")


def test_two_versions_in_one_folder(lock: Path, site: Path) -> None:
    """An interrupted installation can leave two versions, and so can two programs that install into one folder."""
    install(site, "keras", "3.13.2")
    (fault,) = found(lock, site)
    assert (fault.cure, set(fault.received.split(" and "))) == ("renew", {"3.15.1", "3.13.2"})


@pytest.mark.parametrize("name", ["Keras-3.15.1.dist-info", "keras-3.15.1-py3.11.egg-info", "keras-3.15.01.dist-info"])
def test_one_version_is_written_in_many_ways(lock: Path, site: Path, name: str) -> None:
    (site / "keras-3.15.1.dist-info").rename(site / name)
    assert found(lock, site) == []


@pytest.mark.parametrize("module", ["keras/__init__.py", "keras.cpython-311-x86_64-linux-gnu.so"])
def test_a_module_before_a_package_of_the_lock(lock: Path, site: Path, tmp_path: Path, module: str) -> None:
    """The module has no version, but Python would import it."""
    hiding = tmp_path / "foreign" / module
    hiding.parent.mkdir(parents=True)
    hiding.touch()
    assert found(lock, site, tmp_path / "foreign") == []
    assert found(lock, tmp_path / "foreign", site) == [
        Fault("keras", "3.15.1", "another module 'keras'", str(tmp_path / "foreign"), "move")
    ]


def test_what_hides_nothing_of_the_lock(lock: Path, site: Path, tmp_path: Path) -> None:
    """A folder without __init__.py, a module of no package, and one of a package that the lock does not name."""
    install(site, "extra-tool", "1.0", "tests")
    for module in ("tests/__init__.py", "keras/data.csv", "digits/__init__.py", "keras.json"):
        (tmp_path / "project" / module).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "project" / module).touch()
    assert found(lock, tmp_path / "project", site) == []
