"""Which committed figures are stale, and the one command that renews each: `make check`, and `make study NAME=stale`.

A figure is stale when it was made with other parameters or data than those that are here, when the run was made with
other code or packages, when a document does not show what the committed results say, or when a claim no longer holds.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from bench import kinds
from bench.convnet import EXAMPLE
from bench.processors import proof_params
from bench.seeds import nearest_seed
from bench.study import PARAMS, data_hashes, on_whole_mnist
from bench.sweep import shared
from bench.tables import DOCUMENTS, filled
from bench.whole import accuracies, agrees
from digits.apps.card import write_card
from digits.apps.options import Files
from digits.params import read_document
from digits.study import study_params
from dvcproof.check import check
from dvcproof.messages import printable
from dvcproof.project import Project
from dvcproof.runtime import machine
from dvcproof.runtime.program import InputError, on_terminal, run
from dvcproof.values import flatten

RESULTS = Path("bench") / "results"
CARD = Files()


#: A cold run takes about as long as the plain script if the ratio of their times is within these.
ALIKE = (0.8, 1.2)


class Figure(NamedTuple):
    """Something committed that other committed things decide."""

    name: str  # its file, and what in it
    command: str  # that renews it
    problem: Callable[[], str]  # why it is stale; nothing if it is not


def figures() -> list[Figure]:
    """All of them, in an order in which they can be renewed: results before the documents that show them."""
    return [
        Figure("metrics/ and dvc.lock", "make repro", _run),
        Figure("bench/results/seeds.json", "make study NAME=seeds", lambda: _study("seeds.json")),
        Figure("bench/results/sweep.json", "make study NAME=sweep", lambda: _sweep("sweep.json")),
        Figure("bench/results/convnet.json", "make study NAME=convnet", _of_mnist(_convnet)),
        Figure("bench/results/convnet_whole.json", "make study NAME=convnet-whole", _of_mnist(_whole)),
        Figure(
            "bench/results/convnet_sweep.json", "make study NAME=convnet-sweep", lambda: _sweep("convnet_sweep.json")
        ),
        Figure("bench/results/processors.json", "make study NAME=processors", _processors),
        Figure(
            "bench/results/workers.json",
            "make study NAME=workers",
            lambda: _study("workers.json", "dense", scored=False),
        ),
        *(Figure(str(path), "make bench", _of_mnist(partial(_speed, path))) for path in _speeds()),
        Figure("bench/results/waits.json", "make study NAME=waits", _of_mnist(lambda: _study("waits.json", "dense"))),
        Figure("bench/results/large.json", "make study NAME=large", _of_mnist(lambda: _study("large.json", "dense"))),
        Figure(
            "bench/results/pictures.json",
            "make study NAME=pictures",
            _of_mnist(lambda: _study("pictures.json", scored=False)),
        ),
        Figure("params.yaml, train.seed: a typical run", "make study NAME=typical-seed", _seed),
        *(Figure(name, "make study NAME=tables", lambda name=name: _document(name)) for name in DOCUMENTS),  # type: ignore[misc]
        Figure("docs/model-card.md", "make study NAME=card", _card),
    ]


def stale(every: list[Figure]) -> Iterator[tuple[Figure, str]]:
    """The figures that are stale, each with the reason, found out when it is asked for."""
    for figure in every:
        reason = why(figure)
        if reason:
            yield figure, reason


def why(figure: Figure) -> str:
    """Why a figure is stale, in one line; nothing if it is not."""
    try:
        reason = figure.problem()
    except InputError as error:
        reason = error.problem
    except Exception as error:  # what reads a damaged file raises many kinds
        reason = f"it is missing or damaged ({type(error).__name__}: {error})"
    return printable(" ".join(reason.split()))


def _run() -> str:
    with Project.open(Path.cwd()) as project:
        errors = [one for one in check(project, linting=False).findings if one.level == "error"]
    return errors[0].message if errors else ""


def _read(name: str) -> dict[str, Any]:
    return dict(json.loads((RESULTS / name).read_text(encoding="utf-8")))


def _compared(study: dict[str, Any], params: dict[str, Any]) -> str:
    if study["params"] != params:
        old, new = flatten(study["params"]), flatten(params)
        name = next(name for name in {**old, **new} if old.get(name) != new.get(name))
        return f"it was made with {name} = {old.get(name, 'nothing')}, and params.yaml has {new.get(name, 'nothing')}"
    return "" if study["data"] == data_hashes() else "it was made with other data"


def _study(name: str, model: str | None = None, *, scored: bool = True) -> str:
    return _compared(_read(name), study_params(PARAMS, model, scored=scored))


def _of_mnist(problem: Callable[[], str]) -> Callable[[], str]:
    """Of a study that is of no other data: where the project has other data, it stays as it is."""
    return lambda: problem() if on_whole_mnist(PARAMS) else ""


def _sweep(name: str) -> str:
    study = _read(name)
    swept, validation = study["points"][0]["values"], study["params"]["preprocess"]["validation_size"]
    return _compared(study, shared(swept, validation))


def _speeds() -> list[Path]:
    """The results of the kinds of machines; that of this one, if there are none."""
    return kinds.kept(RESULTS) or [RESULTS / "speed" / f"{machine.kind()}.json"]


def _speed(path: Path) -> str:
    if not path.exists() and path not in _speeds():
        return ""  # `make bench` on another kind of machine has removed it
    name = f"speed/{path.name}"
    if found := _study(name, "dense"):
        return found
    measured = _read(name)
    times = measured["times"]
    if times["fit"]["wall"]["max"] >= times["script fit"]["wall"]["min"]:
        return "the READMEs claim that training takes less time than `model.fit`"
    alike = ALIKE[0] <= measured["ratios"]["cold"] <= ALIKE[1]
    return "" if alike else "the READMEs claim that a cold run takes about as long as the plain script"


def _convnet() -> str:
    if found := _study("convnet.json", "convnet", scored=False):
        return found
    contestants = _read("convnet.json")["contestants"]
    ours, example = contestants[str(read_document(PARAMS)["convnet"]["epochs"])], contestants[EXAMPLE]
    better = ours["test_accuracy"]["mean"] > example["test_accuracy"]["mean"]
    quicker = ours["seconds"]["mean"] < example["seconds"]["mean"]
    return "" if better and quicker else "params.yaml claims that it is better than Keras's example in less time"


def _whole() -> str:
    if found := _study("convnet_whole.json", "convnet", scored=False):
        return found
    known, machines = accuracies(_read("convnet.json")), _read("convnet_whole.json")["machines"]
    return "" if all(agrees(one, known) for one in machines) else "convnet.json has other accuracies of these seeds"


def _seed() -> str:
    """The claim of params.yaml about its seed, and that the committed run is the run of this seed in the study."""
    document, study = read_document(PARAMS), _read("seeds.json")
    seed = nearest_seed(study)
    if document["train"]["seed"] != seed:
        return f"of the study over seeds, {seed} is the nearest to the mean"
    nearest = next(one for one in study["runs"] if one["seed"] == seed)
    scores = json.loads(Path("metrics/scores.json").read_text(encoding="utf-8"))
    found = scores["test"]["accuracy"], scores["train"]["accuracy"]
    return (
        "" if found == (nearest["test_accuracy"], nearest["train_accuracy"]) else "the run in metrics/ is another one"
    )


def _processors() -> str:
    proof = _read("processors.json")
    for model, found in proof.items():
        if found["params"] != proof_params(PARAMS, model):
            return f"it was made with other parameters of {model} than params.yaml has"
    return ""


def _document(name: str) -> str:
    if Path(name).read_text(encoding="utf-8") == filled(name, Path.cwd()):
        return ""
    return "its tables do not show what the committed results say"


def _card() -> str:
    card = write_card(CARD)
    return "" if Path("docs/model-card.md").read_text(encoding="utf-8") == card else "it does not show this run"


def renew() -> None:
    """Run the command of each stale figure, and of no other.

    Raises:
        InputError: a command failed, or what it made is still stale.
    """
    for figure, reason in stale(figures()):
        sys.stdout.write(f"{figure.name}: {figure.command}\n")
        sys.stdout.flush()
        quiet = None if on_terminal() else subprocess.DEVNULL
        failed = subprocess.run(figure.command.split(), stdout=quiet, check=False).returncode
        if failed or why(figure):
            received = f"exit status {failed}" if failed else why(figure)
            hint = "See what it printed." if failed else "Commit what was changed by hand first."
            raise InputError(figure.command, expected=f"{figure.name} renewed ({reason})", received=received, hint=hint)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.figures", description=__doc__)
    parser.add_argument("--check", action="store_true", help="renew nothing, and fail if a figure is stale")
    args = parser.parse_args()
    if not args.check:
        renew()
        return
    lines = [
        f"{figure.name}: stale: {reason.rstrip('.')}. Run `{figure.command}`." for figure, reason in stale(figures())
    ]
    if lines:
        lines.append(
            f"ERROR: committed figures: expected all as the project is. Got {len(lines)} stale. "
            "Run `make study NAME=stale`, which runs these commands in this order."
        )
        sys.exit("\n".join(lines))
    sys.stdout.write(f"check: ok, {len(figures())} figures are as the project is\n")


if __name__ == "__main__":
    run(main)
