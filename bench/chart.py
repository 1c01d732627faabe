"""Measurements as pictures: bars beside their baselines, how cost grows, and accuracy against seconds."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Parts of a cold run, in their order.
PARTS = ("dvc", "load", "preprocess", "train", "evaluate")


def draw(result: dict[str, Any], path: Path) -> None:
    """Draw what `bench.speed` measured.

    Args:
        result: its JSON.
        path: the PNG to write.
    """
    with _saved(path, columns=3) as (bars, parts, growth):
        times = result["times"]
        _draw_bars(bars, times)
        _draw_parts(parts, times)
        _draw_growth(growth, times)


def draw_accuracy(study: dict[str, Any], example: str, path: Path) -> None:
    """Draw test accuracy against the seconds of training, the mean and the standard deviation of each contestant.

    Args:
        study: the JSON of `bench.convnet`.
        example: the name of the contestant that the others are compared with.
        path: the PNG to write.
    """
    from matplotlib.ticker import LogLocator

    contestants = study["contestants"]
    long = {name.partition(".")[2]: value for name, value in study["long"].items()}
    with _saved(path, columns=1) as (axes,):
        groups: dict[str, dict[str, Any]] = {}
        for name in [name for name in contestants if name != example]:
            values = ", ".join(f"{key} = {value}" for key, value in long.items() if "x" in name or key != "views")
            label = "this convnet, by epochs" if name.isdigit() else values
            groups.setdefault(label, {})[name if name.isdigit() else ""] = contestants[name]
        for label, group in {**groups, "Keras's example": {"": contestants[example]}}.items():
            seconds, accuracy = ([found[kind] for found in group.values()] for kind in ("seconds", "test_accuracy"))
            means, spread = ([100 * found[key] for found in accuracy] for key in ("mean", "std"))
            places = [found["mean"] for found in seconds]
            axes.errorbar(places, means, yerr=spread, xerr=[one["std"] for one in seconds], marker="o", label=label)
            for name, x, y in zip(group, places, means, strict=True):
                axes.annotate(name, (x, y), xytext=(4, -12), textcoords="offset points")
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("")
        axes.set_xlabel("seconds of training, from the start of the program")
        axes.set_ylabel("test accuracy, %")
        axes.set_title("Accuracy against seconds (mean ± standard deviation)")
        axes.grid(visible=True, which="both", alpha=0.3)
        axes.legend(loc="best")


@contextmanager
def _saved(path: Path, columns: int) -> "Iterator[Sequence[Axes]]":
    """Axes beside each other, which are written to a PNG in the end."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, columns, figsize=(13 if columns > 1 else 7, 4), layout="constrained", squeeze=False)
    yield axes[0]
    figure.savefig(path, format="png", dpi=80, metadata={"Software": None})
    plt.close(figure)


def _draw_bars(axes: "Axes", times: dict[str, Any]) -> None:
    """A cold run and training beside their baselines."""
    names = {
        "script": "one script",
        "naive": "naive pipeline",
        "cold": "this pipeline",
        "script fit": "model.fit",
        "fit": "this fit",
    }
    for position, name in enumerate(names):
        wall = times[name]["wall"]
        spread = [[wall["median"] - wall["min"]], [wall["max"] - wall["median"]]]
        colour = "C0" if name in ("cold", "fit") else "0.7"
        axes.bar(position, wall["median"], yerr=spread, color=colour, capsize=4)
    axes.set_xticks(range(len(names)), list(names.values()), rotation=20)
    axes.set_title("Cold run and training (median, min to max)")
    axes.set_ylabel("seconds")


def _draw_parts(axes: "Axes", times: dict[str, Any]) -> None:
    """Where a cold run spends its time."""
    left = 0.0
    for part in PARTS:
        seconds = times[f"cold {part}"]["wall"]["median"]
        axes.barh(0, seconds, left=left, label=f"{part} {seconds:.1f} s")
        left += seconds
    axes.set_yticks([])
    axes.set_xlabel("seconds")
    axes.set_title("Where a cold run spends its time")
    axes.legend(loc="upper center", ncols=2)
    axes.set_ylim(-0.6, 1.2)


def _draw_growth(axes: "Axes", times: dict[str, Any]) -> None:
    """How the cost of an image grows with the data."""
    for stage in ("load", "preprocess", "train"):
        points = {
            int(name.rsplit("x", 1)[1]): value
            for name, value in times.items()
            if name.startswith(f"{stage} x") and "memory" not in name
        }
        axes.plot(list(points), [value["wall"]["median"] for value in points.values()], marker="o", label=stage)
    axes.set_xscale("log", base=4)
    axes.set_xticks(list(points), [f"x{times}" for times in points])
    axes.set_ylim(bottom=0)
    axes.set_ylabel("microseconds an image")
    axes.set_title("Cost of an image as the data grows")
    axes.legend()
