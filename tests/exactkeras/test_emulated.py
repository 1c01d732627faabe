"""The same bytes on emulated processors, of x86-64 and arm64, as natively: all four stages, and the README's example.

An emulator needs most of a minute to import TensorFlow, so one process runs everything for a processor.
"""

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bench import processors
from bench.processors import EMULATED, NATIVE, Processor, calls, hashes, make_sample, run_code
from dvcproof.runtime.files import file_hash
from tests.support.fashion import MODEL, SHA256, subset
from tests.support.processors import SMALL, recorded_deviations, run_sample_at_once, write_recipe
from tests.support.project import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.emulated]

HASWELL, _SKYLAKE, EPYC, ICELAKE, ARM64 = EMULATED

#: The runs of each processor. `make study NAME=processors` runs both networks on each processor, and also on a Skylake,
#: which the emulator treats as a Haswell.
RUNS = {ARM64: ("example", "convnet", "dense"), HASWELL: ("example", "dense"), EPYC: ("convnet",), ICELAKE: ("dense",)}
CASES = [
    pytest.param(model, processor, id=f"{model}-{processor.name}")
    for processor, names in RUNS.items()
    for model in names
]


#: The check before a training looks at products of so many rows as the sample's test set has, not of a thousand, which
#: takes as long under an emulator as all the rest. `make study NAME=processors` looks at the thousand.
FEW_ROWS = f"""
def configure_and_change(configure=determinism.configure, **given):
    reasons = configure(**given)
    from exactkeras import fit
    fit.VALIDATION_ROWS = {SMALL["convnet"]["test"]}
    return reasons
determinism.configure = configure_and_change
"""


def run_all(processor: Processor, folder: Path, recipe: Path) -> None:
    """Run everything on an emulated processor, each sample in its own folder."""
    code = FEW_ROWS
    for name in RUNS[processor]:
        if name == "example":  # runs first, since Keras numbers the layers of a process
            code += subset()
        else:
            make_sample(recipe, folder / name, name, SMALL[name])
            code += calls(folder / name)
    run_code(processor, folder, code, root=ROOT)


@pytest.fixture(scope="module")
def needed() -> None:
    """What emulation needs. Its absence skips the proof for a user, and fails it in CI."""
    hint = processors.missing(ROOT)
    if hint and os.environ.get("CI"):
        pytest.fail(f"CI may not skip the proof across processors. {hint} (.ci/run does)")
    if hint or not processors.emulated():
        pytest.skip(f"the proof across processors was NOT run. {hint or 'This machine is arm64 itself.'}")


@pytest.fixture(scope="module")
def runs(needed: None, tmp_path_factory: pytest.TempPathFactory) -> dict[Processor, Path]:  # noqa: ARG001 (it skips)
    """By processor, the folder of all its runs; two processors run at a time, the slowest first."""
    folder = tmp_path_factory.mktemp("emulated")
    folders = {processor: folder / processor.name for processor in (NATIVE[1], *RUNS)}
    for path in (folder / "recipe", *folders.values()):
        path.mkdir()
    recipe = write_recipe(folder / "recipe")
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(run_all, processor, folders[processor], recipe) for processor in RUNS]
        for model in SMALL:
            run_sample_at_once(recipe, folders[NATIVE[1]] / model, model, NATIVE[1])
    for job in jobs:
        job.result()
    return folders


@pytest.mark.parametrize(("name", "processor"), CASES)
def test_an_emulated_processor_gives_the_same_bytes(
    name: str, processor: Processor, runs: dict[Processor, Path]
) -> None:
    if name == "example":
        assert file_hash(runs[processor] / MODEL) == SHA256
        return
    found = hashes(runs[processor] / name)
    assert found == hashes(runs[NATIVE[1]] / name)
    assert len(found) == 5 + 6 + 2 + 6
    assert recorded_deviations(runs[processor] / name) == []


def test_the_emulator_shows_the_cache_that_it_is_given(needed: None, tmp_path: Path) -> None:  # noqa: ARG001 (it skips)
    copy, program = tmp_path / "qemu", Path(str(processors.emulator()))
    processors.with_l1_of_48_kib(program, copy)
    changed = sum(a != b for a, b in zip(copy.read_bytes(), program.read_bytes(), strict=True))
    assert 0 < changed <= 12  # two bytes in each of a few tables
    version = subprocess.run([copy, "--version"], capture_output=True, text=True, check=True)
    assert "qemu" in version.stdout
