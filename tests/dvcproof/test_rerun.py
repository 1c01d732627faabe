"""dvcproof.rerun: what a clean clone does not give again is found, and named, with stage, file and value."""

import json
import os
import re
import shutil
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.support.namespace import has_namespaces, in_namespace
from tests.support.project import ROOT, Arrays, commit, run, run_ok
from tests.support.refusal import one_line
from tests.support.verifying import assert_match, fails, passes, rebuild, small_project, write_toy

RERUN = ("--only", "rerun")
Edit = Callable[[Path, str, str], None]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, digits: Arrays) -> Path:
    return small_project(tmp_path_factory, digits)


@pytest.fixture(scope="module")
def good_toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy as it was committed. Not to be changed: the environment decides what it does wrong."""
    return write_toy(tmp_path_factory.mktemp("toy") / "project")


@pytest.fixture
def toy(good_toy: Path, tmp_path: Path) -> Path:
    """A copy of the toy, to break."""
    return shutil.copytree(good_toy, tmp_path / "toy")


@pytest.mark.slow
def test_the_real_graph_comes_out_equal(built: Path, tmp_path: Path) -> None:
    said = passes(built, "--keep", str(tmp_path / "kept"))
    assert "ok, 4 stages" in said
    assert "4 stages executed: equal byte for byte" in said
    assert "a second `dvc repro` executed 0 stages" in said
    for name in ("data/model.keras", "dvc.lock", "metrics/scores.json"):
        assert (tmp_path / "kept" / "clone" / name).read_bytes() == (built / name).read_bytes()
    assert_match("expected a new folder", fails(built, *RERUN, "--keep", str(tmp_path / "kept")))


@pytest.mark.slow
def test_a_training_by_the_clock_is_caught(built: Path, tmp_path: Path, edit: Edit) -> None:
    project = shutil.copytree(built, tmp_path / "project")
    code = "determinism.configure(seed=settings.seed, device=settings.device)"
    clock = "determinism.configure(seed=__import__('time').time_ns() % 2**32, device=settings.device)"
    edit(project / "stages" / "train.py", code, clock)
    run_ok("dvc", "commit", "--force", "--quiet", cwd=project)  # as if it had run, and given what it gave before
    commit(project, "by the clock")
    passes(project, "--only", "freshness")
    errors = fails(project, *RERUN)
    assert_match(
        r"stage 'train', output data/model.keras: expected md5 .* as committed. Got md5 .* from the re-run "
        r"\(model.weights.h5: weights layers/dense/vars/0 first at \[0, 0\], .* recorded, .* re-run; \d+ of 12544 "
        r"values differ, by at most .*; .* Its inputs were the same: does its code use a clock",
        errors,
    )
    assert_match(r"stage 'evaluate', output metrics/scores.json: .* \(test.accuracy|loss: .* It follows from", errors)
    assert "stage 'load'" not in errors
    assert "stage 'preprocess'" not in errors


@pytest.mark.slow
def test_the_command_itself(toy: Path) -> None:
    (toy / "load.py").write_text("# stale\n", encoding="utf-8")
    result = run("python", "-m", "dvcproof", cwd=toy, env={"PYTHONPATH": str(ROOT)})
    assert result.returncode == 1
    assert result.stdout == "freshness: not in the last commit, and so not in the re-run: load.py\n"
    assert result.stderr.startswith("ERROR: stage 'load', dependency load.py: expected md5 ")
    assert "DIR" in run_ok("python", "-m", "dvcproof", "--help", cwd=ROOT)


def test_a_changed_file_in_a_folder_and_an_undeclared_one(good_toy: Path) -> None:
    errors = fails(good_toy, *RERUN, env={"LOAD": "3", "STRAY": "yes"})
    assert_match(
        r"stage 'load', output raw: expected md5 \w+.dir.* Got md5 \w+.dir.* from the re-run \(b.npy first at \[4\], 4 "
        r"recorded, 7 re-run; 2 of 6 values differ, by at most 3\). Its inputs were the same",
        errors,
    )
    assert_match("stage 'train', output model.npy: .* It follows from raw", errors)
    assert_match("stray.txt: expected what commit .* holds. Got a new file. Declare it as an output", errors)


def test_the_last_commit_is_run_not_the_work_tree(toy: Path) -> None:
    (toy / "train.py").write_text("raise SystemExit(1)", encoding="utf-8")
    (toy / "model.npy").unlink()
    shutil.rmtree(toy / ".dvc" / "cache")
    errors = fails(toy, *RERUN, env={"SHIFT": "1"})
    assert_match(r"stage 'train', output model.npy: .* \(the committed version is not at hand to compare", errors)


def test_a_good_machine_has_no_tolerance(good_toy: Path) -> None:
    errors = fails(good_toy, *RERUN, env={"SHIFT": "0.0001"})
    assert_match(r"stage 'train', output model.npy: .* by at most 0.0001\)", errors)
    assert_match(r"stage 'evaluate', output scores.json: .* \(test.accuracy: 0.9 recorded, 0.9001 re-run\)", errors)


def test_another_machine_within_the_band(good_toy: Path) -> None:
    said = passes(good_toy, *RERUN, env={"SHIFT": "0.01", "BECAUSE": "no-AVX2"})
    assert "WARNING: this machine may give other bits in evaluate, train: no-AVX2. test.accuracy is compared" in said
    assert "test.accuracy 0.9100 against 0.9000, within +- 0.0632 (4 standard deviations over 5 seeds)" in said
    assert "equal within tolerance" in said


@pytest.mark.slow
def test_another_machine_outside_of_the_band_and_with_other_data(good_toy: Path) -> None:
    errors = fails(good_toy, *RERUN, env={"LOAD": "1", "SHIFT": "0.07", "BECAUSE": "no-AVX2"})
    assert_match("stage 'load', output raw: expected md5", errors)
    assert_match(r"test.accuracy of the re-run: expected 0.9000 \+- 0.0632 .* Got 0.9700", errors)
    assert len(errors.splitlines()) == 2


@pytest.mark.slow
def test_a_stage_that_always_runs(toy: Path, edit: Edit) -> None:
    edit(toy / "dvc.yaml", "    outs: [model.npy]\n", "    outs: [model.npy]\n    always_changed: true\n")
    rebuild(toy)
    message = "stage 'train': expected nothing to do in a second `dvc repro`. Got another run. Does it change its own"
    assert_match(message, fails(toy, *RERUN))


def test_a_committed_metric_that_the_lock_does_not_record(toy: Path) -> None:
    (toy / "scores.json").write_text(json.dumps({"test": {"accuracy": 0.99}}), encoding="utf-8")
    commit(toy, "better")
    message = (
        r"scores.json: expected what commit \w+ holds. Got test.accuracy: 0.99 recorded, 0.9 re-run. Run `dvc repro`"
    )
    assert_match(message, fails(toy, *RERUN))


def test_a_lock_that_was_made_from_something_else(toy: Path, edit: Edit) -> None:
    edit(toy / "train.py", "import json", "import  json")
    edit(toy / "dvc.yaml", "  evaluate:\n", "  score:\n")
    commit(toy, "forgot to run")
    errors = fails(toy, *RERUN)
    assert_match("stage 'train', dependency train.py: .* was made from something else: run `dvc repro`", errors)
    assert_match("stage 'evaluate' in dvc.lock of commit .* expected to be executed. Got no such run", errors)
    assert_match("stage 'score' of commit .* expected a record in its dvc.lock. Got none", errors)


def test_what_is_not_committed_is_missed(toy: Path, edit: Edit) -> None:
    (toy / ".gitignore").write_text("platform.json\nsecret.txt\n", encoding="utf-8")
    (toy / "secret.txt").write_text("42", encoding="utf-8")
    edit(toy / "dvc.yaml", "deps: [load.py]", "deps: [load.py, secret.txt]")
    rebuild(toy)
    passes(toy, "--only", "freshness")
    assert_match(
        "in a clean clone of commit .* dependency 'secret.txt' does not exist. Is all that it needs", fails(toy, *RERUN)
    )


@pytest.mark.slow
def test_a_pinned_address_whose_server_gives_another_etag(toy: Path, edit: Edit) -> None:
    """DVC records the ETag; the stage checks the content."""

    class Handler(BaseHTTPRequestHandler):
        etag = "first"

        def do_HEAD(self) -> None:
            self.send_response(200)
            self.send_header("ETag", self.etag)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_HEAD  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/digits.npz#sha256=0"
        edit(toy / "dvc.yaml", "deps: [load.py]", f"deps: [load.py, '{address}']")
        rebuild(toy)
        Handler.etag = "second"
        said = passes(toy, *RERUN)
        assert re.search('#sha256=0: .*checksum "?second.*, was .*checksum "?first.*; checked by its SHA-256', said)
        server.shutdown()


def test_a_stage_that_fails(toy: Path, edit: Edit) -> None:
    edit(toy / "train.py", "import json", "raise SystemExit('ERROR: no such luck')\nimport json")
    commit(toy, "break")
    errors = fails(toy, *RERUN)
    assert_match("in a clean clone of commit .* expected success of stage 'train'. Got no such luck; failed to", errors)


@pytest.mark.slow
def test_a_shallow_clone_with_a_detached_head(good_toy: Path, tmp_path: Path) -> None:
    """What CI checks out by default."""
    run_ok("git", "clone", "--quiet", "--depth", "1", f"file://{good_toy}", "shallow", cwd=tmp_path)
    run_ok("git", "checkout", "--quiet", "--detach", cwd=tmp_path / "shallow")
    assert "equal byte for byte" in passes(tmp_path / "shallow", *RERUN)


def test_without_a_commit(tmp_path: Path) -> None:
    run_ok("git", "init", "--quiet", cwd=tmp_path)
    assert_match("git rev-parse: expected success. Got Needed a single .* Commit the proj", fails(tmp_path, *RERUN))


def test_without_a_lock_in_the_commit(toy: Path) -> None:
    run_ok("git", "rm", "--quiet", "--cached", "dvc.lock", cwd=toy)
    run_ok("git", "commit", "--quiet", "-m", "no lock", cwd=toy)
    assert_match("commit .*: expected dvc.lock. Got none. Commit dvc.lock with metrics.", fails(toy, *RERUN))


@pytest.mark.slow
def test_a_project_in_a_larger_repository(tmp_path: Path) -> None:
    """The whole is cloned, and run where the project lies; what others change beside it is of no concern."""
    run_ok("git", "init", "--quiet", "--initial-branch", "main", cwd=tmp_path)
    (tmp_path / "README").write_text("of the whole\n", encoding="utf-8")
    project = write_toy(tmp_path / "models" / "größe", subfolder=True)
    (tmp_path / "README").write_text("edited\n", encoding="utf-8")
    (project / "note.txt").write_text("new\n", encoding="utf-8")
    said = passes(project, "--only", "freshness")
    assert "not in the last commit, and so not in the re-run: note.txt\n" in said
    errors = fails(project, *RERUN, env={"STRAY": "yes", "SHIFT": "1"})
    assert_match(r"stray.txt: expected what commit .* holds. Got a new file. Declare it as an output", errors)
    assert_match(r"output scores.json: .* \(test.accuracy: 0.9 recorded, 1.9 re-run\)", errors)
    assert len(errors.splitlines()) == 3


def test_a_commit_without_the_folder_of_dvc(toy: Path) -> None:
    run_ok("git", "rm", "--quiet", "-r", "--cached", ".dvc", cwd=toy)
    run_ok("git", "commit", "--quiet", "-m", "no .dvc", cwd=toy)
    assert_match("commit .*: expected .dvc/config. Got none. Commit the folder .dvc.", fails(toy, *RERUN))


@pytest.mark.slow
@pytest.mark.skipif(not has_namespaces(), reason="only with a mount namespace can a disk be made small")
@pytest.mark.parametrize(("kib", "at"), [(600, "git clone: expected success"), (3000, "`dvc repro` in a clean clone")])
def test_a_temporary_folder_that_is_too_small(toy: Path, edit: Edit, tmp_path: Path, kib: int, at: str) -> None:
    """The cause is the disk, and not what is committed."""
    (toy / "large").write_bytes(os.urandom(700_000))
    edit(toy / "load.py", "import os", "open('raw.tmp', 'wb').write(bytes(3_000_000))\nimport os")
    commit(toy, "large")
    small = tmp_path / "small"
    small.mkdir()
    command = f"mount -t tmpfs -o size={kib}k tmpfs '{small}' && exec python -m dvcproof {' '.join(RERUN)}"
    result = in_namespace(command, cwd=toy, env={"TMPDIR": str(small), "PYTHONPATH": str(ROOT)})
    assert result.returncode == 1
    line = one_line(result.stderr.rstrip("\n"))
    assert at in line
    assert "No space left on device" in line
    assert "Name a folder on a larger disk: `TMPDIR=/var/tmp make verify`, or `python -m digits verify --keep" in line
