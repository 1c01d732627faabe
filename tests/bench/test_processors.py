"""All ways in which this machine runs the stages give the same bytes; without a setting the bytes differ."""

import json
import shutil
from pathlib import Path

import pytest

from bench import processors
from bench.processors import CAPPED, EMULATED, HERE, NATIVE, SAMPLES, STAGES, Processor, calls, make_sample, run_code
from dvcproof.runtime.program import InputError
from dvcproof.values import flatten, set_params
from tests.support.hostile import HOSTILE
from tests.support.processors import MODEL, SMALL, recorded_deviations, run_sample, run_sample_at_once, write_recipe
from tests.support.project import ROOT

pytestmark = pytest.mark.slow
ONE_THREAD, TWO_THREADS, FOUR_THREADS = NATIVE


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recipe(tmp_path_factory.mktemp("recipe"))


@pytest.fixture(scope="module")
def references(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return, for each network, the folder of a native run on the small sample: two threads, a process a stage."""
    folder = tmp_path_factory.mktemp("references")
    for model in SMALL:
        run_sample(recipe, folder / model, model, TWO_THREADS)
    return {model: folder / model for model in SMALL}


@pytest.fixture(scope="module")
def hashes(references: dict[str, Path]) -> dict[str, dict[str, str]]:
    return {model: processors.hashes(folder) for model, folder in references.items()}


@pytest.mark.parametrize("model", SMALL)
def test_every_output_is_compared(model: str, references: dict[str, Path], hashes: dict[str, dict[str, str]]) -> None:
    assert len(hashes[model]) == 5 + 6 + 2 + 6
    assert {MODEL, "metrics/scores.json", "metrics/worst.png"} <= set(hashes[model])
    assert recorded_deviations(references[model]) == []


@pytest.mark.parametrize("model", SMALL)
def test_the_committed_table_holds_what_is_computed(model: str, recipe: Path, tmp_path: Path) -> None:
    """The run uses the sample and parameters that the table records, since a user's own may differ."""
    table = json.loads((ROOT / "bench" / "results" / "processors.json").read_text(encoding="utf-8"))[model]
    runs = table["runs"]
    assert all(run["sha256"] == runs[0]["sha256"] for run in runs)
    made_on_x86_64 = runs[0]["architecture"] == "x86-64"
    expected = [(p.name, p.threads) for p in (*NATIVE, *(EMULATED if made_on_x86_64 else ()))]
    assert [(run["name"], run["threads"]) for run in runs if run["name"] != CAPPED.name] == expected
    root = Path(shutil.copytree(recipe, tmp_path / "recipe", symlinks=True))
    set_params(root / "params.yaml", flatten(table["params"]))
    size = {name: table[name] for name in SAMPLES[model]}
    make_sample(root, tmp_path / "sample", model, size)
    run_code(TWO_THREADS, tmp_path / "sample", calls(tmp_path / "sample"), root=ROOT)
    assert processors.hashes(tmp_path / "sample")[MODEL] == runs[0]["sha256"][MODEL]


def test_another_folder_user_locale_clock_and_shell_and_one_core(
    recipe: Path, references: dict[str, Path], hashes: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    folder = tmp_path / "thư mục khác"
    make_sample(recipe, folder, "dense", SMALL["dense"])
    strange = {
        "TZ": "Pacific/Kiritimati",
        "LC_ALL": "tr_TR.UTF-8",
        "LANG": "tr_TR.UTF-8",
        "PYTHONHASHSEED": "12345",
        "HOME": str(tmp_path),
        "USER": "somebody",
    }
    one_core = "import os\nos.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\n"
    for stage in STAGES:
        run_code(ONE_THREAD, folder, one_core + calls(folder, [stage]), root=ROOT, environment=HOSTILE | strange)
    assert processors.hashes(folder) == hashes["dense"]
    assert (folder / MODEL).stat().st_mtime > (references["dense"] / MODEL).stat().st_mtime


@pytest.mark.parametrize(
    ("model", "processor"),
    [
        pytest.param(model, processor, id=f"{model}-{processor.name}-{processor.threads}")
        for model in SMALL
        for processor in (ONE_THREAD, FOUR_THREADS, CAPPED)
    ],
)
def test_other_threads_and_instructions_give_the_same_bytes(
    model: str, processor: Processor, recipe: Path, hashes: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    if processor == CAPPED and CAPPED not in processors.natively():
        pytest.skip("this processor has no more than AVX2")
    assert run_sample_at_once(recipe, tmp_path / "sample", model, processor) == hashes[model]
    assert recorded_deviations(tmp_path / "sample") == []


#: For each setting that matters: the file in exactkeras, the edit that takes the setting back, and where that shows.
SETTINGS = {
    "oneDNN's graph operations": ("determinism.py", 'ONEDNN_OPTS": "0"', 'ONEDNN_OPTS": "1"', "convnet", CAPPED),
    "four threads in an operation": (
        "determinism.py",
        "intra_op_parallelism_threads(1)",
        "intra_op_parallelism_threads(4)",
        "convnet",
        FOUR_THREADS,
    ),
    "rewritten arithmetic": (
        "determinism.py",
        'c_optimization": False',
        'c_optimization": True',
        "convnet",
        TWO_THREADS,
    ),
    "padding": ("arithmetic.py", "if not missing:", "if True:", "dense", CAPPED),
}


@pytest.mark.skipif(HERE != "x86-64", reason="shown with kernels for x86-64")
@pytest.mark.parametrize("setting", SETTINGS)
def test_without_a_setting_the_model_differs(
    setting: str, references: dict[str, Path], hashes: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    """Train again in a copy of the reference. A missing padding is recorded as products that are not the chain."""
    file, old, new, model, processor = SETTINGS[setting]
    root = tmp_path / "root"
    for package in ("stages", "digits", "exactkeras", "dvcproof"):
        shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
    text = (root / "exactkeras" / file).read_text(encoding="utf-8")
    assert text.count(old) == 1
    (root / "exactkeras" / file).write_text(text.replace(old, new), encoding="utf-8")
    folder = Path(shutil.copytree(references[model], tmp_path / "copy"))
    run_code(processor, folder, calls(folder, ["train"]), root=root)
    assert processors.hashes(folder)[MODEL] != hashes[model][MODEL]
    reasons = recorded_deviations(folder)
    assert setting != "padding" or (reasons and all("are not the defined chain" in reason for reason in reasons))


def test_what_is_missing_to_emulate_is_to_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processors, "HERE", "x86-64")
    monkeypatch.setattr(shutil, "which", lambda program: f"/usr/bin/{program}")
    python = processors.arm64_python(tmp_path)
    python.parent.mkdir(parents=True)
    python.touch()
    for folder in (tmp_path, python.parent):
        (folder / "requirements.lock").write_text("tensorflow==2.21.0\n", encoding="utf-8")
    assert processors.missing(tmp_path) == ""
    (tmp_path / "requirements.lock").write_text("tensorflow==2.22.0\n", encoding="utf-8")
    assert processors.missing(tmp_path) == "Run `make .venv/arm64/python`."
    monkeypatch.setattr(shutil, "which", lambda program: None if program == "qemu-aarch64" else program)
    assert processors.missing(tmp_path) == "Install qemu-user."
    monkeypatch.setattr(processors, "HERE", "arm64")  # arm64 emulates no other processor
    assert (processors.emulated(), processors.missing(tmp_path)) == ((), "")


def test_an_emulated_processor_never_runs_natively(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processors, "emulator", lambda _: None)
    for processor in EMULATED:
        with pytest.raises(InputError, match="expected QEMU's user emulator"):
            run_code(processor, tmp_path, "", root=ROOT)
    (tmp_path / "program").write_bytes(b"another program")
    with pytest.raises(InputError, match="expected the cache tables of QEMU"):
        processors.with_l1_of_48_kib(tmp_path / "program", tmp_path / "copy")
