"""The same bytes on emulated processors, of x86-64 and arm64, as natively."""

import os
import subprocess
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from digits.verify import processors
from digits.verify.processors import EMULATED, NATIVE, STAGES, make_sample, run_stages
from tests.support.processors import MODEL, SMALL, recorded_deviations, run_sample, write_recipe
from tests.support.project import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.emulated]
HASWELL = EMULATED[0]

#: A process begins so, in a control: rows and columns of products are not filled up.
WITHOUT_PADDING = """
configure = determinism.configure
def configure_and_change(**given):
    reasons = configure(**given)
    from digits.model import arithmetic
    arithmetic.padded = lambda tensor, axis, multiple: tensor
    return reasons
determinism.configure = configure_and_change
"""


@pytest.fixture(scope="module")
def needed() -> None:
    """What emulation needs. Its absence skips the proof for a user, and fails it in CI."""
    hint = processors.missing(ROOT)
    if hint and os.environ.get("CI"):
        pytest.fail(f"CI may not skip the proof across processors. {hint} (.ci/run does)")
    if hint or not processors.emulated():
        pytest.skip(f"the proof across processors was NOT run. {hint or 'This machine is arm64 itself.'}")


class Runs:
    """All runs of this file, two at a time, the longest first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.jobs: dict[str, Future[dict[str, str]]] = {}
        (folder / "recipe").mkdir()
        recipe = write_recipe(folder / "recipe")

        def whole(name: str, model: str, processor: processors.Processor) -> dict[str, str]:
            return run_sample(recipe, folder / name, model, processor, together=processor.model is not None)

        def without_padding(name: str) -> dict[str, str]:
            make_sample(recipe, folder / name, "dense", SMALL["dense"])
            stages = STAGES[: STAGES.index("train") + 1]
            return run_stages(HASWELL, folder / name, root=ROOT, stages=stages, together=True, before=WITHOUT_PADDING)

        with ThreadPoolExecutor(2) as pool:

            def start(name: str, job: Callable[..., dict[str, str]], *arguments: object) -> None:
                self.jobs[name] = pool.submit(job, name, *arguments)

            for model in reversed(SMALL):
                for processor in (*reversed(EMULATED), NATIVE[1]):
                    start(f"{model} on {processor.name}", whole, model, processor)
            start("without padding", without_padding)

    def hashes(self, name: str) -> dict[str, str]:
        """What a run gave; its error if it failed."""
        return self.jobs[name].result()


@pytest.fixture(scope="module")
def runs(needed: None, tmp_path_factory: pytest.TempPathFactory) -> Runs:  # noqa: ARG001 (it skips)
    return Runs(tmp_path_factory.mktemp("emulated"))


@pytest.mark.parametrize("processor", [processor.name for processor in EMULATED])
@pytest.mark.parametrize("model", SMALL)
def test_an_emulated_processor_gives_the_same_bytes(model: str, processor: str, runs: Runs) -> None:
    name = f"{model} on {processor}"
    assert runs.hashes(name) == runs.hashes(f"{model} on native")
    assert len(runs.hashes(name)) == 5 + 6 + 2 + 6
    assert recorded_deviations(runs.folder / name) == []


def test_without_padding_it_differs_and_the_difference_is_recorded(runs: Runs) -> None:
    assert runs.hashes("without padding")[MODEL] != runs.hashes("dense on native")[MODEL]
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
