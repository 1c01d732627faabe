"""Readers treat no generated input wrongly, and readers without their bounds are caught."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.faults import generate, inputs, judge
from bench.faults.files import Files, Special, image_file, write
from bench.faults.files import archive as archive_of
from bench.faults.readers import reader
from digits.apps import decoding, summary
from digits.scoring import history
from digits.sources import arrays, tree
from dvcproof import lockfile as lock
from tests.support.memory import linux_only

pytestmark = linux_only


@pytest.mark.slow
def test_no_generated_input_is_treated_wrongly() -> None:
    counts = inputs.inject(300)
    assert set(counts) == set(generate.KINDS)
    assert sum(found["injected"] for found in counts.values()) >= 300
    assert [kind for kind, found in counts.items() if any(found[name] for name in judge.BAD)] == []
    for name in (judge.Outcome.RIGHT, judge.Outcome.LINE):
        assert sum(found[name] for found in counts.values()) > 30


@pytest.mark.parametrize("kind", [kind for kind in generate.KINDS if kind != "models"])
def test_sound_files_are_read(tmp_path: Path, kind: str) -> None:
    folder = write(tmp_path / "case", generate.KINDS[kind].files()[0])
    assert judge.attempt(reader(kind), folder) == (judge.Outcome.RIGHT, "")


# Negative controls: readers without a bound


def aliases() -> Files:
    """Return a dvc.lock whose parameters refer to each other seven levels deep."""
    levels = [f"a{k}: &b{k} {{{', '.join(f'k{n}: *b{k - 1}' for n in range(9))}}}\n" for k in range(1, 7)]
    stage = "stages:\n  s:\n    cmd: x\n    params:\n      params.yaml: *b6\n"
    return {"dvc.lock": f"a0: &b0 {{x: 1}}\n{''.join(levels)}{stage}".encode(), "params.yaml": b"{}"}


PIPE: Files = {"data/train-images-idx3-ubyte": Special.PIPE}
NO_NUMBER = generate.METRICS["history.csv"].replace(b"0.9", b"NaN")

#: For each case: the kind of reader, its files, the bound to replace, the replacement, and the resulting problem.
CONTROLS: dict[str, tuple[str, Callable[[], Files], Any, str, Any, str]] = {
    "labels before sizes": (
        *("npz", lambda: {"data.npz": generate.npz_bombs(6 * 10**7)[1]}),  # a hundred kilobytes, 60 MB of labels
        *(arrays, "require_size", lambda *_: None, "memory"),
    ),
    "a pipe": ("idx", lambda: PIPE, tree, "open_file", lambda path: path.open("rb"), "more than"),
    "aliases": ("lock", aliases, lock, "require_small_yaml", lambda _: None, "memory"),
    "many pixels": (
        *("pictures", lambda: {"picture": image_file(Image.new("LA", (5000, 5000)), compress_level=1)}),
        *(decoding, "MEGAPIXELS", 50, "memory"),
    ),
    "deep JSON": (
        *("metrics", lambda: generate.METRICS | {"scores.json": b"[" * 10**5}),
        *(summary, "read", lambda path, *_, **__: json.loads(path.read_text()), "traceback"),
    ),
    "no number": (
        *("metrics", lambda: generate.METRICS | {"history.csv": NO_NUMBER}),
        *(history, "finite", float, "accepted"),
    ),
}


@pytest.mark.parametrize("case", CONTROLS)
def test_a_reader_without_its_bound_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    kind, files, owner, bound, without, problem = CONTROLS[case]
    monkeypatch.setattr(judge, "MEGABYTES", 30)
    monkeypatch.setattr(judge, "SECONDS", 2.0)
    monkeypatch.setattr(judge, "WAITING", 8.0)
    folder, read = write(tmp_path / "case", files()), reader(kind)
    assert judge.attempt(read, folder).outcome is judge.Outcome.LINE
    monkeypatch.setattr(judge, "WAITING", 2.0 if case == "a pipe" else 30.0)
    monkeypatch.setattr(owner, bound, without)
    # Try three times: while a reader takes memory, the system may take back other memory of this process.
    verdicts = (judge.attempt(read, folder) for _ in range(3))
    verdict = next(verdict for verdict in verdicts if verdict.outcome in judge.BAD)
    assert verdict.problem.startswith(problem)


def test_weights_that_are_no_numbers_are_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tensorflow: Any
) -> None:
    import h5py

    from exactkeras import archive, fit

    assert tensorflow
    members = dict(generate.members_of(generate.models()[0]["model.keras"]))
    file = io.BytesIO(members["model.weights.h5"])
    with h5py.File(file, "a") as weights:
        weights["layers/dense_1/vars/1"][0] = np.nan
    content = archive_of((members | {"model.weights.h5": file.getvalue()}).items())
    folder, read = write(tmp_path / "case", {"model.keras": content}), reader("models")
    outcome, line = judge.attempt(read, folder)
    assert outcome is judge.Outcome.LINE
    assert "the weights digits/probabilities/bias are not finite" in line
    anything = SimpleNamespace(isfinite=lambda values: np.ones(np.shape(values), bool), where=np.where)
    for module in (archive, fit):
        monkeypatch.setattr(module, "np", anything)
    assert judge.attempt(read, folder).outcome is judge.Outcome.WRONG


@pytest.mark.parametrize(("does", "outcome"), [("kill -SEGV $$", "wrong"), ("exec sleep 60", "stuck")])
def test_a_child_that_ends_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, does: str, outcome: str) -> None:
    program = tmp_path / "program"
    program.write_text(f'#!/bin/sh\necho \'["right", ""]\'\n{does}\n')
    program.chmod(0o700)
    monkeypatch.setattr(inputs.sys, "executable", str(program))  # type: ignore[attr-defined]
    monkeypatch.setattr(inputs, "PATIENCE", 2)
    monkeypatch.setattr(inputs, "KINDS", {"npz": generate.KINDS["npz"]._replace(share=100)})
    assert +inputs.inject(4)["npz"] == {"injected": 2, "right": 1, outcome: 1}
