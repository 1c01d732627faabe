"""A pipeline of four quick stages, built on the parts that carry the real ones: DVC, the lock of packages, the watch of
inputs, and files that appear whole.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]

#: What each stage reads and writes. The outputs of the last are in Git, not in DVC's cache.
READS = {
    "load": ["data/source"],
    "preprocess": ["data/raw/images", "data/raw/labels"],
    "train": ["data/prepared/features", "data/prepared/labels"],
    "evaluate": ["data/model", "data/history", "data/prepared/labels"],
}
WRITES = {
    "load": ["data/raw/images", "data/raw/labels"],
    "preprocess": ["data/prepared/features", "data/prepared/labels"],
    "train": ["data/model", "data/history"],
    "evaluate": ["metrics/scores.json", "metrics/history.json"],
}

#: A stage: its outputs are hashes of all that it reads.
STEP = """
import hashlib, json, os, pathlib, sys

import yaml

from dvcproof.runtime.files import replacing
from dvcproof.runtime.watch import see_file, see_params

def section(path):
    return yaml.load(path.read_bytes(), yaml.CSafeLoader)

name, (reads, writes) = sys.argv[1], (text.split(",") for text in sys.argv[2:4])
params = pathlib.Path("params.yaml")
values = {name: section(params)[name]}
see_params(params, values, section)
content = json.dumps(values)
for read in map(pathlib.Path, reads):
    see_file(read)
    content += hashlib.sha256(read.read_bytes()).hexdigest()
with replacing(*map(pathlib.Path, writes)) as files:
    for number, file in enumerate(files):
        word = hashlib.sha256(f"{number}{content}".encode()).hexdigest()
        file.write_text(json.dumps({"test": {"accuracy": 0.5}, "text": word * 100}) + "\\n")
"""


def write(path: Path, *, watched: bool = True) -> None:
    """Write the files of the project; nothing has run yet.

    Args:
        path: a new folder.
        watched: whether the stages make sure that what they have read does not change; without it, as a control.
    """
    (path / "data").mkdir(parents=True)
    (path / "stages").mkdir()
    for package in ("digits", "dvcproof"):
        shutil.copytree(ROOT / package, path / package, ignore=shutil.ignore_patterns("*cache*"))
    for name in (".gitignore", ".dvcignore"):
        shutil.copy(ROOT / name, path / name)
    (path / "stages" / "step.py").write_text(STEP, encoding="utf-8")
    (path / "data" / "source").write_text("the source\n", encoding="utf-8")
    (path / "requirements.lock").write_text(_pin(), encoding="utf-8")
    stages = {"stages": {name: _stage(name, watched=watched) for name in READS}}
    (path / "dvc.yaml").write_text(yaml.safe_dump(stages), encoding="utf-8")
    (path / "params.yaml").write_text(params("first"), encoding="utf-8")


def write_unwatched(path: Path) -> None:
    """The same without the watch."""
    write(path, watched=False)


def second(path: Path) -> None:
    """Change the parameters of all stages."""
    (path / "params.yaml").write_text(params("second"), encoding="utf-8")


def params(value: str) -> str:
    """The parameter file, with one value for all stages."""
    return yaml.safe_dump({name: {"value": value} for name in READS})


def _pin() -> str:
    """One package of the project's lock: the check of all of them is not what is tried here."""
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines(keepends=True)
    start = next(number for number, line in enumerate(lines) if line.startswith("pyyaml=="))
    end = next(number for number in range(start + 1, len(lines)) if not lines[number].startswith(" "))
    return "".join(lines[start:end])


def _stage(name: str, *, watched: bool) -> dict[str, object]:
    words = [name, ",".join(READS[name]), ",".join(WRITES[name])]
    runner = "dvcproof.runtime.run requirements.lock " if watched else ""
    kind = "metrics" if name == "evaluate" else "outs"
    outs: list[object] = [{out: {"cache": False}} if kind == "metrics" else out for out in WRITES[name]]
    return {
        "cmd": f"python -m {runner}stages.step {' '.join(words)}",
        "deps": [*READS[name], "dvcproof/runtime", "requirements.lock", "stages/step.py"],
        "params": [name],
        kind: outs,
    }


Change = tuple[str, Callable[[str], str] | None]


def changes(stage: str) -> list[Change]:
    """What may change while a stage runs, and how: None for a file that vanishes."""
    files: list[Change] = [
        (path, how)
        for path in READS[stage]
        for how in (lambda text: text.replace("e", "3"), lambda text: text + "x", None)
    ]
    return [
        *files,
        ("params.yaml", lambda _: params("third")),
        ("params.yaml", None),
        ("requirements.lock", lambda text: text + "# x\n"),
        ("requirements.lock", None),
        ("stages/step.py", lambda text: text + "# x\n"),
        ("dvcproof/runtime/files.py", lambda text: text + "# x\n"),
    ]
