"""Git's commands: free of the variables that a hook sets, and with every failure told as what it is."""

import os
import re
import subprocess
from pathlib import Path

from dvcproof.runtime.program import InputError

#: The only variables of Git's own that are passed on: its programs, the user's settings, where to look for a project.
#: All others belong to the call that set them. A hook's GIT_INDEX_FILE would have a clone write into the user's index.
KEPT = (
    "GIT_EXEC_PATH",
    "GIT_CONFIG_GLOBAL",
    "GIT_CONFIG_SYSTEM",
    "GIT_CONFIG_NOSYSTEM",
    "GIT_CEILING_DIRECTORIES",
    "GIT_DISCOVERY_ACROSS_FILESYSTEM",
)

#: What this module says in Git's place.
NOT_INSTALLED = "it is not installed"

#: What the system says of a disk without space, and the next step if it is that of the clone.
FULL_DISK = ("No space left on device", "Disk quota exceeded")
MORE_SPACE = (
    "Name a folder on a larger disk with `TMPDIR=/var/tmp`, or with `--keep DIR`, which leaves the clone there."
)

#: The next step in a clone of `git clone --filter`, from which nothing can be cloned.
ALL_FILES = "Run `git config --unset remote.origin.partialclonefilter && git fetch --refetch origin`."

#: The next step, by what stands in Git's words (in English, since LC_ALL is C).
HINTS = {
    NOT_INSTALLED: "Install git.",
    "not a git repository (or any": "Get the project with `git clone`: a ZIP has no commits.",
    "not a git repository: ": "Run `git worktree repair` in the repository that this folder was made from.",
    "pack-objects died": f"It may be a partial clone, or the disk is full: `df -h .` shows it. {ALL_FILES}",
    "Needed a single revision": "Commit the project: `git add --all && git commit`.",
} | dict.fromkeys(FULL_DISK, MORE_SPACE)

#: Git's advice about a folder of another user.
_ADVICE = re.compile(r"^\s+(git config --global --add safe\.directory .+)$", re.MULTILINE)


class GitError(InputError):
    """Git refused a command, as 'status', with a message on standard error."""

    def __init__(self, command: str, message: str) -> None:
        lines = message.strip().splitlines() or ["an error without a word"]
        first = next((line for line in lines if line.startswith(("fatal: ", "error: "))), lines[0])
        #: Git's own line about it.
        self.words = first.removeprefix("fatal: ").removeprefix("error: ")
        advice = _ADVICE.search(message)
        known = (hint for words, hint in HINTS.items() if words in message)
        hint = f"Run `{advice[1]}`." if advice else next(known, "Run `git status`, and mend what it names.")
        super().__init__(f"git {command}", expected="success", received=self.words, hint=hint)


class AbsentError(GitError):
    """There is no Git, no repository, no commit, or no such file or revision: the one failure that may be no fault."""


#: Git's words for what AbsentError says.
_ABSENT = (
    "not a git repository (or any",
    "Needed a single revision",
    "does not have any commits yet",
    "does not exist in",
    "exists on disk, but not in",
    "unknown revision",
    "bad revision",
    "invalid object name",
    "Not a valid object name",
)


def environment() -> dict[str, str]:
    """Return the variables of this process without what belongs to another call of Git."""
    return {name: value for name, value in os.environ.items() if not name.startswith("GIT_") or name in KEPT}


def git(folder: Path, *arguments: str) -> bytes:
    """Return what `git` prints in a folder. Raise GitError; AbsentError if nothing of a name is there."""
    # A user's settings could put signatures between the lines of a log, escape the letters of names, and run hooks.
    settings = (
        "log.showSignature=false",
        "core.quotepath=off",
        f"core.hooksPath={os.devnull}",
        f"core.attributesFile={os.devnull}",
        "clone.rejectShallow=false",
        "protocol.file.allow=always",
    )
    options = [word for setting in settings for word in ("-c", setting)]
    command = ["git", "-C", str(folder), *options, *arguments]
    # GIT_OPTIONAL_LOCKS: what only looks never writes the user's index.
    variables = environment() | {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"}
    try:
        result = subprocess.run(command, env=variables, capture_output=True, check=False)
    except FileNotFoundError:
        raise AbsentError(arguments[0], NOT_INSTALLED) from None
    if result.returncode:
        message = result.stderr.decode(errors="replace")
        kind = AbsentError if any(words in message for words in _ABSENT) else GitError
        raise kind(arguments[0], message)
    return result.stdout


def git_text(folder: Path, *arguments: str) -> str:
    """Return the same as text."""
    return git(folder, *arguments).decode(errors="replace")


def is_shallow(folder: Path) -> bool:
    """Return whether this is a clone without the older commits, as of `git clone --depth 1`."""
    return git_text(folder, "rev-parse", "--is-shallow-repository").strip() == "true"


def top_folder(folder: Path) -> tuple[Path, str]:
    """Return the top folder of the repository that a folder lies in, and the way from there: '', or 'models/mine/'."""
    top, prefix = (git_text(folder, "rev-parse", option)[:-1] for option in ("--show-toplevel", "--show-prefix"))
    return Path(top), prefix


def changed_files(folder: Path, *paths: str) -> list[str]:
    """Return the files below a folder, or these paths, that differ from the last commit, new ones included.

    They are named from the folder.
    """
    options = ("--porcelain", "--untracked-files=all", "--no-renames", "-z")  # -z: names as they are, not quoted
    entries = git_text(folder, "status", *options, "--", *(paths or (".",))).split("\0")
    _, prefix = top_folder(folder)
    return [entry[3:].removeprefix(prefix) for entry in entries if entry]
