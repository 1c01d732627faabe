"""Start moto's S3 server on this machine. It checks the rights of each key, as Amazon does."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import boto3

#: The rights of a user who may write; the first two suffice for reading.
RIGHTS = ("s3:GetObject", "s3:ListBucket", "s3:PutObject", "s3:DeleteObject")

#: Requests that need no rights: create a bucket and, for two users, the user, its rights and its key.
OPENING = 7


class Keys(NamedTuple):
    """A server, and the environments of two users: one may write, the other may only read."""

    address: str
    writer: dict[str, str]
    reader: dict[str, str]

    def names(self) -> list[str]:
        """Return the names of the objects in the store."""
        found = _client("s3", self.writer).list_objects_v2(Bucket="team")
        return [item["Key"] for item in found.get("Contents", ())]


def _client(service: str, env: dict[str, str]) -> Any:
    return boto3.client(
        service,
        region_name="us-east-1",
        endpoint_url=env["AWS_ENDPOINT_URL"],
        aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
    )


def _add_user(name: str, rights: tuple[str, ...], base: dict[str, str]) -> dict[str, str]:
    """Create a user, and return its environment."""
    iam = _client("iam", base)
    iam.create_user(UserName=name)
    statement = {"Effect": "Allow", "Action": rights, "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_user_policy(UserName=name, PolicyName="store", PolicyDocument=policy)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return base | {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}


@contextmanager
def serve_moto(folder: Path) -> Iterator[Keys]:
    """Serve an empty bucket `team` on a free port of 127.0.0.1."""
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    env = os.environ | {"INITIAL_NO_AUTH_ACTION_COUNT": str(OPENING)}
    with subprocess.Popen(command, cwd=folder, env=env, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr
            address = next(found[0] for line in server.stderr if (found := re.search(r"http://[\d.:]+", line)))
            (folder / "aws").touch()
            base = dict.fromkeys(("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"), str(folder / "aws"))
            base |= {"AWS_EC2_METADATA_DISABLED": "true", "AWS_ENDPOINT_URL": address}
            base |= {"AWS_ACCESS_KEY_ID": "root", "AWS_SECRET_ACCESS_KEY": "root"}
            _client("s3", base).create_bucket(Bucket="team")
            yield Keys(address, _add_user("main", RIGHTS, base), _add_user("pull", RIGHTS[:2], base))
        finally:
            server.kill()
