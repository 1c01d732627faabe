"""Set up the virtual environment, or mend it. environment.sh calls this if it does not say of itself that all is well.

python3 -E -m digits.verify.environment --venv .venv --lock requirements.lock --stamp .venv/runtime.stamp

It needs nothing but Python. What can be known before gigabytes are installed is checked before.
"""

import argparse
import ast
import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from digits.runtime.program import InputError, run
from digits.verify.git import GitError, git

#: Of the user's configuration of pip, only where packages come from and how. The rest may put them elsewhere (target,
#: prefix, user, root), install others (no-binary, platform) or none (dry-run).
SOURCES = {"index-url", "extra-index-url", "find-links", "no-index", "trusted-host", "keyring-provider", "cache-dir"}
PIP_SETTINGS = SOURCES | {"proxy", "cert", "client-cert", "timeout", "default-timeout", "retries", "no-cache-dir"}

#: Parts of Python that some installations lack, and that are needed here.
MODULES = {
    "ensurepip": "to put pip into a virtual environment",
    "zlib": "to unpack packages",
    "_ssl": "to download packages",
    "_sqlite3": "for DVC",
    "_ctypes": "for DVC and NumPy",
}

ANOTHER_PYTHON = "Name another Python: make PYTHON=python3.12."


def require_git() -> None:
    """Refuse a folder that DVC would refuse after everything is installed.

    Raises:
        InputError: Git is not installed, or this is no repository, or Git does not open it.
    """
    try:
        git(Path(), "rev-parse", "--git-dir")
    except GitError as error:
        if shutil.which("git") is None:
            hint = "Install it (Debian and Ubuntu: sudo apt-get install git)."
        elif "not a git repository" in str(error):
            hint = "Clone the repository with Git, or run `git init` here: DVC needs it."
        else:
            hint = "`git status` says what to do."
        raise InputError("git", expected="a repository here", received=error.words, hint=hint) from None


def require_modules() -> None:
    """Refuse a Python with which the packages would be installed, and then fail.

    Raises:
        InputError: a part of it is missing.
    """
    for name, purpose in MODULES.items():
        try:
            importlib.import_module(name)
        except ImportError:
            debian = "On Debian and Ubuntu: sudo apt-get install python3-venv. Elsewhere: make PYTHON=python3.12."
            hint = debian if name == "ensurepip" else ANOTHER_PYTHON
            what = f"the module {name}, {purpose}"
            raise InputError(sys.executable, expected=what, received="none", hint=hint) from None


def defect(venv: Path) -> str:
    """Why a virtual environment cannot be used as it is; nothing if it can."""
    if not (venv / "bin" / "python").exists():
        return "its interpreter is gone"
    # As every command of the Makefile does: in one that was copied or moved, `activate` leads to the old place.
    shell = '. "$0/bin/activate" && exec python -I -c "import sys, pip; print(*sys.version_info[:2], sys.prefix)"'
    answer = subprocess.run(["sh", "-c", shell, venv], capture_output=True, text=True, check=False)
    if answer.returncode:
        return last_line(answer.stderr)
    major, minor, prefix = answer.stdout.strip().split(" ", 2)
    if (int(major), int(minor)) != sys.version_info[:2]:  # environment.sh takes its Python for this, if that will do
        return f"it is of Python {major}.{minor}"
    return "" if os.path.realpath(prefix) == os.path.realpath(venv) else f"it leads to {prefix}"


def make(venv: Path) -> None:
    """Make the virtual environment, unless there is one that works.

    Raises:
        InputError: something else is in its place, or Python cannot make one.
    """
    if os.path.lexists(venv):
        if venv.is_dir() and not (venv / "pyvenv.cfg").exists() and any(venv.iterdir()):
            raise InputError(
                str(venv), expected="a virtual environment", received="another folder", hint="Move it away."
            )
        problem = defect(venv)
        if not problem:
            return
        sys.stdout.write(f"Setting up {venv} again (some minutes): {problem}\n")
        remove(venv)
    else:
        sys.stdout.write(f"Setting up {venv} (a few minutes, once)\n")
    sys.stdout.flush()
    command = [sys.executable, "-E", "-m", "venv", str(venv)]
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if result.returncode:
        remove(venv)
        said = " ".join(result.stdout.split()) or f"exit status {result.returncode}"
        what = "it to make a virtual environment"
        raise InputError(sys.executable, expected=what, received=said, hint=ANOTHER_PYTHON)


def remove(venv: Path) -> None:
    """Remove a virtual environment, or the link to one."""
    if venv.is_symlink() or not venv.is_dir():
        venv.unlink(missing_ok=True)
    else:
        shutil.rmtree(venv)


def pip_variables(python: Path) -> dict[str, str]:
    """The environment for pip: of the user's configuration, files and variables, only PIP_SETTINGS.

    Raises:
        InputError: pip cannot read its configuration.
    """
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_PYTHON", "PYTHON"))}
    command = [str(python), "-I", "-m", "pip", "config", "list"]
    every_file = {"PIP_USER": "0", "PIP_GLOBAL": "0", "PIP_SITE": "0"}  # `user = true` would limit the list, too
    result = subprocess.run(command, env=ours | every_file, capture_output=True, text=True, check=False)
    if result.returncode:
        what, hint = "a configuration that it can read", "Run `pip config debug`."
        raise InputError("pip", expected=what, received=last_line(result.stderr), hint=hint)
    sections: dict[str, dict[str, str]] = {"global": {}, "install": {}, ":env:": {}}  # the later ones win
    for line in result.stdout.splitlines():
        section, _, setting = line.partition(".")
        name, _, value = setting.partition("=")
        if section in sections and name in PIP_SETTINGS and ast.literal_eval(value):  # pip ignores an empty one
            sections[section][f"PIP_{name.replace('-', '_').upper()}"] = ast.literal_eval(value)
    ours = {name: value for name, value in ours.items() if not name.startswith("PIP_")}
    for settings in sections.values():
        ours |= settings
    return ours | {"PIP_CONFIG_FILE": os.devnull}


def install(venv: Path, lock: Path, stamp: Path) -> None:
    """Install the packages of a lock file, and let the environment write down that it has them.

    Raises:
        InputError: pip failed, or a package is not there all the same.
    """
    python, what = venv / "bin" / "python", f"every package of {lock}"
    options = ("--quiet", "--disable-pip-version-check", "--require-hashes")
    command = [str(python), "-I", "-m", "pip", "install", *options, "-r", str(lock)]
    if subprocess.run(command, env=pip_variables(python), check=False).returncode:
        hint = "Mend that, and run make again: what was downloaded is kept."
        raise InputError("pip", expected=what, received="the error above", hint=hint)
    command = [str(python), "-I", str(Path(__file__).with_name("installed.py")), str(lock), str(stamp), "--write"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        hint = "Run `make clean setup`."
        raise InputError(str(venv), expected=what, received=last_line(result.stderr), hint=hint)


def last_line(text: str) -> str:
    """The last line of what a program said."""
    return (text.splitlines() or ["an error without a word"])[-1]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m digits.verify.environment", description=__doc__)
    parser.add_argument("--venv", type=Path, required=True, help="the folder of the virtual environment")
    parser.add_argument("--lock", type=Path, required=True, help="the lock file")
    parser.add_argument("--stamp", type=Path, required=True, help="the file in the virtual environment to write")
    args = parser.parse_args()
    if sys.prefix != sys.base_prefix:  # in an activated environment, which may be the one to be made again
        base = str(getattr(sys, "_base_executable", sys.executable))
        os.execv(base, [base, "-E", "-m", "digits.verify.environment", *sys.argv[1:]])  # noqa: S606 # no shell is needed
    require_git()
    require_modules()
    make(args.venv)
    install(args.venv, args.lock, args.stamp)


if __name__ == "__main__":
    run(main)
