"""params.yaml: what is allowed, to the last value, and that it means to a stage what it means to DVC."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dvc.utils.serialize import ParseError, load_yaml
from pydantic import Field, ValidationError

from digits.data.dataset import write_dataset
from digits.networks import NETWORKS, Train
from digits.param_errors import allowed
from digits.params import SECTIONS, SHARED, Params, read_document, read_params, require_sections
from digits.scoring.params import EvaluateParams
from digits.study import study_params
from dvcproof.runtime.program import InputError
from dvcproof.values import flatten, parse_value, set_params
from stages.load import LoadParams
from stages.preprocess import PreprocessParams
from tests.support.arrays import sample_dataset
from tests.support.project import AT_ROOT, RECIPE, ROOT, Arrays, recipe_params, run
from tests.support.refusal import one_line

SCHEMAS: dict[str, type[Params]] = {
    "load": LoadParams,
    "preprocess": PreprocessParams,
    "train": Train,
    "evaluate": EvaluateParams,
    **NETWORKS,
}
Document = dict[str, Any]


class Anything(Params):
    """A section whose one parameter may be anything."""

    value: Any


@pytest.fixture
def params(tmp_path: Path) -> Path:
    """A file with the parameters of the recipe."""
    return recipe_params(tmp_path)


@pytest.fixture
def text(params: Path) -> str:
    """The recipe as text."""
    return params.read_text(encoding="utf-8")


@pytest.fixture
def document(params: Path) -> Document:
    """The recipe as DVC reads it."""
    return dict(load_yaml(params))


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Params]:
    """Read parameters from a text, or from an object written as JSON, which is YAML."""

    def read(content: str | bytes | Document, section: str = "train", schema: type[Params] | None = None) -> Params:
        text = json.dumps(content) if isinstance(content, dict) else content
        path = tmp_path / "params.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_params(path, section, schema or SCHEMAS[section])

    return read


def with_value(document: Document, section: str, name: str, value: object) -> Document:
    """The parameters with one value changed."""
    if name in SHARED:
        return document | {name: value}
    return document | {section: document[section] | {name: value}}


# The real file


@pytest.mark.parametrize("name", ["recipe", "committed"])
def test_the_real_file_is_what_dvc_reads(params: Path, name: str) -> None:
    path = params if name == "recipe" else ROOT / "params.yaml"
    document = load_yaml(path)
    assert set(document) == {*SHARED, *SCHEMAS}
    for section, schema in SCHEMAS.items():
        shared = {name: document[name] for name in SHARED if name in schema.model_fields}
        assert read_params(path, section, schema).model_dump() == shared | document[section]


CLASS_NAMES: list[object] = [None, ["a", "b"], [str(label) for label in range(256)], ["x" * 40, "Áo thun, đỏ"]]

#: For every parameter: values that are just allowed, values just beyond, and the rule in words.
LIMITS: dict[tuple[str, str], tuple[list[object], list[object], str]] = {
    ("load", "source"): (["x", "x" * 1000], [""], "a text that is not empty"),
    ("load", "test_size"): ([0, 10**9], [-1], "an integer in [0, inf)"),
    ("load", "transpose"): (
        [True, False, "auto"],
        ["yes", "True"],
        "true, false or auto: whether height and width of the images are to be exchanged",
    ),
    ("preprocess", "validation_size"): ([0, 10**9], [-1], "an integer in [0, inf)"),
    ("train", "model"): (["dense", "convnet"], ["Dense", "cnn", ""], "one of 'dense', 'convnet'"),
    ("train", "seed"): ([0, 2**32 - 1], [-1, 2**32], "an integer in [0, 4294967296)"),
    ("train", "shards"): ([1, 64], [0, 65], "an integer in [1, 64]"),
    ("train", "device"): (["cpu", "gpu"], ["tpu", "CPU", ""], "one of 'cpu', 'gpu'"),
    ("dense", "units"): ([1, 65536], [0, 65537], "an integer in [1, 65536]"),
    ("convnet", "filters"): ([1, 1024], [0, 1025], "an integer in [1, 1024]"),
    ("convnet", "warmup"): ([0, 0.0, 1], [-0.1, 1.5], "a number in [0, 1]"),
    ("convnet", "shift"): ([0, 0.0, 14], [-0.1, 14.5], "a number in [0, 14]"),
    ("convnet", "distortion"): ([0, 0.5], [-1e-9, 0.6], "a number in [0, 0.5]"),
    ("evaluate", "class_names"): (CLASS_NAMES, [], ""),
    ("evaluate", "batch_size"): ([1, 10**6], [0, 10**6 + 1], "an integer in [1, 1000000]"),
    ("evaluate", "views"): ([1, 11], [0, 12], "an integer in [1, 11]"),
    ("evaluate", "worst"): ([1, 100], [0, 101], "an integer in [1, 100]"),
}
for section in NETWORKS:
    LIMITS |= {
        (section, "optimizer"): (
            ["rmsprop", "adam", "sgd"],
            ["RMSprop", "rmsprop ", ""],
            "one of 'rmsprop', 'adam', 'sgd'",
        ),
        (section, "learning_rate"): (
            [5e-324, 1, 10, 10.0],
            [0, -0.0, -5e-324, float(np.nextafter(10, 11)), float("inf"), float("nan"), float("-inf")],
            "a number in (0, 10]",
        ),
        (section, "epochs"): ([1, 10000], [0, 10001], "an integer in [1, 10000]"),
        (section, "batch_size"): ([1, 65536], [0, 65537], "an integer in [1, 65536]"),
    }
ALLOWED = [(*name, value) for name, (values, _, _) in LIMITS.items() for value in values]
BEYOND = [(*name, value, words) for name, (_, values, words) in LIMITS.items() for value in values]


def as_yaml(document: Document) -> str:
    """JSON, but for the numbers that are written in another way in YAML."""
    text = json.dumps(document)
    return text.replace("-Infinity", "-.inf").replace("Infinity", ".inf").replace("NaN", ".nan")


def test_the_table_of_limits_names_every_parameter(document: Document) -> None:
    assert set(LIMITS) == {(section, name) for section, schema in SCHEMAS.items() for name in schema.model_fields}
    names = {(section, name) for section in SCHEMAS for name in document[section]}
    assert {limits for limits in LIMITS if limits[1] not in SHARED} == names


@pytest.mark.fast(25)
@pytest.mark.parametrize(("section", "name", "value"), ALLOWED)
def test_a_value_at_its_limit_is_allowed(
    read: Callable[..., Params], document: Document, section: str, name: str, value: object
) -> None:
    assert getattr(read(with_value(document, section, name, value), section), name) == value


@pytest.mark.fast(25)
@pytest.mark.parametrize(("section", "name", "value", "words"), BEYOND)
def test_a_value_beyond_its_limit_is_refused(
    read: Callable[..., Params], document: Document, *, section: str, name: str, value: object, words: str
) -> None:
    full = name if name in SHARED else f"{section}.{name}"
    line = f"parameter '{full}' in .*: expected {re.escape(words)}. Got {re.escape(repr(value))}. Change '{full}'."
    with pytest.raises(InputError, match=line):
        read(as_yaml(with_value(document, section, name, value)), section)


@pytest.mark.fast(25)
@pytest.mark.parametrize(("section", "name"), LIMITS)
@pytest.mark.parametrize("value", [True, "5", "", 0.5, [1], {"a": 1}, None])
def test_a_value_of_another_type_is_refused(
    read: Callable[..., Params], document: Document, section: str, name: str, value: object
) -> None:
    kind = SCHEMAS[section].model_fields[name].annotation
    if (
        (kind is float and isinstance(value, float))
        or (name == "source" and value == "5")
        or (name == "transpose" and value is True)
        or (name in SHARED and value is None)
    ):
        assert getattr(read(with_value(document, section, name, value), section), name) == value
        return
    with pytest.raises(InputError, match=rf"parameter '.*{name}' in .*: expected .*\. Got .*\. (Change|Give) '"):
        read(with_value(document, section, name, value), section)


@pytest.mark.parametrize("value", ["5.0", "true", '"5"', "5 5", "0x", "five", ".5e1", "!!float 5"])
def test_an_integer_must_be_written_as_one(read: Callable[..., Params], text: str, value: str) -> None:
    with pytest.raises(InputError, match=r"'dense\.epochs' in .*: expected an integer in \[1, 10000\]\. Got "):
        read(text.replace("epochs: 5", f"epochs: {value}"), "dense")


@pytest.mark.fast(8)
@pytest.mark.parametrize(("section", "name"), LIMITS)
def test_a_missing_parameter_is_refused(
    read: Callable[..., Params], document: Document, section: str, name: str
) -> None:
    del (document if name in SHARED else document[section])[name]
    full = name if name in SHARED else f"{section}.{name}"
    with pytest.raises(InputError, match=rf"parameter '{full}' in .*\. Got nothing\. Give '{full}' a value\."):
        read(document, section)


@pytest.mark.parametrize(
    ("names", "received"),
    [
        ([], "0 of them"),
        (["a"], "1 of them"),
        ([str(label) for label in range(257)], "257 of them"),
        (["a", "b", "a"], "'a' twice"),
        (["", "b"], "''"),
        (["a", " "], "' '"),
        (["a\nb", "c"], "'a\\nb'"),
        (["a\x1b[31m", "c"], "'a\\x1b[31m'"),
        (["x" * 41, "b"], f"'{'x' * 41}'"),
        ([0, 1], "0"),
        ("01", "'01'"),
    ],
)
def test_class_names_that_cannot_be_used_are_refused(
    read: Callable[..., Params], document: Document, names: object, received: str
) -> None:
    line = (
        r"parameter 'class_names' in .*: expected null or a list of 2 to 256 different names, each a text of 1 to 40 .*"
    )
    with pytest.raises(InputError, match=rf"{line}\. Got {re.escape(received)}\. Change 'class_names'\.$"):
        read(document | {"class_names": names}, "evaluate")


def test_parameters_cannot_be_changed_afterwards(read: Callable[..., Params], document: Document) -> None:
    train = read(document)
    with pytest.raises(ValidationError, match="frozen"):
        train.seed = 6  # type: ignore[attr-defined]


# Names


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        (
            "  epochs:",
            "  epoch:",
            r"'dense\.epoch' in .*: expected one of optimizer, learning_rate, .*'epoch'\. Did you mean 'dense\.epo",
        ),
        ("  epochs:", "  Epochs:", r"Got the unknown name 'Epochs'\. Did you mean 'dense\.epochs'\?"),
        (
            "  epochs: 5",
            "  epochs: 5\n  momentum: 1",
            r"Got the unknown name 'momentum'\. Remove it or correct its name",
        ),
        ("  epochs: 5", "  epochs: 5\n  1: 1", r"Got the unknown name '1'\."),
        ("  epochs: 5", "  epochs: 5\n  ? [a]\n  : 1", r"Got the unknown name"),
        ("  epochs: 5", "  epochs: 5\n  seed: 1", r"'dense\.seed' in .*Got the unknown name 'seed'"),
        ("  epochs: 5", "  epochs: 5\n  class_names: null", r"'dense\.class_names' in .*Got the unknown name 'class_n"),
    ],
)
def test_an_unknown_name_is_refused(read: Callable[..., Params], text: str, old: str, new: str, match: str) -> None:
    text = re.sub(r"(?ms)^convnet:\n.*?(?=^evaluate:)", "", text)  # it has some of the same names
    assert text.count(old) == 1
    with pytest.raises(InputError, match=match):
        read(text.replace(old, new), "dense")


@pytest.mark.fast(8)
@pytest.mark.parametrize("section", SCHEMAS)
@pytest.mark.parametrize(
    ("added", "match"),
    [
        (
            "epochs: 5",
            r"parameter 'epochs' in .*: expected one of load, .*Got the unknown name 'epochs'\.",
        ),
        (
            "class_name: 5",
            r"parameter 'class_name' in .*Got the unknown name 'class_name'\. Did you mean 'class_names'",
        ),
        ("augment: [1]", r"parameter 'augment' in .*Got the unknown name 'augment'\. Remove it or correct"),
        ("evalute:", r"parameter 'evalute' in .*Did you mean 'evaluate'\?"),
        ("1: x", r"parameter '1' in .*Got the unknown name '1'\."),
    ],
)
def test_an_unknown_value_is_refused_by_every_stage(
    read: Callable[..., Params], text: str, section: str, added: str, match: str
) -> None:
    with pytest.raises(InputError, match=match):
        read(f"{added}\n{text}", section)


@pytest.mark.parametrize(
    ("added", "match"),
    [
        (
            "augment:\n  x: 1",
            r"parameter 'augment' in .*: expected one of load, preprocess, train, evaluate, .*dense, c",
        ),
        ("evalute: {}", r"parameter 'evalute' in .*Got the unknown name 'evalute'\. Did you mean 'evaluate'\?"),
        ("convnets:\n  x: 1", r"parameter 'convnets' in .*Did you mean 'convnet'\?"),
        ("Dense: {}", r"parameter 'Dense' in .*Did you mean 'dense'\?"),
    ],
)
def test_a_section_of_no_stage_and_no_network_is_refused(
    params: Path, read: Callable[..., Params], text: str, added: str, match: str
) -> None:
    require_sections(params, NETWORKS)
    assert read(f"{added}\n{text}", "load")  # a stage that does not know the networks
    with pytest.raises(InputError, match=match):
        require_sections(params, NETWORKS)


def test_a_section_of_an_absent_network_is_refused(params: Path) -> None:
    with pytest.raises(
        InputError, match=r"parameter 'convnet' in .*: expected one of .*, dense\. Got the unknown name"
    ):
        require_sections(params, ["dense"])


@pytest.mark.parametrize(
    ("section", "written"),
    [("evaluate", "evalute"), ("dense", "Dense"), ("convnet", "convnets"), ("train", "training")],
)
def test_a_missing_section_names_one_that_is_nearly_it(
    read: Callable[..., Params], text: str, section: str, written: str
) -> None:
    hint = rf"Did you mean '{section}:' by '{written}:'\?$"
    line = rf"section '{section}' in .*: expected a mapping of .*\. Got nothing\. {hint}"
    with pytest.raises(InputError, match=line):
        read(re.sub(rf"(?m)^{section}:", f"{written}:", text), section)


@pytest.mark.parametrize(
    ("value", "received"), [(None, "nothing"), (5, "5"), ("x", "'x'"), ([], "a list"), (..., "nothing")]
)
@pytest.mark.parametrize("section", SECTIONS)
def test_a_section_that_is_no_mapping_is_refused(
    read: Callable[..., Params], document: Document, section: str, value: object, received: str
) -> None:
    document[section] = value
    if value is ...:
        del document[section]
    names = ", ".join(name for name in SCHEMAS[section].model_fields if name not in SHARED)
    line = f"section '{section}' in .*: expected a mapping of {names}. Got {received}. Add the section '{section}:'"
    with pytest.raises(InputError, match=line):
        read(document, section)


@pytest.mark.parametrize("value", [None, 5, "x", []])
@pytest.mark.parametrize("section", NETWORKS)
def test_a_network_that_is_no_mapping_is_refused(
    read: Callable[..., Params], document: Document, section: str, value: object
) -> None:
    with pytest.raises(InputError, match=rf"parameter '{section}' in .*: expected one of load, .*unknown name"):
        read(document | {section: value}, section)


# Files


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("", r": it must be a mapping of sections, and is NoneType\. Restore it from Git\."),
        ("- 1", r"and is list\."),
        ("5", r"and is int\."),
        ("a: b: c", r": it is not YAML: mapping values are not allowed here in line 1\. Correct the syn"),
        ("train: [", r"it is not YAML: .* in line 1\."),
        ("train:\n\tepochs: 1", r"it is not YAML: .* in line 2\."),
        ("train: *nothing", r"it is not YAML: found undefined alias 'nothing' in line 1\."),
        ("train: {}\n---\ntrain: {}", r"it is not YAML: .*another document in line 2\."),
        ("train: !!python/object/apply:os.abort []", r"could not determine a constructor for the tag .* in line 1\."),
        ("train: !!bool 5", r"it is not YAML: KeyError"),
        ("train: 2024-13-45", r"it is not YAML: month must be in 1\.\.12"),
        ("[" * 1000, r"it is not YAML: more than 20 levels\."),
        (b"\xff\xfe", r"it is not YAML: UnicodeDecodeError"),
        (b"train: \x07", r"it is not YAML: ReaderError"),
        ("x" * 1000, r"and is str\. Restore"),
        ("<<<<<<< HEAD\na: 1\n=======\n", "a merge left conflict markers\\. Keep one side"),
    ],
)
def test_a_file_that_holds_no_parameters_is_refused(
    read: Callable[..., Params], content: str | bytes, match: str
) -> None:
    with pytest.raises(InputError, match=rf"params\.yaml.*{match}") as caught:
        read(content)
    one_line(f"ERROR: {caught.value}")


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("  epochs: 5", "  epochs: 5\n  epochs: 6", "epochs"),
        ("class_names:", "class_names: null\nclass_names:", "class_names"),
    ],
)
def test_a_key_that_stands_twice_is_refused(
    read: Callable[..., Params], text: str, old: str, new: str, key: str
) -> None:
    with pytest.raises(InputError, match=rf'it is not YAML: found duplicate key "{key}".* in line \d+\.'):
        read(text.replace(old, new))


def test_a_text_that_aliases_make_endless_is_refused(read: Callable[..., Params]) -> None:
    laughs = "".join(f"- &a{depth} [{', '.join([f'*a{depth - 1}'] * 9)}]\n" for depth in range(1, 30))
    with pytest.raises(InputError, match=r"it is not YAML: more than 10000 values\."):
        read("- &a0 ha\n" + laughs)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.yaml: there is no such file\. Restore it"):
        read_params(tmp_path / "none.yaml", "train", Train)


# The same values as DVC


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        # PyYAML, which follows YAML 1.1, reads the first ten otherwise than DVC.
        ("1e-3", 0.001),
        ("1E3", 1000.0),
        ("+.5", 0.5),
        ("010", 10),
        ("0o10", 8),
        ("08", 8),
        ("yes", "yes"),
        ("off", "off"),
        ("1:30", "1:30"),
        (".1e3", ".1e3"),
        ("1_000", 1000),
        ("0x10", 16),
        ("0b11", 3),
        (".5", 0.5),
        ("5.", 5.0),
        ("-0", 0),
        ("1.5e+3", 1500.0),
        ("1e400", float("inf")),
        (".inf", float("inf")),
        ("inf", "inf"),
        ("y", "y"),
        ("TRUE", True),
        ("'5'", "5"),
        ("null", None),
        ("~", None),
        ("", None),
        ("!!int 5", 5),
        ("[1, 2]", [1, 2]),
        ("{a: 1}", {"a": 1}),
    ],
)
def test_a_value_means_what_it_means_to_dvc(
    tmp_path: Path, read: Callable[..., Params], written: str, expected: object
) -> None:
    value = read(f"train:\n  value: {written}\n", "train", Anything).model_dump()["value"]
    dvc = load_yaml(tmp_path / "params.yaml")["train"]["value"]
    assert (type(value), value) == (type(dvc), dvc) == (type(expected), expected)


@pytest.mark.parametrize(
    "written", ["5 # five", "&five 5", "!!float 5", "2001-01-01", "1,000", "|-\n    5", '"a\\tb"', "é"]
)
def test_other_spellings_mean_what_they_mean_to_dvc(tmp_path: Path, read: Callable[..., Params], written: str) -> None:
    value = read(f"train:\n  value: {written}\n", "train", Anything).model_dump()["value"]
    dvc = load_yaml(tmp_path / "params.yaml")["train"]["value"]
    assert (type(value), value) == (type(dvc), dvc)


@pytest.mark.slow
def test_any_change_of_the_text_is_refused_or_read_as_by_dvc(
    tmp_path: Path, read: Callable[..., Params], text: str
) -> None:
    """Signs of YAML put anywhere: never another error than ours, and never another value than DVC's."""
    generator = np.random.default_rng(0)
    text = re.sub(r"#.*", "", text)
    signs = [*"[]{}:,-?!&*#|>'\"%@`~=<\n\t .0_e", "!!int ", "!!bool ", "!!set ", "!!binary ", "<<: ", "---", "0x", "*a"]
    counts = {"read": 0, "refused": 0}
    for _ in range(400):
        position, sign = int(generator.integers(len(text))), str(generator.choice(signs))
        changed = text[:position] + sign + text[position:]
        try:
            values = {section: read(changed, section).model_dump() for section in (*NETWORKS, "train", "evaluate")}
        except InputError as error:
            one_line(f"ERROR: {error}")
            counts["refused"] += 1
            continue
        try:
            document = load_yaml(tmp_path / "params.yaml")
        except ParseError:  # its parser in C reads a little less than that in Python; then DVC runs no stage
            continue
        counts["read"] += 1
        evaluate = {"class_names": document["class_names"]} | document["evaluate"]
        assert values == {section: document[section] for section in values} | {"evaluate": evaluate}
    assert min(counts.values()) > 30


def test_dvc_refuses_a_key_that_stands_twice_too(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("a: 1\na: 2\n")
    with pytest.raises(ParseError, match="structure is corrupted"):
        load_yaml(tmp_path / "params.yaml")


# Rules in words


class Rules(Params):
    """One parameter of each kind."""

    least: int = Field(ge=-1)
    between: float = Field(gt=0.5, lt=1.5)
    free: float
    text: str


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("least", "an integer in [-1, inf)"),
        ("between", "a number in (0.5, 1.5)"),
        ("free", "a number in (-inf, inf)"),
        ("text", "a text"),
    ],
)
def test_a_rule_in_words(name: str, words: str) -> None:
    assert allowed(Rules, name) == words


@pytest.mark.parametrize("value", [".inf", "-.inf", ".nan", "1e400"])
def test_a_number_without_limits_must_be_finite_all_the_same(read: Callable[..., Params], value: str) -> None:
    with pytest.raises(InputError, match=r"'train\.free' in .*: expected a number in \(-inf, inf\)\. Got "):
        read(f"train: {{least: 0, between: 1, text: x, free: {value}}}", "train", Rules)


# Before TensorFlow


def run_stage(folder: Path, stage: str, document: Document) -> tuple[subprocess.CompletedProcess[str], set[str]]:
    """Run a stage's command from dvc.yaml in a folder. Gives back the result, and the packages that were imported."""
    *runner, lock, module, options = load_yaml(ROOT / "dvc.yaml")["stages"][stage]["cmd"].split(maxsplit=5)
    assert (runner, module) == (["python", "-m", "dvcproof.runtime.run"], f"stages.{stage}")
    (folder / "params.yaml").write_text(json.dumps(document))
    command = (*runner[1:], str(ROOT / lock), module, *options.split())
    result = run(sys.executable, "-X", "importtime", *command, cwd=folder, env=AT_ROOT)
    packages = set(re.findall(r"^import time: .*\| +(\w+)", result.stderr, flags=re.MULTILINE))
    assert {"numpy", "pydantic", "stages"} <= packages  # so the list is one
    return result, packages


@pytest.mark.fast(1)
@pytest.mark.parametrize(
    ("stage", "section", "name", "value"),
    [
        ("load", "load", "source", 5),
        ("preprocess", "preprocess", "validation_size", -1),
        ("train", "train", "seed", -1),
        ("train", "dense", "epochs", 0),
        ("evaluate", "evaluate", "worst", 0),
    ],
)
def test_a_wrong_parameter_is_refused_before_tensorflow(
    tmp_path: Path, document: Document, *, stage: str, section: str, name: str, value: object
) -> None:
    result, packages = run_stage(tmp_path, stage, with_value(document, section, name, value))
    assert result.returncode == 1
    assert f"parameter '{section}.{name}' in params.yaml: " in one_line(result.stderr.splitlines()[-1])
    assert not packages & {"tensorflow", "keras"}
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


@pytest.mark.fast(1)
@pytest.mark.parametrize("stage", ["train", "evaluate"])
def test_a_missing_input_is_refused_before_tensorflow(tmp_path: Path, document: Document, stage: str) -> None:
    result, packages = run_stage(tmp_path, stage, document)
    assert result.returncode == 1
    assert "ERROR: data/raw/dataset.json: expected " in one_line(result.stderr.splitlines()[-1])
    assert not packages & {"tensorflow", "keras"}
    (tmp_path / "data" / "raw").mkdir(parents=True)
    write_dataset(tmp_path / "data" / "raw" / "dataset.json", sample_dataset())
    result, packages = run_stage(tmp_path, stage, document)
    assert result.returncode == 1
    line = one_line(result.stderr.splitlines()[-1])
    assert "train_features.npy: expected float32 [n, 784]. Got no such file." in line
    assert not packages & {"tensorflow", "keras"}


def test_a_wrong_number_of_names_is_refused_before_tensorflow(tmp_path: Path, document: Document) -> None:
    (tmp_path / "data" / "raw").mkdir(parents=True)
    write_dataset(tmp_path / "data" / "raw" / "dataset.json", sample_dataset(11))
    result, packages = run_stage(tmp_path, "evaluate", document)
    assert result.returncode == 1
    line = one_line(result.stderr.splitlines()[-1])
    assert "parameter 'class_names': expected 11 names, one for each of the labels 0 to 10. Got 10 names." in line
    assert not packages & {"tensorflow", "keras"}


@pytest.mark.slow
def test_load_and_preprocess_need_no_tensorflow(tmp_path: Path, document: Document, digits: Arrays) -> None:
    (tmp_path / "data").mkdir()
    np.savez(tmp_path / "data" / "mnist.npz", **digits)  # type: ignore[arg-type]
    for stage in ("load", "preprocess"):
        result, packages = run_stage(tmp_path, stage, document)
        assert result.returncode == 0, result.stderr
        assert not packages & {"tensorflow", "keras"}
    assert (tmp_path / "data" / "prepared" / "test_labels.npy").is_file()


# Written


@pytest.mark.parametrize("section", NETWORKS)
@pytest.mark.parametrize("name", ["epochs", "batch_size", "learning_rate"])
def test_only_the_parameter_of_that_section_changes(params: Path, section: str, name: str) -> None:
    before, text = load_yaml(params), params.read_text(encoding="utf-8")
    set_params(params, {f"{section}.{name}": 3})
    assert load_yaml(params) == with_value(before, section, name, 3)
    pairs = list(zip(text.splitlines(), params.read_text(encoding="utf-8").splitlines(), strict=True))
    assert [new for old, new in pairs if new != old] == [f"  {name}: 3"]


@pytest.mark.parametrize("name", ["recipe", "committed"])
def test_a_value_that_stays_changes_no_byte(tmp_path: Path, params: Path, name: str) -> None:
    path = params if name == "recipe" else Path(shutil.copy(ROOT / "params.yaml", tmp_path / "committed.yaml"))
    text = path.read_bytes()
    for parameter in ("train.seed", "dense.learning_rate", "convnet.optimizer"):
        set_params(path, {parameter: flatten(load_yaml(path))[parameter]})
    assert path.read_bytes() == text


# What a user may have written beside the parameters that are set.
WRITTEN = """# The first comment.

class_names: ["0", '1', zero, "a name", 'another name', "a third name", "a fourth name", "a fifth name", "a sixth name"]

# Of the section.
train: # Behind the section.
  # Of the parameter.
  seed: 7 # Behind the parameter.

  units: [1, 2]
  rate: 1e-3
  octal: 0o10
  text: "quoted"
# The last comment.
"""


@pytest.mark.parametrize(
    ("name", "value", "old", "new"),
    [
        ("train.seed", 8, "seed: 7 #", "seed: 8 #"),
        ("train.rate", 0.01, "rate: 1e-3", "rate: 0.01"),
        ("train.text", "plain", 'text: "quoted"', 'text: "plain"'),
    ],
)
def test_all_else_in_the_file_stays(tmp_path: Path, name: str, value: object, old: str, new: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(WRITTEN)
    set_params(path, {name: value})
    assert path.read_text() == WRITTEN.replace(old, new)


def test_several_values_are_set_at_once(params: Path) -> None:
    before = load_yaml(params)
    set_params(params, {"train.seed": 8, "dense.units": 64, "class_names": None})
    after = load_yaml(params)
    assert (after["train"]["seed"], after["dense"]["units"], after["class_names"]) == (8, 64, None)
    restored = {"train.seed": 7, "dense.units": 512, "class_names": RECIPE["class_names"]}
    set_params(params, restored)
    assert load_yaml(params) == before
    assert list(load_yaml(params)) == list(before)


@pytest.mark.fast(15)
@pytest.mark.parametrize(
    "value",
    [
        1e-3,
        1e-5,
        5e-324,
        1e22,
        10.0,
        8,
        -1,
        True,
        None,
        "5",
        "1e-3",
        "010",
        "yes",
        "null",
        "",
        " a: b # c",
        "Größe",
        r"data/\1 folder.npz",
        "https://host/" + "long/" * 50 + "file name.npz#sha256=" + "0" * 64,
        ["0", "bag", "T-shirt: red"],
        [],
    ],
)
@pytest.mark.parametrize("name", ["class_names", "load.source"])
def test_a_value_is_read_as_it_was_set(params: Path, name: str, value: object) -> None:
    expected = flatten(load_yaml(params)) | {name: value}
    set_params(params, {name: value})
    for found in (flatten(load_yaml(params)), flatten(read_document(params))):
        assert found == expected
        assert type(found[name]) is type(value)


@pytest.mark.parametrize("names", [None, ["ant", "bee"], [str(label) for label in range(256)]])
def test_the_names_of_the_classes_can_be_set(params: Path, names: list[str] | None) -> None:
    set_params(params, {"class_names": names})
    assert read_params(params, "evaluate", EvaluateParams).class_names == names


@pytest.mark.parametrize(
    "name",
    [
        "train.units",
        "dense.filters",
        "training.epochs",
        "epochs",
        "units",
        "train.epoch",
        "dense",
        "train",
        "dense.units.more",
        "class_names.0",
        "class_names.",
        ".seed",
        "train.",
        "",
    ],
)
def test_a_parameter_that_is_not_there_is_refused(params: Path, text: str, name: str) -> None:
    line = rf"params\.yaml: expected the parameter '{re.escape(name)}'\. Got none\. Restore the file from Git\.$"
    with pytest.raises(InputError, match=line):
        set_params(params, {"train.seed": 8, name: 1})
    assert params.read_text(encoding="utf-8") == text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E3", 1000.0),
        ("0.15", 0.15),
        ("128", 128),
        ("010", 10),
        ("adam", "adam"),
        ("yes", "yes"),
        ("true", True),
        ("null", None),
        ("[1, 2]", [1, 2]),
        ("'5'", "5"),
    ],
)
def test_a_value_is_parsed_as_dvc_reads_it(tmp_path: Path, text: str, value: object) -> None:
    (tmp_path / "params.yaml").write_text(f"value: {text}\n")
    dvc = load_yaml(tmp_path / "params.yaml")["value"]
    assert (type(parse_value(text)), parse_value(text)) == (type(dvc), dvc) == (type(value), value)


# Taken apart


@pytest.mark.parametrize(
    ("values", "lists", "expected"),
    [
        ({"a": 1, "b": {"c": 2, "d": {"e": None}}}, False, {"a": 1, "b.c": 2, "b.d.e": None}),
        ({"a": [1, {"b": 2}]}, False, {"a": [1, {"b": 2}]}),
        ({"a": [1, {"b": [2, 3]}]}, True, {"a.0": 1, "a.1.b.0": 2, "a.1.b.1": 3}),
        ([1, 2], True, {"0": 1, "1": 2}),
        ({"a": {}, "b": []}, True, {"a": {}, "b": []}),
        ({1: {2: 3}}, False, {"1.2": 3}),
        ({"z": 1, "a": {"y": 2, "b": 3}}, False, {"z": 1, "a.y": 2, "a.b": 3}),
        ({}, False, {"": {}}),
        (5, True, {"": 5}),
    ],
)
def test_nested_values_get_names_with_dots(values: object, expected: Document, *, lists: bool) -> None:
    found = flatten(values, lists=lists)
    assert found == expected
    assert list(found) == list(expected)


def test_a_prefix_stands_before_each_name() -> None:
    assert flatten({"a": 1, "b": {"c": 2}}, "x.y") == {"x.y.a": 1, "x.y.b.c": 2}
    assert flatten(5, "x") == {"x": 5}
    assert flatten({}, "x") == {"x": {}}


# Of a study


def test_a_study_is_of_all_that_can_change_a_score(params: Path, document: Document) -> None:
    assert study_params(params) == {
        "load": document["load"],
        "preprocess": document["preprocess"],
        "dense": document["dense"],
        "train": {"model": "dense", "shards": 2, "device": "cpu"},
        "evaluate": {"views": 1},
    }


def test_a_study_of_another_network_has_its_section(params: Path, document: Document) -> None:
    study = study_params(params, "convnet")
    assert "dense" not in study
    assert (study["convnet"], study["train"]["model"]) == (document["convnet"], "convnet")
    set_params(params, {"train.model": "convnet"})
    assert study_params(params) == study
    assert study_params(params, "dense")["dense"] == document["dense"]
    trained = study_params(params, scored=False)
    assert (trained | {"evaluate": {"views": 1}}, "evaluate" in trained) == (study, False)


@pytest.mark.parametrize(
    ("name", "value", "same"),
    [
        ("train.seed", 8, True),
        ("evaluate.worst", 1, True),
        ("evaluate.batch_size", 1, True),
        ("evaluate.views", 2, False),
        ("class_names", None, True),
        ("convnet.epochs", 1, True),
        ("dense.units", 64, False),
        ("dense.epochs", 1, False),
        ("train.shards", 1, False),
        ("train.device", "gpu", False),
        ("train.model", "convnet", False),
        ("load.source", "other.npz", False),
        ("preprocess.validation_size", 100, False),
    ],
)
def test_a_study_is_valid_for_other_seeds_and_reports(params: Path, name: str, value: object, *, same: bool) -> None:
    before = study_params(params)
    set_params(params, {name: value})
    assert (study_params(params) == before) is same


@pytest.mark.parametrize("name", ["train", "dense", "load", "evaluate"])
def test_a_study_without_one_of_its_sections_is_refused(params: Path, name: str) -> None:
    document = load_yaml(params)
    del document[name]
    params.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(InputError, match="expected the section"):
        study_params(params)


def test_values_are_not_set_in_what_is_no_yaml(params: Path) -> None:
    params.write_text("train: [", encoding="utf-8")
    with pytest.raises(InputError, match="it is not YAML"):
        set_params(params, {"train.seed": 8})
    assert params.read_text(encoding="utf-8") == "train: ["
