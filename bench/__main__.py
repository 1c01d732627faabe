"""Run a study: what is committed in bench/results, and in the documents that show it.

python -m bench NAME [options that replace those of the study]
"""

import argparse
import shlex
import subprocess
import sys
from collections.abc import Sequence
from typing import NamedTuple

from dvcproof.runtime.program import run


class Study(NamedTuple):
    """A command that writes committed figures."""

    purpose: str
    command: str  # of Python
    on_run: bool = False  # whether the pipeline must have run


RESULTS = "bench/results"
STUDIES = {
    "seeds": Study(
        "train with ten seeds (five minutes)",
        f"bench.seeds --seeds 10 --data data --out {RESULTS}/seeds.json",
        on_run=True,
    ),
    "typical-seed": Study(
        "take the seed nearest to the mean of `seeds` into params.yaml", f"bench.typical_seed {RESULTS}/seeds.json"
    ),
    "sweep": Study(
        "compare settings of the dense network on validation images (six minutes)",
        f"bench.sweep --seeds 6 --validation 10000 --out {RESULTS}/sweep.json "
        "--set dense.units=128,256,512 --set dense.learning_rate=0.0003,0.001,0.003",
    ),
    "convnet": Study(
        "accuracy of the convnet against seconds, beside Keras's example (two hours; goes on if it is ended)",
        "bench.convnet --seeds 5 --epochs 1 2 3 --long convnet.epochs=20 evaluate.views=11 --long-seeds 10 "
        f"--data data --out {RESULTS}/convnet.json",
        on_run=True,
    ),
    "convnet-whole": Study(
        "train the convnet whole on this kind of machine: the model of others? (five minutes)",
        f"bench.whole --study {RESULTS}/convnet.json --seeds 2 --data data --out {RESULTS}/convnet_whole.json",
        on_run=True,
    ),
    "convnet-sweep": Study(
        "compare settings of the convnet (a quarter of an hour)",
        f"bench.sweep --seeds 3 --validation 10000 --out {RESULTS}/convnet_sweep.json "
        "--set convnet.warmup=0,0.15 --set convnet.distortion=0.1,0.15",
    ),
    "processors": Study(
        "train a sample on emulated processors (a quarter of an hour)",
        f"bench.processors --out {RESULTS}/processors.json",
    ),
    "workers": Study(
        "train on 1, 2 and 4 workers of this machine (five minutes)",
        "bench.workers --workers 1 2 4 --set train.shards=4 dense.epochs=1 "
        f"--larger dense.units=2048 dense.batch_size=512 --data data --out {RESULTS}/workers.json",
        on_run=True,
    ),
    "pictures": Study(
        "how pictures are read, by kind (twenty minutes)",
        f"bench.pictures --data data --digits 5 --held-out 10000 --out {RESULTS}/pictures.json",
        on_run=True,
    ),
    "large": Study(
        "64 times MNIST in 2 GiB of memory, and in all (ten minutes, 18 GB of disk)",
        f"bench.large --times 64 --memory 2048 --out {RESULTS}/large.json",
    ),
    "faults": Study(
        "kill, fill, damage and race a small project, and load the demo (forty minutes)",
        "bench.faults --kills 1000 --moments 60 --interrupts 20 --full 40 --places 10 --changes 100 --damages 1000 "
        "--pairs 15 --real 6 --inputs 20000 --requests 10000 --processes 2 --minutes 40 "
        f"--model data/model.keras --dataset data/raw/dataset.json --out {RESULTS}/faults.json",
        on_run=True,
    ),
    "mutation": Study(
        "do the tests find the faults of a list: mended ones put back, and mutants? (an hour)",
        "bench.mutation --faults bench/mutation.json --out mutation-results.json",
    ),
    "speed": Study(
        "speed and memory beside two baselines (twenty minutes, machine idle)",
        f"bench.speed --rounds 3 --out {RESULTS}/speed",
    ),
    "waits": Study(
        "what people wait for, beside plain commands (ten minutes, machine idle)",
        f"bench.waits --rounds 5 --out {RESULTS}/waits.json",
    ),
    "card": Study("write the model card", "digits card"),
    "tables": Study("write the tables of the READMEs and of docs/ from the committed results", "bench.tables"),
    "dependencies": Study(
        "write sbom.cdx.json, and the licences of all packages", "bench.dependencies --out docs/dependencies.md"
    ),
    "stale": Study(
        "renew each committed figure that `make check` calls stale (all of them take hours)", "bench.figures"
    ),
}


def words_of(study: Study, given: Sequence[str]) -> list[str]:
    """Return the words of a study's command, in which the options that are given replace those of their name."""
    parts: list[list[str]] = [[]]
    for word in shlex.split(study.command):
        if word.startswith("--"):
            parts.append([])
        parts[-1].append(word)
    replaced = {word.partition("=")[0] for word in given}
    return [word for part in parts if part[0] not in replaced for word in part] + [*given]


def main() -> None:
    names = "\n".join(f"  {name:13} {study.purpose}" for name, study in STUDIES.items())
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        usage="%(prog)s [-h] [NAME] ...",
        description=f"{__doc__}\n{names}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME", nargs="?", choices=STUDIES, help="one of these; none lists them")
    name = parser.parse_args(sys.argv[1:2]).name
    if name is None:
        parser.print_help()
        return
    study, given = STUDIES[name], sys.argv[2:]
    commands = [words_of(study, given)]
    if study.on_run and not {"-h", "--help"} & {*given}:
        commands.insert(0, ["digits", "repro"])
    for words in commands:
        if status := subprocess.run([sys.executable, "-m", *words], check=False).returncode:
            sys.exit(status)


if __name__ == "__main__":
    run(main)
