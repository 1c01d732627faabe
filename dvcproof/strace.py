"""Run DVC's stages under strace, and read its log: files and addresses that a stage used, and commands that failed."""

# Paths are plain strings here, for speed: there are thousands of them.
# ruff: noqa: PTH118, PTH119, PTH123

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from dvcproof.hook import Hook

#: The system calls that strace watches, and the method of `Reader` for each.
READERS = {
    "open openat openat2 creat": "_open",
    "execve execveat": "_execute",
    "rename renameat renameat2": "_rename",
    "link linkat symlink symlinkat": "_link",
    "unlink unlinkat": "_remove",
    "rmdir": "_remove_folder",
    "truncate truncate64": "_truncate",
    "chdir fchdir": "_change",
    "getdents getdents64": "_list",
    "connect sendto": "_connect",
    "bind getsockname": "_bind",
    "io_uring_setup": "_ring",
}
FORKS = ("fork", "vfork", "clone", "clone3")

#: With a question mark, strace accepts a call that this processor or this version of strace lacks.
CALLS = ",".join(f"?{name}" for name in (*" ".join(READERS).split(), *FORKS))
OPTIONS = ("-f", "-y", "-q", "-s", "200", "-e", "signal=none", "-e", f"trace={CALLS}")

#: With this option, only the watched system calls stop a process, not all of them.
FILTER = "--seccomp-bpf"

#: Shells. A process that a shell started is a command of the stage, so its failure counts.
SHELLS = {"sh", "bash", "dash", "zsh", "ksh", "fish", "busybox"}

#: Programs whose failure may be a normal answer.
ANSWERS = {"grep", "egrep", "fgrep", "test", "[", "diff", "cmp", "which", "expr", "pgrep", "false"}

_LINE = re.compile(r"(\d+) +(.*)")
_FORK = re.compile(r"(fork|vfork|clone3?)\(")
_RESUMED = re.compile(r"<\.\.\. \w+ resumed>(.*)")
_ENDED = re.compile(r"\+\+\+ (?:exited with (\d+)|killed by (\w+)).*\+\+\+")
_CALL = re.compile(
    r'(\w+)\(((?:[^"<]|"(?:[^"\\]|\\.)*"|<(?:[^>\\]|\\.)*>)*?)\) += (-?\d+|\?)'
    r"(?:<((?:[^>\\]|\\.)*)>)?(?:\(deleted\))?(?: (E\w+))?"
)
_PATH = re.compile(r'(?:(AT_FDCWD|\d+)(?:<((?:[^>\\]|\\.)*)>)?(?:\(deleted\))?, )?"((?:[^"\\]|\\.)*)"')
_FOLDER = re.compile(r"\d+<((?:[^>\\]|\\.)*)>")
_ESCAPE = re.compile(rb"\\([0-7]{1,3}|x[0-9a-fA-F]{2}|.)", re.DOTALL)
_ADDRESS = re.compile(r'sin6?_port=htons\((\d+)\).*?"([0-9a-fA-F.:]+)"')
_SOCKET = re.compile(r'sun_path=@?"((?:[^"\\]|\\.)*)"')
_LETTERS = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"v": b"\v", b"f": b"\f"}


class Failure(NamedTuple):
    """A command inside a stage that failed, with its exit status or the signal that ended it."""

    words: str
    status: str


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
    children: int = 0
    #: Whether a descendant's failure is already reported. That failure may have caused this process to fail.
    told: bool = False

    def below_shells(self) -> bool:
        """Return whether all ancestors of this process are shells. False for the first process."""
        above = self.parent
        while above:
            if not above.shell:
                return False
            above = above.parent
        return self.parent is not None


def obstacle() -> str:
    """Return the reason why strace cannot be used here; an empty string if strace works."""
    if not shutil.which("strace"):
        return "strace is not installed"
    words = ["strace", *OPTIONS, "-o", os.devnull, "true"]
    try:
        result = subprocess.run(words, capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"strace does not start: {error}"
    lines = result.stderr.strip().splitlines() or [f"exit status {result.returncode}"]
    return f"strace is not permitted here: {lines[-1]}" if result.returncode else ""


def make_hook(folder: Path) -> Hook:
    """Make the hook that runs each command of a stage under strace."""
    words = ["strace", FILTER, *OPTIONS]
    probe = subprocess.run([*words, "-o", os.devnull, "true"], capture_output=True, check=False, timeout=20)
    if probe.returncode:
        words.remove(FILTER)
    return Hook(folder, f'{shlex.join(words)} -o "$call/calls" -- /bin/sh')


def read_all(hook: Hook) -> dict[str, Seen]:
    """Read the logs of all commands. Return the results by stage address; without strace, only times and statuses."""
    found: dict[str, Seen] = {}
    for address, call in hook.calls().items():
        started = (call.folders[0] / "stage").stat().st_mtime_ns
        seen = found[address] = Seen(statuses=call.statuses, started=started, seconds=call.seconds)
        for folder in (folder for folder in call.folders if (folder / "calls").is_file()):
            cwd = (folder / "cwd").read_text(encoding="utf-8", errors="surrogateescape")
            Reader(seen, cwd.removesuffix("\n")).read(folder / "calls")
    return found


def unescaped(text: str) -> str:
    """Decode the escapes in a string from strace: octal numbers, hexadecimal numbers and the escapes of C."""
    if "\\" not in text:
        return text

    def letter(match: "re.Match[bytes]") -> bytes:
        code = match[1]
        if code[:1].isdigit():
            return bytes([int(code, 8) & 255])
        return bytes([int(code[1:], 16)]) if len(code) == 3 else _LETTERS.get(code, code)

    return os.fsdecode(_ESCAPE.sub(letter, os.fsencode(text)))


class Reader:
    """Read the log of one command into the results of its stage.

    Args:
        seen: the results, which are updated.
        cwd: the working directory in which the command began.
    """

    def __init__(self, seen: Seen, cwd: str) -> None:
        self.seen, self.cwd = seen, cwd
        self.number = max([0, *seen.reads.values(), *seen.writes.values(), *seen.removed.values()]) + 1
        self.processes: dict[str, _Process] = {}
        self.root = ""
        self._halves: dict[str, str] = {}
        self._readers: dict[str, Callable[[_Process, str, int, str, str], None]] = {
            name: getattr(self, method) for names, method in READERS.items() for name in names.split()
        }

    def read(self, path: Path) -> None:
        """Read the file that strace wrote."""
        for pid, text in self._whole(path):
            self.number += 1
            ended = _ENDED.match(text)
            if ended:
                self._end(self._process(pid), ended[1] or "", ended[2] or "")
            elif text[:1] not in "+-":
                self._call(pid, text)

    def _whole(self, path: Path) -> Iterator[tuple[str, str]]:
        """Return the process id and text of each line. Join the two halves of an interrupted call."""
        with path.open(encoding="utf-8", errors="surrogateescape") as lines:
            for line in lines:
                match = _LINE.match(line.rstrip("\n"))
                if not match:
                    continue
                pid, text = match.groups()
                self.root = self.root or pid
                if text.endswith("<unfinished ...>"):
                    self._halves[pid] = text.removesuffix("<unfinished ...>")
                    if _FORK.match(text):
                        self._process(pid)  # a child may appear in the log before this call ends
                    continue
                resumed = _RESUMED.match(text)
                yield pid, self._halves.pop(pid, "") + resumed[1] if resumed else text

    def _process(self, pid: str) -> _Process:
        if pid not in self.processes:
            # A child may act before its parent's fork has ended. Then its parent is a process with an unfinished fork.
            forking = (p for p, half in self._halves.items() if _FORK.match(half) and p != pid)
            parent = next(forking, None)
            known = self.processes.get(parent) if parent else None
            self.processes[pid] = _child(known, self._halves[parent]) if known and parent else _Process([self.cwd], [])
        return self.processes[pid]

    def _call(self, pid: str, text: str) -> None:
        match = _CALL.match(text)
        if not match:
            self.seen.strange += 1
            return
        name, words, value, place, error = match.groups()
        process, result = self._process(pid), -1 if value == "?" else int(value)
        folder = re.match(r"AT_FDCWD<((?:[^>\\]|\\.)*)>", words)
        if folder:
            process.cwd[0] = unescaped(folder[1])
        if name in FORKS:
            if result > 0:
                self._fork(process, str(result), words)
        elif result >= 0 or name in ("open", "openat", "openat2", "execve", "connect"):
            self._readers[name](process, words, result, unescaped(place or ""), error or "")

    def _fork(self, parent: _Process, pid: str, words: str) -> None:
        known = self.processes.get(pid)
        if known and not known.parent and pid != self.root:
            known.parent = parent  # the child appeared in the log before its parent's fork ended
        if not known:
            self.processes[pid] = _child(parent, words)
        parent.children += "CLONE_THREAD" not in words

    def _end(self, process: _Process, status: str, signal: str) -> None:
        failed = bool(signal and signal != "SIGPIPE") or status not in ("", "0")
        root = process is self.processes.get(self.root)
        if root or process.thread or not failed or not process.below_shells():
            return
        words = "" if process.told else self._failed_words(process, status)
        if words:
            self.seen.failures.append(Failure(words, status or signal))
        if process.parent and (words or process.told):
            process.parent.told = True

    @staticmethod
    def _failed_words(process: _Process, status: str) -> str:
        """Return the command of a failed process; an empty string if its failure may be a normal answer."""
        if process.ran:
            return "" if os.path.basename(process.words[0]) in ANSWERS else " ".join(process.words)
        if process.missing and not process.children:
            return process.missing
        bash = process.words and os.path.basename(process.words[0]) == "bash"
        return "a program that was not found" if status == "127" and bash and not process.children else ""

    def _open(self, process: _Process, words: str, result: int, place: str, error: str) -> None:
        name = self._path(process, words, 0)
        if result < 0:
            if error == "ENOENT" and not re.search("O_CREAT|O_PATH|O_DIRECTORY", words):
                self.seen.absent.setdefault(name, self.number)
                process.missing = f"reading {name}"
            return
        process.missing = ""
        real = place.removesuffix(" (deleted)") or os.path.realpath(name)
        if "O_PATH" in words or ("O_DIRECTORY" in words and "O_TMPFILE" not in words) or not real.startswith("/"):
            return
        creat = '"' in words and "O_" not in words
        if not creat and not re.search(r"O_WRONLY|O_RDWR|O_TRUNC", words):
            self.seen.read(real, name, self.number)
            return
        if "O_RDWR" in words and "O_TRUNC" not in words and "O_EXCL" not in words:
            if real not in self.seen.writes:
                self.seen.updates.add(real)
        else:
            self.seen.updates.discard(real)
        if "O_APPEND" in words and "O_TRUNC" not in words and real not in self.seen.writes:
            self.seen.appends.add(real)
        self.seen.names.setdefault(real, set()).add(name)
        self.seen.write(real, self.number)

    def _execute(self, process: _Process, words: str, result: int, _place: str, error: str) -> None:
        path = self._path(process, words, 0)
        if result < 0:
            strings = _PATH.findall(words)
            if error in ("ENOENT", "EACCES") and not process.ran:
                process.missing = f"{unescaped(strings[-1][2]) if len(strings) > 1 else path}, which was not found"
            return
        process.words = [unescaped(text) for _, _, text in _PATH.findall(words)[1:]] or [path]
        process.ran, process.missing, process.shell = True, "", _is_shell(path)
        self.seen.programs |= {path, os.path.realpath(path)}
        self.seen.read(os.path.realpath(path), path, self.number)

    def _rename(self, process: _Process, words: str, *_: object) -> None:
        old, new = (self._entry(process, words, index) for index in (0, 1))
        self.seen.move(old, new, self.number)
        if "RENAME_EXCHANGE" in words:
            self.seen.write(old, self.number)
            self.seen.removed.pop(old, None)

    def _link(self, process: _Process, words: str, *_: object) -> None:
        self.seen.write(self._entry(process, words, 1), self.number)

    def _remove(self, process: _Process, words: str, *_: object) -> None:
        path = self._entry(process, words, 0)
        self.seen.removed[path] = self.number
        if "AT_REMOVEDIR" in words:
            self.seen.folders.add(path)

    def _remove_folder(self, process: _Process, words: str, *_: object) -> None:
        self.seen.folders.add(self._entry(process, words, 0))

    def _truncate(self, process: _Process, words: str, *_: object) -> None:
        self.seen.write(_real(self._path(process, words, 0)), self.number)

    def _change(self, process: _Process, words: str, *_: object) -> None:
        folder = _FOLDER.match(words)
        process.cwd[0] = unescaped(folder[1]) if folder else _real(self._path(process, words, 0))

    def _list(self, _process: _Process, words: str, *_: object) -> None:
        folder = _FOLDER.match(words)
        if folder:
            self.seen.listed.add(unescaped(folder[1]))

    def _connect(self, _process: _Process, words: str, result: int, _place: str, error: str) -> None:
        address, socket = _ADDRESS.search(words), _SOCKET.search(words)
        if socket and result >= 0:
            self.seen.sockets.add(unescaped(socket[1]))
        elif address and address[1] != "0" and error != "EAFNOSUPPORT":
            self.seen.network.add((address[2], int(address[1])))

    def _bind(self, _process: _Process, words: str, *_: object) -> None:
        address = _ADDRESS.search(words)
        if address:
            self.seen.ports.add(int(address[1]))

    def _ring(self, *_: object) -> None:
        self.seen.ring = True

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


def _child(parent: _Process | None, words: str) -> _Process:
    if parent is None:
        return _Process([""], [])
    cwd = parent.cwd if "CLONE_FS" in words else [parent.cwd[0]]
    thread = "CLONE_THREAD" in words
    return _Process(cwd, parent.words, parent.parent if thread else parent, thread, parent.shell)


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
