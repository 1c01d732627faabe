"""Generated inputs: none is treated wrongly, and readers without their bounds are caught."""

import io
import json
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.faults import generate, inputs, judge
from bench.faults.files import Files, Special, write
from bench.faults.readers import READERS
from digits.apps import decoding, summary
from digits.scoring import history
from digits.sources import tree
from digits.sources.arrays import Stream
from dvcproof import lockfile as lock
from tests.support.memory import linux_only

pytestmark = linux_only


@pytest.mark.slow
def test_no_generated_input_is_treated_wrongly() -> None:
    counts = inputs.inject(300)
    assert set(counts) == set(inputs.SHARES) == set(READERS)
    assert sum(sum(found.values()) for found in counts.values()) >= 300
    assert {
        kind: {name: count for name, count in found.items() if count and name not in judge.RIGHT}
        for kind, found in counts.items()
    } == {kind: {} for kind in counts}
    for name in judge.RIGHT:
        assert sum(found[name] for found in counts.values()) > 30


# Negative controls: each reader with its bound taken out


def labels_bomb() -> Files:
    """An archive of a hundred kilobytes with labels of 60 MB."""
    much = 6 * 10**7
    head = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({much},), }}\n".encode()
    sound = {f"{name}.npy": generate.saved(array) for name, array in generate.arrays().items()}
    claimed = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({much}, 28, 28), }}\n".encode()
    heads = {
        name: b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text for name, text in (("x", claimed), ("y", head))
    }
    members = sound | {"x_train.npy": heads["x"], "y_train.npy": heads["y"]}
    return {"data.npz": generate.inflated(members, {"y_train.npy": much})}


def pipe_for_images() -> Files:
    return {"data/train-images-idx3-ubyte": Special.PIPE}


def aliases() -> Files:
    nested = "".join(
        f"a{k}: &b{k} {{{', '.join(f'k{n}: *b{k - 1}' for n in range(9))}}}\n" if k else "a0: &b0 {x: 1}\n"
        for k in range(7)
    )
    stage = "stages:\n  s:\n    cmd: x\n    params:\n      params.yaml: *b6\n"
    return {"dvc.lock": (nested + stage).encode(), "params.yaml": b"{}"}


def picture() -> Files:
    file = io.BytesIO()
    Image.new("LA", (5000, 5000)).save(file, "PNG", compress_level=1)
    return {"picture": file.getvalue()}


def metrics(**changes: bytes) -> Files:
    files: dict[str, Any] = {name: text.encode() for name, text in generate.TABLES.items()}
    files["scores.json"] = json.dumps(generate.SCORES).encode()
    files["history.json"] = json.dumps(generate.HISTORY).encode()
    return files | {f"{name}.json": content for name, content in changes.items()}


def no_number() -> Files:
    return {**metrics(), "history.csv": generate.TABLES["history.csv"].replace("0.9", "NaN").encode()}


def deep() -> Files:
    return metrics(scores=b"[" * 10**5)


Break = Callable[[pytest.MonkeyPatch], None]
CONTROLS: dict[str, tuple[str, Callable[[], Files], Break, str]] = {
    "labels before sizes": (
        "npz",
        labels_bomb,
        lambda patch: patch.setattr(Stream, "require_size", lambda _: None),
        "memory",
    ),
    "a pipe": (
        "idx",
        pipe_for_images,
        lambda patch: patch.setattr(tree, "open_file", lambda path: path.open("rb")),
        "slow",
    ),
    "aliases": ("lock", aliases, lambda patch: patch.setattr(lock, "require_small_yaml", lambda _: None), "memory"),
    "many pixels": ("pictures", picture, lambda patch: patch.setattr(decoding, "MAX_PIXELS", 50 * 10**6), "memory"),
    "deep JSON": (
        "metrics",
        deep,
        lambda patch: patch.setattr(summary, "read", lambda path, *_, **__: json.loads(path.read_text())),
        "traceback",
    ),
    "no number": ("metrics", no_number, lambda patch: patch.setattr(history, "finite", float), "wrong"),
}


@pytest.mark.fast(1)
@pytest.mark.parametrize("case", CONTROLS)
def test_a_reader_without_its_bound_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    kind, files, take_out, outcome = CONTROLS[case]
    monkeypatch.setattr(judge, "MEGABYTES", 30)
    monkeypatch.setattr(judge, "SECONDS", 2.0)
    monkeypatch.setattr(judge, "WAITING", 8.0)
    folder, read = write(tmp_path / "case", files()), READERS[kind]()
    assert judge.attempt(read, folder)[0] == "refused"
    monkeypatch.setattr(judge, "WAITING", 2.0 if case == "a pipe" else 30.0)
    take_out(monkeypatch)
    assert judge.attempt(read, folder)[0] == outcome


def test_weights_that_are_no_numbers_are_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tensorflow: Any
) -> None:
    import h5py

    from bench.faults import models
    from exactkeras import archive, fit

    assert tensorflow
    members = models.sound()[0]
    file = io.BytesIO(members["model.weights.h5"])
    with h5py.File(file, "a") as weights:
        weights["layers/dense_1/vars/1"][0] = np.nan
    content = models.packed(members | {"model.weights.h5": file.getvalue()})
    folder, read = write(tmp_path / "case", {"model.keras": content}), READERS["models"]()
    outcome, line = judge.attempt(read, folder)
    assert outcome == "refused"
    assert "weights in digits/probabilities/bias that are no finite numbers" in line
    anything = SimpleNamespace(isfinite=lambda values: np.ones(np.shape(values), bool), where=np.where)
    for module in (archive, fit):
        monkeypatch.setattr(module, "np", anything)
    assert judge.attempt(read, folder)[0] == "wrong"


# Children that do not survive


def child_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, does: str) -> None:
    """Put a program in place of the children."""
    program = tmp_path / "program"
    program.write_text(f'#!/bin/sh\necho \'["read", ""]\'\n{does}\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(inputs.sys, "executable", str(program))  # type: ignore[attr-defined]
    monkeypatch.setattr(inputs, "SILENCE", 0.2)
    monkeypatch.setattr(inputs, "SHARES", {"npz": 1.0})


@pytest.mark.parametrize(("does", "outcome"), [("kill -SEGV $$", "died"), ("exec sleep 60", "slow")])
def test_a_child_that_ends_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, does: str, outcome: str) -> None:
    child_that(tmp_path, monkeypatch, does)
    found = inputs.inject(4)["npz"]
    assert {name: count for name, count in found.items() if count} == {"read": 2, outcome: 2}


def test_what_is_treated_wrongly_can_be_kept(tmp_path: Path) -> None:
    (tmp_path / "batch").mkdir()
    write(tmp_path / "batch" / "failed", {"a": b"1", "b": Special.PIPE})
    inputs._report("npz", "died", "why", tmp_path / "batch", tmp_path / "kept")
    (kept,) = (tmp_path / "kept").iterdir()
    assert kept.name.startswith("npz-died-")
    assert [path.name for path in kept.iterdir()] == ["a"]


def test_the_generated_data_sets_are_sound(tmp_path: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(generate.archive([("a", b"1")], zipfile.ZIP_STORED))) as file:
        assert file.read("a") == b"1"
    np.savez(tmp_path / "data.npz", **generate.arrays())  # type: ignore[arg-type]
    assert judge.attempt(READERS["npz"](), tmp_path) == ("read", "")
