"""The study over seeds: which run of it is the typical one, and that one command takes its seed."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench import typical_seed
from bench.seeds import nearest_seed
from digits.params import read_document
from tests.support.project import recipe_params

STUDY: dict[str, Any] = {
    "test_accuracy": {"mean": 0.98},
    "runs": [{"seed": seed, "test_accuracy": accuracy} for seed, accuracy in ((0, 0.97), (4, 0.981), (9, 0.9785))],
}


def test_the_typical_run_is_the_nearest_to_the_mean() -> None:
    assert nearest_seed(STUDY) == 4
    assert nearest_seed(STUDY | {"test_accuracy": {"mean": 0.9701}}) == 0


def test_its_seed_is_taken_and_nothing_else_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    params = recipe_params(tmp_path, train={"seed": 0})
    before = params.read_text(encoding="utf-8")
    (tmp_path / "seeds.json").write_text(json.dumps(STUDY), encoding="utf-8")
    monkeypatch.setattr(typical_seed, "PARAMS", params)
    monkeypatch.setattr("sys.argv", ["typical_seed", str(tmp_path / "seeds.json")])
    typical_seed.main()
    assert capsys.readouterr().out == "train.seed: 4\n"
    assert read_document(params)["train"]["seed"] == 4
    assert params.read_text(encoding="utf-8") == before.replace("  seed: 0\n", "  seed: 4\n")
