"""After a killed training, `make repro` continues it and gives the same bytes as an uninterrupted training.

The uninterrupted training starts from the beginning, since its checkpoint was damaged.
"""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from dvcproof.lockfile import read_lock
from dvcproof.values import set_params
from tests.support.arrays import flip
from tests.support.project import Arrays, environment, run_ok, stages_run
from tests.support.verifying import doctor_says, small_project

#: Enough epochs to kill the training before its last epoch.
EPOCHS = 30

CHECKPOINT = Path("data") / ".model.keras.checkpoint"


@pytest.mark.slow
def test_a_killed_pipeline_goes_on_to_the_same_bytes(
    tmp_path_factory: pytest.TempPathFactory, digits: Arrays, tmp_path: Path
) -> None:
    """`dvc repro` is killed during the training, with all child processes."""
    killed = Path(shutil.copytree(small_project(tmp_path_factory, digits), tmp_path / "project"))
    set_params(killed / "params.yaml", {"dense.epochs": EPOCHS})
    with subprocess.Popen(
        ["dvc", "repro"],
        cwd=killed,
        env=environment(PYTHONUNBUFFERED="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as dvc:
        assert dvc.stdout is not None
        assert any(line.startswith("Epoch 3/") for line in dvc.stdout)
        os.killpg(dvc.pid, signal.SIGKILL)
    assert not (killed / "data" / "model.keras").exists()
    assert "checkpoint" not in doctor_says(killed)
    damaged = flip((killed / CHECKPOINT).read_bytes(), 1000)
    assert "checkpoint" not in run_ok("git", "status", "--porcelain", cwd=killed)
    output = run_ok("dvc", "repro", cwd=killed)
    assert stages_run(output) == ["train", "evaluate"]
    assert f"{CHECKPOINT}: continuing the training after epoch " in output
    assert not (killed / CHECKPOINT).exists()
    outs = read_lock(killed / "dvc.lock").stages["train"].outs
    (killed / CHECKPOINT).write_bytes(damaged)
    output = run_ok("dvc", "repro", "--force", "--single-item", "train", cwd=killed)
    assert f"{CHECKPOINT}: not used, the training starts from the beginning: it is damaged\n" in output
    assert read_lock(killed / "dvc.lock").stages["train"].outs == outs
