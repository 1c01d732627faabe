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


def keras(kernel: list[float], name: str = "dense", date: int = 1980, zipped: int = 1980) -> bytes:
    """Return an archive as Keras writes it, with one array."""
    weights, archive = io.BytesIO(), io.BytesIO()
    with h5py.File(weights, "w") as file:
        file[f"layers/{name}/vars/0"] = np.asarray(kernel, np.float32)
    with zipfile.ZipFile(archive, "w") as file:
        for entry, content in (
            ("metadata.json", json.dumps({"date_saved": date})),
            ("model.weights.h5", weights.getvalue()),
        ):
            file.writestr(zipfile.ZipInfo(entry, (zipped, 1, 1, 0, 0, 0)), content)
    return archive.getvalue()


WEIGHTS, DATES = "model.weights.h5: weights layers", " (dates or order of its entries)"
TWO = b'{"test": {"loss": 1, "accuracy": 0.97}, "epochs": [1, 2]}'


@pytest.mark.parametrize(
    ("name", "recorded", "rerun", "expected"),
    [
        ("a.npy", npy([1, 2]), npy([1, 2, 3]), "int64 [2] recorded, int64 [3] re-run"),
        (
            "a.npy",
            npy([[np.nan, 2.0], [0.0, 4.0]]),
            npy([[np.nan, 2.0], [-0.0, 6.0]]),
            "first at [1, 0], 0.0 recorded, -0.0 re-run; 2 of 4 values differ, by at most 2",
        ),
        ("a.npy", npy([True]), npy([False]), "first at [0], True recorded, False re-run; 1 of 1 values differ"),
        ("a.npy", npy([1])[:-1], npy([1]), "first differing byte at 135; 135 bytes recorded, 136 re-run"),
        (
            "m.keras",
            keras([1, 2]),
            keras([1, 2.5]),
            f"{WEIGHTS}/dense/vars/0 first at [1], 2.0 recorded, 2.5 re-run; 1 of 2 values differ, by at most 0.5",
        ),
        (
            "m.keras",
            keras([1], "old"),
            keras([1], "new"),
            "model.weights.h5: weights layers/old/vars/0 gone in the re-run",
        ),
        ("m.keras", keras([1], date=1), keras([1], date=2), "metadata.json: date_saved: 1 recorded, 2 re-run"),
        (
            "m.keras",
            keras([1]),
            keras([1], zipped=1990),
            "equal contents in another archive (dates or order of its entries)",
        ),
        ("m.keras", b"no archive", b"nor this", "first differing byte at 2; 10 bytes recorded, 8 re-run"),
        ("s.json", TWO, TWO.replace(b"7", b"8"), "test.accuracy: 0.97 recorded, 0.98 re-run"),
        ("s.json", b'{"a": []}', b'{"a": [1]}', "a.0: nothing recorded, 1 re-run"),
        ("s.json", b'{"a": 1}', b'{"a": true}', "a: 1 recorded, true re-run"),
        ("s.json", b'{"a": 1}', b'{"a":1}', "first differing byte at 5; 8 bytes recorded, 7 re-run"),
        ("s.json", b"{", b"}", "first differing byte at 0"),
        ("h.csv", b"a\n1\n", b"a\n", "line 2: 1 recorded, nothing re-run"),
    ],
)
def test_first_difference(tmp_path: Path, name: str, recorded: bytes, rerun: bytes, expected: str) -> None:
    for folder, content in (("old", recorded), ("new", rerun)):
        (tmp_path / folder).write_bytes(content)
    assert first_difference(name, tmp_path / "old", tmp_path / "new") == expected


CONFIG = ToleranceConfig(
    record="p.json", metric="test.accuracy", runs=Path("seeds.json"), key="test_accuracy", measure="make seeds"
)


class Described:
    """A project whose stage `train` writes the record of the machine."""

    def __init__(self, *names: str) -> None:
        commands = {"train": ("true", "train --platform p.json")}
        self.stages = [SimpleNamespace(address=name, commands=commands.get(name, (name,))) for name in names]

    def before(self, stage: SimpleNamespace) -> list[str]:
        names = [one.address for one in self.stages]
        return names[: names.index(stage.address)]


def allowed(folder: Path, *names: str) -> Tolerance:
    return tolerance(cast("Any", Described(*(names or ("load", "train", "evaluate", "report")))), folder, CONFIG)


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


@pytest.mark.parametrize(
    ("rerun", "within"), [(0.98 - 0.0063, True), (0.98 + 0.0063, True), (0.98 - 0.0064, False), (math.nan, False)]
)
def test_an_accuracy_must_be_within_the_band(tmp_path: Path, rerun: float, *, within: bool) -> None:
    config = seeds(tmp_path, *SPREAD)
    if within:
        line = check_metric(0.98, rerun, config, tmp_path)
        assert "within +- 0.0063 (4 standard deviations over 5 seeds)" in line
    else:
        with pytest.raises(InputError, match=r"test.accuracy of the re-run: expected 0.9800 \+- 0.0063 .* Got (0|nan)"):
            check_metric(0.98, rerun, config, tmp_path)


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
