"""All ways in which this machine runs the stages give the same bytes; without a setting the bytes differ."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from bench import processors
from bench.processors import (
    CAPPED,
    EMULATED,
    HERE,
    NATIVE,
    SAMPLES,
    Processor,
    calls,
    make_sample,
    run_code,
    run_stages,
)
from dvcproof.runtime import machine
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
    one_core = "import os\nos.sched_setaffinity(0, [min(os.sched_getaffinity(0))])"
    found = run_stages(ONE_THREAD, folder, root=ROOT, before=one_core, environment=HOSTILE | strange)
    assert found == hashes["dense"]
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


class Control(NamedTuple):
    """A change in the code, and where it shows in the results of a training."""

    file: str  # the file in exactkeras to change
    old: str
    new: str
    model: str
    processor: Processor


SETTINGS = {
    "oneDNN's graph operations": Control("determinism.py", 'ONEDNN_OPTS": "0"', 'ONEDNN_OPTS": "1"', "convnet", CAPPED),
    "four threads in an operation": Control(
        "determinism.py", "intra_op_parallelism_threads(1)", "intra_op_parallelism_threads(4)", "convnet", FOUR_THREADS
    ),
    "rewritten arithmetic": Control(
        "determinism.py", '"arithmetic_optimization": False', '"arithmetic_optimization": True', "convnet", TWO_THREADS
    ),
    "padding": Control("arithmetic.py", "if not missing:", "if True:", "dense", CAPPED),
}


@pytest.mark.skipif(HERE != "x86-64", reason="shown with kernels for x86-64")
@pytest.mark.parametrize("setting", SETTINGS)
def test_without_a_setting_the_model_differs(
    setting: str, references: dict[str, Path], hashes: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    """A missing padding is also recorded, as a product that is not the defined chain."""
    control = SETTINGS[setting]
    assert train_with(control, references, tmp_path)[MODEL] != hashes[control.model][MODEL]
    reasons = recorded_deviations(tmp_path / "copy")
    assert setting != "padding" or (reasons and all("are not the defined chain" in reason for reason in reasons))


def train_with(control: Control, references: dict[str, Path], tmp_path: Path) -> dict[str, str]:
    """Train again with the change, in a copy of the reference, and return the hashes."""
    root = tmp_path / "root"
    for package in ("stages", "digits", "exactkeras", "dvcproof"):
        shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
    code = root / "exactkeras" / control.file
    text = code.read_text(encoding="utf-8")
    assert text.count(control.old) == 1
    code.write_text(text.replace(control.old, control.new), encoding="utf-8")
    folder = Path(shutil.copytree(references[control.model], tmp_path / "copy"))
    return run_stages(control.processor, folder, root=root, stages=("train",))


def test_what_is_missing_to_emulate_is_to_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processors, "HERE", "x86-64")
    monkeypatch.setattr(shutil, "which", lambda program: f"/usr/bin/{program}")
    (tmp_path / "requirements.lock").write_text("tensorflow==2.21.0\n", encoding="utf-8")
    python = processors.arm64_python(tmp_path)
    python.parent.mkdir(parents=True)
    shutil.copy(tmp_path / "requirements.lock", python.parent)
    assert processors.missing(tmp_path) == "Run `make .venv/arm64/python`."
    python.touch()
    assert processors.missing(tmp_path) == ""
    (tmp_path / "requirements.lock").write_text("tensorflow==2.22.0\n", encoding="utf-8")
    assert processors.missing(tmp_path) == "Run `make .venv/arm64/python`."
    monkeypatch.setattr(shutil, "which", lambda program: None if program == "qemu-aarch64" else program)
    assert processors.missing(tmp_path) == "Install qemu-user."
    monkeypatch.setattr(processors, "HERE", "arm64")  # arm64 emulates no other processor
    assert (processors.emulated(), processors.missing(tmp_path)) == ((), "")


def test_with_avx_512_the_stages_run_with_avx2_too(monkeypatch: pytest.MonkeyPatch) -> None:
    for flags, expected in ((["avx2", "avx512f"], (*NATIVE, CAPPED)), (["avx2"], NATIVE)):
        monkeypatch.setattr(machine, "cpu_flags", lambda flags=flags: flags)
        assert processors.natively() == expected


def test_an_emulated_processor_never_runs_natively(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processors, "emulator", lambda _: None)
    for processor in EMULATED:
        with pytest.raises(InputError, match="expected QEMU's user emulator"):
            run_code(processor, tmp_path, "", root=ROOT)
    (tmp_path / "program").write_bytes(b"another program")
    with pytest.raises(InputError, match="expected the cache tables of QEMU"):
        processors.with_l1_of_48_kib(tmp_path / "program", tmp_path / "copy")


def test_the_first_failure_ends_the_proof(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[Path] = []

    def fail(processor: Processor, folder: Path, **_: Any) -> dict[str, str]:
        begun.append(folder)
        raise RuntimeError(f"train on {processor.name}")

    monkeypatch.setattr(processors, "run_stages", fail)
    with pytest.raises(RuntimeError, match="train on native"):
        processors.prove((*NATIVE, *EMULATED), root=recipe)
    assert len(begun) < len(SAMPLES) * len((*NATIVE, *EMULATED))


def make_arm64(folder: Path, **scripts: str) -> subprocess.CompletedProcess[str]:
    """Run the script that unpacks an arm64 Python into `folder`, with these shell scripts in place of programs."""
    lock, path = folder.parent / "requirements.lock", folder.parent / "bin"
    lock.write_text("tensorflow==2.21.0\n", encoding="utf-8")
    path.mkdir()
    for name, text in scripts.items():
        (path / name.replace("_", "-")).write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        (path / name.replace("_", "-")).chmod(0o755)
    variables = {"PATH": f"{path}{os.pathsep}{os.environ['PATH']}" if "pip" in scripts else str(path)}
    command = [str(shutil.which("bash")), str(ROOT / "bench" / "arm64.sh"), str(folder), str(lock)]
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)


def test_what_unpacking_needs_is_named(tmp_path: Path) -> None:
    result = make_arm64(tmp_path / "arm64", uname="echo x86_64", id="echo 1000", realpath='echo "$1"')
    expected = "ERROR: expected qemu-aarch64 and debootstrap. One is missing. Install qemu-user and debootstrap.\n"
    assert (result.returncode, result.stderr) == (1, expected)
    assert not (tmp_path / "arm64").exists()


@pytest.mark.parametrize("failing", ["debootstrap", "pip"])
def test_unpacking_that_fails_leaves_no_python(failing: str, tmp_path: Path) -> None:
    folder = tmp_path / "arm64"
    folder.mkdir()
    (folder / "python").touch()  # left by an earlier lock
    if failing == "pip":
        (folder / "root").mkdir()
    working = {"uname": "echo x86_64", "qemu_aarch64": "echo 3.11", "debootstrap": "", "pip": ""}
    result = make_arm64(folder, **working | {failing: "echo no network >&2; exit 1"})
    assert result.returncode == 1
    assert not (folder / "python").exists()
    assert (folder / "root").exists() is (failing == "pip")
