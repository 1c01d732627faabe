"""The history of a training is read with its types, and written in the form that DVC plots."""

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
    ("content", "problem"),
    [
        (None, "there is no such file"),
        (b"", "there are no rows with epoch, loss and accuracy"),
        (b"epoch,accuracy,loss\none,0.5,2\n", "the content is not valid"),
        (b"epoch,accuracy,loss\n1,0.5,1e999\n", "the content is not valid .1e999 is not a finite number"),
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path: Path, content: bytes | None, problem: str) -> None:
    path = tmp_path / "history.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=rf"history\.csv: {problem}.*Run `dvc repro` to train again\."):
        read_history(path)


def test_curves_name_the_validation_split_even_without_one() -> None:
    epochs: list[dict[str, float]] = [{"epoch": epoch, "loss": 2.0 / epoch, "accuracy": 0.5} for epoch in (1, 2)]
    curves = learning_curves(epochs)
    assert curves["last_epoch"] == {"loss": 1.0, "accuracy": 0.5}
    nothing = {"val_loss": None, "val_accuracy": None}
    assert curves["epochs"] == [epoch | nothing for epoch in epochs]
    assert [one["val_loss"] for one in learning_curves([epochs[0] | {"val_loss": 3.0}])["epochs"]] == [3.0]
