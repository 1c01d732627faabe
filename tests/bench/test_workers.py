"""The study of several workers: what it runs, what it counts, and that it refuses workers that change a byte."""

from pathlib import Path
from typing import Any

import pytest

from bench import workers
from bench.study import parse_values
from digits.params import read_document
from dvcproof.runtime.program import InputError
from tests.support.project import recipe_params

NETWORKS = ({"train.shards": 4}, {"train.shards": 4, "dense.units": 32})


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, int]]:
    """Workers, shards and units of each training that is asked for; models depend on the units alone."""
    seen = []

    def train(count: int, _: Path, folder: Path) -> dict[str, Any]:
        document = read_document(folder / "params.yaml")
        seen.append((count, document["train"]["shards"], document["dense"]["units"]))
        return {"seconds": 1.0, "exchanged": 0, "sha256": str(document["dense"]["units"])}

    monkeypatch.setattr(workers, "PARAMS", recipe_params(tmp_path))
    monkeypatch.setattr(workers, "data_hashes", dict)
    monkeypatch.setattr(workers, "train", train)
    return seen


def test_each_network_is_trained_on_each_number(asked: list[tuple[int, int, int]]) -> None:
    found = workers.study(NETWORKS, [1, 2], Path("data"))
    assert asked == [(1, 4, 512), (2, 4, 512), (1, 4, 32), (2, 4, 32)]
    assert [(one["workers"], one["values"], one["sha256"]) for one in found["runs"]] == [
        (count, values, str(values.get("dense.units", 512))) for values in NETWORKS for count in (1, 2)
    ]


@pytest.mark.usefixtures("asked")
def test_workers_that_change_the_model_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "train", lambda count, *_: {"seconds": 1, "exchanged": 0, "sha256": str(count)})
    with pytest.raises(InputError, match=r"models of {'train\.shards': 4}: expected equal bytes\. Got others"):
        workers.study(NETWORKS, [1, 2], Path("data"))


def test_values_are_read_as_params_yaml_has_them() -> None:
    assert parse_values(["train.shards=4", "dense.learning_rate=1e-3"]) == {
        "train.shards": 4,
        "dense.learning_rate": 0.001,
    }
    for text in ("train.shards", "=4", "train.shards="):
        with pytest.raises(InputError, match=r"a parameter: expected NAME=VALUE\. Got"):
            parse_values([text])


def test_a_training_that_fails_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"train with 1 workers: expected exit status 0\. Got "):
        workers.train(1, tmp_path, tmp_path)
