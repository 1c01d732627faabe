"""Reading digits from pictures: how many are right, what is printed, and what is refused while the others go on."""

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from digits.apps import predict
from digits.apps.ink import form
from digits.apps.reading import Classifier, Reader, Reading, open_classifier
from digits.data.splits import open_split, to_features
from digits.scoring.predictions import predict as evaluated
from dvcproof.runtime.program import InputError
from dvcproof.values import set_params
from tests.support.arrays import sample_dataset
from tests.support.centring import centred_by_box
from tests.support.pictures import prepared
from tests.support.project import AT_ROOT, ROOT, environment, recipe_params, run_ok
from tests.support.strokes import draw
from tests.support.trained import NETWORK

pytestmark = pytest.mark.usefixtures("tensorflow")

Digits = NDArray[np.uint8]
Picture = Callable[[Digits], Image.Image]

FIRST, COUNT = 5000, 60


@pytest.fixture(scope="module")
def classifier(trained: Path) -> Classifier:
    return open_classifier(trained)


@pytest.fixture(scope="module")
def images() -> Digits:
    """Real test images that had no part in the choice of any setting."""
    with np.load(ROOT / "data" / "mnist.npz", allow_pickle=False) as mnist:
        return mnist["x_test"][FIRST : FIRST + COUNT]


def labels_of(classifier: Classifier, digits: Digits) -> list[int]:
    return [int(label) for label in classifier.probabilities(digits).argmax(axis=1)]


def enlarged(image: Digits) -> Image.Image:
    return Image.fromarray(image).resize((280, 280), Image.Resampling.BICUBIC)


def inverted(image: Digits) -> Image.Image:
    return Image.fromarray(255 - image)


def coloured(image: Digits) -> Image.Image:
    share = np.asarray(enlarged(image), np.float64)[..., None] / 255
    return Image.fromarray((share * (20, 40, 160) + (1 - share) * (250, 240, 180)).astype(np.uint8))


def in_a_corner(image: Digits) -> Image.Image:
    picture = Image.new("L", (500, 350), 230)
    picture.paste(enlarged(image).resize((140, 140)).point(lambda level: 230 - level * 200 // 255), (350, 10))
    return picture


def cut_out(image: Digits) -> Image.Image:
    return enlarged(image).crop(enlarged(image).getbbox())


def on_nothing(image: Digits) -> Image.Image:
    picture = Image.new("RGBA", (280, 280), (200, 0, 0, 0))
    picture.putalpha(enlarged(image))
    return picture


def photographed(image: Digits) -> Image.Image:
    share = np.asarray(enlarged(image), np.float64) / 255
    y, x = np.mgrid[0:280, 0:280] / 280
    noise = np.random.default_rng(int(image.sum())).normal(0, 5, share.shape)
    levels = (190 - 110 * share) * (0.8 + 0.3 * x + 0.1 * y) + noise
    stream = io.BytesIO()
    Image.fromarray(levels.clip(0, 255).astype(np.uint8)).save(stream, "JPEG")
    return Image.open(stream)


PICTURES = (Image.fromarray, enlarged, inverted, coloured, in_a_corner, cut_out, on_nothing, photographed)


@pytest.mark.slow
@pytest.mark.parametrize("picture", PICTURES)
def test_mnists_digits_are_read_as_before(classifier: Classifier, images: Digits, picture: Picture) -> None:
    digits = np.stack([prepared(picture(image)) for image in images])
    assert agreement(classifier, digits, images) >= 0.95


def agreement(classifier: Classifier, digits: Digits, images: Digits) -> float:
    """How many of the digits are read as the images that they come from, rightly or not."""
    return float(np.mean(np.equal(labels_of(classifier, digits), labels_of(classifier, images))))


@pytest.mark.parametrize("picture", [inverted, coloured, in_a_corner, on_nothing, photographed])
def test_only_shrinking_the_picture_would_not_do(classifier: Classifier, images: Digits, picture: Picture) -> None:
    shrunk = [np.asarray(picture(image).convert("L").resize((28, 28))) for image in images]
    assert agreement(classifier, np.stack(shrunk), images) < 0.4


@pytest.mark.slow
def test_centring_by_the_box_would_not_do(
    classifier: Classifier, images: Digits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(form, "centre", centred_by_box)
    digits = np.stack([prepared(inverted(image)) for image in images])
    assert agreement(classifier, digits, images) < 0.9


@pytest.mark.fast(1)
@pytest.mark.parametrize("width", [4, 10, 20, 30])
def test_digits_drawn_with_a_pen(classifier: Classifier, width: int) -> None:
    """The default model reads all of them. The quick one of these tests takes the 8 of the thinnest pen for a 3."""
    drawn = np.stack([prepared(draw(digit, side=280, width=width)) for digit in range(10)])
    right = sum(read == digit for digit, read in enumerate(labels_of(classifier, drawn)))
    assert right >= (9 if width == 4 else 10)


@pytest.mark.slow
def test_printed_digits_are_mostly_read(classifier: Classifier) -> None:
    """A network that has only seen handwriting. Pillow's own font, and those that come with matplotlib."""
    folder = Path(mpl.get_data_path()) / "fonts" / "ttf"
    names = ("DejaVuSans", "DejaVuSansMono", "DejaVuSerif", "STIXGeneral", "cmr10", "cmss10", "cmtt10")
    fonts = [ImageFont.load_default(160), *(ImageFont.truetype(folder / f"{name}.ttf", 160) for name in names)]
    right = []
    for font in fonts:
        pictures = [Image.new("L", (300, 300), 255) for _ in range(10)]
        for digit, picture in enumerate(pictures):
            ImageDraw.Draw(picture).text((90, 40), str(digit), fill=0, font=font)
        read = labels_of(classifier, np.stack([prepared(picture) for picture in pictures]))
        right += [label == digit for digit, label in enumerate(read)]
    assert np.mean(right) >= 0.8


def test_the_probabilities_are_those_of_evaluate(
    classifier: Classifier, trained: Path, images: Digits, tmp_path: Path
) -> None:
    import keras

    from exactkeras.fit import log_probabilities

    np.save(tmp_path / "test_features.npy", to_features(images))
    np.save(tmp_path / "test_labels.npy", np.zeros(len(images), np.uint8))
    model = keras.models.load_model(trained, compile=False)
    (found,) = evaluated(model, [open_split(tmp_path, "test", sample_dataset())], 100)
    expected = np.exp(found.log_probabilities)
    np.testing.assert_allclose(classifier.probabilities(images), expected, atol=1e-6)
    unscaled = np.exp(log_probabilities(model, len(images))(images.reshape(-1, 784).astype(np.float32)))
    assert np.abs(unscaled - expected).max() > 0.1


def save_convolutional(path: Path, classes: int) -> None:
    """Save a network of another kind than the pipeline's."""
    import keras

    from exactkeras import archive

    model = keras.Sequential(
        [
            keras.Input((784,)),
            keras.layers.Reshape((28, 28, 1)),
            keras.layers.Conv2D(2, 5, strides=3),
            keras.layers.Flatten(),
            keras.layers.Dense(classes, activation="softmax"),
        ]
    )
    archive.save(model, path)


def test_the_classes_are_those_of_the_model(tmp_path: Path, images: Digits) -> None:
    save_convolutional(tmp_path / "model.keras", 3)
    assert open_classifier(tmp_path / "model.keras").names == ["0", "1", "2"]
    classifier = open_classifier(tmp_path / "model.keras", ["ant", "bee", "cat"])
    (prediction,) = Reader(classifier, sample_dataset(3), None).read(images[:1])
    assert list(prediction.probabilities) == ["ant", "bee", "cat"]
    assert sum(prediction.probabilities.values()) == pytest.approx(1)
    assert prediction.probabilities[prediction.predicted] == max(prediction.probabilities.values())
    with pytest.raises(
        InputError, match=r"'class_names': expected 3 names, one for each of the labels 0 to 2\. Got 2 names\."
    ):
        open_classifier(tmp_path / "model.keras", ["ant", "bee"])


def test_a_name_cannot_steer_the_terminal() -> None:
    reading = Reading({"0": 0.25, "1": 0.75}, unsure=True)
    prediction = predict.Prediction("a\x1b[31m\nb\udcff.png", [reading])
    assert prediction.as_line() == r"a\x1b[31m\nb\udcff.png: 1, probability 0.750, unsure"
    assert json.loads(prediction.as_json())["image"] == "a\x1b[31m\nb\udcff.png"
    assert prediction.as_json().isascii()
    assert "\n" not in prediction.as_json()


@pytest.fixture
def folder(tmp_path: Path, images: Digits) -> Path:
    """A folder with pictures, one in a subfolder, a blank one, a note and what systems leave; and an empty folder."""
    pictures = tmp_path / "pictures"
    (pictures / "subfolder").mkdir(parents=True)
    (pictures / ".trash").mkdir()
    (pictures / ".trash" / "x.png").write_text("deleted")
    (pictures / "subfolder" / "Thumbs.db").write_text("made by a system")
    draw(7, side=200, width=15).save(pictures / "subfolder" / "seven.png")
    (tmp_path / "empty").mkdir()
    draw(3, side=200, width=15).save(pictures / "b three.png")
    inverted(images[0]).save(pictures / "a.png")
    Image.new("L", (40, 40), 255).save(pictures / "blank.png")
    (pictures / "notes.txt").write_text("seven")
    (pictures / ".hidden").write_text("hidden")
    return tmp_path


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    """Run the program's `main` with these arguments, and give back its exit status."""
    monkeypatch.setattr(sys, "argv", ["predict", *map(str, arguments)])
    try:
        predict.main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def program(model: Path, dataset: Path, *arguments: str) -> tuple[str, ...]:
    """The command that reads pictures with this model."""
    return (sys.executable, "-m", "digits", "predict", "--model", str(model), "--dataset", str(dataset), *arguments)


@pytest.mark.slow
def test_what_cannot_be_read_is_named_and_the_others_go_on(
    folder: Path, trained: Path, loaded: Path, classifier: Classifier, images: Digits
) -> None:
    """The whole program, with everything at once."""
    three = (folder / "pictures" / "b three.png").read_bytes()
    arguments = ("pictures", "missing.png", "empty", "-", "pictures/a.png")
    result = subprocess.run(
        program(trained, loaded, *arguments),
        cwd=folder,
        env=environment(PYTHONPATH=str(ROOT)),
        input=three,
        capture_output=True,
        check=False,
    )
    assert result.returncode == 1
    (label,) = labels_of(classifier, images[:1])
    lines = [line.removesuffix(", unsure").rsplit(" ", 1) for line in result.stdout.decode().splitlines()]
    assert [line for line, _ in lines] == [
        f"pictures/a.png: {label}, probability",
        "pictures/b three.png: 3, probability",
        "pictures/subfolder/seven.png: 7, probability",
        "-: 3, probability",
        f"pictures/a.png: {label}, probability",
    ]
    assert all(0.5 < float(probability) <= 1 for _, probability in lines)
    errors = result.stderr.decode().splitlines()
    for error, expected in zip(
        errors,
        (
            "ERROR: pictures/blank.png: expected a digit, darker or lighter than its background. Got no ink.",
            "ERROR: pictures/notes.txt: expected an image",
            "ERROR: missing.png: expected a picture of at most 32 MiB. Got no such file.",
            "ERROR: empty: expected a picture of at most 32 MiB. Got a folder with no files in it.",
        ),
        strict=True,
    ):
        assert error.startswith(expected)


def test_programs_read_json(
    folder: Path, trained: Path, loaded: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        command(monkeypatch, "--json", "--model", trained, "--dataset", loaded, folder / "pictures" / "b three.png")
        == 0
    )
    output = capsys.readouterr()
    answer = json.loads(output.out)
    assert output.err == ""
    assert list(answer) == ["image", "predicted", "probability", "unsure", "probabilities", "digits"]
    assert answer["image"] == str(folder / "pictures" / "b three.png")
    assert answer["predicted"] == "3"
    assert answer["probability"] == answer["probabilities"]["3"] == max(answer["probabilities"].values())
    assert list(answer["probabilities"]) == list("0123456789")


def test_if_nothing_can_be_read_no_model_is_needed(
    tmp_path: Path, loaded: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(monkeypatch, "--model", tmp_path / "none.keras", "--dataset", loaded, tmp_path / "none.png") == 1
    assert capsys.readouterr().err.startswith(f"ERROR: {tmp_path / 'none.png'}: expected a picture")


def test_a_file_that_is_too_large_is_not_read_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(predict, "MAX_BYTES", 2**20)
    (tmp_path / "large.png").write_bytes(bytes(2**20 + 1))
    with pytest.raises(InputError, match=r"expected a picture of at most 1 MiB\. Got a larger file\."):
        predict.read(str(tmp_path / "large.png"))
    with pytest.raises(InputError, match=r"/dev/zero: expected a regular file\. Got a device\."):
        predict.read("/dev/zero")


def missing(path: Path) -> None:
    assert not path.exists()


def damaged(path: Path) -> None:
    save_convolutional(path, 3)
    path.write_bytes(path.read_bytes()[:500])


def of_another_form(path: Path) -> None:
    from exactkeras import archive

    archive.save(NETWORK.build((10, 10), 3), path)


def of_images(path: Path) -> None:
    import keras

    from exactkeras import archive

    archive.save(keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Conv2D(2, 5)]), path)


@pytest.mark.parametrize(
    ("make", "received"),
    [
        (missing, "no such file"),
        (damaged, r"a damaged file \(.*\)"),
        (of_another_form, r"one from \(None, 100\) to \(None, 3\)"),
        (of_images, r"one from \(None, 28, 28, 1\) to \(None, 24, 24, 2\)"),
    ],
)
def test_another_model_is_refused(make: Callable[[Path], None], received: str, tmp_path: Path) -> None:
    make(tmp_path / "m.keras")
    expected = r"m\.keras: expected a Keras model from \[n, 784\] to \[n, classes\]\. Got "
    with pytest.raises(InputError, match=f"{expected}{received}. Run `make repro` to train one"):
        open_classifier(tmp_path / "m.keras", features=784)


@pytest.mark.slow
def test_names_come_from_the_parameters(trained: Path, loaded: Path, tmp_path: Path) -> None:
    draw(7, side=100, width=10).save(tmp_path / "seven.png")
    command = program(trained, loaded, "seven.png")
    assert run_ok(*command, cwd=tmp_path, env=AT_ROOT).startswith("seven.png: 7, probability ")
    names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    set_params(recipe_params(tmp_path), {"class_names": names})  # params.yaml of this folder
    assert run_ok(*command, cwd=tmp_path, env=AT_ROOT).startswith("seven.png: seven, probability ")


def test_the_steps_are_drawn(
    trained: Path, loaded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    draw(7, side=100, width=10).save(tmp_path / "seven.png")
    out = tmp_path / "steps.png"
    assert command(monkeypatch, "--explain", out, "--model", trained, "--dataset", loaded, tmp_path / "seven.png") == 0
    assert ": 7, probability" in capsys.readouterr().out
    with Image.open(out) as steps:
        assert steps.width > 5 * steps.height  # six steps side by side


def test_without_a_data_set_it_says_how_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["predict", "--dataset", str(tmp_path / "none.json"), "a.png"])
    with pytest.raises(InputError, match=r"none\.json: expected the description .* Run `dvc repro`"):
        predict.main()
