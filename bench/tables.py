"""The tables in the documents, written from committed files so that no figure can drift: `make study NAME=tables`."""

import argparse
import itertools
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench import kinds, scaling
from bench.convnet import EXAMPLE, LONG
from digits.apps.summary import summarize
from dvcproof.runtime.files import replacing
from dvcproof.runtime.program import InputError, run

#: Words of the table that both READMEs have, by language.
RESULTS = {
    "en": {
        "results": "network | committed run: test accuracy | over seeds: mean ± standard deviation | for comparison",
        "network": "`{model}`, {epochs} epochs",
        "published": "published: 97.85 %",
        "compared": "Keras's example, 15 epochs: {spread}",
    },
    "vi": {
        "results": "mạng | lần chạy đã commit: độ chính xác test | nhiều seed: trung bình ± độ lệch chuẩn | so sánh",
        "network": "`{model}`, {epochs} epoch",
        "published": "đã công bố: 97.85 %",
        "compared": "ví dụ của Keras, 15 epoch: {spread}",
    },
}

#: Words of the other tables.
WORDS = {
    "processors": "processor | architecture | threads | SHA-256 of the dense network | of the convnet",
    "whole": "machine | widest vectors | seeds | test accuracies | SHA-256 of the model of the first",
    "convnet": "test accuracy of the last epoch | seeds | mean | standard deviation | min | max | training",
    "convnet chart": "![Test accuracy against the seconds of training, of this convnet after several numbers of epochs "
    "and of Keras's example.](../bench/results/convnet.png)",
    "least": "The least time here to a mean of {goal:.1f} %: {seconds:.0f} s, with `convnet.epochs` = {epochs}. ",
    "example": "Keras's example, 15 epochs",
    "sweep": "validation accuracy, mean of {n} seeds | standard deviation | against the best",
    "best": "the best",
    "noise": "inside the noise",
    "worse": "worse",
    "epochs": "this convnet, `convnet.epochs` = {epochs}",
    "long": "this convnet, {values}",
    "views": "the same, {views} views of each test image",
    "native": "natively, on the machine that wrote this table",
    "capped": "natively, held to {isa}",
    "emulated": "{name} (emulated)",
    "emulated with cache": "{name} (emulated, with an L1 data cache of {l1_kib} KiB)",
    "speed chart": "![Bars: a cold run and training beside their baselines. Where a cold run spends its time. Cost of "
    "an image as the data grows.](../bench/results/speed/{kind}.png)",
    "waits": "what a person does | here | a plain command | ratio",
    "wait set-up": "`make setup`, caches empty; `pip install` of the same lock",
    "wait first repro": "`make repro` in a fresh clone, caches empty; `pip install` and the recipe as one script",
    "wait nothing": "`make repro` with nothing to do; `dvc repro`",
    "wait predict": "`python -m digits predict five.png`; `import tensorflow`",
    "wait test": "`make test` in a fresh clone, with its packages installed",
    "speed": "median of {n} interleaved rounds | this pipeline | baseline | ratio | target",
    "cold": "cold `dvc repro`, four stages; baseline: the recipe as one script",
    "cold against naive": "the same; baseline: a plain four-stage DVC pipeline",
    "fit": "training alone; baseline: `model.fit` on NumPy arrays",
    "efficiency": "arithmetic that training needs, against large matrix products in the same time",
    "nothing": "`dvc repro` with nothing to do; baseline: `dvc status`",
    "parameter": "another seed: time beyond the stages `train` and `evaluate`",
    "arrays": "load, preprocess, hash; baseline: copying the same bytes",
    "growth_time": "1, 4 and 16 times the images: seconds an image, the greatest growth from fewer to more",
    "growth_cpu": "the same: processor time an image",
    "growth_memory": "the same: peak memory of load and preprocess",
    "peak_memory": "the same: greatest peak memory of load and preprocess",
    "copies": "16 times the images: memory of training, in copies of the features",
    "seeds": " | this run | mean of {n} seeds | standard deviation | min | max | published",
    "test": "test accuracy",
    "last": "training accuracy as Keras prints it, in the last epoch",
    "train": "training accuracy",
    "gap": "gap: training minus test, the overfitting",
    "faults": "fault | injected | right bytes | one error, then right bytes | stuck | wrong | without doctor and watch",
    "fault": "{name} | {injected} | {right} | {line} | {stuck} | {wrong} | {control}",
    "control": "{bad} of {injected} stuck or wrong",
    "faults took": "{seconds:.0f} s for all. {machine}",
    "demo": "The demo under {requests} requests, {parallel} at a time, with {slow[at once]} slow connections beside "
    "them: {lost} lost, {wrong} answered wrongly; 99 % of the good ones within {p99:.2f} s; memory {memory[before]} "
    "MiB after a tenth of them, {memory[after]} MiB after all.",
    "pictures": "kind | pictures | right | unsure or refused | sure and wrong | kept aside: pictures | right "
    "| unsure or refused | sure and wrong",
    "one digit": "**all kinds of one digit**",
    "limits": "The limits of `unsure`, where they were chosen: of {validation[pictures]} validation images, "
    "{validation[unsure]} unsure and {validation[sure_and_wrong]} sure and wrong; of {shapes[pictures]} shapes that "
    "are no digits, {shapes[sure_and_wrong]} sure.",
    "workers": "network, one epoch | workers | seconds | exchanged between them | SHA-256 of the model",
    "large": "stage | seconds, all memory | processor | most held | seconds, held down | processor | most held",
    "held": "{times} times the training set: {images:,} images, {size} of features; one epoch; held to {limit:.1f} GB "
    "by {held_by}. Every output has the same bytes: the model's SHA-256 is `{sha256}…`. {machine} Memory: "
    "{memory:.0f} GB.",
    "units": "{units} units, batches of {batch_size}, {shards} shards",
    "scaling_images": "images | arrays, cached too | load | preprocess | hash | train `dense`, one epoch | `convnet`",
    "rates": "An image takes {load:.1f} µs to load, {preprocess:.1f} to preprocess, {hash:.1f} to hash, {dense:.1f} to "
    "train on with `dense`, {convnet:.0f} with `convnet`.",
    "scaling_workers": "workers | exchange, `dense` | in a hierarchy | epoch, `dense` | `convnet` | quicker than one",
    "assumed": "Simulated with {workers} workers in a machine, {outside:.1f} GB/s into and out of it, {inside:.0f} "
    "inside, {latency:.0f} µs a message. Weights: {dense:,} and {convnet:,}.",
    "loopback": "Measured: {workers} workers on one machine exchanged {gigabytes:.1f} GB, and took {seconds:.0f} s "
    "more than one, which is {rate}.",
    "machine": "Measured on: {cpu}, {cores} cores, {vector}, Python {python}.",
}

#: Mean test accuracy of which the least time is said.
GOAL = 0.99

#: Makes a table from the committed files below a folder, in the words of a language.
Table = Callable[[Path, dict[str, str]], str]


def table(header: str, rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [f"| {header} |", "|" + "---|" * (header.count("|") + 1), *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines)


def results(root: Path, words: dict[str, str]) -> str:
    """The committed run with its study over seeds, and the convnet's study beside Keras's example."""
    seeds, convnet = (_read(root / "bench" / "results" / name) for name in ("seeds.json", "convnet.json"))
    scores, params = _read(root / "metrics" / "scores.json"), seeds["params"]
    model = params["train"]["model"]
    epochs = str(convnet["params"]["convnet"]["epochs"])
    network = convnet["contestants"][epochs]
    example = convnet["contestants"][EXAMPLE]["test_accuracy"]
    rows = [
        [
            words["network"].format(model=model, epochs=params[model]["epochs"]),
            _percent(scores["test"]["accuracy"]),
            _spread(seeds["test_accuracy"]),
            words["published"] if model == "dense" else "",
        ],
        [
            words["network"].format(model="convnet", epochs=epochs),
            "-",
            _spread(network["test_accuracy"]),
            words["compared"].format(spread=_spread(example)),
        ],
    ]
    return table(words["results"], rows)


def _percent(value: float) -> str:
    return f"{100 * value:.2f} %"


def _spread(found: dict[str, Any]) -> str:
    return f"{100 * found['mean']:.2f} % ± {100 * found['std']:.2f} (n = {found['n']})"


def processors(root: Path, words: dict[str, str]) -> str:
    """The proof across processors: one row for each, with the hashes of its models."""
    proof = _read(root / "bench" / "results" / "processors.json")
    rows = []
    for dense, convnet in zip(proof["dense"]["runs"], proof["convnet"]["runs"], strict=True):
        if dense["model"] is None:
            name = words["capped" if dense["isa"] else "native"]
        else:
            name = words["emulated with cache" if dense["l1_kib"] else "emulated"]
        hashes = [f"`{entry['sha256']['data/model.keras'][:16]}…`" for entry in (dense, convnet)]
        rows.append([name.format(**dense), dense["architecture"], str(dense["threads"]), *hashes])
    return table(words["processors"], rows)


def whole(root: Path, words: dict[str, str]) -> str:
    """The convnet's whole training on several kinds of machines: first those of its study, which notes no bytes."""
    convnet, again = (_read(root / "bench" / "results" / name) for name in ("convnet.json", "convnet_whole.json"))
    seeds = {run["seed"] for one in again["machines"] for run in one["runs"]}
    runs = convnet["contestants"][str(convnet["params"]["convnet"]["epochs"])]["runs"]
    first = {"machine": convnet["machine"], "runs": [run for run in runs if run["seed"] in seeds]}
    rows = []
    for one in (first, *again["machines"]):
        machine, runs = one["machine"], one["runs"]
        accuracies = ", ".join(_percent(run["test_accuracy"]) for run in runs)
        sha256 = f"`{runs[0]['sha256'][:16]}…`" if "sha256" in runs[0] else ""
        name = f"{machine['cpu']} ({machine['kind']})"
        rows.append([name, machine["vector"], ", ".join(str(run["seed"]) for run in runs), accuracies, sha256])
    return table(words["whole"], rows)


def convnet(root: Path, words: dict[str, str]) -> str:
    """The convnet beside Keras's example: test accuracy over seeds, and the time that training takes."""
    study = _read(root / "bench" / "results" / "convnet.json")
    long = ", ".join(f"`{name}` = {value}" for name, value in study["long"].items() if name != "evaluate.views")
    rows, enough = [], []
    for name, found in study["contestants"].items():
        accuracy, seconds = found["test_accuracy"], found["seconds"]
        numbers = [f"{100 * accuracy[key]:.2f} %" for key in ("mean", "std", "min", "max")]
        if name.isdigit():
            label = words["epochs"].format(epochs=name)
        elif name in (EXAMPLE, LONG):
            label = words[name].format(values=long)
        else:
            label = words["views"].format(views=study["long"]["evaluate.views"])
        rows.append([label, str(accuracy["n"]), *numbers, f"{seconds['mean']:.0f} s"])
        if name.isdigit() and accuracy["mean"] >= GOAL:
            enough.append((seconds["mean"], name))
    least = words["least"].format(goal=100 * GOAL, seconds=min(enough)[0], epochs=min(enough)[1]) if enough else ""
    machine = words["machine"].format(**study["machine"])
    return f"{words['convnet chart']}\n\n{table(words['convnet'], rows)}\n\n{least}{machine}"


def sweep(root: Path, words: dict[str, str], name: str = "sweep.json") -> str:
    """Every point of a sweep, the best first, and what is to be said of it."""
    study = _read(root / "bench" / "results" / name)
    points, rows = study["points"], []
    for index, point in enumerate(points):
        found = point["validation_accuracy"]
        verdict = words["noise" if point["noise"] else "worse"] if index else words["best"]
        numbers = [f"{100 * found[key]:.2f} %" for key in ("mean", "std")]
        rows.append([*point["values"].values(), *numbers, verdict])
    names = " | ".join(f"`{name}`" for name in points[0]["values"])
    return table(f"{names} | {words['sweep'].format(n=points[0]['validation_accuracy']['n'])}", rows)


def convnet_sweep(root: Path, words: dict[str, str]) -> str:
    """The same of the convnet's sweep."""
    return sweep(root, words, "convnet_sweep.json")


#: Each ratio in bench/results/speed/, with what was measured and its baseline.
SPEED = {
    "cold": ("cold", "script"),
    "cold against naive": ("cold", "naive"),
    "fit": ("fit", "script fit"),
    "efficiency": (),
    "nothing": ("nothing", "status"),
    "parameter": (),
    "arrays": ("arrays", "arrays copy"),
    "growth_time": (),
    "growth_cpu": (),
    "growth_memory": (),
    "peak_memory": (),
    "copies": (),
}

UNITS = {"parameter": " s", "peak_memory": " MB"}


def speed(root: Path, words: dict[str, str]) -> str:
    """What `make bench` measured on each kind of machine: seconds, ratio and target."""
    return "\n\n".join(_speed_of(path, words) for path in kinds.kept(root / "bench" / "results"))


#: Each wait, with the plain commands beside it.
WAITS = {
    "set-up": ("pip",),
    "first repro": ("pip", "script"),
    "nothing": ("dvc repro",),
    "predict": ("import tensorflow",),
    "test": (),
}


def waits(root: Path, words: dict[str, str]) -> str:
    """Render what people wait for, beside plain commands."""
    measured = _read(root / "bench" / "results" / "waits.json")
    times, ratios = measured["seconds"], measured["ratios"]
    rows = []
    for name, plain in WAITS.items():
        beside = [f"{sum(times[part] for part in plain):.1f} s", f"{ratios[name]:.2f}"] if plain else ["", ""]
        rows.append([words[f"wait {name}"], f"{times[name]:.1f} s", *beside])
    return f"{table(words['waits'], rows)}\n\n{words['machine'].format(**measured['machine'])}"


def _speed_of(path: Path, words: dict[str, str]) -> str:
    measured = _read(path)
    rows = []
    for name, pair in SPEED.items():
        seconds = [f"{measured['times'][part]['wall']['median']:.2f} s" for part in pair] or ["", ""]
        unit, target = UNITS.get(name, ""), measured["targets"].get(name)
        bound = "" if target is None else f"{'≥' if name == 'efficiency' else '≤'} {target:g}{unit}"
        rows.append([words[name], *seconds, f"{measured['ratios'][name]:.2f}{unit}", bound])
    header = words["speed"].format(n=measured["times"]["cold"]["wall"]["n"])
    machine = words["machine"].format(**measured["machine"])
    return f"{words['speed chart'].format(kind=path.stem)}\n\n{table(header, rows)}\n\n{machine}"


#: What is no picture of one digit, and so no part of the sums.
NOT_ONE = ("several digits", "no digit")


def pictures(root: Path, words: dict[str, str]) -> str:
    """How pictures of each kind are read: those developed on, and those kept aside."""
    found = _read(root / "bench" / "results" / "pictures.json")
    seen, kept = found["seen"], found["kept"]
    sums = [
        {
            name: sum(one[name] for kind, one in group.items() if kind not in NOT_ONE)
            for name in ("pictures", "right", "unsure", "sure_and_wrong")
        }
        for group in (seen, kept)
    ]
    rows = [(words["one digit"], *sums), *((kind, seen.get(kind), kept.get(kind)) for kind in {**seen, **kept})]
    limits = {"validation": found["limits"]["validation"], "shapes": found["limits"]["no digit"]}
    rows_of_kinds = table(words["pictures"], [[kind, *_counts(one), *_counts(other)] for kind, one, other in rows])
    return f"{rows_of_kinds}\n\n{words['limits'].format(**limits)}"


def _counts(one: dict[str, int] | None) -> list[str]:
    """Of a kind, in numbers; of many pictures, in per cent too."""
    if one is None:
        return ["", "", "", ""]
    count = one["pictures"]
    share = [
        f" ({100 * one[name] / count:.1f} %)" if count > 500 else "" for name in ("right", "unsure", "sure_and_wrong")
    ]
    values = [f"{one[name]}{part}" for name, part in zip(("right", "unsure", "sure_and_wrong"), share, strict=True)]
    return [str(count), *values]


def study_of_seeds(root: Path, words: dict[str, str]) -> str:
    """The committed run beside the study over seeds and the published figures of the recipe."""
    scores, history, seeds = (
        _read(root / name) for name in ("metrics/scores.json", "metrics/history.json", "bench/results/seeds.json")
    )
    #: published: F. Chollet, Deep Learning with Python (2017), section 2.1
    figures = [
        ("test", scores["test"]["accuracy"], "test_accuracy", "97.85 %"),
        ("last", history["last_epoch"]["accuracy"], "last_epoch_accuracy", "98.9 %"),
        ("train", scores["train"]["accuracy"], "train_accuracy", ""),
        ("gap", scores["gap"]["accuracy"], "gap", ""),
    ]
    rows = [
        [
            words[name],
            *map(_percent, (value, *(seeds[measured][key] for key in ("mean", "std", "min", "max")))),
            published,
        ]
        for name, value, measured, published in figures
    ]
    return table(words["seeds"].format(n=seeds["test_accuracy"]["n"]), rows)


def faults(root: Path, words: dict[str, str]) -> str:
    """What `make study NAME=faults` counted, for each kind of fault, and the demo under load if it was tried."""
    study = _read(root / "bench" / "results" / "faults.json")
    rows = []
    for name, found in study["faults"].items():
        control = study["control"].get(name)
        bad = words["control"].format(bad=control["stuck"] + control["wrong"], **control) if control else ""
        rows.append(words["fault"].format(name=name, control=bad, **found).split(" | "))
    took = words["faults took"].format(**study | {"machine": words["machine"].format(**study["machine"])})
    parts = [table(words["faults"], rows), took]
    if demo := study.get("demo"):
        late = max(demo["p99 seconds"].values())
        parts.append(words["demo"].format(**demo, p99=late, memory=demo["mebibytes"]))
    return "\n\n".join(parts)


def workers(root: Path, words: dict[str, str]) -> str:
    """The model that several workers train, and what they need for it."""
    study = _read(root / "bench" / "results" / "workers.json")
    rows = []
    for found in study["runs"]:
        params = study["params"]["train"] | study["params"]["dense"]
        values = params | {name.partition(".")[2]: value for name, value in found["values"].items()}
        exchanged = f"{found['exchanged'] / 1e9:.1f} GB" if found["exchanged"] else ""
        seconds, sha256 = f"{found['seconds']:.0f} s", f"`{found['sha256'][:16]}…`"
        rows.append([words["units"].format(**values), str(found["workers"]), seconds, exchanged, sha256])
    return f"{table(words['workers'], rows)}\n\n{words['machine'].format(**study['machine'])}"


def large(root: Path, words: dict[str, str]) -> str:
    """What each stage takes for images that fill several times the memory, with all memory and with little."""
    study = _read(root / "bench" / "results" / "large.json")
    rows = []
    for stage, ways in study["stages"].items():
        found = [[f"{way['wall']:.0f} s", f"{way['cpu']:.0f} s", _size(1e6 * way["memory"])] for way in ways.values()]
        rows.append([f"`{stage}`", *itertools.chain(*found)])
    held = words["held"].format(
        times=study["times"],
        images=study["images"],
        size=_size(4 * 28 * 28 * study["images"]),
        limit=study["limit"] / 1e9,
        held_by=study["held_by"],
        sha256=study["sha256"]["data/model.keras"][:16],
        machine=words["machine"].format(**study["machine"]),
        memory=study["machine"]["memory"] / 1e9,
    )
    return f"{table(words['large'], rows)}\n\n{held}"


def _rates_of(results: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What `make bench` measured on the kind of machine of the convnet's study, or on the first; and that study."""
    convnet, every = _read(results / "convnet.json"), kinds.kept(results)
    same = (path for path in every if path.stem == convnet["machine"]["kind"])
    return _read(next(same, every[0])), convnet


def scaling_images(root: Path, words: dict[str, str]) -> str:
    """What one worker would take for more images, in proportion to what it takes for those that were measured."""
    speed, convnet = _rates_of(root / "bench" / "results")
    rates = scaling.rates(speed, convnet)
    rows = []
    for power in range(4, 10):
        size, *times = 10**power * scaling.BYTES, *(_duration(10**power * rate) for rate in rates.values())
        rows.append([f"10^{power}", _size(size), *times])
    microseconds = {name: 1e6 * rate for name, rate in rates.items()}
    lines = words["rates"].format(**microseconds), words["machine"].format(**speed["machine"])
    return f"{table(words['scaling_images'], rows)}\n\n{' '.join(lines)}"


def scaling_workers(root: Path, words: dict[str, str]) -> str:
    """What workers would take for an epoch of 10^9 images, with the exchange simulated."""
    results = root / "bench" / "results"
    (speed, convnet), workers = _rates_of(results), _read(results / "workers.json")
    rates, weights = scaling.rates(speed, convnet), scaling.weights(speed, convnet)
    rows = []
    for count in (1, 2, 8, 64, 1000):
        exchanges = [find(count, weights["dense"], scaling.LINKS) for find in (scaling.flat, scaling.hierarchical)]
        alone, epochs = (
            [
                scaling.epoch(10**9, number, rates[name], scaling.flat(number, size, scaling.LINKS))
                for name, size in weights.items()
            ]
            for number in (1, count)
        )
        quicker = " and ".join(f"{one / many:.3g}" for one, many in zip(alone, epochs, strict=True))
        rows.append([str(count), *map(_duration, [*exchanges, *epochs]), quicker])
    links = scaling.LINKS._replace(inside=scaling.LINKS.inside / 1e9, outside=scaling.LINKS.outside / 1e9)
    assumed = words["assumed"].format(**links._replace(latency=1e6 * links.latency)._asdict(), **weights)
    found = scaling.loopback(workers["runs"])
    rate = f"{found['gigabytes'] / found['seconds']:.2f} GB/s" if found["seconds"] > 0 else "nothing"
    lines = assumed, words["loopback"].format(rate=rate, **found)
    return f"{table(words['scaling_workers'], rows)}\n\n{' '.join(lines)}"


#: Units of time, with the seconds of each, and of bytes.
TIMES = {"d": 86400.0, "h": 3600.0, "min": 60.0, "s": 1.0, "ms": 1e-3, "µs": 1e-6}
SIZES = {"PB": 1e15, "TB": 1e12, "GB": 1e9, "MB": 1e6, "kB": 1e3}


def _duration(seconds: float) -> str:
    return _in_units(seconds, TIMES)


def _size(count: float) -> str:
    return _in_units(count, SIZES)


def _in_units(value: float, units: dict[str, float]) -> str:
    """A value in the largest unit of which it is at least one, else in the smallest: two digits, or all of a whole."""
    if not value:
        return ""
    unit = next((name for name, size in units.items() if value >= size), [*units][-1])
    number = value / units[unit]
    return f"{number:.1f} {unit}" if number < 9.95 else f"{number:.0f} {unit}"


def summary(root: Path, words: dict[str, str]) -> str:  # noqa: ARG001 (a table, in no language)
    """What `make repro` prints of the committed run."""
    text = summarize(root / "metrics").replace(f"{root}/", "")
    return f"```\n{text}\n```"


#: The documents that have tables, and which.
DOCUMENTS: dict[str, tuple[Table, ...]] = {
    "README.md": (summary, results),
    "README.vi.md": (summary, results),
    "docs/convnet.md": (convnet, convnet_sweep),
    "docs/experiments.md": (sweep,),
    "docs/reliability.md": (faults,),
    "docs/pictures.md": (pictures,),
    "docs/reproducibility.md": (study_of_seeds, processors, whole, workers),
    "docs/scaling.md": (scaling_images, scaling_workers),
    "docs/speed.md": (waits, speed, large),
}


def filled(document: str, root: Path) -> str:
    """The text of a document with its tables as the committed files give them.

    Args:
        document: one of DOCUMENTS.
        root: the project.

    Raises:
        InputError: it has no place for one of its tables.
    """
    language = "vi" if document.endswith(".vi.md") else "en"
    words = WORDS | RESULTS[language] if results in DOCUMENTS[document] else WORDS
    return fill((root / document).read_text(encoding="utf-8"), root, words, DOCUMENTS[document])


def fill(text: str, root: Path, words: dict[str, str], tables: Sequence[Table]) -> str:
    """Replace what stands between `<!-- name -->` and `<!-- /name -->` by the table of that name."""
    for make in tables:
        name = make.__name__
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if not pattern.search(text):
            raise InputError(name, expected=f"a place <!-- {name} -->", received="none", hint="Add it to the document.")
        content = make(root, words)
        text = pattern.sub(lambda match, content=content: f"{match[1]}{content}\n{match[2]}", text)  # type: ignore[misc]
    return text


def _read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.tables", description=__doc__)
    parser.parse_args()
    for document in DOCUMENTS:
        text = filled(document, Path.cwd())
        with replacing(Path(document)) as (file,):
            file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    run(main)
