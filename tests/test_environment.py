"""The virtual environment that `make` sets up: `make` repairs each damage, or one line names the next step.

The test project has this project's Makefile and locks of tiny packages. These packages and the real uv lie in a folder,
so that nothing is downloaded. The slow tests make real environments, in a folder whose name has special characters.
"""

import ast
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from digits import environment as setup
from tests.support.namespace import has_namespaces, in_namespace
from tests.support.project import ROOT, environment, run_ok
from tests.support.refusal import one_line

PROGRAM = "digits/environment.py"
BASE = str(Path(sys.base_prefix) / "bin" / "python3")

#: A program in place of `dvc` that prints the environment in which it runs.
SAYS_WHERE = b"import sys\n\ndef main():\n    print(sys.prefix)\n"
FOREIGN = "elsewhere==1.0 ; sys_platform == 'nowhere' \\\n    --hash=sha256:" + 64 * "0" + "\n"


def wheel(folder: Path, name: str, version: str = "1.0", program: Path | None = None) -> str:
    """Write a wheel with a module and a program of the same name. Return the lines for a lock."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if program:
        files[f"{name}-{version}.data/scripts/{name}"] = program.read_bytes()
    else:
        files[f"{name}.py"] = SAYS_WHERE
        files[f"{info}/entry_points.txt"] = f"[console_scripts]\n{name} = {name}:main\n".encode()
    files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"]).encode()
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for member, data in files.items():
            about = zipfile.ZipInfo(member)
            about.external_attr = (0o100755 if "/scripts/" in member else 0o100644) << 16
            archive.writestr(about, data)
    return digest(folder, name, version)


def digest(folder: Path, name: str, version: str = "1.0") -> str:
    """Return the lines of a wheel in a lock."""
    data = (folder / f"{name}-{version}-py3-none-any.whl").read_bytes()
    return f"{name}=={version} \\\n    --hash=sha256:{hashlib.sha256(data).hexdigest()}\n"


def write_locks(project: Path, runtime: str, *more: str) -> None:
    (project / "requirements.lock").write_text(runtime + FOREIGN, encoding="utf-8")
    (project / "requirements-dev.lock").write_text(runtime + FOREIGN + "".join(more), encoding="utf-8")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a project without an environment, as the working directory. Its files have lost their executable bits."""
    path = tmp_path / "project"
    (path / PROGRAM).parent.mkdir(parents=True)
    for name in ("Makefile", PROGRAM):
        shutil.copyfile(ROOT / name, path / name)
    run_ok("git", "init", "--quiet", cwd=path)
    zeros = f" \\\n    --hash=sha256:{64 * '0'}\n"
    small, below = "# via digits (pyproject.toml:s3)\n", "# via\n    #   other\n    #   small\n"
    tool = f"tool==1.0{zeros}    # via digits (pyproject.toml:dev)\n"
    write_locks(path, f"tiny==1.0{zeros}", f"below==2.0{zeros}    {below}small==1.0{zeros}    {small}", tool)
    monkeypatch.chdir(path)
    return path


@pytest.fixture
def venv(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder that looks like a good environment to which this Python belongs."""
    monkeypatch.setattr(sys, "executable", str(project / ".venv" / "bin" / "python"))
    for name in (".venv/bin", str(setup.SITE / "pip"), str(setup.SITE / "Tiny-1.0.dist-info")):
        (project / name).mkdir(parents=True)
    setup.PYTHON.symlink_to(BASE)
    setup.STAMP.write_text(f"{project / '.venv'}\nelsewhere==1.0 ; sys_platform == 'nowhere'", encoding="utf-8")
    return project / ".venv"


# The check that each `make` runs


def ask(*arguments: str) -> int:
    """Return the exit status of the check."""
    command = [setup.PYTHON, "-I", "-S", PROGRAM, "--ask", *arguments]
    return subprocess.run([str(word) for word in command], capture_output=True, check=False).returncode


def test_only_what_a_target_needs_is_asked_for(venv: Path) -> None:
    assert setup.find_defect() == ""
    assert (ask(), ask("dev"), ask("s3")) == (0, 3, 3)
    assert {pin.partition("==")[0] for pin in setup.choose("s3")} == {"tiny", "elsewhere", "small", "below"}
    assert {pin.partition("==")[0] for pin in setup.choose("dev")} == {"tiny", "elsewhere", "small", "below", "tool"}
    for name in ("small", "below"):
        (venv.parent / setup.SITE / f"{name}-{'1.0' if name == 'small' else '2.0'}.dist-info").mkdir()
    assert ask("s3") == 0


def in_lock(old: str, new: str) -> Callable[[], object]:
    """Return a function that replaces a text in the lock."""
    lock = Path("requirements.lock")
    return lambda: lock.write_text(lock.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")


#: Move the packages to a folder where the Python does not look, as after an upgrade of the system's Python.
of_another_version = partial(setup.SITE.parent.rename, ".venv/lib/python3.2")


@pytest.mark.usefixtures("venv")
@pytest.mark.parametrize(
    "damage",
    [
        partial(shutil.rmtree, setup.SITE / "Tiny-1.0.dist-info"),  # the stamp stays
        in_lock("tiny==1.0", "tiny==2.0"),
        in_lock("'nowhere'", "'linux'"),  # a package for other machines is now for this machine
        of_another_version,
    ],
)
def test_every_make_asks_and_finds_it(damage: Callable[[], object]) -> None:
    assert ask() == 0
    damage()
    assert ask() == 3


def linked(path: Path) -> None:
    """Replace a file or folder by a dangling link."""
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    path.symlink_to("/nonexistent")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ((setup.SITE / "pip").rmdir, "it has no pip"),  # `ensurepip` failed or was interrupted
        (of_another_version, "it has no pip"),
        (partial(linked, setup.PYTHON), "its interpreter is gone"),
        (partial(linked, setup.VENV), "its interpreter is gone"),
        (setup.STAMP.unlink, "it was not made by this Makefile, or not finished"),
        (lambda: setup.STAMP.write_text("/old/.venv", encoding="utf-8"), "it was made in /old/.venv"),
    ],
)
@pytest.mark.usefixtures("venv")
def test_what_is_broken_is_found(damage: Callable[[], object], says: str) -> None:
    damage()
    assert setup.find_defect() == says


@pytest.mark.parametrize("content", [None, b"\xff", b"tiny==1.0\n<<<<<<< HEAD\n"])
def test_a_lock_that_cannot_be_read_is_named(project: Path, content: bytes | None) -> None:
    lock = project / "requirements.lock"
    lock.unlink() if content is None else lock.write_bytes(content)
    assert stopped(setup.choose).endswith("Run `git checkout HEAD -- requirements.lock`.")


# Before anything is installed


def refused(project: Path, *arguments: str, **variables: str) -> str:
    """Return the error line of `make setup`, which must fail before it installs anything."""
    result = make(project, "setup", *arguments, **variables)
    assert result.returncode != 0
    assert result.stdout == ""
    assert not (project / ".venv").exists()
    return one_line(re.sub(r"\nmake: .*", "", result.stderr).rstrip("\n"))


def stopped(step: Callable[..., object], *arguments: object) -> str:
    """Return the error line with which a step of the program ends."""
    with pytest.raises(SystemExit) as stop:
        step(*arguments)
    return one_line(str(stop.value))


def make(project: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `make` for a user whose registry is a folder of wheels and who has activated no virtual environment."""
    foreign = ("PIP_", "UV_", "PYTHON", "VIRTUAL")
    env = {name: value for name, value in environment().items() if not name.startswith(foreign)}
    env |= {"PIP_CONFIG_FILE": "/dev/null", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(project.parent / "wheels")}
    env |= {"PATH": f"{Path(BASE).parent}:/usr/bin:/bin", "UV_CACHE_DIR": str(project.parent / "cache")} | variables
    return subprocess.run(["make", *arguments], cwd=project, env=env, capture_output=True, text=True, check=False)


def test_without_a_repository_it_is_said_first(project: Path) -> None:
    shutil.rmtree(project / ".git")
    line = refused(project, GIT_CEILING_DIRECTORIES=str(project.parent))
    assert line == "ERROR: git: this is no repository. Clone it with Git, or run `git init` here: DVC needs one."


def test_without_git_it_is_said_first(project: Path) -> None:
    (project.parent / "bin").mkdir()
    for name in ("make", "sh"):
        (project.parent / "bin" / name).symlink_to(str(shutil.which(name)))
    assert "git: it is not installed" in refused(project, PATH=str(project.parent / "bin"), PYTHON=BASE)


def test_a_path_with_a_colon_is_said_first(project: Path) -> None:
    line = refused(project.rename(project.parent / "a:b"))
    assert line.endswith("/a:b: a path with a colon cannot have a virtual environment. Rename the folder.")


@pytest.mark.parametrize("module", setup.MODULES)
def test_a_python_without_a_part_is_refused(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    assert f": it lacks the module {module}. " in stopped(setup.require_machine)


def test_a_processor_without_avx_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    setup.CPUINFO.write_text("flags\t\t: sse2 avx avx2\n", encoding="utf-8")
    setup.require_machine()
    setup.CPUINFO.write_text("flags\t\t: sse2\n", encoding="utf-8")
    assert "it has no AVX" in stopped(setup.require_machine)


def test_a_python_that_is_too_old_is_refused(project: Path) -> None:
    text = (ROOT / PROGRAM).read_text(encoding="utf-8")
    ast.parse(text, feature_version=(3, 6))
    program = f"import sys; sys.version_info = (3, 9, 1, 'final', 0); exec({text!r})"
    said = subprocess.run([BASE, "-c", program], capture_output=True, text=True, check=False).stderr
    assert "Python 3.9: TensorFlow has packages for Python 3.11 to 3.13. Run make PYTHON=" in one_line(said.rstrip())
    assert "there is no such program" in refused(project, PYTHON="/nonexistent/python")
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert pyproject["project"]["requires-python"] == ">=3.11,<3.14"


def test_a_folder_that_is_no_environment_is_not_removed(project: Path) -> None:
    (project / ".venv").mkdir()
    (project / ".venv" / "theirs").touch()
    assert stopped(setup.make) == "ERROR: .venv: this folder is no virtual environment. Move it away."
    assert (project / ".venv" / "theirs").exists()


@pytest.mark.parametrize("words", ["[Errno 28] No space left on device", "(os error 28)", "[Errno 122] Quota"])
def test_a_full_disk_is_named(words: str) -> None:
    assert stopped(setup.run, "sh", "-c", f"echo '{words}' >&2; exit 1").endswith(
        ": the disk is full. Make room, and run make again."
    )


@pytest.mark.skipif(not has_namespaces(), reason="only in a mount namespace can a disk be small")
@pytest.mark.parametrize("size", ["8k", pytest.param("2m", marks=pytest.mark.slow)])
@pytest.mark.parametrize("disk", ["project", "temporary"])
def test_a_disk_that_fills_up_during_the_set_up_is_named(project: Path, size: str, disk: str) -> None:
    """The line names the disk of the project or of the temporary files, and does not blame Python."""
    (project / ".venv").mkdir()
    (project.parent / "temporary").mkdir()
    place = project / ".venv" if disk == "project" else project.parent / "temporary"
    program = "from digits import environment; environment.make()"
    command = f'mount -t tmpfs -o size={size} tmpfs {place} && exec {BASE} -c "{program}"'
    result = in_namespace(command, cwd=project, env={"TMPDIR": str(project.parent / "temporary")})
    assert result.returncode == 1
    line = one_line(result.stderr.rstrip())
    assert line in {f"ERROR: {path}: the disk is full. Make room, and run make again." for path in (place, project)}


@pytest.mark.skipif(not has_namespaces(), reason="only in a mount namespace can a disk be mounted so")
def test_a_disk_without_programs_is_said_first(project: Path) -> None:
    command = f"mount --bind . . && mount -o remount,noexec,bind . && cd {project} && exec {BASE} -I {PROGRAM}"
    line = one_line(in_namespace(command, cwd=project).stderr.rstrip())
    assert line.startswith(f"ERROR: {project}: this disk is mounted noexec")


def test_a_folder_that_cannot_be_written_is_not_pythons_fault(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = "Error: [Errno 13] Permission denied: '.venv'"
    monkeypatch.setattr(setup, "run", lambda *_, **__: (1, said))
    assert stopped(setup.make).endswith(f"{said}. Repair that in {project}, and run make again.")
    monkeypatch.undo()
    monkeypatch.chdir(project)
    monkeypatch.setattr(sys, "_base_executable", shutil.which("false"))
    assert "it cannot make a virtual environment: it failed without a message" in stopped(setup.make)
    assert not (project / ".venv").exists()


# The registry, and the locks


def sources(patch: pytest.MonkeyPatch, **variables: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return the settings of the registry for a user with only these variables."""
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        patch.delenv(name)
    for name, value in variables.items():
        patch.setenv(name, value)
    patch.setattr(setup, "PYTHON", Path(sys.executable))
    return setup.read_sources()


def test_of_the_settings_only_the_registry_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings come from the environment and from a file, whose section `install` takes precedence."""
    config = tmp_path / "pip.conf"
    config.write_text(
        "[global]\nindex-url = https://a\ntarget = elsewhere\nuser = true\ntimeout = 7\nproxy = http://p\n"
        "[install]\nindex-url = https://b\nextra-index-url =\n  https://c\n  https://d\nuser = true\n"
        "[list]\nformat = json\n"
    )
    theirs = {"PIP_CONFIG_FILE": str(config), "PIP_TRUSTED_HOST": "e", "PIP_TIMEOUT": "", "PIP_CERT": "/c.pem"}
    theirs |= {"PIP_FIND_LINKS": "/w1 /w2", "PIP_TARGET": "x", "PIP_DRY_RUN": "1", "UV_SYSTEM_PYTHON": "1"}
    of_pip, of_uv = sources(monkeypatch, **theirs, UV_TARGET="x", UV_CACHE_DIR="/cache", HTTPS_PROXY="f")
    assert not {name for name in of_pip | of_uv if name.startswith("PYTHON")}
    assert not {"PIP_TARGET", "PIP_USER", "PIP_DRY_RUN"} & of_pip.keys()
    assert (of_pip["PIP_INDEX_URL"], of_pip["PIP_CONFIG_FILE"]) == ("https://b", os.devnull)
    assert {name: value for name, value in of_uv.items() if name.startswith("UV_") and name != "UV_INDEX"} == {
        "UV_DEFAULT_INDEX": "https://b",
        "UV_FIND_LINKS": "/w1,/w2",
        "UV_INSECURE_HOST": "e",
        "UV_HTTP_TIMEOUT": "7",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_CACHE_DIR": "/cache",
    }
    assert of_uv["UV_INDEX"].split()[-2:] == ["https://c", "https://d"]
    assert (of_uv["SSL_CERT_FILE"], of_uv["HTTPS_PROXY"], of_pip["HTTPS_PROXY"]) == ("/c.pem", "http://p", "f")


def test_uvs_registry_is_pips_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The setting reaches pip too, since pip installs uv."""
    of_pip, of_uv = sources(monkeypatch, PIP_CONFIG_FILE=os.devnull, UV_INDEX_URL="https://u")
    assert of_pip["PIP_INDEX_URL"] == of_uv["UV_INDEX_URL"] == "https://u"
    assert of_uv["UV_DEFAULT_INDEX"] == "https://u"


def test_the_locks_are_read_whole_and_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    runtime, every = setup.read_pins("requirements.lock"), setup.read_pins("requirements-dev.lock")
    assert runtime.keys() < every.keys()
    assert "".join(every.values()) == Path("requirements-dev.lock").read_text(encoding="utf-8")
    assert [pin for pin in every if pin.startswith("uv==")]
    assert all("--hash=sha256:" in lines and "://" not in lines for lines in every.values())
    for target, package in (("s3", "dvc-s3"), ("cluster", "distributed"), ("parquet", "pyarrow")):
        more = {pin.partition("==")[0] for pin in setup.choose(target).keys() - runtime.keys()}
        assert package in more
        assert not {"pytest", "uv"} & more


# Real environments


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project in a folder whose name has special characters, beside its wheels. `good` sets it up once."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "wheels").mkdir()
    uv = shutil.which("uv", path=str(Path(sys.executable).parent))
    assert uv
    wheel(folder / "wheels", "uv", program=Path(uv))
    return folder / "a $HOME `b`'c"


@pytest.fixture
def good(made: Path, project: Path) -> Path:
    """Return a project with a good environment of its own."""
    if not made.exists():
        shutil.move(project, made)
    wheels = made.parent / "wheels"
    small = wheel(wheels, "small") + "    # via digits (pyproject.toml:s3)\n"
    write_locks(made, wheel(wheels, "tiny"), small, digest(wheels, "uv"))
    (made / "where.mk").write_text("include Makefile\nwhere: setup\n\t@$(RUN) tiny\n", encoding="utf-8")
    set_up(made)
    os.chdir(made)
    return made


def set_up(project: Path, target: str = "setup", **variables: str) -> str:
    """Run `make`, which must succeed and leave a good environment, and return its output."""
    result = make(project, target, **variables)
    assert (result.returncode, result.stderr) == (0, ""), result.stdout + result.stderr
    assert "uv: " not in result.stdout
    where = make(project, "-f", "where.mk", "where")
    assert where.stdout == f"{project / '.venv'}\n", where.stdout + where.stderr
    return result.stdout


def have(project: Path, name: str) -> bool:
    """Return whether a package is in the environment."""
    return bool(list((project / setup.SITE).glob(f"{name}-*.dist-info")))


def remove(project: Path, name: str) -> None:
    for path in (project / setup.SITE).glob(f"{name}*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.mark.slow
def test_a_good_environment_is_left_alone(good: Path) -> None:
    python = (good / ".venv" / "bin" / "python").lstat()
    (good / "requirements.lock").touch()  # as `git checkout` does
    assert set_up(good, PIP_FIND_LINKS="") == ""
    assert (good / ".venv" / "bin" / "python").lstat() == python


@pytest.mark.slow
def test_a_changed_lock_is_installed(good: Path) -> None:
    write_locks(good, wheel(good.parent / "wheels", "tiny", "2.0"), digest(good.parent / "wheels", "uv"))
    assert set_up(good) == ""
    assert (good / setup.SITE / "tiny-2.0.dist-info").exists()


@pytest.mark.slow
@pytest.mark.parametrize("uv", ["with uv", "with pip"])
def test_a_group_comes_with_its_hash_or_not_at_all(good: Path, uv: str) -> None:
    remove(good, "small")
    if uv == "with pip":
        remove(good, "uv")
        (good / ".venv" / "bin" / "uv").unlink(missing_ok=True)
    lock = good / "requirements-dev.lock"
    text = lock.read_text(encoding="utf-8")
    bad = digest(good.parent / "wheels", "uv").partition("sha256:")[2] if uv == "with pip" else "none"
    of_small = digest(good.parent / "wheels", "small").partition("sha256:")[2]
    lock.write_text(text.replace(bad, 64 * "0" + "\n").replace(of_small, 64 * "1" + "\n"), encoding="utf-8")
    result = make(good, "setup", "WITH=s3")
    assert result.returncode != 0
    assert "ERROR: pip: see its error above." in result.stderr
    assert "Continuing with pip" in result.stdout
    assert len(result.stdout.splitlines()) == 1
    assert not have(good, "small")
    lock.write_text(text.replace(bad, 64 * "0" + "\n"), encoding="utf-8")
    result = make(good, "setup", "WITH=s3")
    assert result.returncode == 0, result.stderr
    assert ("uv: it cannot be installed: " in result.stdout) is (uv == "with pip")
    assert have(good, "small")
    assert have(good, "tool") is False


@pytest.mark.slow
def test_no_setting_leads_elsewhere(good: Path) -> None:
    """A package on PYTHONPATH does not count either."""
    remove(good, "tiny")
    with zipfile.ZipFile(good.parent / "wheels" / "tiny-1.0-py3-none-any.whl") as archive:
        archive.extractall(good / "elsewhere")
    hostile = dict.fromkeys(
        ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "UV_TARGET", "UV_PREFIX", "PYTHONPATH"), "elsewhere"
    )
    hostile |= {"PIP_USER": "1", "PIP_DRY_RUN": "1", "PIP_NO_BINARY": ":all:", "UV_NO_BINARY": "1"}
    hostile |= {"UV_SYSTEM_PYTHON": "1", "UV_PYTHON": "python3.99", "UV_NO_VERIFY_HASHES": "1"}
    assert set_up(good, **hostile) == ""


def test_a_plain_pip_goes_elsewhere(good: Path) -> None:
    """The negative control: a setting that `make` does not pass on."""
    remove(good, "tiny")
    where = {"PIP_FIND_LINKS": str(good.parent / "wheels"), "PIP_TARGET": str(good / "elsewhere")}
    command = (str(setup.PYTHON), "-m", "pip", "install", "--quiet", "tiny==1.0")
    run_ok(*command, cwd=good, env={"PIP_NO_INDEX": "1"} | where)
    assert list((good / "elsewhere").glob("tiny*"))
    assert not have(good, "tiny")
    shutil.rmtree(good / "elsewhere")
    set_up(good)


@pytest.mark.slow
def test_a_copied_checkout_gets_its_own(good: Path, tmp_path: Path) -> None:
    """A moved checkout gets its own environment, too."""
    (tmp_path / "wheels").symlink_to(good.parent / "wheels")
    copy = tmp_path / "copy"
    shutil.copytree(good, copy, symlinks=True)
    script = '. .venv/bin/activate && printf %s "$VIRTUAL_ENV"'
    assert run_ok("sh", "-c", script, cwd=copy) != str(copy / ".venv")  # the negative control
    assert f"it was made in {good / '.venv'}" in set_up(copy)
    assert make(good, "setup").stdout == ""


@pytest.mark.slow
def test_an_activated_environment_is_made_again_if_an_installation_was_killed(good: Path) -> None:
    """In an activated environment, `python3` belongs to the environment that is removed."""
    (good / setup.STAMP).unlink()
    programs = f"{good / '.venv' / 'bin'}:{Path(BASE).parent}:/usr/bin:/bin"
    assert "it was not made by this Makefile, or not finished" in set_up(
        good, PATH=programs, VIRTUAL_ENV=str(good / ".venv")
    )


@pytest.mark.slow
def test_a_failure_before_anything_is_installed_leaves_it_as_it_was(good: Path) -> None:
    """For example, a pull changes the lock, and then there is no network."""
    before = (good / "requirements.lock").read_text(encoding="utf-8")
    write_locks(
        good, before.replace("tiny==1.0", "tiny==3.0").replace(FOREIGN, ""), digest(good.parent / "wheels", "uv")
    )
    assert make(good, "setup").returncode != 0
    (good / "requirements.lock").write_text(before, encoding="utf-8")
    assert set_up(good) == ""


def test_a_tool_of_development_never_changes_what_the_stages_depend_on() -> None:
    lines = run_ok("make", "--dry-run", "lock", cwd=ROOT).splitlines()
    runtime, every = (line for line in lines if "uv pip compile" in line)
    assert runtime.endswith("--no-annotate pyproject.toml -o requirements.lock")
    assert "--group" not in runtime
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]
    assert set(re.findall(r"--group (\S+)", every)) == groups.keys()
    assert every.endswith(" -c requirements.lock -o requirements-dev.lock")
