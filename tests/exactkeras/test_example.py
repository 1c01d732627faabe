"""exactkeras/README.md: its example gives the SHA-256 that stands there, in a folder with nothing else of this one."""

import gzip
import re
import shutil
import sys
from pathlib import Path

import pytest

from bench.processors import CAPPED, NATIVE, Processor, natively, run_code
from dvcproof.runtime.files import file_hash
from tests.support.fashion import MODEL, README, SHA256, SHOWN, arguments, subset
from tests.support.project import ROOT, run, run_ok

PAGE = (ROOT / "docs" / "reproducibility.md").read_text(encoding="utf-8")

#: Keras's own `fit` in the place of the exact one. The network itself would be saved with its optimizer.
PLAIN = """
def plain(network, training, test, recipe, verbose):
    import keras
    model = keras.models.clone_model(network)
    model.set_weights(network.get_weights())
    model.compile(keras.optimizers.Adam(recipe.learning_rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    given = {"epochs": recipe.epochs, "batch_size": recipe.batch_size, "validation_data": test}
    history = model.fit(*training, **given, verbose=verbose).history
    network.set_weights(model.get_weights())
    return history

def configure_and_change(configure=determinism.configure, **given):
    reasons = configure(**given)
    from exactkeras import fit
    fit.fit = plain
    return reasons
determinism.configure = configure_and_change
"""

#: What the page says to do with the saved model, after the core of the README.
THEN = """
from exactkeras.fit import log_probabilities
from exactkeras.probe import deviations
assert deviations(network, recipe, images=600) == []
found = log_probabilities(archive.load(Path("mine.keras")), rows=600)(features.numpy())
assert found.shape == (600, 10)
try:
    fit(network, (features, labels + 1), None, recipe, verbose=0)
except Exception as error:
    print(error)
"""


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """Return a folder with the example and what docs/reproducibility.md says to copy."""
    step = re.search(r"^1\. Copy (.*?) \(they need", PAGE, re.MULTILINE)
    assert step
    for name in re.findall(r"`([^`]+)`", step[1]):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    assert {path.name for path in tmp_path.iterdir()} == {"dvcproof", "exactkeras"}
    (tmp_path / "examples").mkdir()
    shutil.copy(ROOT / "examples" / "fashion_mnist.py", tmp_path / "examples")
    (code,) = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    (tmp_path / "mine.py").write_text(code + THEN, encoding="utf-8")
    return tmp_path


def test_the_readme_shows_a_whole_run_and_a_subset() -> None:
    assert ["--images" in command for command, _ in SHOWN] == [False, True]
    assert README.count("\n$ ") == 2


@pytest.mark.slow
@pytest.mark.parametrize(("command", "printed"), SHOWN, ids=["whole", "subset"])
def test_it_prints_what_the_readme_shows(elsewhere: Path, command: str, printed: str) -> None:
    result = run(sys.executable, "-m", *arguments(command), cwd=elsewhere)
    assert result.returncode == 0, result.stderr
    assert result.stdout.endswith(f"\n{printed}")
    assert "other bytes" not in result.stdout
    assert file_hash(elsewhere / MODEL) == printed.rsplit(maxsplit=1)[-1]


@pytest.mark.slow
def test_the_core_of_the_readme_runs(elsewhere: Path) -> None:
    line = run_ok(sys.executable, "mine.py", cwd=elsewhere).splitlines()[-1]
    assert (
        line == "training labels: expected 0 to 9. Got 10. Number the classes from 0, or give the network more outputs."
    )


def test_without_one_of_its_parts_it_does_not(elsewhere: Path) -> None:
    shutil.rmtree(elsewhere / "dvcproof" / "runtime")
    result = run(sys.executable, "mine.py", cwd=elsewhere)
    assert result.returncode == 1
    assert "No module named 'dvcproof.runtime'" in result.stderr


def test_a_file_that_cannot_be_read_is_named(elsewhere: Path) -> None:
    path = elsewhere / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(bytes(100))[:-9])
    result = run(sys.executable, "-m", "examples.fashion_mnist", str(elsewhere), cwd=elsewhere)
    assert result.returncode == 1
    assert result.stderr.startswith(f"ERROR: {path}: it cannot be read (")
    assert "Traceback" not in result.stderr


def train(processor: Processor, folder: Path, *more: str, before: str = "") -> str:
    """Run the command of the subset on a processor, in a new folder. Returns the SHA-256 of its file."""
    folder.mkdir()
    run_code(processor, folder, f"{before}\n{subset(*more)}", root=ROOT)
    return file_hash(folder / MODEL)


@pytest.mark.slow
@pytest.mark.parametrize("processor", [NATIVE[0], NATIVE[2], CAPPED], ids=["1 thread", "4 threads", "AVX2"])
def test_threads_and_instructions_give_the_hash_of_the_readme(processor: Processor, tmp_path: Path) -> None:
    if processor == CAPPED not in natively():
        pytest.skip("This processor has no AVX-512, and so is what the others are held to.")
    assert train(processor, tmp_path / "sample") == SHA256


@pytest.mark.slow
def test_another_seed_and_the_fit_of_keras_give_other_hashes(tmp_path: Path) -> None:
    """So the proof sees a training whose sums have no stated order."""
    plain = train(NATIVE[1], tmp_path / "plain", before=PLAIN)
    assert SHA256 not in (plain, train(NATIVE[1], tmp_path / "seed", "--seed", "1"))
    if CAPPED in natively():
        assert plain != train(CAPPED, tmp_path / "capped", before=PLAIN)
