"""dvcproof.compare and dvcproof.tolerance: the place of a difference, and the allowed difference of a machine."""

import io
import json
import math
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import h5py
import numpy as np
import pytest

from dvcproof.compare import first_difference
from dvcproof.config import ToleranceConfig
from dvcproof.runtime.program import InputError
from dvcproof.tolerance import Tolerance, check_metric, tolerance


def npy(array: object) -> bytes:
    file = io.BytesIO()
    np.save(file, np.asarray(array))
    return file.getvalue()


def keras(kernel: list[float], name: str = "dense", date: str = "1980") -> bytes:
    """Return an archive as Keras writes it, with one array."""
    weights, archive = io.BytesIO(), io.BytesIO()
    with h5py.File(weights, "w") as file:
        file[f"layers/{name}/vars/0"] = np.asarray(kernel, np.float32)
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(zipfile.ZipInfo("config.json"), json.dumps({"name": "digits"}))
        file.writestr(zipfile.ZipInfo("metadata.json"), json.dumps({"date_saved": date}))
        file.writestr(zipfile.ZipInfo("model.weights.h5"), weights.getvalue())
    return archive.getvalue()


@pytest.mark.parametrize(
    ("name", "recorded", "rerun", "expected"),
    [
        (
            "a.npy",
            npy([[1.0, 2.0], [3.0, 4.0]]),
            npy([[1.0, 2.0], [3.5, 6.0]]),
            "first at [1, 0], 3.0 recorded, 3.5 re-run; 2 of 4 values differ, by at most 2",
        ),
        ("a.npy", npy([1, 2]), npy([1, 2, 3]), "int64 [2] recorded, int64 [3] re-run"),
        ("a.npy", npy(np.zeros(2, "f4")), npy(np.zeros(2, "f8")), "float32 [2] recorded, float64 [2] re-run"),
        (
            "a.npy",
            npy([np.nan, 0.0]),
            npy([np.nan, -0.0]),
            "first at [1], 0.0 recorded, -0.0 re-run; 1 of 2 values differ, by at most 0",
        ),
        ("a.npy", npy([True]), npy([False]), "first at [0], True recorded, False re-run; 1 of 1 values differ"),
        ("a.npy", npy([1])[:-1], npy([1]), "first differing byte at 135; 135 bytes recorded, 136 re-run"),
        (
            "m.keras",
            keras([1, 2]),
            keras([1, 2.5]),
            "model.weights.h5: weights layers/dense/vars/0 first at [1], 2.0 recorded, 2.5 re-run; 1 of 2 values "
            "differ, by at most 0.5",
        ),
        (
            "m.keras",
            keras([1], name="old"),
            keras([1], name="new"),
            "model.weights.h5: weights layers/old/vars/0 gone in the re-run",
        ),
        (
            "m.keras",
            keras([1], date="1980"),
            keras([1], date="2024"),
            'metadata.json: date_saved: "1980" recorded, "2024" re-run',
        ),
        ("m.keras", b"no archive", b"nor this", "first differing byte at 2; 10 bytes recorded, 8 re-run"),
        (
            "s.json",
            b'{"test": {"loss": 1, "accuracy": 0.97}, "epochs": [1, 2]}',
            b'{"test": {"loss": 1, "accuracy": 0.98}, "epochs": [1, 2]}',
            "test.accuracy: 0.97 recorded, 0.98 re-run",
        ),
        ("s.json", b'{"a": [1, 2]}', b'{"a": [1]}', "a.1: 2 recorded, nothing re-run"),
        ("s.json", b'{"a": []}', b'{"a": [1]}', "a.0: nothing recorded, 1 re-run"),
        ("s.json", b'{"a": {"b": 1}}', b'{"a": {}}', "a.b: 1 recorded, nothing re-run"),
        ("s.json", b"[]", b"{}", "the whole: [] recorded, {} re-run"),
        ("s.json", b'{"a": 1}', b'{"a": true}', "a: 1 recorded, true re-run"),
        ("s.json", b'{"a": null}', b"{}", "a: null recorded, nothing re-run"),
        ("s.json", b'{"a": 1}', b'{"a":1}', "first differing byte at 5; 8 bytes recorded, 7 re-run"),
        ("s.json", b"{", b"}", "first differing byte at 0"),
        ("h.csv", b"epoch,loss\n1,0.5\n", b"epoch,loss\n1,0.6\n", "line 2: 1,0.5 recorded, 1,0.6 re-run"),
        ("h.csv", b"a\n1\n", b"a\n", "line 2: 1 recorded, nothing re-run"),
        ("w.png", b"\x89PNG1", b"\x89PNG2", "first differing byte at 4"),
    ],
)
def test_first_difference(tmp_path: Path, name: str, recorded: bytes, rerun: bytes, expected: str) -> None:
    for folder, content in (("old", recorded), ("new", rerun)):
        (tmp_path / folder).write_bytes(content)
    assert first_difference(name, tmp_path / "old", tmp_path / "new") == expected


def test_an_archive_with_equal_contents(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "old", "w") as old, zipfile.ZipFile(tmp_path / "new", "w") as new:
        old.writestr(zipfile.ZipInfo("config.json", (1980, 1, 1, 0, 0, 0)), "{}")
        new.writestr(zipfile.ZipInfo("config.json", (2024, 1, 1, 0, 0, 0)), "{}")
    assert "equal contents in another archive" in first_difference("m.keras", tmp_path / "old", tmp_path / "new")


CONFIG = ToleranceConfig(
    record="p.json", metric="test.accuracy", runs=Path("seeds.json"), key="test_accuracy", measure="make seeds"
)


#: The stages that each stage depends on, directly or indirectly.
BEFORE: dict[str, set[str]] = {"load": set(), "train": {"load"}, "report": {"load", "train", "evaluate"}}
BEFORE["evaluate"] = {"load", "train"}


class Described:
    """A project whose stage `train` writes the record of the machine."""

    def __init__(self, *names: str) -> None:
        commands = {"train": ("true", "train --platform p.json")}
        self.stages = [SimpleNamespace(address=name, commands=commands.get(name, (name,))) for name in names]

    def before(self, stage: SimpleNamespace) -> set[str]:
        return BEFORE[stage.address]


def allowed(folder: Path, *names: str) -> Tolerance:
    return tolerance(cast("Any", Described(*(names or BEFORE))), folder, CONFIG)


def test_a_stage_that_says_so_may_differ_and_all_that_follow(tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text('{"may_differ_in_bits_because": ["no AVX2"]}', encoding="utf-8")
    assert allowed(tmp_path) == Tolerance(["no AVX2"], frozenset({"train", "evaluate", "report"}))
    assert not allowed(tmp_path, "load").stages
    (tmp_path / "p.json").write_text('{"may_differ_in_bits_because": []}', encoding="utf-8")
    assert not allowed(tmp_path).stages


@pytest.mark.parametrize("text", [None, "{", "{}", "[]"])
def test_a_platform_record_without_reasons(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "p.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"stage 'train', p.json: expected a JSON record .* Got (a file|no such file)"):
        allowed(tmp_path)


def seeds(folder: Path, *accuracies: float) -> ToleranceConfig:
    runs = [{"seed": seed, "test_accuracy": accuracy} for seed, accuracy in enumerate(accuracies)]
    (folder / "seeds.json").write_text(json.dumps({"runs": runs}), encoding="utf-8")
    return CONFIG


SPREAD = (0.978, 0.979, 0.980, 0.981, 0.982)  # mean 0.98, standard deviation 0.00158, band 0.00632


@pytest.mark.parametrize("rerun", [0.98, 0.98 - 0.0063, 0.98 + 0.0063])
def test_an_accuracy_within_the_band(tmp_path: Path, rerun: float) -> None:
    line = check_metric(0.98, rerun, seeds(tmp_path, *SPREAD), tmp_path)
    assert "within +- 0.0063 (4 standard deviations over 5 seeds)" in line


@pytest.mark.parametrize("rerun", [0.98 - 0.0064, 0.98 + 0.0064, 0.1, math.nan])
def test_an_accuracy_outside_of_the_band(tmp_path: Path, rerun: float) -> None:
    with pytest.raises(InputError, match=r"test.accuracy of the re-run: expected 0.9800 \+- 0.0063 .* Got (0|nan)"):
        check_metric(0.98, rerun, seeds(tmp_path, *SPREAD), tmp_path)


def test_a_spread_of_other_parameters_or_of_too_few_seeds(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected a spread measured for these .*, with the committed 0\.9000"):
        check_metric(0.9, 0.9, seeds(tmp_path, *SPREAD), tmp_path)
    with pytest.raises(InputError, match=r"expected test_accuracy of 5 seeds or more\. Got 4"):
        check_metric(0.98, 0.98, seeds(tmp_path, *SPREAD[1:]), tmp_path)


@pytest.mark.parametrize("text", [None, "{", "{}", '{"runs": [1]}'])
def test_a_spread_that_cannot_be_read(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "seeds.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"seeds.json: expected test_accuracy .* Got (a file|no such)"):
        check_metric(0.98, 0.98, CONFIG, tmp_path)
