"""The same bytes whatever runs the stages, and other bytes as soon as one of the settings is missing."""

import json
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from digits.common.cli import InputError
from digits.common.params import flatten, set_params, study_params
from digits.verify import processors
from digits.verify.processors import EMULATED, NATIVE, SAMPLES, Processor, make_sample, run_stages
from tests.support.hostile import HOSTILE
from tests.support.project import ROOT, recipe_params

pytestmark = pytest.mark.slow
MODEL = "data/model.keras"
TWO_THREADS = NATIVE[1]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the graph, the real digits and the parameters of the recipe, for `make_sample`."""
    root = tmp_path_factory.mktemp("recipe")
    (root / "data").mkdir()
    (root / "data" / "mnist.npz").symlink_to(ROOT / "data" / "mnist.npz")
    shutil.copy(ROOT / "dvc.yaml", root)
    recipe_params(root)
    return root


@pytest.fixture(scope="module")
def reference(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a native run of the four stages on two threads, on the sample of the proof."""
    folder = tmp_path_factory.mktemp("reference")
    make_sample(recipe, folder)
    run_stages(TWO_THREADS, folder, root=ROOT)
    return folder


@pytest.fixture(scope="module")
def hashes(reference: Path) -> dict[str, str]:
    return run_stages(TWO_THREADS, reference, root=ROOT, stages=())


def test_every_output_is_compared(hashes: dict[str, str]) -> None:
    assert len(hashes) == 5 + 6 + 2 + 6
    assert {MODEL, "metrics/scores.json", "metrics/worst.png"} <= set(hashes)


@pytest.fixture(scope="module")
def convnet_reference(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of the convnet."""
    folder = tmp_path_factory.mktemp("convnet")
    make_sample(recipe, folder, "convnet")
    run_stages(TWO_THREADS, folder, root=ROOT)
    return folder


@pytest.fixture(scope="module")
def convnet_hashes(convnet_reference: Path) -> dict[str, str]:
    return run_stages(TWO_THREADS, convnet_reference, root=ROOT, stages=())


def committed_table() -> dict[str, Any]:
    return dict(json.loads((ROOT / "bench" / "results" / "processors.json").read_text(encoding="utf-8")))


def test_the_committed_table_holds_these_hashes(
    recipe: Path, hashes: dict[str, str], convnet_hashes: dict[str, str], tmp_path: Path
) -> None:
    for model, of_recipe in (("dense", hashes), ("convnet", convnet_hashes)):
        params, runs = (committed_table()[model][name] for name in ("params", "runs"))
        expected = of_recipe
        if params != study_params(recipe / "params.yaml", model):  # a user's own
            root = Path(shutil.copytree(recipe, tmp_path / model, symlinks=True))
            set_params(root / "params.yaml", flatten(params))
            make_sample(root, tmp_path / f"sample of {model}", model)
            expected = run_stages(TWO_THREADS, tmp_path / f"sample of {model}", root=ROOT)
        assert {run["sha256"][MODEL] for run in runs} == {expected[MODEL]}
        assert {(run["name"], run["threads"]) for run in runs} == {(p.name, p.threads) for p in NATIVE + EMULATED}


def test_another_folder_user_locale_clock_and_shell_and_one_core(
    recipe: Path, reference: Path, hashes: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "thư mục khác"
    make_sample(recipe, folder)
    strange = {
        "TZ": "Pacific/Kiritimati",
        "LC_ALL": "tr_TR.UTF-8",
        "LANG": "tr_TR.UTF-8",
        "PYTHONHASHSEED": "12345",
        "HOME": str(tmp_path),
        "USER": "somebody",
    }
    one_core = "import os\nos.sched_setaffinity(0, [min(os.sched_getaffinity(0))])"
    assert run_stages(NATIVE[0], folder, root=ROOT, before=one_core, environment=HOSTILE | strange) == hashes
    assert (folder / MODEL).stat().st_mtime > (reference / MODEL).stat().st_mtime


def test_more_threads_than_cores(reference: Path, hashes: dict[str, str], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(reference, tmp_path / "copy"))
    (folder / MODEL).unlink()
    assert run_stages(NATIVE[2], folder, root=ROOT, stages=("train", "evaluate")) == hashes


@pytest.mark.parametrize("threads", [NATIVE[0], NATIVE[2]])
def test_the_convnet_on_another_number_of_threads(
    threads: Processor, convnet_reference: Path, convnet_hashes: dict[str, str], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(convnet_reference, tmp_path / "copy"))
    (folder / MODEL).unlink()
    assert run_stages(threads, folder, root=ROOT, stages=("train", "evaluate")) == convnet_hashes


CONTROLS = {
    "an L1 cache of 48 KiB": ("EIGEN_CACHE_SIZES = (32 * 2**10", "EIGEN_CACHE_SIZES = (48 * 2**10"),
    "the kernel of SSE4.1": ('_MAX_CPU_ISA": "AVX2"', '_MAX_CPU_ISA": "SSE41"'),
    "oneDNN's operations": ('ONEDNN_OPTS": "0"', 'ONEDNN_OPTS": "1"'),
    "two threads in an operation": ("intra_op_parallelism_threads(1)", "intra_op_parallelism_threads(2)"),
    "rsqrt": ("--xla_disable_hlo_passes=algsimp ", ""),
}


@pytest.mark.parametrize("control", CONTROLS)
def test_without_a_setting_the_model_differs(
    control: str, reference: Path, hashes: dict[str, str], tmp_path: Path
) -> None:
    assert train_without(control, reference, tmp_path) != hashes[MODEL]


@pytest.mark.parametrize("control", ["an L1 cache of 48 KiB", "the kernel of SSE4.1", "rsqrt"])
def test_without_a_setting_the_convnet_differs(
    control: str, convnet_reference: Path, convnet_hashes: dict[str, str], tmp_path: Path
) -> None:
    assert train_without(control, convnet_reference, tmp_path) != convnet_hashes[MODEL]


def train_without(control: str, reference: Path, tmp_path: Path) -> str:
    """The model's hash of a training with one of the settings changed."""
    old, new = CONTROLS[control]
    root = tmp_path / "root"
    for package in ("stages", "digits"):
        shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
    code = root / "digits" / "model" / "determinism.py"
    text = code.read_text(encoding="utf-8")
    assert old in text
    code.write_text(text.replace(old, new), encoding="utf-8")
    folder = Path(shutil.copytree(reference, tmp_path / "copy"))
    return run_stages(TWO_THREADS, folder, root=root, stages=("train",))[MODEL]


@pytest.fixture(scope="module")
def emulator() -> str:
    """The emulator. Its absence skips the proof for a user, and fails it in CI."""
    program = processors.emulator()
    if program is None and os.environ.get("CI"):
        pytest.fail("qemu-x86_64 is missing: CI may not skip the proof across processors (.ci/run installs it)")
    if program is None:
        pytest.skip("the proof across processors was NOT run: it needs qemu-x86_64 (Debian package qemu-user)")
    return program


WITHOUT_SETTINGS = """
import os
from digits.model import determinism
for name in determinism.ENVIRONMENT:
    os.environ.pop(name, None)  # another test may have set it in this process
def configure(*, seed, device="cpu"):
    import keras
    keras.utils.set_random_seed(seed)
    return []
determinism.configure = configure
"""


@pytest.fixture(scope="module")
def emulated(
    emulator: str, recipe: Path, reference: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, str]]:
    """Hashes of all stages on each emulated processor, and of two trainings without the settings; two at a time."""
    assert emulator
    folder = tmp_path_factory.mktemp("emulated")

    def whole(processor: Processor, model: str) -> dict[str, str]:
        sample = folder / f"{model} on {processor.name}"
        make_sample(recipe, sample, model)
        return run_stages(processor, sample, root=ROOT)

    def without_settings(processor: Processor) -> dict[str, str]:
        copy = Path(shutil.copytree(reference, folder / f"{processor.name} without"))
        return run_stages(processor, copy, root=ROOT, stages=("train",), before=WITHOUT_SETTINGS)

    with ThreadPoolExecutor(2) as pool:
        jobs = {
            f"{model} on {processor.name}": pool.submit(whole, processor, model)
            for model in SAMPLES
            for processor in EMULATED
        }
        jobs |= {f"{p.name} without": pool.submit(without_settings, p) for p in (TWO_THREADS, EMULATED[0])}
        return {name: job.result() for name, job in jobs.items()}


@pytest.mark.emulated
@pytest.mark.parametrize("name", [processor.name for processor in EMULATED])
def test_emulated_processors_give_the_same_bytes(
    name: str, emulated: dict[str, dict[str, str]], hashes: dict[str, str], convnet_hashes: dict[str, str]
) -> None:
    assert emulated[f"dense on {name}"] == hashes
    assert emulated[f"convnet on {name}"] == convnet_hashes


@pytest.mark.emulated
def test_without_the_settings_an_emulated_processor_differs(emulated: dict[str, dict[str, str]]) -> None:
    assert emulated["native without"][MODEL] != emulated["Intel Haswell without"][MODEL]


@pytest.mark.emulated
def test_the_emulator_shows_the_cache_that_it_is_given(emulator: str, tmp_path: Path) -> None:
    copy = tmp_path / "qemu"
    processors.with_l1_of_48_kib(Path(emulator), copy)
    changed = sum(a != b for a, b in zip(copy.read_bytes(), Path(emulator).read_bytes(), strict=True))
    assert 0 < changed <= 12  # two bytes in each of a few tables
    version = subprocess.run([copy, "--version"], capture_output=True, text=True, check=True)
    assert "qemu" in version.stdout


def test_an_emulated_processor_never_runs_natively(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processors, "emulator", lambda: None)
    make_sample(ROOT, tmp_path / "sample")
    with pytest.raises(InputError, match="expected QEMU's user emulator"):
        run_stages(processors.EMULATED[0], tmp_path / "sample", root=ROOT, stages=("load",))


def test_an_emulator_without_known_tables_is_refused(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"another program")
    with pytest.raises(InputError, match="expected the cache tables of QEMU"):
        processors.with_l1_of_48_kib(program, tmp_path / "copy")
