"""A pipeline of four quick stages that rely on the same parts as the real stages.

These parts are DVC, the lock of packages, the watch of inputs, and outputs that appear complete or not at all.
"""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import yaml

from bench.processors import make_sample

ROOT = Path(__file__).resolve().parents[2]

#: The files that each stage reads and writes. The outputs of the last stage are in Git, not in DVC's cache.
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

#: The code of a stage. Its outputs are hashes of its parameters and inputs.
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


#: A program that does the same as `make repro` in a project with other parameters than this project's.
REPRO = """
import sys
from pathlib import Path

from dvc.cli import main
from dvcproof import doctor
from dvcproof.runtime.program import run

def repro():
    doctor.examine(Path.cwd())
    status = main(["repro"])
    doctor.examine(Path.cwd(), after=not status)
    sys.exit(status)

run(repro)
"""


def write(path: Path, *, watched: bool = True) -> None:
    """Write the files of the project; nothing has run yet.

    Args:
        path: a new folder.
        watched: whether the stages check that their inputs do not change while they run. False is for the control.
    """
    shutil.copytree(ROOT / "dvcproof", path / "dvcproof", ignore=shutil.ignore_patterns("__pycache__"))
    for name in (".gitignore", ".dvcignore"):
        shutil.copy(ROOT / name, path / name)
    # One package suffices here, since the check of packages is not under test.
    pin = re.findall(r"^pyyaml==.*\n(?: .*\n)*", (ROOT / "requirements.lock").read_text(encoding="utf-8"), re.MULTILINE)
    stages = {"stages": {name: _stage(name, watched=watched) for name in READS}}
    contents = {
        "stages/step.py": STEP,
        "stages/repro.py": REPRO,
        "data/source": "the source\n",
        "requirements.lock": pin[0],
        "dvc.yaml": yaml.safe_dump(stages),
        "params.yaml": params("first"),
    }
    for name, content in contents.items():
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_text(content, encoding="utf-8")


def write_real(path: Path) -> None:
    """Write the project with its real stages, on a small sample of the data."""
    make_sample(ROOT, path)
    for name in (".gitignore", ".dvcignore", *(f"data/{part}.gitignore" for part in ("", "raw/", "prepared/"))):
        (path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, path / name)
    for package in ("stages", "digits", "exactkeras", "dvcproof"):
        shutil.copytree(ROOT / package, path / package, ignore=shutil.ignore_patterns("__pycache__"))


def second(path: Path) -> None:
    """Change the parameters of all stages."""
    (path / "params.yaml").write_text(params("second"), encoding="utf-8")


def params(value: str) -> str:
    """Return the parameter file, with one value for all stages."""
    return yaml.safe_dump({name: {"value": value} for name in READS})


def _stage(name: str, *, watched: bool) -> dict[str, object]:
    runner = "dvcproof.runtime.run requirements.lock " if watched else ""
    outs: list[object] = list(WRITES[name])
    return {
        "cmd": f"python -m {runner}stages.step {name} {','.join(READS[name])} {','.join(WRITES[name])}",
        "deps": [*READS[name], "dvcproof/runtime", "requirements.lock", "stages/step.py"],
        "params": [name],
        **({"metrics": [{out: {"cache": False}} for out in outs]} if name == "evaluate" else {"outs": outs}),
    }


#: A file that changes while a stage runs, and a function that gives its new content; None: the file vanishes.
Change = tuple[str, Callable[[str], str] | None]


def changes(stage: str) -> list[Change]:
    """List the changes to inject while a stage runs."""
    ways = (lambda text: text.replace("e", "3"), lambda text: text + "x", None)
    return [
        *((path, how) for path in READS[stage] for how in ways),
        ("params.yaml", lambda _: params("third")),
        ("params.yaml", None),
        ("requirements.lock", lambda text: text + "# x\n"),
        ("requirements.lock", None),
        ("stages/step.py", lambda text: text + "# x\n"),
        ("dvcproof/runtime/files.py", lambda text: text + "# x\n"),
    ]
