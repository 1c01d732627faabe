"""The history of a training: read with its types, and in the form in which DVC plots it."""

from pathlib import Path

import pytest

from digits.scoring.history import learning_curves, read_history
from dvcproof.runtime.program import InputError


def test_epochs_are_integers_and_all_else_are_floats(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    path.write_text("epoch,accuracy,loss,val_loss\n1,0.5,2,1e-3\n2,0.75,0.1,2\n")
    epochs = read_history(path)
    assert epochs[0] == {"epoch": 1, "accuracy": 0.5, "loss": 2.0, "val_loss": 0.001}
    assert [type(value) for value in epochs[1].values()] == [int, float, float, float]


@pytest.mark.parametrize(
    ("content", "received"),
    [
        (None, "no such file"),
        (b"", "a file without them"),
        (b"epoch,accuracy,loss\n", "a file without them"),
        (b"epoch,accuracy\n1,0.5\n", "a file without them"),
        (b"epoch,accuracy,loss\none,0.5,2\n", "a damaged file"),
        (b"epoch,accuracy,loss\n1,0.5\n", "a damaged file"),
        (b"epoch,accuracy,loss\n1,0.5,nan\n", "a damaged file .nan is no finite number"),
        (b"epoch,accuracy,loss\n1,0.5,1e999\n", "a damaged file .1e999 is no finite number"),
        (b"\xff\x00\xfe", "a damaged file"),
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path: Path, content: bytes | None, received: str) -> None:
    path = tmp_path / "history.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=rf"expected a CSV .*\. Got {received}.*Run `dvc repro`"):
        read_history(path)


def test_curves_name_the_validation_split_even_without_one() -> None:
    curves = learning_curves([{"epoch": 1, "loss": 2.0, "accuracy": 0.5}])
    assert curves["last_epoch"] == {"loss": 2.0, "accuracy": 0.5}
    assert curves["epochs"] == [{"epoch": 1, "loss": 2.0, "accuracy": 0.5, "val_loss": None, "val_accuracy": None}]


def test_the_last_epoch_is_the_last_row() -> None:
    epochs = [{"epoch": epoch, "loss": 1 / epoch, "accuracy": 0.5, "val_loss": 3.0} for epoch in (1, 2, 3)]
    assert learning_curves(epochs)["last_epoch"] == {"loss": 1 / 3, "accuracy": 0.5, "val_loss": 3.0}
    assert [epoch["val_loss"] for epoch in learning_curves(epochs)["epochs"]] == [3.0] * 3
