"""params.yaml: what is allowed, to the last value, and that it means to a stage what it means to DVC."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dvc.utils.serialize import ParseError, load_yaml
from pydantic import Field, ValidationError

from stages.console import InputError
from stages.evaluate import EvaluateParams
from stages.load import LoadParams
from stages.params import SECTIONS, SHARED, Params, allowed, read_params
from stages.preprocess import PreprocessParams
from stages.train import ConvnetParams, TrainParams
from tests.conftest import ROOT, Arrays, run
from tests.test_console import one_line
from tests.test_load import AT_ROOT

SCHEMAS: dict[str, type[Params]] = {
    "load": LoadParams,
    "preprocess": PreprocessParams,
    "train": TrainParams,
    "convnet": ConvnetParams,
    "evaluate": EvaluateParams,
}
TEXT = (ROOT / "params.yaml").read_text(encoding="utf-8")
DOCUMENT: dict[str, Any] = load_yaml(ROOT / "params.yaml")


class Anything(Params):
    """A section whose one parameter may be anything."""

    value: Any


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Params]:
    """Read parameters from a text, or from an object written as JSON, which is YAML."""

    def read(
        content: str | bytes | dict[str, Any], section: str = "train", schema: type[Params] | None = None
    ) -> Params:
        text = json.dumps(content) if isinstance(content, dict) else content
        path = tmp_path / "params.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_params(path, section, schema or SCHEMAS[section])

    return read


def with_value(section: str, name: str, value: object) -> dict[str, Any]:
    """The real parameters with one value changed."""
    if name in SHARED:
        return DOCUMENT | {name: value}
    return DOCUMENT | {section: DOCUMENT[section] | {name: value}}


# The real file


def test_the_real_file_is_what_dvc_reads() -> None:
    assert tuple(DOCUMENT) == (*SHARED, *SECTIONS)
    for section, schema in SCHEMAS.items():
        shared = {name: DOCUMENT[name] for name in SHARED if name in schema.model_fields}
        assert read_params(ROOT / "params.yaml", section, schema).model_dump() == shared | DOCUMENT[section]


CLASS_NAMES: list[object] = [None, ["a", "b"], [str(label) for label in range(256)], ["x" * 40, "Áo thun, đỏ"]]

#: For every parameter: values that are just allowed, values just beyond, and the rule in words.
LIMITS: dict[tuple[str, str], tuple[list[object], list[object], str]] = {
    ("load", "class_names"): (CLASS_NAMES, [], ""),
    ("load", "source"): (["x", "x" * 1000], [""], "a text that is not empty"),
    ("preprocess", "validation_size"): ([0, 10**9], [-1], "an integer in [0, inf)"),
    ("train", "model"): (["dense", "convnet"], ["Dense", "cnn", ""], "one of 'dense', 'convnet'"),
    ("train", "seed"): ([0, 2**32 - 1], [-1, 2**32], "an integer in [0, 4294967296)"),
    ("train", "shards"): ([1, 64], [0, 65], "an integer in [1, 64]"),
    ("train", "device"): (["cpu", "gpu"], ["tpu", "CPU", ""], "one of 'cpu', 'gpu'"),
    ("train", "units"): ([1, 65536], [0, 65537], "an integer in [1, 65536]"),
    ("convnet", "filters"): ([1, 1024], [0, 1025], "an integer in [1, 1024]"),
    ("convnet", "rise"): ([0, 0.0, 1], [-0.1, 1.5], "a number in [0, 1]"),
    ("convnet", "shift"): ([0, 0.0, 14], [-0.1, 14.5], "a number in [0, 14]"),
    ("convnet", "distortion"): ([0, 0.5], [-1e-9, 0.6], "a number in [0, 0.5]"),
    ("evaluate", "class_names"): (CLASS_NAMES, [], ""),
    ("evaluate", "batch_size"): ([1, 10**6], [0, 10**6 + 1], "an integer in [1, 1000000]"),
    ("evaluate", "worst"): ([1, 100], [0, 101], "an integer in [1, 100]"),
}
for section in ("train", "convnet"):
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


def as_yaml(document: dict[str, Any]) -> str:
    """JSON, but for the numbers that are written in another way in YAML."""
    text = json.dumps(document)
    return text.replace("-Infinity", "-.inf").replace("Infinity", ".inf").replace("NaN", ".nan")


def test_the_table_of_limits_names_every_parameter() -> None:
    assert set(LIMITS) == {(section, name) for section, schema in SCHEMAS.items() for name in schema.model_fields}
    assert {name for section, name in LIMITS if name not in SHARED} == {
        name for section in SECTIONS for name in DOCUMENT[section]
    }


@pytest.mark.parametrize(("section", "name", "value"), ALLOWED)
def test_a_value_at_its_limit_is_allowed(read: Callable[..., Params], section: str, name: str, value: object) -> None:
    assert getattr(read(with_value(section, name, value), section), name) == value


@pytest.mark.parametrize(("section", "name", "value", "words"), BEYOND)
def test_a_value_beyond_its_limit_is_refused(
    read: Callable[..., Params], section: str, name: str, value: object, words: str
) -> None:
    full = name if name in SHARED else f"{section}.{name}"
    line = f"parameter '{full}' in .*: expected {re.escape(words)}. Got {re.escape(repr(value))}. Change '{full}'."
    with pytest.raises(InputError, match=line):
        read(as_yaml(with_value(section, name, value)), section)


@pytest.mark.parametrize(("section", "name"), LIMITS)
@pytest.mark.parametrize("value", [True, "5", "", 0.5, [1], {"a": 1}, None])
def test_a_value_of_another_type_is_refused(
    read: Callable[..., Params], section: str, name: str, value: object
) -> None:
    kind = SCHEMAS[section].model_fields[name].annotation
    if (
        (kind is float and isinstance(value, float))
        or (kind is str and value == "5")
        or (name in SHARED and value is None)
    ):
        assert getattr(read(with_value(section, name, value), section), name) == value
        return
    with pytest.raises(InputError, match=rf"parameter '.*{name}' in .*: expected .*\. Got .*\. (Change|Give) '"):
        read(with_value(section, name, value), section)


@pytest.mark.parametrize("value", ["5.0", "true", '"5"', "5 5", "0x", "five", ".5e1", "!!float 5"])
def test_an_integer_must_be_written_as_one(read: Callable[..., Params], value: str) -> None:
    with pytest.raises(InputError, match=r"'train\.epochs' in .*: expected an integer in \[1, 10000\]\. Got "):
        read(TEXT.replace("epochs: 5", f"epochs: {value}"))


@pytest.mark.parametrize(("section", "name"), LIMITS)
def test_a_missing_parameter_is_refused(read: Callable[..., Params], section: str, name: str) -> None:
    document = with_value(section, name, None)
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
@pytest.mark.parametrize("section", ["load", "evaluate"])
def test_class_names_that_cannot_be_used_are_refused(
    read: Callable[..., Params], section: str, names: object, received: str
) -> None:
    line = (
        r"parameter 'class_names' in .*: expected null or a list of 2 to 256 different names, each a text of 1 to 40 .*"
    )
    with pytest.raises(InputError, match=rf"{line}\. Got {re.escape(received)}\. Change 'class_names'\.$"):
        read(DOCUMENT | {"class_names": names}, section)


def test_parameters_cannot_be_changed_afterwards(read: Callable[..., Params]) -> None:
    params = read(DOCUMENT)
    with pytest.raises(ValidationError, match="frozen"):
        params.epochs = 6  # type: ignore[attr-defined]


# Names


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        (
            "  epochs:",
            "  epoch:",
            r"'train\.epoch' in .*: expected one of optimizer, learning_rate, .*'epoch'\. Did you mean 'train\.epo",
        ),
        ("  epochs:", "  Epochs:", r"Got the unknown name 'Epochs'\. Did you mean 'train\.epochs'\?"),
        (
            "  epochs: 5",
            "  epochs: 5\n  momentum: 1",
            r"Got the unknown name 'momentum'\. Remove it or correct its name",
        ),
        ("  epochs: 5", "  epochs: 5\n  1: 1", r"Got the unknown name '1'\."),
        ("  epochs: 5", "  epochs: 5\n  ? [a]\n  : 1", r"Got the unknown name"),
        ("  epochs: 5", "  epochs: 5\n  class_names: null", r"'train\.class_names' in .*Got the unknown name 'class_n"),
        ("evaluate:", "evalute:", r"parameter 'evalute' in .*Did you mean 'evaluate'\?"),
        (
            "evaluate:",
            "augment:\n  x: 1\nevaluate:",
            r"parameter 'augment' in .*: expected one of load, preprocess, tr",
        ),
        ("class_names:", "epochs: 5\nclass_names:", r"parameter 'epochs' in .*Got the unknown name 'epochs'\."),
        ("class_names:", "class_name: 5\nclass_names:", r"Did you mean 'class_names'\?"),
    ],
)
def test_an_unknown_name_is_refused(read: Callable[..., Params], old: str, new: str, match: str) -> None:
    text = re.sub(r"(?ms)^convnet:\n.*?(?=^evaluate:)", "", TEXT)  # it has some of the same names
    assert text.count(old) == 1
    with pytest.raises(InputError, match=match):
        read(text.replace(old, new))


@pytest.mark.parametrize(
    ("value", "received"), [(None, "nothing"), (5, "5"), ("x", "'x'"), ([], "a list"), (..., "nothing")]
)
@pytest.mark.parametrize("section", SECTIONS)
def test_a_section_that_is_no_mapping_is_refused(
    read: Callable[..., Params], section: str, value: object, received: str
) -> None:
    document = DOCUMENT | {section: value}
    if value is ...:
        del document[section]
    names = ", ".join(name for name in SCHEMAS[section].model_fields if name not in SHARED)
    line = f"section '{section}' in .*: expected a mapping of {names}. Got {received}. Add the section '{section}:'"
    with pytest.raises(InputError, match=line):
        read(document, section)


# Files


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("", r": expected a mapping of sections\. Got nothing\. Restore it from Git\."),
        ("- 1", r"Got a list\."),
        ("5", r"Got 5\."),
        ("a: b: c", r": expected YAML\. Got an error: mapping values are not allowed here in line 1\. Correct the syn"),
        ("train: [", r"expected YAML\. Got an error: .* in line 1\."),
        ("train:\n\tepochs: 1", r"expected YAML\. Got an error: .* in line 2\."),
        ("train: *nothing", r"expected YAML\. Got an error: found undefined alias 'nothing' in line 1\."),
        ("train: {}\n---\ntrain: {}", r"expected YAML\. Got an error: .*another document in line 2\."),
        ("train: !!python/object/apply:os.abort []", r"could not determine a constructor for the tag .* in line 1\."),
        ("train: !!bool 5", r"expected YAML\. Got an error: KeyError"),
        ("train: 2024-13-45", r"expected YAML\. Got an error: ValueError: month must be in 1\.\.12"),
        ("[" * 1000, r"expected YAML\. Got an error: RecursionError"),
        (b"\xff\xfe", r"expected YAML\. Got an error: UnicodeDecodeError"),
        (b"train: \x07", r"expected YAML\. Got an error: ReaderError"),
        ("x" * 1000, r"Got 'x{99}\.\.\. Restore"),
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
def test_a_key_that_stands_twice_is_refused(read: Callable[..., Params], old: str, new: str, key: str) -> None:
    with pytest.raises(InputError, match=rf'expected YAML\. Got an error: found duplicate key "{key}".* in line \d+\.'):
        read(TEXT.replace(old, new))


def test_a_text_that_aliases_make_endless_is_not_shown(read: Callable[..., Params]) -> None:
    laughs = "".join(f"- &a{depth} [{', '.join([f'*a{depth - 1}'] * 9)}]\n" for depth in range(1, 30))
    with pytest.raises(InputError, match=r"expected a mapping of sections\. Got a list\."):
        read("- &a0 ha\n" + laughs)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"none\.yaml: expected a YAML file of parameters\. Got no such file\. Restore"
    ):
        read_params(tmp_path / "none.yaml", "train", TrainParams)


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


def test_any_change_of_the_text_is_refused_or_means_what_it_means_to_dvc(
    tmp_path: Path, read: Callable[..., Params]
) -> None:
    """Signs of YAML put anywhere: never another error than ours, and never another value than DVC's."""
    generator = np.random.default_rng(0)
    text = re.sub(r"#.*", "", TEXT)
    signs = [*"[]{}:,-?!&*#|>'\"%@`~=<\n\t .0_e", "!!int ", "!!bool ", "!!set ", "!!binary ", "<<: ", "---", "0x", "*a"]
    counts = {"read": 0, "refused": 0}
    for _ in range(300):
        position, sign = int(generator.integers(len(text))), str(generator.choice(signs))
        changed = text[:position] + sign + text[position:]
        try:
            train, convnet, evaluate = (read(changed, name).model_dump() for name in ("train", "convnet", "evaluate"))
        except InputError as error:
            one_line(f"ERROR: {error}")
            counts["refused"] += 1
            continue
        counts["read"] += 1
        document = load_yaml(tmp_path / "params.yaml")
        assert train == document["train"]
        assert convnet == document["convnet"]
        assert evaluate == {"class_names": document["class_names"]} | document["evaluate"]
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


def run_stage(folder: Path, stage: str, document: dict[str, Any]) -> tuple[subprocess.CompletedProcess[str], set[str]]:
    """Run a stage's command from dvc.yaml in a folder. Gives back the result, and the packages that were imported."""
    command = load_yaml(ROOT / "dvc.yaml")["stages"][stage]["cmd"].split()
    assert command[:3] == ["python", "-m", f"stages.{stage}"]
    (folder / "params.yaml").write_text(json.dumps(document))
    result = run(sys.executable, "-X", "importtime", *command[1:], cwd=folder, env=AT_ROOT)
    packages = set(re.findall(r"^import time: .*\| +(\w+)", result.stderr, flags=re.MULTILINE))
    assert {"numpy", "pydantic", "stages"} <= packages  # so the list is one
    return result, packages


@pytest.mark.parametrize(
    ("stage", "name", "value"),
    [("load", "source", 5), ("preprocess", "validation_size", -1), ("train", "epochs", 0), ("evaluate", "worst", 0)],
)
def test_a_wrong_parameter_is_told_before_tensorflow_is_imported(
    tmp_path: Path, stage: str, name: str, value: object
) -> None:
    result, packages = run_stage(tmp_path, stage, with_value(stage, name, value))
    assert result.returncode == 1
    assert f"parameter '{stage}.{name}' in params.yaml: " in one_line(result.stderr.splitlines()[-1])
    assert not packages & {"tensorflow", "keras"}
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


@pytest.mark.parametrize("stage", ["train", "evaluate"])
def test_a_missing_input_is_told_before_tensorflow_is_imported(tmp_path: Path, stage: str) -> None:
    result, packages = run_stage(tmp_path, stage, DOCUMENT)
    assert result.returncode == 1
    assert "train_features.npy: expected float32 [n, 784]. Got no such file." in one_line(
        result.stderr.splitlines()[-1]
    )
    assert not packages & {"tensorflow", "keras"}


def test_load_and_preprocess_need_no_tensorflow(tmp_path: Path, digits: Arrays) -> None:
    (tmp_path / "data").mkdir()
    np.savez(tmp_path / "data" / "mnist.npz", **digits)  # type: ignore[arg-type]
    for stage in ("load", "preprocess"):
        result, packages = run_stage(tmp_path, stage, DOCUMENT)
        assert result.returncode == 0, result.stderr
        assert not packages & {"tensorflow", "keras"}
    assert (tmp_path / "data" / "prepared" / "test_labels.npy").is_file()
