"""Git's commands, with every failure as Git's own words."""

import subprocess
from pathlib import Path


class GitError(Exception):
    """Git refused; the text is the first line that it wrote."""


def git(folder: Path, *arguments: str) -> bytes:
    """What `git` prints in a folder.

    Raises:
        GitError: Git is not installed, or ends with an error.
    """
    # A user's settings could put signatures between the lines of a log, and escape the letters of names.
    command = ["git", "-C", str(folder), "-c", "log.showSignature=false", "-c", "core.quotepath=off", *arguments]
    try:
        result = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        raise GitError("it is not installed") from None
    if result.returncode:
        raise GitError(result.stderr.decode(errors="replace").split("\n")[0].removeprefix("fatal: "))
    return result.stdout


def git_text(folder: Path, *arguments: str) -> str:
    """The same as text."""
    return git(folder, *arguments).decode(errors="replace")


def changed_files(folder: Path, *paths: str) -> list[str]:
    """Files that differ from the last commit, new ones included, by their names in the repository.

    Args:
        folder: in the work tree.
        paths: look only below these; none of them: everywhere.

    Raises:
        GitError: this is no repository.
    """
    options = ("--porcelain", "--untracked-files=all", "--no-renames", "-z")  # -z: names as they are, not quoted
    entries = git_text(folder, "status", *options, "--", *paths).split("\0")
    return [entry[3:] for entry in entries if entry]
