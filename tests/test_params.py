"""params.yaml: the allowed values, which stages and DVC read alike."""

import contextlib
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dvc.utils.serialize import ParseError, load_yaml

from digits.apps.repro import require_params
from digits.apps.results import study_params
from digits.networks import NETWORKS
from digits.param_errors import allowed
from digits.params import EvaluateParams, Params, TrainParams, read_params
from dvcproof.runtime.document import read_mapping
from dvcproof.runtime.program import InputError
from dvcproof.values import flatten, parse_value, set_params
from exactkeras.augment import VIEWS
from tests.support.project import AT_ROOT, ROOT, recipe_params, run
from tests.support.refusal import one_line

ALL = tuple(Params.model_fields)
PREPROCESS = r"^preprocess:(\n.*)*?(?=^train:)"  # a pattern that matches the section
Change = Callable[[str, str], Path]


@pytest.fixture
def params(tmp_path: Path) -> Path:
    """Return a file with the parameters of the tests."""
    return recipe_params(tmp_path)


@pytest.fixture
def change(params: Path) -> Change:
    """Return a function that replaces the only match of a pattern in the file."""

    def change(old: str, new: str) -> Path:
        text, count = re.subn(old, lambda _: new, params.read_text(encoding="utf-8"), count=1, flags=re.MULTILINE)
        assert count == 1
        params.write_text(text, encoding="utf-8")
        return params

    return change


def refusal_of(path: Path, *names: str) -> str:
    """Return the line with which the file is refused."""
    with pytest.raises(InputError) as caught:
        read_params(path, *names)
    return one_line(f"ERROR: {caught.value}")


# The bounds of the models


@pytest.mark.parametrize("name", ["recipe", "committed"])
def test_the_file_is_read_as_by_dvc(params: Path, name: str) -> None:
    path = params if name == "recipe" else ROOT / "params.yaml"
    assert read_params(path, *ALL).model_dump() == load_yaml(path)


def test_every_network_has_a_section_and_every_view_a_number() -> None:
    assert allowed(TrainParams, "model") == "one of " + ", ".join(map(repr, NETWORKS))
    assert set(NETWORKS) == set(ALL) - {"load", "preprocess", "train", "evaluate", "class_names"}
    assert all(Params.model_fields[name].annotation in network.mro() for name, network in NETWORKS.items())
    assert allowed(EvaluateParams, "views") == f"an integer in [1, {len(VIEWS)}]"


def test_only_what_is_asked_for_is_checked(params: Path) -> None:
    set_params(params, {"dense.units": -1})
    found = read_params(params, "train", "class_names")
    assert found.model_dump(exclude_none=True).keys() == {"train", "class_names"}
    assert "'dense.units'" in refusal_of(params, "train", "dense")


LIMITS = [
    ("train.seed", [0, 2**32 - 1], [-1, 2**32, True, "5", 5.0, None], "an integer in [0, 4294967296)"),
    ("train.shards", [1, 64], [0, 65], "an integer in [1, 64]"),
    ("load.test_size", [0, 10**9], [-1], "an integer in [0, inf)"),
    ("load.source", ["x"], ["", 5, [1], {"a": 1}], "a text that is not empty"),
    ("load.transpose", [True, False, "auto"], ["yes", 1], "true, false or auto: whether height and width of"),
    ("train.device", ["cpu", "gpu"], ["CPU", "", 1], "one of 'cpu', 'gpu'"),
    ("dense.learning_rate", [5e-324, 1, 10], [0, -5e-324, 10.01, np.inf, np.nan, "1"], "a number in (0, 10]"),
    ("convnet.distortion", [0, 0.5], [-1e-9, 0.6], "a number in [0, 0.5]"),
    (
        "class_names",
        [None, ["a", "b"], [str(label) for label in range(256)], ["x" * 40, "Áo thun, đỏ"]],
        [["a"], ["a"] * 257, ["a", "b", "a"], ["a", " "], ["a\nb", "c"], ["x" * 41, "b"], [0, 1], "01"],
        "null or a list of 2 to 256 different names, each a text of 1 to 40 characters in one",
    ),
]


@pytest.mark.parametrize(("name", "inside", "outside", "words"), LIMITS)
def test_the_bounds_of_a_value(
    params: Path, name: str, inside: list[object], outside: list[object], words: str
) -> None:
    section = name.partition(".")[0]
    for value in inside:
        set_params(params, {name: value})
        assert flatten(read_params(params, section).model_dump())[name] == value
    for value in outside:
        set_params(params, {name: value})
        line, hint = refusal_of(params, section), "Give '{}' a value." if value is None else "Change '{}'."
        assert f"parameter '{name}' in {params}: expected {words}" in line
        assert line.endswith(f". {hint.format(name)}")


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("^  units:", "  unit:", r"'dense\.unit' in .*one of optimizer, .*'unit'\. Did you mean 'dense\.units'\?"),
        ("^  units:", "  1: 1\n  units:", r"'dense\.1' in .*the unknown name '1'\. Remove it or correct its name\."),
        ("^  units: .*", "", r"'dense\.units' in .*Got nothing\. Give 'dense\.units' a value\."),
        ("^evaluate:", "evalute:", r"'evalute' in .*: expected one of load, .*Did you mean 'evaluate'\?"),
        ("^dense:", "x:\n  y: 1\ndense:", "parameter 'x' in .*Remove it or correct its name"),
        ("^class_names:(.*\n)*", "", "parameter 'class_names' in .*Got nothing. Give"),
        (PREPROCESS, "", r"section 'preprocess' in .*a mapping of validation_size\. Got nothing\. Add the section"),
    ],
)
def test_an_unknown_or_missing_name_is_refused(change: Change, old: str, new: str, match: str) -> None:
    assert re.search(match, refusal_of(change(old, new), *ALL))


def test_a_mistake_in_any_section_is_named_before_anything_runs(change: Change) -> None:
    require_params(change("^  worst: 25", "  worst: 24"))
    with pytest.raises(InputError, match=r"parameter 'evaluate\.worst' in .*Got 0"):
        require_params(change("^  worst: 24", "  worst: 0"))
    with pytest.raises(InputError, match=r"parameter 'convent' in .*Did you mean 'convnet'"):
        require_params(change("^convnet:", "convent:"))


@pytest.mark.parametrize(
    ("source", "match"),
    [
        ("data/mnst.npz", r"data set 'data/mnst\.npz': no such file or folder\. Set `load\.source`"),
        ("https://localhost/x.npz", "the address has no https or no SHA-256"),
    ],
)
def test_a_data_set_that_is_not_there_is_named_before_anything_runs(change: Change, source: str, match: str) -> None:
    params = change(r"^  source: data/mnist\.npz", f"  source: {source}")
    with pytest.raises(InputError, match=match):
        require_params(params)
    if "://" not in source:
        (params.parent / "data").mkdir()
        (params.parent / "data" / "mnst.npz.dvc").touch()
        with contextlib.chdir(params.parent):
            require_params(params)  # DVC keeps it, and can fetch it


# Files


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", r": it must be a mapping of sections, but it is NoneType\. Restore it from Git\."),
        (b"a: b: c", r": it is not YAML: mapping values are not allowed here in line 1\. Correct the syn"),
        (b"train: !!python/object/apply:os.abort []", r"could not determine a constructor for the tag .* in line 1\."),
        (b"[" * 1000, r"it is not YAML: more than 20 levels\."),
        (b"<<<<<<< HEAD\na: 1\n=======\n", r"a merge left conflict markers\. Keep one side"),
        (
            b"- &a0 ha\n" + b"".join(b"- &a%d [%s]\n" % (n, b", ".join([b"*a%d" % (n - 1)] * 9)) for n in range(1, 30)),
            r"it is not YAML: more than 10000 values\.",
        ),
    ],
)
def test_a_file_that_holds_no_parameters_is_refused(params: Path, content: bytes, match: str) -> None:
    params.write_bytes(content)
    assert re.search(rf"params\.yaml.*{match}", refusal_of(params, "train"))


def test_a_key_that_stands_twice_is_refused(change: Change) -> None:
    path = change("^  units: .*", "  units: 5\n  units: 6")
    assert re.search(r'it is not YAML: found duplicate key "units".* in line \d+\.', refusal_of(path, "train"))
    assert "none.yaml: there is no such file. Check the path" in refusal_of(path.with_name("none.yaml"))
    with pytest.raises(ParseError, match="structure is corrupted"):  # DVC refuses it too
        load_yaml(path)


# PyYAML follows YAML 1.1, and reads many of these values differently from DVC.
WRITTEN = ["1e-3", "1E3", "+.5", "010", "0o10", "08", "yes", "off", "1:30", ".1e3", "1_000", "0x10", "5.", "-0"]
WRITTEN += [".inf", "1e400", "TRUE", "'5'", "~", "", "!!float 5", "[1, 2]", "2001-01-01", "1,000", "5 # five"]


@pytest.mark.parametrize("written", WRITTEN)
def test_a_value_means_what_it_means_to_dvc(tmp_path: Path, written: str) -> None:
    (tmp_path / "params.yaml").write_text(f"value: {written}\n")
    dvc = load_yaml(tmp_path / "params.yaml")["value"]
    for value in (read_mapping(tmp_path / "params.yaml")["value"], parse_value(written)):
        assert (type(value), value) == (type(dvc), dvc)


@pytest.mark.fast(1)
@pytest.mark.parametrize("stage", ["evaluate", "train", "load", "preprocess"])
def test_a_stage_refuses_a_wrong_parameter_before_tensorflow(params: Path, stage: str) -> None:
    wrong = {"load.source": 5, "preprocess.validation_size": -1, "train.seed": -1, "evaluate.worst": 0}
    set_params(params, wrong)
    *runner, lock, module, options = load_yaml(ROOT / "dvc.yaml")["stages"][stage]["cmd"].split(maxsplit=5)
    command = (*runner[1:], str(ROOT / lock), module, *options.split())
    result = run(sys.executable, "-X", "importtime", *command, cwd=params.parent, env=AT_ROOT)
    packages = set(re.findall(r"^import time: .*\| +(\w+)", result.stderr, flags=re.MULTILINE))
    assert f"parameter '{stage}." in one_line(result.stderr.splitlines()[-1])
    assert {"numpy", "pydantic"} <= packages
    assert not packages & {"tensorflow", "keras"}
    assert result.returncode == 1
    assert list(params.parent.iterdir()) == [params]


def test_a_study_is_of_all_that_can_change_a_score(params: Path, change: Change) -> None:
    document = load_yaml(params)
    common = {"load": document["load"], "preprocess": document["preprocess"]}
    study = common | {"dense": document["dense"], "train": {"model": "dense", "shards": 2, "device": "cpu"}}
    assert study_params(params) == study | {"evaluate": {"views": 1}}
    assert study_params(params, scored=False) == study
    other = common | {"convnet": document["convnet"], "train": study["train"] | {"model": "convnet"}}
    assert study_params(params, "convnet", scored=False) == other
    set_params(params, {"train.seed": 8, "evaluate.worst": 1, "class_names": None, "convnet.epochs": 1})
    assert study_params(params, scored=False) == study
    with pytest.raises(InputError, match=r"section 'preprocess' in .*Got nothing"):
        study_params(change(PREPROCESS, ""))
