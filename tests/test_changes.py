"""Inputs and parameters that change during a real `dvc repro`: dvc.lock records the content that was read."""

import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from dvcproof.runtime.watch import RECORDS
from dvcproof.values import set_params
from tests.support.project import Arrays, run, start
from tests.support.refusal import one_line
from tests.support.verifying import doctor, small_project

#: The line at which each stage has read its inputs and not yet written.
MIDST = {"load": "            write_dataset(description", "train": "    with replacing(args.model"}

#: The line at which `load` has written its outputs and DVC has not yet hashed them.
END = '    sys.stdout.write("\\n".join(lines)'


@pytest.fixture
def project(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, digits: Arrays) -> Path:
    project = shutil.copytree(small_project(tmp_path_factory, digits), tmp_path / "project", symlinks=True)
    shutil.rmtree(project / RECORDS)  # the records belong to the files before the copy
    return project


def change_in(project: Path, stage: str, line: str, change: Callable[[], object]) -> tuple[int, str]:
    """Let a stage run up to a line, call `change`, and let the stage go on. Return status and output of `dvc repro`."""
    file = project / "stages" / f"{stage}.py"
    text, indent = file.read_text(encoding="utf-8"), line[: len(line) - len(line.lstrip())]
    assert text.count(line) == 1, f"{line!r} occurs {text.count(line)} times in {file}"
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(300)  # seconds; a longer wait means that the stage failed before that line
        wait = f"{indent}__import__('socket').create_connection({server.getsockname()}).recv(1)\n"
        file.write_text(text.replace(line, wait + line), encoding="utf-8")
        with start("dvc", "repro", "--single-item", stage, cwd=project) as process:
            connection, _ = server.accept()
            with connection:
                change()
            output, errors = process.communicate()
    return process.wait(), output + errors


def other_source(project: Path, digits: Arrays) -> None:
    """Replace the source by a file of the same size that differs in the first pixel."""
    path = project / "data" / "mnist.npz"
    size, content = path.stat().st_size, digits["x_train"].copy()
    content[0, 0, 0] = 255
    np.savez_compressed(path.with_name("other.npz"), **(digits | {"x_train": content}))  # type: ignore[arg-type]
    other = path.with_name("other.npz")
    with other.open("ab") as file:
        file.truncate(size)  # `load` has opened the first file, so this one is never read
    other.replace(path)


def append(path: Path) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write("# changed\n")


#: The changes, by stage and by the name of the thing that changes.
CHANGES: dict[tuple[str, str], Callable[[Path, Arrays], object]] = {
    ("load", "data/mnist.npz"): other_source,
    ("load", "digits/sources/tree.py"): lambda project, _: append(project / "digits" / "sources" / "tree.py"),
    ("train", "'dense' in params.yaml"): lambda project, _: set_params(
        project / "params.yaml", {"dense.learning_rate": 0.5}
    ),
}


@pytest.mark.fast(1)
@pytest.mark.parametrize(("stage", "name"), CHANGES)
def test_what_changes_while_a_stage_runs_is_refused(project: Path, digits: Arrays, stage: str, name: str) -> None:
    lock = (project / "dvc.lock").read_bytes()
    status, output = change_in(project, stage, MIDST[stage], lambda: CHANGES[stage, name](project, digits))
    assert status != 0
    (line,) = (line for line in output.splitlines() if "expected no change" in line)
    assert f"{name}: expected no change while it is used. Got a change, so nothing was written." in one_line(line)
    assert (project / "dvc.lock").read_bytes() == lock
    assert not (project / "data" / {"load": "raw/train_images.npy", "train": "model.keras"}[stage]).exists()


def test_a_change_between_the_end_and_dvcs_look(project: Path, digits: Arrays) -> None:
    """No stage can see such a change. It is found after `dvc repro`, and the wrong record is removed."""
    status, output = change_in(project, "load", END, lambda: other_source(project, digits))
    assert status == 0, output
    assert run("dvc", "status", "load", cwd=project).stdout == "Data and pipelines are up to date.\n"
    result = doctor(project, "--after")
    assert result.status == 1
    assert "stage 'load', data/mnist.npz: expected no change until DVC had recorded it." in one_line(result.errors[:-1])
    assert yaml.safe_load((project / "dvc.lock").read_bytes())["stages"]["load"] == {"cmd": ""}
    assert "Stage 'load' is cached" not in run("dvc", "repro", "--dry", "--single-item", "load", cwd=project).stdout
    assert doctor(project, "--after").status == 0
