"""The lists of what Git ignores, beside the outputs.

Before it runs a stage, DVC takes the outputs off these lists, and puts them on again afterwards, unless it is killed.
"""

from collections.abc import Iterable
from pathlib import Path

from dvcproof.git import AbsentError, git
from dvcproof.lockfile import File
from dvcproof.runtime.files import replacing


def restore_lists(root: Path, outputs: Iterable[File], *, fix: bool = True) -> list[str]:
    """Restore .gitignore files that lack lines for outputs, as Git has them. Return their names.

    A file with any other change is left alone: another line gone, or a line added.
    """
    names: dict[str, set[str]] = {}
    for out in outputs:
        path = Path(out.path)
        names.setdefault(str(path.parent / ".gitignore"), set()).add(f"/{path.name}")
    try:
        tracked = git(root, "ls-files", "-z", "--", *names).decode().split("\0")
    except AbsentError:
        return []
    return [name for name in tracked if name in names and _restore(root, name, names[name], fix=fix)]


def _restore(root: Path, name: str, outputs: set[str], *, fix: bool) -> bool:
    path, staged = root / name, git(root, "cat-file", "blob", f":./{name}")
    now = path.read_bytes() if path.is_file() else b""
    before, left = (content.decode(errors="replace").splitlines() for content in (staged, now))
    taken = set(before) - set(left)
    if not taken or not taken <= outputs or not set(left) <= set(before):
        return False
    if fix:
        with replacing(path) as (file,):
            file.write_bytes(staged)
    return True
