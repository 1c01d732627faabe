"""bench.mutation: a fault that tests find is killed, a fault that they miss is alive, a broken fault is an error."""

import json
import sys
from pathlib import Path

import pytest

from tests.support.project import AT_ROOT, commit, run, run_ok

CODE = "def add(a, b):\n    return a + b\n\n\ndef twice(a):\n    return 2 * a\n"
TESTS = "from code_of_toy import add\n\n\ndef test_add():\n    assert add(1, 2) == 3\n"


def fault(name: str, old: str, new: str, *tests: str) -> dict[str, object]:
    edit = {"file": "code_of_toy.py", "old": old, "new": new}
    return {"name": name, "kind": "mutant", "edits": [edit], "tests": tests or ("test_toy.py",)}


@pytest.mark.slow
def test_each_fault_is_judged_and_kept(tmp_path: Path) -> None:
    toy = tmp_path / "toy"
    toy.mkdir()
    (toy / "code_of_toy.py").write_text(CODE, encoding="utf-8")
    (toy / "test_toy.py").write_text(TESTS, encoding="utf-8")
    run_ok("git", "init", "--quiet", cwd=toy)
    commit(toy, "toy")
    faults = [
        fault("found", "a + b", "a - b"),
        fault("not found", "2 * a", "3 * a"),
        fault("not there", "a * b", "a - b"),
        {"name": "control", "kind": "control", "edits": [], "tests": ["test_toy.py::test_add"]},
    ]
    (tmp_path / "faults.json").write_text(json.dumps(faults), encoding="utf-8")
    options = ("--faults", "faults.json", "--project", "toy", "--out", "out.json")
    result = run(sys.executable, "-m", "bench.mutation", *options, cwd=tmp_path, env=AT_ROOT)
    assert result.returncode == 1
    assert "some faults could not be judged" in result.stderr
    found = {one["name"]: one for one in json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))}
    assert [found[name]["killed"] for name in ("found", "not found", "control")] == [True, False, True]
    assert found["found"]["first failing test"] == "test_toy.py::test_add"
    assert found["not there"]["error"] == "'a * b' stands 0 times in code_of_toy.py"
    assert run_ok("git", "status", "--porcelain", cwd=toy) == ""
