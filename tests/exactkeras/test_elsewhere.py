"""The files that docs/reproducibility.md invites a reader to copy work in a project with nothing else of this one."""

import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.support.project import ROOT, run

PROGRAM = """
import sys
from pathlib import Path
from exactkeras import determinism
determinism.configure(seed=3)
import keras
import tensorflow as tf
from exactkeras import archive
from exactkeras.fit import fit, log_probabilities
from exactkeras.probe import deviations
from exactkeras.recipe import Recipe

features, labels = tf.random.stateless_uniform((60, 16), [1, 2]), tf.range(60) % 3
layers = [keras.layers.Reshape((4, 4, 1)), keras.layers.Conv2D(5, 2), keras.layers.Flatten()]
layers += [keras.layers.Dense(8, "relu"), keras.layers.Dense(3, "softmax")]
network = keras.Sequential([keras.Input((16,)), *layers], name="theirs")
recipe = Recipe("adam", 0.01, epochs=2, batch_size=20, shards=2, seed=3)
assert deviations(network, recipe, images=60) == []
assert len(fit(network, (features, labels), None, recipe, verbose=0)["loss"]) == 2
archive.save(network, Path("theirs.keras"))
found = log_probabilities(archive.load(Path("theirs.keras")), rows=60)(features.numpy())
sys.stdout.write(found.tobytes().hex())
try:
    fit(network, (features, labels + 1), None, recipe, verbose=0)
except Exception as error:
    sys.stdout.write(f" {error}")
"""


def strangers_project(folder: Path) -> Path:
    text = (ROOT / "docs" / "reproducibility.md").read_text(encoding="utf-8")
    step = re.search(r"^1\. Copy (.*?) \(they need", text, re.MULTILINE)
    assert step is not None
    for name in re.findall(r"`([^`]+)`", step[1]):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder / name)
    (folder / "theirs.py").write_text(PROGRAM, encoding="utf-8")
    return folder


@pytest.mark.slow
def test_exactkeras_works_in_another_project(tmp_path: Path) -> None:
    project, found = strangers_project(tmp_path / "theirs"), []
    for _ in range(2):
        result = run(sys.executable, "theirs.py", cwd=project)
        assert result.returncode == 0, result.stderr
        found.append(((project / "theirs.keras").read_bytes(), result.stdout))
    assert found[0] == found[1]
    assert found[0][1].endswith(
        " training labels: expected 0 to 2. Got 3. Number the classes from 0, or give the network more outputs."
    )


def test_without_one_of_its_parts_it_does_not(tmp_path: Path) -> None:
    project = strangers_project(tmp_path / "theirs")
    shutil.rmtree(project / "dvcproof" / "runtime")
    result = run(sys.executable, "theirs.py", cwd=project)
    assert result.returncode == 1
    assert "No module named 'dvcproof.runtime'" in result.stderr
