"""Write made-up results of all studies, and the documents that show them, into a project."""

import contextlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import waits
from bench.check import CARD
from bench.convnet import EXAMPLE, contestants
from bench.processors import STAGES, Processor, proof_params
from bench.speed import TARGETS, medians, ratios
from bench.study import data_hashes, describe
from bench.sweep import rank
from bench.tables import documents, filled
from digits.apps.card import write_card
from digits.apps.results import study_params
from dvcproof.runtime.document import read_mapping
from dvcproof.runtime.files import write_json
from tests.support.project import ROOT

#: The folder of results in a project.
RESULTS = Path("bench") / "results"

MACHINE = {"kind": "test-1-2-cores", "cpu": "Test 9000", "cores": 3, "vector": "avx2", "python": "3.11.1"}

FAULTS = {
    "faults": {"kill": {"injected": 9, "right": 7, "line": 2, "stuck": 0, "wrong": 0}},
    "control": {"kill": {"injected": 3, "right": 1, "line": 0, "stuck": 1, "wrong": 1}},
    "seconds": 61,
}

#: Three defects: the first is found, the second is missed for a stated reason, the third is found with a false alarm.
PROVER = {
    "defects": [
        {"kind": "input", "name": "a-file", "is_found": True, "found": {"check": "A [DP1]", "trace": "B [DP2]"}}
        | {"absent": {}, "missed": "", "false_alarms": {}},
        {"kind": "input", "name": "a-size", "is_found": False, "found": {}}
        | {"absent": {}, "missed": "it is not seen", "false_alarms": {}},
        {"kind": "output", "name": "a-line", "is_found": False, "found": {}}
        | {"absent": {"trace": "C [DP3]"}, "missed": "", "false_alarms": {"trace": "D [DP4]"}},
    ],
    "mended": [{"kind": "input", "name": "a-file-mended", "found": {}, "false_alarms": {}}],
    "clean": [
        {
            "kind": "smallest",
            "name": "small",
            "verbs": ["check", "verify", "trace", "vary"],
            "found": {"verify": "needs Git"},
            "false_alarms": {"vary": "E [DP5]"},
        }
    ],
}

#: Differences of each run in the study over seeds from the project's own run, which is the first.
OFFSETS = (0.0, 0.01, -0.01, 0.02, -0.02)


def write_results(project: Path) -> Path:
    """Write results of every study into a project whose stages have run, and return the folder of results.

    The results are valid for the project's parameters and data. In the study over seeds, the project's own run is the
    nearest to the mean.
    """
    folder, params = project / RESULTS, project / "params.yaml"
    (folder / "speed").mkdir(parents=True, exist_ok=True)
    with contextlib.chdir(project):
        data = {"data": data_hashes()}
    dense = study_params(params, "dense")
    write_json(folder / "seeds.json", {"params": study_params(params)} | data | _seeds(project))
    trained, convnet_trained = (study_params(params, model, scored=False) for model in ("dense", "convnet"))
    write_json(folder / "sweep.json", _sweep(trained, {"dense.units": ("8", "16")}) | data)
    write_json(folder / "convnet_sweep.json", _sweep(convnet_trained, {"convnet.warmup": ("0", "0.15")}) | data)
    counts = {"pictures": 5, "right": 4, "unsure": 1, "sure_and_wrong": 0}
    read = {"seen": {"clean paper": counts, "no digit": counts}, "kept": {"clean paper": counts, "askew": counts}}
    read["limits"] = {"validation": counts, "no digit": counts}
    write_json(folder / "pictures.json", {"params": study_params(params, scored=False)} | data | read)
    long = {"convnet.epochs": 90, "convnet.shift": 0.5, "evaluate.views": 11}
    study = {"machine": MACHINE, "params": convnet_trained, **data, "long": long, "contestants": _contestants()}
    write_json(folder / "convnet.json", study)
    (folder / "convnet.png").touch()
    again = [{"seed": 0, "test_accuracy": 0.9934, "seconds": 22.0, "sha256": "c7" * 32}]
    machines = [{"machine": MACHINE | {"kind": "test-2-2-cores"}, "runs": again}]
    write_json(folder / "convnet_whole.json", {"params": convnet_trained, **data, "machines": machines})
    proof = {model: {"params": proof_params(params, model), "runs": _runs(model)} for model in ("dense", "convnet")}
    write_json(folder / "processors.json", proof)
    write_json(
        folder / "speed" / f"{MACHINE['kind']}.json",
        {"machine": MACHINE, "params": dense, **data, "targets": TARGETS} | speed_results(),
    )
    write_json(folder / "waits.json", {"machine": MACHINE, "params": dense, **data} | _waits())
    write_json(folder / "workers.json", {"machine": MACHINE, "params": trained, **data, "runs": _workers()})
    write_json(folder / "large.json", {"params": dense, **data} | _large())
    write_json(folder / "faults.json", FAULTS | {"machine": MACHINE})
    write_json(folder / "prover.json", PROVER | {"machine": MACHINE})
    return folder


def edit_result(project: Path, name: str, change: Callable[[Any], object]) -> None:
    """Change the result of a study in a project; `change` gets the parsed JSON."""
    path = project / RESULTS / f"{name}.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    write_json(path, content)


def _seeds(project: Path) -> dict[str, Any]:
    """Return five runs: the project's own, and two on each side of it, so that its figures are the means."""
    scores, history = (
        json.loads((project / "metrics" / name).read_text(encoding="utf-8")) for name in ("scores.json", "history.json")
    )
    own = {
        "test_accuracy": scores["test"]["accuracy"],
        "train_accuracy": scores["train"]["accuracy"],
        "last_epoch_accuracy": history["last_epoch"]["accuracy"],
        "gap": scores["gap"]["accuracy"],
    }
    first = read_mapping(project / "params.yaml")["train"]["seed"]
    runs = [
        {"seed": first + number} | {name: value + offset for name, value in own.items()}
        for number, offset in enumerate(OFFSETS)
    ]
    return {name: describe([run[name] for run in runs]) for name in own} | {"runs": runs}


def _sweep(params: dict[str, dict[str, Any]], grid: dict[str, tuple[str, str]]) -> dict[str, Any]:
    """Return a sweep of one parameter with two values, on 100 validation images."""
    ((name, (worse, better)),) = grid.items()
    section, _, key = name.partition(".")
    rest = {other: value for other, value in params[section].items() if other != key}
    points = rank([({name: worse}, [0.8112, 0.8114]), ({name: better}, [0.9321, 0.9323])])
    return {"params": params | {section: rest, "preprocess": {"validation_size": 100}}, "points": points}


def _contestants() -> dict[str, Any]:
    found = {
        EXAMPLE: (0.9812, 31.0),
        "7": (0.9934, 22.0),
        "20": (0.9945, 63.0),
        "long": (0.9946, 90.0),
        "longx11": (0.9955, 90.0),
    }
    return contestants(
        {
            name: [{"seed": seed, "test_accuracy": accuracy + seed / 1000, "seconds": seconds} for seed in range(2)]
            for name, (accuracy, seconds) in found.items()
        }
    )


def _runs(model: str) -> list[dict[str, Any]]:
    hashes = {"data/model.keras": {"dense": "d0", "convnet": "c0"}[model] * 32}
    every = (
        Processor("native", 2),
        Processor("native, AVX2 alone", 2, isa="AVX2"),
        Processor("Intel Icelake-Server", 4, l1_kib=48, model="Icelake-Server"),
        Processor("arm64", 2, model="max", architecture="arm64"),
    )
    return [processor._asdict() | {"seconds": 5, "sha256": hashes} for processor in every]


def _large() -> dict[str, Any]:
    """Return the study of memory: with less memory, four stages take a third more time."""
    stages = {
        stage: {
            "free": {"wall": 30.0 * number, "cpu": 20.0 * number, "memory": 1000.0 * number},
            "held": {"wall": 40.0 * number, "cpu": 25.0 * number, "memory": 500.0 * number},
        }
        for number, stage in enumerate(STAGES, start=1)
    }
    size = {"times": 2, "images": 120_000, "limit": 2 * 10**9, "held_by": "a control group"}
    return (
        {"machine": MACHINE | {"memory": 8 * 10**9}}
        | size
        | {"stages": stages, "sha256": {"data/model.keras": "a0" * 32}}
    )


def _waits() -> dict[str, Any]:
    """Return the study of waits: two seconds for every wait, one second for every plain command."""
    ours = ("set-up", "first repro", "nothing", "predict", "test")
    seconds = dict.fromkeys(ours, 2.0) | dict.fromkeys(("pip", "script", "dvc repro", "import tensorflow"), 1.0)
    return {"seconds": seconds, "ratios": waits.ratios(seconds), "rounds": {}}


def _workers() -> list[dict[str, Any]]:
    """Return the runs of two networks on one worker and on two workers."""
    networks: tuple[dict[str, Any], ...] = ({"train.shards": 4}, {"train.shards": 4, "dense.units": 2048})
    return [
        {"values": values, "workers": count, "seconds": 9.6 * count, "exchanged": (count - 1) * 2 * 10**9}
        | {"sha256": f"a{number}" * 32}
        for number, values in enumerate(networks)
        for count in (1, 2)
    ]


def speed_results() -> dict[str, Any]:
    """Return the study of speed: times of three rounds for every measured part, and their ratios."""
    parts = [
        f"{part} x{times}{kind}"
        for part in ("load", "preprocess", "train")
        for times in (1, 4, 16)
        for kind in ("", " memory")
    ]
    parts += ["cold", *(f"cold {part}" for part in ("dvc", "load", "preprocess", "train", "evaluate"))]
    parts += ["script", "script fit", "naive", "fit", "efficiency", "status", "nothing", "parameter"]
    parts += ["arrays", *(f"arrays {part}" for part in ("load", "preprocess", "hash", "copy"))]
    times = medians(
        {
            name: [
                {"wall": time, "cpu": time, "user": time / 2}
                for time in ((1 + number / 10) * factor for factor in (1, 2, 4))
            ]
            for number, name in enumerate(parts)
        }
        | {"fit": [{"wall": 0.2, "cpu": 0.3}]}  # less than the time of the script in any round
    )
    return {"ratios": ratios(times), "times": times}


def write_documents(project: Path) -> None:
    """Write every document that has tables, and the model card, so that they show the project's results."""
    (project / "docs").mkdir(exist_ok=True)
    shutil.copy(ROOT / "pyproject.toml", project)
    with contextlib.chdir(project):
        for path, tables in places().items():
            path.write_text(document(*tables), encoding="utf-8")
            path.write_text(filled(path, Path.cwd()), encoding="utf-8")
        Path("docs/model-card.md").write_text(write_card(CARD), encoding="utf-8")


def places() -> dict[Path, list[str]]:
    """Return the documents of the real project that have places for tables, with the names of the tables."""
    found = {
        path.relative_to(ROOT): re.findall(r"^<!-- (\w+) -->$", path.read_text(encoding="utf-8"), re.MULTILINE)
        for path in documents(ROOT)
    }
    return {path: names for path, names in found.items() if names}


def document(*tables: str) -> str:
    """Return a document with empty places for these tables, and text around them."""
    places = [f"<!-- {name} -->\n<!-- /{name} -->" for name in tables]
    return "\n\nMore words.\n\n".join(["# A title", *places, "The end.\n"])
