"""The committed model, trained again on two workers, with the same bytes."""

import shutil
import sys
from pathlib import Path

import pytest

from digits.networks import read_network
from dvcproof.lockfile import read_lock
from dvcproof.runtime.files import file_hash
from tests.support.project import ROOT, run, run_ok


@pytest.mark.slow
def test_two_workers_train_the_committed_model(tmp_path: Path) -> None:
    fresh = run(sys.executable, "-m", "digits", "verify", "--only", "check", cwd=ROOT)
    if fresh.returncode:
        pytest.skip(f"dvc.lock is not of this code and these parameters: {fresh.stderr}")
    settings, _ = read_network(ROOT / "params.yaml")
    if settings.shards < 2 or settings.device != "cpu":
        pytest.skip(f"train.shards is {settings.shards}, and train.device {settings.device}")
    for name in ("digits", "dvcproof", "exactkeras", "stages"):
        shutil.copytree(ROOT / name, tmp_path / name)
    (tmp_path / "data").mkdir()
    for name in ("data/mnist.npz", "params.yaml", "requirements.lock", "dvc.yaml"):
        shutil.copy(ROOT / name, tmp_path / name)
    for stage in ("load --out data/raw", "preprocess --raw data/raw --out data/prepared"):
        command = f"dvcproof.runtime.run requirements.lock stages.{stage} --params params.yaml"
        run_ok(sys.executable, "-m", *command.split(), cwd=tmp_path)
    run_ok(sys.executable, "-m", "digits", "workers", "2", cwd=tmp_path)
    for out in read_lock(ROOT / "dvc.lock").stages["train"].outs:
        assert file_hash(tmp_path / out.path, "md5") == out.md5, out.path
