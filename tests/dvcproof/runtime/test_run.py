"""dvcproof.runtime.run: a module runs only with the packages of the lock, and the hint repairs the environment."""

import hashlib
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.project import ROOT, Arrays, environment, make_project, run
from tests.support.refusal import one_line, refused_by

#: This Python without the packages of its virtual environment.
BARE = str(Path(sys.executable).resolve())


def wheel(folder: Path, version: str) -> Path:
    """Return a wheel of the made-up package `five`."""
    folder.mkdir(exist_ok=True)
    path, info = folder / f"five-{version}-py3-none-any.whl", f"five-{version}.dist-info"
    files = {
        "five.py": f"print('five {version}')\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: five\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in (*files, f"{info}/RECORD"))
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def write_lock(folder: Path, version: str) -> None:
    digest = hashlib.sha256(wheel(folder / "wheels", version).read_bytes()).hexdigest()
    (folder / "requirements.lock").write_text(f"five=={version} \\\n    --hash=sha256:{digest}\n", encoding="utf-8")


class Place:
    """A folder with a lock that names the made-up package, and a virtual environment of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.python = folder, folder / ".venv" / "bin" / "python"
        subprocess.run([sys.executable, "-m", "venv", str(folder / ".venv")], check=True)
        self.environment = environment(
            PYTHONPATH=str(ROOT), PIP_NO_INDEX="1", PIP_FIND_LINKS="wheels", PIP_DISABLE_PIP_VERSION_CHECK="1"
        )

    def shell(self, command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", "-c", command],
            cwd=self.folder,
            env=self.environment | variables,
            capture_output=True,
            text=True,
            check=False,
        )

    def install(self, version: str) -> None:
        """Install a wheel as pip does, in less time."""
        (site,) = (self.folder / ".venv" / "lib").glob("python*/site-packages")
        for left in site.glob("five*"):
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        with zipfile.ZipFile(wheel(self.folder / "wheels", version)) as archive:
            archive.extractall(site)

    def run(self, python: str | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run the package as a module."""
        words = [python or str(self.python), "-m", "dvcproof.runtime.run", "requirements.lock", "five"]
        return self.shell(shlex.join(words), **variables)

    def hint(self, **variables: str) -> str:
        """Return the command that a refusal names."""
        line = refused_by(self.run(**variables))
        match = re.search(r"\. Run `([^`]+)`\.?$", line)
        assert match, line
        return match[1]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("a place with spaces"))


@pytest.fixture
def place(made: Place) -> Place:
    """Return the place with the package that its lock names."""
    write_lock(made.folder, "1.0")
    shutil.copy(ROOT / "pyproject.toml", made.folder)  # names this project's commands for an environment
    made.install("1.0")
    return made


def test_another_version_installed_by_hand(place: Place) -> None:
    place.install("0.9")
    line = refused_by(place.run())
    assert f"package five for {place.python}: expected 1.0, as in requirements.lock. Got 0.9 in {place.folder}" in line
    assert place.shell(place.hint()).returncode == 0
    assert place.run().stdout == "five 1.0\n"


def test_a_lock_changed_by_a_pull(place: Place) -> None:
    write_lock(place.folder, "1.1")
    assert place.shell(place.hint()).returncode == 0
    assert place.run().stdout == "five 1.1\n"


def test_the_right_version_from_a_file_by_hand(place: Place) -> None:
    """The contents may differ, but `pip install` would keep the package, so the hint differs."""
    command = f"{shlex.quote(str(place.python))} -m pip install --force-reinstall ./wheels/five-1.0-py3-none-any.whl"
    assert place.shell(command).returncode == 0
    assert "Got a copy from a folder or URL" in refused_by(place.run())
    assert "Run `make clean repro`: it sets up .venv from nothing." in place.run().stderr


@pytest.mark.parametrize("kind", ["with its version", "bare"])
def test_a_foreign_package_on_pythonpath(place: Place, tmp_path: Path, kind: str) -> None:
    (tmp_path / "five.py").write_text("print('foreign')\n", encoding="utf-8")
    if kind != "bare":
        (tmp_path / "five-0.5.dist-info").mkdir()
    foreign = f"{tmp_path}:{ROOT}"
    hint = place.hint(PYTHONPATH=foreign)
    assert hint == "unset PYTHONPATH"
    assert place.run(PYTHONPATH=foreign).returncode == 1
    words = shlex.join(
        [str(place.python), "-m", "dvcproof.runtime.run", str(place.folder / "requirements.lock"), "five"]
    )
    result = place.shell(f"{hint}; cd '{ROOT}'; {words}", PYTHONPATH=foreign)
    assert (result.returncode, result.stdout) == (0, "five 1.0\n")


def test_another_python_first_on_the_path(place: Place) -> None:
    """This Python has no packages, so it must be refused before any import of a package."""
    line = refused_by(place.run(BARE))
    assert f"package five for {BARE}: expected 1.0, as in requirements.lock. Got none. Run `make repro`, which" in line


@pytest.mark.parametrize("ending", ["py", "pyc"])
def test_a_file_of_the_name_of_a_package(place: Place, ending: str) -> None:
    (place.folder / f"five.{ending}").write_text("print('mine')\n", encoding="utf-8")
    line = refused_by(place.run())
    (place.folder / f"five.{ending}").unlink()
    assert f"Got another module 'five' in {place.folder}. Rename the module in {place.folder}." in line
    assert place.run().stdout == "five 1.0\n"


def test_without_pip_all_is_set_up_again(place: Place) -> None:
    (pip,) = (place.folder / ".venv" / "lib").glob("python*/site-packages/pip")
    write_lock(place.folder, "1.2")
    pip.rename(pip.with_name("hidden"))
    line = refused_by(place.run())
    pip.with_name("hidden").rename(pip)
    assert "Run `make clean repro`" in line


def test_the_arguments_are_those_of_the_module() -> None:
    words = (sys.executable, "-m", "dvcproof.runtime.run", "requirements.lock", "stages.load", "--params")
    result = run(*words, cwd=ROOT)
    assert result.returncode == 2
    assert "python -m stages.load: error: argument --params: expected one argument" in result.stderr


def test_no_stage_runs_and_nothing_is_recorded(tmp_path: Path, digits: Arrays) -> None:
    """The stages that DVC runs are refused, for Keras and for a package that no stage imports."""
    project = make_project(tmp_path / "project", digits)
    (tmp_path / "foreign" / "dvc_render-0.0.1.dist-info").mkdir(parents=True)
    result = run("dvc", "repro", cwd=project, env={"PYTHONPATH": str(tmp_path / "foreign")})
    assert result.returncode != 0
    (line,) = (line for line in result.stderr.splitlines() if "package" in line)
    assert "package dvc-render for " in one_line(line)
    assert "Got 0.0.1 in " in line
    assert not (project / "dvc.lock").exists()
    assert not (project / "data" / "raw").exists()
