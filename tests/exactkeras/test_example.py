"""examples/fashion_mnist.py gives the SHA-256 that exactkeras/README.md states, on every processor."""

import gzip
import os
import re
import shlex
import shutil
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from bench import processors
from bench.processors import CAPPED, EMULATED, NATIVE, Processor, run_code
from dvcproof.runtime import machine
from dvcproof.runtime.files import file_hash
from tests.support.fashion import FOLDER, installed
from tests.support.project import ROOT, run, run_ok

README = (ROOT / "exactkeras" / "README.md").read_text(encoding="utf-8")
MODEL = "fashion.keras"

#: What the README shows: commands, and what each prints last. The second trains on a subset.
SHOWN = re.findall(r"^\$ (python .*)\n(test accuracy .*\nSHA-256 [0-9a-f]{64}\n)", README, re.MULTILINE)
SUBSET, PRINTED = SHOWN[1]
SHA256 = PRINTED.split()[-1]

#: With AVX-512 where the processor has it, and held to AVX2; then emulated.
PROCESSORS = (NATIVE[0], NATIVE[2], CAPPED, EMULATED[0], EMULATED[-1])

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


def arguments(command: str) -> list[str]:
    """The words of a command of the README, without `python -m`."""
    python, option, *words = shlex.split(command)
    assert (python, option, words[1]) == ("python", "-m", str(installed(FOLDER)))
    return words


def train(processor: Processor, folder: Path, *more: str, before: str = "") -> str:
    """Run the command of the subset on a processor, in a new folder. Returns the SHA-256 of its file."""
    folder.mkdir()
    run_code(processor, folder, f"{before}\ncall(*{[*arguments(SUBSET), *more]!r})\n", root=ROOT)
    return file_hash(folder / MODEL)


def absent(processor: Processor) -> str:
    """What this machine lacks for a processor; nothing if it can run on it."""
    if processor == CAPPED and processor not in processors.natively():
        return "This processor has no AVX-512, and so is what the others are held to."
    if processor.model is None:
        return ""
    if processor not in processors.emulated():
        return "This machine is arm64 itself."
    if processor.architecture == "arm64":
        return processors.missing(ROOT)
    return "" if processors.emulator() else "Install qemu-user."


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the example, the two packages, and nothing else."""
    folder = tmp_path_factory.mktemp("elsewhere")
    for package in ("exactkeras", "dvcproof"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "examples").mkdir()
    shutil.copy(ROOT / "examples" / "fashion_mnist.py", folder / "examples")
    return folder


def test_the_readme_shows_a_whole_run_and_a_subset() -> None:
    assert len(SHOWN) == README.count("\n$ ") == 2
    assert "--images" not in SHOWN[0][0]
    assert "--images" in SUBSET


@pytest.mark.slow
@pytest.mark.parametrize(("command", "printed"), SHOWN, ids=["whole", "subset"])
def test_it_prints_what_the_readme_shows_with_two_packages_alone(elsewhere: Path, command: str, printed: str) -> None:
    for package, found in {"exactkeras": True, "dvcproof": True, "digits": False, "stages": False}.items():
        code = f"import importlib.util; print(importlib.util.find_spec('{package}') is not None)"
        assert run_ok(sys.executable, "-c", code, cwd=elsewhere) == f"{found}\n"
    result = run(sys.executable, "-m", *arguments(command), cwd=elsewhere)
    assert result.returncode == 0, result.stderr
    assert result.stdout.endswith(f"\n{printed}")
    assert "other bytes" not in result.stdout
    assert file_hash(elsewhere / MODEL) == printed.rsplit(maxsplit=1)[-1]


@pytest.mark.slow
def test_the_core_of_the_readme_runs(elsewhere: Path) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    run_ok(sys.executable, "-c", code, cwd=elsewhere)
    assert (elsewhere / "mine.keras").is_file()


@pytest.mark.fast(1)
@pytest.mark.parametrize("fault", ["missing", "cut short", "of another size"])
def test_a_file_that_cannot_be_read_is_named(elsewhere: Path, tmp_path: Path, fault: str) -> None:
    path = tmp_path / "train-images-idx3-ubyte.gz"
    content = gzip.compress(bytes([0, 0, 8, 3, *(0, 0, 0, 1), *(0, 0, 0, 28), *(0, 0, 0, 27)]) + bytes(28 * 27))
    if fault != "missing":
        path.write_bytes(content[:-9] if fault == "cut short" else content)
    result = run(sys.executable, "-m", "examples.fashion_mnist", str(tmp_path), cwd=elsewhere)
    assert result.returncode == 1
    assert result.stderr.startswith(f"ERROR: {path}: ")
    assert "Traceback" not in result.stderr


# Across processors


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[Processor, Future[str]]:
    """The run of the subset on every processor that there is, two at a time: an emulated one takes minutes."""
    folder = tmp_path_factory.mktemp("processors")
    installed(FOLDER)
    with ThreadPoolExecutor(2) as pool:
        return {
            processor: pool.submit(train, processor, folder / f"{processor.name}, {processor.threads}")
            for processor in reversed(PROCESSORS)
            if not absent(processor)
        }


@pytest.mark.slow
@pytest.mark.emulated
@pytest.mark.parametrize("processor", PROCESSORS, ids=lambda processor: f"{processor.name}, {processor.threads}")
def test_each_processor_gives_the_hash_of_the_readme(processor: Processor, runs: dict[Processor, Future[str]]) -> None:
    if processor not in runs:
        if processor.model and processors.emulated() and os.environ.get("CI"):
            pytest.fail(f"CI may not skip the proof across processors. {absent(processor)} (.ci/run does)")
        pytest.skip(f"{processor.name} was NOT run. {absent(processor)}")
    assert runs[processor].result() == SHA256


@pytest.mark.slow
def test_another_seed_gives_another_hash(tmp_path: Path) -> None:
    assert train(NATIVE[1], tmp_path / "seed", "--seed", "1") != SHA256


@pytest.mark.slow
def test_the_fit_of_keras_gives_other_hashes_on_other_processors(tmp_path: Path) -> None:
    """So the proof above sees a training whose sums have no stated order."""
    plain = train(NATIVE[1], tmp_path / "plain", before=PLAIN)
    assert plain == train(NATIVE[1], tmp_path / "again", before=PLAIN)
    assert plain != SHA256
    if "avx512f" in machine.cpu_flags():
        assert plain != train(CAPPED, tmp_path / "capped", before=PLAIN)
