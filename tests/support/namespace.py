"""Run commands in a mount namespace of their own, so that their mounts are invisible outside."""

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.support.project import run


def in_namespace(command: str, *, cwd: Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a shell command in a new mount namespace."""
    return run("unshare", "--mount", "sh", "-c", command, cwd=cwd, env=env)


def has_namespaces() -> bool:
    """Return whether this user may create a namespace and mount in it."""
    test = "mount -t tmpfs tmpfs /mnt"
    return shutil.which("unshare") is not None and in_namespace(test, cwd=Path("/")).returncode == 0
