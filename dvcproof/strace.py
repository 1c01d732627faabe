"""Run DVC's stages under strace, and read its log: files and addresses that a stage used, and commands that failed."""

# Paths are plain strings here, for speed: there are thousands of them.
# ruff: noqa: PTH118, PTH119, PTH123

import os
import re
import shlex
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field, replace
from functools import lru_cache
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from dvcproof.hook import Hook

#: The system calls that strace watches.
CALLS = (
    *("open", "openat", "openat2", "creat", "execve", "execveat", "rename", "renameat", "renameat2"),
    *("link", "linkat", "symlink", "symlinkat", "unlink", "unlinkat", "rmdir", "truncate", "truncate64"),
    *("chdir", "fchdir", "getdents", "getdents64", "connect", "sendto", "bind", "getsockname", "io_uring_setup"),
)
FORKS = ("fork", "vfork", "clone", "clone3")

#: With a question mark, strace accepts a call that this processor or this version of strace lacks. With --seccomp-bpf,
#: only the watched calls stop a process, not all of them.
WATCHED = ",".join(f"?{name}" for name in (*CALLS, *FORKS))
OPTIONS = ("-ff", "-ttt", "-y", "-q", "-s", "200", "--seccomp-bpf", "-e", "signal=none", "-e", f"trace={WATCHED}")

#: Shells. A process that a shell started is a command of the stage, so its failure counts.
SHELLS = {"sh", "bash", "dash", "zsh", "ksh", "fish", "busybox"}

#: Programs whose failure may be a normal answer.
ANSWERS = {"grep", "egrep", "fgrep", "test", "[", "diff", "cmp", "which", "expr", "pgrep", "false"}

_LINE = re.compile(r"(\d+(?:\.\d+)?) (.*)")
_ENDED = re.compile(r"\+\+\+ (?:exited with (\d+)|killed by (\w+)).*\+\+\+")
_CALL = re.compile(
    r'(\w+)\(((?:[^"<]|"(?:[^"\\]|\\.)*"|<(?:[^>\\]|\\.)*>)*?)\) += (-?\d+|\?)'
    r"(?:<((?:[^>\\]|\\.)*)>)?(?:\(deleted\))?(?: (E\w+))?"
)
_PATH = re.compile(r'(?:(AT_FDCWD|\d+)(?:<((?:[^>\\]|\\.)*)>)?(?:\(deleted\))?, )?"((?:[^"\\]|\\.)*)"')
_FOLDER = re.compile(r"\d+<((?:[^>\\]|\\.)*)>")
_ADDRESS = re.compile(r'sin6?_port=htons\((\d+)\).*?"([0-9a-fA-F.:]+)"')
_SOCKET = re.compile(r'sun_path=@?"((?:[^"\\]|\\.)*)"')


class _Call(NamedTuple):
    """A system call: its arguments as text, its result, the path of a resulting file, and the name of an error."""

    name: str
    words: str
    result: int
    place: str
    error: str


class Failure(NamedTuple):
    """A command inside a stage that failed.

    Args:
        words: the command.
        status: its exit status, or the signal that ended it.
        by_shell: whether a shell started it. If not, the program that started it may have dealt with the failure.
    """

    words: str
    status: str
    by_shell: bool = True


@dataclass
class Seen:
    """The files, programs and addresses that the processes of a stage used.

    The values of `reads`, `writes`, `removed` and `absent` are serial numbers that give the order. Paths are absolute
    and have no symlinks, except in the values of `names` and in `absent`.
    """

    reads: dict[str, int] = field(default_factory=dict)
    #: Real path -> the paths under which the file was opened.
    names: dict[str, set[str]] = field(default_factory=dict)
    writes: dict[str, int] = field(default_factory=dict)
    #: Files that were opened to read and write. They may not have been written.
    updates: set[str] = field(default_factory=set)
    #: Files that were first opened to append.
    appends: set[str] = field(default_factory=set)
    removed: dict[str, int] = field(default_factory=dict)
    #: Folders that were removed.
    folders: set[str] = field(default_factory=set)
    listed: set[str] = field(default_factory=set)
    #: Paths that a process tried to open but that did not exist.
    absent: dict[str, int] = field(default_factory=dict)
    programs: set[str] = field(default_factory=set)
    network: set[tuple[str, int]] = field(default_factory=set)
    ports: set[int] = field(default_factory=set)
    sockets: set[str] = field(default_factory=set)
    failures: list[Failure] = field(default_factory=list)
    #: Whether files were read through io_uring, which strace does not see.
    ring: bool = False
    #: Exit status of each command of the stage; None: the command did not end.
    statuses: list[int | None] = field(default_factory=list)
    #: Lines of strace that could not be read.
    strange: int = 0
    started: int = 0
    seconds: float = 0.0

    def read(self, real: str, name: str, number: int) -> None:
        """Note that a file was read."""
        self.reads.setdefault(real, number)
        self.names.setdefault(real, set()).add(name)

    def write(self, real: str, number: int) -> None:
        """Note that a file was written."""
        self.writes.setdefault(real, number)

    def move(self, old: str, new: str, number: int) -> None:
        """Note that a file or a folder was renamed. This counts as reading it, unless the stage itself wrote it."""
        if old not in self.writes and not any(path.startswith(old + "/") for path in self.writes):
            self.read(old, old, number)
        for path in [path for path in self.writes if path.startswith(old + "/")]:
            self.write(new + path[len(old) :], number)
        self.write(new, number)
        self.removed[old] = number
        self.removed.pop(new, None)


@dataclass
class _Process:
    """A process. Processes that share a working directory share the list `cwd`, which has one element."""

    cwd: list[str]
    words: list[str]
    parent: "_Process | None" = None
    thread: bool = False
    shell: bool = False
    ran: bool = False
    missing: str = ""
    #: Whether a descendant's failure is already reported. That failure may have caused this process to fail.
    told: bool = False
    #: Whether all processes above this one are shells. False for the first process.
    by_shell: bool = False


def obstacle() -> str:
    """Return the reason why strace cannot be used here; an empty string if strace works."""
    if not shutil.which("strace"):
        return "strace is not installed"
    try:
        with tempfile.TemporaryDirectory() as folder:
            words = ["strace", *OPTIONS, "-o", f"{folder}/calls", "true"]
            result = subprocess.run(words, capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"strace does not start: {error}"
    lines = result.stderr.strip().splitlines() or [f"exit status {result.returncode}"]
    return f"strace is not permitted here: {lines[-1]}" if result.returncode else ""


def make_hook(folder: Path) -> Hook:
    """Make the hook that runs each command of a stage under strace."""
    return Hook(folder, f'{shlex.join(["strace", *OPTIONS])} -o "$call/calls" -- /bin/sh')


def read_all(hook: Hook) -> dict[str, Seen]:
    """Read the logs of all commands. Return the results by stage address; without strace, only times and statuses."""
    found: dict[str, Seen] = {}
    for address, call in hook.calls().items():
        started = (call.folders[0] / "stage").stat().st_mtime_ns
        seen = found[address] = Seen(statuses=call.statuses, started=started, seconds=call.seconds)
        for folder in call.folders:
            cwd = (folder / "cwd").read_text(encoding="utf-8", errors="surrogateescape")
            Reader(seen, cwd.removesuffix("\n")).read(folder)
    return found


def unescaped(text: str) -> str:
    """Decode the C escapes in a string that strace printed."""
    return os.fsdecode(os.fsencode(text).decode("unicode_escape").encode("latin-1")) if "\\" in text else text


class Reader:
    """Read the logs of one command into the results of its stage.

    Args:
        seen: the results, which are updated.
        cwd: the working directory in which the command began.
    """

    def __init__(self, seen: Seen, cwd: str) -> None:
        self.seen, self.first = seen, _Process([cwd], [])
        self.number = max([0, *seen.reads.values(), *seen.writes.values(), *seen.removed.values()]) + 1
        self.processes: dict[str, _Process] = {}

    def read(self, folder: Path) -> None:
        """Read the files calls.PID that strace wrote, one for each process, in the order of their times."""
        lines = []
        for path in folder.glob("calls.*"):
            with path.open(encoding="utf-8", errors="surrogateescape") as file:
                lines += [(float(match[1]), match[2], path.suffix[1:]) for line in file if (match := _LINE.match(line))]
        for _, text, pid in sorted(lines, key=itemgetter(0)):
            self.number += 1
            # A process that no process has started is the first one.
            process = self.processes.setdefault(pid, self.first)
            ended = _ENDED.match(text)
            if ended:
                self._end(process, ended[1] or "", ended[2] or "")
            elif text[:1] not in "+-":
                self._call(process, text)

    def _call(self, process: _Process, text: str) -> None:
        match = _CALL.match(text)
        if not match:
            self.seen.strange += 1
            return
        name, words, value, place, error = match.groups()
        result = -1 if value == "?" else int(value)
        if folder := re.match(r"AT_FDCWD<((?:[^>\\]|\\.)*)>", words):
            process.cwd[0] = unescaped(folder[1])
        if name in FORKS:
            if result > 0:
                self.processes[str(result)] = _child(process, words)
        elif result >= 0 or name in ("open", "openat", "openat2", "execve", "connect"):
            self._act(process, _Call(name, words, result, unescaped(place or ""), error or ""))

    def _end(self, process: _Process, status: str, signal: str) -> None:
        failed = bool(signal and signal != "SIGPIPE") or status not in ("", "0")
        if process is self.first or process.thread or not failed:
            return
        words = "" if process.told else self._failed_words(process)
        if words and (process.by_shell or process.ran):
            self.seen.failures.append(Failure(words, status or signal, process.by_shell))
        if process.by_shell and process.parent and (words or process.told):
            process.parent.told = True

    @staticmethod
    def _failed_words(process: _Process) -> str:
        """Return the command of a failed process; an empty string if its failure may be a normal answer."""
        if process.ran:
            return "" if os.path.basename(process.words[0]) in ANSWERS else " ".join(process.words)
        return process.missing

    def _act(self, process: _Process, call: _Call) -> None:
        """Note what a call did, apart from a fork."""
        name, folder = call.name, _FOLDER.match(call.words)
        if name.startswith(("open", "creat")):
            self._open(process, call)
        elif name.startswith("execve"):
            self._execute(process, call)
        elif name.startswith("getdents"):
            self.seen.listed |= {unescaped(folder[1])} if folder else set()
        elif name.endswith("chdir"):
            process.cwd[0] = unescaped(folder[1]) if folder else _real(self._path(process, call.words, 0))
        elif name == "io_uring_setup":
            self.seen.ring = True
        elif name in ("connect", "sendto", "bind", "getsockname"):
            self._talk(call)
        else:
            self._change(process, call)

    def _open(self, process: _Process, call: _Call) -> None:
        seen, words, name = self.seen, call.words, self._path(process, call.words, 0)
        if call.result < 0:
            if call.error == "ENOENT" and not re.search("O_CREAT|O_PATH|O_DIRECTORY", words):
                seen.absent.setdefault(name, self.number)
                process.missing = f"reading {name}"
            return
        process.missing = ""
        real = call.place.removesuffix(" (deleted)") or os.path.realpath(name)
        if "O_PATH" in words or ("O_DIRECTORY" in words and "O_TMPFILE" not in words) or not real.startswith("/"):
            return
        if call.name != "creat" and not re.search(r"O_WRONLY|O_RDWR|O_TRUNC", words):
            seen.read(real, name, self.number)
            return
        is_new = real not in seen.writes
        if "O_RDWR" not in words or "O_TRUNC" in words or "O_EXCL" in words:
            seen.updates.discard(real)
        elif is_new:
            seen.updates.add(real)
        if "O_APPEND" in words and "O_TRUNC" not in words and is_new:
            seen.appends.add(real)
        seen.names.setdefault(real, set()).add(name)
        seen.write(real, self.number)

    def _execute(self, process: _Process, call: _Call) -> None:
        path, strings = self._path(process, call.words, 0), [unescaped(one[2]) for one in _PATH.findall(call.words)]
        if call.result < 0:
            if call.error in ("ENOENT", "EACCES") and not process.ran:
                process.missing = f"{strings[-1] if len(strings) > 1 else path}, which was not found"
            return
        process.words = strings[1:] or [path]
        process.ran, process.missing, process.shell = True, "", _is_shell(path)
        self.seen.programs |= {path, os.path.realpath(path)}
        self.seen.read(os.path.realpath(path), path, self.number)

    def _change(self, process: _Process, call: _Call) -> None:
        first = self._entry(process, call.words, 0)
        if call.name.startswith("rename"):
            self.seen.move(first, self._entry(process, call.words, 1), self.number)
            if "RENAME_EXCHANGE" in call.words:
                self.seen.write(first, self.number)
                self.seen.removed.pop(first, None)
        elif "link" in call.name and not call.name.startswith("unlink"):
            self.seen.write(self._entry(process, call.words, 1), self.number)
        elif call.name == "rmdir" or "AT_REMOVEDIR" in call.words:
            self.seen.folders.add(first)
        elif call.name.startswith("unlink"):
            self.seen.removed[first] = self.number
        else:  # truncate
            self.seen.write(_real(first), self.number)

    def _talk(self, call: _Call) -> None:
        address, socket = _ADDRESS.search(call.words), _SOCKET.search(call.words)
        if call.name in ("bind", "getsockname"):
            self.seen.ports |= {int(address[1])} if address else set()
        elif socket and call.result >= 0:
            self.seen.sockets.add(unescaped(socket[1]))
        elif address and address[1] != "0" and call.error != "EAFNOSUPPORT":
            self.seen.network.add((address[2], int(address[1])))

    def _path(self, process: _Process, words: str, index: int) -> str:
        """Return the absolute path of a call's path argument number `index`, with its symlinks."""
        paths = _PATH.findall(words)
        if index >= len(paths):
            return process.cwd[0]
        descriptor, folder, name = paths[index]
        base = unescaped(folder) if descriptor and folder else process.cwd[0]
        return os.path.normpath(os.path.join(base, unescaped(name)))

    def _entry(self, process: _Process, words: str, index: int) -> str:
        """Return the path of a call's path argument number `index`, with symlinks resolved except in the last part."""
        folder, name = os.path.split(self._path(process, words, index))
        return os.path.join(_real(folder), name)


def _child(parent: _Process, words: str) -> _Process:
    cwd = parent.cwd if "CLONE_FS" in words else [parent.cwd[0]]
    if "CLONE_THREAD" in words:
        return replace(parent, cwd=cwd, thread=True)
    by_shell = parent.shell and (parent.by_shell or parent.parent is None)
    return _Process(cwd, parent.words, parent, shell=parent.shell, by_shell=by_shell)


def _is_shell(path: str) -> bool:
    """Return whether a program is a shell or a shell script."""
    if os.path.basename(path) in SHELLS:
        return True
    try:
        with open(path, "rb") as file:
            words = file.readline(200).decode(errors="replace").split()
    except OSError:
        return False
    return bool(words) and words[0].startswith("#!") and any(os.path.basename(word) in SHELLS for word in words)


@lru_cache(maxsize=4096)
def _real(path: str) -> str:
    return os.path.realpath(path)
