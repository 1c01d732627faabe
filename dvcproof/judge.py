"""Compare what a stage did with what it declares."""

# Paths are plain strings here, for speed: there are thousands of them.
# ruff: noqa: PTH111, PTH112, PTH113, PTH114, PTH118, PTH119, PTH120

import fnmatch
import os
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, StringConstraints, ValidationError

from dvcproof.clone import Clone
from dvcproof.findings import Finding, Level
from dvcproof.git import git
from dvcproof.project import Project, Stage
from dvcproof.runtime.program import InputError
from dvcproof.strace import Failure, Seen

#: Folders of the operating system. A package lock file or a container image pins their content, not dvc.yaml.
SYSTEM = (
    *("/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/etc", "/proc", "/sys", "/dev", "/run", "/opt"),
    *("/boot", "/nix", "/gnu", "/snap", "/var/lib", "/var/run"),
)
TEMPORARY = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 (they are only named)
PACKAGES = {"site-packages", "dist-packages", ".venv", "venv", "node_modules", "renv", "packrat"}

#: DVC's and Git's own files. Programs that walk through folders read them without need.
OWN = ("dvc.yaml", "dvc.lock", ".dvcignore", ".gitignore", ".gitattributes", ".gitmodules")

#: Kinds of places that a stage should not write to.
AWAY = ("home", "outside", "temporary", "system")

#: Sockets of container services, which start programs that strace does not watch.
SERVICES = re.compile(r"docker|podman|containerd|buildkit|singularity|crio")

#: This many findings of one kind in one folder, or more, are merged into one.
MANY = 4

#: For each kind of exception in `meta: dvcproof:`, the rules that it can switch off.
EXCEPTIONS = {
    "reads": {"DP201", "DP203", "DP204", "DP207", "DP212", "DP214"},
    "writes": {"DP202", "DP204", "DP205", "DP208", "DP212"},
}
_BYTECODE = re.compile(r"__pycache__/([^/]+?)\.[\w-]+(?:\.opt-\d)?\.pyc(?:\.\d+)?$")
_PROBES = re.compile(r"__pycache__|\.pyc$|\.so(\.\d+)*$|pyvenv\.cfg$|\._pth$|pybuilddir\.txt$|-(journal|wal|shm)$")


def under(path: str, places: Iterable[str]) -> bool:
    """Return whether a path is one of `places`, or inside one of them."""
    return any(path == place or path.startswith(place.rstrip("/") + "/") for place in places)


def source(path: str) -> str:
    """Return the name of the source file for a bytecode file of Python. Return any other path unchanged."""
    return _BYTECODE.sub(r"\1.py", path)


Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class Entry(BaseModel, extra="forbid"):
    """A path that a stage may use without declaring it; in a path, `*` stands for anything."""

    path: Text
    reason: Text


class Exceptions(BaseModel, extra="forbid"):
    """The exceptions of a stage, `meta: dvcproof:` in dvc.yaml. `varies` has the reason for each output."""

    reads: list[Entry] = []
    writes: list[Entry] = []
    network: Text = ""
    varies: dict[str, Text] = {}


def exceptions(stage: Stage) -> Exceptions:
    """Return the exceptions of a stage. Raise InputError if one has no reason."""
    try:
        return Exceptions.model_validate(stage.settings)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, (f"{stage.file}:{stage.line}, {stage.name}, meta.dvcproof", *first["loc"])))
        hint = "Write `reads: [{path: FILE, reason: WHY}]`, `network: WHY` or `varies: {OUTPUT: WHY}`."
        raise InputError(where, first["msg"], hint=hint) from None


@dataclass
class Ground:
    """The state that all stages of a run share.

    Args:
        project: the project in the clone.
        clone: the clone.
        original: the folder that was cloned.
        allow_network: whether the network may be used.
        left: undeclared files that earlier stages wrote: path -> address of the stage.
        home: the user's home folder.
    """

    project: Project
    clone: Clone
    original: str
    allow_network: bool = False
    left: dict[str, str] = field(default_factory=dict)
    home: str = field(default_factory=lambda: os.path.realpath(os.path.expanduser("~")))

    def kind(self, path: str, installations: Iterable[str]) -> str:
        """Return the kind of place that a path is in.

        It is one of project, git, dvc, package, ours (of dvcproof), home, temporary, system and outside.
        """
        top = str(self.clone.top)
        if under(path, [top]):
            parts = set(Path(os.path.relpath(path, top)).parts)
            own = [part for part in (".git", ".dvc") if part in parts]
            return own[0][1:] if own else "package" if parts & PACKAGES else "project"
        if under(path, [str(self.clone.folder)]):
            return "ours"
        if PACKAGES & set(Path(path).parts) or under(path, installations):
            return "package"
        if self.home != "/" and under(path, [self.home]):
            return "home"
        if under(path, [*TEMPORARY, tempfile.gettempdir()]):
            return "temporary"
        return "system" if under(path, SYSTEM) else "outside"

    def here(self, path: str) -> str:
        """Translate a path in the original folder into the path in the clone. Return any other path unchanged."""
        inside = under(path, [self.original]) and not PACKAGES & set(Path(path).parts)
        return str(self.clone.top) + path[len(self.original) :] if inside else path

    def is_ignored(self, path: str) -> bool:
        """Return whether Git ignores a file."""
        try:
            git(self.clone.top, "check-ignore", "--quiet", "--", path)
        except InputError:
            return False
        return True


class Judge:
    """Find differences between the files that a stage uses and those that it declares.

    Args:
        stage: the stage, as the clone's dvc.yaml declares it.
        seen: the files and programs that the stage used.
        complete: whether the stage succeeded. If not, unused declarations are not reported.
        output: the printed output of all stages.
    """

    def __init__(self, ground: Ground, stage: Stage, seen: Seen, *, complete: bool, output: str = "") -> None:
        self.output = output
        self.ground, self.stage, self.seen, self.complete = ground, stage, seen, complete
        self.project, self.exceptions = ground.project, exceptions(stage)
        self.deps = [item.place for item in stage.deps if item.local]
        self.outs = [item.place for item in stage.outs if item.local]
        self.persist = [item.place for item in stage.outs if item.local and item.persist]
        self.findings: list[Finding] = []
        #: Parameter files that the stage reads but does not declare.
        self.undeclared_params: list[str] = []
        self.installations = _installations(seen.programs, ground)
        self.away: list[str] = []
        self._translate()

    def judge(self) -> list[Finding]:
        """Return the findings, sorted by rule and path."""
        self._read_files()
        self._looked_for()
        self._written_files()
        if self.complete:
            self._never_read()
            self._failed_commands()
        self._services()
        return sorted(_gathered(self.findings, self.project, self.stage), key=lambda found: (found.rule, found.path))

    def _translate(self) -> None:
        """Replace paths in the original folder by paths in the clone, and bytecode files by their sources."""
        reads: dict[str, int] = {}
        names: dict[str, set[str]] = {}
        for path, number in self.seen.reads.items():
            place = self.ground.here(source(path))
            if place != source(path):
                self.away.append(source(path))
            reads[place] = min(number, reads.get(place, number))
            names.setdefault(place, set()).update(
                self.ground.here(source(name)) for name in self.seen.names.get(path, ())
            )
        for path in self.seen.writes:
            names.setdefault(path, set()).update(self.seen.names.get(path, ()))
        # Opening a persistent output to change it counts as reading it, unless the stage itself made it.
        for path in self.seen.updates | self.seen.appends:
            if under(path, self.persist) and path not in reads:
                reads[path] = self.seen.writes[path] - 1
        self.seen.reads, self.seen.names = reads, names

    def _covered(self, path: str) -> bool:
        """Return whether DVC hashes a file as one of the stage's dependencies, or as a part of one."""
        places = [*self.deps, *self.stage.params]
        if under(path, places) or under(path, map(os.path.realpath, places)):
            return True
        # Inside a dependency, DVC follows symlinks to files, but not symlinks to folders.
        names = [(name, place) for name in self.seen.names.get(path, ()) for place in places if under(name, [place])]
        return any(not any(os.path.islink(one) for one in _between(place, name)) for name, place in names)

    def _read_files(self) -> None:
        for path in sorted(self.seen.reads, key=self.seen.reads.__getitem__):
            own = self.seen.writes.get(path, sys.maxsize) <= self.seen.reads[path]  # the stage wrote the file earlier
            if os.path.isdir(path) or own or path in self.seen.folders or self._covered(path):
                continue
            kind = self.ground.kind(path, self.installations)
            if kind == "project":
                self._read_in_project(path)
            elif kind == "git":
                text = "it reads Git's own files, so that its result may change with each commit"
                fix = "Pass the information that it needs as a parameter."
                self._add("DP201", "warning", text, fix, str(self.ground.clone.top / ".git"))
            elif kind in ("home", "outside", "temporary"):
                gone = "" if os.path.lexists(path) else ", which is gone now"
                places = {"home": "the home folder", "temporary": "a temporary folder"}
                text = f"it reads {path}{gone} ({places.get(kind, 'outside of the project')})"
                fix = f"Bring it into the project, or declare it: add `{path}` to deps."
                self._add("DP207", "warning" if kind == "home" or gone else "error", text, fix, path)
        if self.away:
            number = f"{len(self.away)} file{'s' if len(self.away) > 1 else ''}"
            text = f"it reads {number} from the project's folder instead of the clone, such as {self.away[0]}"
            fix = "Use a path relative to the stage's folder. If a package is installed from the project's folder "
            fix += "(`pip install -e`), its code runs from there, not from the clone."
            self._add("DP207", "warning", text, fix, self.away[0])

    def _read_in_project(self, path: str) -> None:
        name, local, base = self.project.name(path), os.path.relpath(path, self.stage.wdir), os.path.basename(path)
        if under(path, self.persist):
            self._earlier_run(path)
        if under(path, self.outs) or base in OWN or base.endswith(".dvc"):
            return
        links = sorted(self.project.name(one) for one in self.seen.names.get(path, ()) if one != path)
        shown = f"{name}, through {links[0]}" if links and links[0] != name else name
        maker, left = self.project.maker(path), self.ground.left.get(path)
        is_known = bool(maker) or self.project.is_tracked(path)
        rule, fix, change = "DP204", f"Add `{local}` to deps.", f"deps + {local}"
        if base == "params.yaml" or any(path in stage.params for stage in self.project.stages):
            self.undeclared_params.append(path)
            rule, text = "DP210", f"it reads the parameters in {shown} and declares none of them"
            fix = f"Name those that it uses under params, or `{local}:` for the whole file."
            change = f"params + {local}:"
        elif maker and not maker.endswith(".dvc"):
            text = f"it reads {shown}, which stage '{maker}' makes, without declaring it"
        elif left:
            text = f"it reads {shown}, which stage '{left}' leaves there undeclared"
        elif is_known or os.path.lexists(path):
            rule, text = "DP201", f"undeclared input {shown}{'' if is_known else ', which is not in Git'}"
        else:
            return
        self._add(rule, "error", text, fix, path, change=change)

    def _earlier_run(self, path: str) -> None:
        text = f"it reads its own output {self.project.name(path)}, as an earlier run left it"
        fix = "Remove `persist`, so that each run starts from nothing, or add the file that it starts from to deps."
        self._add("DP212", "error", text, fix, path)

    def _looked_for(self) -> None:
        for path in sorted(self.seen.absent, key=self.seen.absent.__getitem__):
            if self.ground.kind(path, self.installations) != "project" or _PROBES.search(path):
                continue
            name, wrote = self.project.name(path), self.seen.writes.get(path)
            if under(path, self.persist):
                self._earlier_run(path)
            elif wrote is not None and os.path.isfile(path) and not under(path, self.outs):
                text = f"it looks for {name} before it writes it, so that a second run finds the file of the first run"
                self._add("DP212", "warning", text, "Remove it at the end, or do not read it.", path)
            elif wrote is None and not under(path, [*self.outs, *self.deps]) and os.path.isdir(os.path.dirname(path)):
                text = f"it would read {name}, if that were there"
                fix = f"If it is an input, commit it and add `{os.path.relpath(path, self.stage.wdir)}` to deps."
                self._add("DP214", "note", text, fix, path)

    def _written_files(self) -> None:
        for path in sorted(self.seen.writes, key=self.seen.writes.__getitem__):
            if not os.path.lexists(path) or (os.path.isdir(path) and not os.path.islink(path)):
                continue
            if path in self.seen.updates and os.lstat(path).st_mtime_ns < self.seen.started:
                continue
            if under(path, self.persist) and path in self.seen.appends:
                self._earlier_run(path)
            self._changed(path)
        for path, number in self.seen.removed.items():
            is_known = self.project.is_tracked(path) or self.project.maker(path) or path in self.ground.left
            if is_known and not os.path.lexists(path) and self.seen.writes.get(path, sys.maxsize) > number:
                self._changed(path, removed=True)

    def _changed(self, path: str, *, removed: bool = False) -> None:
        """Report a file that the stage wrote or removed, unless it is an output."""
        name, local = self.project.name(path), os.path.relpath(path, self.stage.wdir)
        kind, maker = self.ground.kind(path, self.installations), self.project.maker(path)
        if under(path, self.outs) or under(path, map(os.path.realpath, self.outs)):
            return
        if kind == "git" and not any(os.path.basename(path).startswith("git") for path in self.seen.programs):
            self._add("DP202", "error", f"it changes Git's own {name}", "Leave Git's files to Git.", path)
        elif kind in AWAY and not removed and not under(path, ("/dev", "/proc", "/run")):
            text = f"it writes {path}, outside of the project"
            self._add("DP208", "warning", text, "Write it into the project, or remove it at the end.", path)
        elif kind != "project" or "__pycache__" in path:
            return
        elif self._covered(path):
            text = f"it {'removes' if removed else 'changes'} its own input {name}"
            self._add("DP205", "error", text, "Write the result to another file, and make that an output.", path)
        elif maker:
            text = f"it {'removes' if removed else 'writes'} {name}, which stage '{maker}' makes"
            self._add("DP204", "error", text, f"Write to a file of its own, or let '{maker}' do it.", path)
        elif removed:
            self._add("DP202", "error", f"it removes {name}, which is in Git", "Leave it there.", path)
        elif self.project.is_tracked(path):
            text = f"it overwrites {name}, which is in Git and is no output"
            fix = f"Add `{local}: {{cache: false}}` to outs, or write to another file."
            self._add("DP202", "error", text, fix, path, change=f"outs + {local}:tracked")
        else:
            self.ground.left.setdefault(path, self.stage.address)
            ignored = ", which Git ignores, so that no clone has it" if self.ground.is_ignored(path) else ""
            fix = f"Add `{local}` to outs, or remove it at the end."
            self._add("DP202", "error", f"undeclared output {name}{ignored}", fix, path, change=f"outs + {local}")

    def _never_read(self) -> None:
        named = (name for names in self.seen.names.values() for name in names)
        used = [*self.seen.reads, *named, *self.seen.listed]
        asks_service = any(SERVICES.search(socket) for socket in self.seen.sockets)
        for item in (item for item in self.stage.deps if item.local and not asks_service):
            places = {item.place, os.path.realpath(item.place)}
            if not any(under(path, places) for path in used):
                text = f"it declares {self.project.name(item.place)}, and never reads it"
                fix = f"Remove `{item.path}` from deps, or say under `meta: dvcproof: reads` why it is there."
                self._add("DP203", "warning", text, fix, item.place, change=f"deps - {item.path}")

    def _failed_commands(self) -> None:
        # strace does not show a shell's failed search for a program, so read the shell's message.
        said = r"^\S*sh: (?:line )?(?:\d+: )?([^:\s]+): (?:command )?not found$"
        for name in re.findall(said, self.output, re.MULTILINE):
            if any(re.search(rf"(?<![\w/.-]){re.escape(name)}(?![\w/.-])", words) for words in self.stage.commands):
                self.seen.failures.append(Failure(f"{name}, which was not found", "127"))
        asks = re.compile(r"\|\||&&|\bif\b|\bwhile\b|\buntil\b|(^|\s)!\s")
        is_asked = any(asks.search(words) for words in self.stage.commands)
        for words, status, by_shell in dict.fromkeys(self.seen.failures):
            level: Level = "note" if is_asked or not by_shell else "warning"
            shown = words.replace(str(self.ground.clone.path) + "/", "")
            text = f"a command in the stage failed with {status}, and the stage went on: {shown}"
            fix = "Join commands with `&&` or list them; for a pipe, run `bash -c 'set -eo pipefail; …'`."
            self._add("DP209", level, text, fix)

    def _services(self) -> None:
        for socket in sorted(filter(SERVICES.search, self.seen.sockets)):
            text = f"it uses a container service ({socket}): the container's files cannot be watched"
            self._add("DP213", "warning", text, "Declare the container's files, and check them by hand.", socket)
        if self.seen.ring:
            text = "it uses io_uring: reads and writes through io_uring cannot be watched"
            self._add("DP213", "warning", text, "Switch it off for a trace (Node.js: UV_USE_IO_URING=0).")
        for address, port in sorted(self.seen.network):
            loopback = address.startswith("127.") or address == "::1"
            if loopback and port in self.seen.ports:
                continue  # the stage's own processes talk to each other
            place = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
            fix = "Download the data with `dvc import-url`, so that DVC records its hash."
            self._add("DP206", "error", f"it uses the network: {place}", fix, place)

    def _add(self, rule: str, level: Level, text: str, fix: str, path: str = "", *, change: str = "") -> None:
        reason = self._exception(rule, path)
        if reason:
            text, fix, level, change = f"{text} (allowed: {reason})", "", "note", ""
        elif rule == "DP206" and self.ground.allow_network:
            text, fix, level = f"{text} (allowed: --allow-network)", "", "note"
        name = self.project.name(path) if path.startswith("/") else path
        found = self.stage.finding(rule, text, fix, level=level, path=name, change=change)
        if found not in self.findings:
            self.findings.append(found)

    def _exception(self, rule: str, path: str) -> str:
        """Return the reason why dvc.yaml allows a finding; an empty text if it does not."""
        if rule == "DP206":
            return self.exceptions.network
        for kind, rules in EXCEPTIONS.items():
            for entry in getattr(self.exceptions, kind) if rule in rules else []:
                wanted = os.path.normpath(os.path.join(self.stage.wdir, os.path.expanduser(entry.path)))
                if under(path, [wanted]) or fnmatch.fnmatchcase(path, wanted):
                    return str(entry.reason)
        return ""


def _between(place: str, name: str) -> list[str]:
    """Return the parent directories of `name` that are inside `place`."""
    return [str(one) for one in Path(name).parents if under(str(one), [place]) and str(one) != place]


def _installations(programs: Iterable[str], ground: Ground) -> set[str]:
    """Return the folders that the programs are installed in: /opt/conda for /opt/conda/bin/python."""
    found = {sys.prefix, sys.base_prefix}
    for program in programs:
        folder, name = os.path.split(os.path.dirname(program))
        wide = any(under(place, [folder]) for place in (ground.home, ground.original, str(ground.clone.top)))
        if name in ("bin", "sbin", "libexec") and not wide and not under(program, [str(ground.clone.top)]):
            found.add(folder)
    return found


def _gathered(findings: list[Finding], project: Project, stage: Stage) -> Iterator[Finding]:
    """Yield the findings, with MANY or more of one kind below one folder of the stage merged into one."""
    groups: dict[tuple[str, ...], list[Finding]] = {}
    for item in findings:
        local = os.path.relpath(project.root / item.path, stage.wdir)
        folder = os.path.dirname(item.path) if local.startswith("../") else local.split("/")[0]
        alone = item.message if item.rule in ("DP203", "DP206", "DP209", "DP213") else ""
        groups.setdefault((item.rule, item.level, item.change[:6], folder, alone), []).append(item)
    for group in groups.values():
        if len(group) < MANY:
            yield from group
        else:
            yield _one(os.path.commonpath([os.path.dirname(item.path) for item in group]), group, project, stage)


def _one(folder: str, group: list[Finding], project: Project, stage: Stage) -> Finding:
    """Merge findings into one. Propose to declare the whole folder if most of its files are read."""
    first, place = group[0], os.path.normpath(project.root / folder)
    local = os.path.relpath(place, stage.wdir)
    there = [path for path in project.tracked if under(path, [place]) and os.path.isfile(path)]
    change = "\n".join(item.change for item in group if item.change)
    fix = "Add each of them." if first.fix.startswith("Add") else first.fix
    if first.change.startswith("deps +") and len(there) <= 2 * len(group) and not project.makes_inside(place):
        change, fix = f"deps + {local}", f"Add `{local}` to deps."
    text = f"{first.message}; and {len(group) - 1} more in {folder}"
    names = "\n".join(item.path for item in group)
    return stage.finding(first.rule, text, fix, level=first.level, path=folder, evidence=names, change=change)
