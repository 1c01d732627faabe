"""What docs/reproducibility.md invites a reader to take along works in a project that has nothing else of this one."""

import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.support.project import ROOT, run, run_ok

PROGRAM = """
import sys
from pathlib import Path
from exactkeras import determinism
determinism.configure(seed=3)
import keras
import tensorflow as tf
from exactkeras import archive
from exactkeras.check import deviations
from exactkeras.fit import fit, log_probabilities
from exactkeras.recipe import Recipe

features, labels = tf.random.stateless_uniform((60, 16), [1, 2]), tf.range(60) % 3
layers = [keras.layers.Reshape((4, 4, 1)), keras.layers.Conv2D(5, 2), keras.layers.Flatten()]
layers += [keras.layers.Dense(8, "relu"), keras.layers.Dense(3, "softmax")]
network = keras.Sequential([keras.Input((16,)), *layers], name="theirs")
recipe = Recipe("adam", 0.01, epochs=2, batch_size=20, shards=2, seed=3)
assert deviations(network, recipe, images=60) == []
history = fit(network, (features, labels), None, recipe, verbose=0)
archive.save(network, Path(sys.argv[1]))
assert len(history["loss"]) == 2
Path(sys.argv[1]).with_suffix(".bytes").write_bytes(log_probabilities(network, rows=60)(features.numpy()).tobytes())
"""


def taken_along() -> list[str]:
    """The files and folders that the page names."""
    text = (ROOT / "docs" / "reproducibility.md").read_text(encoding="utf-8")
    step = re.search(r"^1\. Copy (.*?) \(they need", text, re.MULTILINE)
    assert step is not None
    return re.findall(r"`([^`]+)`", step[1])


def strangers_project(folder: Path, names: list[str]) -> Path:
    for name in names:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, target)
    (folder / "theirs.py").write_text(PROGRAM, encoding="utf-8")
    return folder


@pytest.mark.slow
def test_the_model_room_works_in_another_project(tmp_path: Path) -> None:
    project = strangers_project(tmp_path / "theirs", taken_along())
    for name in ("a.keras", "b.keras"):
        run_ok(sys.executable, "theirs.py", name, cwd=project)
    for suffix in ("keras", "bytes"):
        assert (project / f"a.{suffix}").read_bytes() == (project / f"b.{suffix}").read_bytes()


def test_without_one_of_its_parts_it_does_not(tmp_path: Path) -> None:
    names = [name for name in taken_along() if "dvcproof" not in name]
    result = run(sys.executable, "theirs.py", "a.keras", cwd=strangers_project(tmp_path / "theirs", names))
    assert result.returncode == 1
    assert "No module named 'dvcproof'" in result.stderr
