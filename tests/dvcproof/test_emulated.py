"""The same bytes on emulated processors, of x86-64 and arm64, as natively."""

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bench import processors
from bench.processors import EMULATED, NATIVE, STAGES, Processor, calls, hashes, make_sample, run_code
from tests.support.processors import MODEL, SMALL, recorded_deviations, run_sample, write_recipe
from tests.support.project import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.emulated]
HASWELL = EMULATED[0]

#: What a process does as soon as it has TensorFlow.
WITH_TENSORFLOW = """
def configure_and_change(configure=determinism.configure, **given):
    reasons = configure(**given)
    {}
    return reasons
determinism.configure = configure_and_change
"""

#: The check before a training looks at products of so many rows as the sample's test set has, not of a thousand, which
#: takes as long under an emulator as all the rest. `make study NAME=processors` looks at the thousand.
FEW_ROWS = WITH_TENSORFLOW.format(f"from exactkeras import fit; fit.VALIDATION_ROWS = {SMALL['convnet']['test']}")

#: In a control, rows and columns of products are not filled up.
WITHOUT_PADDING = WITH_TENSORFLOW.format(
    "from exactkeras import arithmetic; arithmetic.padded = lambda tensor, axis, size: tensor"
)


@pytest.fixture(scope="module")
def needed() -> None:
    """What emulation needs. Its absence skips the proof for a user, and fails it in CI."""
    hint = processors.missing(ROOT)
    if hint and os.environ.get("CI"):
        pytest.fail(f"CI may not skip the proof across processors. {hint} (.ci/run does)")
    if hint or not processors.emulated():
        pytest.skip(f"the proof across processors was NOT run. {hint or 'This machine is arm64 itself.'}")


class Runs:
    """All runs of this file, two processors at a time.

    An emulator needs the better part of a minute to import TensorFlow: one process runs all samples on a processor.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "recipe").mkdir()
        recipe = write_recipe(folder / "recipe")

        def all_samples(processor: Processor) -> None:
            code = FEW_ROWS
            for model in SMALL:
                make_sample(recipe, self.sample(model, processor), model, SMALL[model])
                code += calls(self.sample(model, processor))
            if processor == HASWELL:
                make_sample(recipe, folder / "without padding", "dense", SMALL["dense"])
                code += WITHOUT_PADDING + calls(folder / "without padding", STAGES[: STAGES.index("train") + 1])
            run_code(processor, folder, code, root=ROOT)

        def natively(model: str) -> None:
            run_sample(recipe, self.sample(model, NATIVE[1]), model, NATIVE[1])

        with ThreadPoolExecutor(2) as pool:
            self.jobs = {processor.name: pool.submit(all_samples, processor) for processor in reversed(EMULATED)}
            self.jobs |= {model: pool.submit(natively, model) for model in SMALL}

    def sample(self, model: str, processor: Processor) -> Path:
        """The folder of the sample that a network is trained on, on a processor."""
        return self.folder / f"{model} on {processor.name}"

    def hashes(self, model: str, processor: Processor) -> dict[str, str]:
        """What a run gave; its error if it failed."""
        self.jobs[model if processor == NATIVE[1] else processor.name].result()
        return hashes(self.sample(model, processor))


@pytest.fixture(scope="module")
def runs(needed: None, tmp_path_factory: pytest.TempPathFactory) -> Runs:  # noqa: ARG001 (it skips)
    return Runs(tmp_path_factory.mktemp("emulated"))


@pytest.mark.parametrize("processor", EMULATED, ids=lambda processor: processor.name)
@pytest.mark.parametrize("model", SMALL)
def test_an_emulated_processor_gives_the_same_bytes(model: str, processor: Processor, runs: Runs) -> None:
    found = runs.hashes(model, processor)
    assert found == runs.hashes(model, NATIVE[1])
    assert len(found) == 5 + 6 + 2 + 6
    assert recorded_deviations(runs.sample(model, processor)) == []


def test_without_padding_it_differs_and_the_difference_is_recorded(runs: Runs) -> None:
    assert runs.hashes("dense", HASWELL) == runs.hashes("dense", NATIVE[1])
    assert hashes(runs.folder / "without padding")[MODEL] != runs.hashes("dense", HASWELL)[MODEL]
    reasons = recorded_deviations(runs.folder / "without padding")
    assert reasons
    assert all("are not the defined chain" in reason for reason in reasons)


def test_the_emulator_shows_the_cache_that_it_is_given(needed: None, tmp_path: Path) -> None:  # noqa: ARG001 (it skips)
    copy, program = tmp_path / "qemu", Path(str(processors.emulator()))
    processors.with_l1_of_48_kib(program, copy)
    changed = sum(a != b for a, b in zip(copy.read_bytes(), program.read_bytes(), strict=True))
    assert 0 < changed <= 12  # two bytes in each of a few tables
    version = subprocess.run([copy, "--version"], capture_output=True, text=True, check=True)
    assert "qemu" in version.stdout
