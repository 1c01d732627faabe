"""Run Git commands without the variables that a Git hook sets, and turn each failure into an error with a next step."""

import os
import re
import subprocess
from pathlib import Path

from dvcproof.runtime.program import InputError

#: The only GIT_ variables that are passed on: where Git's programs are, the user's settings, where to look for a
#: repository. The others must not reach another repository: with GIT_INDEX_FILE of a hook, a clone would write into the
#: user's index.
KEPT = {"GIT_EXEC_PATH", "GIT_CEILING_DIRECTORIES", "GIT_DISCOVERY_ACROSS_FILESYSTEM"}
KEPT |= {"GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM"}

#: Error messages of the system about a full disk, and the next step if the clone is on that disk.
FULL_DISK = ("No space left on device", "Disk quota exceeded")
MORE_SPACE = (
    "Name a folder on a larger disk with `TMPDIR=/var/tmp`, or with `--keep DIR`, which leaves the clone there."
)

#: The next step in a clone of `git clone --filter`, from which nothing can be cloned.
ALL_FILES = "Run `git config --unset remote.origin.partialclonefilter && git fetch --refetch origin`."

#: The next step for each part of a Git message. Messages are in English, since LC_ALL is C.
HINTS = {
    "it is not installed": "Install git.",
    "not a git repository (or any": "Get the project with `git clone`, or run `git init` and commit it.",
    "not a git repository: ": "Run `git worktree repair` in the repository that this folder was made from.",
    "pack-objects died": f"It may be a partial clone, or the disk is full: `df -h .` shows it. {ALL_FILES}",
    "Needed a single revision": "Commit the project: `git add --all && git commit`.",
} | dict.fromkeys(FULL_DISK, MORE_SPACE)

#: Git's advice if the repository belongs to another user.
_ADVICE = re.compile(r"^\s+(git config --global --add safe\.directory .+)$", re.MULTILINE)

#: Git's messages about something that is missing.
_ABSENT = re.compile(
    r"not a git repository \(or any|Needed a single revision|does not have any commits yet|does not exist in"
    r"|exists on disk, but not in|unknown revision|bad revision|invalid object name|Not a valid object name"
)


class GitError(InputError):
    """A Git command failed.

    Args:
        command: the subcommand, such as 'status'.
        message: the standard error of Git.
    """

    def __init__(self, command: str, message: str) -> None:
        lines = message.strip().splitlines() or ["an error without a message"]
        first = next((line for line in lines if line.startswith(("fatal: ", "error: "))), lines[0])
        #: The line of Git's message that states the error.
        self.words = first.removeprefix("fatal: ").removeprefix("error: ")
        advice = _ADVICE.search(message)
        otherwise = f"Run `{advice[1]}`." if advice else "Run `git status`, and correct the problem that it shows."
        hint = next((hint for words, hint in HINTS.items() if words in message), otherwise)
        super().__init__(f"git {command}", self.words, hint=hint)


class AbsentError(GitError):
    """There is no Git, no repository, no commit, or no such file or revision. This may be no fault of the user."""


def environment() -> dict[str, str]:
    """Return the environment variables of this process, without the GIT_ variables that are not in KEPT."""
    return {name: value for name, value in os.environ.items() if not name.startswith("GIT_") or name in KEPT}


def git(folder: Path, *arguments: str) -> bytes:
    """Return the standard output of a Git command in a folder.

    Raise AbsentError if Git, the repository, or a named file or revision is missing; GitError if Git fails otherwise.
    """
    # These options override a user's settings that add signatures to logs, escape letters in file names, or run hooks.
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
    # GIT_OPTIONAL_LOCKS=0: commands that only read never write the user's index.
    variables = environment() | {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"}
    try:
        result = subprocess.run(command, env=variables, capture_output=True, check=False)
    except FileNotFoundError:
        raise AbsentError(arguments[0], "it is not installed") from None
    if result.returncode:
        message = result.stderr.decode(errors="replace")
        raise (AbsentError if _ABSENT.search(message) else GitError)(arguments[0], message)
    return result.stdout


def git_text(folder: Path, *arguments: str) -> str:
    """Return the standard output of a Git command in a folder as text. Raise the same errors as `git`."""
    return git(folder, *arguments).decode(errors="replace")


def is_shallow(folder: Path) -> bool:
    """Return whether a clone lacks older commits, as after `git clone --depth 1`."""
    return git_text(folder, "rev-parse", "--is-shallow-repository").strip() == "true"


def top_folder(folder: Path) -> tuple[Path, str]:
    """Return the top folder of the repository around a folder, and the path from there: '' or, say, 'models/mine/'."""
    top, prefix = (git_text(folder, "rev-parse", option)[:-1] for option in ("--show-toplevel", "--show-prefix"))
    return Path(top), prefix


def changed_files(folder: Path, *paths: str) -> list[str]:
    """Return the files below a folder that differ from the last commit, including new files.

    The returned paths are relative to the folder. With `paths`, only files below these paths are returned.
    """
    options = ("--porcelain", "--untracked-files=all", "--no-renames", "-z")  # -z: names as they are, not quoted
    entries = git_text(folder, "status", *options, "--", *(paths or (".",))).split("\0")
    _, prefix = top_folder(folder)
    return [entry[3:].removeprefix(prefix) for entry in entries if entry]
