"""A store that several machines share: a DVC remote with objects named by MD5, and records of runs named by key.

DVC trusts the names of objects in a remote: always before it sends, and by default when it fetches. This module checks
each object against its name, and replaces damaged objects.
"""

import hashlib
import json
import os
import re
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from dvc.config import Config
from dvc.exceptions import DvcException
from dvc.fs import FileSystem
from dvc.repo import Repo
from dvc_objects.fs.errors import RemoteMissingDepsError

from dvcproof.cache import PROTECTED
from dvcproof.config import read_config
from dvcproof.runtime.files import file_hash, replacing
from dvcproof.runtime.program import InputError

State = Literal["good", "damaged", "missing"]

#: Settings with credentials, which must never be in Git.
KEYS = {"access_key_id", "secret_access_key", "session_token", "password", "account_key", "sas_token"}

#: Seconds to wait for a store's first answer.
DEADLINE = 4.0

#: Number of transfers at the same time.
JOBS = 8

#: Errors of S3 for a request whose signature is too old, because the machine slept meanwhile. HEAD gets only a number.
NOT_OF_ITS_TIME = re.compile(r"RequestTimeTooSkewed|request time|An error occurred \((400|403)\)")

#: Most bytes that are read of a record. Typical records have about 2,000.
LONGEST = 2**20


class StoreError(Exception):
    """The store did not answer or refused. The message is one line."""


class Store:
    """The store at `path` of a DVC file system. An object has the name of its MD5, with '.dir' for a folder's listing.

    Every method raises StoreError if the store does not answer or refuses.
    """

    def __init__(self, files: FileSystem, path: str) -> None:
        self._files, self._path = files, path

    @classmethod
    def open(cls, repo: Repo, name: str, patience: float | None = None) -> "Store":
        """Open the store with the name of a remote of the project, or with a URL such as s3://bucket/folder.

        Args:
            patience: seconds for a connection to S3, unless the project sets another limit. None: the default of the
                S3 library, which retries many times.

        Raise InputError if there is no such remote, .dvc/config has credentials, or a package is missing.
        """
        for known, values in Config(repo.dvc_dir, validate=False).load_one("repo").get("remote", {}).items():
            for key in KEYS.intersection(values):
                modify, what = "dvc remote modify", f"{key} of remote {known}"
                hint = f"Run `{modify} --unset {known} {key}`, then `{modify} --local {known} {key} VALUE`."
                raise InputError(what, expected="no key in .dvc/config", received="one", hint=hint)
        remotes = repo.config["remote"]
        if "://" in name:
            remotes["store"] = {"url": name.removeprefix("file://")}  # DVC would take it for a relative path
            name = "store"
        if name not in remotes:
            known = f"DVC knows {', '.join(sorted(remotes))}" if remotes else "DVC knows none yet"
            hint = f"Name a remote of DVC. {known}. Add one with `dvc remote add NAME ADDRESS`."
            raise InputError(f"--remote '{name}'", "there is no such remote", hint=hint)
        if patience and remotes[name]["url"].startswith("s3://"):
            remotes[name] = {"connect_timeout": patience, "read_timeout": 3 * patience} | remotes[name]
            os.environ.setdefault("AWS_MAX_ATTEMPTS", "1")
        try:
            remote = repo.cloud.get_remote(name)
            if remote.worktree or remote.fs.version_aware:
                raise DvcException("it keeps versions of files, and no objects by their hash")
        except (RemoteMissingDepsError, ImportError, DvcException) as error:
            install = read_config(Path(repo.root_dir)).install.format(remotes[name]["url"].partition(":")[0])
            hint = "Correct it with `dvc remote modify`." if isinstance(error, DvcException) else install
            raise InputError(f"remote {name}", f"DVC cannot open it: {error}", hint=hint) from None
        if remote.fs.protocol == "s3":
            _sign_again()
        return cls(remote.fs, remote.path)

    def ask(self, deadline: float) -> None:
        """Check that the store answers within `deadline` seconds. Raise StoreError if it does not, or refuses."""
        problems = [f"no answer in {deadline:g} s"]

        def look() -> None:
            try:
                self._list("runs", deep=False)
                problems.clear()
            except StoreError as error:
                problems[:] = [str(error)]

        if self._files.protocol == "s3":
            with _answers():
                self._files.fs.connect()  # loads a description of S3, which does not count as the store's time
        thread = threading.Thread(target=look, daemon=True)  # a daemon, because it may hang
        thread.start()
        thread.join(deadline)
        if problems:
            raise StoreError(problems[0])

    def fetch(self, digest: str, target: Path) -> State:
        """Fetch an object into the file `target`. Return its state in the store; write only a good object."""
        try:
            with replacing(target) as (file,):
                with _answers(FileNotFoundError):
                    self._files.get_file(self._object(digest), str(file))
                if file_hash(file, "md5") != digest.removesuffix(".dir"):
                    raise ValueError
                if digest.endswith(".dir"):
                    _listing(file)
                file.chmod(PROTECTED)
        except ValueError:
            return "damaged"
        except FileNotFoundError:
            return "missing"
        return "good"

    def parts(self, digest: str) -> dict[str, str] | None:
        """Return the hashes of the files in a folder by relative path. None: the folder's listing is not good."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "parts")
            return _listing(file) if self.fetch(digest, file) == "good" else None

    def state(self, digest: str, size: int) -> State:
        """Return the state of an object of `size` bytes. Trust the MD5 of S3 for one piece; read all other objects."""
        path, content = self._object(digest), hashlib.md5(usedforsecurity=False)
        with _answers():
            try:
                info = self._files.info(path)
                if info["size"] != size:
                    return "damaged"
                if str(info.get("ETag", "")).strip('"') == digest:
                    return "good"
                with self._files.open(path, "rb") as file:
                    while part := file.read(2**20):
                        content.update(part)
            except FileNotFoundError:
                return "missing"
        return "good" if content.hexdigest() == digest.removesuffix(".dir") else "damaged"

    def put(self, digest: str, source: Path) -> None:
        """Send an object. Overwrite an existing one."""
        with _answers():
            self._files.put_file(str(source), self._new(self._object(digest)))

    def folders(self) -> list[str]:
        """Return the names of all folders of records. Each name is the hash of the inputs of a run."""
        return sorted({Path(path).parent.name for path in self._list("runs")})

    def records(self, folder: str) -> dict[str, str]:
        """Return the texts of the records in a folder by name. A text may be damaged."""
        found = {}
        for path in self._list("runs", folder[:2], folder):
            with _answers(), self._files.open(path, "rb") as file:
                found[Path(path).name] = file.read(LONGEST).decode(errors="replace")
        return found

    def put_record(self, folder: str, name: str, text: str) -> None:
        """Send a record of a run."""
        with _answers():
            self._files.pipe_file(self._new(self._place("runs", folder[:2], folder, name)), text.encode())

    def remove_record(self, folder: str, name: str) -> None:
        """Remove a record of a run."""
        with _answers():
            self._files.rm_file(self._place("runs", folder[:2], folder, name))

    def _list(self, *parts: str, deep: bool = True) -> list[str]:
        with _answers(), suppress(FileNotFoundError):
            self._files.fs.invalidate_cache()
            place = self._place(*parts)
            return list(self._files.find(place) if deep else self._files.ls(place))
        return []

    def _new(self, path: str) -> str:
        self._files.makedirs(self._files.parent(path))
        return path

    def _object(self, digest: str) -> str:
        return self._place("files", "md5", digest[:2], digest[2:])

    def _place(self, *parts: str) -> str:
        return str(self._files.join(self._path, *parts))


def _listing(file: Path) -> dict[str, str]:
    """Return the hashes of the files in a folder by relative path.

    Raise ValueError if this is no listing of a folder, or a path leads out of the folder.
    """
    try:
        found = {part["relpath"]: part["md5"] for part in json.loads(file.read_bytes())}
        if any(PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts for path in found):
            raise ValueError
    except (TypeError, LookupError):
        raise ValueError from None
    return found


def _sign_again() -> None:
    """Make the S3 library retry requests that were refused as too old, with a new signature."""
    import s3fs

    s3fs.set_custom_error_handler(lambda error: NOT_OF_ITS_TIME.search(str(error)) is not None)


@contextmanager
def _answers(*passed: type[Exception]) -> Iterator[None]:
    """Turn any error of a file system inside the block into a StoreError, except errors of the types `passed`."""
    try:
        yield
    except passed:
        raise
    except Exception as error:  # each library has its own types
        raise StoreError(" ".join(str(error).split()) or type(error).__name__) from None


def in_parallel(function: Callable[[Any], State], items: Sequence[Any]) -> list[State]:
    """Call a function for each item in several threads. Return the results in the order of the items."""
    with ThreadPoolExecutor(JOBS) as pool:
        return list(pool.map(function, items))
