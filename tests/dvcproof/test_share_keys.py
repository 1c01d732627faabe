"""The keys of a store, on a server that checks their rights: pull requests may only read."""

from pathlib import Path

import pytest

from dvcproof.findings import CANNOT_TELL
from tests.support.moto import serve_moto
from tests.support.refusal import one_line
from tests.support.team import PATIENCE, clone, executed, results, set_shift, write_team
from tests.support.verifying import Result, dvcproof, notes


def share(project: Path, env: dict[str, str], *words: str) -> Result:
    return dvcproof(project, *words, "--remote", "team", env=env)


@pytest.mark.slow
def test_a_key_that_may_only_read_writes_nothing(tmp_path: Path) -> None:
    """The key fetches the runs of the main branch. New runs stay local, and a push is refused with one line."""
    with serve_moto(tmp_path) as keys:
        main = write_team(tmp_path / "main", "s3://team/digits", keys.address)
        pull = clone(main, tmp_path / "pull")
        pushed = share(main, keys.writer, "push")
        assert (pushed.status, notes(pushed)) == (0, "4 objects and 4 records of runs added\n"), pushed
        there = keys.names()
        fetched = share(pull, keys.reader, "fetch", *PATIENCE)
        assert (fetched.status, fetched.errors) == (0, "")
        assert "objects fetched" in fetched.output
        assert executed(pull) == []
        assert results(pull) == results(main)
        set_shift(pull, 1.5)
        assert "cannot be read" not in share(pull, keys.reader, "fetch", *PATIENCE).output
        assert executed(pull) == ["train", "evaluate"]
        ours = results(pull)
        refused = share(pull, keys.reader, "push")
        assert (refused.status, refused.output) == (CANNOT_TELL, "")
        line = one_line(refused.errors.removesuffix("\n"))
        assert line.startswith("ERROR: store team: expected an answer. Got ")
        assert "AccessDenied" in line or "Access Denied" in line or "not authorized" in line
        assert keys.names() == there
        assert (executed(pull), results(pull)) == ([], ours)
