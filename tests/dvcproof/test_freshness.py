"""dvcproof.freshness on the real graph: whatever is stale is found, and named, without running anything."""

import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.support.project import Arrays, commit, run_ok
from tests.support.verifying import assert_match, fails, passes, small_project, write_toy

FRESHNESS = ("--only", "freshness")
Edit = Callable[[Path, str, str], None]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, digits: Arrays) -> Path:
    return small_project(tmp_path_factory, digits)


@pytest.fixture
def fresh(built: Path, tmp_path: Path) -> Path:
    """A copy of the built project, to make stale."""
    return shutil.copytree(built, tmp_path / "project")


@pytest.fixture(scope="module")
def built_toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy(tmp_path_factory.mktemp("toy") / "project")


@pytest.fixture
def toy(built_toy: Path, tmp_path: Path) -> Path:
    return shutil.copytree(built_toy, tmp_path / "toy")


def hash_in_lock(path: Path, stage: str, section: str, name: str) -> str:
    """The hash of a file in a stage's record."""
    text = (path / "dvc.lock").read_text(encoding="utf-8").split(f"\n  {stage}:\n")[1]
    return text.split(f"\n    {section}:\n")[1].split(f"- path: {name}\n")[1].split("md5: ")[1].split("\n")[0]


def edit_lock(path: Path, stage: str, section: str, name: str) -> str:
    """Replace the hash of one file in the record of one stage by another, and give back the new one."""
    lock = path / "dvc.lock"
    before, after = lock.read_text(encoding="utf-8").split(f"\n  {stage}:\n")
    start = after.index(f"- path: {name}\n", after.index(f"\n    {section}:\n"))
    old, new = hash_in_lock(path, stage, section, name), "0123456789abcdef" * 2
    lock.write_text(f"{before}\n  {stage}:\n{after[:start]}{after[start:].replace(old, new, 1)}", encoding="utf-8")
    return new


def test_what_dvc_repro_left_behind_is_fresh(fresh: Path) -> None:
    said = passes(fresh, *FRESHNESS)
    assert "ok, 4 stages" in said
    assert "not in" not in said


def test_a_clone_without_outputs_is_fresh(fresh: Path, tmp_path: Path) -> None:
    run_ok("git", "clone", "--quiet", str(fresh), "clone", cwd=tmp_path)
    assert "13 outputs are not in the work tree" in passes(tmp_path / "clone", *FRESHNESS)


def test_uncommitted_changes_are_named(fresh: Path, edit: Edit) -> None:
    edit(fresh / "params.yaml", "# The only place with values.", "# The only place that has values.")
    (fresh / "notes.txt").write_text("mine", encoding="utf-8")
    assert "not in the last commit, and so not in the re-run: params.yaml, notes.txt" in passes(fresh, *FRESHNESS)


@pytest.mark.slow
def test_a_name_cannot_control_the_terminal(toy: Path) -> None:
    (toy / "a\x1b[31m\n.txt").touch()
    assert r"and so not in the re-run: a\x1b[31m\n.txt" in passes(toy, *FRESHNESS)


@pytest.mark.fast(4)
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\n  seed: 0\n", "\n  seed: 1\n", "stage 'train', parameter train.seed in params.yaml: expected 0, .* Got 1."),
        ("\n  units: 16\n", "\n  units: 16.0\n", r"expected 16, .* Got 16.0. DVC does not notice: run `dvc repro --fo"),
        ("- '9'\n", "- nine\n", "stage 'evaluate', parameter class_names .* Got .*nine.*. Run `dvc rep"),
        (
            "\n  worst: 25",
            "\n  least: 25",
            "parameter evaluate.worst in params.yaml: expected 25, .* Got none any more",
        ),
        (
            "\n  worst: 25",
            "\n  worst: 25\n  more: 1",
            "parameter evaluate.more in params.yaml: expected a record .* Got",
        ),
        (
            "class_names:",
            "klass_names:",
            r"parameter 'klass_names' in .*: expected one of .* Did you mean 'class_names'\?",
        ),
        (
            "class_names:",
            "class_names: [",
            r"params\.yaml: it is not YAML: .* in line \d+\. Correct the syntax\.",
        ),
        ("data/mnist.npz\n", "data/other.npz\n", "stage 'load', dependency data/other.npz: expected a file or folder"),
    ],
)
def test_a_stale_parameter(fresh: Path, edit: Edit, old: str, new: str, message: str) -> None:
    edit(fresh / "params.yaml", old, new)
    assert_match(message, fails(fresh, *FRESHNESS))


@pytest.mark.fast(4)
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  evaluate:\n    desc", "  score:\n    desc", "stage 'evaluate' in dvc.lock: .* removed or renamed"),
        ("  evaluate:\n    desc", "  score:\n    desc", "stage 'score': expected a record in dvc.lock. Got none. Run"),
        (
            "\nstages:\n",
            "\nstages:\n  more:\n    cmd: 'true'\n",
            "stage 'more': expected a record in dvc.lock. Got none",
        ),
        ("--out data/raw", "--out  data/raw", "stage 'load', command: expected python .* Got python "),
        ("    - digits/sources\n", "", "'load', dependency digits/sources: .* Got none any more. DVC does not"),
        (
            "    - digits/sources\n",
            "    - digits/sources\n    - digits/apps\n",
            "stage 'load', dependency digits/apps: expected a record in dvc.lock. Got none.",
        ),
        (
            "    params:\n    - preprocess\n",
            "",
            "parameter preprocess.validation_size .* run `dvc repro --force --sing",
        ),
    ],
)
def test_a_changed_graph(fresh: Path, edit: Edit, old: str, new: str, message: str) -> None:
    edit(fresh / "dvc.yaml", old, new)
    assert_match(message, fails(fresh, *FRESHNESS))


def test_a_removed_stage(fresh: Path) -> None:
    text = (fresh / "dvc.yaml").read_text(encoding="utf-8")
    start, stop = text.index("  evaluate:\n    desc"), text.index("\nplots:\n")
    (fresh / "dvc.yaml").write_text(text[:start] + text[stop:], encoding="utf-8")
    assert_match("stage 'evaluate' in dvc.lock: expected a stage of this name in dvc.yaml", fails(fresh, *FRESHNESS))


def test_stale_code_is_named_once_with_all_its_stages(fresh: Path) -> None:
    with (fresh / "digits" / "data" / "arrays.py").open("a", encoding="utf-8") as file:
        file.write("# more\n")
    errors = fails(fresh, *FRESHNESS)
    assert_match("stages 'load', 'preprocess', 'train', 'evaluate', dependency digits/data: expected md5", errors)
    assert len(errors.splitlines()) == 1


def test_stale_data(fresh: Path, digits: Arrays) -> None:
    np.savez_compressed(fresh / "data" / "mnist.npz", **{**digits, "x_test": digits["x_test"][::-1]})  # type: ignore[arg-type]
    assert_match(
        "stage 'load', dependency data/mnist.npz: expected md5 .* Got md5 .* Run `dvc", fails(fresh, *FRESHNESS)
    )


def test_missing_data(fresh: Path) -> None:
    (fresh / "data" / "mnist.npz").unlink()
    message = "stage 'load', dependency data/mnist.npz: expected a file or folder. Got none. Restore it from Git"
    assert_match(message, fails(fresh, *FRESHNESS))


def test_a_perturbed_weight(fresh: Path) -> None:
    model = fresh / "data" / "model.keras"
    with zipfile.ZipFile(model) as archive:
        weights = archive.getinfo("model.weights.h5")
    content = bytearray(model.read_bytes())
    content[weights.header_offset + weights.file_size // 2] ^= 1
    model.chmod(0o644)
    model.write_bytes(content)
    errors = fails(fresh, *FRESHNESS)
    assert_match("stage 'train', output data/model.keras: expected md5 .* Run `dvc repro`, then commit", errors)
    assert len(errors.splitlines()) == 1


def test_a_perturbed_weight_with_the_old_time_and_size(fresh: Path) -> None:
    """DVC's own status believes time and size. Here the content is hashed each time."""
    labels = fresh / "data" / "raw" / "test_labels.npy"
    run_ok("dvc", "status", cwd=fresh)
    before = labels.stat()
    content = bytearray(labels.read_bytes())
    content[-1] ^= 1
    labels.write_bytes(content)
    os.utime(labels, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert "up to date" in run_ok("dvc", "status", cwd=fresh)
    assert_match("stage 'load', output data/raw/test_labels.npy", fails(fresh, *FRESHNESS))


def test_a_changed_metric(fresh: Path) -> None:
    scores = fresh / "metrics" / "scores.json"
    content = json.loads(scores.read_text(encoding="utf-8"))
    content["test"]["accuracy"] = 0.9999
    scores.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    assert_match("stage 'evaluate', output metrics/scores.json: expected md5", fails(fresh, *FRESHNESS))


def test_a_missing_metric(fresh: Path) -> None:
    (fresh / "metrics" / "per_class.csv").unlink()
    message = "stage 'evaluate', output metrics/per_class.csv: expected a file or folder. Got none."
    assert_match(message, fails(fresh, *FRESHNESS))


def test_an_edited_hash_of_an_output(fresh: Path) -> None:
    new = edit_lock(fresh, "evaluate", "outs", "metrics/worst.png")
    message = f"stage 'evaluate', output metrics/worst.png: expected md5 {new}.* as in dvc.lock. Got md5"
    assert_match(message, fails(fresh, *FRESHNESS))


def test_an_edited_hash_of_a_dependency(fresh: Path) -> None:
    new = edit_lock(fresh, "train", "deps", "stages/train.py")
    assert_match(f"stage 'train', dependency stages/train.py: expected md5 {new}", fails(fresh, *FRESHNESS))


@pytest.mark.parametrize(("stage", "section"), [("train", "outs"), ("evaluate", "deps")])
def test_contradicting_records_of_an_absent_file(fresh: Path, stage: str, section: str) -> None:
    edit_lock(fresh, stage, section, "data/model.keras")
    (fresh / "data" / "model.keras").unlink()
    message = (
        "stage 'evaluate', dependency data/model.keras in dvc.lock: expected md5 .* which stage 'train' wrote. Got"
    )
    assert_match(message, fails(fresh, *FRESHNESS))


def test_a_stage_missing_from_the_lock(fresh: Path) -> None:
    lock = fresh / "dvc.lock"
    text = lock.read_text(encoding="utf-8")
    lock.write_text(text[: text.index("\n  evaluate:\n") + 1], encoding="utf-8")
    assert_match("stage 'evaluate': expected a record in dvc.lock. Got none.", fails(fresh, *FRESHNESS))


def test_no_lock(fresh: Path) -> None:
    (fresh / "dvc.lock").unlink()
    assert_match("stage 'load': expected a record in dvc.lock. Got none. Run `dvc repro`", fails(fresh, *FRESHNESS))


def test_conflict_markers(fresh: Path) -> None:
    lock = fresh / "dvc.lock"
    lock.write_text("<<<<<<< HEAD\n" + lock.read_text(encoding="utf-8"), encoding="utf-8")
    assert_match("dvc.lock: expected a finished merge. Got .* Keep one side", fails(fresh, *FRESHNESS))


def test_a_changed_file_in_a_folder(toy: Path) -> None:
    """`dvc repro --dry --allow-missing` takes this for unchanged."""
    array = toy / "raw" / "b.npy"
    array.chmod(0o644)
    np.save(array, np.arange(6) + 1)
    assert_match(r"stage 'load', output raw: expected md5 \w+\.dir, .* Got md5", fails(toy, *FRESHNESS))


def test_a_second_dvc_yaml_is_not_passed_over(toy: Path) -> None:
    (toy / "more").mkdir()
    (toy / "more" / "dvc.yaml").write_text("stages: {extra: {cmd: 'true'}}\n", encoding="utf-8")
    assert_match("more/dvc.yaml: expected no other graph than dvc.yaml. Got stage 'extra'", fails(toy, *FRESHNESS))


def test_an_address_is_taken_as_pinned(toy: Path, edit: Edit) -> None:
    address = "https://localhost/digits.npz#sha256=" + "0" * 64
    depend_on_address(toy, edit, address)
    assert f"dependency {address}: taken as pinned, nothing was downloaded" in passes(toy, *FRESHNESS)


def test_an_address_without_a_hash(toy: Path, edit: Edit) -> None:
    depend_on_address(toy, edit, "https://localhost/digits.npz")
    assert_match("digits.npz: expected an address that ends in #sha256=.* Got one whose", fails(toy, *FRESHNESS))


def depend_on_address(toy: Path, edit: Edit, address: str) -> None:
    edit(toy / "dvc.yaml", "deps: [load.py]", f"deps: [load.py, '{address}']")
    record = f"- path: {address}\n      hash: md5\n      checksum: '\"x\"'\n      size: 3\n"
    edit(toy / "dvc.lock", "    deps:\n    - path: load.py\n", f"    deps:\n    {record}    - path: load.py\n")


def test_in_another_folder_than_the_top(toy: Path) -> None:
    assert_match("raw/dvc.yaml: expected a graph. Got no such file. Run it in the top", fails(toy / "raw", *FRESHNESS))


def test_outside_of_a_repository(tmp_path: Path) -> None:
    assert_match("dvc.yaml: expected a graph. Got no such file. Run it in the top", fails(tmp_path, *FRESHNESS))
    (tmp_path / "dvc.yaml").write_text("stages: {}\n", encoding="utf-8")
    assert_match("DVC: expected a project that it can read. Got you are not inside", fails(tmp_path, *FRESHNESS))


@pytest.mark.fast(1)
@pytest.mark.parametrize(
    ("edited", "repair"),
    [
        (("dvc.yaml", "deps: [raw, train.py]", "deps: [raw]"), "dvc repro --force --single-item train"),
        (("dvc.yaml", "  train:\n", "  fit:\n"), "rm dvc.lock; dvc repro"),
    ],
)
def test_the_repair_that_an_error_names_repairs(
    toy: Path, edit: Edit, edited: tuple[str, str, str], repair: str
) -> None:
    edit(toy / edited[0], *edited[1:])
    assert repair.rpartition("; ")[2] in fails(toy, *FRESHNESS)
    run_ok("sh", "-c", repair, cwd=toy)
    commit(toy, "repaired")
    passes(toy, *FRESHNESS)


def test_other_packages_than_the_locks(toy: Path) -> None:
    """Every package counts, those with a marker that holds here among them."""
    lock = toy / "requirements.lock"
    lock.write_text("numpy==0.1 \\\npydantic==0.1\n", encoding="utf-8")
    assert_match(r"package numpy, and of 1 more for .*: expected 0.1, as in .* Got \d", fails(toy, *FRESHNESS))
    lock.write_text("no-such-package==1.0 ; python_version > '3' \\\n", encoding="utf-8")
    assert_match("package no-such-package for .*: expected 1.0, .* Got none. Run `", fails(toy, *FRESHNESS))
    lock.write_text("no-such-package==1.0 ; python_version < '3' \\\n", encoding="utf-8")
    passes(toy, *FRESHNESS)
