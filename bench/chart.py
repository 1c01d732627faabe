"""Charts of measurements: times beside those of baselines, growth of cost, and accuracy against seconds."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: The bars, from key to label.
BARS = {
    "script": "one script",
    "naive": "naive pipeline",
    "cold": "this pipeline",
    "script fit": "model.fit",
    "fit": "this fit",
}
#: The parts of a cold run, in order.
PARTS = ("dvc", "load", "preprocess", "train", "evaluate")


@contextmanager
def _saved(path: Path, columns: int) -> "Iterator[Sequence[Axes]]":
    """Give a row of axes, and write the figure to a PNG at the end of the block."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, columns, figsize=(13 if columns > 1 else 7, 4), layout="constrained", squeeze=False)
    yield axes[0]
    figure.savefig(path, format="png", dpi=80, metadata={"Software": None})
    plt.close(figure)


def draw(result: dict[str, Any], path: Path) -> None:
    """Draw the result of `bench.speed` to a PNG."""
    times = result["times"]
    walls = {name: found["wall"] for name, found in times.items()}
    with _saved(path, columns=3) as (bars, parts, growth):
        for position, name in enumerate(BARS):
            wall = walls[name]
            spread = [[wall["median"] - wall["min"]], [wall["max"] - wall["median"]]]
            bars.bar(position, wall["median"], yerr=spread, color="C0" if name in ("cold", "fit") else "0.7", capsize=4)
        bars.set_xticks(range(len(BARS)), list(BARS.values()), rotation=20)
        bars.set_title("Cold run and training (median, min to max)")
        bars.set_ylabel("seconds")

        left = 0.0
        for part in PARTS:
            seconds = walls[f"cold {part}"]["median"]
            parts.barh(0, seconds, left=left, label=f"{part} {seconds:.1f} s")
            left += seconds
        parts.set(yticks=[], xlabel="seconds", title="Where a cold run spends its time", ylim=(-0.6, 1.2))
        parts.legend(loc="upper center", ncols=2)

        sizes = sorted(int(name.removeprefix("load x")) for name in walls if name.removeprefix("load x").isdigit())
        for stage in ("load", "preprocess", "train"):
            growth.plot(sizes, [walls[f"{stage} x{size}"]["median"] for size in sizes], marker="o", label=stage)
        growth.set_xscale("log", base=4)
        growth.set_xticks(sizes, [f"x{size}" for size in sizes])
        growth.set_ylim(bottom=0)
        growth.set(ylabel="microseconds an image", title="Cost of an image as the data grows")
        growth.legend()


def draw_accuracy(study: dict[str, Any], example: str, path: Path) -> None:
    """Draw test accuracy against seconds of training, as mean and standard deviation of each contestant.

    Args:
        study: the JSON of `bench.convnet`.
        example: the name of the contestant that the others are compared with.
        path: the PNG to write.
    """
    from matplotlib.ticker import LogLocator

    long = {name.partition(".")[2]: value for name, value in study["long"].items()}
    groups: dict[str, dict[str, Any]] = {}
    for name, found in study["contestants"].items():
        values = ", ".join(f"{key} = {value}" for key, value in long.items() if "x" in name or key != "views")
        label = {example: "Keras's example"}.get(name, "this convnet, by epochs" if name.isdigit() else values)
        groups.setdefault(label, {})[name if name.isdigit() else ""] = found
    with _saved(path, columns=1) as (axes,):
        for label, group in groups.items():
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
