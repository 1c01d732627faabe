"""Stale figures: each kind is found, with the command that renews it, and no valid figure is called stale."""

import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from dvc.repo import Repo

from bench import check
from bench.study import data_hashes
from dvcproof.runtime.program import InputError
from dvcproof.values import flatten, set_params
from tests.support.project import ROOT
from tests.support.results import RESULTS, edit_result

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # from DVC, about its own packages

Edit = Callable[[Path], object]

#: The studies that always use MNIST: other data do not make them stale.
OF_MNIST = {"convnet", "convnet-whole", "pictures", "large", "speed", "waits"}
STAGES = yaml.safe_load((ROOT / "bench" / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
DENSE = {"repro", "seeds", "processors", "workers", "pictures", "large", "speed", "waits", "card"}


@pytest.fixture
def project(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of the built project, which a test may make stale. It is the working directory."""
    project = shutil.copytree(built, tmp_path / "project")
    monkeypatch.chdir(project)
    for name in [name for name in os.environ if name.startswith(("DVC_", "GIT_"))]:
        monkeypatch.delenv(name)
    return project


def stale() -> dict[str, str]:
    """Return the names of the studies to run for `make study`, each with the first reason."""
    found = [*check.stale()]
    assert all(f"{one.name}{one.reason}".isprintable() for one in found)
    return {one.command.removeprefix("make ").removeprefix("study NAME="): one.reason for one in reversed(found)}


def params(**values: Any) -> Edit:
    """Return an edit of params.yaml, such as dense__units=64."""
    named = {name.replace("__", "."): value for name, value in values.items()}
    return lambda project: set_params(project / "params.yaml", named)


def result(name: str, change: Callable[[Any], object]) -> Edit:
    """Return an edit of a study's results; `change` gets the parsed JSON."""
    return lambda project: edit_result(project, name, change)


def text(name: str, old: str, new: str) -> Edit:
    """Return an edit that replaces a text in a file; an empty text is the end of the file."""

    def edit(project: Path) -> None:
        content = (project / name).read_text(encoding="utf-8")
        assert old in content, f"{old!r} is not in {name}"
        (project / name).write_text(content.replace(old, new) if old else content + new, encoding="utf-8")

    return edit


def data(project: Path) -> None:
    with np.load(project / "data" / "mnist.npz") as archive:
        arrays = dict(archive)
    np.savez_compressed(project / "data" / "mnist.npz", **(arrays | {"x_test": arrays["x_test"][::-1]}))


def other_run(project: Path) -> None:
    """Record a run on other data with the same file name."""
    text("dvc.lock", str(data_hashes()["train_images.npy"]), "a" * 32)(project)


SPEED = "speed/test-1-2-cores"
EDITS: dict[str, tuple[Edit, set[str]]] = {
    "nothing": (lambda _: None, set()),
    "dense.units": (params(dense__units=64), DENSE),  # the sweep varies this parameter
    "load.source": (
        params(load__source="data/other.npz"),
        {"repro", "seeds", "sweep", "convnet-sweep", "workers", "card"},
    ),
    "a result": (result("seeds", lambda it: it["test_accuracy"].update(std=0.5)), {"seeds", "tables", "card"}),
    "a table": (text("README.md", "98.17 %", "99.99 %"), {"tables"}),
    "train.seed": (params(train__seed=3), {"repro", "typical-seed", "card"}),
    "train.model": (params(train__model="convnet"), {"repro", "seeds", "pictures", "card"}),
    "convnet.filters": (params(convnet__filters=8), {"convnet", "convnet-whole", "convnet-sweep", "processors"}),
    "evaluate.views": (params(evaluate__views=3), DENSE - {"pictures", "workers"}),
    "code of a stage": (text("stages/train.py", "", "# more\n"), {"repro"}),
    "other code": (text("digits/apps/report.py", "", "# more\n"), set()),
    "data": (data, {"repro", *OF_MNIST}),
    "a run on other data": (other_run, {"repro", "seeds", "sweep", "convnet-sweep", "workers"}),
    "speed": (result(SPEED, lambda found: found["ratios"].update(cold=1.11)), {"speed", "tables"}),
    "a damaged result": (result("large", lambda study: study.pop("stages")), {"large", "tables"}),
    "a missing result": (lambda project: (project / RESULTS / "waits.json").unlink(), {"waits", "tables"}),
    "a command": (text("bench/dvc.yaml", "--seeds 10 ", "--seeds 20 "), {"seeds"}),
    "a list": (text("bench/prover.yaml", "k,v", "v,k"), {"prover"}),
    "words": (text("docs/speed.md", "More words.", "Other words."), set()),
    "the card": (text("docs/model-card.md", "## Description", "## Summary"), {"card"}),
}


@pytest.mark.fast(5)
@pytest.mark.parametrize("name", EDITS)
def test_an_edit_makes_only_its_own_figures_stale(project: Path, name: str) -> None:
    edit, expected = EDITS[name]
    edit(project)
    assert set(stale()) == expected, stale()


def recorded(root: Path) -> Iterator[tuple[str, Path, dict[str, Any], dict[str, Any]]]:
    """Yield each result of a study, with the parameters and the data that bench/dvc.lock records for it."""
    lock = yaml.safe_load((root / "bench" / "dvc.lock").read_text(encoding="utf-8"))["stages"]
    for name, stage in lock.items():
        outs = [root / "bench" / out["path"] for out in stage["outs"]]
        for path in [inner for out in outs for inner in (sorted(out.glob("*.json")) if out.is_dir() else [out])]:
            if path.suffix == ".json" and "params" in stage:
                yield name, path, flatten(stage["params"]["../params.yaml"]), stage["params"].get("../dvc.lock", {})


@pytest.mark.parametrize("here", ["the real project", "a project of the tests"])
def test_dvc_knows_what_each_result_says_it_was_made_with(built: Path, here: str) -> None:
    """So `dvc commit` cannot record a result of other parameters, and no new parameter is forgotten."""
    for name, path, known, locked in recorded(ROOT if here == "the real project" else built):
        content = json.loads(path.read_text(encoding="utf-8"))
        made_with: dict[str, Any] = {}
        for one in [content] if "params" in content else content.values():
            made_with |= flatten(one["params"])
        left_out = ["load.", "preprocess."] if name in OF_MNIST else []
        if "sweep" in name:
            left_out = ["preprocess.", *re.findall(r"--set ([\w.]+)=", STAGES[name]["cmd"])]  # set by the study itself
        left_out += ["train.model"] if "train.model" not in known else []  # set by the study itself
        assert {key: made_with[key] for key in made_with if not key.startswith(tuple(left_out))} == known, path
        hashes = {Path(out["path"]).name: out["md5"] for out in locked.get("stages.load.outs", [])}
        assert not hashes or content["data"].items() <= hashes.items(), path


def test_the_difference_is_named_with_both_values(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    params(dense__units=64)(project)
    found = stale()
    assert found["seeds"] == "it was made with dense.units = 16, and params.yaml has 64"
    assert found["repro"].endswith("parameter dense.units in params.yaml is not the recorded one")
    monkeypatch.setattr(sys, "argv", ["check"])
    with pytest.raises(SystemExit) as stop:
        check.main()
    *lines, last = str(stop.value.code).splitlines()
    assert len(lines) == len(DENSE)
    assert all(re.search(r": stale: .+[^.]\. Run `make [\w= -]+`\.$", line, re.IGNORECASE) for line in lines)
    assert last.startswith("ERROR: committed figures: 9 are stale. Run `make study NAME=stale`")
    assert capsys.readouterr().out == ""


def test_users_commands_do_not_see_the_studies(project: Path) -> None:
    result("seeds", lambda study: study.clear())(project)
    with Repo(".") as found:
        assert found.status() == {}
    with Repo("bench") as found:
        assert list(found.status()) == ["bench/dvc.yaml:seeds"]


CONVNET = "the convnet is not better than Keras's example in less time"
CLAIMS: list[tuple[Callable[[], str], Edit, str]] = [
    (check._seed, params(train__seed=99), "in the study over seeds, seed 0 is the nearest to the mean"),
    (check._seed, result("seeds", lambda study: study["runs"][0].update(test_accuracy=0.1)), "[12] is the nearest"),
    (check._same_run, text("metrics/scores.json", '"accuracy": 0.', '"accuracy": 0.1'), "have different accuracies"),
    (check._same_run, params(train__seed=3), ""),
    (check._convnet, result("convnet", lambda it: it["contestants"]["7"]["test_accuracy"].update(mean=0.98171)), ""),
    (check._convnet, result("convnet", lambda it: it["contestants"]["7"]["test_accuracy"].update(mean=0.9)), CONVNET),
    (check._convnet, result("convnet", lambda it: it["contestants"]["7"]["seconds"].update(mean=31.5)), CONVNET),
    (check._whole, result("convnet", lambda it: it["contestants"]["7"]["runs"][0].update(test_accuracy=1)), "differ"),
    (check._speed, result(SPEED, lambda found: found["ratios"].update(cold=1.19)), ""),
    (check._speed, result(SPEED, lambda found: found["ratios"].update(cold=1.21)), "a cold run takes as long"),
    (check._speed, result(SPEED, lambda found: found["times"]["fit"]["wall"].update(max=9)), "less time than `model"),
]


@pytest.mark.fast(4)
@pytest.mark.parametrize(("claim", "edit", "reason"), CLAIMS)
def test_a_claim_that_no_longer_holds(project: Path, claim: Callable[[], str], edit: Edit, reason: str) -> None:
    assert claim() == ""
    edit(project)
    assert re.search(reason or "^$", claim())


def test_damage_is_named_in_one_line(project: Path) -> None:
    (project / "dvc.lock").write_text("stages: [\n\t\x1b[31m")
    assert {"repro", "seeds", "sweep", "card"} <= set(stale())
    (project / "params.yaml").write_text("a: [")
    with pytest.raises(InputError, match=r"bench/dvc\.yaml: DVC cannot read it: .* `dvc --cd bench status` says more"):
        stale()


#: The files that the studies write which are stale in the test of renewal.
MADE = {"seeds": RESULTS / "seeds.json", "speed": RESULTS / f"{SPEED}.json", "card": Path("docs/model-card.md")}


def test_only_the_stale_are_renewed_in_order(project: Path, built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of `make`, a function copies the files from a fresh project."""
    calls: list[str] = []
    restored, status = False, 0

    def make(command: list[str], **_: object) -> SimpleNamespace:
        calls.append(command[-1].removeprefix("NAME="))
        if restored:
            shutil.copy(built / MADE[calls[-1]], MADE[calls[-1]])
        return SimpleNamespace(returncode=status)

    monkeypatch.setattr(check, "subprocess", SimpleNamespace(run=make, DEVNULL=None))
    result(SPEED, lambda found: found["params"]["dense"].update(units=2))(project)
    result("seeds", lambda study: study["runs"].reverse())(project)
    text("docs/model-card.md", "## Description", "## Summary")(project)
    with pytest.raises(InputError, match=r"still stale after `make study NAME=seeds`: .*See `make check`"):
        check.renew()
    status = 3
    with pytest.raises(InputError, match=r"make study NAME=seeds: it ended with exit status 3\. Run it by hand"):
        check.renew()
    restored, status = True, 0
    calls.clear()
    check.renew()
    assert calls == ["seeds", "speed", "card"]
    assert stale() == {}
