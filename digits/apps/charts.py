"""Charts as SVG that stands in the page itself: text in the page's ink, so that it is readable in light and dark."""

import html
import io
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, PercentFormatter, StrMethodFormatter

from digits.apps.calibration import Bin
from digits.apps.runs import Epoch

#: Stands for the page's own text colour, and is replaced by it: Matplotlib knows no `currentColor`.
INK = "#010203"

#: Both have a contrast of at least 3 : 1 with the page, light or dark (WCAG 2.1, criterion 1.4.11).
BLUE, ORANGE = "#3a80c9", "#d2691e"

#: Intervals with fewer images are drawn faintly: their accuracy says little.
FEW = 10

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: smaller, sharp, in the page's font
    "font.size": 11,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": INK,
    "grid.alpha": 0.15,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}


class Chart(NamedTuple):
    """A drawing and what a reader who cannot see it should know."""

    title: str
    svg: str


def learning_curves(epochs: Sequence[Epoch], before: Sequence[Epoch], name: str) -> Chart:
    """Accuracy or loss by epoch, of training and validation, and dashed lines for the run before.

    Args:
        epochs: of this run.
        before: of the run that it is compared with, or nothing.
        name: 'accuracy' or 'loss'.
    """
    curves = [*_curves(before, name, ", before"), *_curves(epochs, name, "")]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for title, points in curves:
            colour, marker = (BLUE, "o") if title.startswith("training") else (ORANGE, "s")
            (line,) = axes.plot(*zip(*points, strict=True), color=colour, label=title)
            if title.endswith("before"):
                line.set(linestyle="--", alpha=0.75, linewidth=1.2)
            if len(points) <= 50:
                line.set(marker=marker, markersize=4)
        axes.set(xlabel="epoch", ylabel=name)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if name == "accuracy":
            axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.legend()

    ends = "; ".join(f"{title}: from {points[0][1]:.4f} to {points[-1][1]:.4f}" for title, points in curves)
    heading = f"{name.capitalize()} by epoch"
    return Chart(heading, _svg(name, f"{heading}, {len(epochs)} epochs. {ends}.", draw))


def _curves(epochs: Sequence[Epoch], name: str, suffix: str) -> Iterator[tuple[str, list[tuple[int, float]]]]:
    """The title and the points of each curve that there is."""
    for split, field in (("training", name), ("validation", f"val_{name}")):
        values = [(epoch.epoch, getattr(epoch, field)) for epoch in epochs]
        points = [(epoch, value) for epoch, value in values if value is not None]
        if points:
            yield split + suffix, points


def reliability_diagram(bins: Sequence[Bin], error: float) -> Chart:
    """Accuracy against confidence, as in Guo et al. (2017), figure 1, and below it the images in each interval.

    Args:
        bins: the intervals.
        error: their expected calibration error.
    """
    used = [one for one in bins if one.images]
    lefts, width = [one.low for one in used], 1 / len(bins)

    def draw(figure: Figure) -> None:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        _draw_gaps(upper, used, width)
        lower.bar(lefts, [one.images for one in used], width, align="edge", color=BLUE, edgecolor=INK, linewidth=0.5)
        lower.set(xlabel="confidence: probability of the predicted class", ylabel="images", yscale="log")
        lower.set_ylim(bottom=0.5)
        lower.yaxis.set_major_locator(LogLocator(base=100))
        lower.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        lower.xaxis.set_major_formatter(PercentFormatter(1.0))

    texts = (f"confidence {one.confidence:.3f}, accuracy {one.accuracy:.3f}, {one.images} images" for one in used)
    label = f"Reliability diagram, expected calibration error {error:.4f}. By interval: {'; '.join(texts)}."
    return Chart("Reliability diagram: accuracy by confidence", _svg("reliability", label, draw, height=4.6))


def _draw_gaps(axes: Axes, used: Sequence[Bin], width: float) -> None:
    for one in used:
        low, high = sorted((one.accuracy, one.confidence))
        faint = 1.0 if one.images >= FEW else 0.35
        axes.bar(one.low, low, width, align="edge", color=BLUE, alpha=faint, linewidth=0)
        axes.bar(one.low, high - low, width, low, align="edge", color=ORANGE, alpha=faint, linewidth=0)
        axes.hlines(one.accuracy, one.low, one.high, color=INK, linewidth=2)
    axes.plot([0, 1], [0, 1], "--", color=INK, linewidth=1)
    axes.plot([], [], color=INK, linewidth=2, label="accuracy")
    axes.bar(0, 0, color=ORANGE, label="gap to confidence")
    axes.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="accuracy")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)


def _svg(name: str, label: str, draw: Callable[[Figure], None], *, height: float = 3.4) -> str:
    """Draw a figure, 5.2 inches wide, as an <svg> element whose bytes depend on nothing but the drawing."""
    # The salt makes the identifiers of clip paths the same in each run and different in each chart of the page.
    # 'default', so that no one's matplotlibrc reaches the page.
    with style.context(["default", STYLE, {"svg.hashsalt": name}]):
        figure = Figure(figsize=(5.2, height))
        draw(figure)
        file = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(file, format="svg", transparent=True, metadata=nothing)
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # the same in each chart, and used by nothing
    attributes = f'role="img" aria-label="{html.escape(label)}" data-chart="{name}"'
    # Without a width and a height it is as wide as its place on the page.
    return re.sub(r"<svg[^>]*(viewBox=\"[^\"]*\")[^>]*>", lambda head: f"<svg {head[1]} {attributes}>", svg, count=1)
