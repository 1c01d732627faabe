"""bench.figures: each kind of stale figure is found, with the command that renews it, and nothing else is."""

import contextlib
import io
import json
import os
import re
import shutil
import sys
import warnings
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

from bench import figures
from bench.study import ARRAYS, data_hashes
from digits.params import read_document
from dvcproof.runtime import machine
from dvcproof.runtime.program import InputError
from dvcproof.values import set_params
from tests.support.project import ROOT, Arrays, commit, run, run_ok
from tests.support.refusal import one_line, refusal
from tests.support.results import RESULTS, write_documents, write_results
from tests.support.verifying import small_project

RUN, SEED, CARD = "metrics/ and dvc.lock", "params.yaml, train.seed: a typical run", "docs/model-card.md"
SEEDS, SWEEP, CONVNET, WHOLE, CONVNET_SWEEP, PROCESSORS, WORKERS, SPEED, WAITS, LARGE, PICTURES = (
    str(RESULTS / f"{name}.json")
    for name in (
        *(
            "seeds",
            "sweep",
            "convnet",
            "convnet_whole",
            "convnet_sweep",
            "processors",
            "workers",
            "speed/test-1-2-cores",
            "waits",
            "large",
            "pictures",
        ),
    )
)

#: What renews each figure.
COMMANDS = {
    RUN: "make repro",
    SEEDS: "make study NAME=seeds",
    SWEEP: "make study NAME=sweep",
    CONVNET: "make study NAME=convnet",
    WHOLE: "make study NAME=convnet-whole",
    CONVNET_SWEEP: "make study NAME=convnet-sweep",
    PROCESSORS: "make study NAME=processors",
    WORKERS: "make study NAME=workers",
    SPEED: "make bench",
    WAITS: "make study NAME=waits",
    LARGE: "make study NAME=large",
    PICTURES: "make study NAME=pictures",
    SEED: "make study NAME=typical-seed",
    "README.md": "make study NAME=tables",
    "README.vi.md": "make study NAME=tables",
    "docs/convnet.md": "make study NAME=tables",
    "docs/experiments.md": "make study NAME=tables",
    "docs/reliability.md": "make study NAME=tables",
    "docs/pictures.md": "make study NAME=tables",
    "docs/reproducibility.md": "make study NAME=tables",
    "docs/scaling.md": "make study NAME=tables",
    "docs/speed.md": "make study NAME=tables",
    CARD: "make study NAME=card",
}

NO_HASH, NO_SHA = {"data/model.keras": "0" * 64}, {"sha256": "0" * 64}
OTHER_MD5 = "a" * 32
READMES = {"README.md", "README.vi.md"}

#: What shows each result, or claims something of it.
USES = {
    SEEDS: {SEED, *READMES, "docs/reproducibility.md", CARD},
    SWEEP: {"docs/experiments.md"},
    CONVNET: {*READMES, WHOLE, "docs/convnet.md", "docs/reproducibility.md", "docs/scaling.md"},
    WHOLE: {"docs/reproducibility.md"},
    CONVNET_SWEEP: {"docs/convnet.md"},
    PROCESSORS: {"docs/reproducibility.md"},
    WORKERS: {"docs/reproducibility.md", "docs/scaling.md"},
    SPEED: {"docs/scaling.md", "docs/speed.md"},
    WAITS: {"docs/speed.md"},
    LARGE: {"docs/speed.md"},
    PICTURES: {"docs/pictures.md"},
}

#: The results that record the arrays that they were made with.
WITH_DATA = (SEEDS, SWEEP, CONVNET, WHOLE, CONVNET_SWEEP, WORKERS, SPEED, WAITS, LARGE, PICTURES)

Edit = Callable[[Path], object]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, digits: Arrays) -> Path:
    """The small project with results and documents that belong to it: no figure is stale."""
    project = shutil.copytree(small_project(tmp_path_factory, digits), tmp_path_factory.mktemp("figures") / "project")
    write_results(project)
    write_documents(project)
    commit(project, "figures")
    return project


@pytest.fixture
def project(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the built project, to make stale; the working directory."""
    project = shutil.copytree(built, tmp_path / "project")
    monkeypatch.chdir(project)
    monkeypatch.setattr(machine, "kind", lambda: Path(SPEED).stem)
    for name in [name for name in os.environ if name.startswith(("DVC_", "GIT_"))]:
        monkeypatch.delenv(name)
    return project


@contextlib.contextmanager
def dvc_in_this_process() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of DVC about its own packages
        yield


def stale() -> dict[str, str]:
    """The stale figures of the working directory, each with the reason."""
    with dvc_in_this_process():
        return {figure.name: reason for figure, reason in figures.stale(figures.figures())}


def why(name: str) -> str:
    """Why a figure of the working directory is stale."""
    (figure,) = (figure for figure in figures.figures() if figure.name == name)
    with dvc_in_this_process():
        return figures.why(figure)


def check() -> tuple[int, str, list[str]]:
    """Exit status, output and lines of errors of `python -m bench.figures --check`."""
    output = io.StringIO()
    with mock.patch.object(sys, "argv", ["figures", "--check"]), contextlib.redirect_stdout(output):
        try:
            with dvc_in_this_process():
                figures.main()
        except SystemExit as stop:
            return 1, output.getvalue(), str(stop.code).splitlines()
    return 0, output.getvalue(), []


def edit_json(name: str, change: Callable[[Any], object]) -> Edit:
    """An edit of a JSON file of the project: `change` is given its content."""

    def edit(project: Path) -> None:
        content = json.loads((project / name).read_text(encoding="utf-8"))
        change(content)
        (project / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    return edit


def edit_text(name: str, old: str, new: str) -> Edit:
    """An edit of a text file of the project."""

    def edit(project: Path) -> None:
        text = (project / name).read_text(encoding="utf-8")
        assert old in text, f"{old!r} is not in {name}"
        (project / name).write_text(text.replace(old, new), encoding="utf-8")

    return edit


def overwrite(name: str, text: str) -> Edit:
    """An edit of a whole file."""
    return lambda project: (project / name).write_text(text, encoding="utf-8")


def remove(name: str) -> Edit:
    return lambda project: (project / name).unlink()


def edit_params(**values: Any) -> Edit:
    """An edit of params.yaml: dense__units=64."""
    return lambda project: set_params(
        project / "params.yaml", {name.replace("__", "."): value for name, value in values.items()}
    )


def edit_code(name: str) -> Edit:
    """Another version of a file of code."""
    return lambda project: (project / name).write_text((project / name).read_text() + "# more\n", encoding="utf-8")


def edit_data(project: Path) -> None:
    with np.load(project / "data" / "mnist.npz") as archive:
        arrays = dict(archive)
    np.savez_compressed(project / "data" / "mnist.npz", **(arrays | {"x_test": arrays["x_test"][::-1]}))


@pytest.mark.usefixtures("project")
def test_every_figure_has_its_command() -> None:
    assert {figure.name: figure.command for figure in figures.figures()} == COMMANDS


@pytest.mark.usefixtures("project")
def test_nothing_is_stale_where_all_figures_are_renewed() -> None:
    assert stale() == {}
    assert check() == (0, f"check: ok, {len(COMMANDS)} figures are as the project is\n", [])


@pytest.mark.fast(8)
@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (
            edit_params(dense__units=64),
            {RUN, SEEDS, PICTURES, PROCESSORS, WORKERS, SPEED, WAITS, LARGE, CARD},
        ),  # which the sweep varies
        (edit_params(dense__epochs=2), {RUN, SEEDS, PICTURES, SWEEP, PROCESSORS, WORKERS, SPEED, WAITS, LARGE, CARD}),
        (edit_params(train__seed=3), {RUN, SEED, CARD}),
        (
            edit_params(train__shards=1),
            {
                RUN,
                SEEDS,
                PICTURES,
                SWEEP,
                CONVNET,
                WHOLE,
                CONVNET_SWEEP,
                PROCESSORS,
                WORKERS,
                SPEED,
                WAITS,
                LARGE,
                CARD,
            },
        ),
        (edit_params(train__model="convnet"), {RUN, SEEDS, PICTURES, CARD}),
        (edit_params(convnet__filters=8), {CONVNET, WHOLE, CONVNET_SWEEP, PROCESSORS}),
        (edit_params(convnet__warmup=0.5), {CONVNET, WHOLE, PROCESSORS}),
        (edit_params(preprocess__validation_size=50), {RUN, SEEDS, WORKERS, CARD}),
        (edit_params(load__source="data/other.npz"), {RUN, SEEDS, SWEEP, CONVNET_SWEEP, WORKERS, CARD}),
        (
            edit_params(load__source="other.npz", dense__units=8),
            {RUN, SEEDS, SWEEP, CONVNET_SWEEP, PROCESSORS, WORKERS, CARD},
        ),
        (edit_params(class_names=list("abcdefghij")), {RUN, CARD}),
        (edit_params(evaluate__worst=20), {RUN, CARD}),
        (edit_params(evaluate__views=3), {RUN, SEEDS, PROCESSORS, SPEED, WAITS, LARGE, CARD}),  # which are scored
    ],
)
def test_a_changed_parameter(project: Path, edit: Edit, expected: Collection[str]) -> None:
    edit(project)
    assert set(stale()) == set(expected)


@pytest.mark.slow
def test_a_changed_parameter_is_named_with_both_values(project: Path) -> None:
    edit_params(dense__units=64)(project)
    found = stale()
    assert found[SEEDS] == found[SPEED] == "it was made with dense.units = 16, and params.yaml has 64"
    assert found[PROCESSORS] == "it was made with other parameters of dense than params.yaml has"
    assert found[RUN].endswith("parameter dense.units in params.yaml: expected 16, as in dvc.lock. Got 64")
    assert found[CARD] == "parameter 'dense.units' in params.yaml: expected 16, as in dvc.lock. Got 64"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("edit", "name", "reason"),
    [
        (edit_params(train__model="convnet"), SEEDS, "dense.optimizer = rmsprop, and params.yaml has nothing"),
        (edit_params(train__shards=1), SWEEP, "train.shards = 2, and params.yaml has 1"),
        (edit_params(dense__optimizer="sgd"), SWEEP, "dense.optimizer = rmsprop, and params.yaml has sgd"),
        (edit_params(convnet__filters=8), CONVNET, "convnet.filters = 24, and params.yaml has 8"),
        (edit_params(convnet__epochs=8), CONVNET, "convnet.epochs = 7, and params.yaml has 8"),
        (
            edit_params(load__source="data/other.npz"),
            SEEDS,
            "load.source = data/mnist.npz, and params.yaml has data/other",
        ),
        (
            edit_json(SEEDS, lambda study: study["params"]["dense"].pop("units")),
            SEEDS,
            "dense.units = nothing, and params.yaml has 16",
        ),
        (
            edit_json(SEEDS, lambda study: study["params"]["dense"].update(dropout=0.5)),
            SEEDS,
            "dense.dropout = 0.5, and params.yaml has nothing",
        ),
    ],
)
def test_the_first_parameter_that_differs_is_named(project: Path, edit: Edit, name: str, reason: str) -> None:
    edit(project)
    assert why(name).startswith(f"it was made with {reason}")


@pytest.mark.fast(2)
@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (edit_code("digits/scoring/metrics.py"), {RUN}),
        (edit_code("stages/train.py"), {RUN}),
        (edit_code("requirements.lock"), {RUN}),
        (edit_code("digits/apps/report.py"), set()),
        (edit_code("dvcproof/rerun.py"), set()),
        (edit_data, {RUN}),
    ],
)
def test_changed_code_and_data(project: Path, edit: Edit, expected: Collection[str]) -> None:
    edit(project)
    assert set(stale()) == set(expected)


@pytest.mark.fast(1)
@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (edit_json(SEEDS, lambda study: study["test_accuracy"].update(mean=0.5)), USES[SEEDS]),
        (edit_json(SEEDS, lambda study: study["test_accuracy"].update(std=0.5)), USES[SEEDS] - {SEED}),
        (edit_json(SEEDS, lambda study: study["gap"].update(mean=0.5)), {"docs/reproducibility.md"}),
        (edit_json(SWEEP, lambda study: study["points"][0].update(noise=False)), set()),  # the best in any case
        (edit_json(SWEEP, lambda study: study["points"][1].update(noise=True)), {"docs/experiments.md"}),
        (
            edit_json(CONVNET, lambda study: study["contestants"]["7"]["runs"][0].update(test_accuracy=0.99)),
            {WHOLE, "docs/reproducibility.md"},
        ),
        (
            edit_json(WHOLE, lambda found: found["machines"][0]["runs"][0].update(test_accuracy=0.99)),
            {WHOLE, "docs/reproducibility.md"},
        ),
        (edit_json(WHOLE, lambda found: found["machines"][0]["runs"][0].update(NO_SHA)), USES[WHOLE]),
        (edit_json(CONVNET_SWEEP, lambda study: study["points"].reverse()), {"docs/convnet.md"}),
        (
            edit_json(CONVNET, lambda study: study["contestants"]["7"]["test_accuracy"].update(mean=0.9999)),
            {*READMES, "docs/convnet.md"},
        ),
        (
            edit_json(CONVNET, lambda study: study["contestants"]["7"]["seconds"].update(mean=11)),
            {"docs/convnet.md", "docs/scaling.md"},
        ),
        (
            edit_json(PROCESSORS, lambda proof: proof["convnet"]["runs"][0].update(threads=8, sha256=NO_HASH)),
            {"docs/reproducibility.md"},
        ),
        (edit_json(SPEED, lambda found: found["ratios"].update(cold=1.11)), {"docs/speed.md"}),
        (edit_json(SPEED, lambda found: found["ratios"].update(cold=1.21)), {SPEED, "docs/speed.md"}),
        (edit_json(SPEED, lambda found: found["ratios"].update(cold=1.01)), {"docs/speed.md"}),
        (edit_json(SPEED, lambda found: found["times"]["fit"]["wall"].update(max=9)), {SPEED}),
        (edit_json(SPEED, lambda found: found["params"]["dense"].update(units=2)), {SPEED, "docs/scaling.md"}),
        (edit_json(WORKERS, lambda study: study["runs"][1].update(seconds=99)), USES[WORKERS]),
    ],
)
def test_a_changed_result(project: Path, edit: Edit, expected: Collection[str]) -> None:
    edit(project)
    assert set(stale()) == set(expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "array"),
    [
        *((name, "train_images.npy") for name in WITH_DATA),
        *((SEEDS, f"{part}.npy") for part in ("test_images", "test_labels", "train_labels")),
    ],
)
def test_a_result_of_other_data(project: Path, name: str, array: str) -> None:
    edit_json(name, lambda study: study["data"].update({array: OTHER_MD5}))(project)
    assert stale() == {name: "it was made with other data"}


@pytest.mark.slow
@pytest.mark.parametrize("change", [{"train_images.npy": None}, {"more.npy": OTHER_MD5}])
def test_a_result_of_fewer_or_more_arrays_is_of_other_data(project: Path, change: dict[str, str | None]) -> None:
    edit_json(SPEED, lambda study: study["data"].update(change))(project)
    assert why(SPEED) == "it was made with other data"


@pytest.mark.slow
def test_the_order_in_which_the_arrays_are_recorded_is_free(project: Path) -> None:
    edit_json(SPEED, lambda study: study.update(data=dict(reversed(study["data"].items()))))(project)
    assert stale() == {}


@pytest.mark.slow
@pytest.mark.parametrize("array", ARRAYS)
def test_a_run_on_other_data_makes_the_results_stale(project: Path, array: str) -> None:
    """The data set in the same place, under the same name, may be another one."""
    edit_text("dvc.lock", data_hashes()[array] or "", OTHER_MD5)(project)
    found = stale()
    assert {name for name, reason in found.items() if reason == "it was made with other data"} == set(WITH_DATA)
    assert set(found) == {RUN, *WITH_DATA}


@pytest.mark.slow
def test_other_images_kept_back_are_no_other_data(project: Path) -> None:
    """`preprocess` writes labels under the names that they have in the data set."""
    kept = "path: data/prepared/train_labels.npy\n      hash: md5\n      md5: "
    edit_text("dvc.lock", f"{kept}{data_hashes()['train_labels.npy']}", f"{kept}{OTHER_MD5}")(project)
    assert set(stale()) == {RUN}


def half(name: str) -> Edit:
    """An edit that leaves the first half of a file."""

    def edit(project: Path) -> None:
        content = (project / name).read_bytes()
        (project / name).write_bytes(content[: len(content) // 2])

    return edit


@pytest.mark.slow
@pytest.mark.parametrize("name", USES)
@pytest.mark.parametrize(
    ("damage", "error"),
    [
        (remove, "FileNotFoundError: "),
        (half, "JSONDecodeError: "),
        (lambda name: overwrite(name, ""), "JSONDecodeError: "),
        (lambda name: overwrite(name, "<<<<<<< HEAD\n"), "JSONDecodeError: "),
    ],
    ids=["missing", "cut short", "empty", "conflict"],
)
def test_a_missing_or_damaged_result(project: Path, name: str, damage: Callable[[str], Edit], error: str) -> None:
    damage(name)(project)
    found = stale()
    assert found[name].startswith(f"it is missing or damaged ({error}")
    assert set(found) == {name} | USES[name]


@pytest.mark.fast(1)
@pytest.mark.parametrize("name", USES)
@pytest.mark.parametrize("content", ["null", "1", '"text"', "[1]", '{"other": 1}'])
def test_a_result_that_is_something_else(project: Path, name: str, content: str) -> None:
    overwrite(name, content)(project)
    assert why(name).startswith("it is missing or damaged (")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "part"), [*((name, "params") for name in WITH_DATA), *((name, "data") for name in WITH_DATA)]
)
def test_a_result_that_does_not_say_what_it_is_of(project: Path, name: str, part: str) -> None:
    edit_json(name, lambda study: study.pop(part))(project)
    assert why(name) == f"it is missing or damaged (KeyError: '{part}')"


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_DATA)
def test_no_damage_ends_the_check(project: Path, name: str) -> None:
    """Whatever stands in the place of each part of a result, it is said in one line of a figure that uses it."""
    good = json.loads((project / name).read_text(encoding="utf-8"))
    others = USES[name] | {name}
    concerned = [figure for figure in figures.figures() if figure.name in others]
    assert not any(map(figures.why, concerned))
    values: list[Any] = [None, [], {}, "text", 1, [1]]
    for part in set(good) - {"targets", "machine", "rounds"}:
        for value in values:
            (project / name).write_text(json.dumps(good | {part: value}), encoding="utf-8")
            reasons = list(filter(None, map(figures.why, concerned)))
            assert reasons, (part, value)
            assert "".join(reasons).isprintable()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("metrics/scores.json", {RUN, SEED, *READMES, "docs/reproducibility.md", CARD}),
        ("metrics/history.json", {RUN, *READMES, "docs/reproducibility.md"}),
        ("docs/speed.md", {"docs/speed.md"}),
        (CARD, {CARD}),
        ("params.yaml", {RUN, SEED, CARD, *USES}),
    ],
)
def test_another_file_that_is_missing(project: Path, name: str, expected: Collection[str]) -> None:
    remove(name)(project)
    assert set(stale()) == set(expected)


@pytest.mark.slow
def test_a_damaged_lock_is_said_in_one_line_a_figure(project: Path) -> None:
    overwrite("dvc.lock", "stages: [\n\t\x1b[31m")(project)
    status, output, (*lines, last) = check()
    assert (status, output) == (1, "")
    assert [line.partition(": stale: ")[0] for line in lines] == [RUN, *WITH_DATA, CARD]
    assert all(line.isprintable() and ": expected a dvc.lock. Got a damaged file (" in line for line in lines)
    one_line(last)


def edit_seed(seed: int, offset: float) -> Edit:
    """Another run of a seed in the study: its test accuracy is the mean and an offset."""
    return edit_json(
        SEEDS, lambda study: study["runs"][seed].update(test_accuracy=study["test_accuracy"]["mean"] + offset)
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("edit", "nearest"),
    [
        (edit_params(train__seed=3), "0"),
        (edit_params(train__seed=99), "0"),  # not in the study
        (edit_seed(0, 0.3), "[12]"),
        (edit_seed(0, -0.3), "[12]"),
        (edit_seed(0, 0.0101), "[12]"),
        (edit_json(SEEDS, lambda study: study["test_accuracy"].update(mean=study["runs"][3]["test_accuracy"])), "3"),
        (edit_json(SEEDS, lambda study: study["test_accuracy"].update(mean=study["runs"][4]["test_accuracy"])), "4"),
    ],
)
def test_a_seed_that_is_not_the_nearest_to_the_mean(project: Path, edit: Edit, nearest: str) -> None:
    edit(project)
    assert re.fullmatch(rf"of the study over seeds, {nearest} is the nearest to the mean", why(SEED))


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "offset"), [(1, 0.3), (3, 0.0001), (4, -0.0001)])
def test_a_seed_that_is_still_the_nearest(project: Path, seed: int, offset: float) -> None:
    edit_seed(seed, offset)(project)
    assert stale() == {}


@pytest.mark.slow
def test_the_order_of_the_runs_in_the_study_is_free(project: Path) -> None:
    edit_json(SEEDS, lambda study: study["runs"].reverse())(project)
    assert stale() == {}


@pytest.mark.slow
@pytest.mark.parametrize("split", ["test", "train"])
def test_a_run_that_is_not_that_of_the_seed(project: Path, split: str) -> None:
    """The seed is the right one, but the study does not hold this run."""
    edit_json("metrics/scores.json", lambda scores: scores[split].update(accuracy=0.9999))(project)
    found = stale()
    assert set(found) == {RUN, SEED, *READMES, "docs/reproducibility.md", CARD}
    assert found[SEED] == "the run in metrics/ is another one"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("contestant", "kind", "mean", "holds"),
    [
        ("7", "test_accuracy", 0.9818, True),  # just above the example's
        ("7", "test_accuracy", 0.9817, False),
        ("7", "test_accuracy", 0.5, False),
        ("7", "seconds", 30.9, True),  # just below the example's
        ("7", "seconds", 31.0, False),
        ("7", "seconds", 99.0, False),
        ("example", "test_accuracy", 0.9999, False),
        ("example", "test_accuracy", 0.5, True),
        ("example", "seconds", 1.0, False),
        ("20", "test_accuracy", 0.5, True),  # of which nothing is claimed
        ("20", "seconds", 99.0, True),
    ],
)
def test_the_claim_about_the_convnet(project: Path, contestant: str, kind: str, mean: float, holds: bool) -> None:
    edit_json(CONVNET, lambda study: study["contestants"][contestant][kind].update(mean=mean))(project)
    assert why(CONVNET) == ("" if holds else "params.yaml claims that it is better than Keras's example in less time")


@pytest.mark.slow
def test_a_claim_is_not_made_of_a_study_with_other_epochs(project: Path) -> None:
    edit_json(CONVNET, lambda study: study["contestants"].pop("7"))(project)
    assert why(CONVNET) == "it is missing or damaged (KeyError: '7')"
    edit_params(convnet__epochs=20)(project)
    assert why(CONVNET) == "it was made with convnet.epochs = 7, and params.yaml has 20"


@pytest.mark.fast(1)
@pytest.mark.parametrize(
    ("name", "old", "new", "expected"),
    [
        ("README.md", "98.17 %", "99.99 %", {"README.md"}),  # of Keras's example
        ("README.vi.md", "98.17 %", "99.99 %", {"README.vi.md"}),
        ("docs/speed.md", "Test 9000", "Test 9001", {"docs/speed.md"}),
        ("docs/speed.md", "More words.", "Other words.", set()),
        ("README.md", "The end.", "98.17 %", set()),  # in no table
        (CARD, "## Description", "## Summary", {CARD}),
    ],
)
def test_a_document_that_was_edited(project: Path, name: str, old: str, new: str, expected: Collection[str]) -> None:
    edit_text(name, old, new)(project)
    assert set(stale()) == set(expected)


@pytest.mark.slow
def test_a_project_that_dvc_cannot_read_is_a_stale_run(project: Path) -> None:
    edit_text("dvc.yaml", "    - class_names\n", "    - klass_names\n")(project)
    assert stale()[RUN].startswith("DVC cannot read the project: Parameters 'klass_names' are missing")


def test_the_check_names_each_figure_and_one_command(project: Path) -> None:
    edit_params(dense__units=64)(project)
    status, output, (*lines, last) = check()
    assert status == 1
    assert output == ""
    for line, name in zip(lines, (RUN, SEEDS, PROCESSORS, WORKERS, SPEED, WAITS, LARGE, PICTURES, CARD), strict=True):
        assert line.startswith(f"{name}: stale: ")
        assert line.endswith(f". Run `{COMMANDS[name]}`.")
        assert ".. " not in line
        assert line.count("`make ") == line.count("Run `") == 1  # no hint of another program beside it
    assert one_line(last) == (
        "ERROR: committed figures: expected all as the project is. Got 9 stale. "
        "Run `make study NAME=stale`, which runs these commands in this order."
    )


#: A `make` that writes down what it is called with, and copies each file of its target from a project that is fresh.
MAKE = """#!/bin/sh
[ "$1" != study ] || set -- "${2#NAME=}"
echo "$*" >> "$MAKE_LOG"
[ "$1" = "$MAKE_FAILS" ] && exit 3
case "$1" in
  tables) files="README.md README.vi.md $(cd "$MAKE_GOOD" && ls docs/*.md | grep -v card)" ;;
  card) files=docs/model-card.md ;;
  bench) files=bench/results/speed/test-1-2-cores.json ;;
  repro) files="params.yaml dvc.lock metrics/scores.json" ;;
  typical-seed) files=bench/results/seeds.json ;;  # stands in for its run: the seed is typical again
  *) files="bench/results/$(echo "$1" | tr - _).json" ;;
esac
[ "$1" = "$MAKE_DOES_NOTHING" ] || for file in $files; do cp "$MAKE_GOOD/$file" "$file"; done
"""


@pytest.fixture
def make(tmp_path: Path, built: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Put another `make` first on the path, and give back what reads its calls."""
    log, program = tmp_path / "log", tmp_path / "bin" / "make"
    program.parent.mkdir()
    program.write_text(MAKE, encoding="utf-8")
    program.chmod(0o755)
    log.touch()
    for name, value in (("LOG", log), ("GOOD", built), ("FAILS", "none"), ("DOES_NOTHING", "none")):
        monkeypatch.setenv(f"MAKE_{name}", str(value))
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return lambda: log.read_text(encoding="utf-8").splitlines()


def renew() -> None:
    with dvc_in_this_process():
        figures.renew()


@pytest.mark.slow
@pytest.mark.usefixtures("project")
def test_nothing_stale_runs_nothing(make: Callable[[], list[str]]) -> None:
    renew()
    assert make() == []


def test_only_the_stale_are_renewed_in_order(project: Path, make: Callable[[], list[str]], capfd: Any) -> None:
    edit_json(SPEED, lambda found: found["params"]["dense"].update(units=2))(project)
    edit_json(SEEDS, lambda study: study["params"]["train"].update(shards=9))(project)
    edit_text(CARD, "## Description", "## Summary")(project)
    renew()
    assert make() == ["seeds", "bench", "card"]
    assert (
        capfd.readouterr().out == f"{SEEDS}: make study NAME=seeds\n{SPEED}: make bench\n{CARD}: make study NAME=card\n"
    )
    assert stale() == {}
    renew()
    assert len(make()) == 3


@pytest.mark.slow
def test_what_follows_from_a_renewed_figure_is_renewed(project: Path, make: Callable[[], list[str]]) -> None:
    """The documents show the old study: only after its renewal they are stale. One command writes all tables."""
    edit_json(SEEDS, lambda study: study["test_accuracy"].update(mean=0.5))(project)
    write_documents(project)
    edit_json(SEEDS, lambda study: study["params"]["train"].update(shards=9))(project)
    renew()
    assert make() == ["seeds", "tables", "card"]
    assert stale() == {}


@pytest.mark.slow
def test_a_changed_parameter_is_followed_by_a_run(project: Path, make: Callable[[], list[str]]) -> None:
    edit_params(dense__units=64)(project)
    renew()
    assert make() == ["repro"]  # here it takes the parameter back, so nothing else is stale after it
    assert stale() == {}


@pytest.mark.slow
@pytest.mark.parametrize("damage", [remove, half])
@pytest.mark.parametrize("name", USES)
def test_a_missing_or_damaged_result_is_renewed(
    project: Path, make: Callable[[], list[str]], name: str, damage: Callable[[str], Edit]
) -> None:
    damage(name)(project)
    renew()
    assert make() == [COMMANDS[name].removeprefix("make ").removeprefix("study NAME=")]
    assert stale() == {}


@pytest.mark.slow
def test_a_typical_seed_is_taken_before_the_tables(
    project: Path, make: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    edit_json(SEEDS, lambda study: study["test_accuracy"].update(mean=study["runs"][3]["test_accuracy"]))(project)
    write_documents(project)
    assert set(stale()) == {SEED}
    monkeypatch.setenv("MAKE_DOES_NOTHING", "typical-seed")
    with pytest.raises(
        InputError, match=r"^make study NAME=typical-seed: expected params\.yaml, train\.seed.* renewed \(of the study"
    ):
        renew()
    monkeypatch.setenv("MAKE_DOES_NOTHING", "none")
    renew()
    assert make() == ["typical-seed", "typical-seed", "tables", "card"]
    assert stale() == {}


@pytest.mark.slow
def test_a_result_of_other_data_is_renewed(project: Path, make: Callable[[], list[str]]) -> None:
    for name in (SPEED, SWEEP):
        edit_json(name, lambda study: study["data"].update({"test_labels.npy": OTHER_MD5}))(project)
    renew()
    assert make() == ["sweep", "bench"]
    assert stale() == {}


@pytest.mark.slow
def test_a_command_that_fails_ends_the_renewal(
    project: Path, make: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAKE_FAILS", "seeds")
    edit_json(SEEDS, lambda study: study["params"]["train"].update(shards=9))(project)
    edit_json(SPEED, lambda found: found["params"]["dense"].update(units=2))(project)
    with pytest.raises(
        InputError, match=r"^make study NAME=seeds: expected .*seeds\.json renewed .* Got exit status 3\. See what"
    ):
        renew()
    assert make() == ["seeds"]


@pytest.mark.slow
def test_a_figure_that_stays_stale_ends_the_renewal(
    project: Path, make: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAKE_DOES_NOTHING", "card")
    edit_text(CARD, "## Description", "## Summary")(project)
    with dvc_in_this_process():
        line = refusal(figures.main)
    assert line.startswith(
        f"ERROR: make study NAME=card: expected {CARD} renewed (it does not show this run). Got it does not show"
    )
    assert make() == ["card"]


def copy_of_the_work_tree(folder: Path) -> Path:
    """A new repository with all files that Git tracks here or could, as they are."""
    listed = run_ok("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT)
    for name in listed.split("\0"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    run_ok("git", "init", "--quiet", cwd=folder)
    commit(folder, "as it is")
    return folder


def speeds() -> set[str]:
    """The committed results of `make bench`, of whatever machines."""
    return {path.relative_to(ROOT).as_posix() for path in (ROOT / RESULTS / "speed").glob("*.json")}


def check_as_a_user(folder: Path) -> set[str]:
    """The stale figures that `python -m bench.figures --check` names in a folder, each with its command."""
    result = run(sys.executable, "-m", "bench.figures", "--check", cwd=folder, env={"PYTHONDONTWRITEBYTECODE": "1"})
    if result.returncode == 0:
        assert result.stdout.startswith("check: ok")
        return set()
    assert result.returncode == 1, result
    *lines, last = result.stderr.splitlines()
    assert "ERROR: committed figures: expected all as the project is." in last, result.stderr
    found = {line.partition(": stale: ")[0]: line for line in lines}
    for name, line in found.items():
        assert line.endswith(f". Run `{COMMANDS[SPEED if name in speeds() else name]}`.")
    return set(found)


def unused_units() -> int:
    """A width of the dense network that nothing committed was made with."""
    used = [read_document(ROOT / "params.yaml")["dense"]["units"]]
    for name in (SEEDS, *speeds(), PROCESSORS, WORKERS, WAITS, LARGE):
        result = json.loads((ROOT / name).read_text(encoding="utf-8"))
        params = (result.get("dense") or result)["params"]
        used.append(params.get("dense", {}).get("units"))
    return next(units for units in (64, 65, 66, 67, 68) if units not in used)


@pytest.mark.slow
def test_a_user_may_commit_other_parameters(tmp_path: Path) -> None:
    """The check names what is stale by it, and the tests of the documents are as green as before."""
    clone = copy_of_the_work_tree(tmp_path / "clone")
    before = check_as_a_user(clone)
    set_params(clone / "params.yaml", {"train.model": "dense", "dense.units": unused_units()})
    commit(clone, "another width")
    after = check_as_a_user(clone)
    expected = {RUN, SEEDS, *speeds(), WAITS, LARGE, PICTURES, PROCESSORS, WORKERS, CARD}
    assert expected <= after
    assert after - before <= expected  # not the convnet's, nor the sweep over widths
    run_ok(sys.executable, "-m", "pytest", "tests/bench/test_tables.py", cwd=clone)
