"""A training continues from its checkpoint, with the bytes of an uninterrupted one, or starts from the beginning."""

import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

from dvcproof.runtime.watch import see_code, watch
from tests.support import several
from tests.support.arrays import flip

EPOCHS = 3
HISTORY = {"loss": [0.1 + 0.2, 1e-9, 3.0], "accuracy": [0.5, 0.75, 1.0]}


@pytest.fixture(autouse=True)
def tf(tensorflow: Any) -> Any:
    return tensorflow


def checkpoint_at(path: Path, **other: str) -> Any:
    """Return the checkpoint of a training with some fingerprint."""
    from exactkeras.checkpoint import Checkpoint, Fingerprint

    return Checkpoint(path, Fingerprint("0" * 64, "1" * 64, "2" * 64)._replace(**other))


def train(name: str, folder: Path, checkpoint: Any = None) -> bytes:
    recipe = several.recipe_of(name)._replace(epochs=EPOCHS)
    return several.train(name, folder, checkpoint=checkpoint, recipe=recipe)


@pytest.fixture(scope="module")
def whole(tensorflow: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[bytes, list[bytes]]]:  # noqa: ARG001
    """Return both networks, trained once: the result, and the checkpoint after each epoch, as a kill would leave it."""
    folder, found = tmp_path_factory.mktemp("whole"), {}
    for name in several.NETWORKS:
        checkpoint, left = checkpoint_at(folder / name), list[bytes]()

        def write(*given: Any, checkpoint: Any = checkpoint, left: list[bytes] = left) -> None:
            type(checkpoint).write(checkpoint, *given)
            left.append(checkpoint.path.read_bytes())

        with mock.patch.object(checkpoint, "write", write):
            found[name] = train(name, folder, checkpoint), left
    return found


@pytest.mark.fast(1)
@pytest.mark.parametrize(("name", "epochs"), [("dense", 2), ("dense", EPOCHS), ("convnet", 1)])
def test_it_continues_to_the_same_bytes(
    name: str, epochs: int, whole: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / ".model.checkpoint"
    path.write_bytes(whole[name][1][epochs - 1])
    assert train(name, tmp_path, checkpoint_at(path)) == whole[name][0]
    assert f"{path}: continuing the training after epoch {epochs}\n" in capsys.readouterr().out
    assert sorted(file.name for file in tmp_path.iterdir()) == [path.name, f"{name}.keras", f"{name}.trained"]


@pytest.mark.parametrize("forgotten", ["numbers of the epochs", "optimizer"])
def test_with_a_part_forgotten_the_bytes_are_others(
    forgotten: str, whole: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from exactkeras import batches, checkpoint

    (tmp_path / "checkpoint").write_bytes(whole["dense"][1][1])
    if forgotten == "optimizer":
        set_values = checkpoint.set_values
        monkeypatch.setattr(checkpoint, "set_values", lambda state, values: set_values(state[:4], values))
    else:
        monkeypatch.setattr(batches, "ITERATORS", 0)
    assert train("dense", tmp_path, checkpoint_at(tmp_path / "checkpoint")) != whole["dense"][0]


@pytest.fixture
def kept(tf: Any, tmp_path: Path) -> tuple[Path, list[Any]]:
    """Return a checkpoint after three epochs, and variables like those in it."""
    values = [tf.Variable([[1.5, -2.0], [0.0, 3.0]]), tf.Variable(7, dtype=tf.int64), tf.Variable(tf.zeros((0, 3)))]
    checkpoint_at(tmp_path / "checkpoint").write(values, HISTORY)
    return tmp_path / "checkpoint", [tf.Variable(tf.zeros_like(value)) for value in values]


def test_what_was_written_is_restored(kept: tuple[Path, list[Any]]) -> None:
    path, state = kept
    assert checkpoint_at(path).restore(state) == HISTORY
    assert [variable.numpy().tolist() for variable in state] == [[[1.5, -2.0], [0.0, 3.0]], 7, []]
    assert checkpoint_at(path).restore(state[:1]) == {}  # state of another network
    for _ in range(2):
        checkpoint_at(path).remove()
        assert checkpoint_at(path).restore(state) == {}


def damage(change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(change(path.read_bytes()))


def replaced(path: Path) -> Path:
    path.unlink()
    return path


def sealed(content: bytes) -> bytes:
    return hashlib.sha256(content).digest() + content


UNUSABLE: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut": (damage(lambda content: content[:-1]), "it is damaged"),
    "a bit of a weight": (damage(lambda content: flip(content, len(content) - 9)), "it is damaged"),
    "empty": (damage(lambda _: b""), "it is damaged"),
    "far too long": (damage(lambda content: content + bytes(2**23)), "larger"),
    "a folder": (lambda path: replaced(path).mkdir(), "Is a directory"),
    "a pipe": (lambda path: os.mkfifo(replaced(path)), "a pipe"),
    "nested JSON": (damage(lambda _: sealed(b"[" * 10**5 + b"\n")), "it is damaged"),
    "another form": (damage(lambda _: sealed(b"[]\n")), "it is damaged"),
}


@pytest.mark.parametrize("case", [*UNUSABLE, "parameters", "code", "data"])
def test_a_damaged_or_foreign_one_is_not_used(
    case: str, kept: tuple[Path, list[Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    path, state = kept
    spoil, reason = UNUSABLE.get(case, (lambda _: None, f"it belongs to other {case}"))
    spoil(path)
    foreign = {} if case in UNUSABLE else {case: "f" * 64}
    assert checkpoint_at(path, **foreign).restore(state) == {}
    assert not any(variable.numpy().any() for variable in state)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{path}: not used, the training starts from the beginning: ")
    assert reason in line


def test_a_full_disk_does_not_end_a_training(
    kept: tuple[Path, list[Any]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, state = kept
    before = path.read_bytes()

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", full)
        checkpoint_at(path).write(state, HISTORY)
    assert path.read_bytes() == before  # still the checkpoint of an earlier epoch
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("WARNING: no checkpoint")
    assert "No space left on device" in line


def test_code_counts_as_it_was_before_its_import(tf: Any, tmp_path: Path) -> None:
    """Otherwise a checkpoint that old code wrote would count as one of the new code, which was saved meanwhile."""
    from exactkeras.checkpoint import fingerprint

    file = tmp_path / "train.py"
    (tmp_path / "__init__.py").touch()

    def written(text: str) -> str:
        file.write_text(text)
        return str(fingerprint(1, [file], [tf.zeros(1)]).code)

    old, new = written("old"), written("new")
    written("old")
    with watch():
        see_code(tmp_path.parent)
        assert written("new") not in (old, new)
    assert written("new") == new != old


def test_the_fingerprint_tells_what_has_changed(tf: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import keras

    from exactkeras.checkpoint import fingerprint

    rows = np.zeros((3, 2), np.float32)

    def found(parameters: object = 1, data: Any = rows, text: str = "pass") -> Any:
        (tmp_path / "train.py").write_text(text)
        return fingerprint({"seed": parameters}, [tmp_path / "train.py"], [tf.constant(data), tf.zeros((0, 2))])

    first = found()
    assert found() == first
    assert found(parameters=2) == first._replace(parameters=found(2).parameters) != first
    for other in (rows.astype(np.float64), rows[:2], np.eye(3, 2, dtype=np.float32)):
        assert found(data=other) == first._replace(data=found(data=other).data) != first
    assert found(text="...") == first._replace(code=found(text="...").code) != first
    monkeypatch.setattr(keras, "__version__", "4")
    assert found() == first._replace(code=found().code) != first
