"""Reading digits from pictures: accuracy, output, and refused files, which do not stop the others."""

import json
import subprocess
import sys
from pathlib import Path
from unittest.mock import ANY

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from digits.apps import predict
from digits.apps.reading import Classifier, Reading, open_classifier
from dvcproof.runtime.program import InputError
from dvcproof.values import set_params
from tests.support.pictures import plain, prepared
from tests.support.project import ROOT, environment, recipe_params
from tests.support.strokes import draw

pytestmark = pytest.mark.usefixtures("tensorflow")

Digits = NDArray[np.uint8]


@pytest.fixture(scope="module")
def classifier(trained: Path) -> Classifier:
    return open_classifier(trained)


@pytest.fixture(scope="module")
def images() -> Digits:
    """Return real test images that were not used to choose any setting."""
    with np.load(ROOT / "data" / "mnist.npz", allow_pickle=False) as mnist:
        return mnist["x_test"][5000:5060]


def labels_of(classifier: Classifier, digits: Digits) -> list[int]:
    return [int(label) for label in classifier.probabilities(digits).argmax(axis=1)]


def test_digits_drawn_with_a_pen(classifier: Classifier) -> None:
    """The default model reads all digits. The quick model of these tests reads the 8 of the thinnest pen as a 3."""
    for width, least in ((4, 9), (10, 10), (30, 10)):
        drawn = np.stack([prepared(draw(digit, side=280, width=width)) for digit in range(10)])
        assert sum(read == digit for digit, read in enumerate(labels_of(classifier, drawn))) >= least


def test_a_name_cannot_control_the_terminal() -> None:
    line = predict.answer_line("a\x1b[31m\nb\udcff.png", [Reading("1", 0.75, {"0": 0.25, "1": 0.75}, unsure=True)])
    assert line == r"a\x1b[31m\nb\udcff.png: 1, probability 0.750, unsure"


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    """Run the program's `main` with these arguments, and return its exit status."""
    monkeypatch.setattr(sys, "argv", ["predict", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        predict.main()
    return int(stop.value.code or 0)


@pytest.mark.slow
def test_what_cannot_be_read_is_named_and_the_others_go_on(tmp_path: Path, trained: Path, loaded: Path) -> None:
    """Run the whole program on a subfolder, a blank picture, a text file, system files, and a missing file at once."""
    for name in ("pictures/subfolder", "empty"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("subfolder/Thumbs.db", "notes.txt", ".hidden"):
        (tmp_path / "pictures" / name).write_text("seven")
    draw(7, side=200, width=15).save(tmp_path / "pictures" / "subfolder" / "seven.png")
    draw(3, side=200, width=15).save(tmp_path / "pictures" / "b three.png")
    Image.new("L", (40, 40), 255).save(tmp_path / "pictures" / "blank.png")
    options = ("--model", str(trained), "--dataset", str(loaded), "pictures", "missing.png", "empty", "-")
    program = (sys.executable, "-m", "digits", "predict", *options)
    three = (tmp_path / "pictures" / "b three.png").read_bytes()
    variables = environment(PYTHONPATH=str(ROOT))
    result = subprocess.run(program, cwd=tmp_path, env=variables, input=three, capture_output=True, check=False)
    assert result.returncode == 1
    lines = [line.removesuffix(", unsure").rsplit(" ", 1) for line in result.stdout.decode().splitlines()]
    assert [line for line, _ in lines] == [
        "pictures/b three.png: 3, probability",
        "pictures/subfolder/seven.png: 7, probability",
        "-: 3, probability",
    ]
    assert all(0.5 < float(probability) <= 1 for _, probability in lines)
    errors = [line.removeprefix("ERROR: ") for line in result.stderr.decode().splitlines()]
    assert [error.partition(": ")[::2] for error in errors] == [
        ("pictures/blank.png", ANY),
        ("pictures/notes.txt", ANY),
        ("missing.png", "it cannot be read (No such file or directory). Give a picture, or a folder with pictures."),
        ("empty", "there are no files in this folder. Give a picture, or a folder with pictures."),
    ]


def test_programs_read_json(
    tmp_path: Path, trained: Path, loaded: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = Image.new("L", (2 * 140, 140), 255)
    page.paste(plain(4), (0, 0))
    page.paste(plain(2), (140, 0))
    page.save(tmp_path / "a\udcff.png")
    steps = tmp_path / "steps.png"
    options = ("--json", "--model", trained, "--dataset", loaded, "--explain", steps)
    assert command(monkeypatch, *options, tmp_path / "a\udcff.png") == 0
    output = capsys.readouterr()
    answer = json.loads(output.out)
    assert (output.err, output.out.isascii()) == ("", True)
    assert list(answer) == ["image", "predicted", "probability", "unsure", "probabilities", "digits"]
    assert (answer["image"], answer["predicted"]) == (str(tmp_path / "a\udcff.png"), "42")
    assert [digit["predicted"] for digit in answer["digits"]] == ["4", "2"]
    assert max(answer["probabilities"].values()) == min(digit["probability"] for digit in answer["digits"])
    with Image.open(steps) as drawn:
        assert drawn.width > 5 * drawn.height  # six steps side by side


def test_a_file_that_is_too_large_is_not_read_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(predict, "MAX_BYTES", 2**20)
    (tmp_path / "large.png").write_bytes(bytes(2**20 + 1))
    with pytest.raises(InputError, match=r"large\.png: the file is larger than 1 MiB\. Give a picture"):
        predict.read(str(tmp_path / "large.png"))
    with pytest.raises(InputError, match=r"/dev/zero: .*a device"):
        predict.read("/dev/zero")


def test_names_come_from_the_parameters(
    trained: Path, loaded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """If no picture can be read, no model is needed."""
    monkeypatch.chdir(tmp_path)
    plain(7).save("seven.png")
    names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    set_params(recipe_params(tmp_path), {"class_names": names})  # write params.yaml into the working folder
    assert command(monkeypatch, "--model", trained, "--dataset", loaded, "seven.png") == 0
    assert capsys.readouterr().out.startswith("seven.png: seven, probability ")
    assert command(monkeypatch, "--model", "none.keras", "--dataset", loaded, "none.png") == 1
    assert capsys.readouterr().err.startswith("ERROR: none.png: it cannot be read (No such file")
    with pytest.raises(InputError, match=r"none\.json: .* Run `dvc repro`"):
        command(monkeypatch, "--dataset", "none.json", "a.png")
