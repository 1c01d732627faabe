"""The virtual environment that `make` sets up: broken in every way, it heals, or one line says what to do.

The project is this one's Makefile with lock files of one tiny package each, which pip finds in a folder: nothing is
downloaded. The environments are real ones, of `python -m venv`.
"""

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from digits.runtime.program import InputError
from digits.verify import environment as setup
from digits.verify.installed import pins
from tests.support.project import ROOT, environment, run, run_ok
from tests.support.refusal import one_line

NEEDED = ("Makefile", "digits/__init__.py", "digits/common", "digits/verify")

#: A program that says which environment it runs in, as `dvc` would.
SAYS_WHERE = "import sys\n\ndef main():\n    print(sys.prefix)\n"


def wheel(folder: Path, name: str, version: str = "1.0") -> str:
    """Write a wheel with a module and a program of its name. Gives back its line of a lock file."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": SAYS_WHERE,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name} = {name}:main\n",
    }
    digests = {path: base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()) for path, text in files.items()}
    lines = [f"{path},sha256={digest.decode().rstrip('=')}," for path, digest in digests.items()]
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, text in (files | {f"{info}/RECORD": "\n".join([*lines, f"{info}/RECORD,,"])}).items():
            archive.writestr(member, text)
    return f"{name}=={version} \\\n    --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


def variables(project: Path, **extra: str) -> dict[str, str]:
    """The environment of a user whose registry is the project's folder of wheels, and who is in no virtual one."""
    ours = {name: value for name, value in environment().items() if not name.startswith(("PIP_", "PYTHON", "VIRTUAL"))}
    programs = f"{Path(sys.base_prefix) / 'bin'}:/usr/bin:/bin"
    registry = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(project / "wheels")}
    return ours | {"PATH": programs, "PIP_CONFIG_FILE": "/dev/null"} | registry | extra


def make(project: Path, *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
    """What `make` does in the project."""
    return subprocess.run(
        ["make", *arguments], cwd=project, env=variables(project, **extra), capture_output=True, text=True, check=False
    )


def set_up(project: Path, target: str = "setup", **extra: str) -> str:
    """What `make setup` says, which must succeed and leave a good environment."""
    result = make(project, target, **extra)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stderr == ""
    assert where(project) == str(project / ".venv")
    return result.stdout


def where(project: Path) -> str:
    """The environment that the program runs in, started as the Makefile starts `dvc`."""
    return run_ok("sh", "-c", ". .venv/bin/activate && tiny", cwd=project, env={"PATH": "/usr/bin:/bin"}).strip()


def refused(project: Path, **extra: str) -> str:
    """The line that `make setup` fails with, before anything is installed."""
    result = make(project, "setup", **extra)
    assert result.returncode != 0
    assert result.stdout == ""
    line, *rest = result.stderr.splitlines()
    assert all(text.startswith("make: *** ") for text in rest), result.stderr
    assert not (project / ".venv").exists()
    return one_line(line)


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A project without an environment."""
    project = tmp_path / "project"
    (project / "wheels").mkdir(parents=True)
    for name in NEEDED:
        target = project / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, target)
    other = "elsewhere==1.0 ; sys_platform == 'nowhere' \\\n    --hash=sha256:" + 64 * "0" + "\n"
    for name in ("requirements.lock", "requirements-s3.lock", "requirements-cluster.lock"):
        (project / name).write_text(wheel(project / "wheels", "tiny") + other, encoding="utf-8")
    (project / "requirements-dev.lock").write_text(wheel(project / "wheels", "small"), encoding="utf-8")
    run_ok("git", "init", "--quiet", cwd=project)
    return project


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the project of the tests that break an environment lies; each test leaves a good one."""
    return tmp_path_factory.mktemp("built")


@pytest.fixture
def good(built: Path, bare: Path) -> Path:
    """A project with an environment, made by the first test that asks."""
    project = built / "project"
    if not project.exists():
        shutil.move(bare, project)
        assert set_up(project) == "Setting up .venv (a few minutes, once)\n"
    elif question(project):
        set_up(project)
    return project


def question(project: Path) -> int:
    """The status of what every `make` asks first: 0 if all is well."""
    python, stamp = (project / ".venv" / name for name in ("bin/python", "runtime.stamp"))
    command = (str(python), "-I", "digits/verify/installed.py", "requirements.lock", str(stamp))
    return run(*command, cwd=project).returncode


def test_a_good_environment_is_left_alone(good: Path) -> None:
    python = (good / ".venv" / "bin" / "python").lstat()
    (good / "requirements.lock").touch()  # as `git checkout` does
    (good / "wheels").rename(good / "away")
    assert set_up(good) == ""  # nothing was installed
    (good / "away").rename(good / "wheels")
    assert (good / ".venv" / "bin" / "python").lstat() == python


def test_the_development_tools_have_their_own_stamp(good: Path) -> None:
    assert set_up(good, ".venv/dev.stamp") == ""
    assert (good / ".venv" / "bin" / "small").exists()


Damage = Callable[[Path], None]


def without_pip(venv: Path) -> None:
    """As when `ensurepip` failed, or somebody interrupted it."""
    shutil.rmtree(next(venv.glob("lib/python3*/site-packages/pip")))


def without_interpreter(venv: Path) -> None:
    """As when the Python that it was made with is gone."""
    for link in venv.glob("bin/python*"):
        link.unlink()
        link.symlink_to("/nonexistent/python")


def of_another_version(venv: Path) -> None:
    """As when the system's Python was upgraded: packages lie where the new one does not look."""
    (lib,) = venv.glob("lib/python3*")
    lib.rename(lib.with_name("python3.2"))


def of_a_dangling_link(venv: Path) -> None:
    shutil.rmtree(venv)
    venv.symlink_to("/nonexistent")


@pytest.fixture
def venv(good: Path) -> Iterator[Path]:
    """The environment of the good project, to be damaged; it is put back."""
    path, kept = good / ".venv", good / "kept"
    shutil.copytree(path, kept, symlinks=True)
    yield path
    setup.remove(path)
    kept.rename(path)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (without_pip, "No module named 'pip'"),
        (without_interpreter, "its interpreter is gone"),
        (of_another_version, "No module named 'pip'"),
        (of_a_dangling_link, "its interpreter is gone"),
    ],
)
def test_what_is_broken_is_found(venv: Path, damage: Damage, says: str) -> None:
    assert setup.defect(venv) == ""
    damage(venv)
    assert says in setup.defect(venv)


def test_one_of_another_folder_is_found(good: Path, bare: Path) -> None:
    shutil.copytree(good / ".venv", bare / ".venv", symlinks=True)
    assert setup.defect(bare / ".venv") == f"it leads to {good / '.venv'}"
    assert question(bare) == 1


def without_a_package(venv: Path) -> None:
    """And the stamp stays."""
    for path in venv.glob("lib/python3*/site-packages/tiny*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def of_an_earlier_makefile(venv: Path) -> None:
    """Whose stamp said nothing."""
    (venv / "runtime.stamp").write_text("")


@pytest.mark.parametrize("damage", [without_a_package, of_an_earlier_makefile, of_another_version])
def test_every_make_asks_and_finds_it(good: Path, venv: Path, damage: Damage) -> None:
    assert question(good) == 0
    damage(venv)
    assert question(good) == 1


@pytest.mark.slow
def test_a_copied_or_moved_checkout_is_no_good(good: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(good, copy, symlinks=True)
    assert where(copy) == str(good / ".venv")  # the negative control: it would use the old folder's environment
    assert "Setting up .venv again (some minutes): it leads to /" in set_up(copy)
    assert question(good) == 0  # the old one is as it was
    moved = copy.rename(tmp_path / "moved")
    assert setup.defect(moved / ".venv")
    assert question(moved) == 1


@pytest.mark.slow
def test_an_activated_environment_can_be_made_again(good: Path) -> None:
    """Then `python3` is the environment's own, which goes away."""
    without_pip(good / ".venv")
    of_an_earlier_makefile(good / ".venv")
    programs = f"{good / '.venv' / 'bin'}:{variables(good)['PATH']}"
    assert "again" in set_up(good, PATH=programs, VIRTUAL_ENV=str(good / ".venv"))


def test_a_changed_lock_file_is_installed(good: Path) -> None:
    lock = good / "requirements.lock"
    before = lock.read_text(encoding="utf-8")
    lock.write_text(wheel(good / "wheels", "tiny", "2.0"), encoding="utf-8")
    assert set_up(good) == ""
    assert list(good.glob(".venv/lib/*/site-packages/tiny-2.0.dist-info"))
    lock.write_text(before, encoding="utf-8")
    assert set_up(good) == ""
    assert list(good.glob(".venv/lib/*/site-packages/tiny-1.0.dist-info"))


HOSTILE = {
    "PIP_TARGET": "elsewhere",
    "PIP_PREFIX": "elsewhere",
    "PIP_ROOT": "elsewhere",
    "PIP_USER": "1",
    "PIP_DRY_RUN": "1",
    "PIP_NO_BINARY": ":all:",
    "PYTHONUSERBASE": "elsewhere",
}


def test_of_pips_settings_only_the_registry_counts(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the environment, and from a file, where the section of `install` wins; and all else stays."""
    config = good.parent / "pip.conf"
    config.write_text(
        "[global]\nindex-url = https://a\ntarget = elsewhere\nuser = true\ntimeout = 7\n"
        "[install]\nindex-url = https://b\nextra-index-url =\n  https://c\n  https://d\nuser = true\n"
        "[list]\nformat = json\n"
    )
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    ours = HOSTILE | {"PIP_CONFIG_FILE": str(config), "PIP_TRUSTED_HOST": "e", "PIP_TIMEOUT": "", "HTTPS_PROXY": "f"}
    for name, value in ours.items():
        monkeypatch.setenv(name, value)
    found = setup.pip_variables(good / ".venv" / "bin" / "python")
    registry = {name: value for name, value in found.items() if name.startswith("PIP_")}
    for name in ("PIP_CERT", "PIP_FIND_LINKS"):
        registry.pop(name, None)  # from the machine's own file
    assert registry.pop("PIP_EXTRA_INDEX_URL").split()[-2:] == ["https://c", "https://d"]
    wanted = {"PIP_INDEX_URL": "https://b", "PIP_TIMEOUT": "7", "PIP_TRUSTED_HOST": "e", "PIP_CONFIG_FILE": os.devnull}
    assert registry == wanted
    assert found["HTTPS_PROXY"] == "f"
    assert not [name for name in found if name.startswith("PYTHON")]


def unpack(project: Path) -> None:
    """The package in a folder that is on PYTHONPATH, as ROS has its own."""
    with zipfile.ZipFile(project / "wheels" / "tiny-1.0-py3-none-any.whl") as archive:
        archive.extractall(project / "elsewhere")


def test_no_setting_of_pip_leads_elsewhere(good: Path) -> None:
    without_a_package(good / ".venv")
    assert set_up(good, **HOSTILE) == ""
    assert not (good / "elsewhere").exists()


def test_a_package_on_pythonpath_is_not_enough(good: Path) -> None:
    without_a_package(good / ".venv")
    unpack(good)
    assert set_up(good, PYTHONPATH=str(good / "elsewhere")) == ""
    shutil.rmtree(good / "elsewhere")
    assert where(good) == str(good / ".venv")


@pytest.mark.parametrize("name", ["PIP_TARGET", "PYTHONPATH"])
def test_a_plain_pip_goes_elsewhere(good: Path, name: str) -> None:
    """The negative control."""
    without_a_package(good / ".venv")
    if name == "PYTHONPATH":
        unpack(good)
    command = [".venv/bin/python", "-m", "pip", "install", "--quiet", "--require-hashes", "-r", "requirements.lock"]
    subprocess.run(command, cwd=good, env=variables(good, **{name: "elsewhere"}), check=True, capture_output=True)
    assert (good / "elsewhere" / "tiny.py").exists()
    assert question(good) == 1
    shutil.rmtree(good / "elsewhere")


def test_a_package_that_is_nowhere_is_an_error(good: Path) -> None:
    without_a_package(good / ".venv")
    result = make(good, "setup", PIP_FIND_LINKS="")
    assert result.returncode != 0
    assert "ERROR: pip: expected every package of requirements.lock. Got the error above." in result.stderr
    assert question(good) == 1


# Before anything is installed


def test_without_a_repository_it_is_said_first(bare: Path) -> None:
    shutil.rmtree(bare / ".git")
    line = refused(bare, GIT_CEILING_DIRECTORIES=str(bare.parent))
    assert "Got not a git repository" in line
    assert line.endswith("Clone the repository with Git, or run `git init` here: DVC needs it.")


def only(folder: Path, *programs: str) -> str:
    """A PATH with some programs alone."""
    folder.mkdir()
    for name in programs:
        found = shutil.which(name, path="/usr/bin:/bin")
        assert found
        (folder / name).symlink_to(found)
    return str(folder)


def test_without_git_it_is_said_first(bare: Path, tmp_path: Path) -> None:
    path = only(tmp_path / "bin", "make", "sh")
    line = refused(bare, PATH=path, PYTHON=str(Path(sys.base_prefix) / "bin" / "python3"))
    assert "git: expected a repository here. Got it is not installed. Install it" in line


@pytest.mark.parametrize("module", setup.MODULES)
def test_a_python_without_a_part_is_refused_first(bare: Path, tmp_path: Path, module: str) -> None:
    python = tmp_path / "python"
    base = Path(sys.base_prefix) / "bin" / "python3"
    program = f"import runpy, sys; sys.modules[{module!r}] = None; sys.argv[:2] = sys.argv[1:2]; "
    program += "runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"
    python.write_text(f'#!/bin/sh\n[ "$2" != -m ] && exec {base} "$@"\nshift 2\nexec {base} -c "{program}" "$@"\n')
    python.chmod(0o755)
    assert f": expected the module {module}, " in refused(bare, PYTHON=str(python))


def test_a_python_that_is_too_old_is_refused_first(bare: Path, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\n[ "$1" = -V ] && echo Python 3.9.1\nexit 1\n')
    python.chmod(0o755)
    assert "Got Python 3.9.1. Run make PYTHON=python3.12." in refused(bare, PYTHON=str(python))
    assert "Run make PYTHON=python3.12." in refused(bare, PYTHON="/nonexistent/python")


def test_what_python_will_do_is_what_the_project_says() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["requires-python"] == ">=3.11,<3.14"
    script = (ROOT / "digits" / "verify" / "environment.sh").read_text(encoding="utf-8")
    assert "(3, 11) <= sys.version_info < (3, 14)" in script
    assert "Python 3.11 to 3.13" in script


def test_a_folder_that_is_no_environment_is_not_removed(bare: Path) -> None:
    (bare / ".venv").mkdir()
    (bare / ".venv" / "theirs").touch()
    with pytest.raises(InputError, match=r"expected a virtual environment\. Got another folder\. Move it away\."):
        setup.make(bare / ".venv")
    assert (bare / ".venv" / "theirs").exists()


def test_a_python_that_makes_no_environment_leaves_none(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(InputError, match=r"expected it to make a virtual environment\. Got exit status 1"):
        setup.make(bare / ".venv")
    assert not (bare / ".venv").exists()


def test_the_lock_files_are_read_whole() -> None:
    for name in ("requirements.lock", "requirements-dev.lock"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert len(pins(text)) == text.count("==") - sum(
            line.count("==") - 1 for line in text.splitlines() if "==" in line
        )
        assert ("pywin32", "312", True) in pins(text) or "pywin32" not in text
