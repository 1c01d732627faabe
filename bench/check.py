"""Check that the committed figures belong to this project (`make check`). `make study NAME=stale` renews stale ones.

DVC decides whether a study is stale: bench/dvc.yaml names the parameters and data that its results are valid for.
This module also checks the run (as `make verify` does first), and the claims and tables in the documents.
"""

import argparse
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from dvc.dependency import ParamsDependency
from dvc.exceptions import DvcException
from dvc.repo import Repo

from bench.convnet import EXAMPLE
from bench.seeds import nearest_seed
from bench.study import PARAMS, read_result
from bench.tables import documents, filled
from bench.whole import accuracies, agrees
from digits.apps.card import write_card
from digits.apps.options import Files
from dvcproof.check import check as check_run
from dvcproof.messages import printable
from dvcproof.project import Project
from dvcproof.runtime.document import read_mapping
from dvcproof.runtime.program import InputError, on_terminal, run
from dvcproof.values import flatten

RESULTS = Path("bench") / "results"
Claim = tuple[str, str, Callable[[], str]]
CARD = Files()

#: A cold run takes about as long as the plain script if the ratio of the two times is between these limits.
ALIKE = (0.8, 1.2)


class Stale(NamedTuple):
    """A committed figure that does not belong to this project."""

    name: str
    reason: str
    command: str  # the command that renews the figure


def stale() -> Iterator[Stale]:
    """Yield stale figures in the order in which they can be renewed. Each is checked when the caller reaches it."""
    yield from _judged("metrics/ and dvc.lock", "make repro", _run)
    yield from list(_studies())
    tables: list[Claim] = [(str(path), "tables", partial(_document, path)) for path in documents(Path())]
    for name, study, problem in (*CLAIMS, *tables, ("docs/model-card.md", "card", _card)):
        yield from _judged(name, f"make study NAME={study}", problem)


def _judged(name: str, command: str, problem: Callable[[], str]) -> Iterator[Stale]:
    try:
        reason = problem()
    except InputError as error:
        reason = error.problem
    except Exception as error:  # damaged files raise exceptions of many kinds
        reason = f"a file is missing or damaged ({type(error).__name__}: {error})"
    if reason:
        yield Stale(name, printable(" ".join(reason.split()).rstrip(".")), command)


def _run() -> str:
    with Project.open(Path.cwd()) as project:
        errors = [one for one in check_run(project, linting=False).findings if one.level == "error"]
    return errors[0].message if errors else ""


def _studies() -> Iterator[Stale]:
    """Find the studies that `dvc --cd bench status` names.

    Raises:
        InputError: DVC cannot read bench/dvc.yaml, bench/dvc.lock or a file that they name.
    """
    try:
        with Repo("bench") as repo:
            for stage in repo.index.stages:
                name = ", ".join(f"bench/{out}" for out in stage.outs)
                yield from _judged(name, f"make study NAME={stage.name}", partial(_changed, stage))
    except DvcException as error:
        hint = "Correct the file: `dvc --cd bench status` says more."
        raise InputError("bench/dvc.yaml", f"DVC cannot read it: {error}", hint=hint) from None


def _changed(stage: Any) -> str:
    """Describe the first thing that has changed since a study ran; an empty text if nothing has."""
    if stage.changed_stage():
        return "its command in bench/dvc.yaml differs from that in bench/dvc.lock"
    for item in (*stage.deps, *stage.outs):
        if status := item.status():
            if not (isinstance(item, ParamsDependency) and isinstance(item.hash_info.value, dict) and item.exists):
                return f"{item} is {status[str(item)]}"
            old, new = (flatten(values, lists=True) for values in (item.hash_info.value, item.read_params()))
            name = next(name for name in {**old, **new} if old.get(name) != new.get(name))
            now = f"{Path(item.def_path).name} has {new.get(name, 'nothing')}"
            return f"it was made with {name} = {old.get(name, 'nothing')}, and {now}"
    return ""


def _seed() -> str:
    nearest = nearest_seed(read_result(RESULTS / "seeds.json"))
    is_typical = read_mapping(PARAMS)["train"]["seed"] == nearest
    return "" if is_typical else f"in the study over seeds, seed {nearest} is the nearest to the mean"


def _same_run() -> str:
    """Compare the committed run with the study's run of the same seed: code may have changed between them."""
    if _seed():
        return ""  # the committed run has another seed
    study, scores = read_result(RESULTS / "seeds.json"), read_result(Path("metrics/scores.json"))
    typical = next(one for one in study["runs"] if one["seed"] == nearest_seed(study))
    same = all(scores[split]["accuracy"] == typical[f"{split}_accuracy"] for split in ("test", "train"))
    return "" if same else "the run in metrics/ and the study have different accuracies for the same seed"


def _convnet() -> str:
    study = read_result(RESULTS / "convnet.json")
    ours, example = study["contestants"][str(study["params"]["convnet"]["epochs"])], study["contestants"][EXAMPLE]
    better = ours["test_accuracy"]["mean"] > example["test_accuracy"]["mean"]
    faster = ours["seconds"]["mean"] < example["seconds"]["mean"]
    return "" if better and faster else "the convnet is not better than Keras's example in less time"


def _whole() -> str:
    known = accuracies(read_result(RESULTS / "convnet.json"))
    same = all(agrees(one, known) for one in read_result(RESULTS / "convnet_whole.json")["machines"])
    return "" if same else "its accuracies differ from those in convnet.json"


def _speed() -> str:
    for path in sorted((RESULTS / "speed").glob("*.json")):
        measured = read_result(path)
        times, claim = measured["times"], ""
        if times["fit"]["wall"]["max"] >= times["script fit"]["wall"]["min"]:
            claim = "training takes less time than `model.fit`"
        elif not ALIKE[0] <= measured["ratios"]["cold"] <= ALIKE[1]:
            claim = "a cold run takes as long as the plain script"
        if claim:
            return f"the READMEs claim that {claim}, and {path.name} does not show it"
    return ""


#: Claims that documents make about results: the name of the claim, the study that renews it, and its check.
CLAIMS: tuple[Claim, ...] = (
    ("bench/results/seeds.json, the committed run", "seeds", _same_run),
    ("params.yaml, train.seed: a typical run", "typical-seed", _seed),
    ("bench/results/convnet.json, the claim", "convnet", _convnet),
    ("bench/results/convnet_whole.json, the accuracies", "convnet-whole", _whole),
    ("bench/results/speed, the claims", "speed", _speed),
)


def _document(path: Path) -> str:
    same = path.read_text(encoding="utf-8") == filled(path, Path.cwd())
    return "" if same else "its tables do not show the committed results"


def _card() -> str:
    same = Path("docs/model-card.md").read_text(encoding="utf-8") == write_card(CARD)
    return "" if same else "it does not show this run"


def renew() -> None:
    """Run the command of each stale figure, and no other.

    Raises:
        InputError: a command failed, or a figure is still stale.
    """
    for figure in stale():
        sys.stdout.write(f"{figure.name}: {figure.command}\n")
        sys.stdout.flush()
        quiet = None if on_terminal() else subprocess.DEVNULL
        if failed := subprocess.run(figure.command.split(), stdout=quiet, check=False).returncode:
            raise InputError(figure.command, f"it ended with exit status {failed}", hint="Run it by hand.")
    if left := next(stale(), None):
        raise InputError(left.name, f"still stale after `{left.command}`: {left.reason}", hint="See `make check`.")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.check", description=__doc__)
    parser.add_argument("--renew", action="store_true", help="run the command of each stale figure")
    if parser.parse_args().renew:
        renew()
        return
    if found := list(stale()):
        lines = [f"{figure.name}: stale: {figure.reason}. Run `{figure.command}`." for figure in found]
        hint = "Run `make study NAME=stale`, which runs these commands in this order."
        sys.exit("\n".join([*lines, f"ERROR: committed figures: {len(found)} are stale. {hint}"]))
    sys.stdout.write("check: ok, all committed figures belong to this project\n")


if __name__ == "__main__":
    run(main)
