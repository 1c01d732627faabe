"""Start rclone's S3 server on this machine. It serves a folder."""

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import requests

#: The keys that the server knows.
KEYS = {"AWS_ACCESS_KEY_ID": "team", "AWS_SECRET_ACCESS_KEY": "secret"}


class S3(NamedTuple):
    """A server, and the folder whose subfolders are its buckets."""

    address: str
    folder: Path
    control: str  # the address of rclone's remote control

    def look_again(self) -> None:
        """Make the server read the files on disk again."""
        requests.post(f"{self.control}vfs/forget", timeout=600).raise_for_status()

    @property
    def env(self) -> dict[str, str]:
        """Return the environment of a user with keys."""
        return KEYS | self.without_keys

    @property
    def without_keys(self) -> dict[str, str]:
        """Return the environment of a user without keys or any other configuration."""
        empty = self.folder / "aws"
        empty.touch()
        files = dict.fromkeys(("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"), str(empty))
        return files | {"AWS_EC2_METADATA_DISABLED": "true", "AWS_ENDPOINT_URL": self.address}


@contextmanager
def serve_s3(folder: Path, *options: str) -> Iterator[S3]:
    """Serve a folder with the bucket `team` on a free port of 127.0.0.1."""
    (folder / "team").mkdir(parents=True, exist_ok=True)
    command = ["rclone", "serve", "s3", "--addr", "127.0.0.1:0", "--auth-key", ",".join(KEYS.values())]
    command += ["--config", os.devnull, "--rc", "--rc-addr", "127.0.0.1:0", "--rc-no-auth", *options, str(folder)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr
            found: dict[str, str] = {}
            for line in iter(server.stderr.readline, ""):
                if match := re.search(r"(s3 server|control) on \[?(http://[\d.:]+/)", line):
                    found[match[1]] = match[2]
                if len(found) == 2:
                    break
            yield S3(found["s3 server"].removesuffix("/"), folder, found["control"])
        finally:
            server.kill()
