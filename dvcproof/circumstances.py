"""Circumstances of a run that must not change the outputs of a stage, and the shell command that sets them up.

DVC runs each command of a stage as `$SHELL -c COMMAND`. So a replaced shell can vary the circumstances for a program in
any language.
"""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from dvcproof.runtime.machine import cores, is_x86_64

#: Time limit in seconds for a short system program, such as `locale -a`; the nanoseconds of a day.
SHORT, DAY = 60, 86_400 * 10**9

#: The circumstances that can be varied, each with advice for a stage that depends on it.
ADVICE = {
    "zone": "Name the time zone in the code, or write UTC",
    "language": "Write numbers and sort without the user's locale, or set LC_ALL in the command",
    "hash-seed": "Sort before you write the elements of a set",
    "umask": "Leave the permissions of files out of the output, or set them",
    "cores": "Fix the number of threads and of parts in the code or in a parameter",
    "home": "Take inputs and settings from the project, not from the user's home or name",
    "temporary": "Leave the names of temporary files out of the output",
    "environment": "Make it a parameter, or set it in the command",
    "shell": "Write the command in plain sh, or begin it with `bash -c`",
    "clock": "Leave the date out, or make it a parameter",
    "network": "Make what is downloaded a dependency (`dvc import-url`), or say why under `meta: dvcproof: network`",
    "host": "Leave the name of the machine out of the output",
    "processor": "Fix the instructions that the libraries may use, or accept it as an exception",
    "folder": "Write paths relative to the project, and quote them in commands",
    "order": "Sort the names in the listing of a folder",
    "dates": "Leave the dates of files out of the output: Git does not keep them",
}

#: The sources of chance that can be held fixed, each with advice for a stage that depends on it.
CHANCE = {
    "the order of sets (PYTHONHASHSEED)": "Sort before you write the elements of a set",
    "process numbers": "Leave the process id out of the output",
    "the timing of threads or processes, or their number": "Fix the number of threads, and the order in which their "
    "results are combined",
    "addresses in memory": "Leave `id()` and the addresses of objects out of the output",
    "the clock, or the dates of files": "Leave the time, and the dates of files, out of the output, or make it a "
    "parameter",
}

#: Variables that are never removed: a shell needs them, or they say where programs and packages are.
#: Those in the last row are set by other variations.
KEPT = (
    *("PATH", "PWD", "OLDPWD", "SHLVL", "_", "TERM", "SHELL", "PPID", "UID", "EUID", "SHELLOPTS", "BASHOPTS"),
    *("LD_LIBRARY_PATH", "LD_PRELOAD", "VIRTUAL_ENV", "JAVA_HOME", "R_HOME", "R_LIBS", "R_LIBS_USER", "R_LIBS_SITE"),
    *("JULIA_DEPOT_PATH", "GEM_HOME", "NODE_PATH", "PERL5LIB", "NIX_PROFILES", "NIX_SSL_CERT_FILE"),
    *("HOME", "USER", "LOGNAME", "USERNAME", "TZ", "LANG", "LANGUAGE", "LC_ALL", "TMPDIR", "LOCPATH"),
)
KEPT_BEGINNINGS = ("CONDA_", "DVC_")

#: The environment variables that are set for the plain run, whatever the caller has set.
PLAIN = {"TZ": "UTC", "LC_ALL": "C.UTF-8", "LANG": "C.UTF-8"}

#: Locales with a decimal comma. The first one also has other upper-case letters than English.
COMMAS = ("tr_TR", "de_DE", "fr_FR", "es_ES", "it_IT", "pt_BR", "pl_PL", "ru_RU", "nl_NL", "sv_SE", "vi_VN")
SOURCES = Path("/usr/share/i18n/locales")

#: Variables that make common libraries use one thread.
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "PYTHON_CPU_COUNT"), "1"
)
ONE_CORE = "import os,sys;os.sched_setaffinity(0,[min(os.sched_getaffinity(0))]);os.execvp(sys.argv[1],sys.argv[1:])"
#: The file from which the C library counts the cores.
ONLINE = "/sys/devices/system/cpu/online"

#: Python code that switches on the loopback device in a new network namespace. Many programs need this device.
LOOPBACK = (
    "import fcntl,socket,struct;s=socket.socket();"
    "fcntl.ioctl(s,0x8914,struct.pack('16sh',b'lo',1)+bytes(22))"  # SIOCSIFFLAGS, IFF_UP
)

#: Python code that prints the processor features for which NumPy has special code, if this processor has them.
NUMPY = """
try:
    from numpy._core._multiarray_umath import __cpu_dispatch__ as names, __cpu_features__ as here
except ImportError:
    from numpy.core._multiarray_umath import __cpu_dispatch__ as names, __cpu_features__ as here
print(",".join(name for name in names if here.get(name)))
"""


@dataclass(frozen=True)
class Circumstance:
    """A circumstance of a run that is varied, or that is held fixed to find a cause.

    Args:
        name: a key of ADVICE or CHANCE.
        text: a description for people.
        words: a command that sets the circumstance up and then runs the shell.
        variables: environment variables to set for the stage.
        removed: names of environment variables to remove.
        shell: the shell that runs the command; empty: /bin/sh.
        absent: the reason why it cannot be varied here; empty if it can.
    """

    name: str
    text: str
    words: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    removed: tuple[str, ...] = ()
    shell: str = ""
    absent: str = ""


def circumstances(folder: Path, given: Mapping[str, str], *, order: str) -> list[Circumstance]:
    """Return all circumstances; those that cannot be varied here say why.

    Args:
        folder: a folder for files that a variation needs.
        given: the environment of the plain run.
        order: the reason why the order of listings cannot be varied; empty if it can.
    """
    up = f"{shlex.join([sys.executable, '-I', '-c', LOOPBACK])} && "
    renamed = _namespace("-u", lines="hostname other-host && ")
    zone = "Pacific/Kiritimati" if Path("/usr/share/zoneinfo/Pacific/Kiritimati").exists() else "XYZ-14"
    temporary = folder / "temporary"
    temporary.mkdir(exist_ok=True)
    return [
        Circumstance("zone", f"time zone (UTC, then {zone})", variables={"TZ": zone}),
        _language(folder),
        Circumstance("hash-seed", "hash seed", variables={"PYTHONHASHSEED": "4242"}),
        Circumstance("umask", "umask (022, then 077)", _umask("077")),
        _home(folder, given),
        Circumstance("temporary", "temporary folder", variables={"TMPDIR": str(temporary)}),
        _environment(given),
        _processor(given),
        _shell(),
        _program("network", "network (none)", _namespace("-n", lines=up)),
        _program("host", "name of the machine", renamed, {"HOSTNAME": "other-host"}),
        _cores(folder),
        # The clock is last, so that faketime does not affect the programs of the others.
        _program("clock", "clock (399 days later)", _faketime("+399d")),
        Circumstance("folder", "folder (its name has a space and a letter that is not ASCII)"),
        Circumstance("dates", "dates of files (a day earlier)"),
        Circumstance("order", "order of listings of folders", absent=order),
    ]


def _program(name: str, text: str, words: tuple[str, ...], variables: Mapping[str, str] | None = None) -> Circumstance:
    """Return a circumstance that a program varies."""
    program = "faketime" if name == "clock" else "unshare"
    absent = f"{program} is not installed" if not words else ""
    if words and not works(*words, "true"):
        absent = f"{program} does not work here"
    return Circumstance(name, text, words, variables or {}, absent=absent)


def shell_words(varied: Sequence[Circumstance] | None = ()) -> list[str]:
    """Return the command that runs a shell under these circumstances; for the plain run, `varied` is empty.

    None: the caller's own circumstances.
    """
    if varied is None:
        return ["/bin/sh"]
    shell = next((one.shell for one in varied if one.shell), "/bin/sh")
    variables = {**PLAIN, "SHELL": shell}
    for one in varied:
        variables |= one.variables
    unset = (word for one in varied for name in one.removed for word in ("-u", name))
    words = ["env", *unset, *(f"{name}={value}" for name, value in variables.items()), *_umask("022")]
    words += (word for one in varied for word in one.words)
    return [*words, shell, *(["--noprofile", "--norc"] if Path(shell).name == "bash" else [])]


def _umask(mode: str) -> tuple[str, ...]:
    return ("/bin/sh", "-c", f'umask {mode}; exec "$@"', "sh")


def fixes() -> list[Circumstance]:
    """Return the circumstances that can be held fixed here, one at a time, to find the source of random differences."""
    one_core = _cores(None)
    sources: list[tuple[tuple[str, ...], dict[str, str]]] = [
        (("env",), {"PYTHONHASHSEED": "0"}),
        (_namespace("-pf", "--mount-proc", "--kill-child"), {}),
        (() if one_core.absent else one_core.words, ONE_THREAD),
        (("setarch", "-R"), {}),
        (_faketime("2024-01-01 00:00:00"), {}),
    ]
    found = [Circumstance(name, name, *source) for name, source in zip(CHANCE, sources, strict=True)]
    return [one for one in found if one.words and works(*one.words, "true")]


def works(*words: str) -> bool:
    """Return whether a program runs and exits with 0."""
    return asked(*words) is not None


def asked(*words: str, variables: Mapping[str, str] | None = None) -> str | None:
    """Return the standard output of a program; None if it fails or is not installed."""
    try:
        result = subprocess.run(
            words, env=variables, stdin=subprocess.DEVNULL, capture_output=True, timeout=SHORT, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return None if result.returncode else result.stdout.decode(errors="replace")


def _language(folder: Path) -> Circumstance:
    """Choose a locale with a decimal comma: an installed one, or one that is compiled from its source."""
    installed = {name.lower().replace("-", ""): name for name in (asked("locale", "-a") or "").split()}
    name = next((installed[key] for key in (f"{one.lower()}.utf8" for one in COMMAS) if key in installed), "")
    source = next((one for one in COMMAS if (SOURCES / one).is_file()), "")
    variables, place = {}, folder / "locales" / f"{source}.UTF-8"
    if not name and source:
        place.parent.mkdir(exist_ok=True)
        variables["LOCPATH"] = str(place.parent)
        name = place.name if works("localedef", "-i", source, "-f", "UTF-8", str(place)) else ""
    variables |= {"LC_ALL": name, "LANG": name, "LANGUAGE": name.partition(".")[0]}
    absent = "" if name else "no locale with a decimal comma is installed"
    return Circumstance("language", f"language ({PLAIN['LANG']}, then {name})", variables=variables, absent=absent)


def _home(folder: Path, given: Mapping[str, str]) -> Circumstance:
    """Set an empty home folder and another user name. Python packages in the user's own home remain available."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    packages = Path(given.get("HOME", "/"), ".local")
    variables = dict.fromkeys(("USER", "LOGNAME", "USERNAME"), "someone") | {"HOME": str(home)}
    if (packages / "lib").is_dir():
        variables["PYTHONUSERBASE"] = str(packages)
    return Circumstance("home", "home and user", variables=variables)


def _environment(given: Mapping[str, str]) -> Circumstance:
    names = (name for name in sorted(given) if name.isidentifier() and name.isascii() and name not in KEPT)
    found = tuple(name for name in names if not name.startswith(KEPT_BEGINNINGS))
    if not found:
        return Circumstance("environment", "", absent="the caller's shell sets no other variables")
    return Circumstance("environment", f"{len(found)} variables of the caller's shell", removed=found)


def _shell() -> Circumstance:
    plain = os.path.realpath("/bin/sh")
    for name in ("bash", "dash"):
        found = shutil.which(name, path="/bin:/usr/bin:/usr/local/bin")
        if found and os.path.realpath(found) != plain:
            return Circumstance("shell", f"shell (sh, then {name})", shell=found)
    return Circumstance("shell", "", absent="no shell other than sh is installed")


def _processor(given: Mapping[str, str]) -> Circumstance:
    """Make libraries do without the newer instructions of the processor."""
    if not is_x86_64():
        return Circumstance("processor", "", absent="it can be varied on x86-64 only")
    names = (asked("python", "-c", NUMPY, variables=given) or "").strip()
    variables = {
        "OPENBLAS_CORETYPE": "Nehalem",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "ATEN_CPU_CAPABILITY": "default",
        "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-FMA4,-AVX512F",
    }
    if names:
        variables["NPY_DISABLE_CPU_FEATURES"] = names
    return Circumstance("processor", "features of the processor that libraries use", variables=variables)


def _namespace(*flags: str, lines: str = "") -> tuple[str, ...]:
    """Return the command that runs a program in new namespaces as the same user; empty if unshare is not installed.

    Args:
        flags: options of unshare.
        lines: shell code to run first, which ends with `&&`.
    """
    if shutil.which("unshare") is None:
        return ()
    if os.geteuid() == 0:
        return ("unshare", *flags, "sh", "-c", f'{lines}exec "$@"', "sh")
    back = f"exec unshare --map-user={os.geteuid()} --map-group={os.getegid()} "
    return ("unshare", "-r", *flags, "sh", "-c", f'{lines}{back}"$@"', "sh")


def _cores(folder: Path | None) -> Circumstance:
    """Restrict a stage to one core. Where mounting is allowed, also make the C library count one core."""
    if not hasattr(os, "sched_setaffinity"):
        return Circumstance("cores", "", absent="only Linux can restrict the cores of a process")
    if cores() == 1:
        return Circumstance("cores", "", absent="this machine has one core only")
    words: tuple[str, ...] = (sys.executable, "-I", "-c", ONE_CORE)
    if folder is not None:
        file = folder / "one-core"
        file.write_text(f"{min(os.sched_getaffinity(0))}\n", encoding="ascii")
        mounted = _namespace("-m", lines=f"{shlex.join(['mount', '--bind', str(file), ONLINE])} && ")
        if mounted and works(*mounted, "true"):
            words = (*mounted, *words)
    return Circumstance("cores", f"cores ({cores()}, then 1)", words, ONE_THREAD)


def _faketime(when: str) -> tuple[str, ...]:
    return ("faketime", "-f", when) if shutil.which("faketime") else ()


@contextmanager
def tidy_clock() -> Iterator[None]:
    """After the block, remove the files in shared memory that killed faketime processes of this user left."""
    try:
        yield
    finally:
        for path in Path("/dev/shm").glob("*faketime_*"):  # noqa: S108, the place that faketime uses
            with suppress(OSError):
                if path.stat().st_uid == os.geteuid() and not Path("/proc", path.name.rpartition("_")[2]).exists():
                    path.unlink()


def find_memory() -> Path | None:
    """Return a folder whose file system lists entries by age and allows programs to be run; None if there is none.

    Such file systems are usually in memory. On a disk, the order often depends only on the names and cannot be varied.
    """
    for place in ("/dev/shm", f"/run/user/{os.geteuid()}", tempfile.gettempdir()):  # noqa: S108
        with suppress(OSError), tempfile.TemporaryDirectory(dir=place) as folder:
            names, seen = [f"file-{number}" for number in range(8)], []
            for number, made in enumerate((names, names[::-1])):
                Path(folder, f"{number}").mkdir()
                for name in made:
                    Path(folder, f"{number}", name).touch()
                seen.append([entry.name for entry in Path(folder, f"{number}").iterdir()])
            by_age = sorted(seen) == [names, names[::-1]]
            if by_age and not os.statvfs(place).f_flag & os.ST_NOEXEC:
                return Path(place)
    return None


def copy_tree(source: Path, target: Path, *, backwards: bool = False, older: bool = False) -> None:
    """Copy a folder.

    Args:
        backwards: whether to create the entries in reverse order of their names.
        older: whether the files of the copy have dates that are a day earlier.

    DVC's cache and temporary files are not copied, and Git's objects are linked.
    """
    target.mkdir(parents=True)
    for name in sorted((entry.name for entry in source.iterdir()), reverse=backwards):
        entry, copy = source / name, target / name
        if entry.is_symlink():
            copy.symlink_to(entry.readlink())
        elif entry.is_dir():
            if (source.name, name) == (".git", "objects"):
                copy.symlink_to(entry)
            elif (source.name, name) not in ((".dvc", "cache"), (".dvc", "tmp")):
                copy_tree(entry, copy, backwards=backwards, older=older)
        elif entry.is_file():
            shutil.copy2(entry, copy)
            if older:
                found = copy.stat()
                os.utime(copy, ns=(found.st_atime_ns, found.st_mtime_ns - DAY))
    shutil.copystat(source, target)
