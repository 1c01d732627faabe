"""Set up or repair the virtual environment .venv, with the packages of the stages and of groups of pyproject.toml.

python3 -I digits/environment.py [--ask] [dev | s3 | cluster | parquet] ...

This file needs only Python. Older versions of Python can parse it, so that it can tell which version is needed. pip
installs uv, and uv installs the other packages; if uv fails, pip installs them. Both accept only files whose hashes are
in the lock files. With `--ask`, nothing is installed: the exit status is 0 if the environment is complete, else 3.
Every `make` runs `--ask` first, so slow modules are imported only when needed.
"""

import os
import re
import sys
from pathlib import Path

if not (3, 11) <= sys.version_info[:2] < (3, 14):
    received = "{}.{}".format(*sys.version_info)
    sys.exit(f"ERROR: Python {received}: TensorFlow has packages for Python 3.11 to 3.13. Run make PYTHON=python3.12.")

CPUINFO = Path("/proc/cpuinfo")
VENV = Path(".venv")
PYTHON = VENV / "bin" / "python"
HASHED = ("install", "--quiet", "--no-deps", "--require-hashes")
PIP = (PYTHON, "-I", "-m", "pip", "--disable-pip-version-check", *HASHED, "-r")
SITE = Path(VENV, "lib", "python{}.{}".format(*sys.version_info), "site-packages")
#: This file has the path where the environment was made, and the locked packages that are not for this machine. If it
#: is missing, the environment is incomplete.
STAMP = VENV / "whole"

#: The settings of pip for registry and network, each with uv's name for it. Other settings are not used, since they
#: could install packages elsewhere.
SETTINGS = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "no-index": "",  # for uv, this is an option instead of a variable
    "trusted-host": "UV_INSECURE_HOST",
    "keyring-provider": "",  # uv does not know all of pip's values
    "proxy": "HTTPS_PROXY",
    "cert": "SSL_CERT_FILE",
    "client-cert": "SSL_CLIENT_CERT",
    "timeout": "UV_HTTP_TIMEOUT",
    "default-timeout": "UV_HTTP_TIMEOUT",
    "retries": "UV_HTTP_RETRIES",
    "no-cache-dir": "UV_NO_CACHE",
    "cache-dir": "",  # only for pip
}
#: The variables of uv for registry and network.
OF_UV = re.compile(
    "UV_(DEFAULT_INDEX|INDEX.*|EXTRA_INDEX_URL|FIND_LINKS|INSECURE_HOST|KEYRING_PROVIDER|CACHE_DIR|NO_CACHE|LINK_MODE"
    "|HTTP_.*|REQUEST_TIMEOUT|NATIVE_TLS|SYSTEM_CERTS|OFFLINE|CONCURRENT_.*|CONFIG_FILE|NO_CONFIG)"
)

#: Modules of Python that some installations lack: pip, DVC and NumPy need them.
MODULES = ("ensurepip", "zlib", "_ssl", "_sqlite3", "_ctypes")


def read_pins(lock: str) -> dict[str, str]:
    """Read a lock file. Return a mapping from each pin, 'name==version', to its lines in the file."""
    try:
        text, problem = Path(lock).read_text(encoding="utf-8"), "a merge left conflict markers in it"
    except (OSError, UnicodeDecodeError):
        text, problem = "<<<<<<< ", "it cannot be read"
    if re.search("^<<<<<<< ", text, re.MULTILINE):
        sys.exit(f"ERROR: {lock}: {problem}. Run `git checkout HEAD -- {lock}`.")
    return {match[1]: match[0] for match in re.finditer(r"^(\w\S*==\S+).*\n(?:[ #].*\n)*", text, re.MULTILINE)}


def choose(*groups: str) -> dict[str, str]:
    """Return the pins in the lock files that the stages and these groups need, with their lines."""
    runtime = read_pins("requirements.lock")
    if not groups:
        return runtime
    lock = read_pins("requirements-dev.lock")
    if "dev" in groups:
        return {**runtime, **lock}
    # Below each package, uv has listed everything that needs the package: other packages, or groups of pyproject.toml.
    askers = {pin: set(re.findall(r"^ +#(?: +via)? +(\S.*)$", lines, re.MULTILINE)) for pin, lines in lock.items()}
    chosen, known = {f"digits (pyproject.toml:{group})" for group in groups}, 0
    for unknown in chosen.difference(*askers.values()):
        sys.exit(
            f"ERROR: {unknown.partition(':')[2][:-1]}: no group has this name. Known are dev, s3, cluster and parquet."
        )
    while len(chosen) > known:
        known = len(chosen)
        chosen |= {pin.partition("==")[0] for pin in lock if askers[pin] & chosen}
    return {**runtime, **{pin: lines for pin, lines in lock.items() if pin.partition("==")[0] in chosen}}


def list_installed() -> set[str]:
    """Return the packages in the environment as 'name==version', with names spelled as in the lock files."""
    parts = (path.name[: -len(".dist-info")].partition("-") for path in SITE.glob("*.dist-info"))
    return {f"{re.sub('[-_.]+', '-', name).lower()}=={version}" for name, _, version in parts}


def read_stamp() -> list[str]:
    """Return the path where the environment was made (empty: unknown), then the packages not for this machine."""
    return STAMP.read_text(encoding="utf-8").split("\n") if STAMP.exists() else [""]


def describe(lines: str) -> str:
    """Return package, version and marker from the lines of a package in a lock file."""
    return lines.partition("\n")[0].rstrip(" \\")


def list_missing(wanted: dict[str, str]) -> list[str]:
    """List the wanted packages that are not installed, without those known to be for other machines."""
    here, others = list_installed(), read_stamp()
    return [pin for pin, lines in wanted.items() if pin not in here and describe(lines) not in others]


def find_defect() -> str:
    """Return why the environment has to be made anew; empty: it can be kept."""
    place, here = read_stamp()[0], os.path.realpath(VENV)
    defects = {
        "its interpreter is gone": not PYTHON.exists(),
        # Else the Makefile would have started this interpreter.
        "its interpreter cannot be used": here != os.path.realpath(Path(sys.executable).parents[1]),
        "it has no pip": not (SITE / "pip").exists(),
        "it was not made by this Makefile, or not finished": not place,
        f"it was made in {place}": place != here,
    }
    return next((defect for defect, found in defects.items() if found), "")


def run(*command: object, variables: dict[str, str] | None = None) -> tuple[int, str]:
    """Run a program. Return its exit status, and its output with standard error. Exit if the disk is full."""
    import shutil
    import subprocess
    import tempfile

    words, both = [str(word) for word in command], subprocess.STDOUT
    try:
        result = subprocess.run(words, stdout=subprocess.PIPE, stderr=both, env=variables, check=False)
    except OSError as error:
        return 126, str(error)
    output = result.stdout.decode(errors="replace")
    full = r"No space left on device|Disk quota exceeded|rrno (28|122)\b|os error 28"
    if result.returncode and re.search(full, output):
        folders = (VENV if VENV.exists() else Path.cwd(), Path(tempfile.gettempdir()))
        place = os.path.realpath(min(folders, key=lambda folder: shutil.disk_usage(folder).free))
        sys.exit(f"ERROR: {place}: the disk is full. Make room, and run make again.")
    return result.returncode, output


def shorten(output: str) -> str:
    """Join a program's output into one line. Of a long output, keep the end, where a traceback has the cause."""
    said = " ".join(output.split()) or "it failed without a message"
    return (said if len(said) < 300 else f"...{said[-300:]}").rstrip(".")


def require_machine() -> None:
    """Exit with an error if this machine would fail only after gigabytes are installed. DVC needs Git, too."""
    import platform
    import shutil

    flags = re.search(r"^flags\s*:(.*)$", CPUINFO.read_text() if CPUINFO.exists() else "", re.MULTILINE)
    if flags and platform.machine() in ("x86_64", "AMD64") and "avx" not in flags[1].split():
        step = "If it is virtual, give it the host's flags (QEMU: -cpu host); else use another machine."
        sys.exit(f"ERROR: the processor: it has no AVX, which the packages of TensorFlow use. {step}")
    for name in MODULES:
        try:
            __import__(name)
        except ImportError:
            step = "Name another Python: make PYTHON=python3.12."
            if name == "ensurepip":
                step = "On Debian and Ubuntu: sudo apt-get install python3-venv. Elsewhere: make PYTHON=python3.12."
            sys.exit(f"ERROR: {sys.executable}: it lacks the module {name}. {step}")
    if os.pathsep in str(Path.cwd()):
        sys.exit(f"ERROR: {Path.cwd()}: a path with a colon cannot have a virtual environment. Rename the folder.")
    if os.statvfs(VENV if VENV.exists() else Path.cwd()).f_flag & getattr(os, "ST_NOEXEC", 0):
        sys.exit(f"ERROR: {Path.cwd()}: this disk is mounted noexec, so no program on it can run. Use another disk.")
    if shutil.which("git") is None:
        sys.exit("ERROR: git: it is not installed. Install it (Debian and Ubuntu: sudo apt-get install git).")
    status, said = run("git", "rev-parse", "--git-dir", variables={**os.environ, "LC_ALL": "C"})
    if status and "not a git repository" in said:
        sys.exit("ERROR: git: this is no repository. Clone it with Git, or run `git init` here: DVC needs one.")
    if status:
        sys.exit(f"ERROR: git: {shorten(said)}. `git status` says what to do.")


def make() -> None:
    """Make the virtual environment anew. If this Python belongs to an environment, use the Python it was made from."""
    import shutil

    if VENV.is_symlink() or VENV.is_file():
        VENV.unlink()
    elif VENV.exists() and not (VENV / "pyvenv.cfg").exists() and any(VENV.iterdir()):
        sys.exit(f"ERROR: {VENV}: this folder is no virtual environment. Move it away.")
    base = getattr(sys, "_base_executable", sys.executable)
    try:
        for command in (
            (base, "-I", "-m", "venv", "--clear", "--without-pip", VENV),
            (PYTHON, "-I", "-m", "ensurepip", "--default-pip"),  # `venv` would run this too, but hide its errors
        ):
            status, said = run(*command)
            if status:
                step = "Name another Python: make PYTHON=python3.12."
                if re.search(r"rrno \d+|Permission denied|No usable temporary directory", said):  # not Python's fault
                    step = f"Repair that in {Path.cwd()}, and run make again."
                sys.exit(f"ERROR: {base}: it cannot make a virtual environment: {shorten(said)}. {step}")
    except SystemExit:
        shutil.rmtree(VENV, ignore_errors=True)
        raise
    # With this line, uv writes no absolute path into the programs that it installs: a path may contain a `$`.
    with (VENV / "pyvenv.cfg").open("a", encoding="utf-8") as file:
        file.write("relocatable = true\n")
    STAMP.write_text(os.path.realpath(VENV), encoding="utf-8")


def read_sources() -> tuple[dict[str, str], dict[str, str]]:
    """Return the environment variables for pip and those for uv. They say from where and how packages are downloaded.

    They follow the user's configuration of pip, in files and variables, and of uv, in variables.
    """
    import ast

    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_", "PYTHON"))}
    # Settings that limit the list below, or that lead to another Python, must not be used here.
    others = {name: value for name, value in os.environ.items() if name.startswith("PIP_") and name != "PIP_PYTHON"}
    every_file = {"PIP_USER": "0", "PIP_GLOBAL": "0", "PIP_SITE": "0"}
    status, said = run(PYTHON, "-I", "-m", "pip", "config", "list", variables={**clean, **others, **every_file})
    if status:
        sys.exit(f"ERROR: pip: it cannot read its configuration: {shorten(said)}. Run `pip config debug`.")
    found: dict[str, str] = {}
    for section in ("global", "install", ":env:"):  # a later section wins
        for name, value in re.findall(rf"^{section}\.([\w-]+)=(.+)$", said, re.MULTILINE):
            if name in SETTINGS and ast.literal_eval(value):  # pip ignores an empty value
                found[name] = ast.literal_eval(value)
    theirs = {name: value for name, value in os.environ.items() if OF_UV.fullmatch(name)}
    index = theirs.get("UV_DEFAULT_INDEX", theirs.get("UV_INDEX_URL"))
    if index:  # pip, which installs uv, needs the index too
        found.setdefault("index-url", index)
    of_pip = {f"PIP_{name.replace('-', '_').upper()}": value for name, value in found.items()}
    of_uv = {SETTINGS[name]: " ".join(value.split()) for name, value in found.items() if SETTINGS[name]}
    if "find-links" in found:
        of_uv["UV_FIND_LINKS"] = ",".join(found["find-links"].split())
    if "proxy" in found:
        of_uv.update(dict.fromkeys(("HTTP_PROXY", "http_proxy", "https_proxy"), found["proxy"]))
    # As with pip, a package may come from any index, since its hash is checked.
    strategy = {"UV_INDEX_STRATEGY": "unsafe-best-match"}
    return {**clean, **of_pip, "PIP_CONFIG_FILE": os.devnull}, {**clean, **strategy, **of_uv, **theirs}


def install_with_uv(wanted: Path, of_pip: dict[str, str], of_uv: dict[str, str]) -> str:
    """Install packages with uv, after uv itself if it is missing. Return why this failed; empty: it succeeded."""
    for pin, lines in read_pins("requirements-dev.lock").items():
        if pin.startswith("uv==") and pin not in list_installed():
            (VENV / "uv.txt").write_text(lines, encoding="utf-8")
            status, said = run(*PIP, VENV / "uv.txt", variables=of_pip)
            if status:
                return f"it cannot be installed: {shorten(said)}"
    options: list[object] = ["--python", PYTHON.absolute()]
    if of_pip.get("PIP_NO_INDEX", "0").lower() not in ("0", "false", "no", "off"):
        options.append("--no-index")
    if os.environ.get("PYTHONDONTWRITEBYTECODE"):
        options.append("--compile-bytecode")  # otherwise Python would compile TensorFlow at every start
    status, said = run(VENV / "bin" / "uv", "pip", *HASHED, *options, "-r", wanted, variables=of_uv)
    return shorten(said) if status else ""


def install(wanted: dict[str, str]) -> None:
    """Install packages, and record in STAMP that the environment is complete."""
    import subprocess

    def left_out() -> str:
        """Name the packages that are missing, without those that have a marker: these may be for other machines."""
        return ", ".join(pin for pin in list_missing(wanted) if " ; " not in describe(wanted[pin]))

    of_pip, of_uv = read_sources()
    lines, stamp, before = VENV / "wanted.txt", read_stamp(), list_installed()
    lines.write_text("".join(wanted.values()), encoding="utf-8")
    STAMP.unlink()
    try:
        problem = install_with_uv(lines, of_pip, of_uv)
        if problem or left_out():
            problem = problem or f"it left out {left_out()}"
            print(f"uv: {problem}. Continuing with pip, which takes some minutes.", flush=True)  # noqa: T201
            if subprocess.run([str(word) for word in (*PIP, lines)], env=of_pip, check=False).returncode:
                sys.exit("ERROR: pip: see its error above. Repair that, and run make again: downloaded files are kept.")
            if left_out():
                sys.exit(f"ERROR: {VENV}: pip left out {left_out()}. Run `make clean setup`.")
        before = list_installed()
        stamp += [describe(lines) for pin, lines in wanted.items() if pin not in before]
    finally:
        if list_installed() == before:  # otherwise a package may be installed only in part
            STAMP.write_text("\n".join(stamp), encoding="utf-8")


def main() -> None:
    os.chdir(Path(__file__).resolve().parents[1])
    wanted = choose(*(word for word in sys.argv[1:] if word != "--ask"))
    if "--ask" in sys.argv:
        whole = read_stamp()[0] == os.path.realpath(VENV) and not list_missing(wanted)
        sys.exit(0 if whole else 3)
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    require_machine()
    defect = find_defect() if os.path.lexists(VENV) else "it is not there"
    if defect:
        print(f"Setting up {VENV} (a few minutes at most): {defect}", flush=True)  # noqa: T201
        make()
    absent = list_missing(wanted)
    if absent:
        install({pin: wanted[pin] for pin in absent})


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as problem:
        sys.exit(f"ERROR: {VENV}: it cannot be set up: {problem}. Repair that, and run make again.")
