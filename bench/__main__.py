"""Run a study, which writes results that are committed in bench/results and shown in the documents.

python -m bench NAME [OPTION ...]    an option replaces the study's own option of the same name
"""

import difflib
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import yaml

from dvcproof.runtime.program import InputError, run


class Study(NamedTuple):
    """A command that writes committed figures."""

    purpose: str
    command: str  # what follows `python -m`
    is_stage: bool = False  # whether it is a stage of bench/dvc.yaml


#: Commands that are not stages of bench/dvc.yaml.
COMMANDS = {
    "typical-seed": Study(
        "write the seed whose accuracy is nearest to the mean of `seeds` into params.yaml",
        "bench.seeds --take-typical bench/results/seeds.json",
    ),
    "faults": Study(
        "kill, fill, damage and race a small project, and attack the readers (forty minutes)",
        "bench.faults --kills 1000 --moments 60 --interrupts 20 --full 40 --places 10 --changes 100 --damages 1000 "
        "--pairs 15 --real 6 --inputs 20000 --processes 2 --minutes 40 "
        "--out bench/results/faults.json",
    ),
    "mutation": Study(
        "count which faults of a list the tests find: earlier bugs put back, and mutants (an hour)",
        "bench.mutation --faults bench/mutation.json --out mutation-results.json",
    ),
    "card": Study("write the model card", "digits card"),
    "tables": Study("write the tables of the READMEs and of docs/ from the committed results", "bench.tables"),
    "sbom": Study(
        "write sbom.cdx.json: every package of requirements.lock, with its hashes",
        "cyclonedx_py requirements --pyproject pyproject.toml --output-reproducible -o sbom.cdx.json requirements.lock",
    ),
    "stale": Study("renew each figure that `make check` calls stale (all of them take hours)", "bench.check --renew"),
}

#: Options that choose where a study is computed. They do not change its results.
WHERE = {"--jobs", "--scheduler"}


def studies() -> dict[str, Study]:
    """Return the stages of bench/dvc.yaml and the other commands, by name."""
    stages = yaml.safe_load(Path(__file__).with_name("dvc.yaml").read_text(encoding="utf-8"))["stages"]
    prefix = "cd .. && python -m "
    found = {name: Study(one["desc"], one["cmd"].removeprefix(prefix), True) for name, one in stages.items()}
    return found | COMMANDS


def commands_of(name: str, study: Study, given: Sequence[str]) -> list[list[str]]:
    """Return the commands that run a study: first the pipeline, then the study, then `dvc commit` of its results.

    Given options replace the study's own options of the same name.
    """
    options = {word.partition("=")[0] for word in given if word.startswith("-")}
    parts = [shlex.split(part) for part in re.split(r" (?=--)", study.command)]
    commands = [[word for part in parts if part[0] not in options for word in part] + [*given]]
    if study.is_stage and not {"-h", "--help"} & options:
        commands.insert(0, ["digits", "repro"])
    if study.is_stage and options <= WHERE:
        commands.append(["dvc", "--cd", "bench", "commit", "--quiet", "--force", name])
    return commands


def main() -> None:
    known = studies()
    if not sys.argv[1:] or sys.argv[1] in ("-h", "--help"):
        names = "\n".join(f"  {name:13} {study.purpose}" for name, study in known.items())
        sys.stdout.write(f"{__doc__}\n{names}\n")
        return
    name, *given = sys.argv[1:]
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"Did you mean `make study NAME={near[0]}`?" if near else "`python -m bench` lists the studies."
        raise InputError(name, "there is no study of this name", hint=hint)
    for words in commands_of(name, known[name], given):
        if status := subprocess.run([sys.executable, "-m", *words], check=False).returncode:
            sys.exit(status)


if __name__ == "__main__":
    run(main)
